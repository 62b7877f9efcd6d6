//! The only socket; hands out nothing unverified.
//!
//! It knows OpenPGP verification, HTTP, and where this machine's package manager finds an
//! archive. It does not know what an index or a package holds: a signed text is handed out once
//! its signature is checked, every other byte once its digest is.

mod address;
mod cleartext;
mod client;
mod detached;
mod download;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod keyring;
mod machine;
mod mirror;
mod progress;
mod settings;

pub use address::Address;
pub use client::{Client, Patience, signed, verified};
pub use detached::{LARGEST_SIGNATURE, Opened, Sealed, sealed};
pub use download::{Wanted, all};
pub use keyring::{Keyring, Signed};
pub use machine::{Machine, read_machine};
pub use mirror::{Mirror, Place, mirror};
pub use progress::Progress;
