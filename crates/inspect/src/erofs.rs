//! EROFS file systems without compression (kernel documentation, "EROFS"; on-disk format of
//! Linux 6.12).

mod inode;
mod superblock;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::bytes::{hex, read_at, slice, u8_at, u16_at, u64_at};
pub use superblock::FoundSuperblock;

/// A whole tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundTree {
    /// The superblock.
    pub superblock: FoundSuperblock,
    /// Everything by path, without a leading `/`; the root is the empty path.
    pub entries: BTreeMap<String, FoundEntry>,
}

/// A file, directory or other object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundEntry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// How many names the inode has.
    pub links: u32,
    /// Seconds since 1970.
    pub modified: u64,
    /// The inode's number on disk: equal for hard links.
    pub inode: u64,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    #[serde(skip)]
    data: Data,
}

impl FoundEntry {
    /// Whether its content can be read here: neither compressed nor in chunks.
    pub fn is_plain(&self) -> bool {
        matches!(self.data, Data::Plain { .. })
    }
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link and its target.
    Symlink(String),
    /// A device, pipe or socket, by the type bits of its mode.
    Other(u16),
}

/// Where content lies: whole blocks from one byte on, and a tail elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Plain { at: u64, tail: Option<(u64, u64)> },
    Unsupported(u16),
}

/// The most entries, bytes of a directory and of a link's target that are read.
const ENTRIES_LIMIT: usize = 4_000_000;
const DIRECTORY_LIMIT: u64 = 256 << 20;
const TARGET_LIMIT: u64 = 4096;
/// The most bytes of all contents that are hashed: inodes can share their blocks without end.
const CONTENT_LIMIT: u64 = 64 << 30;
/// Copied at a time.
const BUFFER: u64 = 1 << 20;

/// Reads superblock and tree; content is read by [`copy`].
///
/// Errors: a checksum that does not match, features that are not known here, a directory that is
/// out of order, loops or names what is not there.
pub fn read<D: Read + Seek>(device: &mut D) -> Result<FoundTree> {
    let superblock = read_superblock(device)?;
    let root = inode::read(device, &superblock, superblock.root)
        .context("read the root directory's inode")?;
    if root.kind != Kind::Directory {
        bail!("the root of the EROFS is no directory");
    }
    let mut tree = FoundTree { superblock, entries: BTreeMap::new() };
    let mut seen = BTreeSet::from([root.inode]);
    let mut left = vec![(String::new(), root.clone())];
    tree.entries.insert(String::new(), root);
    while let Some((path, entry)) = left.pop() {
        let names = directory(device, &tree.superblock, &entry)
            .with_context(|| format!("read directory `/{path}`"))?;
        for (name, nid) in names {
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            let child = inode::read(device, &tree.superblock, nid)
                .with_context(|| format!("read inode of `/{below}`"))?;
            if tree.entries.len() >= ENTRIES_LIMIT {
                bail!("more than {ENTRIES_LIMIT} entries");
            }
            if child.kind == Kind::Directory {
                if !seen.insert(child.inode) {
                    bail!("directory `/{below}` has two parents");
                }
                left.push((below.clone(), child.clone()));
            }
            tree.entries.insert(below, child);
        }
    }
    Ok(tree)
}

/// Reads the superblock alone.
pub fn read_superblock<D: Read + Seek>(device: &mut D) -> Result<FoundSuperblock> {
    superblock::read(device).context("read EROFS superblock")
}

/// Writes the content of a file (or the target of a link) to `to`.
pub fn copy<D: Read + Seek>(
    device: &mut D,
    tree: &FoundTree,
    entry: &FoundEntry,
    to: &mut impl Write,
) -> Result<()> {
    let mut done = 0;
    while done < entry.size {
        let bytes = range(device, &tree.superblock, entry, done, BUFFER)?;
        to.write_all(&bytes).context("write content")?;
        done += bytes.len() as u64;
    }
    Ok(())
}

