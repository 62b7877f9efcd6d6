//! A difference as people read it in a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Detail;
use super::compare::{Change, Diff, Section};
use super::side::{Leaf, Package, Room};
use crate::ledger::{Bytes, Ledger, signed};

/// The text, grouped; names out of an image are escaped.
pub(super) fn text(diff: &Diff, detail: Detail) -> String {
    let mut text = String::new();
    let [old, new] =
        [&diff.old, &diff.new].map(|side| format!("{} ({})", side.name.escape_debug(), side.form));
    let _ = writeln!(text, "{old} → {new}");
    section(&mut text, "packages", &diff.packages, package);
    section(&mut text, "boot", &diff.boot, Clone::clone);
    section(&mut text, "loader", &diff.loader, Clone::clone);
    section(&mut text, "programs", &diff.programs, Clone::clone);
    if let Some(words) = diff.command_line.as_ref().filter(|words| !words.equal()) {
        let order = if words.reordered { ": the same words in another order" } else { "" };
        let _ = writeln!(text, "\ncommand line{order}");
        let removed = words.removed.iter().map(|word| ("-", word));
        for (sign, word) in removed.chain(words.added.iter().map(|word| ("+", word))) {
            let _ = writeln!(text, "  {sign} {}", word.escape_debug());
        }
    }
    section(&mut text, "units", &diff.units, Clone::clone);
    section(&mut text, "users", &diff.users, Clone::clone);
    section(&mut text, "groups", &diff.groups, Clone::clone);
    section(&mut text, "set-id and capabilities", &diff.privileged, Clone::clone);
    match detail {
        Detail::Full => files(&mut text, diff),
        Detail::Short => counted(&mut text, diff),
    }
    bytes(&mut text, diff);
    slots(&mut text, diff);
    if diff.equal {
        let _ = writeln!(text, "\nno difference");
    }
    if !diff.not_compared.is_empty() {
        let names = diff.not_compared.join(", ");
        let _ = writeln!(text, "\nnot compared, because one side does not say it: {names}");
    }
    text
}

