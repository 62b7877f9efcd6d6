//! What brought each path, said inside of the image: there is no package database, and neither a
//! person on the host nor `hardtack diff` has the store that baked it.

use std::collections::BTreeMap;

use store::{Entry, Node, Tree};

/// Where the text lies.
pub(crate) const PATH: &str = "usr/lib/hardtack/origins";

const HEAD: &str = "# hardtack origins 1
# What brought each file and link below /usr: origin, tab, path. A path that ends in a slash holds
# for everything below it.
";

/// What made the text itself; see [`crate::plan::later_rooms`].
const OWN: &str = "layout";

/// The text for a tree of `/usr` (paths relative to it), its own path included; `docs/questions.md`
/// has the form. Directories are named for what is below them alone: many packages ship one.
pub(crate) fn text(usr: &Tree) -> String {
    let own = PATH.trim_start_matches("usr/");
    let mut origins: BTreeMap<&str, &str> = BTreeMap::from([(own, OWN)]);
    let leaf = |entry: &Entry| !matches!(entry.node, Node::Directory);
    let leaves = usr.0.iter().filter(|(_, entry)| leaf(entry));
    origins.extend(leaves.map(|(path, entry)| (path.as_str(), entry.origin.as_str())));

    // Every directory, and its only origin; `None` where there are several.
    let mut above: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (path, origin) in &origins {
        for directory in directories(path) {
            let only = above.entry(directory).or_insert(Some(origin));
            if *only != Some(origin) {
                *only = None;
            }
        }
    }
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, origin) in &origins {
        let widest = directories(path).find(|directory| above[directory].is_some());
        lines.insert(widest.unwrap_or(path), origin);
    }
    let mut text = HEAD.to_owned();
    for (path, origin) in lines {
        text += &format!("{}\t{}\n", escaped(origin), escaped(path));
    }
    text
}

/// Every directory above a path, the topmost first, with the slash behind it.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..=at])
}

fn escaped(field: &str) -> String {
    field.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use inspect::FoundOrigins;
    use store::Blob;

    use super::*;

    fn tree(paths: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, origin) in paths {
            tree.insert(path, Entry::file(Blob::of(b""), 0o644, origin)).unwrap();
        }
        tree.with_parents("image")
    }

    #[test]
    fn every_path_is_found_again_by_another_reader() {
        let paths = [
            ("bin/a", "a"),
            ("bin/b", "b"),
            ("share/a/x/1", "a"),
            ("share/a/y/2", "a"),
            ("share/b/x", "b"),
            ("share/b/odd\n\t\\name", "profile:odd\tname"),
            ("lib/hardtack/packages.json", "layout"),
        ];
        let text = text(&tree(&paths));
        let found = FoundOrigins::read(&text).unwrap();
        for (path, origin) in paths {
            assert_eq!(found.of(path), Some(origin), "{path} in\n{text}");
        }
        assert_eq!(found.of("lib/hardtack/origins"), Some("layout"), "{text}");
    }

    #[test]
    fn a_directory_of_one_package_is_one_line() {
        let many: Vec<String> = (0..100).map(|n| format!("share/zone/{n}")).collect();
        let mut paths: Vec<(&str, &str)> =
            many.iter().map(|path| (path.as_str(), "zone")).collect();
        let lines = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines(&text(&tree(&paths))), 2);
        paths.push(("share/zone/50/other", "other"));
        let paths: Vec<_> =
            paths.into_iter().filter(|(path, _)| *path != "share/zone/50").collect();
        assert_eq!(lines(&text(&tree(&paths))), 101);
    }
}
