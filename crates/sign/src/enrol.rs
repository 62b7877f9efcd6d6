//! Enrolling our certificates in firmware (UEFI 2.10, 8.2 and 32.4).

use anyhow::{Context, Result, bail};
use store::{Digest, Seed};
use x509_cert::time::Time;

use crate::pair::parse_certificate;
use crate::{Form, Request, Role, Signer};

/// Signed variable updates for a machine in Setup Mode: what systemd-boot enrols from
/// `loader/keys/auto/` as `PK.auth`, `KEK.auth` and `db.auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// `PK.auth`, signed by the platform key itself.
    pub platform: Vec<u8>,
    /// `KEK.auth`, signed by the platform key.
    pub exchange: Vec<u8>,
    /// `db.auth`, signed by the exchange key.
    pub boot: Vec<u8>,
}

/// A GUID in UEFI byte order: the first three fields are little-endian.
pub(crate) const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// `EFI_GLOBAL_VARIABLE`.
pub(crate) const GLOBAL: [u8; 16] =
    guid(0x8be4_df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`.
pub(crate) const SECURITY_DATABASE: [u8; 16] =
    guid(0xd719_b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);
/// `EFI_CERT_X509_GUID`.
const CERT_X509: [u8; 16] =
    guid(0xa5c0_59a1, 0x94e4, 0x4aa7, [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72]);
/// `EFI_CERT_SHA256_GUID`.
pub(crate) const CERT_SHA256: [u8; 16] =
    guid(0xc1c4_1626, 0x504c, 0x4092, [0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28]);
/// `EFI_CERT_TYPE_PKCS7_GUID`.
const CERT_PKCS7: [u8; 16] =
    guid(0x4aaf_d29d, 0x68df, 0x49ee, [0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7]);

/// `NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS | TIME_BASED_AUTHENTICATED_WRITE_ACCESS`.
pub(crate) const AUTHENTICATED: u32 = 0x27;

/// `WIN_CERT_REVISION_2_0` and `WIN_CERT_TYPE_EFI_GUID`.
const CERTIFICATE_KIND: [u8; 4] = [0x00, 0x02, 0xf1, 0x0e];

/// An `EFI_SIGNATURE_LIST` that holds one X.509 certificate (DER); `owner` in UEFI byte order.
pub fn signature_list(owner: [u8; 16], certificate: &[u8]) -> Result<Vec<u8>> {
    list(CERT_X509, owner, certificate)
}

/// A signature list of one entry.
pub(crate) fn list(kind: [u8; 16], owner: [u8; 16], entry: &[u8]) -> Result<Vec<u8>> {
    const HEADER: usize = 28;
    let signature = owner.len() + entry.len();
    let mut list = kind.to_vec();
    for field in [HEADER + signature, 0, signature] {
        list.extend_from_slice(&u32::try_from(field)?.to_le_bytes());
    }
    list.extend_from_slice(&owner);
    list.extend_from_slice(entry);
    Ok(list)
}

/// The updates that enrol the signer's certificates.
///
/// Each carries the moment from which its certificate is valid, so that the same keys give the
/// same bytes and a renewed certificate counts as newer.
pub fn enrolment(signer: &dyn Signer) -> Result<Enrolment> {
    let update = |role: Role, by: Role, vendor: [u8; 16]| -> Result<Vec<u8>> {
        let certificate = signer.certificate(role)?;
        let list = signature_list(signer.owner()?, &certificate)?;
        let time = valid_from(&certificate)?;
        let bytes = to_be_signed(role.name(), vendor, time, &list);
        let name = format!("{}.auth", role.name());
        let request = Request { name, role: by, form: Form::Variable { bytes } };
        let [signature] = &signer.sign(&[request])?[..] else {
            bail!("the signer gave more or fewer signatures than asked");
        };
        authenticated(time, &signature.0, &list)
    };
    Ok(Enrolment {
        platform: update(Role::Platform, Role::Platform, GLOBAL)?,
        exchange: update(Role::Exchange, Role::Platform, GLOBAL)?,
        boot: update(Role::Boot, Role::Exchange, SECURITY_DATABASE)?,
    })
}

fn to_be_signed(name: &str, vendor: [u8; 16], time: [u8; 16], list: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bytes.extend_from_slice(&vendor);
    bytes.extend_from_slice(&AUTHENTICATED.to_le_bytes());
    bytes.extend_from_slice(&time);
    bytes.extend_from_slice(list);
    bytes
}

/// `EFI_VARIABLE_AUTHENTICATION_2` followed by the variable's new content.
fn authenticated(time: [u8; 16], signature: &[u8], list: &[u8]) -> Result<Vec<u8>> {
    const HEADER: usize = 24;
    let mut update = time.to_vec();
    update.extend_from_slice(&u32::try_from(HEADER + signature.len())?.to_le_bytes());
    update.extend_from_slice(&CERTIFICATE_KIND);
    update.extend_from_slice(&CERT_PKCS7);
    update.extend_from_slice(signature);
    update.extend_from_slice(list);
    Ok(update)
}

/// The moment from which a certificate is valid, as an `EFI_TIME`.
pub(crate) fn valid_from(certificate: &[u8]) -> Result<[u8; 16]> {
    let certificate = parse_certificate(certificate)?;
    let moment = match certificate.tbs_certificate.validity.not_before {
        Time::UtcTime(time) => time.to_date_time(),
        Time::GeneralTime(time) => time.to_date_time(),
    };
    let mut time = [0; 16];
    time[..2].copy_from_slice(&moment.year().to_le_bytes());
    let rest = [moment.month(), moment.day(), moment.hour(), moment.minutes(), moment.seconds()];
    time[2..7].copy_from_slice(&rest);
    Ok(time)
}

/// The owner of our entries when nothing else names one: a GUID from the platform certificate.
pub(crate) fn owner_of(platform: &[u8]) -> [u8; 16] {
    swap(&Seed(Digest::of(platform)).uuid("owner of firmware variables"))
}

/// Reads a GUID (`8be4df61-93ca-11d2-aa0d-00e098032b8c`) into UEFI byte order.
pub(crate) fn parse_guid(text: &[u8]) -> Result<[u8; 16]> {
    let text = std::str::from_utf8(text).context("read a GUID")?.trim();
    let bad = || format!("`{}` is no GUID", text.escape_debug());
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits: String = text.split('-').collect();
    if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!(bad());
    }
    let value = u128::from_str_radix(&digits, 16).with_context(bad)?.to_be_bytes();
    Ok(swap(&value))
}

/// A GUID as text.
pub(crate) fn guid_text(guid: &[u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(swap(guid)));
    let (a, b, c, d) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20]);
    format!("{a}-{b}-{c}-{d}-{}", &digits[20..])
}

/// Between the order of the digits and UEFI byte order.
fn swap(guid: &[u8; 16]) -> [u8; 16] {
    let mut swapped = *guid;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    swapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_read_as_it_is_written() {
        let text = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        assert_eq!(parse_guid(format!("{text}\n").as_bytes()).unwrap(), GLOBAL);
        assert_eq!(guid_text(&GLOBAL), text);
    }

    #[test]
    fn what_is_no_guid_is_refused() {
        let plain = "8be4df6193ca11d2aa0d00e098032b8c";
        for text in ["", plain, "8be4df61-93ca-11d2-aa0d-00e098032b8g", "\u{e9}"] {
            assert!(parse_guid(text.as_bytes()).is_err(), "{text}");
        }
    }
}
