//! Owners by name become numbers, by the image's own `passwd` and `group`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use store::{Owner, Scratch, Tree};

use super::BOTH;
use super::files::text;
use crate::{Change, Generator, Point};

/// Where the two files may lie: before and after `factory-etc`.
const PLACES: [&str; 2] = ["etc", "usr/share/factory/etc"];

pub(crate) const ROW: Generator = Generator {
    name: "owners",
    revision: 1,
    purposes: BOTH,
    point: Point::Installed,
    reads: &["**"],
    writes: &["**"],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let users = ids(tree, scratch, "passwd")?;
    let groups = ids(tree, scratch, "group")?;
    let mut change = Change::default();
    for (path, entry) in &tree.0 {
        if matches!((&entry.owner, &entry.group), (Owner::Id(_), Owner::Id(_))) {
            continue;
        }
        let resolved = |owner: &Owner, names: &BTreeMap<String, u32>, what: &str| match owner {
            Owner::Id(id) => Ok(Owner::Id(*id)),
            Owner::Name(name) => match names.get(name) {
                Some(id) => Ok(Owner::Id(*id)),
                None => bail!(
                    "`{path}` of {} belongs to the {what} `{name}`, which the image does not have",
                    entry.origin
                ),
            },
        };
        let mut entry = entry.clone();
        entry.owner = resolved(&entry.owner, &users, "user")?;
        entry.group = resolved(&entry.group, &groups, "group")?;
        change.add.insert(path, entry)?;
    }
    // Facts whose reader does not work on this tree end here.
    if tree.below(".facts").next().is_some() {
        change.remove.push(".facts".to_owned());
        change.add.remove_all(".facts");
    }
    Ok(change)
}

/// Name to number; `root` is 0 even in a tree without the files.
pub(crate) fn ids(tree: &Tree, scratch: &Scratch<'_>, file: &str) -> Result<BTreeMap<String, u32>> {
    let mut ids = BTreeMap::from([("root".to_owned(), 0)]);
    for place in PLACES {
        let path = format!("{place}/{file}");
        let Some(text) = text(tree, scratch, &path)? else { continue };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            let id = fields.nth(1).and_then(|id| id.parse().ok());
            let id = id.with_context(|| format!("`{path}`: `{line}` has no id"))?;
            ids.insert(name.to_owned(), id);
        }
        break;
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    fn sample() -> Sample {
        Sample::new()
            .file("usr/share/factory/etc/passwd", b"root:x:0:0::/:/bin/sh\n_chrony:x:905:906::/:\n")
            .file("usr/share/factory/etc/group", b"root:x:0:\n_chrony:x:906:\n")
            .file("usr/share/factory/etc/chrony.keys", b"")
    }

    #[test]
    fn names_become_numbers_and_mode_stays() {
        let path = "usr/share/factory/etc/chrony.keys";
        let tree = sample().owned(path, "root", "_chrony", 0o640).run(&ROW).unwrap();
        let entry = tree.get(path).unwrap();
        assert_eq!((&entry.owner, &entry.group), (&Owner::Id(0), &Owner::Id(906)));
        assert_eq!(entry.mode, 0o640);
    }

    #[test]
    fn an_unknown_name_is_an_error_with_path_and_package() {
        let sample = sample().owned("usr/share/factory/etc/chrony.keys", "nope", "root", 0o640);
        let error = format!("{:#}", sample.run(&ROW).unwrap_err());
        assert!(error.contains("chrony.keys") && error.contains("nope"), "{error}");
        assert!(error.contains("sample"), "{error}");
    }

    #[test]
    fn no_fact_is_left() {
        let sample = Sample::new().file(".facts/enable.json", b"[]").file("usr/x", b"");
        let tree = sample.run(&ROW).unwrap();
        assert_eq!(tree.0.keys().collect::<Vec<_>>(), ["usr/x"]);
    }
}
