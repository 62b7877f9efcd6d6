//! Unit files and their drop-ins, as a manager puts them together (systemd.unit(5)).

use std::collections::BTreeSet;

use store::{Node, Tree};

use super::Lookup;
use crate::generators::files::drop_ins;
use crate::lines::joined;

/// Where the units of one kind of manager lie: what is enabled there first.
pub(super) const MANAGERS: [[&str; 2]; 2] = [
    ["etc/systemd/system", "usr/lib/systemd/system"],
    ["etc/systemd/user", "usr/lib/systemd/user"],
];

/// One line of a unit.
pub(super) struct Setting {
    /// The file that says so.
    pub(super) file: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// Whether the unit or its template cannot be started.
pub(super) fn masked(tree: &Tree, places: &[&str], name: &str) -> bool {
    let names = [Some(name.to_owned()), template(name)];
    names.iter().flatten().any(|name| {
        let found = places.iter().find_map(|place| tree.get(&format!("{place}/{name}")));
        match found.map(|entry| &entry.node) {
            Some(Node::Symlink(target)) => target == "/dev/null",
            Some(Node::File(blob)) => blob.size == 0,
            Some(Node::Directory) | None => false,
        }
    })
}

/// The file of a unit, or of the template that it is an instance of.
pub(super) fn file(tree: &Tree, places: &[&str], name: &str) -> Option<String> {
    let names = [Some(name.to_owned()), template(name)];
    let paths = names
        .iter()
        .flatten()
        .flat_map(|name| places.iter().map(move |place| format!("{place}/{name}")));
    paths.into_iter().find_map(|path| tree.resolve(&path))
}

/// Whether some manager knows a unit of this name.
pub(super) fn known(tree: &Tree, name: &str) -> bool {
    MANAGERS.iter().any(|places| file(tree, places, name).is_some_and(|file| file != "dev/null"))
}

/// Names of the units that have a file.
pub(super) fn names<'t>(tree: &'t Tree, places: &'t [&str]) -> BTreeSet<&'t str> {
    let mut names = BTreeSet::new();
    for place in places {
        for (path, entry) in tree.below(place) {
            let name = path.get(place.len() + 1..).unwrap_or_default();
            if matches!(entry.node, Node::File(_)) && !name.contains('/') {
                names.insert(name);
            }
        }
    }
    names
}

/// All that the file and the drop-ins of a unit say, in order.
pub(super) fn settings(
    tree: &Tree,
    lookup: &Lookup<'_, '_>,
    places: &[&str],
    name: &str,
    file: &str,
) -> Vec<Setting> {
    let mut files = vec![file.to_owned()];
    let kind = name.rsplit_once('.').map(|(_, kind)| kind.to_owned());
    for name in [kind, template(name), Some(name.to_owned())].iter().flatten() {
        let directories: Vec<String> =
            places.iter().map(|place| format!("{place}/{name}.d")).collect();
        let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
        files.extend(drop_ins(tree, &directories, ".conf"));
    }
    let lines = files.iter().flat_map(|file| {
        let pairs = pairs(lookup.text(tree, file));
        pairs.into_iter().map(|(key, value)| Setting { file: file.clone(), key, value })
    });
    lines.collect()
}

/// Keys and values of a unit file.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let lines = joined(text);
    let pairs = lines.iter().map(|line| line.trim()).filter(|line| !line.starts_with('['));
    let pairs = pairs.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

fn template(name: &str) -> Option<String> {
    let (stem, rest) = name.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{stem}@.{kind}"))
}
