//! The signature partition of dm-verity
//! (UAPI Group Specifications, "Discoverable Partitions Specification", Verity signature).

use anyhow::{Result, bail};
use base64ct::{Base64, Encoding};
use store::Digest;

/// The content of a signature partition, JSON without padding: root hash (hexadecimal digits), the
/// fingerprint of the certificate, and the signature.
///
/// # Errors
/// A root hash that is no SHA-256 in lower-case hexadecimal digits.
pub fn verity_signature_json(root_hash: &str, certificate: &[u8], pkcs7: &[u8]) -> Result<Vec<u8>> {
    check_root_hash(root_hash)?;
    let fingerprint = Digest::of(certificate);
    let signature = Base64::encode_string(pkcs7);
    Ok(format!(
        "{{\"rootHash\":\"{root_hash}\",\"certificateFingerprint\":\"{fingerprint}\",\
         \"signature\":\"{signature}\"}}"
    )
    .into_bytes())
}

/// The whole partition: `json` filled up with NUL to `size` bytes.
///
/// # Errors
/// When it does not fit with one NUL at least.
pub fn pad_verity_signature(json: &[u8], size: u64) -> Result<Vec<u8>> {
    if json.len() as u64 >= size {
        bail!("a verity signature of {} bytes does not fit in {size}", json.len());
    }
    let mut partition = json.to_vec();
    partition.resize(usize::try_from(size)?, 0);
    Ok(partition)
}

/// Refuses what is no SHA-256 in lower-case hexadecimal digits: the kernel compares text.
pub(crate) fn check_root_hash(text: &str) -> Result<()> {
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        bail!("`{}` is no root hash of 64 lower-case digits", text.escape_debug());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_holds_hash_fingerprint_and_signature_and_then_zeros() {
        let hash = "0".repeat(64);
        let json = verity_signature_json(&hash, b"certificate", b"\xff\xfe\xfd!").unwrap();
        let want = format!(
            "{{\"rootHash\":\"{hash}\",\"certificateFingerprint\":\"{}\",\
             \"signature\":\"//79IQ==\"}}",
            Digest::of(b"certificate")
        );
        assert_eq!(String::from_utf8(json.clone()).unwrap(), want);
        let partition = pad_verity_signature(&json, 4096).unwrap();
        assert_eq!((partition.len(), &partition[..json.len()]), (4096, &json[..]));
        assert!(partition[json.len()..].iter().all(|byte| *byte == 0));
        assert!(pad_verity_signature(&json, json.len() as u64).is_err());
    }

    #[test]
    fn a_root_hash_in_capitals_or_cut_short_is_refused() {
        for hash in ["A".repeat(64), "a".repeat(63), "\"".repeat(64)] {
            assert!(verity_signature_json(&hash, b"", b"").is_err());
        }
    }
}
