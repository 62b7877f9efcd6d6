//! `cargo xtask judge`: what we make beside what the distribution's own programs make of the same.

mod client;
mod closure;
mod compare;
mod exact;
mod install;
mod list;
mod normal;
mod tree;
mod walk;

use anyhow::Result;
use clap::Subcommand;

pub(crate) use closure::of_all as closures;
pub(crate) use install::Installation;
pub(crate) use tree::judge as tree;

/// What is judged.
#[derive(Subcommand)]
pub(crate) enum Judge {
    /// Let apt choose packages for the same wishes, and compare every name and version.
    Closure(closure::Options),
    /// The newest update client, and what else the newest systemd says of what we make.
    Client(client::Options),
    /// A profile's tree: against the same packages installed with their scripts by mmdebstrap, and
    /// byte for byte against depmod, systemd-sysusers and systemctl.
    Tree(tree::Options),
}

/// The verb.
pub(crate) fn judge(judge: &Judge) -> Result<()> {
    match judge {
        Judge::Client(options) => client::client(options),
        Judge::Closure(options) => closure::closure(options),
        Judge::Tree(options) => tree::verb(options),
    }
}
