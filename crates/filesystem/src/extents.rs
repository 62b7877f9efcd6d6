//! The map of an image: what every byte of it is.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::Digest;

/// What every byte of an image is, in the order of its bytes, without gap or overlap.
///
/// Kept as canonical JSON (`store::encode`): the provenance of every byte, the ledger of sizes,
/// and what tells a later image where contents lay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extents(pub Vec<Extent>);

/// Some bytes of an image that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Offset of the first byte, in bytes.
    pub start: u64,
    /// How many bytes, at least one.
    pub size: u64,
    /// What they are.
    pub holds: Holds,
}

/// What the bytes of an extent are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Zeros that nothing refers to.
    Padding,
    /// The file system's own records.
    Metadata(Part),
    /// The whole content of one or more files.
    Content {
        /// SHA-256 of the bytes.
        digest: Digest,
        /// What brought the content; the first in byte order where several did.
        origin: String,
    },
}

/// The kinds of records of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What describes the whole file system.
    Superblock,
    /// Inodes, with attributes and link targets that stand beside them.
    Inodes,
    /// Extended attributes that inodes share.
    Xattrs,
    /// Names in directories.
    Directories,
    /// Targets of symbolic links that do not fit beside their inode.
    Symlinks,
}

impl Extents {
    /// Reads the canonical form and checks that the extents follow each other from byte 0.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let extents: Self = store::decode(bytes).context("read extents")?;
        let mut end = 0_u64;
        for extent in &extents.0 {
            if extent.start != end || extent.size == 0 {
                bail!("extent at byte {} does not follow byte {end}", extent.start);
            }
            end = end.checked_add(extent.size).context("extents end beyond 64 bits")?;
        }
        Ok(extents)
    }

    /// Size of the image, in bytes.
    pub fn size(&self) -> u64 {
        self.0.last().map_or(0, |last| last.start + last.size)
    }

    /// Bytes of content per origin.
    pub fn by_origin(&self) -> BTreeMap<&str, u64> {
        let mut sizes = BTreeMap::new();
        for extent in &self.0 {
            if let Holds::Content { origin, .. } = &extent.holds {
                *sizes.entry(origin.as_str()).or_default() += extent.size;
            }
        }
        sizes
    }

    /// Adds what lies at `start`, beyond all so far; what is skipped is padding.
    pub(crate) fn push(&mut self, start: u64, size: u64, holds: Holds) {
        let end = self.size();
        if start > end {
            self.0.push(Extent { start: end, size: start - end, holds: Holds::Padding });
        }
        if size > 0 {
            self.0.push(Extent { start, size, holds });
        }
    }

    /// Pads up to `size`.
    pub(crate) fn pad(&mut self, size: u64) {
        self.push(size, 0, Holds::Padding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_is_padding() {
        let mut extents = Extents::default();
        extents.push(1024, 128, Holds::Metadata(Part::Superblock));
        let content = Holds::Content { digest: Digest::of(b"x"), origin: "a".into() };
        extents.push(4096, 1, content);
        extents.pad(8192);
        let sizes: Vec<_> = extents.0.iter().map(|e| (e.start, e.size)).collect();
        assert_eq!(sizes, [(0, 1024), (1024, 128), (1152, 2944), (4096, 1), (4097, 4095)]);
        assert_eq!((extents.size(), extents.by_origin()["a"]), (8192, 1));
        assert_eq!(Extents::read(&store::encode(&extents).unwrap()).unwrap(), extents);
    }

    #[test]
    fn a_gap_and_an_overlap_are_refused() {
        for start in [4, 6] {
            let extent = |start, size| Extent { start, size, holds: Holds::Padding };
            let torn = Extents(vec![extent(0, 5), extent(start, 1)]);
            let error = Extents::read(&store::encode(&torn).unwrap()).unwrap_err().to_string();
            assert!(error.contains("does not follow byte 5"), "{error}");
        }
    }
}
