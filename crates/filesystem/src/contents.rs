//! The contents of files: which block each begins at, and the copying.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rayon::prelude::*;
use store::{Blob, Node, Scratch, Sink};

use crate::inode::Inode;
use crate::{BLOCK, Extents, Holds};

/// How much is in memory at a time is about twice this, in bytes.
const WINDOW: u64 = 8 << 20;

/// The most that one task reads, in bytes: whole blocks.
const PIECE: u64 = 1 << 20;

/// Where contents lie.
#[derive(Default)]
pub(crate) struct Contents<'a> {
    /// In the order of their blocks, without gaps between blocks.
    pub(crate) placed: Vec<Content<'a>>,
    /// The first block of each.
    pub(crate) blocks: BTreeMap<Blob, u32>,
    /// The block behind the last one.
    pub(crate) end: u32,
}

/// One content in its place.
pub(crate) struct Content<'a> {
    blob: Blob,
    block: u32,
    origin: &'a str,
}

/// Gives every content its blocks from `start` on: by origin, then path, so that one changed
/// package moves little. Equal contents share their blocks, beside the first origin's.
pub(crate) fn place<'a>(inodes: &[Inode<'a>], start: u32) -> Result<Contents<'a>> {
    let mut files: Vec<_> = inodes
        .iter()
        .filter_map(|inode| Some((inode.entry.origin.as_str(), inode.path, inode.entry.blob()?)))
        .filter(|(_, _, blob)| blob.size > 0)
        .collect();
    files.sort_unstable();
    let mut contents = Contents { end: start, ..Contents::default() };
    for (origin, path, blob) in files {
        if contents.blocks.contains_key(&blob) {
            continue;
        }
        let block = contents.end;
        contents.end = advance(block, blob.size).with_context(|| format!("place `{path}`"))?;
        contents.blocks.insert(blob, block);
        contents.placed.push(Content { blob, block, origin });
    }
    Ok(contents)
}

/// The first block behind `size` bytes that begin at `block`.
pub(crate) fn advance(block: u32, size: u64) -> Result<u32> {
    let blocks = u32::try_from(size.div_ceil(BLOCK)).ok();
    // The last address is kept free: the format writes it for "no block".
    let end = blocks.and_then(|blocks| block.checked_add(blocks)).filter(|end| *end < u32::MAX);
    end.context("an image has at most 2^32 - 2 blocks")
}

impl Contents<'_> {
    /// The first block of the content of `inode`; 0 where there is none.
    pub(crate) fn block(&self, inode: &Inode<'_>) -> u32 {
        match &inode.entry.node {
            Node::File(blob) => self.blocks.get(blob).copied().unwrap_or(0),
            Node::Directory | Node::Symlink(_) => 0,
        }
    }

    /// Enters the contents in the map of the image.
    pub(crate) fn enter(&self, extents: &mut Extents) {
        for Content { blob, block, origin } in &self.placed {
            let holds = Holds::Content { digest: blob.digest, origin: (*origin).to_owned() };
            extents.push(u64::from(*block) * BLOCK, blob.size, holds);
        }
        extents.pad(u64::from(self.end) * BLOCK);
    }

    /// Appends the contents to `sink`, each filled up to whole blocks. While one window is
    /// written and hashed, in order, the next one is read, on all cores.
    pub(crate) fn copy(&self, scratch: &Scratch<'_>, sink: &mut Sink) -> Result<()> {
        let pieces: Vec<Piece> = self.placed.iter().flat_map(|c| Piece::of(c.blob)).collect();
        let mut windows = windows(&pieces);
        let (mut this, mut that) = (Vec::new(), Vec::new());
        read_window(windows.next().unwrap_or_default(), scratch, &mut this)?;
        while !this.is_empty() {
            let next = windows.next().unwrap_or_default();
            let (written, read) =
                rayon::join(|| sink.write_all(&this), || read_window(next, scratch, &mut that));
            written.context("write contents")?;
            read?;
            std::mem::swap(&mut this, &mut that);
        }
        Ok(())
    }
}

