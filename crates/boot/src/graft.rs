//! Signatures in PE images: what is signed, and where the signature goes
//! (Windows Authenticode Portable Executable Signature Format, 2008).

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{Blob, Digest, Stage};

use crate::pe::{self, Pe};

/// An image and its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graft {
    /// The unsigned image.
    pub pe: Blob,
    /// The signature, PKCS#7 in DER, over the digest that [`DIGEST`] gives.
    pub pkcs7: Blob,
}

/// The Authenticode digest of an EFI program: see [`authenticode_digest`].
pub const DIGEST: Stage<Blob, Digest> = Stage {
    name: "authenticode",
    revision: 1,
    about: |blob| format!("image {}", blob.digest.short()),
    run: |blob, scratch| {
        check_size(blob)?;
        Ok(Digest(authenticode_digest(&scratch.read(blob)?)?))
    },
};

/// The signed image: the signature appended, its directory and the checksum set; nothing else
/// changes. An image that is signed already is an error.
pub const GRAFT: Stage<Graft, Blob> = Stage {
    name: "graft",
    revision: 1,
    about: |graft| format!("image {}", graft.pe.digest.short()),
    run: |plan, scratch| {
        check_size(&plan.pe)?;
        check_size(&plan.pkcs7)?;
        scratch.put(&graft(scratch.read(&plan.pe)?, &scratch.read(&plan.pkcs7)?)?)
    },
};

/// A certificate table, and so the file before it, is a multiple of this.
const TABLE_ALIGNMENT: usize = 8;

/// `WIN_CERTIFICATE`: length, `WIN_CERT_REVISION_2_0`, `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const CERTIFICATE_HEADER: usize = 8;
const CERTIFICATE_KIND: [u8; 4] = [0x00, 0x02, 0x02, 0x00];

/// SHA-256 of all of a PE image but its checksum, the signature's directory row and the
/// signature.
///
/// A file whose size is no multiple of 8 is hashed as if it were padded with zeros, which is what
/// signing writes. An image with gaps or overlaps between its sections is refused: programs and
/// firmware disagree about the digest of one.
pub fn authenticode_digest(pe: &[u8]) -> Result<[u8; 32]> {
    let parsed = Pe::parse(pe)?;
    let end = end_of_sections(&parsed)?;
    let (offset, size) = (usize::try_from(parsed.security.0)?, usize::try_from(parsed.security.1)?);
    let hashed = if size == 0 {
        pe
    } else if offset >= end && offset.checked_add(size) == Some(pe.len()) {
        &pe[..offset]
    } else {
        bail!("PE signature does not end the file");
    };
    let mut hasher = Sha256::new();
    let mut from = 0;
    for (skipped, length) in [(pe::CHECKSUM, 4), (pe::SECURITY, 8)] {
        let at = parsed.coff + skipped;
        hasher.update(hashed.get(from..at).context("PE headers are cut off")?);
        from = at + length;
    }
    hasher.update(hashed.get(from..).context("PE headers are cut off")?);
    hasher.update(&[0; TABLE_ALIGNMENT][..padding(hashed.len())]);
    Ok(hasher.finalize().into())
}

fn graft(mut image: Vec<u8>, pkcs7: &[u8]) -> Result<Vec<u8>> {
    let parsed = Pe::parse(&image)?;
    end_of_sections(&parsed)?;
    if parsed.security != (0, 0) {
        bail!("the PE image is signed already");
    }
    if pkcs7.is_empty() {
        bail!("the signature is empty");
    }
    image.resize(image.len() + padding(image.len()), 0);
    let offset = u32::try_from(image.len())?;
    let length = CERTIFICATE_HEADER + pkcs7.len();
    let size = u32::try_from(length + padding(length))?;
    // The certificate's length leaves the padding out, the directory's size holds it.
    image.extend_from_slice(&u32::try_from(length)?.to_le_bytes());
    image.extend_from_slice(&CERTIFICATE_KIND);
    image.extend_from_slice(pkcs7);
    image.resize(image.len() + padding(image.len()), 0);
    pe::put(&mut image, parsed.coff + pe::SECURITY, &offset.to_le_bytes())?;
    pe::put(&mut image, parsed.coff + pe::SECURITY + 4, &size.to_le_bytes())?;
    let checksum = pe::checksum(&image, parsed.coff)?;
    pe::put(&mut image, parsed.coff + pe::CHECKSUM, &checksum.to_le_bytes())?;
    Ok(image)
}

/// Where the last section ends; each begins where the one before ends.
fn end_of_sections(pe: &Pe) -> Result<usize> {
    let mut sections: Vec<_> = pe.sections.iter().filter(|s| s.raw_size > 0).collect();
    sections.sort_by_key(|section| section.offset);
    let mut end = pe.size_of_headers;
    for section in sections {
        if section.offset != end {
            bail!(
                "PE section `{}` begins at {} instead of {end}, where the part before it ends",
                section.label(),
                section.offset
            );
        }
        end = end.checked_add(section.raw_size).context("PE sections are too large")?;
    }
    Ok(usize::try_from(end)?)
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(TABLE_ALIGNMENT) - length
}

pub(crate) fn check_size(blob: &Blob) -> Result<()> {
    if blob.size > pe::SIZE_MAX {
        bail!("blob {} has {} bytes, too many for an EFI program", blob.digest, blob.size);
    }
    Ok(())
}
