//! The second layer: many packages become one tree.
//!
//! Per package: aliases, diversions, its rule. Then every path is claimed once, whatever the
//! order of packages. Then the distribution's rules, what the profile drops, its files, and what
//! packages said beyond their files, written down where generators look for it.

mod claim;
mod facts;
mod shape;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use store::{Entry, Node, Owner, Scratch, Stage, Tree, TreeId};

use crate::{Image, Imported, Mode, Rule, Rules, capabilities};
use claim::Claims;
use shape::Aliases;

/// Input of [`MERGE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The packages, in any order.
    pub imported: Vec<Imported>,
    /// The distribution's rules.
    pub rules: Rules,
    /// What the profile says in the same words; it wins over rules. `assume` and `divert` mean
    /// nothing here, `drop` goes over every package's paths.
    pub profile: Rule,
    /// Trees laid over the packages', later ones over earlier ones.
    pub overlays: Vec<Overlay>,
    /// What os-release will say.
    pub image: Option<Image>,
}

/// Files that no package brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Where they come from, as the inventory names it (`profile:mini`).
    pub origin: String,
    /// The files.
    pub tree: TreeId,
    /// Paths of packages that it may replace, each with the reason. A profile's tree needs none:
    /// it is laid over packages on purpose.
    #[serde(default)]
    pub replaces: BTreeMap<String, String>,
}

/// Result of [`MERGE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// One tree, with `boot/**`, the aliases as links, and `.facts/**` for generators.
    pub tree: TreeId,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Configuration file to its package, for those that reached the tree.
    pub config: BTreeMap<String, String>,
    /// Masked unit to the reason.
    pub masked: BTreeMap<String, String>,
    /// Path to the reason why it may lack a library.
    pub unmet: BTreeMap<String, String>,
    /// Path of a package that an overlay replaced, to whose it was and the reason.
    pub replaced: BTreeMap<String, String>,
}

/// Makes one tree of many.
///
/// # Errors
/// A path that two packages claim without a right to (both are named), a path below something
/// that is no directory, a rule that names what is not there, an overlay of a later room that
/// replaces a package's file without saying why.
pub const MERGE: Stage<Merge, Merged> = Stage {
    name: "merge",
    revision: 3,
    about: |input| format!("{} packages", input.imported.len()),
    run: merge,
};

fn merge(input: &Merge, scratch: &Scratch<'_>) -> Result<Merged> {
    let mut imported: Vec<&Imported> = input.imported.iter().collect();
    imported.sort_by(|a, b| a.id.cmp(&b.id));
    input.rules.check()?;
    let rules: Vec<Option<&Rule>> =
        imported.iter().map(|one| input.rules.for_package(&one.id.name)).collect();
    let aliases = Aliases::new(&input.rules.distribution.aliases)?;
    let mut warnings = Vec::new();

    let diversions = claim::diversions(&imported, &input.rules, &aliases);
    let mut claims = Claims::default();
    for (one, rule) in imported.iter().zip(&rules) {
        let tree = scratch.tree(&one.tree)?;
        let shaped = shape::package(tree, &one.id.name, *rule, &aliases, &mut warnings, scratch)
            .with_context(|| format!("apply rules to `{}`", one.id.name))?;
        claims.add(one, shaped, &diversions);
    }
    let mut tree = claims.settle()?;
    for one in &imported {
        facts::files(&mut tree, one, &aliases)
            .with_context(|| format!("do what scripts of `{}` say", one.id.name))?;
    }

    let distribution = distribution_rule(&input.rules);
    shape::write(&mut tree, &distribution, "distribution", scratch)?;
    tree.0.retain(|path, _| !input.rules.distribution.drop.matches(path));
    // Whatever the image holds, the distribution's patterns hold; the profile's are about it.
    for pattern in input.profile.drop.drop_from(&mut tree) {
        warnings.push(format!(
            "`drop` names `{pattern}`, which matches nothing that packages and rules leave"
        ));
    }
    let mut replaced = BTreeMap::new();
    shape::copy(&mut tree, &input.profile, "profile")?;
    shape::write(&mut tree, &input.profile, "profile", scratch)?;
    for overlay in &input.overlays {
        let over = aliases.apply(scratch.tree(&overlay.tree)?, &overlay.origin)?;
        let gone = lay_over(&mut tree, over, overlay, &mut warnings)?;
        for (path, old) in gone {
            let reason = overlay.replaces.get(&path).with_context(|| {
                format!(
                    "`{}` and `{old}` both have `{path}`, and nobody says why the first replaces \
                     the second",
                    overlay.origin
                )
            })?;
            replaced.insert(path, format!("`{old}`: {reason}"));
        }
    }
    let mut all: Vec<&Rule> = vec![&input.profile];
    all.extend(rules.iter().flatten());
    all.push(&distribution);
    for (one, rule) in imported.iter().zip(&rules) {
        facts::modes(&mut tree, one, *rule, &aliases, &mut warnings)?;
    }
    for rule in [&distribution, &input.profile] {
        set_modes(&mut tree, &rule.modes)?;
    }
    let masked = facts::units(&mut tree, &all, scratch)?;
    facts::lines(&mut tree, &imported, &all, scratch)?;
    facts::for_generators(&mut tree, &imported, &all, input.image.as_ref(), scratch)?;
    aliases.link(&mut tree)?;
    let tree = tree.with_parents("merge");
    check_parents(&tree)?;

    let config = imported
        .iter()
        .flat_map(|one| one.config.iter().map(|path| (aliases.path(path), one.id.name.clone())));
    let config = config.filter(|(path, _)| tree.get(path).is_some()).collect();
    let unmet = all.iter().flat_map(|rule| rule.unmet.clone()).collect();
    Ok(Merged { tree: scratch.put_tree(&tree)?, warnings, config, masked, unmet, replaced })
}

