//! The GUID partition table (UEFI 2.10, chapter 5).

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::bytes::{crc, read_at, size, slice, u8_at, u16_at, u32_at, u64_at, uuid};

/// A partition table. As [`read`] gives it, its two copies agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundTable {
    /// Bytes per logical sector.
    #[serde(rename = "sector-bytes")]
    pub sector: u32,
    /// Bytes of the disk.
    #[serde(rename = "size-bytes")]
    pub size: u64,
    /// The disk's GUID.
    #[serde(rename = "disk-uuid")]
    pub disk: String,
    /// Used entries, by number.
    pub partitions: Vec<FoundPartition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundPartition {
    /// Its number, from 1.
    pub number: u32,
    /// Its label.
    pub label: String,
    /// Its type GUID.
    #[serde(rename = "type-uuid")]
    pub kind: String,
    /// Its unique GUID.
    pub uuid: String,
    /// Its attribute bits.
    pub attributes: u64,
    /// Its first byte on the disk.
    #[serde(rename = "offset-bytes")]
    pub offset: u64,
    /// Its length in bytes.
    #[serde(rename = "length-bytes")]
    pub length: u64,
}

/// The most entries that are read.
const ENTRIES_LIMIT: u32 = 1024;
/// The most bytes of one entry.
const ENTRY_LIMIT: u32 = 4096;
const CRC_32: u32 = 0xedb8_8320;

#[derive(PartialEq, Eq)]
struct Header {
    current: u64,
    other: u64,
    first: u64,
    last: u64,
    disk: String,
    array: u64,
    entries: u32,
    entry: u32,
    array_crc: u32,
}

/// Reads both copies of the table; a copy that is damaged, misplaced or different is an error, as
/// is a partition that overlaps another or leaves the usable range, and a missing protective MBR.
pub fn read<D: Read + Seek>(device: &mut D) -> Result<FoundTable> {
    let bytes = size(device)?;
    let sector = sector(device)?;
    let sectors = bytes / u64::from(sector);
    if sectors < 3 {
        bail!("{bytes} bytes are no disk");
    }
    protective(device, sectors)?;
    let primary = header(device, sector, 1).context("read partition table")?;
    if primary.other != sectors - 1 {
        bail!("backup table is at sector {}, the disk ends at {}", primary.other, sectors - 1);
    }
    let backup = header(device, sector, primary.other).context("read backup table")?;
    agree(&primary, &backup)?;
    let array = entries(device, sector, &primary).context("read partition table")?;
    entries(device, sector, &backup).context("read backup table")?;
    placed(&primary, &backup, sector)?;

    let mut partitions = Vec::new();
    for (index, entry) in array.chunks_exact(primary.entry as usize).enumerate() {
        let number = u32::try_from(index)? + 1;
        if let Some(partition) = partition(entry, number, &primary, sector)
            .with_context(|| format!("read partition {number}"))?
        {
            partitions.push(partition);
        }
    }
    apart(&partitions)?;
    Ok(FoundTable { sector, size: bytes, disk: primary.disk, partitions })
}

/// Reads as much of a table as is whole: what [`read`] refuses is said in words, and the table is
/// that of the first copy, else of the second.
///
/// Errors: neither copy can be read.
pub fn survey<D: Read + Seek>(device: &mut D) -> Result<(FoundTable, Vec<String>)> {
    let first = match read(device) {
        Ok(table) => return Ok((table, Vec::new())),
        Err(first) => first,
    };
    let mut faults = vec![format!("{first:#}")];
    let bytes = size(device)?;
    let mut copies = [512u32, 4096].into_iter().flat_map(|sector| {
        let last = (bytes / u64::from(sector)).saturating_sub(1);
        [(sector, 1), (sector, last)]
    });
    let copy = copies.find_map(|(sector, at)| {
        let header = header(device, sector, at).ok()?;
        let array = entries(device, sector, &header).ok()?;
        Some((sector, at, header, array))
    });
    let (sector, at, header, array) = copy.ok_or(first)?;
    if at != 1 {
        faults.push(format!("what follows is from the backup table, at sector {at}"));
    }
    let mut partitions = Vec::new();
    for (index, entry) in array.chunks_exact(header.entry as usize).enumerate() {
        let number = u32::try_from(index)? + 1;
        match partition(entry, number, &header, sector) {
            Ok(found) => partitions.extend(found),
            Err(error) => faults.push(format!("partition {number}: {error:#}")),
        }
    }
    Ok((FoundTable { sector, size: bytes, disk: header.disk, partitions }, faults))
}

/// The sector size, from where the header lies.
fn sector<D: Read + Seek>(device: &mut D) -> Result<u32> {
    for sector in [512, 4096] {
        if read_at(device, u64::from(sector), 8).is_ok_and(|found| found == b"EFI PART") {
            return Ok(sector);
        }
    }
    bail!("no partition table for sectors of 512 or 4096 bytes")
}

fn protective<D: Read + Seek>(device: &mut D, sectors: u64) -> Result<()> {
    let mbr = read_at(device, 0, 512).context("read protective MBR")?;
    let wanted = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    let (kind, start, length) = (u8_at(&mbr, 450)?, u32_at(&mbr, 454)?, u32_at(&mbr, 458)?);
    if slice(&mbr, 510, 2)? != [0x55, 0xaa] || kind != 0xee || start != 1 || length != wanted {
        bail!("the protective MBR is missing or does not cover the disk");
    }
    if slice(&mbr, 462, 48)?.iter().any(|byte| *byte != 0) {
        bail!("the protective MBR names further partitions");
    }
    Ok(())
}

