//! Foreign archives and indexes to typed records.
//!
//! This crate reads what distributions publish: package indexes, package archives and their
//! maintainer scripts, as data. It does not know how bytes were fetched, which packages an image
//! wants, or what becomes of their files. A package's own habits and its family's words stay here.

mod archive;
mod capability;
mod container;
mod dependency;
mod extended;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod index;
mod marked;
mod payload;
mod plain;
mod record;
mod script;
mod shell;
mod version;
mod words;

pub use archive::*;
pub use capability::*;
pub use dependency::*;
pub use index::*;
pub use record::*;
pub use script::*;
pub use version::*;
pub use words::*;