/// What the distribution says, in the words of a rule.
fn distribution_rule(rules: &Rules) -> Rule {
    let of = &rules.distribution;
    Rule {
        link: of.link.clone(),
        write: of.write.clone(),
        modes: of.modes.clone(),
        users: of.users.clone(),
        tmpfiles: of.tmpfiles.clone(),
        ..Rule::default()
    }
}

/// Puts an overlay's entries over what is there. A profile's files over a package's, or a later
/// one's over an earlier one's, are meant; what nobody asked for is said. Gives the paths where
/// another overlay than a profile's meets something else of a package, and whose that was.
fn lay_over(
    tree: &mut Tree,
    over: Tree,
    overlay: &Overlay,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, String>> {
    let origin = overlay.origin.as_str();
    let mut gone = BTreeMap::new();
    for (path, mut entry) in over.0 {
        entry.origin = origin.to_owned();
        match (tree.get(&path).map(|old| &old.node), &entry.node) {
            (Some(Node::Directory), Node::Directory) => continue,
            (Some(old), Node::Directory) => {
                let what = if matches!(old, Node::File(_)) { "file" } else { "link" };
                bail!("`{origin}` has a directory `{path}` where packages have a {what}");
            }
            (Some(Node::Directory), _) => {
                let gone = tree.remove_all(&path) - 1;
                warnings.push(format!(
                    "`{origin}` replaces the directory `{path}`: the {gone} paths below it are gone"
                ));
            }
            _ => {}
        }
        let from_profile = |origin: &str| origin.split(':').next() == Some("profile");
        match tree.get(&path).filter(|old| old.node != entry.node && !from_profile(origin)) {
            Some(old) if from_profile(&old.origin) => warnings
                .push(format!("`{path}` of `{}` gives way to that of `{origin}`", old.origin)),
            Some(old) => _ = gone.insert(path.clone(), old.origin.clone()),
            None => {}
        }
        tree.insert(&path, entry)?;
    }
    Ok(gone)
}

/// Applies a rule's modes; each path must be there.
fn set_modes(tree: &mut Tree, modes: &BTreeMap<String, Mode>) -> Result<()> {
    for (path, wanted) in modes {
        let entry = tree.0.get_mut(path);
        let entry = entry.with_context(|| format!("set mode of `{path}`, which is not there"))?;
        if wanted.capabilities.is_some() {
            ensure!(entry.blob().is_some(), "give capabilities to `{path}`, which is no file");
        }
        set_mode(entry, wanted);
    }
    Ok(())
}

fn set_mode(entry: &mut Entry, wanted: &Mode) {
    let named = |name: &String| match name.parse::<u32>() {
        Ok(id) => Owner::Id(id),
        Err(_) if name == "root" => Owner::ROOT,
        Err(_) => Owner::Name(name.clone()),
    };
    entry.mode = wanted.mode.unwrap_or(entry.mode);
    if let Some(owner) = &wanted.owner {
        entry.owner = named(owner);
    }
    if let Some(group) = &wanted.group {
        entry.group = named(group);
    }
    if let Some(capabilities) = &wanted.capabilities {
        entry.xattrs.insert(capabilities::ATTRIBUTE.to_owned(), capabilities.value());
    }
}

fn check_parents(tree: &Tree) -> Result<()> {
    for (path, entry) in &tree.0 {
        if let Some((parent, _)) = path.rsplit_once('/') {
            let above = tree.get(parent).with_context(|| format!("find the parent of `{path}`"))?;
            ensure!(
                above.node == Node::Directory,
                "`{path}` of `{}` lies below `{parent}` of `{}`, which is no directory",
                entry.origin,
                above.origin
            );
        }
    }
    Ok(())
}
