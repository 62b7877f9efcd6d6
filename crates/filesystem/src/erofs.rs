//! EROFS, the kernel's read-only file system, uncompressed.
//!
//! Format: `Documentation/filesystems/erofs.rst`, section "On-disk details", and
//! `fs/erofs/erofs_fs.h`, in Linux 6.12. Little endian. From the front: 1024 unused bytes,
//! superblock, inodes with their attributes and short link targets, shared attributes,
//! directories, long link targets; then contents, each from a block of its own on. No feature
//! that an incapable reader must refuse is used.

mod directory;
mod metadata;
mod superblock;
mod xattr;

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use store::{Entry, Scratch};

use crate::contents::place;
use crate::inode::inodes;
use crate::{Image, Plan};
use metadata::Metadata;
use superblock::{LABEL_MAX, Superblock};
use xattr::Xattrs;

/// Origin of what no entry of the tree describes: the root directory and missing parents.
const ORIGIN: &str = "image";

pub(crate) fn freeze(plan: &Plan, scratch: &Scratch<'_>) -> Result<Image> {
    check(plan)?;
    let tree = scratch.tree(&plan.tree).context("read the tree")?.with_parents(ORIGIN);
    let root = Entry::directory(ORIGIN);
    let inodes = inodes(&root, &tree)?;
    let xattrs = Xattrs::of(&inodes)?;
    let metadata = Metadata::of(&inodes, &xattrs)?;
    let contents = place(&inodes, metadata.end)?;

    let mut bytes = metadata.write(&inodes, &xattrs, &contents, plan.epoch)?;
    Superblock { plan, metadata: &metadata, blocks: contents.end, inodes: inodes.len() }
        .write(&mut bytes)?;
    let mut sink = scratch.create()?;
    sink.write_all(&bytes).context("write metadata")?;
    contents.copy(scratch, &mut sink)?;

    let mut extents = metadata.extents;
    contents.enter(&mut extents);
    let extents = scratch.put(&store::encode(&extents)?)?;
    Ok(Image { data: sink.finish()?, extents })
}

fn check(plan: &Plan) -> Result<()> {
    let label = &plan.label;
    let bad = label.len() > LABEL_MAX || label.contains('\0');
    ensure!(!bad, "volume name `{label}` has more than {LABEL_MAX} bytes or a NUL");
    if plan.base.is_some() {
        bail!("an EROFS image cannot follow an earlier one's placement yet");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use store::{Blob, Epoch, Tree};

    use super::*;
    use crate::Codec;

    fn plan(label: &str, base: Option<Blob>) -> Plan {
        let bytes = store::encode(&Tree::default()).unwrap();
        let Blob { digest, size } = Blob::of(&bytes);
        let tree = store::TreeId { digest, size };
        let label = label.to_owned();
        Plan { tree, codec: Codec::None, base, epoch: Epoch(0), uuid: [0; 16], label }
    }

    #[test]
    fn a_volume_name_that_readers_would_cut_is_refused() {
        assert!(check(&plan("fifteen-letters", None)).is_ok());
        for label in ["sixteen-letters-", "nul\0"] {
            let error = check(&plan(label, None)).unwrap_err().to_string();
            assert!(error.contains("volume name"), "{error}");
        }
    }

    #[test]
    fn a_base_that_would_not_be_followed_is_refused() {
        let error = check(&plan("x", Some(Blob::of(b"[]")))).unwrap_err().to_string();
        assert!(error.contains("earlier one's placement"), "{error}");
    }
}
