//! The partition table (UEFI 2.10, section 5.3) and the protective MBR before it (5.2.3).
//!
//! The `gpt` crate's own writer numbers partitions anew; its parts, used here, keep the slots.

use anyhow::{Context, Result};
use gpt::disk::LogicalBlockSize;
use gpt::header::Header;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use crate::Partition;
use crate::sparse::Sparse;

/// Entries in the table, used or not (the least that UEFI allows), and bytes of each.
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;

/// Bytes of all entries together.
const ARRAY: u64 = ENTRIES as u64 * ENTRY_BYTES as u64;

/// A partition and where it lies, in bytes.
pub(crate) struct Placed<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Bytes at the head of the disk: MBR, header, entries.
pub(crate) fn head_bytes(sector: u32) -> u64 {
    2 * u64::from(sector) + ARRAY
}

/// Bytes at the end of the disk: entries, header.
pub(crate) fn tail_bytes(sector: u32) -> u64 {
    u64::from(sector) + ARRAY
}

/// The first [`head_bytes`] and last [`tail_bytes`] bytes of a disk of `size` bytes.
pub(crate) fn tables(
    size: u64,
    sector: u32,
    disk: &str,
    partitions: &[Placed<'_>],
) -> Result<(Vec<u8>, Vec<u8>)> {
    let block = match sector {
        4096 => LogicalBlockSize::Lb4096,
        _ => LogicalBlockSize::Lb512,
    };
    let bytes = u64::from(sector);
    let last = size / bytes - 1;
    let mut device = Sparse::new(size);
    ProtectiveMBR::with_lb_size(u32::try_from(last).unwrap_or(u32::MAX))
        .overwrite_lba0(&mut device)
        .context("write protective MBR")?;

    let mut primary = Header {
        signature: "EFI PART".to_owned(),
        revision: (1, 0),
        header_size_le: 92,
        crc32: 0,
        reserved: 0,
        current_lba: 1,
        backup_lba: last,
        first_usable: 2 + ARRAY / bytes,
        last_usable: last - 1 - ARRAY / bytes,
        disk_guid: parse(disk)?,
        part_start: 2,
        num_parts: ENTRIES,
        part_size: ENTRY_BYTES,
        crc32_parts: 0,
    };
    let mut backup = Header {
        current_lba: last,
        backup_lba: 1,
        part_start: last - ARRAY / bytes,
        ..primary.clone()
    };
    for start in [primary.part_start, backup.part_start] {
        for placed in partitions {
            let slot = u64::from(placed.partition.number.saturating_sub(1));
            entry(placed, bytes)?
                .write_to_device(&mut device, slot, start, block, ENTRY_BYTES)
                .with_context(|| format!("write entry of `{}`", placed.partition.label))?;
        }
    }
    // The headers hold checksums of the entries, read back from the device: entries come first.
    backup.write_backup(&mut device, block).context("write backup table")?;
    primary.write_primary(&mut device, block).context("write partition table")?;

    let mut head = vec![0; usize::try_from(head_bytes(sector))?];
    let mut tail = vec![0; usize::try_from(tail_bytes(sector))?];
    device.read_at(0, &mut head).context("read partition table back")?;
    device.read_at(size - tail.len() as u64, &mut tail).context("read backup table back")?;
    Ok((head, tail))
}

fn entry(placed: &Placed<'_>, sector: u64) -> Result<gpt::partition::Partition> {
    let Placed { partition, offset, length } = placed;
    Ok(gpt::partition::Partition {
        part_type_guid: Type { guid: parse(&partition.kind)?, os: OperatingSystem::None },
        part_guid: parse(&partition.uuid)?,
        first_lba: offset / sector,
        last_lba: (offset + length) / sector - 1,
        flags: partition.attributes,
        name: partition.label.clone(),
    })
}

fn parse(uuid: &str) -> Result<Uuid> {
    Uuid::parse_str(uuid).with_context(|| format!("read UUID `{uuid}`"))
}
