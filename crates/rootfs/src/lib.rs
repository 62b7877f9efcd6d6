//! From packages to one read-only tree, no maintainer script run.
//!
//! Three layers: [`IMPORT`] turns one package into a tree and facts, [`MERGE`] makes one tree of
//! many, [`GENERATORS`] add what an installed system computes. Lints look and change nothing.
//! This crate does not know where packages come from, what file system the tree ends in, or how
//! it boots; what is particular to a distribution or a package stands in rules data, not here.

mod capabilities;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod generate;
mod generators;
mod import;
mod inventory;
mod lines;
mod link;
mod lints;
mod merge;
mod module_file;
mod pattern;
mod rules;
mod scripts;
mod select;
mod tmpfiles;

pub use capabilities::Capabilities;
pub use generate::{
    Change, GENERATE, GENERATORS, Generate, Generated, Generator, Point, Purpose, generate,
    generate_one,
};
pub use generators::{Alternatives, Image};
pub use import::{IMPORT, Import, Imported};
pub use inventory::{Inventory, Item, inventory};
pub use lints::{Finding, LINT, LINTS, Lint, Linted, Lookup, Policy, Verdict, Waivers, outside};
pub use merge::{MERGE, Merge, Merged, Overlay};
pub use pattern::Patterns;
pub use rules::{Distribution, Mode, Reviewed, Rule, Rules, Units};
pub use scripts::{Likeness, Similar, Stale, Unreviewed, similar, stale, unreviewed};
pub use select::{SELECT, Select, Selected};
