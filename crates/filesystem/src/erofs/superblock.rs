//! The superblock (`struct erofs_super_block`) and its checksum.

use anyhow::{Context, Result};

use super::metadata::Metadata;
use crate::{BLOCK, Plan};

/// Where the superblock begins, in bytes; what is before it is left to boot loaders.
pub(super) const START: usize = 1024;

/// Size of the superblock, in bytes.
pub(super) const SIZE: usize = 128;

/// Longest volume name, in bytes: one less than the field, since readers differ on the NUL.
pub(super) const LABEL_MAX: usize = 15;

const MAGIC: u32 = 0xe0f5_e1e2;

/// The superblock has a checksum.
const COMPAT_CHECKSUM: u32 = 1 << 0;

/// Times of inodes are those of the last change of content.
const COMPAT_MTIME: u32 = 1 << 1;

pub(super) struct Superblock<'a> {
    pub(super) plan: &'a Plan,
    pub(super) metadata: &'a Metadata,
    /// Blocks of the whole image.
    pub(super) blocks: u32,
    /// How many inodes there are.
    pub(super) inodes: usize,
}

impl Superblock<'_> {
    /// Writes the superblock into the image's first block; everything else in it is final.
    pub(super) fn write(&self, image: &mut [u8]) -> Result<()> {
        let first = image.get_mut(..BLOCK as usize).context("write the superblock")?;
        let mut put = |offset: usize, bytes: &[u8]| {
            let start = START + offset;
            first[start..start + bytes.len()].copy_from_slice(bytes);
        };
        let root = u16::try_from(self.metadata.nids[0]).context("number the root directory")?;
        put(0, &MAGIC.to_le_bytes());
        put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK.ilog2() as u8]);
        put(14, &root.to_le_bytes());
        put(16, &(self.inodes as u64).to_le_bytes());
        // Compact inodes have no time of their own: they carry this one.
        put(24, &self.plan.epoch.0.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        // The inodes' numbers count from block 0 (offset 40), so that none of them is 0.
        put(44, &self.metadata.xattr_block.to_le_bytes());
        put(48, &self.plan.uuid);
        put(64, self.plan.label.as_bytes());
        let checksum = crc32c(&first[START..]);
        first[START + 4..START + 8].copy_from_slice(&checksum.to_le_bytes());
        Ok(())
    }
}

/// CRC-32C (RFC 3720, appendix B.4), begun with all ones and, as the format wants it, not
/// inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (REVERSED_POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_agrees_with_the_published_examples() {
        // RFC 3720, B.4, inverted at the end.
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }
}
