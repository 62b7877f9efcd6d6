//! Reading and writing the small text files that generators work on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use store::{Entry, Node, Scratch, Tree};

use crate::Change;

/// The longest file that a generator reads as text; the largest hwdb source has 4 MB.
const TEXT_LIMIT: u64 = 32 << 20;

/// Directories that a merged `/usr` makes links into it (file-hierarchy(7)).
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The bytes of the file where `path` ends; `None` where nothing is, or a link dangles.
pub(crate) fn bytes(tree: &Tree, scratch: &Scratch<'_>, path: &str) -> Result<Option<Vec<u8>>> {
    let Some(entry) = tree.resolve(path).and_then(|real| tree.get(&real)) else { return Ok(None) };
    let Some(blob) = entry.blob() else { bail!("`{path}` is not a file") };
    if blob.size > TEXT_LIMIT {
        bail!("`{path}` has {} bytes, more than the {TEXT_LIMIT} allowed", blob.size);
    }
    Ok(Some(scratch.read(&blob).with_context(|| format!("read `{path}`"))?))
}

/// The text of the file where `path` ends; see [`bytes`].
pub(crate) fn text(tree: &Tree, scratch: &Scratch<'_>, path: &str) -> Result<Option<String>> {
    let Some(bytes) = bytes(tree, scratch, path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).with_context(|| format!("read `{path}` as UTF-8"))
}

/// A fact: the JSON file `path`, or the type's empty value where it is missing.
pub(crate) fn fact<T: DeserializeOwned>(
    tree: &Tree,
    scratch: &Scratch<'_>,
    path: &str,
) -> Result<Option<T>> {
    let Some(bytes) = bytes(tree, scratch, path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).with_context(|| format!("read the fact `{path}`"))
}

/// The configuration files called `*<extension>` in `directories`, the most important first: of
/// one name the first wins, an empty file or a link to `/dev/null` masks it, and files are in
/// the order of their names.
pub(crate) fn drop_ins(tree: &Tree, directories: &[&str], extension: &str) -> Vec<String> {
    let mut named: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for directory in directories {
        for (path, entry) in tree.below(directory) {
            let Some(name) = path.get(directory.len() + 1..) else { continue };
            if name.contains('/') || !name.ends_with(extension) {
                continue;
            }
            let found = match &entry.node {
                Node::Directory => continue,
                Node::Symlink(target) if target == "/dev/null" => None,
                Node::File(blob) if blob.size == 0 => None,
                Node::Symlink(_) | Node::File(_) => Some(path.to_owned()),
            };
            named.entry(name).or_insert(found);
        }
    }
    named.into_values().flatten().collect()
}

/// Adds a file of root to a change.
pub(crate) fn put(
    change: &mut Change,
    scratch: &Scratch<'_>,
    path: &str,
    bytes: &[u8],
    origin: &str,
) -> Result<()> {
    change.add.insert(path, Entry::file(scratch.put(bytes)?, 0o644, origin))
}

/// A path of the tree for an absolute path, through the links of a merged `/usr`.
pub(crate) fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// The text of a link at `from` that leads to `to`, both paths of the tree.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').collect();
    let to: Vec<&str> = to.split('/').collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let common = common.min(from.len() - 1).min(to.len() - 1);
    let up = std::iter::repeat_n("..", from.len() - 1 - common);
    up.chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Blob;

    #[test]
    fn relative_links_climb_only_as_far_as_needed() {
        assert_eq!(relative("usr/bin/awk", "usr/bin/mawk"), "mawk");
        assert_eq!(relative("usr/sbin/x", "usr/bin/y"), "../bin/y");
        assert_eq!(relative("etc/os-release", "usr/lib/os-release"), "../usr/lib/os-release");
        assert_eq!(relative("a/b", "a"), "../a");
    }

    #[test]
    fn a_merged_usr_is_seen_through() {
        assert_eq!(merged("/bin/sh"), "usr/bin/sh");
        assert_eq!(merged("/usr/bin/sh"), "usr/bin/sh");
        assert_eq!(merged("/binary"), "binary");
    }

    #[test]
    fn etc_wins_over_usr_and_dev_null_masks() {
        let file = |text: &[u8]| Entry::file(Blob::of(text), 0o644, "test");
        let mut tree = Tree::default();
        tree.insert("usr/lib/x.d/b.conf", file(b"b")).unwrap();
        tree.insert("usr/lib/x.d/a.conf", file(b"a")).unwrap();
        tree.insert("usr/lib/x.d/c.conf", file(b"c")).unwrap();
        tree.insert("usr/lib/x.d/sub/d.conf", file(b"d")).unwrap();
        tree.insert("usr/lib/x.d/readme", file(b"r")).unwrap();
        tree.insert("etc/x.d/b.conf", file(b"mine")).unwrap();
        tree.insert("etc/x.d/c.conf", Entry::symlink("/dev/null", "test")).unwrap();
        let found = drop_ins(&tree, &["etc/x.d", "usr/lib/x.d"], ".conf");
        assert_eq!(found, ["usr/lib/x.d/a.conf", "etc/x.d/b.conf"]);
    }
}
