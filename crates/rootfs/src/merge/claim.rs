//! Every path belongs to one package, whatever the order in which they come.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use package::Fact;
use store::{Entry, Node, Tree};

use super::shape::Aliases;
use crate::{Imported, Rules};

/// Who wants which path.
#[derive(Default)]
pub(super) struct Claims<'a> {
    packages: Vec<&'a Imported>,
    paths: BTreeMap<String, Vec<(usize, Entry)>>,
}

/// A path that other packages' files leave to one.
pub(super) struct Diversion {
    /// The package, or the stem of its rule.
    by: String,
    from: String,
    to: String,
}

/// What rules and scripts of packages divert.
pub(super) fn diversions(
    imported: &[&Imported],
    rules: &Rules,
    aliases: &Aliases,
) -> Vec<Diversion> {
    let ruled = rules.packages.iter().flat_map(|(stem, rule)| {
        rule.divert.iter().map(move |(from, to)| (stem.clone(), from.clone(), to.clone()))
    });
    let stated = imported.iter().flat_map(|one| {
        one.facts.iter().filter_map(|fact| match fact {
            Fact::Divert { path, to } => Some((one.id.name.clone(), path.clone(), to.clone())),
            _ => None,
        })
    });
    let one = |(by, from, to): (String, String, String)| {
        let place = |path: &str| aliases.path(path.trim_start_matches('/'));
        Diversion { by, from: place(&from), to: place(&to) }
    };
    stated.chain(ruled).map(one).collect()
}

impl<'a> Claims<'a> {
    /// Takes the claims of one package, diverted where another package says so.
    pub(super) fn add(&mut self, package: &'a Imported, tree: Tree, diversions: &[Diversion]) {
        let index = self.packages.len();
        self.packages.push(package);
        let diverted: BTreeMap<&String, &String> = diversions
            .iter()
            .filter(|diversion| diversion.by != package.id.name)
            .map(|diversion| (&diversion.from, &diversion.to))
            .collect();
        for (path, entry) in tree.0 {
            let path = diverted.get(&path).map_or(path.clone(), |to| (*to).clone());
            self.paths.entry(path).or_default().push((index, entry));
        }
    }

    /// The tree in which each path has one owner.
    pub(super) fn settle(self) -> Result<Tree> {
        let mut tree = Tree::default();
        for (path, claims) in &self.paths {
            let winner = self.winner(path, claims)?;
            tree.insert(path, winner.clone())?;
        }
        Ok(tree)
    }

    /// The claim that holds. The rules below do not look at the order of claims.
    fn winner<'c>(&self, path: &str, claims: &'c [(usize, Entry)]) -> Result<&'c Entry> {
        // Equal claims are one; the package whose name comes first keeps it.
        let mut different: Vec<&(usize, Entry)> = Vec::new();
        for claim in claims {
            if !different.iter().any(|other| same(&other.1, &claim.1)) {
                different.push(claim);
            }
        }
        // A directory that every package may make is made by the one that says more of it.
        if different.len() > 1 && different.iter().all(|(_, e)| e.node == Node::Directory) {
            different.retain(|(_, entry)| !same(entry, &Entry::directory("")));
        }
        if let [(_, entry)] = different.as_slice() {
            return Ok(entry);
        }
        let beats = |winner: usize, loser: usize| {
            let loser = self.packages[loser];
            self.packages[winner].replaces.iter().any(|replaced| {
                replaced.name == loser.id.name && replaced.admits(loser.family, &loser.id.version)
            })
        };
        let winners: Vec<_> = different
            .iter()
            .filter(|(one, _)| {
                different.iter().all(|(other, _)| one == other || beats(*one, *other))
            })
            .collect();
        match winners.as_slice() {
            [(_, entry)] => Ok(entry),
            _ => {
                let says = |(package, entry): &&(usize, Entry)| {
                    format!("`{}` ({})", self.packages[*package].id.name, what(entry))
                };
                let all: Vec<String> = different.iter().map(says).collect();
                let (last, rest) = all.split_last().context("a path that nobody claims")?;
                bail!("`{path}` is claimed by {} and {last}", rest.join(", "))
            }
        }
    }
}

/// Whether two claims would leave the same on disk.
fn same(a: &Entry, b: &Entry) -> bool {
    (&a.node, a.mode, &a.owner, &a.group, &a.xattrs)
        == (&b.node, b.mode, &b.owner, &b.group, &b.xattrs)
}

fn what(entry: &Entry) -> String {
    match &entry.node {
        Node::Directory => format!("directory {:04o}", entry.mode),
        Node::File(blob) => format!("file {:04o} {}", entry.mode, blob.digest),
        Node::Symlink(target) => format!("link to {target}"),
    }
}