/// SHA-256 of every file's content in hexadecimal digits, by the number of its inode; without the
/// files whose form is not read here ([`FoundEntry::is_plain`]).
pub fn digests<D: Read + Seek>(device: &mut D, tree: &FoundTree) -> Result<BTreeMap<u64, String>> {
    let mut digests = BTreeMap::new();
    let mut total = 0_u64;
    for (path, entry) in &tree.entries {
        if entry.kind != Kind::File || !entry.is_plain() || digests.contains_key(&entry.inode) {
            continue;
        }
        total = total.saturating_add(entry.size);
        if total > CONTENT_LIMIT {
            bail!("more than {CONTENT_LIMIT} bytes of content");
        }
        let mut hasher = Sha256::new();
        let mut done = 0;
        while done < entry.size {
            let bytes = range(device, &tree.superblock, entry, done, BUFFER)
                .with_context(|| format!("read `/{}`", path.escape_debug()))?;
            hasher.update(&bytes);
            done += bytes.len() as u64;
        }
        digests.insert(entry.inode, hex(&hasher.finalize()));
    }
    Ok(digests)
}

/// The content of a file with at most `limit` bytes.
pub fn content<D: Read + Seek>(
    device: &mut D,
    tree: &FoundTree,
    path: &str,
    limit: u64,
) -> Result<Vec<u8>> {
    let entry = tree.entries.get(path).with_context(|| format!("no `/{path}`"))?;
    if entry.kind != Kind::File || entry.size > limit {
        bail!("`/{path}` is no file of at most {limit} bytes");
    }
    let mut bytes = Vec::new();
    copy(device, tree, entry, &mut bytes)?;
    Ok(bytes)
}

/// At most `length` bytes of content from `from`, and at least one where there is one.
fn range<D: Read + Seek>(
    device: &mut D,
    superblock: &FoundSuperblock,
    entry: &FoundEntry,
    from: u64,
    length: u64,
) -> Result<Vec<u8>> {
    let (at, tail) = match entry.data {
        Data::Plain { at, tail } => (at, tail),
        Data::Unsupported(layout) => bail!("inode {} has data layout {layout}", entry.inode),
    };
    let block = u64::from(superblock.block);
    let whole = if tail.is_some() { entry.size / block * block } else { entry.size };
    let (start, end) = match tail {
        Some((tail, size)) if from >= whole => (tail + (from - whole), size - (from - whole)),
        _ => (at.checked_add(from).context("place content")?, whole - from),
    };
    read_at(device, start, end.min(length))
}

/// Names and inode numbers, without `.` and `..`.
fn directory<D: Read + Seek>(
    device: &mut D,
    superblock: &FoundSuperblock,
    entry: &FoundEntry,
) -> Result<Vec<(String, u64)>> {
    if entry.size > DIRECTORY_LIMIT {
        bail!("directory of {} bytes", entry.size);
    }
    let mut names: Vec<(String, u64)> = Vec::new();
    let mut dots = 0;
    let mut at = 0;
    while at < entry.size {
        let block = range(device, superblock, entry, at, u64::from(superblock.block))?;
        at += block.len() as u64;
        for (name, nid) in names_of(&block)? {
            if name == "." || name == ".." {
                dots += 1;
                continue;
            }
            if names.last().is_some_and(|(last, _)| last.as_bytes() >= name.as_bytes()) {
                bail!("`{}` is out of order", name.escape_debug());
            }
            names.push((name, nid));
        }
    }
    if dots != 2 {
        bail!("the directory lacks `.` or `..`");
    }
    Ok(names)
}

/// One block: entries of 12 bytes, then the names, which the first entry's offset counts.
fn names_of(block: &[u8]) -> Result<Vec<(String, u64)>> {
    const DIRENT: usize = 12;
    let first = usize::from(u16_at(block, 8)?);
    if first < DIRENT || first % DIRENT != 0 || first > block.len() {
        bail!("names begin at byte {first}");
    }
    let count = first / DIRENT;
    let offset = |i: usize| Ok::<_, anyhow::Error>(usize::from(u16_at(block, i * DIRENT + 8)?));
    let mut names = Vec::with_capacity(count);
    for i in 0..count {
        let start = offset(i)?;
        let end = if i + 1 < count { offset(i + 1)? } else { block.len() };
        let length = end.checked_sub(start).context("names are out of order")?;
        let name = slice(block, start, length)?;
        // The last name of a block may end before the block does.
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8(name.to_vec()).context("read a name")?;
        if name.is_empty() || name.len() > 255 || name.contains('/') {
            bail!("`{}` is no name", name.escape_debug());
        }
        u8_at(block, i * DIRENT + 10)?;
        names.push((name, u64_at(block, i * DIRENT)?));
    }
    Ok(names)
}
