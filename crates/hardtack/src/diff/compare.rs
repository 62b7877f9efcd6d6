//! Two sides put beside each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::side::{Leaf, Package, Room, Side};
use super::usr;

/// One thing on both sides; `None` where a side has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change<T> {
    pub(super) old: Option<T>,
    pub(super) new: Option<T>,
}

/// Things by name. `None`: one side at least cannot say.
pub(super) type Section<T> = Option<BTreeMap<String, Change<T>>>;

/// What differs between two sides. Its JSON is described in `docs/questions.md`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Diff {
    pub(super) format: u32,
    pub(super) equal: bool,
    pub(super) old: Title,
    pub(super) new: Title,
    /// Sections about which one side says nothing.
    pub(super) not_compared: Vec<&'static str>,
    pub(super) packages: Section<Package>,
    pub(super) boot: Section<String>,
    pub(super) loader: Section<String>,
    pub(super) programs: Section<String>,
    pub(super) command_line: Option<Words>,
    pub(super) units: Section<String>,
    pub(super) users: Section<String>,
    pub(super) groups: Section<String>,
    pub(super) privileged: Section<String>,
    pub(super) files: Section<Leaf>,
    /// All of them, changed or not.
    pub(super) bytes: Section<u64>,
    /// All of them, changed or not.
    pub(super) slots: Section<Room>,
    /// What brought a changed file, where that is known.
    pub(super) origins: BTreeMap<String, String>,
}

/// A side, named.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Title {
    pub(super) name: String,
    pub(super) form: &'static str,
}

/// Words of two command lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Words {
    pub(super) removed: Vec<String>,
    pub(super) added: Vec<String>,
    /// The same words in another order.
    pub(super) reordered: bool,
}

/// The version of the JSON: raised when a field changes its meaning or goes.
const FORMAT: u32 = 2;

/// Compares everything about which both sides say something.
pub(super) fn compare(old: Side, new: Side) -> Diff {
    let privileged = |side: &Side| side.files.as_ref().map(usr::privileged);
    let mut diff = Diff {
        format: FORMAT,
        equal: false,
        not_compared: Vec::new(),
        privileged: changed(privileged(&old), privileged(&new)),
        packages: changed(old.packages, new.packages),
        boot: changed(old.boot, new.boot),
        loader: changed(old.loader, new.loader),
        programs: changed(old.programs, new.programs),
        command_line: old.command_line.zip(new.command_line).map(|(old, new)| words(&old, &new)),
        units: changed(old.units, new.units),
        users: changed(old.users, new.users),
        groups: changed(old.groups, new.groups),
        files: changed(old.files, new.files),
        bytes: beside(old.bytes, new.bytes),
        slots: rooms(old.slots, new.slots),
        origins: BTreeMap::new(),
        old: Title { name: old.name, form: old.form },
        new: Title { name: new.name, form: new.form },
    };
    diff.origins = origins(&diff.files, &old.origins, &new.origins);
    let sections = [
        ("packages", size(&diff.packages)),
        ("boot", size(&diff.boot)),
        ("loader", size(&diff.loader)),
        ("programs", size(&diff.programs)),
        ("command-line", diff.command_line.as_ref().map(|words| usize::from(!words.equal()))),
        ("units", size(&diff.units)),
        ("users", size(&diff.users)),
        ("groups", size(&diff.groups)),
        ("privileged", size(&diff.privileged)),
        ("files", size(&diff.files)),
        ("bytes", diff.bytes.as_ref().map(moved)),
        ("slots", diff.slots.as_ref().map(moved)),
    ];
    diff.equal = sections.iter().all(|(_, changes)| changes.is_none_or(|changes| changes == 0));
    diff.not_compared =
        sections.iter().filter(|(_, changes)| changes.is_none()).map(|(name, _)| *name).collect();
    diff
}

impl Words {
    /// Whether nothing differs.
    pub(super) fn equal(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && !self.reordered
    }
}

/// What is on either side.
fn beside<T>(old: Option<BTreeMap<String, T>>, new: Option<BTreeMap<String, T>>) -> Section<T> {
    let (mut old, mut new) = (old?, new?);
    let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let both = names.into_iter().map(|name| {
        let change = Change { old: old.remove(&name), new: new.remove(&name) };
        (name, change)
    });
    Some(both.collect())
}

