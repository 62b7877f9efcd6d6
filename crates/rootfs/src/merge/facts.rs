//! What packages and rules say beyond files, written where generators look for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use package::{Alternative, Fact};
use serde::Serialize;
use store::{Entry, Scratch, Tree};

use super::shape::Aliases;
use super::{set_mode, set_modes};
use crate::{Alternatives, Image, Imported, Mode, Rule};

/// Applies the modes that a package's scripts and its rule state.
pub(super) fn modes(
    tree: &mut Tree,
    one: &Imported,
    rule: Option<&Rule>,
    aliases: &Aliases,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for fact in &one.facts {
        let Fact::Mode { path, mode, owner, group } = fact else { continue };
        let path = aliases.path(path.trim_start_matches('/'));
        let (owner, group) = (Some(owner.clone()), Some(group.clone()));
        match tree.0.get_mut(&path) {
            Some(entry) => set_mode(entry, &Mode { mode: Some(*mode), owner, group }),
            None => warnings
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
pub(super) fn lines(tree: &mut Tree, rules: &[&Rule], scratch: &Scratch<'_>) -> Result<()> {
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
    let tmpfiles = all(|rule| &rule.tmpfiles);
    file(tree, "usr/lib/tmpfiles.d/10-hardtack.conf", tmpfiles.as_bytes(), scratch)
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
            // are needed; modes were set before.
            Fact::Sysusers(_) | Fact::Tmpfiles(_) | Fact::Refresh(_) | Fact::Mode { .. } => {}
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