/// A part of a content that one task reads.
struct Piece {
    blob: Blob,
    start: u64,
    size: u64,
}

impl Piece {
    fn of(blob: Blob) -> impl Iterator<Item = Self> {
        (0..blob.size.div_ceil(PIECE)).map(move |i| {
            let start = i * PIECE;
            Self { blob, start, size: PIECE.min(blob.size - start) }
        })
    }

    fn padded(&self) -> u64 {
        self.size.next_multiple_of(BLOCK)
    }
}

/// Groups pieces so that a group has at most [`WINDOW`] bytes with its padding.
fn windows(mut pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = pieces.iter().take_while(|piece| {
            size += piece.padded();
            size <= WINDOW
        });
        let (window, rest) = pieces.split_at(fits.count());
        pieces = rest;
        (!window.is_empty()).then_some(window)
    })
}

/// Fills `buffer` with the pieces of `window`, each padded with zeros.
fn read_window(window: &[Piece], scratch: &Scratch<'_>, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    buffer.resize(usize::try_from(window.iter().map(Piece::padded).sum::<u64>())?, 0);
    let mut left = buffer.as_mut_slice();
    let mut tasks = Vec::with_capacity(window.len());
    for piece in window {
        let (own, rest) = left.split_at_mut(usize::try_from(piece.padded())?);
        tasks.push((piece, &mut own[..usize::try_from(piece.size)?]));
        left = rest;
    }
    tasks.into_par_iter().try_for_each(|(piece, own)| {
        let file = scratch.open(&piece.blob)?;
        file.read_exact_at(own, piece.start)
            .with_context(|| format!("read content {}", piece.blob.digest))
    })
}

#[cfg(test)]
mod tests {
    use store::{Entry, Tree};

    use super::*;
    use crate::inode::inodes;

    fn sized(seed: u8, size: u64) -> Blob {
        Blob { size, ..Blob::of(&[seed]) }
    }

    #[test]
    fn contents_are_grouped_by_origin_and_equal_ones_share_blocks() {
        let (x, y, z) = (sized(1, 4097), sized(2, 1), sized(3, 4096));
        let files = [("a", x, "zeta"), ("b", y, "alpha"), ("c", x, "alpha"), ("d", z, "zeta")];
        let entries = files.map(|(path, blob, o)| (path.to_owned(), Entry::file(blob, 0o644, o)));
        let (root, tree) = (Entry::directory("image"), Tree(entries.into_iter().collect()));
        let contents = place(&inodes(&root, &tree).unwrap(), 7).unwrap();
        let found: Vec<_> = contents.placed.iter().map(|c| (c.blob, c.block, c.origin)).collect();
        assert_eq!(found, [(y, 7, "alpha"), (x, 8, "alpha"), (z, 10, "zeta")]);
        assert_eq!(contents.end, 11);
    }

    #[test]
    fn a_content_beyond_4_gib_has_its_blocks_and_one_beyond_the_format_is_refused() {
        assert_eq!(advance(1, (5 << 30) + 1).unwrap(), 2 + (5 << 18));
        assert!(advance(1, u64::MAX).is_err());
        assert!(advance(u32::MAX - 1, 1).is_err());
    }

    #[test]
    fn windows_are_bounded_and_lose_nothing() {
        let blobs = [sized(1, 1), sized(2, 3 * WINDOW + 5), sized(3, 4096)];
        let pieces: Vec<_> = blobs.into_iter().flat_map(Piece::of).collect();
        let windows: Vec<_> = windows(&pieces).collect();
        let sizes: Vec<u64> = windows.iter().map(|w| w.iter().map(Piece::padded).sum()).collect();
        assert!(sizes.iter().all(|size| (1..=WINDOW).contains(size)), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), 4096 + 3 * WINDOW + 4096 + 4096);
    }
}