/// Slots, changed or not. Where one side does not know how much of one is used, the other's word is
/// no difference.
fn rooms(
    old: Option<BTreeMap<String, Room>>,
    new: Option<BTreeMap<String, Room>>,
) -> Section<Room> {
    let mut both = beside(old, new)?;
    for change in both.values_mut() {
        if let (Some(old), Some(new)) = (&mut change.old, &mut change.new)
            && old.used.is_none() != new.used.is_none()
        {
            (old.used, new.used) = (None, None);
        }
    }
    Some(both)
}

/// What differs.
fn changed<T: PartialEq>(
    old: Option<BTreeMap<String, T>>,
    new: Option<BTreeMap<String, T>>,
) -> Section<T> {
    let mut both = beside(old, new)?;
    both.retain(|_, change| change.old != change.new);
    Some(both)
}

fn size<T>(section: &Section<T>) -> Option<usize> {
    section.as_ref().map(BTreeMap::len)
}

fn moved<T: PartialEq>(section: &BTreeMap<String, Change<T>>) -> usize {
    section.values().filter(|change| change.old != change.new).count()
}

/// Words of one line that the other has fewer of.
fn words(old: &[String], new: &[String]) -> Words {
    let without = |from: &[String], other: &[String]| {
        let mut other = other.to_vec();
        let mut left = Vec::new();
        for word in from {
            match other.iter().position(|one| one == word) {
                Some(at) => drop(other.remove(at)),
                None => left.push(word.clone()),
            }
        }
        left
    };
    let (removed, added) = (without(old, new), without(new, old));
    let reordered = removed.is_empty() && added.is_empty() && old != new;
    Words { removed, added, reordered }
}

/// What brought the changed files, the new side's word first.
fn origins(
    files: &Section<Leaf>,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let paths = files.iter().flat_map(BTreeMap::keys);
    let said =
        paths.filter_map(|path| Some((path.clone(), new.get(path).or(old.get(path))?.clone())));
    said.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(users: &[(&str, &str)], line: &[&str]) -> Side {
        let owned = |(name, rest): &(&str, &str)| ((*name).to_owned(), (*rest).to_owned());
        Side {
            users: Some(users.iter().map(owned).collect()),
            command_line: Some(line.iter().map(|word| (*word).to_owned()).collect()),
            ..Side::default()
        }
    }

    #[test]
    fn each_kind_of_change_is_told_and_what_a_side_cannot_say_is_named() {
        let old = side(&[("a", "1"), ("b", "2"), ("c", "3")], &["x", "y", "y"]);
        let new = side(&[("b", "2"), ("c", "4"), ("d", "5")], &["y", "x", "z"]);
        let diff = compare(old, new);
        let users = serde_json::to_value(&diff.users).unwrap();
        assert_eq!(
            users,
            serde_json::json!({
                "a": {"old": "1", "new": null},
                "c": {"old": "3", "new": "4"},
                "d": {"old": null, "new": "5"},
            })
        );
        let line = diff.command_line.unwrap();
        assert_eq!((line.removed, line.added), (vec!["y".to_owned()], vec!["z".to_owned()]));
        assert!(!diff.equal && diff.not_compared.contains(&"files"), "{:?}", diff.not_compared);
    }

    #[test]
    fn what_one_side_does_not_know_of_a_slot_is_no_difference_and_another_size_is() {
        let side = |size: u64, used: Option<u64>| Side {
            slots: Some([("esp".to_owned(), Room { size, used })].into()),
            ..Side::default()
        };
        assert!(compare(side(9, Some(5)), side(9, None)).equal);
        assert!(!compare(side(9, Some(5)), side(9, Some(6))).equal);
        assert!(!compare(side(9, None), side(8, None)).equal);
    }

    #[test]
    fn the_same_on_both_sides_is_equal_and_another_order_of_words_is_not() {
        let of = |line: &[&str]| side(&[("a", "1")], line);
        assert!(compare(of(&["x", "y"]), of(&["x", "y"])).equal);
        let diff = compare(of(&["x", "y"]), of(&["y", "x"]));
        assert!(!diff.equal && diff.command_line.unwrap().reordered);
    }
}
