//! What every family can say of one package, from an index or from the file itself.

use serde::{Deserialize, Serialize};
use store::Blob;

use crate::{Relations, Version};

/// Name, version and architecture: what tells packages apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture as the family writes it.
    pub architecture: String,
}

/// One package of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which package.
    pub id: Id,
    /// What it says of others.
    pub relations: Relations,
    /// The archive file, by digest and size.
    pub blob: Blob,
    /// Where the archive file lies, relative to the repository's root, as the index spells it.
    pub location: String,
    /// The source package that it was built from.
    pub source: String,
    /// The source package's version.
    pub source_version: Version,
    /// Whether an empty system implies it.
    pub implied: bool,
    /// Preference among providers: lower comes first (required 0 … optional 3, extra 4).
    pub preference: u8,
    /// Whether several architectures may meet its dependants' needs (Multi-Arch).
    pub multi_arch: Option<String>,
    /// Size when unpacked, in KiB as the index says.
    pub installed_kib: u64,
}
