//! Everything before the contents: where it lies, and its bytes.

use anyhow::{Context, Result};
use store::{Epoch, Node};

use super::directory::directory;
use super::superblock;
use super::xattr::{self, Xattrs};
use crate::contents::{Contents, advance};
use crate::inode::Inode;
use crate::{BLOCK, Extents, Holds, Part};

/// Unit in which inodes are aligned and numbered, in bytes.
const SLOT: u64 = 32;

/// Size of `struct erofs_inode_compact`, in bytes.
const COMPACT: u64 = 32;

/// Size of `struct erofs_inode_extended`, in bytes.
const EXTENDED: u64 = 64;

/// Where the metadata of an image lies.
pub(super) struct Metadata {
    /// Number of each inode: its distance from byte 0 in slots.
    pub(super) nids: Vec<u64>,
    /// First block of the shared attributes; 0 when there are none.
    pub(super) xattr_block: u32,
    /// First block of each directory and each link target that does not stand beside its inode.
    blocks: Vec<u32>,
    /// First block of the contents.
    pub(super) end: u32,
    /// The map of the metadata.
    pub(super) extents: Extents,
}

impl Metadata {
    /// Gives everything its place.
    pub(super) fn of(inodes: &[Inode<'_>], xattrs: &Xattrs) -> Result<Self> {
        let mut extents = Extents::default();
        let superblock = (superblock::START as u64, superblock::SIZE as u64);
        extents.push(superblock.0, superblock.1, Holds::Metadata(Part::Superblock));

        let start = superblock.0 + superblock.1;
        let mut at = start;
        let mut nids = Vec::with_capacity(inodes.len());
        for (inode, xattrs) in inodes.iter().zip(&xattrs.bodies) {
            at = slot(at, inode, xattrs);
            nids.push(at / SLOT);
            at += head(inode) + xattrs.len() as u64 + tail(inode, xattrs).len() as u64;
        }
        extents.push(start, at - start, Holds::Metadata(Part::Inodes));
        let mut end = advance(0, at)?;

        let xattr_block = if xattrs.shared.is_empty() { 0 } else { end };
        end = enter(&mut extents, end, xattrs.shared.len() as u64, Part::Xattrs)?;

        let mut blocks = vec![0; inodes.len()];
        for part in [Part::Directories, Part::Symlinks] {
            let first = end;
            for (i, inode) in inodes.iter().enumerate() {
                let size = blocks_of(inode, &xattrs.bodies[i], part);
                blocks[i] = if size > 0 { end } else { blocks[i] };
                end = advance(end, size)?;
            }
            let size = u64::from(end - first) * BLOCK;
            end = enter(&mut extents, first, size, part)?;
        }
        extents.pad(u64::from(end) * BLOCK);
        Ok(Self { nids, xattr_block, blocks, end, extents })
    }

    /// The bytes before the contents, all but the superblock's.
    pub(super) fn write(
        &self,
        inodes: &[Inode<'_>],
        xattrs: &Xattrs,
        contents: &Contents<'_>,
        epoch: Epoch,
    ) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(u64::from(self.end) * BLOCK)?];
        let block = |number: u32| usize::try_from(u64::from(number) * BLOCK);
        put(&mut bytes, block(self.xattr_block)?, &xattrs.shared);
        for (i, (inode, body)) in inodes.iter().zip(&xattrs.bodies).enumerate() {
            let record = Record {
                inode,
                serial: u32::try_from(i + 1).context("count inodes")?,
                size: size(inode),
                block: self.blocks[i].max(contents.block(inode)),
                xattrs: xattr::count(body.len())?,
                inline: !tail(inode, body).is_empty(),
            };
            let mut at = usize::try_from(self.nids[i] * SLOT)?;
            for part in [&record.write(epoch)?, body, tail(inode, body)] {
                put(&mut bytes, at, part);
                at += part.len();
            }
            let apart = block(self.blocks[i])?;
            match &inode.entry.node {
                Node::Directory => {
                    directory(&inode.names).write(&mut bytes[apart..], inodes, &self.nids)?;
                }
                Node::Symlink(target) if apart > 0 => put(&mut bytes, apart, target.as_bytes()),
                Node::Symlink(_) | Node::File(_) => {}
            }
        }
        Ok(bytes)
    }
}

/// What an inode says.
struct Record<'a> {
    inode: &'a Inode<'a>,
    serial: u32,
    size: u64,
    block: u32,
    xattrs: u16,
    inline: bool,
}

