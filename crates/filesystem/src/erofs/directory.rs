//! Directories: blocks that each begin with records and end with the names of these records.

use anyhow::{Context, Result};
use store::Node;

use crate::BLOCK;
use crate::inode::{Inode, Name};

/// Size of one record (`struct erofs_dirent`), in bytes.
const RECORD: usize = 12;

/// The names of a directory, block by block.
pub(super) struct Directory<'a> {
    blocks: Vec<&'a [Name<'a>]>,
}

/// Cuts sorted names into blocks, each as full as can be.
pub(super) fn directory<'a>(names: &'a [Name<'a>]) -> Directory<'a> {
    let mut blocks = Vec::new();
    let mut left = names;
    while !left.is_empty() {
        let mut used = 0;
        let fits = left.iter().take_while(|name| {
            used += RECORD + name.name.len();
            used <= BLOCK as usize
        });
        let (block, rest) = left.split_at(fits.count());
        blocks.push(block);
        left = rest;
    }
    Directory { blocks }
}

impl Directory<'_> {
    /// Size of the directory, in bytes: whole blocks and what the last one holds.
    pub(super) fn size(&self) -> u64 {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) as u64 * BLOCK + used(last))
    }

    /// Writes the blocks to `area`; `nids` numbers `inodes`.
    pub(super) fn write(&self, area: &mut [u8], inodes: &[Inode<'_>], nids: &[u64]) -> Result<()> {
        for (block, names) in area.chunks_mut(BLOCK as usize).zip(&self.blocks) {
            let mut name_at = names.len() * RECORD;
            for (record, name) in block_records(names).zip(names.iter()) {
                let offset = u16::try_from(name_at).context("place a name in a directory")?;
                block[record..record + 8].copy_from_slice(&nids[name.inode].to_le_bytes());
                block[record + 8..record + 10].copy_from_slice(&offset.to_le_bytes());
                block[record + 10] = kind(&inodes[name.inode].entry.node);
                block[name_at..name_at + name.name.len()].copy_from_slice(name.name.as_bytes());
                name_at += name.name.len();
            }
        }
        Ok(())
    }
}

/// Where the records of a block begin.
fn block_records(names: &[Name<'_>]) -> impl Iterator<Item = usize> {
    (0..names.len()).map(|i| i * RECORD)
}

fn used(names: &[Name<'_>]) -> u64 {
    names.iter().map(|name| (RECORD + name.name.len()) as u64).sum()
}

/// The kind of file in a record (`enum` of `FT_…` in the kernel's `fs_types.h`).
fn kind(node: &Node) -> u8 {
    match node {
        Node::File(_) => 1,
        Node::Directory => 2,
        Node::Symlink(_) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lengths: &[usize]) -> Vec<String> {
        lengths.iter().enumerate().map(|(i, n)| format!("{i:0n$}")).collect()
    }

    fn sizes(lengths: &[usize]) -> (usize, u64) {
        let names = names(lengths);
        let names: Vec<_> = names.iter().map(|name| Name { name, inode: 0 }).collect();
        let directory = directory(&names);
        (directory.blocks.len(), directory.size())
    }

    #[test]
    fn a_block_is_filled_to_its_last_byte_and_no_name_spans_two() {
        // 15 names of 255 bytes take 4005 bytes, which leaves 91.
        let mut lengths = vec![255; 15];
        lengths.push(78);
        assert_eq!(sizes(&lengths), (1, 4095));
        lengths[15] = 79;
        assert_eq!(sizes(&lengths), (1, 4096));
        lengths[15] = 80;
        assert_eq!(sizes(&lengths), (2, 4096 + 92));
    }
}
