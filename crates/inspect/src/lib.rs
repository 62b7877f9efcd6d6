//! GPT, FAT, EROFS, PE, UKI, dm-verity and VHD read back from finished bytes.
//!
//! This crate faces the spine: it shares no code with the writers and depends on none of them, so
//! that a mistake made there is seen here. It reads hostile bytes: every size has a limit, every
//! fault is an error that names what is wrong, nothing panics. It writes nothing.

mod bytes;
mod der;
pub mod erofs;
pub mod fat;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod gpt;
pub mod holding;
mod image;
pub mod kinds;
pub mod loader;
mod look;
mod origins;
pub mod pe;
pub mod signature;
mod slot;
mod text;
pub mod uki;
pub mod verity;
pub mod vhd;

pub use bytes::{Window, hex};
pub use image::{FoundFile, FoundImage, FoundProgram, FoundUkiFile, read, summary, survey};
pub use look::{Form, Found, look};
pub use origins::FoundOrigins;
pub use slot::FoundSlot;
pub use text::bytes;
