//! Enabled units can run, and masked ones say why they are.

use std::collections::BTreeSet;

use anyhow::Result;
use store::{Node, Tree};

use super::{Finding, Lookup, finding};

/// Where units are enabled and masked, and where they come from.
const MANAGERS: &[(&str, &[&str])] = &[
    ("etc/systemd/system", &["etc/systemd/system", "usr/lib/systemd/system"]),
    ("etc/systemd/user", &["etc/systemd/user", "usr/lib/systemd/user"]),
];

pub(super) fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (enabled_in, places) in MANAGERS {
        let mut checked = BTreeSet::new();
        for (path, entry) in tree.below(enabled_in) {
            let Node::Symlink(target) = &entry.node else { continue };
            let name = path.rsplit('/').next().unwrap_or(path);
            if target == "/dev/null" {
                if !lookup.policy.masked.contains_key(name) {
                    let problem = "is masked, and nobody says why".to_owned();
                    found.push(finding("unit", path, entry, problem));
                }
                continue;
            }
            if !checked.insert(name.to_owned()) || masked(tree, enabled_in, name) {
                continue;
            }
            let problems = match unit_file(tree, places, name) {
                Some(file) => problems(tree, lookup, places, name, &file)?,
                None => vec!["is enabled, and there is no such unit".to_owned()],
            };
            found.extend(problems.into_iter().map(|p| finding("unit", path, entry, p)));
        }
    }
    Ok(found)
}

fn masked(tree: &Tree, enabled_in: &str, name: &str) -> bool {
    let entry = tree.get(&format!("{enabled_in}/{name}"));
    entry.is_some_and(|entry| entry.node == Node::Symlink("/dev/null".to_owned()))
}

/// The file of a unit, or of the template that it is an instance of.
fn unit_file(tree: &Tree, places: &[&str], name: &str) -> Option<String> {
    let template = template(name);
    let names = [Some(name.to_owned()), template];
    let paths = names
        .iter()
        .flatten()
        .flat_map(|name| places.iter().map(move |place| format!("{place}/{name}")));
    paths.into_iter().find_map(|path| tree.resolve(&path))
}

fn template(name: &str) -> Option<String> {
    let (stem, rest) = name.split_once('@')?;
    let (_, kind) = rest.rsplit_once('.')?;
    Some(format!("{stem}@.{kind}"))
}

fn problems(
    tree: &Tree,
    lookup: &Lookup<'_, '_>,
    places: &[&str],
    name: &str,
    file: &str,
) -> Result<Vec<String>> {
    let mut lines = settings(&lookup.text(tree, file)?.unwrap_or_default());
    for name in [Some(name.to_owned()), template(name)].iter().flatten() {
        for place in places.iter().rev() {
            let dropins = format!("{place}/{name}.d");
            for (path, _) in tree.below(&dropins).filter(|(path, _)| path.ends_with(".conf")) {
                lines.extend(settings(&lookup.text(tree, path)?.unwrap_or_default()));
            }
        }
    }
    let mut commands: Vec<String> = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    for (key, value) in lines {
        let list = match key.as_str() {
            "ConditionFirstBoot" => &mut conditions,
            "ExecStart" | "ExecStartPre" | "ExecStartPost" => &mut commands,
            _ => continue,
        };
        // An empty value takes back what was said before.
        if value.is_empty() { list.clear() } else { list.push(value) }
    }
    let mut problems = Vec::new();
    if conditions.iter().any(|value| matches!(value.as_str(), "yes" | "true" | "1" | "on")) {
        problems.push("waits for a first boot that never comes: machine-id ships empty".to_owned());
    }
    for command in commands {
        let program = command.split_whitespace().next().unwrap_or_default();
        let (prefix, program) =
            program.split_at(program.find(|c| !"-@:+!|".contains(c)).unwrap_or(program.len()));
        if prefix.contains('-') || program.contains(['%', '$']) || there(tree, program) {
            continue;
        }
        problems.push(format!("runs `{program}`, which is not there"));
    }
    Ok(problems)
}

fn there(tree: &Tree, program: &str) -> bool {
    if program.starts_with('/') {
        return tree.resolve(program).is_some();
    }
    let places = ["usr/local/bin", "usr/bin", "usr/local/sbin", "usr/sbin"];
    places.iter().any(|place| tree.resolve(&format!("{place}/{program}")).is_some())
}

/// Keys and values of a unit file, continued lines joined.
fn settings(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}
