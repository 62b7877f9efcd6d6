//! Bytes by digest, trees over bytes, results by key.
//!
//! The lowest floor of the house. It knows what a blob, a tree and a stage are, and keeps the
//! results of stages on disk. It does not know what a package, an image or OSTree is.

mod canonical;
mod compress;
mod digest;
mod files;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod identity;
mod keep;
mod parallel;
mod scratch;
mod sound;
mod spelling;
mod stage;
mod tree;

pub use canonical::{Reached, decode, encode, reached};
pub use compress::{ZSTD_LEVEL, compress, decompress, decompressor};
pub use digest::{Blob, Digest, Hasher};
pub use files::{blob_from, blob_of, bounded, list};
pub use identity::{Epoch, Seed};
pub use keep::{Outcome, Run, Store, WouldRun};
pub use parallel::parallel;
pub use scratch::{Scratch, Sink, run_alone};
pub use sound::{Damaged, Sole, Swept, Verified};
pub use spelling::nearest;
pub use stage::{Erased, Stage};
pub use tree::{Entry, Node, Owner, Tree, TreeId};