fn header<D: Read + Seek>(device: &mut D, sector: u32, at: u64) -> Result<Header> {
    let offset = at.checked_mul(u64::from(sector)).context("place the header")?;
    let mut bytes = read_at(device, offset, u64::from(sector))?;
    if slice(&bytes, 0, 8)? != b"EFI PART" || u32_at(&bytes, 8)? != 0x0001_0000 {
        bail!("no header of revision 1.0 at sector {at}");
    }
    let length = u32_at(&bytes, 12)?;
    if !(92..=sector).contains(&length) {
        bail!("header of {length} bytes");
    }
    let stored = u32_at(&bytes, 16)?;
    bytes[16..20].fill(0);
    if !crc(CRC_32, slice(&bytes, 0, length as usize)?) != stored {
        bail!("header at sector {at} does not match its checksum");
    }
    let header = Header {
        current: u64_at(&bytes, 24)?,
        other: u64_at(&bytes, 32)?,
        first: u64_at(&bytes, 40)?,
        last: u64_at(&bytes, 48)?,
        disk: guid(slice(&bytes, 56, 16)?)?,
        array: u64_at(&bytes, 72)?,
        entries: u32_at(&bytes, 80)?,
        entry: u32_at(&bytes, 84)?,
        array_crc: u32_at(&bytes, 88)?,
    };
    if header.current != at {
        bail!("header at sector {at} says that it is at {}", header.current);
    }
    if header.entries > ENTRIES_LIMIT
        || !(128..=ENTRY_LIMIT).contains(&header.entry)
        || !header.entry.is_power_of_two()
    {
        bail!("{} entries of {} bytes", header.entries, header.entry);
    }
    Ok(header)
}

fn agree(primary: &Header, backup: &Header) -> Result<()> {
    let same = backup.other == primary.current
        && (primary.first, primary.last) == (backup.first, backup.last)
        && (primary.entries, primary.entry) == (backup.entries, backup.entry)
        && primary.disk == backup.disk
        && primary.array_crc == backup.array_crc;
    if !same {
        bail!("the two copies of the partition table differ");
    }
    Ok(())
}

fn entries<D: Read + Seek>(device: &mut D, sector: u32, header: &Header) -> Result<Vec<u8>> {
    let offset = header.array.checked_mul(u64::from(sector)).context("place the entries")?;
    let array = read_at(device, offset, u64::from(header.entries) * u64::from(header.entry))?;
    if !crc(CRC_32, &array) != header.array_crc {
        bail!("entries at sector {} do not match their checksum", header.array);
    }
    Ok(array)
}

/// Header and entries of both copies lie outside of what partitions may use.
fn placed(primary: &Header, backup: &Header, sector: u32) -> Result<()> {
    let array = (u64::from(primary.entries) * u64::from(primary.entry)).div_ceil(u64::from(sector));
    let head = primary.array.checked_add(array).is_some_and(|end| end <= primary.first);
    let tail = backup.array.checked_add(array).is_some_and(|end| end <= backup.current);
    if primary.array < 2 || !head || !tail || backup.array <= primary.last {
        bail!("the table overlaps the sectors that partitions may use");
    }
    Ok(())
}

fn partition(
    entry: &[u8],
    number: u32,
    header: &Header,
    sector: u32,
) -> Result<Option<FoundPartition>> {
    let kind = slice(entry, 0, 16)?;
    if kind.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    if first > last || first < header.first || last > header.last {
        bail!("sectors {first} to {last} are not within {} to {}", header.first, header.last);
    }
    let units = (0..36).map(|at| u16_at(entry, 56 + 2 * at)).collect::<Result<Vec<_>>>()?;
    let label = units.split(|unit| *unit == 0).next().unwrap_or_default();
    let sector = u64::from(sector);
    Ok(Some(FoundPartition {
        number,
        label: String::from_utf16(label).context("read label")?,
        kind: guid(kind)?,
        uuid: guid(slice(entry, 16, 16)?)?,
        attributes: u64_at(entry, 48)?,
        offset: first.checked_mul(sector).context("place it")?,
        length: (last - first + 1).checked_mul(sector).context("measure it")?,
    }))
}

fn apart(partitions: &[FoundPartition]) -> Result<()> {
    let mut by_place: Vec<_> = partitions.iter().collect();
    by_place.sort_by_key(|partition| partition.offset);
    for pair in by_place.windows(2) {
        if pair[0].offset.saturating_add(pair[0].length) > pair[1].offset {
            bail!("partitions {} and {} overlap", pair[0].number, pair[1].number);
        }
    }
    let mut ids = BTreeSet::new();
    for partition in partitions {
        if !ids.insert(&partition.uuid) {
            bail!("two partitions have the UUID {}", partition.uuid);
        }
    }
    Ok(())
}

/// A GUID: three little-endian numbers, then eight bytes (appendix A).
fn guid(bytes: &[u8]) -> Result<String> {
    let mut ordered = slice(bytes, 0, 16)?.to_vec();
    ordered[0..4].reverse();
    ordered[4..6].reverse();
    ordered[6..8].reverse();
    Ok(uuid(&ordered))
}
