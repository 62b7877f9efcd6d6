//! Which units are enabled: links in `etc/systemd/system` and `etc/systemd/user`, as
//! `systemctl preset-all` and `systemctl --global preset-all` of systemd 257 make them.
//!
//! Preset files decide. A unit that none of them names is enabled when its package wants it to
//! be; systemd would enable every one.

mod rules;
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use store::{Entry, Node, Scratch, Tree};

use self::rules::{Decision, Rules};
use self::unit::{Install, Name, is_unit};
use super::files::{drop_ins, fact, text};
use crate::{Change, Generator, Point, Purpose};

const ORIGIN: &str = "generator:presets";

/// One kind of manager.
struct Manager {
    /// Where links are made, and where units are looked for first.
    etc: &'static str,
    /// Where packages ship units.
    usr: &'static str,
    /// Preset files, the most important directory first.
    presets: [&'static str; 2],
    /// Units that packages want enabled.
    fact: &'static str,
}

const MANAGERS: [Manager; 2] = [
    Manager {
        etc: "etc/systemd/system",
        usr: "usr/lib/systemd/system",
        presets: ["etc/systemd/system-preset", "usr/lib/systemd/system-preset"],
        fact: ".facts/enable.json",
    },
    Manager {
        etc: "etc/systemd/user",
        usr: "usr/lib/systemd/user",
        presets: ["etc/systemd/user-preset", "usr/lib/systemd/user-preset"],
        fact: ".facts/enable-user.json",
    },
];

pub(crate) const ROW: Generator = Generator {
    name: "presets",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Installed,
    reads: &[
        ".facts/enable.json",
        ".facts/enable-user.json",
        "etc/systemd/system/**",
        "etc/systemd/system-preset/*",
        "etc/systemd/user/**",
        "etc/systemd/user-preset/*",
        "usr/lib/systemd/system/**",
        "usr/lib/systemd/system-preset/*",
        "usr/lib/systemd/user/**",
        "usr/lib/systemd/user-preset/*",
    ],
    writes: &[
        ".facts/enable.json",
        ".facts/enable-user.json",
        "etc/systemd/system/**",
        "etc/systemd/user/**",
    ],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    for manager in &MANAGERS {
        let wanted: Option<BTreeSet<String>> = fact(tree, scratch, manager.fact)?;
        if wanted.is_some() {
            change.remove.push(manager.fact.to_owned());
        }
        let mut rules = Rules::default();
        for file in drop_ins(tree, &manager.presets, ".preset") {
            let text = text(tree, scratch, &file)?.unwrap_or_default();
            rules.read(&text).with_context(|| format!("read the presets in `{file}`"))?;
        }
        preset(manager, &rules, &wanted.unwrap_or_default(), tree, &mut change, scratch)?;
    }
    Ok(change)
}

/// What a search for a unit finds.
enum Found {
    /// Its file, as a path of the tree.
    File(String),
    /// Another name of this unit.
    Alias(String),
    /// It may not run.
    Masked,
}

fn preset(
    manager: &Manager,
    rules: &Rules,
    wanted: &BTreeSet<String>,
    tree: &Tree,
    change: &mut Change,
    scratch: &Scratch<'_>,
) -> Result<()> {
    let units = units(manager, tree);
    // The units to enable by name, an instance's being its own, and all others.
    let mut on: BTreeSet<String> = BTreeSet::new();
    let mut off: BTreeSet<String> = BTreeSet::new();
    for name in units.keys() {
        let Some(Found::File(_)) = units.get(name) else { continue };
        match rules.decide(name) {
            Some(Decision::Enable(instances)) if instances.is_empty() => {
                on.insert(name.clone());
            }
            Some(Decision::Enable(instances)) => {
                on.extend(instances.iter().filter_map(|i| Name::of(name).with_instance(i)));
            }
            Some(Decision::Disable) => {
                off.insert(name.clone());
            }
            Some(Decision::Ignore) => {}
            None if wanted.iter().any(|w| real(w, &units) == Some(name)) => {
                on.insert(name.clone());
            }
            None => {
                off.insert(name.clone());
            }
        }
    }
    off = with_also(off, manager, &units, tree, scratch)?;
    on = with_also(on, manager, &units, tree, scratch)?;
    remove(manager, &off, tree, change);
    for name in &on {
        enable(name, manager, &units, tree, change, scratch)
            .with_context(|| format!("enable the unit `{name}`"))?;
    }
    Ok(())
}

/// Every unit by name, the directory in `etc` first.
fn units(manager: &Manager, tree: &Tree) -> BTreeMap<String, Found> {
    let mut units = BTreeMap::new();
    for directory in [manager.etc, manager.usr] {
        for (path, entry) in tree.below(directory) {
            let Some(name) = path.get(directory.len() + 1..).filter(|name| is_unit(name)) else {
                continue;
            };
            let found = match &entry.node {
                Node::Directory => continue,
                Node::File(blob) if blob.size == 0 => Found::Masked,
                Node::File(_) => Found::File(path.to_owned()),
                Node::Symlink(target) if target == "/dev/null" => Found::Masked,
                Node::Symlink(target) => match target.rsplit('/').next() {
                    Some(same) if same == name => Found::File(path.to_owned()),
                    other => Found::Alias(other.unwrap_or_default().to_owned()),
                },
            };
            units.entry(name.to_owned()).or_insert(found);
        }
    }
    units
}

/// The name of the unit that `name` leads to.
fn real<'a>(name: &'a str, units: &'a BTreeMap<String, Found>) -> Option<&'a String> {
    let mut name = name;
    // As many steps as systemd follows.
    for _ in 0..32 {
        match units.get_key_value(name)? {
            (key, Found::File(_)) => return Some(key),
            (_, Found::Alias(other)) => name = other,
            (_, Found::Masked) => return None,
        }
    }
    None
}

/// The real name and the file of a unit; an instance without a file uses its template's.
fn file_of<'a>(name: &str, units: &'a BTreeMap<String, Found>) -> Option<(Name, &'a str)> {
    let file = |name: &str| match units.get(name) {
        Some(Found::File(path)) => Some(path.as_str()),
        _ => None,
    };
    if let Some(name) = real(name, units) {
        return Some((Name::of(name), file(name)?));
    }
    let template = Name::of(name).template()?;
    Some((Name::of(name), file(real(&template, units)?)?))
}

