//! What a finished tree must not hold. A lint looks and changes nothing.

mod libraries;
mod managers;
mod modes;
mod secrets;
mod units;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use store::{Blob, Entry, Scratch, Stage, Tree, TreeId};

use crate::{Merged, Patterns, Rules};

/// One row of [`LINTS`].
pub struct Lint {
    /// Name, as findings carry it.
    pub name: &'static str,
    /// The work.
    pub run: fn(&Tree, &Lookup<'_, '_>) -> Result<Vec<Finding>>,
}

/// Every lint. To add one, write its module and name it here. (A device node cannot be found:
/// a `store::Node` has no form for it.)
pub const LINTS: &[Lint] = &[
    Lint { name: "set-id", run: modes::run },
    Lint { name: "package-manager", run: managers::run },
    Lint { name: "secret", run: secrets::run },
    Lint { name: "unit", run: units::run },
    Lint { name: "library", run: libraries::run },
];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The lint's name.
    pub lint: String,
    /// Where.
    pub path: String,
    /// Which package brought the path, or what made it.
    pub origin: String,
    /// What is wrong, and what helps.
    pub problem: String,
}

/// What lints go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Path to the reason why it may be set-id or hold file capabilities.
    pub setid: BTreeMap<String, String>,
    /// Paths that no image may hold.
    pub forbid: Patterns,
    /// Masked unit to the reason.
    pub masked: BTreeMap<String, String>,
    /// Path to the reason why it may lack a library.
    pub unmet: BTreeMap<String, String>,
    /// Feature or library that programs load when it is there, to the reason why it is left out.
    pub optional: BTreeMap<String, String>,
}

impl Policy {
    /// What rules and a merge say; `setid` is the profile's list.
    pub fn of(rules: &Rules, merged: &Merged, setid: BTreeMap<String, String>) -> Self {
        Self {
            setid,
            forbid: rules.distribution.forbid.clone(),
            masked: merged.masked.clone(),
            unmet: merged.unmet.clone(),
            optional: rules.distribution.optional.clone(),
        }
    }
}

/// What a lint may ask beside the tree.
pub struct Lookup<'a, 's> {
    /// What it goes by.
    pub policy: &'a Policy,
    scratch: &'a Scratch<'s>,
}

impl Lookup<'_, '_> {
    /// The bytes of a file.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>> {
        self.scratch.read(blob)
    }

    /// The first bytes of a file, at most `most`.
    pub fn head(&self, blob: &Blob, most: u64) -> Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let mut file = self.scratch.open(blob)?.take(most);
        file.read_to_end(&mut bytes).with_context(|| format!("read blob {}", blob.digest))?;
        Ok(bytes)
    }

    /// The text of the file where `path` ends; `None` when it is no text or no file.
    pub fn text(&self, tree: &Tree, path: &str) -> Result<Option<String>> {
        let end = tree.resolve(path).and_then(|end| tree.get(&end)).and_then(Entry::blob);
        let Some(blob) = end else { return Ok(None) };
        Ok(String::from_utf8(self.read(&blob)?).ok())
    }
}

/// Input of [`LINT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linted {
    /// The finished tree.
    pub tree: TreeId,
    /// What lints go by.
    pub policy: Policy,
}

/// Runs every lint over a finished tree; findings are sorted.
pub const LINT: Stage<Linted, Vec<Finding>> = Stage {
    name: "lint",
    revision: 1,
    about: |_| format!("{} lints", LINTS.len()),
    run: |input, scratch| {
        let tree = as_booted(scratch.tree(&input.tree)?);
        let lookup = Lookup { policy: &input.policy, scratch };
        let mut findings = Vec::new();
        for lint in LINTS {
            let found = (lint.run)(&tree, &lookup);
            findings.extend(found.with_context(|| format!("lint `{}`", lint.name))?);
        }
        findings.sort();
        findings.dedup();
        Ok(findings)
    },
};

/// Where `/etc` comes from on an image whose tree is `/usr` alone.
const FACTORY: &str = "usr/share/factory/etc";

/// The tree as the booted host sees it: `/etc` in its place, the other names of `/usr`.
fn as_booted(tree: Tree) -> Tree {
    let mut seen = tree.clone();
    if tree.below("etc").next().is_none() {
        for (path, entry) in tree.below(FACTORY) {
            if let Some(rest) = path.strip_prefix("usr/share/factory/") {
                seen.0.insert(rest.to_owned(), entry.clone());
            }
        }
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        let target = format!("usr/{name}");
        if !seen.0.contains_key(name) && seen.below(&target).next().is_some() {
            seen.0.insert(name.to_owned(), Entry::symlink(target, "boot"));
        }
    }
    seen
}

fn finding(lint: &str, path: &str, entry: &Entry, problem: String) -> Finding {
    let (lint, path, origin) = (lint.to_owned(), path.to_owned(), entry.origin.clone());
    Finding { lint, path, origin, problem }
}
