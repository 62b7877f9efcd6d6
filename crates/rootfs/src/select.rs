//! From a merged tree to the part of it that a profile keeps: what an initial RAM disk is.
//!
//! What is named is kept, and what that needs follows by itself: targets of symbolic links,
//! libraries, the program interpreter, the libraries of `dlopen` features (UAPI.13), kernel
//! modules. A need that the tree cannot meet is an error here, not a surprise at boot.

pub(crate) mod elf;
mod modules;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::{Entry, Node, Scratch, Stage, Tree, TreeId};

use crate::{Patterns, link, pattern};
use elf::Needs;

/// The largest program or library that is read, in bytes.
const MOST: u64 = 512 << 20;

/// Input of [`SELECT`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Select {
    /// The merged tree. What no package brought (origin `layout`, `profile` or `profile:…`) and the
    /// facts for generators (`.facts/**`) are kept without being named.
    pub tree: TreeId,
    /// What is left out before all else.
    pub drop: Patterns,
    /// What is kept; nothing named keeps everything. A link named without a wildcard keeps its
    /// target; a link that only a wildcard matches is kept where its target is.
    pub keep: Patterns,
    /// Kernel modules to keep, by name; what they depend on follows.
    pub modules: Vec<String>,
    /// Features of `.note.dlopen` whose libraries are left out.
    pub without: Vec<String>,
}

/// Result of [`SELECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// The tree that is left.
    pub tree: TreeId,
}

/// Leaves out, keeps, and follows needs.
///
/// A pattern, module or feature that nothing in the tree answers to is an error, and so is a
/// library that a kept program needs and the tree lacks.
pub const SELECT: Stage<Select, Selected> = Stage {
    name: "select",
    revision: 2,
    about: |input| match input.keep.0.len() {
        0 => "what is not dropped".to_owned(),
        n => format!("{n} patterns, {} modules", input.modules.len()),
    },
    run: |input, scratch| {
        let mut tree = scratch.tree(&input.tree)?;
        leave_out(&mut tree, &input.drop)?;
        if !input.keep.0.is_empty() {
            tree = keep(&tree, input, scratch)?;
        }
        Ok(Selected { tree: scratch.put_tree(&tree)? })
    },
};

fn leave_out(tree: &mut Tree, drop: &Patterns) -> Result<()> {
    for pattern in &drop.0 {
        let mut gone = tree.remove_all(pattern);
        for path in paths(tree, pattern) {
            gone += tree.remove_all(&path);
        }
        if gone == 0 {
            bail!("`drop` names `{pattern}`, which matches nothing");
        }
    }
    Ok(())
}

fn paths(tree: &Tree, pattern: &str) -> Vec<String> {
    tree.0.keys().filter(|path| pattern::matches(pattern, path)).cloned().collect()
}

fn keep(tree: &Tree, input: &Select, scratch: &Scratch<'_>) -> Result<Tree> {
    let mut kept = Kept::of(tree);
    for (path, entry) in &tree.0 {
        if is_own(path, entry) {
            kept.named(path);
        }
    }
    for pattern in &input.keep.0 {
        let found = paths(tree, pattern);
        if found.is_empty() {
            bail!("`keep` names `{pattern}`, which matches nothing");
        }
        for path in found {
            if pattern.contains(['*', '?']) {
                kept.met(&path);
            } else {
                kept.named(&path);
            }
        }
    }
    for path in modules::close(tree, &input.modules, scratch)? {
        kept.named(&path);
    }
    follow_needs(&mut kept, &input.without, scratch)?;
    kept.finish()
}

/// Whether an entry is the profile's or the layout's own word, or a fact that a generator waits
/// for.
fn is_own(path: &str, entry: &Entry) -> bool {
    matches!(entry.origin.as_str(), "layout" | "profile")
        || entry.origin.starts_with("profile:")
        || path.starts_with(".facts/")
}

