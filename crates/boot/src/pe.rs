//! Headers of PE32+ images (Microsoft PE and COFF Specification): reading, and the checksum.

use anyhow::{Context, Result, bail};

/// Largest image: offsets are 32 bits, and a UKI has to fit on an ESP.
pub(crate) const SIZE_MAX: u64 = 1 << 30;

/// Size of one row of the section table.
pub(crate) const SECTION_ROW: usize = 40;

/// `IMAGE_DLLCHARACTERISTICS_NX_COMPAT`.
pub(crate) const NX_COMPAT: u16 = 0x0100;

// Offsets from the COFF header, which follows the signature `PE\0\0`.
pub(crate) const NUMBER_OF_SECTIONS: usize = 2;
pub(crate) const TIME_DATE_STAMP: usize = 4;
pub(crate) const POINTER_TO_SYMBOLS: usize = 8;
pub(crate) const NUMBER_OF_SYMBOLS: usize = 12;
const SIZE_OF_OPTIONAL: usize = 16;
pub(crate) const CHARACTERISTICS: usize = 18;
const OPTIONAL: usize = 20;

// Offsets from the COFF header into the optional header of PE32+.
pub(crate) const SIZE_OF_INITIALIZED: usize = OPTIONAL + 8;
const SECTION_ALIGNMENT: usize = OPTIONAL + 32;
const FILE_ALIGNMENT: usize = OPTIONAL + 36;
pub(crate) const SIZE_OF_IMAGE: usize = OPTIONAL + 56;
pub(crate) const SIZE_OF_HEADERS: usize = OPTIONAL + 60;
pub(crate) const CHECKSUM: usize = OPTIONAL + 64;
pub(crate) const DLL_CHARACTERISTICS: usize = OPTIONAL + 70;
const NUMBER_OF_DIRECTORIES: usize = OPTIONAL + 108;
/// Row 4 of the data directories: a file offset (no address) and a size.
pub(crate) const SECURITY: usize = OPTIONAL + 112 + 4 * 8;
/// Row 6.
const DEBUG: usize = OPTIONAL + 112 + 6 * 8;
const DIRECTORIES_WANTED: u32 = 7;

/// A parsed image; offsets count from its first byte.
pub(crate) struct Pe {
    /// Where the COFF header begins.
    pub(crate) coff: usize,
    /// Where the section table begins.
    pub(crate) table: usize,
    pub(crate) section_alignment: u32,
    pub(crate) file_alignment: u32,
    pub(crate) size_of_headers: u32,
    pub(crate) dll_characteristics: u16,
    /// Offset and size of the certificate table; 0 and 0 when unsigned.
    pub(crate) security: (u32, u32),
    pub(crate) has_debug_directory: bool,
    pub(crate) has_symbols: bool,
    pub(crate) sections: Vec<Section>,
}

/// A row of the section table.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: [u8; 8],
    pub(crate) virtual_size: u32,
    pub(crate) address: u32,
    pub(crate) raw_size: u32,
    pub(crate) offset: u32,
    pub(crate) characteristics: u32,
}

impl Pe {
    /// Reads the headers; every section's raw bytes lie inside the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > SIZE_MAX {
            bail!("PE image has {} bytes, more than the {SIZE_MAX} allowed", bytes.len());
        }
        if bytes.get(..2) != Some(b"MZ") {
            bail!("not a PE image: it does not begin with `MZ`");
        }
        let signature = usize::try_from(get_u32(bytes, 0x3c)?)?;
        let coff = signature + 4;
        if bytes.get(signature..coff) != Some(b"PE\0\0") {
            bail!("not a PE image: there is no PE signature at {signature}");
        }
        let optional = usize::from(get_u16(bytes, coff + SIZE_OF_OPTIONAL)?);
        if get_u16(bytes, coff + OPTIONAL)? != 0x020b {
            bail!("PE image is not PE32+");
        }
        if get_u32(bytes, coff + NUMBER_OF_DIRECTORIES)? < DIRECTORIES_WANTED {
            bail!("PE image has no room for a signature in its data directories");
        }
        let pe = Self {
            coff,
            table: coff + OPTIONAL + optional,
            section_alignment: alignment(get_u32(bytes, coff + SECTION_ALIGNMENT)?)?,
            file_alignment: alignment(get_u32(bytes, coff + FILE_ALIGNMENT)?)?,
            size_of_headers: get_u32(bytes, coff + SIZE_OF_HEADERS)?,
            dll_characteristics: get_u16(bytes, coff + DLL_CHARACTERISTICS)?,
            security: (get_u32(bytes, coff + SECURITY)?, get_u32(bytes, coff + SECURITY + 4)?),
            has_debug_directory: get_u32(bytes, coff + DEBUG + 4)? != 0,
            has_symbols: get_u32(bytes, coff + POINTER_TO_SYMBOLS)? != 0,
            sections: Vec::new(),
        };
        pe.with_sections(bytes, usize::from(get_u16(bytes, coff + NUMBER_OF_SECTIONS)?))
    }

    fn with_sections(mut self, bytes: &[u8], count: usize) -> Result<Self> {
        for i in 0..count {
            let section = Section::parse(bytes, self.table + i * SECTION_ROW)?;
            section.raw(bytes)?;
            self.sections.push(section);
        }
        let headers = usize::try_from(self.size_of_headers)?;
        if self.table + count * SECTION_ROW > headers || headers > bytes.len() {
            bail!("PE headers do not fit in the {headers} bytes that they claim");
        }
        Ok(self)
    }

    /// The section called `name`.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == section_name(name))
    }
}

