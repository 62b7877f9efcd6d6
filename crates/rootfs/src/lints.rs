//! What a finished tree must not hold. A lint looks and changes nothing.

mod bytecode;
mod commands;
mod contents;
mod interpreters;
mod libraries;
mod links;
mod managers;
mod modes;
mod module_index;
mod names;
mod owners;
mod passwords;
mod policy;
mod secrets;
#[cfg(test)]
mod testing;
mod udev;
mod unit_file;
mod units;
mod unreachable;
mod var;
mod world_writable;

use std::fmt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use store::{Entry, Node, Scratch, Stage, Tree, TreeId};

use contents::Contents;
pub use policy::{Policy, Waivers};

/// One row of [`LINTS`].
pub struct Lint {
    /// Name, as findings carry it and profiles waive it.
    pub name: &'static str,
    /// What it refuses, for people.
    pub about: &'static str,
    /// What helps, for people.
    pub way_out: &'static str,
    /// The work. The tree is as the booted host sees it.
    pub run: fn(&Tree, &Lookup<'_, '_>) -> Result<Vec<Finding>>,
}

/// Every lint. To add one, write its module and name it here and in `docs/profile.md`. (A device
/// node cannot be found: a `store::Node` has no form for it.)
pub const LINTS: &[Lint] = &[
    modes::ROW,
    world_writable::ROW,
    owners::ROW,
    passwords::ROW,
    secrets::ROW,
    managers::ROW,
    units::ROW,
    commands::ROW,
    interpreters::ROW,
    libraries::ROW,
    links::ROW,
    var::ROW,
    unreachable::ROW,
    module_index::ROW,
    bytecode::ROW,
    names::ROW,
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
    /// What is wrong.
    pub problem: String,
    /// What helps.
    pub way_out: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lint, path, origin, problem, way_out } = self;
        write!(f, "{lint}: {} ({origin}): {problem}: {way_out}", path.escape_debug())
    }
}

/// Result of [`LINT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is wrong, sorted.
    pub findings: Vec<Finding>,
    /// What the profile waives and nothing needs.
    pub warnings: Vec<String>,
}

/// What a lint may ask beside the tree.
pub struct Lookup<'a, 's> {
    /// What it goes by.
    pub policy: &'a Policy,
    /// What packages ship where an image holds nothing.
    shipped: &'a Tree,
    contents: Contents,
    scratch: &'a Scratch<'s>,
}

impl Lookup<'_, '_> {
    /// The bytes of the file at `path`; empty when there is no file.
    fn bytes(&self, tree: &Tree, path: &str) -> Result<Vec<u8>> {
        match tree.get(path).and_then(Entry::blob) {
            Some(blob) => {
                self.scratch.read(&blob).with_context(|| format!("read `{path}` for a lint"))
            }
            None => Ok(Vec::new()),
        }
    }

    /// The text of the configuration file where `path` ends; empty when it is no text, no file or
    /// lies where no configuration lies.
    fn text(&self, tree: &Tree, path: &str) -> &str {
        let end = tree.resolve(path).and_then(|end| tree.get(&end)).and_then(Entry::blob);
        end.and_then(|blob| self.contents.text(&blob)).unwrap_or_default()
    }
}

/// Input of [`LINT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linted {
    /// The finished tree.
    pub tree: TreeId,
    /// What packages ship where an image holds nothing: see [`outside`].
    pub shipped: TreeId,
    /// What lints go by.
    pub policy: Policy,
}

/// The part of a merged tree that generators turn into lines of tmpfiles.d(5), as shipped.
pub fn outside(merged: &Tree) -> Tree {
    let tops = crate::generators::MADE_AT_BOOT.iter();
    let paths = tops.flat_map(|top| merged.below(top));
    Tree(paths.map(|(path, entry)| (path.to_owned(), entry.clone())).collect())
}

/// Runs every lint over a finished tree.
pub const LINT: Stage<Linted, Verdict> = Stage {
    name: "lint",
    revision: 3,
    about: |_| format!("{} lints", LINTS.len()),
    run: |input, scratch| {
        let tree = as_booted(scratch.tree(&input.tree)?);
        let shipped = scratch.tree(&input.shipped)?;
        let contents = Contents::read(&tree, scratch)?;
        let lookup = Lookup { policy: &input.policy, shipped: &shipped, contents, scratch };
        let mut findings = Vec::new();
        for lint in LINTS {
            let found = (lint.run)(&tree, &lookup);
            let found = found.with_context(|| format!("run the lint `{}`", lint.name))?;
            findings.extend(found.into_iter().map(|mut finding| {
                finding.lint = lint.name.to_owned();
                finding.way_out = lint.way_out.to_owned();
                finding
            }));
        }
        findings.sort();
        findings.dedup();
        Ok(input.policy.judge(findings, &tree))
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

/// Every path once: what `/etc` shows is not told again where it is kept.
fn paths(tree: &Tree) -> impl Iterator<Item = (&str, &Entry)> {
    let paths = tree.0.iter().map(|(path, entry)| (path.as_str(), entry));
    paths.filter(|(path, _)| !path.starts_with("usr/share/factory/"))
}

/// The same, and what packages ship outside of the image.
fn everywhere<'t>(
    tree: &'t Tree,
    lookup: &'t Lookup<'_, '_>,
) -> impl Iterator<Item = (&'t str, &'t Entry)> {
    paths(tree).chain(lookup.shipped.0.iter().map(|(path, entry)| (path.as_str(), entry)))
}

/// A finding of the lint that runs, which [`LINT`] names.
fn finding(path: &str, entry: &Entry, problem: impl Into<String>) -> Finding {
    Finding {
        lint: String::new(),
        path: path.to_owned(),
        origin: entry.origin.clone(),
        problem: problem.into(),
        way_out: String::new(),
    }
}

/// Where programs are looked for by name (`systemd-path search-binaries-default`).
const SEARCH: [&str; 4] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"];

/// Why `program` cannot be run; `None` when it can, or when only the running host can tell.
fn unrunnable(tree: &Tree, program: &str) -> Option<String> {
    let ends: Vec<String> = if program.starts_with('/') {
        if crate::link::made_at_boot(program.trim_start_matches('/')) {
            return None;
        }
        tree.resolve(program).into_iter().collect()
    } else {
        SEARCH.iter().filter_map(|place| tree.resolve(&format!("{place}/{program}"))).collect()
    };
    let entries: Vec<&Entry> = ends.iter().filter_map(|end| tree.get(end)).collect();
    let is_file = |entry: &&Entry| matches!(entry.node, Node::File(_));
    if entries.iter().any(|entry| is_file(entry) && entry.mode & 0o111 != 0) {
        return None;
    }
    Some(match entries.iter().any(is_file) {
        true => format!("`{program}`, which may not be executed"),
        false => format!("`{program}`, which is not there"),
    })
}
