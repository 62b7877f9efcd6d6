//! dm-verity hash trees (kernel documentation, "dm-verity", on-disk format version 1).

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bytes::{hex, read_at, size, slice, u16_at, u32_at, u64_at, uuid};

/// The head of a hash device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundTree {
    /// The tree's UUID.
    pub uuid: String,
    /// Bytes per block of data and of the tree.
    #[serde(rename = "block-bytes")]
    pub block: u32,
    /// Blocks of data that the tree covers.
    pub data_blocks: u64,
    /// The salt, in hexadecimal digits.
    pub salt: String,
    /// The root hash that the data and the whole tree give.
    pub root_hash: String,
    /// Bytes of superblock and tree.
    #[serde(rename = "length-bytes")]
    pub length: u64,
}

/// What the superblock of a hash device says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundHead {
    /// The tree's UUID.
    pub uuid: String,
    /// Bytes per block of data and of the tree.
    #[serde(rename = "block-bytes")]
    pub block: u32,
    /// Blocks of data that the tree covers.
    pub data_blocks: u64,
    /// The salt, in hexadecimal digits.
    pub salt: String,
    #[serde(skip)]
    salt_bytes: Vec<u8>,
}

const DIGEST: u64 = 32;
/// The most data that is hashed: 64 GiB.
const DATA_LIMIT: u64 = 64 << 30;
/// Read at a time.
const BUFFER: u64 = 1 << 20;

/// Hashes `data` and checks every block of the tree against it; the root hash must be `root_hash`.
///
/// The superblock lies at the start of `tree`. SHA-256 and equal block sizes alone.
pub fn verify<A: Read + Seek, B: Read + Seek>(
    data: &mut A,
    tree: &mut B,
    root_hash: &[u8; 32],
) -> Result<FoundTree> {
    let found = measure(data, tree)?;
    if found.root_hash != hex(root_hash) {
        bail!("root hash is {}, not {}", found.root_hash, hex(root_hash));
    }
    Ok(found)
}

/// As [`verify`], for a root hash that is not known.
pub fn measure<A: Read + Seek, B: Read + Seek>(data: &mut A, tree: &mut B) -> Result<FoundTree> {
    let FoundHead { uuid, block, data_blocks, salt, salt_bytes } = head(tree)?;
    let total = data_blocks.checked_mul(u64::from(block)).context("measure the data")?;
    if data_blocks == 0 || total > DATA_LIMIT || total > size(data)? {
        bail!("{data_blocks} blocks of {block} bytes are more than there are, or than are read");
    }

    let block = u64::from(block);
    let salted = Sha256::new().chain_update(salt_bytes);
    let levels = levels(data_blocks, block);
    let mut hashes = hash(data, total, block, &salted).context("hash the data")?;
    let mut end = levels.iter().sum::<u64>().checked_add(block).context("measure the tree")?;
    let length = end;
    for (height, bytes) in levels.iter().enumerate() {
        let padded = usize::try_from(*bytes)?;
        hashes.resize(padded, 0);
        end -= bytes;
        let stored = read_at(tree, end, *bytes).context("read hash tree")?;
        if let Some(at) = hashes.iter().zip(&stored).position(|(a, b)| a != b) {
            bail!(
                "level {height} of the hash tree differs from the data at entry {}",
                at as u64 / DIGEST
            );
        }
        hashes = hash(&mut std::io::Cursor::new(stored), *bytes, block, &salted)?;
    }
    Ok(FoundTree {
        uuid,
        block: u32::try_from(block)?,
        data_blocks,
        salt,
        root_hash: hex(&hashes),
        length,
    })
}

/// Reads the superblock at the start of `tree`. SHA-256 and equal block sizes alone.
pub fn head<D: Read + Seek>(tree: &mut D) -> Result<FoundHead> {
    let head = read_at(tree, 0, 512).context("read verity superblock")?;
    if slice(&head, 0, 8)? != b"verity\0\0" || u32_at(&head, 8)? != 1 || u32_at(&head, 12)? != 1 {
        bail!("no verity superblock of version 1 and hash type 1");
    }
    let mut name = [0; 32];
    name[..6].copy_from_slice(b"sha256");
    if slice(&head, 32, 32)? != name {
        bail!("the hash tree is not of SHA-256");
    }
    let (block, hash_block) = (u32_at(&head, 64)?, u32_at(&head, 68)?);
    if block != hash_block || !block.is_power_of_two() || !(512..=65_536).contains(&block) {
        bail!("blocks of {block} and {hash_block} bytes");
    }
    let data_blocks = u64_at(&head, 72)?;
    let salt = slice(&head, 88, usize::from(u16_at(&head, 80)?).min(256))?;
    Ok(FoundHead {
        uuid: uuid(slice(&head, 16, 16)?),
        block,
        data_blocks,
        salt: hex(salt),
        salt_bytes: salt.to_vec(),
    })
}

/// Bytes of each level, lowest first; the last is one block, whose hash is the root. One block of
/// data needs no level: its hash is the root.
fn levels(data_blocks: u64, block: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = (blocks * DIGEST).div_ceil(block);
        levels.push(blocks * block);
    }
    levels
}

fn hash<D: Read + Seek>(
    device: &mut D,
    bytes: u64,
    block: u64,
    salted: &Sha256,
) -> Result<Vec<u8>> {
    device.seek(SeekFrom::Start(0)).context("go to the start")?;
    let mut hashes = Vec::new();
    let mut buffer = vec![0; usize::try_from(BUFFER)?];
    let mut left = bytes;
    while left > 0 {
        let piece = &mut buffer[..usize::try_from(left.min(BUFFER))?];
        device.read_exact(piece).context("read blocks")?;
        for block in piece.chunks(usize::try_from(block)?) {
            hashes.extend_from_slice(&salted.clone().chain_update(block).finalize());
        }
        left -= piece.len() as u64;
    }
    Ok(hashes)
}
