//! What packages and rules say beyond files, written where generators look for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use package::{Alternative, Fact};
use serde::Serialize;
use store::{Entry, Node, Scratch, Tree};

use super::shape::Aliases;
use super::{set_mode, set_modes};
use crate::{Alternatives, Image, Imported, Mode, Rule, capabilities};

/// What of a tree an image keeps or makes anew; a directory elsewhere is made at boot or not.
const KEPT: &[&str] = &["usr/", "etc/", "var/"];
/// Where scripts and services make files of their own.
const MADE_LATER: &[&str] = &["etc/", "run/", "var/"];

/// Makes the directories and copies that a package's scripts state.
pub(super) fn files(tree: &mut Tree, one: &Imported, aliases: &Aliases) -> Result<()> {
    for fact in &one.facts {
        match fact {
            Fact::Directory { path, mode, owner, group } => {
                let path = aliases.path(path.trim_start_matches('/'));
                if !free(tree, &path) {
                    continue;
                }
                let mut entry = Entry::directory(&one.id.name);
                let (owner, group) = (Some(owner.clone()), Some(group.clone()));
                set_mode(&mut entry, &Mode { mode: Some(*mode), owner, group, capabilities: None });
                tree.insert(&path, entry)?;
            }
            Fact::Copy { from, to } => {
                let to = aliases.path(to.trim_start_matches('/'));
                let from = tree.get(&aliases.path(from.trim_start_matches('/')));
                let Some(from) = from.filter(|from| from.blob().is_some()) else { continue };
                let copy = Entry { link: None, origin: one.id.name.clone(), ..from.clone() };
                if free(tree, &to) {
                    tree.insert(&to, copy)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a path is empty, kept by an image, and below directories alone.
fn free(tree: &Tree, path: &str) -> bool {
    let above = path.match_indices('/').map(|(at, _)| &path[..at]);
    let mut above = above.filter_map(|above| tree.get(above));
    KEPT.iter().any(|kept| path.starts_with(kept))
        && tree.get(path).is_none()
        && above.all(|entry| entry.node == Node::Directory)
}

/// Applies the modes that a package's scripts and its rule state.
pub(super) fn modes(
    tree: &mut Tree,
    one: &Imported,
    rule: Option<&Rule>,
    aliases: &Aliases,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for fact in &one.facts {
        let (Fact::Mode { path, .. } | Fact::Capabilities { path, .. }) = fact else { continue };
        let path = aliases.path(path.trim_start_matches('/'));
        match (tree.0.get_mut(&path), fact) {
            (Some(entry), Fact::Mode { mode, owner, group, .. }) => {
                let (owner, group) = (owner.clone(), group.clone());
                set_mode(entry, &Mode { mode: *mode, owner, group, capabilities: None });
            }
            (Some(entry), Fact::Capabilities { permitted, inheritable, effective, .. }) => {
                let value = capabilities::value(*permitted, *inheritable, *effective);
                entry.xattrs.insert(capabilities::ATTRIBUTE.to_owned(), value.to_vec());
            }
            (Some(_), _) => {}
            // A file that the script itself or a service makes at its start.
            (None, Fact::Mode { .. }) if MADE_LATER.iter().any(|at| path.starts_with(at)) => {}
            (None, _) => warnings
                .push(format!("`{}` sets the mode of `{path}`, which is not there", one.id.name)),
        }
    }
    let Some(rule) = rule else { return Ok(()) };
    // A profile may have dropped the path since.
    let there = rule.modes.iter().filter(|(path, _)| tree.get(path).is_some());
    let there: BTreeMap<_, _> = there.map(|(path, mode)| (path.clone(), mode.clone())).collect();
    for path in rule.modes.keys().filter(|path| !there.contains_key(*path)) {
        warnings.push(format!(
            "the rule of `{}` sets the mode of `{path}`, which is not there",
            one.id.name
        ));
    }
    set_modes(tree, &there)
}

/// Masks units and writes what is enabled and not; the reasons of masks.
pub(super) fn units(
    tree: &mut Tree,
    rules: &[&Rule],
    scratch: &Scratch<'_>,
) -> Result<BTreeMap<String, String>> {
    let mut masked = BTreeMap::new();
    let mut presets = String::new();
    let mut named = BTreeSet::new();
    // The profile comes first, and the first to name a unit decides.
    for rule in rules {
        let units = &rule.units;
        let enable = units.enable.iter().map(|unit| ("enable", unit));
        let disable = units.disable.iter().map(|unit| ("disable", unit));
        for (verb, unit) in enable.chain(disable) {
            if named.insert(unit) {
                writeln!(presets, "{verb} {unit}")?;
            }
        }
        for (unit, why) in units.mask.iter().filter(|(unit, _)| !named.contains(unit)) {
            masked.entry(unit.clone()).or_insert_with(|| why.clone());
        }
    }
    for unit in masked.keys() {
        let path = format!("etc/systemd/system/{unit}");
        tree.insert(&path, Entry::symlink("/dev/null", "rules"))?;
    }
    file(tree, "usr/lib/systemd/system-preset/05-hardtack.preset", presets.as_bytes(), scratch)?;
    Ok(masked)
}

/// Writes the lines of sysusers.d and tmpfiles.d.
pub(super) fn lines(
    tree: &mut Tree,
    imported: &[&Imported],
    rules: &[&Rule],
    scratch: &Scratch<'_>,
) -> Result<()> {
    let all = |of: fn(&Rule) -> &Vec<String>| {
        let mut text = String::new();
        let mut seen = BTreeSet::new();
        for line in rules.iter().flat_map(|rule| of(rule)) {
            if seen.insert(line) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    };
    let users = all(|rule| &rule.users);
    file(tree, "usr/lib/sysusers.d/00-hardtack.conf", users.as_bytes(), scratch)?;
    // Last, since what a package ships says more than what its script runs.
    let stated = stated_users(&users, imported);
    file(tree, "usr/lib/sysusers.d/zz-hardtack.conf", stated.as_bytes(), scratch)?;
    let tmpfiles = all(|rule| &rule.tmpfiles);
    file(tree, "usr/lib/tmpfiles.d/10-hardtack.conf", tmpfiles.as_bytes(), scratch)
}

/// The lines of users and groups that scripts state and no rule does; the first to name one
/// decides, as it would when packages are installed one after the other.
fn stated_users(ruled: &str, imported: &[&Imported]) -> String {
    // Type and name, and of a membership the group as well.
    let key = |line: &str| {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default().trim_end_matches('!').to_owned();
        let names: Vec<&str> = words.take(if kind == "m" { 2 } else { 1 }).collect();
        format!("{kind} {}", names.join(" "))
    };
    let mut named: BTreeSet<String> = ruled.lines().map(key).collect();
    // A user's line makes the group of its name too, with the number that the rule gave.
    let groups: Vec<String> =
        named.iter().filter_map(|key| Some(format!("g {}", key.strip_prefix("u ")?))).collect();
    named.extend(groups);
    let mut text = String::new();
    for fact in imported.iter().flat_map(|one| &one.facts) {
        let Fact::Users(lines) = fact else { continue };
        for line in lines.iter().filter(|line| named.insert(key(line))) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Writes `.facts/**`.
pub(super) fn for_generators(
    tree: &mut Tree,
    imported: &[&Imported],
    rules: &[&Rule],
    image: Option<&Image>,
    scratch: &Scratch<'_>,
) -> Result<()> {
    let mut alternatives = Alternatives::default();
    let mut enable = BTreeSet::new();
    let mut enable_for_users = BTreeSet::new();
    let mut services = Vec::new();
    for fact in imported.iter().flat_map(|one| &one.facts) {
        match fact {
            Fact::Alternative(offer) => alternatives.offers.extend(present(offer, tree)),
            Fact::Enable(units) => enable.extend(units.clone()),
            Fact::EnableForUsers(units) => enable_for_users.extend(units.clone()),
            Fact::NameService(lines) => services.extend(lines.clone()),
            // Files of these kinds are processed because they are there, caches because they
            // are needed; the rest took effect before.
            Fact::Sysusers(_) | Fact::Tmpfiles(_) | Fact::Refresh(_) | Fact::Mode { .. } => {}
            Fact::Users(_) | Fact::Directory { .. } | Fact::Copy { .. } | Fact::Divert { .. } => {}
            Fact::Capabilities { .. } => {}
        }
    }
    alternatives.offers.sort();
    alternatives.offers.dedup();
    // The profile comes first.
    for (name, path) in rules.iter().flat_map(|rule| &rule.alternatives) {
        alternatives.chosen.entry(name.clone()).or_insert_with(|| path.clone());
    }
    json(tree, "alternatives", &alternatives, scratch)?;
    json(tree, "enable", &enable, scratch)?;
    json(tree, "enable-user", &enable_for_users, scratch)?;
    json(tree, "nss", &services, scratch)?;
    match image {
        Some(image) => json(tree, "image", image, scratch),
        None => Ok(()),
    }
}

/// The offer without followers that did not reach the tree; nothing when it did not itself.
fn present(offer: &Alternative, tree: &Tree) -> Option<Alternative> {
    let there = |path: &str| {
        let usr = format!("usr{path}");
        tree.resolve(path).or_else(|| tree.resolve(&usr)).is_some()
    };
    let mut offer = offer.clone();
    offer.followers.retain(|(_, _, path)| there(path));
    there(&offer.path).then_some(offer)
}

fn json<T: Serialize>(tree: &mut Tree, name: &str, value: &T, scratch: &Scratch<'_>) -> Result<()> {
    tree.insert(
        &format!(".facts/{name}.json"),
        Entry::file(scratch.put(&store::encode(value)?)?, 0o644, "facts"),
    )
}

/// Writes a file unless it would be empty.
fn file(tree: &mut Tree, path: &str, bytes: &[u8], scratch: &Scratch<'_>) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    tree.insert(path, Entry::file(scratch.put(bytes)?, 0o644, "rules"))
}
