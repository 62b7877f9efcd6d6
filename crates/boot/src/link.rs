//! Adding sections to one of systemd's EFI stubs.

use anyhow::{Context, Result, bail};

use crate::pe::{self, NX_COMPAT, Pe, SECTION_ROW, Section};

/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const DATA: u32 = 0x4000_0040;
/// `IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_READ`: an old kernel is run where it lies.
const CODE: u32 = 0x4000_0020;
/// `IMAGE_FILE_LOCAL_SYMS_STRIPPED`.
const SYMBOLS_STRIPPED: u16 = 0x0008;

/// A section to add.
pub(crate) struct Part<'a> {
    pub(crate) name: &'static str,
    pub(crate) content: &'a [u8],
}

/// The stub with `parts` behind its own sections, in their order; a part whose name the stub has
/// takes that section's place.
///
/// Addresses lie on the image's section alignment (secure firmware protects memory by pages), raw
/// bytes on its file alignment, without gaps, and whatever the stub has after its last section
/// (symbols) goes: what lies in gaps is hashed by some and not by others. The time stamp becomes 0.
pub(crate) fn link(stub: &[u8], parts: &[Part<'_>]) -> Result<Vec<u8>> {
    let pe = Pe::parse(stub).context("read the stub")?;
    check_stub(&pe)?;
    let mut laid = Vec::new();
    for section in &pe.sections {
        let part = parts.iter().find(|part| pe::section_name(part.name) == section.name);
        laid.push(match part {
            Some(part) => Section { virtual_size: size_of(part)?, ..section.clone() },
            None => section.clone(),
        });
    }
    let mut contents: Vec<&[u8]> = Vec::new();
    for section in &pe.sections {
        let part = parts.iter().find(|part| pe::section_name(part.name) == section.name);
        contents.push(part.map_or_else(|| section.raw(stub), |part| Ok(part.content))?);
    }
    let mut added = 0u32;
    for part in parts.iter().filter(|part| pe.section(part.name).is_none()) {
        let section = Section {
            name: pe::section_name(part.name),
            virtual_size: size_of(part)?,
            address: next_address(&laid, &pe)?,
            raw_size: 0,
            offset: 0,
            characteristics: if part.name == ".linux" { CODE } else { DATA },
        };
        added = added.checked_add(section.virtual_size).context("sections are too large")?;
        laid.push(section);
        contents.push(part.content);
    }
    place(&mut laid, &contents, &pe)?;
    emit(stub, &pe, &laid, &contents, added, parts)
}

fn check_stub(pe: &Pe) -> Result<()> {
    if pe.security != (0, 0) {
        bail!("the stub is signed: what is linked is signed as a whole");
    }
    let mut end = 0;
    for section in &pe.sections {
        if section.address % pe.section_alignment != 0 || section.address < end {
            bail!("section `{}` of the stub has a bad address", section.label());
        }
        end = section
            .address
            .checked_add(section.virtual_size)
            .with_context(|| format!("section `{}` of the stub is too large", section.label()))?;
    }
    Ok(())
}

/// The first free address after `sections`.
fn next_address(sections: &[Section], pe: &Pe) -> Result<u32> {
    let last = sections.last().context("the stub has no section")?;
    last.address
        .checked_add(last.virtual_size)
        .and_then(|end| end.checked_next_multiple_of(pe.section_alignment))
        .context("sections are too large")
}

/// Gives every section its raw size and offset; checks that none grew into the next one's memory.
fn place(sections: &mut [Section], contents: &[&[u8]], pe: &Pe) -> Result<()> {
    let mut offset = headers_end(pe)?;
    for (section, content) in sections.iter_mut().zip(contents) {
        let raw_size = u32::try_from(content.len())
            .ok()
            .and_then(|size| size.checked_next_multiple_of(pe.file_alignment))
            .with_context(|| format!("section `{}` is too large", section.label()))?;
        let moved = section.offset != 0 && section.offset != offset;
        if moved && pe.has_debug_directory {
            bail!("section `{}` would move, and the stub has a debug directory", section.label());
        }
        section.raw_size = raw_size.max(if section.offset != 0 { section.raw_size } else { 0 });
        section.offset = offset;
        offset = offset.checked_add(section.raw_size).context("sections are too large")?;
    }
    for pair in sections.windows(2) {
        let end = pair[0].address.checked_add(pair[0].virtual_size);
        if end.is_none_or(|end| end > pair[1].address) {
            bail!("section `{}` grows into `{}`", pair[0].label(), pair[1].label());
        }
    }
    Ok(())
}

fn headers_end(pe: &Pe) -> Result<u32> {
    pe.size_of_headers
        .checked_next_multiple_of(pe.file_alignment)
        .context("the stub's headers are too large")
}

fn emit(
    stub: &[u8],
    pe: &Pe,
    sections: &[Section],
    contents: &[&[u8]],
    added: u32,
    parts: &[Part<'_>],
) -> Result<Vec<u8>> {
    let headers = usize::try_from(headers_end(pe)?)?;
    let table_end = pe.table + sections.len() * SECTION_ROW;
    if table_end > headers {
        let room = (headers - pe.table) / SECTION_ROW;
        bail!("the stub has room for {room} sections, and {} are needed", sections.len());
    }
    let mut image = stub.get(..pe.table).context("the stub is cut off")?.to_vec();
    for section in sections {
        image.extend_from_slice(&section.row());
    }
    image.resize(headers, 0);
    for (section, content) in sections.iter().zip(contents) {
        image.resize(usize::try_from(section.offset)?, 0);
        image.extend_from_slice(content);
    }
    let end = sections.last().map_or(Ok(headers), |s| usize::try_from(s.offset + s.raw_size))?;
    image.resize(end.next_multiple_of(8), 0);
    set_headers(&mut image, pe, sections, added, parts)?;
    Ok(image)
}

fn set_headers(
    image: &mut [u8],
    pe: &Pe,
    sections: &[Section],
    added: u32,
    parts: &[Part<'_>],
) -> Result<()> {
    let at = |field: usize| pe.coff + field;
    let count = u16::try_from(sections.len()).context("too many sections")?;
    let initialized = pe::get_u32(image, at(pe::SIZE_OF_INITIALIZED))?
        .checked_add(added)
        .context("sections are too large")?;
    pe::put(image, at(pe::NUMBER_OF_SECTIONS), &count.to_le_bytes())?;
    for field in [pe::TIME_DATE_STAMP, pe::POINTER_TO_SYMBOLS, pe::NUMBER_OF_SYMBOLS, pe::CHECKSUM]
    {
        pe::put(image, at(field), &[0; 4])?;
    }
    pe::put(image, at(pe::SIZE_OF_INITIALIZED), &initialized.to_le_bytes())?;
    pe::put(image, at(pe::SIZE_OF_IMAGE), &next_address(sections, pe)?.to_le_bytes())?;
    pe::put(image, at(pe::SIZE_OF_HEADERS), &headers_end(pe)?.to_le_bytes())?;
    if pe.has_symbols {
        let flags = pe::get_u16(image, at(pe::CHARACTERISTICS))? | SYMBOLS_STRIPPED;
        pe::put(image, at(pe::CHARACTERISTICS), &flags.to_le_bytes())?;
    }
    // Stub and kernel must agree whether memory may be both written and run: firmware that
    // enforces the promise would stop a kernel that did not make it.
    let kernel = parts.iter().find(|part| part.name == ".linux");
    if let Some(kernel) = kernel.and_then(|part| Pe::parse(part.content).ok())
        && kernel.dll_characteristics & NX_COMPAT == 0
    {
        let flags = pe.dll_characteristics & !NX_COMPAT;
        pe::put(image, at(pe::DLL_CHARACTERISTICS), &flags.to_le_bytes())?;
    }
    Ok(())
}

fn size_of(part: &Part<'_>) -> Result<u32> {
    u32::try_from(part.content.len())
        .with_context(|| format!("section `{}` is too large", part.name))
}
