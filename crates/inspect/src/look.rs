//! Any file, recognised by its content.

use std::io::{Read, Seek};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::bytes::{read_at, size};
use crate::holding::{self, Holding};
use crate::image::{self, FoundImage, FoundProgram};
use crate::pe;
use crate::uki::{self, FoundUki};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// The version of this document's form.
    pub format: u32,
    /// Bytes of the file.
    #[serde(rename = "size-bytes")]
    pub size: u64,
    /// What it holds.
    #[serde(flatten)]
    pub form: Form,
    /// What contradicts itself or is damaged, in words.
    pub problems: Vec<String>,
}

/// The forms that a file can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A disk with a partition table: raw, or a fixed VHD.
    Disk(Box<FoundImage>),
    /// A unified kernel image.
    Kernel(Box<FoundUki>),
    /// Another EFI program; its path is empty.
    Program(FoundProgram),
    /// A cpio archive.
    Archive(FoundArchive),
    /// What a partition could hold.
    Volume(Box<Holding>),
}

/// A cpio archive (cpio(5), "new ASCII format"), such as an initrd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundArchive {
    /// How many names it holds.
    pub names: u64,
    /// Bytes of all files.
    #[serde(rename = "content-bytes")]
    pub content: u64,
}

/// The version of [`Found`]'s JSON: raised when a field changes its meaning or goes.
const FORMAT: u32 = 1;
/// The most bytes of a program that are read.
const PROGRAM_LIMIT: u64 = 1 << 30;
/// The most entries of an archive, and the longest name.
const ENTRIES_LIMIT: u64 = 4_000_000;
const NAME_LIMIT: u64 = 4096;

/// Recognises and reads a file: a disk (raw or fixed VHD), an EFI program, a cpio archive, or
/// what a partition holds.
///
/// Errors: it cannot be read at all, or nothing here knows it.
pub fn look<D: Read + Seek>(device: &mut D) -> Result<Found> {
    let size = size(device)?;
    let mut problems = Vec::new();
    let begins = read_at(device, 0, size.min(6))?;
    let form = if begins.starts_with(b"MZ") {
        program(device, size, &mut problems)?
    } else if begins == CPIO {
        Form::Archive(archive(device).context("read a cpio archive")?)
    } else {
        match image::survey(device) {
            Ok(mut image) => {
                problems.append(&mut image.faults);
                Form::Disk(Box::new(image))
            }
            Err(no_disk) => match holding::read(device, &mut problems)? {
                Holding::Unknown | Holding::Empty => {
                    return Err(no_disk.context(
                        "find a partition table, file system, program or archive that is known \
                         here",
                    ));
                }
                holding => Form::Volume(Box::new(holding)),
            },
        }
    };
    Ok(Found { format: FORMAT, size, form, problems })
}

fn program<D: Read + Seek>(device: &mut D, size: u64, problems: &mut Vec<String>) -> Result<Form> {
    if size > PROGRAM_LIMIT {
        bail!("a program of {size} bytes, {PROGRAM_LIMIT} are read");
    }
    let bytes = read_at(device, 0, size)?;
    let found = pe::read(&bytes).context("read an EFI program")?;
    let signatures = found.signatures(&bytes)?;
    problems.extend(signatures.iter().filter_map(crate::signature::FoundSignature::fault));
    if !uki::is_uki(&found) {
        let (path, digest) = (String::new(), found.digest);
        return Ok(Form::Program(FoundProgram { path, digest, signatures }));
    }
    if let Err(error) = found.check_placement() {
        problems.push(format!("{error:#}"));
    }
    Ok(Form::Kernel(Box::new(uki::read(&bytes)?)))
}

const CPIO: &[u8] = b"070701";
const HEADER: u64 = 110;

/// Counts the entries of the first archive; an initrd may hold more behind it.
fn archive<D: Read + Seek>(device: &mut D) -> Result<FoundArchive> {
    let mut found = FoundArchive::default();
    let mut at = 0u64;
    loop {
        let header = read_at(device, at, HEADER)?;
        if !header.starts_with(CPIO) {
            bail!("no header at byte {at}");
        }
        let field = |n: usize| -> Result<u64> {
            let digits = header.get(6 + 8 * n..14 + 8 * n).context("cut the header")?;
            let digits = std::str::from_utf8(digits).context("read a field")?;
            u64::from_str_radix(digits, 16).context("read a field")
        };
        let (length, name_length) = (field(6)?, field(11)?);
        if name_length == 0 || name_length > NAME_LIMIT {
            bail!("a name of {name_length} bytes at byte {at}");
        }
        let name = read_at(device, at + HEADER, name_length)?;
        if name == b"TRAILER!!!\0" {
            return Ok(found);
        }
        found.names += 1;
        if found.names > ENTRIES_LIMIT {
            bail!("more than {ENTRIES_LIMIT} entries");
        }
        found.content = found.content.saturating_add(length);
        let content = (at + HEADER + name_length).next_multiple_of(4);
        let end = content.checked_add(length).context("measure an entry")?;
        at = end.checked_next_multiple_of(4).context("measure an entry")?;
    }
}