/// `2 changed, 1 new, 3 gone`.
pub(super) fn counts<'a, T: 'a>(changes: impl Iterator<Item = &'a Change<T>>) -> String {
    let (mut changed, mut new, mut gone) = (0, 0, 0);
    for change in changes {
        match (&change.old, &change.new) {
            (None, _) => new += 1,
            (_, None) => gone += 1,
            _ => changed += 1,
        }
    }
    let parts = [(changed, "changed"), (new, "new"), (gone, "gone")].into_iter();
    let parts: Vec<String> = parts
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

fn section<T>(text: &mut String, title: &str, section: &Section<T>, word: fn(&T) -> String) {
    let Some(changes) = section.as_ref().filter(|changes| !changes.is_empty()) else { return };
    let _ = writeln!(text, "\n{title}: {}", counts(changes.values()));
    for (name, change) in changes {
        let said = |side: &Option<T>| {
            side.as_ref().map(word).unwrap_or_default().escape_debug().to_string()
        };
        let (old, new) = (said(&change.old), said(&change.new));
        let name = name.escape_debug();
        let _ = match (&change.old, &change.new) {
            (None, _) => writeln!(text, "  + {name}  {new}"),
            (_, None) => writeln!(text, "  - {name}  {old}"),
            _ => writeln!(text, "  ~ {name}  {old} → {new}"),
        };
    }
}

pub(super) fn package(package: &Package) -> String {
    format!("{} {} ({})", package.version, package.architecture, package.parts.join(", "))
}

/// Every file and what about it changed.
fn files(text: &mut String, diff: &Diff) {
    let Some(changes) = diff.files.as_ref().filter(|changes| !changes.is_empty()) else { return };
    let _ = writeln!(text, "\nfiles: {}", counts(changes.values()));
    for (path, change) in changes {
        let (sign, what) = file(change);
        let origin = diff
            .origins
            .get(path)
            .map_or(String::new(), |origin| format!("  [{}]", origin.escape_debug()));
        let _ = writeln!(text, "  {sign} {}  {what}{origin}", path.escape_debug());
    }
}

/// A sign, and in words what became of a file.
pub(super) fn file(change: &Change<Leaf>) -> (char, String) {
    let (sign, leaf) = match (&change.old, &change.new) {
        (Some(old), Some(new)) => return ('~', differences(old, new)),
        (Some(old), None) => ('-', old),
        (None, Some(new)) => ('+', new),
        (None, None) => return (' ', String::new()),
    };
    let Leaf { kind, mode, owner, group, .. } = leaf;
    let more = match &leaf.target {
        Some(target) => format!(" to {}", target.escape_debug()),
        None if kind == "file" => format!(", {} bytes", leaf.size),
        None => String::new(),
    };
    (sign, format!("{kind}{more}, {mode} {owner}:{group}"))
}

fn differences(old: &Leaf, new: &Leaf) -> String {
    let mut parts = Vec::new();
    let mut differs = |what: &str, old: &str, new: &str| {
        if old != new {
            parts.push(format!("{what}{} → {}", old.escape_debug(), new.escape_debug()));
        }
    };
    differs("", &old.kind, &new.kind);
    differs("mode ", &old.mode, &new.mode);
    differs("owner ", &old.owner.to_string(), &new.owner.to_string());
    differs("group ", &old.group.to_string(), &new.group.to_string());
    let target = |leaf: &Leaf| leaf.target.clone().unwrap_or_default();
    differs("to ", &target(old), &target(new));
    let attributes = |leaf: &Leaf| format!("{:?}", leaf.xattrs);
    differs("attributes ", &attributes(old), &attributes(new));
    differs("size ", &old.size.to_string(), &new.size.to_string());
    if old.sha256 != new.sha256 && old.size == new.size {
        parts.push("other content of the same size".to_owned());
    }
    parts.join(", ")
}

/// Files by what brought them, with the change of their size.
fn counted(text: &mut String, diff: &Diff) {
    let Some(changes) = diff.files.as_ref().filter(|changes| !changes.is_empty()) else { return };
    let mut by_origin: BTreeMap<&str, Vec<&Change<Leaf>>> = BTreeMap::new();
    for (path, change) in changes {
        let origin = diff.origins.get(path).map_or("(not said)", String::as_str);
        by_origin.entry(origin).or_default().push(change);
    }
    let _ = writeln!(text, "\nfiles: {} (`--full` names them)", counts(changes.values()));
    let width = by_origin.keys().map(|name| name.len()).max().unwrap_or_default();
    for (origin, changes) in by_origin {
        let size = |leaf: &Option<Leaf>| leaf.as_ref().map_or(0, |leaf| i128::from(leaf.size));
        let grown: i128 = changes.iter().map(|one| size(&one.new) - size(&one.old)).sum();
        let name = origin.escape_debug().to_string();
        let count = counts(changes.into_iter());
        let _ = writeln!(text, "  {name:width$}  {count}, {}", signed(grown));
    }
}

/// The ledger of both sides.
fn bytes(text: &mut String, diff: &Diff) {
    let Some(bytes) = &diff.bytes else { return };
    let side = |of: fn(&Change<u64>) -> Option<u64>| -> Bytes {
        bytes.iter().filter_map(|(name, change)| Some((name.clone(), of(change)?))).collect()
    };
    let (old, new) = (side(|change| change.old), side(|change| change.new));
    if old != new {
        let _ = write!(text, "\n{}", Ledger::new(&new, Some(&old)));
    }
}

fn slots(text: &mut String, diff: &Diff) {
    let changed = diff.slots.iter().flatten().filter(|(_, change)| change.old != change.new);
    for (index, (name, change)) in changed.enumerate() {
        if index == 0 {
            let _ = writeln!(text, "\nslots");
        }
        let used = |side: &Option<Room>| side.and_then(|room| room.used).map(i128::from);
        let grown = used(&change.old).zip(used(&change.new)).map(|(old, new)| new - old);
        let grown = grown.map_or(String::new(), |grown| format!(" ({})", signed(grown)));
        let (old, new) = (room(&change.old), room(&change.new));
        let _ = writeln!(text, "  {name}  {old} → {new}{grown}");
    }
}

/// How much of a slot is used.
pub(super) fn room(room: &Option<Room>) -> String {
    let Some(room) = room else { return "none".to_owned() };
    let used = room.used.map_or("?".to_owned(), inspect::bytes);
    format!("{used} of {}", inspect::bytes(room.size))
}
