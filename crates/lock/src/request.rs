//! What is asked for, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use store::{Digest, Epoch};

/// What an image needs.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// The image's id, from which its seed derives.
    pub id: String,
    /// Its architecture, in the words of UAPI (`x86-64`).
    pub architecture: String,
    /// Where packages may come from. All of one image belong to one row of
    /// [`crate::SOURCES`].
    pub archives: Vec<ArchiveRequest>,
    /// The parts of the image (`host`, `initrd`, `boot`), each with the packages that it asks
    /// for by name, and the version where one is pinned.
    pub roles: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Packages that satisfy dependencies and ship nothing; one that a role asks for by name is
    /// never assumed in it.
    pub assume: BTreeSet<String>,
}

/// An archive of packages.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveRequest {
    /// What the profile calls it.
    pub name: String,
    /// Its row of [`crate::SOURCES`].
    pub source: String,
    /// Last component of its URL, by which a machine knows it.
    pub path: String,
    /// Its URL, when the profile gives one.
    pub url: Option<String>,
    /// The keys that may sign it: binary or armoured.
    pub keyring: Vec<u8>,
    /// Its suites, by their own names.
    pub suites: Vec<String>,
    /// Its components.
    pub components: Vec<String>,
}

/// What is this machine's and this moment's, and reaches no byte of a lock but its warnings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The base of all archives, or the URL of one, said on the command line or in the
    /// environment.
    pub mirror: Option<String>,
    /// Whether an index past its end is used, with a warning.
    pub allow_stale: bool,
    /// The current time.
    pub now: Epoch,
    /// Below which the package manager's configuration lies: `/`.
    pub apt_root: PathBuf,
}

impl Request {
    /// The digest of everything that is asked for; the order in which archives, suites and
    /// components are written changes nothing.
    pub fn digest(&self) -> Result<Digest> {
        let mut sorted = self.clone();
        sorted.archives.sort_by(|a, b| a.name.cmp(&b.name));
        for archive in &mut sorted.archives {
            archive.suites.sort();
            archive.components.sort();
        }
        Ok(Digest::of(&store::encode(&sorted)?))
    }
}
