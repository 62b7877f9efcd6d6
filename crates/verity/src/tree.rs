//! The stage: superblock and levels of a hash tree.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{Blob, Scratch, Stage};

use crate::RootHash;

/// Size of a data block and of a hash block, in bytes.
pub const BLOCK: usize = 4096;

/// Size of one hash in a hash block, in bytes.
const HASH: usize = 32;

/// How much data is in memory at a time is twice this, in bytes.
const WINDOW: usize = 8 << 20;

/// Blocks that one task hashes.
const TASK: usize = 128;

/// Input of [`PROTECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The image: at least one block, and whole blocks.
    pub data: Blob,
    /// What every hash begins with.
    pub salt: [u8; 32],
    /// The device's UUID, in the order of UUID text.
    pub uuid: [u8; 16],
}

/// Result of [`PROTECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protected {
    /// The hash device: superblock in block 0, then the levels, top first.
    pub hash_tree: Blob,
    /// What a verifier must be told.
    pub root: RootHash,
    /// Blocks of the image.
    pub data_blocks: u64,
}

/// Makes the hash tree over an image.
pub const PROTECT: Stage<Plan, Protected> =
    Stage { name: "protect", revision: 1, about: |plan| plan.data.digest.short(), run: protect };

fn protect(plan: &Plan, scratch: &Scratch<'_>) -> Result<Protected> {
    let data_blocks = blocks(&plan.data)?;
    let salted = Sha256::new_with_prefix(plan.salt);
    let data = scratch.open(&plan.data)?;
    let mut levels = vec![
        lowest_level(data, plan.data.size, &salted)
            .with_context(|| format!("hash image {}", plan.data.digest))?,
    ];
    while let Some(last) = levels.last().filter(|level| level.len() > HASH) {
        levels.push(hash_blocks(&padded(last), &salted));
    }
    // The highest level is one hash: the root, which no block holds.
    let root = levels.pop().context("a hash tree has a root")?;
    let root = RootHash(root.as_slice().try_into().context("take the root hash")?);

    let mut sink = scratch.create()?;
    sink.write_all(&superblock(plan, data_blocks)).context("write the verity superblock")?;
    for level in levels.iter().rev() {
        sink.write_all(&padded(level)).context("write a level of the hash tree")?;
    }
    Ok(Protected { hash_tree: sink.finish()?, root, data_blocks })
}

fn blocks(data: &Blob) -> Result<u64> {
    let block = BLOCK as u64;
    if data.size == 0 || !data.size.is_multiple_of(block) {
        bail!("image {} has {} bytes, not whole blocks of {BLOCK}", data.digest, data.size);
    }
    Ok(data.size / block)
}

/// The hashes of every data block, in order; the next window is read while one is hashed.
fn lowest_level(mut data: File, size: u64, salted: &Sha256) -> Result<Vec<u8>> {
    let mut hashes = Vec::with_capacity(usize::try_from(size / BLOCK as u64)? * HASH);
    let mut left = size;
    let mut next = |buffer: &mut Vec<u8>| {
        buffer.resize(usize::try_from(left.min(WINDOW as u64))?, 0);
        left -= buffer.len() as u64;
        data.read_exact(buffer).context("read a window of the image")
    };
    let (mut this, mut that) = (Vec::new(), Vec::new());
    next(&mut this)?;
    while !this.is_empty() {
        let (hashed, read) = rayon::join(|| hash_blocks(&this, salted), || next(&mut that));
        read?;
        hashes.extend(hashed);
        std::mem::swap(&mut this, &mut that);
    }
    Ok(hashes)
}

/// One hash per block of `data`.
fn hash_blocks(data: &[u8], salted: &Sha256) -> Vec<u8> {
    let mut hashes = vec![0; data.len().div_ceil(BLOCK) * HASH];
    let tasks = hashes.par_chunks_mut(HASH * TASK).zip(data.par_chunks(BLOCK * TASK));
    tasks.for_each(|(hashes, data)| {
        for (hash, block) in hashes.chunks_mut(HASH).zip(data.chunks(BLOCK)) {
            let mut hasher = salted.clone();
            hasher.update(block);
            hash.copy_from_slice(&hasher.finalize());
        }
    });
    hashes
}

/// `level` filled up with zeros to whole blocks.
fn padded(level: &[u8]) -> Vec<u8> {
    let mut blocks = level.to_vec();
    blocks.resize(level.len().next_multiple_of(BLOCK), 0);
    blocks
}

/// The first block of the hash device (cryptsetup, `struct verity_sb`), little endian.
fn superblock(plan: &Plan, data_blocks: u64) -> Vec<u8> {
    const VERSION: u32 = 1;
    const HASH_TYPE: u32 = 1;
    let mut algorithm = [0; 32];
    algorithm[..6].copy_from_slice(b"sha256");
    let block = u32::to_le_bytes(BLOCK as u32);
    let fields: [&[u8]; 11] = [
        b"verity\0\0",
        &VERSION.to_le_bytes(),
        &HASH_TYPE.to_le_bytes(),
        &plan.uuid,
        &algorithm,
        &block,
        &block,
        &data_blocks.to_le_bytes(),
        &(plan.salt.len() as u16).to_le_bytes(),
        &[0; 6],
        &plan.salt,
    ];
    padded(&fields.concat())
}

#[cfg(test)]
mod tests {
    use store::Digest;

    use super::*;

    #[test]
    fn an_image_of_no_or_torn_blocks_is_refused() {
        for size in [0, 1, 4095, 4097] {
            let error = blocks(&Blob { digest: Digest::of(b""), size }).unwrap_err();
            assert!(error.to_string().contains("not whole blocks"), "{error}");
        }
        assert_eq!(blocks(&Blob { digest: Digest::of(b""), size: 8192 }).unwrap(), 2);
    }

    #[test]
    fn the_salt_comes_before_the_block() {
        let salted = Sha256::new_with_prefix([7; 32]);
        let block = [9; BLOCK];
        let whole = [&[7; 32][..], &block].concat();
        assert_eq!(hash_blocks(&block, &salted), Sha256::digest(whole).as_slice());
    }
}
