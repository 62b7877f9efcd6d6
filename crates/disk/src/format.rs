//! The files that a disk can be written as.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};
use store::Blob;

use crate::{Disk, Part, vhd};

/// Opens a blob for reading.
pub type Open<'a> = &'a dyn Fn(&Blob) -> Result<File>;

/// A serialisation of [`Disk`]; all hold the same bytes.
pub struct Format {
    /// Its name in profiles.
    pub name: &'static str,
    /// The file name's ending, without a dot.
    pub extension: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Writes the disk into an empty file, sparse: what is zero stays a hole.
    pub write: fn(&Disk, Open<'_>, &mut File) -> Result<()>,
    /// What the file holds, in ascending order; every byte outside is zero.
    pub ranges: fn(&Disk) -> Result<Vec<Range>>,
}

/// Bytes of a written disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The region that they belong to, or `footer`.
    pub region: String,
    /// Where they lie, from the file's start, and what they are.
    pub part: Part,
}

/// Every format.
pub const FORMATS: &[Format] = &[
    Format {
        name: "raw",
        extension: "raw",
        about: "the disk's bytes, sparse",
        write: |disk, open, file| raw(disk, open, file),
        ranges: |disk| ranges(disk),
    },
    Format {
        name: "vhd",
        extension: "vhd",
        about: "fixed VHD, as Azure takes it, sparse",
        write: |disk, open, file| {
            raw(disk, open, file)?;
            let footer = vhd::footer(disk)?;
            file.seek(SeekFrom::Start(disk.size)).context("go to the disk's end")?;
            file.write_all(&footer).context("write the VHD footer")
        },
        ranges: |disk| {
            let part = Part { offset: disk.size, blob: Blob::of(&vhd::footer(disk)?) };
            let mut ranges = ranges(disk)?;
            ranges.push(Range { region: "footer".to_owned(), part });
            Ok(ranges)
        },
    },
];

/// Read at a time, and the least hole.
const BUFFER: usize = 1 << 20;
const HOLE: usize = 4096;

fn raw(disk: &Disk, open: Open<'_>, file: &mut File) -> Result<()> {
    file.set_len(0).and_then(|()| file.set_len(disk.size)).context("size the image file")?;
    let mut buffer = vec![0; BUFFER];
    for Range { region, part } in ranges(disk)? {
        let from = open(&part.blob)?;
        copy(from, part.blob.size, file, part.offset, &mut buffer)
            .with_context(|| format!("write `{region}`"))?;
    }
    Ok(())
}

/// Every part of every region, by its place on the disk.
fn ranges(disk: &Disk) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for region in &disk.regions {
        for part in &region.parts {
            let inside =
                part.offset.checked_add(part.blob.size).is_some_and(|n| n <= region.length);
            if !inside {
                bail!("a part of `{}` lies outside of it", region.name);
            }
            let offset = region.offset.checked_add(part.offset).context("place a part")?;
            let part = Part { offset, blob: part.blob };
            ranges.push(Range { region: region.name.clone(), part });
        }
    }
    Ok(ranges)
}
/// Copies `size` bytes to offset `at`, stepping over blocks that are zero.
fn copy(mut from: File, size: u64, to: &mut File, at: u64, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < size {
        let want = usize::try_from(size - done).unwrap_or(BUFFER).min(buffer.len());
        let piece = &mut buffer[..want];
        from.read_exact(piece).context("read blob")?;
        let mut start = 0;
        while start < want {
            let zero = is_zero(&piece[start..want.min(start + HOLE)]);
            let mut end = want.min(start + HOLE);
            while end < want && is_zero(&piece[end..want.min(end + HOLE)]) == zero {
                end = want.min(end + HOLE);
            }
            if !zero {
                to.seek(SeekFrom::Start(at + done + start as u64)).context("seek")?;
                to.write_all(&piece[start..end]).context("write image file")?;
            }
            start = end;
        }
        done += want as u64;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
