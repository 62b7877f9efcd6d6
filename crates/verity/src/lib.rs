//! The hash tree over an image.
//!
//! dm-verity, hash format 1, SHA-256, blocks of 4096 bytes, no forward error correction: the
//! bytes that `veritysetup format` writes. It does not know what the image holds, how the root
//! hash is signed, or where data and tree come to lie.
//!
//! Format: the Linux kernel's `Documentation/admin-guide/device-mapper/verity.rst` (tree) and
//! cryptsetup's on-disk format of `VERITY` (superblock).

mod root;
mod tree;

pub use root::RootHash;
pub use tree::{BLOCK, PROTECT, Plan, Protected};
