//! Which path came from where: a product of its own.

use std::collections::BTreeMap;

use package::Id;
use serde::{Deserialize, Serialize};
use store::{Digest, Node, Owner, Tree};

/// One path of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Path without leading `/`.
    pub path: String,
    /// The package that brought it, or what made it (`generator:users`, `profile`).
    pub origin: String,
    /// The package's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `directory`, `file` or `link`.
    pub kind: String,
    /// SHA-256 of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// A file's size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// A link's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Permission bits, octal.
    pub mode: String,
    /// User, by number or name.
    pub owner: String,
    /// Group, by number or name.
    pub group: String,
    /// Extended attributes, values in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

/// Every path of an image, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inventory(pub Vec<Item>);

/// The inventory of a tree that was made of `packages`.
pub fn inventory<'a>(tree: &Tree, packages: impl IntoIterator<Item = &'a Id>) -> Inventory {
    let packages = packages.into_iter().map(|id| (id.name.as_str(), id.version.0.as_str()));
    let versions: BTreeMap<&str, &str> = packages.collect();
    let owner = |owner: &Owner| match owner {
        Owner::Id(id) => id.to_string(),
        Owner::Name(name) => name.clone(),
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let items = tree.0.iter().map(|(path, entry)| {
        let (kind, target) = match &entry.node {
            Node::Directory => ("directory", None),
            Node::File(_) => ("file", None),
            Node::Symlink(target) => ("link", Some(target.clone())),
        };
        Item {
            path: path.clone(),
            origin: entry.origin.clone(),
            version: versions.get(entry.origin.as_str()).map(|version| (*version).to_owned()),
            kind: kind.to_owned(),
            digest: entry.blob().map(|blob| blob.digest),
            size: entry.blob().map(|blob| blob.size),
            target,
            mode: format!("{:04o}", entry.mode),
            owner: owner(&entry.owner),
            group: owner(&entry.group),
            xattrs: entry.xattrs.iter().map(|(name, value)| (name.clone(), hex(value))).collect(),
        }
    });
    Inventory(items.collect())
}