/// Adds what kept programs and libraries need, until nothing is new.
fn follow_needs(kept: &mut Kept<'_>, without: &[String], scratch: &Scratch<'_>) -> Result<()> {
    let mut features: BTreeSet<String> = BTreeSet::new();
    // Which program or library each library was first kept for, and where that one looks.
    let mut askers: BTreeMap<String, String> = BTreeMap::new();
    let mut known: BTreeMap<String, Needs> = BTreeMap::new();
    while let Some(path) = kept.fresh.pop_first() {
        let Some(needs) = needs(kept.tree, &path, scratch)? else { continue };
        if let Some(interpreter) = &needs.interpreter {
            let found = kept.named(interpreter.trim_start_matches('/'));
            found.with_context(|| {
                format!("`{path}` needs the interpreter `{interpreter}`, which the tree lacks")
            })?;
        }
        for library in &needs.libraries {
            let place = needs.find(kept.tree, &path, library);
            let place = place.or_else(|| loaded_before(kept.tree, &path, library, &askers, &known));
            let place = place.with_context(|| {
                format!("`{path}` needs the library `{library}`, which the tree lacks")
            })?;
            askers.entry(place.clone()).or_insert_with(|| path.clone());
            kept.named(&place);
        }
        for wish in &needs.wishes {
            features.insert(wish.feature.clone());
            if without.contains(&wish.feature) {
                continue;
            }
            let place = wish.sonames.iter().find_map(|name| needs.find(kept.tree, &path, name));
            let place = place.with_context(|| {
                format!(
                    "`{path}` offers the feature `{}` through {}, which the tree lacks: add its \
                     package, or name the feature under `without`",
                    wish.feature,
                    wish.sonames.join(" or ")
                )
            })?;
            kept.named(&place);
        }
        known.insert(path, needs);
    }
    if let Some(unknown) = without.iter().find(|feature| !features.contains(*feature)) {
        bail!("`without` names the feature `{unknown}`, which nothing offers");
    }
    Ok(())
}

/// Where a library is found by those that asked for the one at `path`: the dynamic linker takes
/// what the process has loaded already, by whatever search path.
fn loaded_before(
    tree: &Tree,
    path: &str,
    library: &str,
    askers: &BTreeMap<String, String>,
    known: &BTreeMap<String, Needs>,
) -> Option<String> {
    let mut at = path;
    for _ in 0..askers.len() {
        at = askers.get(at)?;
        if let Some(place) = known.get(at)?.find(tree, at, library) {
            return Some(place);
        }
    }
    None
}

/// What the file at `path` needs; `None` when it is no program or library.
fn needs(tree: &Tree, path: &str, scratch: &Scratch<'_>) -> Result<Option<Needs>> {
    let Some(blob) = tree.get(path).and_then(Entry::blob) else { return Ok(None) };
    // A module has its own way of naming what it needs, and is no program.
    if blob.size < 64 || modules::is_module(path) {
        return Ok(None);
    }
    if !elf::is_elf(scratch.open(&blob)?).with_context(|| format!("read `{path}`"))? {
        return Ok(None);
    }
    if blob.size > MOST {
        bail!("`{path}` has {} bytes, more than the {MOST} that a program may have", blob.size);
    }
    Needs::read(&scratch.read(&blob)?)
        .map(Some)
        .with_context(|| format!("read the needs of `{path}`"))
}

/// The growing set of paths.
struct Kept<'a> {
    tree: &'a Tree,
    paths: BTreeSet<String>,
    /// Files whose needs are not yet known.
    fresh: BTreeSet<String>,
    /// Links that are kept where their target is, with that target.
    waiting: BTreeMap<String, (BTreeSet<String>, String)>,
}

impl<'a> Kept<'a> {
    fn of(tree: &'a Tree) -> Self {
        Self { tree, paths: BTreeSet::new(), fresh: BTreeSet::new(), waiting: BTreeMap::new() }
    }

    /// Keeps a path, each link on the way to where it ends, and that. `None` when it dangles; a
    /// link that is there is kept all the same.
    fn named(&mut self, path: &str) -> Option<()> {
        let mut links = BTreeSet::new();
        let end = self.tree.follow(path, &mut |link| _ = links.insert(link.to_owned()));
        self.paths.append(&mut links);
        self.add(&end?);
        Some(())
    }

    /// Keeps what a wildcard met: links wait for their targets.
    fn met(&mut self, path: &str) {
        let Some(entry) = self.tree.get(path) else { return };
        let Node::Symlink(target) = &entry.node else { return self.add(path) };
        let mut links = BTreeSet::new();
        match self.tree.follow(path, &mut |link| _ = links.insert(link.to_owned())) {
            Some(end) => {
                self.waiting.insert(path.to_owned(), (links, end));
            }
            None if link::is_of_the_kernel(&link::target(path, target)) => {
                self.paths.insert(path.to_owned());
            }
            None => {}
        }
    }

    fn add(&mut self, path: &str) {
        if self.tree.get(path).is_some() && self.paths.insert(path.to_owned()) {
            self.fresh.insert(path.to_owned());
        }
    }

    fn finish(mut self) -> Result<Tree> {
        for (links, end) in std::mem::take(&mut self.waiting).into_values() {
            if self.paths.contains(&end) {
                self.paths.extend(links);
            }
        }
        let mut tree = Tree::default();
        for path in &self.paths {
            let mut part = path.as_str();
            while let Some((parent, _)) = part.rsplit_once('/') {
                if let Some(entry) = self.tree.get(parent) {
                    tree.insert(parent, entry.clone())?;
                }
                part = parent;
            }
            let entry = self.tree.get(path).with_context(|| format!("keep `{path}`"))?;
            tree.insert(path, entry.clone())?;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests;
