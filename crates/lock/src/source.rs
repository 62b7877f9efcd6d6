//! What a distribution does its own way: one row for each.

mod debian;

use anyhow::{Context, Result};
use fetch::{Client, Mirror};
use package::{Family, Record};
use store::Epoch;

use crate::{ArchiveRequest, LockedSuite, Trust};

/// The distributions.
pub static SOURCES: &[Source] = &[debian::SOURCE];

/// A distribution's way.
pub struct Source {
    /// What profiles call it.
    pub name: &'static str,
    /// How its packages are read and compared.
    pub family: Family,
    /// Who vouches for its packages.
    pub trust: Trust,
    /// Its word for an architecture of UAPI; `None` when it has none.
    pub architecture: fn(&str) -> Option<&'static str>,
    /// The roles whose system implies packages that nobody asks for.
    pub implying_roles: &'static [&'static str],
    /// Reads the indexes of an archive.
    pub read: fn(&Ask) -> Result<Snapshot>,
}

/// What a row is asked.
pub struct Ask<'a> {
    /// What fetches.
    pub client: &'a Client,
    /// Where the archive is.
    pub mirror: &'a Mirror,
    /// Which archive.
    pub archive: &'a ArchiveRequest,
    /// In the distribution's words.
    pub architecture: &'a str,
    /// The current time.
    pub now: Epoch,
    /// Whether an index past its end is used, with a warning.
    pub allow_stale: bool,
    /// Where progress is shown.
    pub progress: fetch::Progress,
}

/// An archive at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Its suites.
    pub suites: Vec<LockedSuite>,
    /// Its packages, each with the position of its suite.
    pub records: Vec<(Record, usize)>,
    /// What was tolerated.
    pub warnings: Vec<String>,
}

/// The row called `name`.
pub(crate) fn source(name: &str) -> Result<&'static Source> {
    let row = SOURCES.iter().find(|row| row.name == name);
    row.with_context(|| {
        let known: Vec<_> = SOURCES.iter().map(|row| row.name).collect();
        format!("find source `{name}`: known are {}", known.join(", "))
    })
}
