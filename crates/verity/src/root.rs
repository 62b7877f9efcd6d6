//! The root hash, and what the Discoverable Partitions Specification derives from it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};
use store::Digest;

/// The hash over the top of the tree; written as 64 lower-case hexadecimal digits, as the kernel
/// command line (`usrhash=`) wants it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(from = "Digest", into = "Digest")]
pub struct RootHash(pub [u8; 32]);

impl RootHash {
    /// Partition UUID of the data: the first 128 bits, in the order in which UUID text writes
    /// them (Discoverable Partitions Specification, "Verity").
    pub fn data_partition(&self) -> [u8; 16] {
        self.half(0)
    }

    /// Partition UUID of the hash tree: the last 128 bits, in the order of UUID text.
    pub fn hash_partition(&self) -> [u8; 16] {
        self.half(16)
    }

    fn half(&self, start: usize) -> [u8; 16] {
        std::array::from_fn(|i| self.0[start + i])
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl From<Digest> for RootHash {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

impl From<RootHash> for Digest {
    fn from(root: RootHash) -> Self {
        Self(root.0)
    }
}

impl FromStr for RootHash {
    type Err = Error;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        text.parse::<Digest>().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_the_root_hash_name_the_partitions() {
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let root: RootHash = text.parse().unwrap();
        assert_eq!(root.data_partition(), std::array::from_fn(|i| i as u8));
        assert_eq!(root.hash_partition(), std::array::from_fn(|i| i as u8 + 16));
        assert_eq!(root.to_string(), text);
        assert_eq!(store::encode(&root).unwrap(), format!("\"{text}\"").as_bytes());
    }
}