/// What a unit's `[Install]` sections say, its drop-ins included.
fn install(
    name: &Name,
    path: &str,
    manager: &Manager,
    tree: &Tree,
    scratch: &Scratch<'_>,
) -> Result<Install> {
    let mut install = Install::default();
    // The target of a link is outside what this generator sees when it leaves these directories.
    let Some(own) = text(tree, scratch, path)? else { return Ok(install) };
    install.read(&own);
    let names = [name.template(), Some(name.to_string())];
    for owner in names.into_iter().flatten() {
        let places = [manager.etc, manager.usr].map(|place| format!("{place}/{owner}.d"));
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        for file in drop_ins(tree, &places, ".conf") {
            install.read(&text(tree, scratch, &file)?.unwrap_or_default());
        }
    }
    Ok(install)
}

/// `names` with every unit that one of them names under `Also=`.
fn with_also(
    names: BTreeSet<String>,
    manager: &Manager,
    units: &BTreeMap<String, Found>,
    tree: &Tree,
    scratch: &Scratch<'_>,
) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mut left: Vec<String> = names.into_iter().collect();
    while let Some(name) = left.pop() {
        let Some((name, path)) = file_of(&name, units) else { continue };
        if all.insert(name.to_string()) {
            let also = install(&name, path, manager, tree, scratch)?.also;
            left.extend(also.iter().map(|other| name.expand(other, None)));
        }
    }
    Ok(all)
}

/// Removes links to disabled units.
fn remove(manager: &Manager, off: &BTreeSet<String>, tree: &Tree, change: &mut Change) {
    let disabled = |name: &str| {
        off.contains(name) || Name::of(name).template().is_some_and(|name| off.contains(&name))
    };
    for (path, entry) in tree.below(manager.etc) {
        let Node::Symlink(target) = &entry.node else { continue };
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        if target != "/dev/null" && (disabled(&last(path)) || disabled(&last(target))) {
            change.remove.push(path.to_owned());
        }
    }
}