impl Record<'_> {
    /// `struct erofs_inode_compact`, or `_extended` where a number does not fit.
    fn write(&self, epoch: Epoch) -> Result<Vec<u8>> {
        const EXTENDED_FORM: u16 = 1;
        const FLAT_PLAIN: u16 = 0 << 1;
        const FLAT_INLINE: u16 = 2 << 1;
        let Self { inode, serial, size, block, xattrs, inline } = *self;
        let layout = if inline { FLAT_INLINE } else { FLAT_PLAIN };
        let mode = inode.entry.mode | kind(&inode.entry.node);
        // Nothing but the link target lies in an inline inode's only block: it has no address.
        let block = if inline { 0 } else { block };
        if let Some(small) = small(inode) {
            let fields: [&[u8]; 10] = [
                &layout.to_le_bytes(),
                &xattrs.to_le_bytes(),
                &mode.to_le_bytes(),
                &small.links.to_le_bytes(),
                &small.size.to_le_bytes(),
                &[0; 4],
                &block.to_le_bytes(),
                &serial.to_le_bytes(),
                &[small.uid.to_le_bytes(), small.gid.to_le_bytes()].concat(),
                &[0; 4],
            ];
            return Ok(fields.concat());
        }
        let fields: [&[u8]; 12] = [
            &(layout | EXTENDED_FORM).to_le_bytes(),
            &xattrs.to_le_bytes(),
            &mode.to_le_bytes(),
            &[0; 2],
            &size.to_le_bytes(),
            &block.to_le_bytes(),
            &serial.to_le_bytes(),
            &inode.uid.to_le_bytes(),
            &inode.gid.to_le_bytes(),
            &epoch.0.to_le_bytes(),
            &[&[0; 4][..], &inode.links.to_le_bytes()].concat(),
            &[0; 16],
        ];
        Ok(fields.concat())
    }
}

/// The numbers of an inode that a compact record holds.
struct Small {
    links: u16,
    size: u32,
    uid: u16,
    gid: u16,
}

/// The inode's numbers, if all are small enough for a compact record.
fn small(inode: &Inode<'_>) -> Option<Small> {
    Some(Small {
        links: inode.links.try_into().ok()?,
        size: size(inode).try_into().ok()?,
        uid: inode.uid.try_into().ok()?,
        gid: inode.gid.try_into().ok()?,
    })
}

fn head(inode: &Inode<'_>) -> u64 {
    if small(inode).is_some() { COMPACT } else { EXTENDED }
}

fn size(inode: &Inode<'_>) -> u64 {
    match &inode.entry.node {
        Node::Directory => directory(&inode.names).size(),
        Node::File(blob) => blob.size,
        Node::Symlink(target) => target.len() as u64,
    }
}

/// What follows the attributes of an inode: a link target that fits in a block with them.
fn tail<'a>(inode: &Inode<'a>, xattrs: &[u8]) -> &'a [u8] {
    match &inode.entry.node {
        Node::Symlink(target) if head(inode) + (xattrs.len() + target.len()) as u64 <= BLOCK => {
            target.as_bytes()
        }
        Node::Symlink(_) | Node::Directory | Node::File(_) => &[],
    }
}

/// Bytes that `inode` has among the blocks of `part`.
fn blocks_of(inode: &Inode<'_>, xattrs: &[u8], part: Part) -> u64 {
    match (&inode.entry.node, part) {
        (Node::Directory, Part::Directories) => size(inode),
        (Node::Symlink(_), Part::Symlinks) if tail(inode, xattrs).is_empty() => size(inode),
        _ => 0,
    }
}

/// The first slot at or behind byte `at` where `inode` may stand: its record must not span two
/// blocks, nor may a record with a tail; attributes may.
fn slot(at: u64, inode: &Inode<'_>, xattrs: &[u8]) -> u64 {
    let at = at.next_multiple_of(SLOT);
    let tail = tail(inode, xattrs).len() as u64;
    let whole = head(inode) + if tail > 0 { xattrs.len() as u64 + tail } else { 0 };
    if at % BLOCK + whole > BLOCK { at.next_multiple_of(BLOCK) } else { at }
}

/// Enters `size` bytes from block `first` on in the map; gives the block behind them.
fn enter(extents: &mut Extents, first: u32, size: u64, part: Part) -> Result<u32> {
    if size > 0 {
        extents.push(u64::from(first) * BLOCK, size, Holds::Metadata(part));
    }
    advance(first, size)
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

/// The kind of file in a mode (inode(7)).
fn kind(node: &Node) -> u16 {
    match node {
        Node::Directory => 0o040_000,
        Node::File(_) => 0o100_000,
        Node::Symlink(_) => 0o120_000,
    }
}