impl Section {
    fn parse(bytes: &[u8], at: usize) -> Result<Self> {
        let mut name = [0; 8];
        name.copy_from_slice(bytes.get(at..at + 8).context("PE section table is cut off")?);
        Ok(Self {
            name,
            virtual_size: get_u32(bytes, at + 8)?,
            address: get_u32(bytes, at + 12)?,
            raw_size: get_u32(bytes, at + 16)?,
            offset: get_u32(bytes, at + 20)?,
            characteristics: get_u32(bytes, at + 36)?,
        })
    }

    /// The section's bytes in the file, padding included.
    pub(crate) fn raw<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let start = usize::try_from(self.offset)?;
        let end = start.checked_add(usize::try_from(self.raw_size)?);
        end.and_then(|end| bytes.get(start..end))
            .with_context(|| format!("PE section `{}` lies outside the file", self.label()))
    }

    /// The section's bytes without padding.
    pub(crate) fn content<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let raw = self.raw(bytes)?;
        Ok(&raw[..raw.len().min(usize::try_from(self.virtual_size)?)])
    }

    /// The name for people.
    pub(crate) fn label(&self) -> String {
        self.name.escape_ascii().to_string().replace("\\x00", "")
    }

    /// The row as it stands in the section table.
    pub(crate) fn row(&self) -> [u8; SECTION_ROW] {
        let mut row = [0; SECTION_ROW];
        row[..8].copy_from_slice(&self.name);
        for (at, value) in [
            (8, self.virtual_size),
            (12, self.address),
            (16, self.raw_size),
            (20, self.offset),
            (36, self.characteristics),
        ] {
            row[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        row
    }
}

/// A section's name as the table writes it; all of ours have eight letters or fewer.
pub(crate) fn section_name(name: &str) -> [u8; 8] {
    let mut padded = [0; 8];
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    padded
}

/// The checksum of an image (as `CheckSumMappedFile` computes it): the 16-bit sum of all words
/// but the checksum itself, carries folded in, plus the file's size.
pub(crate) fn checksum(bytes: &[u8], coff: usize) -> Result<u32> {
    let field = coff + CHECKSUM;
    let mut sum: u32 = 0;
    for (i, pair) in bytes.chunks(2).enumerate() {
        let at = 2 * i;
        if at == field || at == field + 2 {
            continue;
        }
        let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum.checked_add(u32::try_from(bytes.len())?).context("PE checksum overflows")
}

fn alignment(value: u32) -> Result<u32> {
    if !value.is_power_of_two() || !(16..=1 << 20).contains(&value) {
        bail!("PE image asks for an alignment of {value}");
    }
    Ok(value)
}

pub(crate) fn get_u16(bytes: &[u8], at: usize) -> Result<u16> {
    let field = bytes.get(at..at + 2).context("PE headers are cut off")?;
    Ok(u16::from_le_bytes([field[0], field[1]]))
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..at + 4).context("PE headers are cut off")?;
    Ok(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

/// Writes a field of headers that [`Pe::parse`] has accepted.
pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) -> Result<()> {
    let place = bytes.get_mut(at..at + field.len()).context("PE headers are cut off")?;
    place.copy_from_slice(field);
    Ok(())
}
