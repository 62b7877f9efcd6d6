//! Inodes and their extended attributes.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use anyhow::{Context, Result, bail};

use super::{Data, FoundEntry, FoundSuperblock, Kind, TARGET_LIMIT, range};
use crate::bytes::{read_at, slice, u8_at, u16_at, u32_at, u64_at};

/// Inode numbers count slots of this many bytes.
const SLOT: u64 = 32;
const COMPACT: u64 = 32;
const EXTENDED: u64 = 64;
/// The most bytes of one inode's attributes that are read.
const XATTRS_LIMIT: u64 = 64 << 10;
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;

pub(super) fn read<D: Read + Seek>(
    device: &mut D,
    superblock: &FoundSuperblock,
    nid: u64,
) -> Result<FoundEntry> {
    let at = nid
        .checked_mul(SLOT)
        .and_then(|at| at.checked_add(superblock.inodes_at))
        .with_context(|| format!("place inode {nid}"))?;
    let format = u16_at(&read_at(device, at, 2)?, 0)?;
    let length = if format & 1 == 0 { COMPACT } else { EXTENDED };
    let bytes = read_at(device, at, length)?;
    let layout = format >> 1 & 7;
    if format >> 4 != 0 {
        bail!("inode {nid} has format {format:#x}");
    }
    let mode = u16_at(&bytes, 4)?;
    let block_number = u64::from(u32_at(&bytes, 16)?);
    let (size, uid, gid, modified, links) = if length == COMPACT {
        let id = |at| Ok::<_, anyhow::Error>(u32::from(u16_at(&bytes, at)?));
        let links = u32::from(u16_at(&bytes, 6)?);
        (u64::from(u32_at(&bytes, 8)?), id(24)?, id(26)?, superblock.epoch, links)
    } else {
        let id = |at| u32_at(&bytes, at);
        (u64_at(&bytes, 8)?, id(24)?, id(28)?, u64_at(&bytes, 32)?, id(44)?)
    };

    let count = u64::from(u16_at(&bytes, 2)?);
    let xattrs_length = if count == 0 { 0 } else { 12 + (count - 1) * 4 };
    let xattrs_at = at + length;
    let tail_at = xattrs_at + xattrs_length;
    let data = match layout {
        FLAT_PLAIN => plain(superblock, block_number, None)?,
        FLAT_INLINE => {
            let tail = size % u64::from(superblock.block);
            inside_block(superblock, tail_at, tail)
                .with_context(|| format!("place the tail of inode {nid}"))?;
            plain(superblock, block_number, Some((tail_at, tail)))?
        }
        other => Data::Unsupported(other),
    };
    let xattrs = match count {
        0 => BTreeMap::new(),
        _ => xattrs(device, superblock, xattrs_at, xattrs_length)
            .with_context(|| format!("read extended attributes of inode {nid}"))?,
    };
    let mut entry = FoundEntry {
        kind: Kind::Other(mode & 0o170_000),
        mode: mode & 0o7777,
        uid,
        gid,
        size,
        links,
        modified,
        inode: nid,
        xattrs,
        data,
    };
    entry.kind = kind(device, superblock, &entry, mode & 0o170_000)?;
    if !matches!(entry.kind, Kind::File | Kind::Directory | Kind::Symlink(_)) {
        entry.size = 0;
    }
    Ok(entry)
}

fn kind<D: Read + Seek>(
    device: &mut D,
    superblock: &FoundSuperblock,
    entry: &FoundEntry,
    bits: u16,
) -> Result<Kind> {
    Ok(match bits {
        0o040_000 => Kind::Directory,
        0o100_000 => Kind::File,
        0o120_000 => {
            if entry.size == 0 || entry.size > TARGET_LIMIT {
                bail!("inode {}: a link's target of {} bytes", entry.inode, entry.size);
            }
            let mut target = Vec::new();
            while (target.len() as u64) < entry.size {
                let done = target.len() as u64;
                target.extend(range(device, superblock, entry, done, TARGET_LIMIT)?);
            }
            let target = String::from_utf8(target);
            Kind::Symlink(target.with_context(|| format!("read target of inode {}", entry.inode))?)
        }
        0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => Kind::Other(bits),
        _ => bail!("inode {} has type bits {bits:#o}", entry.inode),
    })
}

fn plain(superblock: &FoundSuperblock, block: u64, tail: Option<(u64, u64)>) -> Result<Data> {
    let at = block.checked_mul(u64::from(superblock.block)).context("place content")?;
    Ok(Data::Plain { at, tail })
}

/// An inline tail may not cross a block.
fn inside_block(superblock: &FoundSuperblock, at: u64, length: u64) -> Result<()> {
    let block = u64::from(superblock.block);
    if length > 0 && at / block != (at + length - 1) / block {
        bail!("{length} bytes at {at} cross a block");
    }
    Ok(())
}

/// The header of 12 bytes, numbers of shared attributes, then the inode's own.
fn xattrs<D: Read + Seek>(
    device: &mut D,
    superblock: &FoundSuperblock,
    at: u64,
    length: u64,
) -> Result<BTreeMap<String, Vec<u8>>> {
    if length > XATTRS_LIMIT {
        bail!("{length} bytes of attributes");
    }
    let bytes = read_at(device, at, length)?;
    let shared = usize::from(u8_at(&bytes, 4)?);
    let mut found = BTreeMap::new();
    for index in 0..shared {
        let number = u64::from(u32_at(&bytes, 12 + 4 * index)?);
        let place =
            superblock.xattrs_at.checked_add(number * 4).context("place a shared attribute")?;
        let head = read_at(device, place, 4)?;
        let entry = read_at(device, place, entry_length(&head)?)?;
        put(&entry, &mut found)?;
    }
    let mut own = slice(&bytes, 12, bytes.len() - 12)?.get(4 * shared..).context("read them")?;
    while !own.is_empty() {
        let length = usize::try_from(entry_length(own)?)?;
        put(slice(own, 0, length)?, &mut found)?;
        own = own.get(length.next_multiple_of(4)..).context("an attribute leaves its area")?;
    }
    Ok(found)
}

fn entry_length(entry: &[u8]) -> Result<u64> {
    Ok(4 + u64::from(u8_at(entry, 0)?) + u64::from(u16_at(entry, 2)?))
}

fn put(entry: &[u8], found: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let prefix = match u8_at(entry, 1)? {
        1 => "user.",
        2 => "system.posix_acl_access",
        3 => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        other => bail!("name prefix {other} is not known here"),
    };
    let name_length = usize::from(u8_at(entry, 0)?);
    let name = String::from_utf8(slice(entry, 4, name_length)?.to_vec()).context("read a name")?;
    let value = slice(entry, 4 + name_length, usize::from(u16_at(entry, 2)?))?;
    if found.insert(format!("{prefix}{name}"), value.to_vec()).is_some() {
        bail!("attribute `{prefix}{}` is there twice", name.escape_debug());
    }
    Ok(())
}
