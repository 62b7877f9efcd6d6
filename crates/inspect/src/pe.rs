//! Portable executables and their Authenticode digest (Microsoft PE format; "Windows
//! Authenticode Portable Executable Signature Format" 1.0).

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bytes::{hex, slice, u16_at, u32_at};
use crate::signature::{self, FoundSignature};

/// A PE32+ image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundPe {
    /// The machine it is for (0x8664: x86-64).
    pub machine: u16,
    /// The subsystem (10: EFI application).
    pub subsystem: u16,
    /// Sections begin at multiples of this in memory.
    pub section_alignment: u32,
    /// Section contents begin at multiples of this in the file.
    pub file_alignment: u32,
    /// Bytes in memory.
    pub size_of_image: u32,
    /// Bytes of headers in the file.
    pub size_of_headers: u32,
    /// Sections in the order of the file's table.
    pub sections: Vec<FoundSection>,
    /// Attribute certificates.
    pub certificates: Vec<FoundCertificate>,
    /// The SHA-256 Authenticode digest, recomputed. A file whose length is no multiple of 8 counts
    /// as padded with zeros, as it will be once it is signed.
    pub digest: String,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundSection {
    /// Its name.
    pub name: String,
    /// Where it begins in memory.
    pub address: u32,
    /// Its bytes in memory.
    pub virtual_size: u32,
    /// Where its content begins in the file.
    pub offset: u32,
    /// Bytes of content in the file, padding included.
    pub size: u32,
    /// Its characteristics.
    pub characteristics: u32,
}

/// An attribute certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundCertificate {
    /// Its revision (0x0200).
    pub revision: u16,
    /// Its type (2: PKCS#7 signed data).
    pub kind: u16,
    /// Where its content begins in the file.
    pub offset: u64,
    /// Bytes of content.
    pub size: u64,
}

/// The most sections that are read (the format's own loader limit).
const SECTIONS_LIMIT: u16 = 96;

/// Offsets from the start of the optional header.
const CHECKSUM: usize = 64;
const SECURITY: usize = 144;

/// The section table of a PE32+ image, of which no more than the headers need be there.
pub fn sections(file: &[u8]) -> Result<Vec<FoundSection>> {
    let (coff, optional) = headers(file)?;
    let size = usize::from(u16_at(file, coff + 16)?);
    let count = u16_at(file, coff + 2)?;
    if count > SECTIONS_LIMIT {
        bail!("{count} sections");
    }
    (0..usize::from(count)).map(|index| section(file, optional + size + 40 * index)).collect()
}

/// Where the COFF header and the optional header begin.
fn headers(file: &[u8]) -> Result<(usize, usize)> {
    if slice(file, 0, 2)? != b"MZ" {
        bail!("no DOS header");
    }
    let header = usize::try_from(u32_at(file, 60)?)?;
    let coff = header.checked_add(4).context("place the header")?;
    if slice(file, header, 4)? != b"PE\0\0" {
        bail!("no PE header");
    }
    let optional = coff.checked_add(20).context("place the optional header")?;
    if u16_at(file, optional)? != 0x20b {
        bail!("not a PE32+ image");
    }
    Ok((coff, optional))
}

/// Reads a PE32+ image; ranges beyond the file and sections that share bytes are errors.
pub fn read(file: &[u8]) -> Result<FoundPe> {
    let (coff, optional) = headers(file)?;
    let fields = slice(file, optional, usize::from(u16_at(file, coff + 16)?))?;
    if u32_at(fields, 108)? < 5 {
        bail!("the image has no place for certificates");
    }
    let sections = sections(file)?;
    let size_of_headers = u32_at(fields, 60)?;
    apart(&sections, size_of_headers, file.len())?;
    let certificates_at = u64::from(u32_at(fields, SECURITY)?);
    let certificates_size = u64::from(u32_at(fields, SECURITY + 4)?);
    let certificates = certificates(file, certificates_at, certificates_size)?;
    let signed =
        if certificates_size == 0 { file.len() } else { usize::try_from(certificates_at)? };
    Ok(FoundPe {
        machine: u16_at(file, coff)?,
        subsystem: u16_at(fields, 68)?,
        section_alignment: u32_at(fields, 32)?,
        file_alignment: u32_at(fields, 36)?,
        size_of_image: u32_at(fields, 56)?,
        size_of_headers,
        digest: digest(file, optional, size_of_headers, &sections, signed)?,
        sections,
        certificates,
    })
}

/// The content of the section `name` in `file`, without padding.
pub(crate) fn content<'a>(
    sections: &[FoundSection],
    file: &'a [u8],
    name: &str,
) -> Result<Option<&'a [u8]>> {
    let Some(section) = sections.iter().find(|section| section.name == name) else {
        return Ok(None);
    };
    let size = section.size.min(section.virtual_size);
    slice(file, usize::try_from(section.offset)?, usize::try_from(size)?).map(Some)
}

/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const SIGNED_DATA: u16 = 2;

