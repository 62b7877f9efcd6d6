//! From a tree to a file-system image.
//!
//! One stage, [`FREEZE`], and one table, [`FILESYSTEMS`]: to add a file system, write its module
//! and its row. It does not know which packages there are, what protects the image, or on which
//! partition it lies; a package is a name in the map of the image, [`Extents`], and nothing else.

mod contents;
mod erofs;
mod extents;
mod inode;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use store::{Blob, Epoch, Scratch, Stage, TreeId};

pub use extents::{Extent, Extents, Holds, Part};

/// Size of a block of every image, in bytes: the page size of every machine that we bake for.
pub const BLOCK: u64 = 4096;

/// Input of [`FREEZE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the image holds. Every owner is a number by now.
    pub tree: TreeId,
    /// How contents are compressed.
    pub codec: Codec,
    /// The extents of an earlier image, to keep unchanged contents in their places.
    pub base: Option<Blob>,
    /// When every file was last changed.
    pub epoch: Epoch,
    /// The file system's UUID, in the order of UUID text.
    pub uuid: [u8; 16],
    /// The volume's name: at most 15 bytes.
    pub label: String,
}

/// How contents are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// They are not.
    None,
}

/// Result of [`FREEZE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The image: whole blocks of [`BLOCK`] bytes.
    pub data: Blob,
    /// What every byte of it is: an [`Extents`] in canonical form.
    pub extents: Blob,
}

/// One row of [`FILESYSTEMS`].
pub struct Filesystem {
    /// Name, as profiles and `mount -t` write it.
    pub name: &'static str,
    /// The codecs that [`Filesystem::freeze`] knows.
    pub codecs: &'static [Codec],
    /// Makes an image.
    pub freeze: Stage<Plan, Image>,
}

/// Every file system that can hold a tree.
pub const FILESYSTEMS: &[Filesystem] =
    &[Filesystem { name: "erofs", codecs: &[Codec::None], freeze: FREEZE }];

/// Makes an EROFS image of a tree.
pub const FREEZE: Stage<Plan, Image> = Stage {
    name: "freeze",
    revision: 1,
    about: |plan| plan.label.clone(),
    run: |plan: &Plan, scratch: &Scratch<'_>| -> Result<Image> { erofs::freeze(plan, scratch) },
};
