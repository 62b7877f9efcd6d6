//! Directories of a FAT volume.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use anyhow::{Context, Error, Result, anyhow, bail};

use super::{FoundFile, FoundVolume, Kind};
use crate::bytes::{read_at, slice, u8_at, u16_at, u32_at};

const ENTRY: usize = 32;
const DELETED: u8 = 0xe5;
const READ_MASK: u8 = 0x3f;
const LONG_NAME: u8 = 0x0f;
const VOLUME_ID: u8 = 0x08;
const DIRECTORY: u8 = 0x10;

/// The most directories and files together, and the deepest nesting.
const ENTRIES_LIMIT: usize = 65_536;
const DEPTH_LIMIT: usize = 32;
/// The most bytes of one directory (65,536 entries).
const DIRECTORY_LIMIT: usize = 2 << 20;

/// One short entry with the long name that belongs to it.
struct Found {
    name: String,
    attributes: u8,
    first: u32,
    size: u32,
    modified: String,
}

/// Reads every directory into the volume; gives the clusters that anything uses. What cannot be
/// read is a fault, and left out.
pub(super) fn walk<D: Read + Seek>(
    device: &mut D,
    volume: &mut FoundVolume,
    faults: &mut Vec<Error>,
) -> BTreeSet<u32> {
    let mut used = BTreeSet::new();
    let mut left = vec![(String::new(), volume.geometry.root_cluster, 0, 0)];
    while let Some((path, first, parent, depth)) = left.pop() {
        let shown = format!("/{path}");
        let mut ill = Vec::new();
        let entries = bytes(device, volume, first, &mut used)
            .map(|bytes| parse(&bytes, volume, first, parent, depth == 0, &mut ill));
        let entries = entries.unwrap_or_else(|fault| {
            ill.push(fault);
            Vec::new()
        });
        let inside =
            ill.into_iter().map(|fault| fault.context(format!("read directory `{shown}`")));
        faults.extend(inside);
        for entry in entries {
            let below =
                if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
            if volume.files.len() + volume.directories.len() >= ENTRIES_LIMIT {
                faults.push(anyhow!("more than {ENTRIES_LIMIT} entries"));
                return used;
            }
            if volume.files.contains_key(&below) || volume.directories.contains(&below) {
                faults.push(anyhow!("`/{below}` is there twice"));
            } else if entry.attributes & DIRECTORY == 0 {
                let claimed = claim_file(volume, &entry, &mut used);
                faults.extend(claimed.with_context(|| format!("read file `/{below}`")).err());
                let Found { attributes, first, size, modified, .. } = entry;
                volume.files.insert(below, FoundFile { size, attributes, modified, first });
            } else if depth >= DEPTH_LIMIT || entry.first == 0 {
                faults.push(anyhow!("`/{below}` is no directory, or too deep"));
            } else {
                left.push((below.clone(), entry.first, first, depth + 1));
                volume.directories.insert(below);
            }
        }
    }
    used
}

fn bytes<D: Read + Seek>(
    device: &mut D,
    volume: &FoundVolume,
    first: u32,
    used: &mut BTreeSet<u32>,
) -> Result<Vec<u8>> {
    if first == 0 && volume.kind != Kind::Fat32 {
        let geometry = &volume.geometry;
        return read_at(device, geometry.root, geometry.data - geometry.root);
    }
    let chain = volume.chain(first)?;
    if chain.len() * volume.cluster as usize > DIRECTORY_LIMIT {
        bail!("the directory has {} clusters", chain.len());
    }
    claim(&chain, used)?;
    volume.chain_bytes(device, &chain)
}

fn claim(chain: &[u32], used: &mut BTreeSet<u32>) -> Result<()> {
    match chain.iter().find(|cluster| !used.insert(**cluster)) {
        Some(cluster) => bail!("cluster {cluster} belongs to two files"),
        None => Ok(()),
    }
}

fn claim_file(volume: &FoundVolume, entry: &Found, used: &mut BTreeSet<u32>) -> Result<()> {
    let chain = volume.chain(entry.first)?;
    if chain.len() as u64 != u64::from(entry.size).div_ceil(u64::from(volume.cluster)) {
        bail!("{} bytes do not take {} clusters", entry.size, chain.len());
    }
    claim(&chain, used)
}

