//! The superblock.

use std::io::{Read, Seek};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::bytes::{crc, read_at, size, slice, u8_at, u16_at, u32_at, u64_at, uuid};

/// What the superblock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundSuperblock {
    /// Bytes per block.
    #[serde(rename = "block-bytes")]
    pub block: u32,
    /// Blocks of the file system.
    pub blocks: u64,
    /// How many inodes there are.
    pub inodes: u64,
    /// Seconds since 1970, for inodes without a time of their own.
    #[serde(rename = "built-unix-seconds")]
    pub epoch: u64,
    /// The file system's UUID.
    pub uuid: String,
    /// Its name.
    pub label: String,
    /// Features that a reader may ignore.
    pub compatible: u32,
    /// Features that a reader must know.
    pub incompatible: u32,
    #[serde(skip)]
    pub(super) root: u64,
    #[serde(skip)]
    pub(super) inodes_at: u64,
    #[serde(skip)]
    pub(super) xattrs_at: u64,
}

const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
const CRC_32C: u32 = 0x82f6_3b78;
const HAS_CHECKSUM: u32 = 1;
/// 48-bit addresses and metadata boxes move fields; every other feature touches single inodes.
const INCOMPATIBLE_KNOWN: u32 = 0x7f;

pub(super) fn read<D: Read + Seek>(device: &mut D) -> Result<FoundSuperblock> {
    let bytes = read_at(device, SUPERBLOCK, 128)?;
    if u32_at(&bytes, 0)? != MAGIC {
        bail!("no EROFS");
    }
    let bits = u8_at(&bytes, 12)?;
    if !(9..=16).contains(&bits) {
        bail!("blocks of 2^{bits} bytes");
    }
    let block = 1u64 << bits;
    let compatible = u32_at(&bytes, 8)?;
    if compatible & HAS_CHECKSUM != 0 {
        checksum(device, block, u32_at(&bytes, 4)?)?;
    }
    let incompatible = u32_at(&bytes, 80)?;
    if incompatible & !INCOMPATIBLE_KNOWN != 0 {
        bail!("features {incompatible:#x} are not known here");
    }
    let blocks = u64::from(u32_at(&bytes, 36)?);
    let available = size(device)?;
    if blocks.checked_mul(block).is_none_or(|total| total > available) {
        bail!("{blocks} blocks of {block} bytes are more than there are");
    }
    let label = slice(&bytes, 64, 16)?.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(FoundSuperblock {
        block: u32::try_from(block)?,
        blocks,
        inodes: u64_at(&bytes, 16)?,
        epoch: u64_at(&bytes, 24)?,
        uuid: uuid(slice(&bytes, 48, 16)?),
        label: String::from_utf8(label.to_vec()).context("read the label")?,
        compatible,
        incompatible,
        root: u64::from(u16_at(&bytes, 14)?),
        inodes_at: u64::from(u32_at(&bytes, 40)?) * block,
        xattrs_at: u64::from(u32_at(&bytes, 44)?) * block,
    })
}

/// CRC-32C over the rest of the superblock's block, its own field counted as zero.
fn checksum<D: Read + Seek>(device: &mut D, block: u64, stored: u32) -> Result<()> {
    let length = if block > SUPERBLOCK { block - SUPERBLOCK } else { block };
    let mut bytes = read_at(device, SUPERBLOCK, length)?;
    bytes[4..8].fill(0);
    if crc(CRC_32C, &bytes) != stored {
        bail!("the superblock does not match its checksum");
    }
    Ok(())
}
