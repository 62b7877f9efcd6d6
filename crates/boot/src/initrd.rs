//! The initrd: a tree as a newc cpio archive (Linux, early-userspace/buffer-format), in zstd.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::{Blob, Entry, Epoch, Node, Owner, Scratch, Stage, Tree, TreeId};

/// What an initrd is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitrdPlan {
    /// The tree to pack.
    pub tree: TreeId,
    /// Modification time of every entry; newc keeps 32 bits of it.
    pub epoch: Epoch,
}

/// A packed initrd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initrd {
    /// The compressed archive.
    pub image: Blob,
}

/// Packs a tree: newc cpio, inodes numbered in path order, one zstd frame.
///
/// # Errors
/// A file that newc cannot hold (extended attributes, an owner that is still a name, 4 GiB).
pub const INITRD: Stage<InitrdPlan, Initrd> = Stage {
    name: "initrd",
    revision: 1,
    about: |plan| format!("tree {}", plan.tree.digest.short()),
    run: |plan, scratch| {
        let tree = scratch.tree(&plan.tree)?.with_parents("initrd");
        let archive = pack(&tree, plan.epoch, scratch)?;
        Ok(Initrd { image: scratch.put(&store::compress(&archive, store::ZSTD_LEVEL)?)? })
    },
};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// PATH_MAX of Linux, the final NUL included: its unpacker drops longer names and link targets.
const PATH_MAX: usize = 4096;

/// cpio(1) pads archives to its block; Linux wants 4 bytes at least.
const BLOCK: usize = 512;

/// No initrd that a machine can boot is larger; it must fit in memory twice.
const SIZE_MAX: u64 = 2 << 30;

struct Header {
    inode: u32,
    mode: u32,
    user: u32,
    group: u32,
    links: u32,
    time: u32,
}

/// The hard links of one inode: its number, how many there are, how many are still to come.
struct Links {
    inode: u32,
    total: u32,
    left: u32,
    blob: Blob,
}

fn pack(tree: &Tree, epoch: Epoch, scratch: &Scratch<'_>) -> Result<Vec<u8>> {
    let time = u32::try_from(epoch.0).context("the epoch does not fit in the initrd's 32 bits")?;
    let size: u64 = tree.blobs().fold(0, |sum, blob| sum.saturating_add(blob.size));
    if size > SIZE_MAX {
        bail!("initrd holds {size} bytes, more than the {SIZE_MAX} allowed");
    }
    let mut groups = links(tree)?;
    let mut archive = Vec::new();
    for (inode, (path, entry)) in (1..).zip(&tree.0) {
        let header = Header {
            inode,
            mode: u32::from(entry.mode),
            user: id(&entry.owner).with_context(|| format!("owner of `{path}`"))?,
            group: id(&entry.group).with_context(|| format!("group of `{path}`"))?,
            links: 1,
            time,
        };
        if let Some(name) = entry.xattrs.keys().next() {
            bail!("`{path}` carries `{name}`, and an initrd cannot hold extended attributes");
        }
        append_entry(&mut archive, path, entry, header, &mut groups, scratch)
            .with_context(|| format!("pack `{path}` into the initrd"))?;
    }
    let end = Header { inode: 0, mode: 0, user: 0, group: 0, links: 1, time: 0 };
    append(&mut archive, "TRAILER!!!", &end, &[])?;
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(archive)
}

fn append_entry(
    archive: &mut Vec<u8>,
    path: &str,
    entry: &Entry,
    header: Header,
    groups: &mut BTreeMap<String, Links>,
    scratch: &Scratch<'_>,
) -> Result<()> {
    match &entry.node {
        Node::Directory => append(
            archive,
            path,
            &Header { mode: header.mode | DIRECTORY, links: 2, ..header },
            &[],
        ),
        Node::Symlink(target) => {
            if target.len() >= PATH_MAX {
                bail!("link target of {} bytes is too long", target.len());
            }
            let header = Header { mode: 0o777 | SYMLINK, ..header };
            append(archive, path, &header, target.as_bytes())
        }
        Node::File(blob) => {
            let mut header = Header { mode: header.mode | REGULAR, ..header };
            let mut content = Some(blob);
            if let Some(links) = entry.link.as_ref().and_then(|name| groups.get_mut(name)) {
                if links.inode == 0 {
                    links.inode = header.inode;
                }
                links.left -= 1;
                header = Header { inode: links.inode, links: links.total, ..header };
                // The data of linked files goes with the last name, the others are empty: what
                // cpio(1) writes, and the only order that both it and Linux read.
                content = content.filter(|_| links.left == 0);
            }
            let bytes = content.map_or(Ok(Vec::new()), |blob| scratch.read(blob))?;
            append(archive, path, &header, &bytes)
        }
    }
}

/// The groups of hard links in a tree.
fn links(tree: &Tree) -> Result<BTreeMap<String, Links>> {
    let mut groups: BTreeMap<String, Links> = BTreeMap::new();
    for (path, entry) in &tree.0 {
        if let (Some(name), Some(blob)) = (&entry.link, entry.blob()) {
            let new = Links { inode: 0, total: 0, left: 0, blob };
            let group = groups.entry(name.clone()).or_insert(new);
            if group.blob != blob {
                bail!("`{path}` is a hard link of `{name}` with other content");
            }
            group.total += 1;
            group.left += 1;
        }
    }
    Ok(groups)
}

fn id(owner: &Owner) -> Result<u32> {
    match owner {
        Owner::Id(id) => Ok(*id),
        Owner::Name(name) => bail!("`{name}` is still a name, not a number"),
    }
}

/// Appends one entry: header, name with its NUL, content, both padded to 4 bytes.
fn append(archive: &mut Vec<u8>, name: &str, header: &Header, content: &[u8]) -> Result<()> {
    if name.len() >= PATH_MAX {
        bail!("path of {} bytes is too long", name.len());
    }
    let size = u32::try_from(content.len()).context("a file has 4 GiB or more")?;
    let name_size = u32::try_from(name.len() + 1)?;
    let Header { inode, mode, user, group, links, time } = *header;
    archive.extend_from_slice(b"070701");
    for field in [inode, mode, user, group, links, time, size, 0, 0, 0, 0, name_size, 0] {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}