/// The entries of a directory; one that is ill-formed is a fault, and left out.
fn parse(
    bytes: &[u8],
    volume: &mut FoundVolume,
    own: u32,
    parent: u32,
    is_root: bool,
    faults: &mut Vec<Error>,
) -> Vec<Found> {
    let mut found = Vec::new();
    let mut long: Vec<&[u8]> = Vec::new();
    let mut entries = bytes.chunks_exact(ENTRY);
    if !is_root {
        // `..` of a directory in the root says 0, on every kind of FAT.
        let above = if parent == volume.geometry.root_cluster { 0 } else { parent };
        faults.extend(dot(entries.next(), b".          ", own).err());
        faults.extend(dot(entries.next(), b"..         ", above).err());
    }
    for entry in entries {
        match one(entry, &mut long, volume, is_root, faults) {
            Ok(Next::End) => break,
            Ok(Next::Nothing) => {}
            Ok(Next::Found(one)) => found.push(one),
            Err(fault) => faults.push(fault),
        }
    }
    found
}

/// What an entry of 32 bytes is.
enum Next {
    End,
    Nothing,
    Found(Found),
}

fn one<'a>(
    entry: &'a [u8],
    long: &mut Vec<&'a [u8]>,
    volume: &mut FoundVolume,
    is_root: bool,
    faults: &mut Vec<Error>,
) -> Result<Next> {
    let attributes = u8_at(entry, 11)?;
    match u8_at(entry, 0)? {
        0 => return Ok(Next::End),
        DELETED => long.clear(),
        _ if attributes & READ_MASK == LONG_NAME => long.push(entry),
        _ if attributes & VOLUME_ID != 0 => {
            if is_root {
                let label = slice(entry, 0, 11)?;
                volume.label = String::from_utf8_lossy(label).trim_end().to_owned();
            }
            long.clear();
        }
        b'.' => bail!("`.` or `..` is not at the head"),
        _ => {
            let full = match long.is_empty() {
                true => Err(None),
                false => long_name(long, entry).map_err(Some),
            };
            long.clear();
            // A long name that does not fit its short name is passed over by firmware.
            let name = match full {
                Ok(name) => name,
                Err(fault) => {
                    faults.extend(fault);
                    short_name(entry)?
                }
            };
            return Ok(Next::Found(Found {
                name,
                attributes,
                first: first(entry)?,
                size: u32_at(entry, 28)?,
                modified: moment(u16_at(entry, 24)?, u16_at(entry, 22)?),
            }));
        }
    }
    Ok(Next::Nothing)
}

fn dot(entry: Option<&[u8]>, name: &[u8], target: u32) -> Result<()> {
    let entry = entry.context("the directory is empty")?;
    if slice(entry, 0, 11)? != name || u8_at(entry, 11)? & DIRECTORY == 0 {
        bail!("`.` and `..` are not its first entries");
    }
    if first(entry)? != target {
        bail!("`.` or `..` leads to cluster {}, not {target}", first(entry)?);
    }
    Ok(())
}

fn first(entry: &[u8]) -> Result<u32> {
    Ok(u32::from(u16_at(entry, 20)?) << 16 | u32::from(u16_at(entry, 26)?))
}

/// The 8.3 name; two bits say whether its halves are meant in lower case.
fn short_name(entry: &[u8]) -> Result<String> {
    let lower = u8_at(entry, 12)?;
    let half = |at, length, bit| {
        let text = String::from_utf8_lossy(slice(entry, at, length)?).trim_end().to_owned();
        Ok::<_, anyhow::Error>(if lower & bit != 0 { text.to_lowercase() } else { text })
    };
    let (base, extension) = (half(0, 8, 0x08)?, half(8, 3, 0x10)?);
    let name = if extension.is_empty() { base } else { format!("{base}.{extension}") };
    checked(name)
}

/// A long name: entries from last to first, numbered, each with the short name's checksum.
fn long_name(entries: &[&[u8]], short: &[u8]) -> Result<String> {
    const LAST: u8 = 0x40;
    let sum =
        slice(short, 0, 11)?.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units = Vec::new();
    for (index, entry) in entries.iter().rev().enumerate() {
        let last = if index + 1 == entries.len() { LAST } else { 0 };
        if usize::from(u8_at(entry, 0)? & !last) != index + 1 || u8_at(entry, 13)? != sum {
            bail!("a long name is out of order or not of its short name");
        }
        for (at, count) in [(1, 5), (14, 6), (28, 2)] {
            for unit in 0..count {
                units.push(u16_at(entry, at + 2 * unit)?);
            }
        }
    }
    let name = units.split(|unit| *unit == 0).next().unwrap_or_default();
    checked(String::from_utf16(name).context("read a long name")?)
}

fn checked(name: String) -> Result<String> {
    if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\\', '\0']) {
        bail!("`{}` is no name", name.escape_debug());
    }
    Ok(name)
}

fn moment(date: u16, time: u16) -> String {
    let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
    let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}
