//! `cargo xtask judge`: what we make beside what the distribution's own programs make of the same.

mod closure;

use anyhow::Result;
use clap::Subcommand;

pub(crate) use closure::of_all as closures;

#[derive(Subcommand)]
pub(crate) enum Judge {
    /// Let apt choose packages for the same wishes, and compare every name and version.
    Closure(closure::Options),
}

/// The verb.
pub(crate) fn judge(judge: &Judge) -> Result<()> {
    match judge {
        Judge::Closure(options) => closure::closure(options),
    }
}
