//! What an image is meant to be.
//!
//! A profile is a YAML file: one parent, sets that say `add` and `drop`, scalars that replace, no
//! conditions, no templates, nothing to run. This crate reads and folds profiles, checks what can
//! be checked without looking at a package, and turns the directories that a profile lays over the
//! tree into trees. It does not know how packages are found, what a layout looks like or which
//! outputs exist: names of rows of other crates' tables pass through as text.

mod check;
mod draft;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod overlay;
mod resolve;
mod source;
mod updates;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use check::{check_version, label};
pub use overlay::{Overlay, overlays};
pub use resolve::{load, parse};
pub use source::text;
pub use updates::{Health, Reboot, Updates, seconds};
pub use yaml::{advice, yaml};

/// A profile, folded over its ancestors and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What the image is called: IMAGE_ID of os-release, labels, file names. Lower-case letters,
    /// digits, `.`, `_` and `-`.
    pub id: String,
    /// One sentence for people.
    pub about: String,
    /// Which machines it is for.
    pub arch: Arch,
    /// Where packages come from, by name.
    pub archives: BTreeMap<String, Archive>,
    /// Packages asked for, each with the version that it is pinned to, if any.
    pub packages: BTreeMap<String, Option<String>>,
    /// Directories laid over the tree, ancestors' first; a later one wins.
    pub files: Vec<PathBuf>,
    /// What becomes of units, by unit name.
    pub units: BTreeMap<String, UnitState>,
    /// Lines of `sysusers.d(5)`.
    pub users: Vec<String>,
    /// The kernel's command line as far as it depends on the profile alone, in order. It holds
    /// `systemd.import_credentials=no` where [`Credentials::None`] is asked for.
    pub kernel_args: Vec<String>,
    /// Components of the unified kernel image that can be revoked by generation, a line of SBAT
    /// each (shim, SBAT.md).
    pub sbat: Vec<String>,
    /// The layout of the disk.
    pub layout: Layout,
    /// Names of disk formats to write.
    pub outputs: Vec<String>,
    /// The version, where the profile fixes it.
    pub version: Option<String>,
    /// Where the next version comes from; `None` where no file says anything of it.
    pub updates: Option<Updates>,
    /// What a version on trial has to prove.
    pub health: Health,
    /// Whether the platform may hand in credentials.
    pub credentials: Credentials,
    /// Maintainer scripts that somebody read and found unneeded, by package.
    pub scripts: BTreeMap<String, Vec<Acknowledgement>>,
    /// Paths that may be set-id or carry file capabilities, each with the reason.
    pub setid: BTreeMap<String, String>,
    /// Path patterns that are left out of the tree, each with the reason.
    pub drop: BTreeMap<String, String>,
    /// The profile of the initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Path patterns: when there is one, the tree holds only what they match and what that needs.
    pub keep: Vec<String>,
    /// Kernel modules that are kept, by name; what they need follows.
    pub modules: Vec<String>,
    /// Features of programs (`.note.dlopen`) whose libraries are left out, each with the reason.
    pub without: BTreeMap<String, String>,
    /// Findings of lints that are accepted: lint, then path pattern, to the reason.
    pub lints: BTreeMap<String, BTreeMap<String, String>>,
}

/// An instruction set, as the Discoverable Partitions Specification spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// 64-bit x86.
    #[default]
    X86_64,
    /// 64-bit Arm; read here, refused by what cannot build it yet.
    Arm64,
}

/// An archive of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Whose archive it is: a distribution that packages can be locked from.
    pub source: String,
    /// The last part of its address, the same on every mirror.
    pub path: String,
    /// A fixed address, where the profile names one.
    pub url: Option<String>,
    /// The file with the keys that may sign it.
    pub keyring: PathBuf,
    /// Suites, every one of them serving.
    pub suites: Vec<String>,
    /// Components of the suites.
    pub components: Vec<String>,
}

/// What becomes of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// A preset enables it.
    Enabled,
    /// A preset disables it.
    Disabled,
    /// It cannot be started; the reason why.
    Masked(String),
}

/// The disk's layout; `None` leaves the layout's own default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name of a row of the layouts.
    pub name: String,
    /// Bytes of the EFI system partition.
    pub esp: Option<u64>,
    /// Bytes of one `usr` slot.
    pub usr: Option<u64>,
    /// Bytes of one slot for the hash tree.
    pub verity: Option<u64>,
    /// Bytes of one slot for the signature of the root hash.
    pub signature: Option<u64>,
    /// Bytes of the root partition as shipped.
    pub root: Option<u64>,
    /// Bytes of a logical sector: 512 or 4096.
    pub sector: Option<u32>,
}

/// Whether `systemd.system-credentials(7)` from outside the image are honoured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credentials {
    /// The platform hands them in: who runs the virtual machine owns its memory anyway.
    #[default]
    Platform,
    /// None are taken.
    None,
}

/// A maintainer script that somebody read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// SHA-256 of what is left of the script, in lower-case hexadecimal.
    pub sha256: String,
    /// Why it need not run.
    pub reason: String,
}
