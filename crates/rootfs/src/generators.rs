//! The rows of [`crate::GENERATORS`], one module each, in the order of their work.
//!
//! Generators see paths, never packages. What packages say beyond their files reaches them as
//! facts: JSON files (serde's form of the types named here) that MERGE writes into the tree and
//! the generator that consumes them removes. A missing file is an empty fact.
//!
//! | Path | Content |
//! |---|---|
//! | `.facts/alternatives.json` | [`Alternatives`]: `{"offers": [package::Alternative], "chosen": {"name": "/absolute/path"}}` |
//! | `.facts/enable.json` | `["containerd.service"]`: units that packages want enabled |
//! | `.facts/enable-user.json` | the same for user managers |
//! | `.facts/nss.json` | `["hosts before=dns resolve [!UNAVAIL=return]"]`: the strings of `Fact::NameService` |
//! | `.facts/image.json` | [`Image`]: `{"id": "mini", "version": "20261125.00.0", "name": "Mini"}`, `name` optional |
//!
//! At the end no path below `.facts` is left.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Generator, Purpose};

mod alternatives;
mod certificates;
mod dynamic_linker;
mod factory_etc;
pub(crate) mod files;
mod hwdb;
#[cfg(test)]
mod judges;
mod modules;
mod nsswitch;
mod os_release;
pub(crate) mod owners;
mod pam;
mod presets;
#[cfg(test)]
mod testing;
mod tmpfiles_var;
mod users;

pub(crate) use tmpfiles_var::{MADE_AT_BOOT, is_legacy};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz {
    pub(crate) use super::modules::fuzz as module;
    pub(crate) use super::nsswitch::fuzz as nsswitch;
    pub(crate) use super::pam::fuzz as pam;
    pub(crate) use super::presets::fuzz as presets;
    pub(crate) use super::users::fuzz as users;
}

pub(crate) const ALL: &[Generator] = &[
    alternatives::ROW,
    users::ROW,
    modules::UNPACK_ROW,
    modules::ROW,
    hwdb::ROW,
    certificates::ROW,
    pam::ROW,
    nsswitch::ROW,
    presets::ROW,
    os_release::ROW,
    os_release::INITRD_ROW,
    dynamic_linker::ROW,
    tmpfiles_var::ROW,
    factory_etc::ROW,
    owners::ROW,
];

/// `.facts/alternatives.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternatives {
    /// Every provider that a package offers, or rules add.
    pub offers: Vec<package::Alternative>,
    /// Name of an alternative to the absolute path of the provider that a profile chose.
    #[serde(default)]
    pub chosen: BTreeMap<String, String>,
}

/// `.facts/image.json`: what os-release says of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `IMAGE_ID`.
    pub id: String,
    /// `IMAGE_VERSION`.
    pub version: String,
    /// `PRETTY_NAME`, where the profile says another than the distribution's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Rows for the host and the initrd.
const BOTH: &[Purpose] = &[Purpose::Host, Purpose::Initrd];