impl FoundPe {
    /// What each PKCS#7 certificate of `file` says, and whether it holds.
    pub fn signatures(&self, file: &[u8]) -> Result<Vec<FoundSignature>> {
        let signed = self.certificates.iter().filter(|one| one.kind == SIGNED_DATA);
        signed
            .map(|one| {
                let pkcs7 = slice(file, usize::try_from(one.offset)?, usize::try_from(one.size)?)?;
                signature::authenticode(pkcs7, &self.digest)
            })
            .collect()
    }

    /// The content of the section `name` in `file`, without padding.
    pub fn content<'a>(&self, file: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
        content(&self.sections, file, name)
    }

    /// What firmware with memory protection wants: sections in ascending order on pages of their
    /// own, an image size that covers them, rounded.
    pub fn check_placement(&self) -> Result<()> {
        let align = self.section_alignment;
        if !align.is_power_of_two() || align < 4096 {
            bail!("section alignment {align} is no page");
        }
        if !self.file_alignment.is_power_of_two() || !(512..=65_536).contains(&self.file_alignment)
        {
            bail!("file alignment {}", self.file_alignment);
        }
        let mut end = u64::from(self.size_of_headers);
        for section in &self.sections {
            let FoundSection { name, address, offset, .. } = section;
            if address % align != 0 || u64::from(*address) < end {
                bail!("section `{name}` at {address:#x} is not on a page of its own");
            }
            if offset % self.file_alignment != 0 {
                bail!("section `{name}` has its content at {offset:#x}");
            }
            end = u64::from(*address) + u64::from(section.virtual_size.max(section.size));
        }
        let whole = end.div_ceil(u64::from(align)) * u64::from(align);
        if u64::from(self.size_of_image) != whole {
            bail!("image size is {:#x}, its sections end at {whole:#x}", self.size_of_image);
        }
        Ok(())
    }
}

fn section(file: &[u8], at: usize) -> Result<FoundSection> {
    let name = slice(file, at, 8)?.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(FoundSection {
        name: String::from_utf8(name.to_vec()).context("read the name of a section")?,
        virtual_size: u32_at(file, at + 8)?,
        address: u32_at(file, at + 12)?,
        size: u32_at(file, at + 16)?,
        offset: u32_at(file, at + 20)?,
        characteristics: u32_at(file, at + 36)?,
    })
}

/// In the file's order: every section that has content in the file.
fn by_offset(sections: &[FoundSection]) -> Vec<&FoundSection> {
    let mut sorted: Vec<_> = sections.iter().filter(|section| section.size > 0).collect();
    sorted.sort_by_key(|section| section.offset);
    sorted
}

fn apart(sections: &[FoundSection], headers: u32, length: usize) -> Result<()> {
    let mut end = u64::from(headers);
    for section in by_offset(sections) {
        if u64::from(section.offset) < end {
            bail!("section `{}` shares bytes with what comes before", section.name);
        }
        end = u64::from(section.offset) + u64::from(section.size);
    }
    if end > length as u64 {
        bail!("headers or sections end at {end}, the file has {length} bytes");
    }
    Ok(())
}

fn certificates(file: &[u8], offset: u64, size: u64) -> Result<Vec<FoundCertificate>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    if !offset.is_multiple_of(8) || offset.checked_add(size) != Some(file.len() as u64) {
        bail!("certificates at {offset} do not end where the file does");
    }
    let mut found = Vec::new();
    let mut at = offset;
    while at < offset + size {
        let start = usize::try_from(at)?;
        let length = u64::from(u32_at(file, start)?);
        if length < 8 || length > offset + size - at {
            bail!("certificate of {length} bytes at {at}");
        }
        found.push(FoundCertificate {
            revision: u16_at(file, start + 4)?,
            kind: u16_at(file, start + 6)?,
            offset: at + 8,
            size: length - 8,
        });
        at += length.next_multiple_of(8);
    }
    Ok(found)
}

/// Headers without checksum and certificate entry, sections by offset, what follows them.
fn digest(
    file: &[u8],
    optional: usize,
    headers: u32,
    sections: &[FoundSection],
    end: usize,
) -> Result<String> {
    let headers = usize::try_from(headers)?;
    let (checksum, security) = (optional + CHECKSUM, optional + SECURITY);
    let mut hash = Sha256::new();
    hash.update(slice(file, 0, checksum)?);
    hash.update(slice(file, checksum + 4, security - checksum - 4)?);
    let rest = headers.checked_sub(security + 8).context("measure the headers")?;
    hash.update(slice(file, security + 8, rest)?);
    // As the specification counts: what follows begins at the sum of bytes hashed so far.
    let mut hashed = headers;
    for section in by_offset(sections) {
        let (offset, size) = (usize::try_from(section.offset)?, usize::try_from(section.size)?);
        hash.update(slice(file, offset, size)?);
        hashed = hashed.checked_add(size).context("measure the sections")?;
    }
    if let Some(more) = end.checked_sub(hashed) {
        hash.update(slice(file, hashed, more)?);
    }
    hash.update(&[0; 8][..end.next_multiple_of(8) - end]);
    Ok(hex(&hash.finalize()))
}
