//! Exactly which packages, by digest.
//!
//! From what an image asks for to a list that names every package by digest, and back from the
//! list's text. It does not know how a profile is written or what is done with a package. What a
//! distribution does its own way sits in its row of [`SOURCES`].

mod assemble;
mod diff;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod request;
mod resolve;
mod source;
mod text;
mod universe;

pub use assemble::{lock, wanted};
pub use request::{ArchiveRequest, Options, Request};
pub use source::{SOURCES, Snapshot, Source};
pub use universe::provides;

use anyhow::{Context, Result};
use package::{Family, Id, Version};
use serde::{Deserialize, Serialize};
use store::{Blob, Digest, Epoch, Seed};

/// Every package of an image, by digest, and where its identity comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The architecture of the image, in the words of UAPI (`x86-64`).
    pub architecture: String,
    /// What was asked for: [`Request::digest`]. Another one means that the lock is out of date.
    pub request: Digest,
    /// The newest date of the signed indexes: the only time that reaches the image.
    pub epoch: Epoch,
    /// Where the image's ids come from.
    pub seed: Seed,
    /// What was tolerated.
    pub warnings: Vec<String>,
    /// The archives, in the order of their names.
    pub archives: Vec<LockedArchive>,
    /// The packages, in the order of their names.
    pub packages: Vec<Locked>,
}

impl Lock {
    /// How a package of this lock is read.
    pub fn family(&self, locked: &Locked) -> Result<Family> {
        let archive = self.archives.iter().find(|archive| archive.name == locked.repository);
        let archive = archive.with_context(|| {
            format!("find archive `{}` of `{}` in the lock", locked.repository, locked.id.name)
        })?;
        Ok(source::source(&archive.source)?.family)
    }
}

/// An archive as it was when the lock was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedArchive {
    /// What the profile calls it.
    pub name: String,
    /// Its row of [`SOURCES`].
    pub source: String,
    /// Last component of its URL, by which a machine knows it.
    pub path: String,
    /// Its URL, when the profile gives one.
    pub url: Option<String>,
    /// Its suites, in the order of their names.
    pub suites: Vec<LockedSuite>,
}

/// A suite as it was when the lock was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedSuite {
    /// Its name.
    pub name: String,
    /// The date that its index names.
    pub date: Epoch,
    /// Fingerprints of the keys that signed it, sorted.
    pub signers: Vec<String>,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Name, version, architecture.
    pub id: Id,
    /// The archive that it comes from.
    pub repository: String,
    /// Where it lies in the archive, as the index spells it.
    pub location: String,
    /// Its bytes.
    pub blob: Blob,
    /// The source package that it was built from.
    pub source: String,
    /// That one's version.
    pub source_version: Version,
    /// Its licence, where the index says it.
    pub licence: Option<String>,
    /// When it was built, where the index says it.
    pub built: Option<Epoch>,
    /// Who vouches for it.
    pub trust: Trust,
    /// Fingerprint of the key that does; the lowest, when several do.
    pub signer: String,
    /// The parts of the image that it is for (`host`, `initrd`, `boot`), sorted.
    pub roles: Vec<String>,
    /// Whether it was asked for by name, in any role.
    pub asked: bool,
}

/// Who vouches for a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// A signed index that names its digest.
    Index,
    /// Its own signature.
    Package,
    /// Both.
    Both,
}