/// Makes the links of one unit.
fn enable(
    name: &str,
    manager: &Manager,
    units: &BTreeMap<String, Found>,
    tree: &Tree,
    change: &mut Change,
    scratch: &Scratch<'_>,
) -> Result<()> {
    let Some((name, path)) = file_of(name, units) else { return Ok(()) };
    let install = install(&name, path, manager, tree, scratch)?;
    let instance = install.default_instance.as_deref();
    let mut link = |from: String| -> Result<()> {
        let from = format!("{}/{from}", manager.etc);
        let entry = Entry::symlink(format!("/{path}"), ORIGIN);
        let old = change.add.get(&from).or_else(|| tree.get(&from).filter(|_| from != path));
        match old.map(|old| &old.node) {
            Some(old) if *old != entry.node && !change.remove.contains(&from) => {
                bail!("`{from}` is another unit's already")
            }
            Some(_) if change.add.get(&from).is_none() && !change.remove.contains(&from) => Ok(()),
            _ => change.add.insert(&from, entry),
        }
    };
    for alias in &install.alias {
        let alias = name.expand(alias, instance);
        if !is_unit(&alias) {
            bail!("`{alias}` is no name of a unit");
        }
        if alias != name.to_string() {
            link(alias)?;
        }
    }
    let wanted = match instance.filter(|_| name.is_template()) {
        Some(instance) => name.with_instance(instance).context("it is no template")?,
        None => name.to_string(),
    };
    let kinds = [
        ("wants", &install.wanted_by),
        ("requires", &install.required_by),
        ("upholds", &install.upheld_by),
    ];
    for (kind, targets) in kinds {
        for target in targets {
            let target = name.expand(target, instance);
            if !is_unit(&target) {
                bail!("`{target}` is no name of a unit");
            }
            // A template without an instance can only be wanted by templates.
            if Name::of(&wanted).is_template() && !Name::of(&target).is_template() {
                continue;
            }
            link(format!("{target}.{kind}/{wanted}"))?;
        }
    }
    Ok(())
}

#[cfg(any(test, feature = "fuzz"))]
/// Reads a preset file and a unit file.
pub(crate) fn fuzz(text: &str) {
    let mut rules = Rules::default();
    let _ = rules.read(text);
    let _ = rules.decide("a.service");
    let mut unit = Install::default();
    unit.read(text);
    let _ = Name::of(text).expand(text, Some("instance"));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Sample, link_at};
    use super::*;

    const UNIT: &str = "[Unit]\nAlias=no.service\n[Install]\nWantedBy=multi-user.target\n";

    fn sample(preset: &str) -> Sample {
        Sample::new()
            .file("usr/lib/systemd/system-preset/50.preset", preset.as_bytes())
            .file("usr/lib/systemd/system/a.service", UNIT.as_bytes())
            .file("usr/lib/systemd/system/b.service", UNIT.as_bytes())
            .link("usr/lib/systemd/system/old.service", "b.service")
    }

    const A: &str = "etc/systemd/system/multi-user.target.wants/a.service";
    const B: &str = "etc/systemd/system/multi-user.target.wants/b.service";

    #[test]
    fn presets_win_over_what_packages_want() {
        let wants =
            sample("enable a.service\ndisable *\n").file(".facts/enable.json", br#"["b.service"]"#);
        let tree = wants.run(&ROW).unwrap();
        assert_eq!(link_at(&tree, A), "/usr/lib/systemd/system/a.service");
        assert!(tree.get(B).is_none() && tree.resolve(".facts").is_none());
    }

    #[test]
    fn a_unit_that_no_preset_names_follows_its_package() {
        let wants = sample("disable x\n").file(".facts/enable.json", br#"["old.service"]"#);
        let tree = wants.run(&ROW).unwrap();
        assert!(tree.get(A).is_none() && tree.get(B).is_some());
    }

    #[test]
    fn a_mask_stays_and_its_unit_is_not_enabled() {
        let masked = sample("enable *\n").link("etc/systemd/system/a.service", "/dev/null");
        let tree = masked.run(&ROW).unwrap();
        assert_eq!(link_at(&tree, "etc/systemd/system/a.service"), "/dev/null");
        assert!(tree.get(A).is_none() && tree.get(B).is_some());
    }

    #[test]
    fn two_units_cannot_have_one_alias() {
        let alias = "[Install]\nAlias=display-manager.service\n";
        let both = sample("enable *\n")
            .file("usr/lib/systemd/system/a.service", alias.as_bytes())
            .file("usr/lib/systemd/system/b.service", alias.as_bytes());
        assert!(format!("{:#}", both.run(&ROW).unwrap_err()).contains("display-manager"));
    }

    #[test]
    fn a_link_cannot_leave_its_directory() {
        for line in ["WantedBy=../../../evil.target", "Alias=../x.service", "Alias=%i"] {
            let unit = format!("[Install]\n{line}\n");
            let evil =
                sample("enable *\n").file("usr/lib/systemd/system/a.service", unit.as_bytes());
            assert!(evil.run(&ROW).is_err(), "{line}");
        }
    }
}
