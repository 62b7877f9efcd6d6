//! What happens to one package's tree before packages meet.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use store::{Entry, Node, Scratch, Tree};

use crate::Rule;

/// Directories that are other names of others, longest first.
pub(super) struct Aliases(Vec<(String, String)>);

impl Aliases {
    pub(super) fn new(table: &BTreeMap<String, String>) -> Result<Self> {
        let mut list: Vec<(String, String)> =
            table.iter().map(|(from, to)| (from.clone(), to.clone())).collect();
        list.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let aliases = Self(list);
        for (from, to) in table {
            ensure!(
                aliases.path(to) == *to && from != to,
                "alias `{from}` ends in `{to}`, which is an alias itself"
            );
        }
        Ok(aliases)
    }

    /// The path under its one name.
    pub(super) fn path(&self, path: &str) -> String {
        for (from, to) in &self.0 {
            match path.strip_prefix(from.as_str()) {
                Some("") => return to.clone(),
                Some(rest) if rest.starts_with('/') => return format!("{to}{rest}"),
                _ => {}
            }
        }
        path.to_owned()
    }

    /// The tree with every path under its one name. A directory may bear the other name and
    /// merges; a link may if it says the same; anything else there would hide what lies below.
    pub(super) fn apply(&self, tree: Tree, origin: &str) -> Result<Tree> {
        let mut renamed = Tree::default();
        for (path, entry) in tree.0 {
            let under = self.path(&path);
            if under != path && self.0.iter().any(|(from, _)| *from == path) {
                match &entry.node {
                    Node::Directory => {}
                    Node::Symlink(target) if target.trim_start_matches('/') == under => continue,
                    Node::Symlink(target) => {
                        bail!("`{origin}` has a link `{path}` to `{target}`, not to `{under}`")
                    }
                    Node::File(_) => bail!("`{origin}` has a file `{path}`, an alias of `{under}`"),
                }
            }
            let Some(other) = renamed.get(&under) else {
                renamed.insert(&under, entry)?;
                continue;
            };
            let both = (&other.node, &entry.node);
            ensure!(
                matches!(both, (Node::Directory, Node::Directory)) || *other == entry,
                "`{origin}` has two different `{under}`, one as `{path}`"
            );
        }
        Ok(renamed)
    }

    /// Makes the other names links, where there is something to link to.
    pub(super) fn link(&self, tree: &mut Tree) -> Result<()> {
        for (from, to) in &self.0 {
            if tree.below(to).next().is_some() {
                let depth = from.matches('/').count();
                tree.insert(from, Entry::symlink(format!("{}{to}", "../".repeat(depth)), "merge"))?;
            }
        }
        Ok(())
    }
}

/// Applies aliases and the package's own rule.
pub(super) fn package(
    tree: Tree,
    name: &str,
    rule: Option<&Rule>,
    aliases: &Aliases,
    warnings: &mut Vec<String>,
    scratch: &Scratch<'_>,
) -> Result<Tree> {
    let mut tree = aliases.apply(tree, name)?;
    if let Some(rule) = rule {
        copy(&mut tree, rule, name)?;
        write(&mut tree, rule, name, scratch)?;
        for pattern in rule.drop.drop_from(&mut tree) {
            warnings.push(format!(
                "the rule of `{name}` drops `{pattern}`, which matches nothing of it"
            ));
        }
    }
    Ok(tree)
}

/// Applies `copy`: the copy has the original's mode and owner.
pub(super) fn copy(tree: &mut Tree, rule: &Rule, origin: &str) -> Result<()> {
    for (from, to) in &rule.copy {
        let entry = tree.get(from);
        let entry = entry.with_context(|| format!("copy `{from}`, which is not there"))?;
        ensure!(entry.blob().is_some(), "copy `{from}`, which is no file");
        let copy = Entry { link: None, origin: origin.to_owned(), ..entry.clone() };
        ensure!(tree.get(to).is_none(), "copy `{from}` to `{to}`, which is there");
        tree.insert(to, copy)?;
    }
    Ok(())
}

/// Applies `directories`, `link` and `write`.
pub(super) fn write(
    tree: &mut Tree,
    rule: &Rule,
    origin: &str,
    scratch: &Scratch<'_>,
) -> Result<()> {
    for path in &rule.directories {
        if tree.get(path).is_none() {
            tree.insert(path, Entry::directory(origin))?;
        }
    }
    for (path, target) in &rule.link {
        tree.insert(path, Entry::symlink(target, origin))?;
    }
    for (path, text) in &rule.write {
        let mode = tree.get(path).map_or(0o644, |old| old.mode);
        tree.insert(path, Entry::file(scratch.put(text.as_bytes())?, mode, origin))?;
    }
    Ok(())
}
