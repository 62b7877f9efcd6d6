//! A tree: what a root file system is before any file-system format.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Blob, Seed};

/// Paths to entries, sorted by path bytes.
///
/// A path has no leading or trailing `/` and no `.` or `..` component; the root directory is not
/// an entry. Names are UTF-8 (Debian Policy 10.10). Parents need not be listed: a missing parent
/// is a directory 0755 of owner 0 (see [`Tree::with_parents`]). There are no time stamps: every
/// file of an image carries the lock's epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree(pub BTreeMap<String, Entry>);

/// One path of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is there.
    pub node: Node,
    /// Permission bits, set-id and sticky bits included (07777); 0o777 for symbolic links.
    pub mode: u16,
    /// User.
    pub owner: Owner,
    /// Group.
    pub group: Owner,
    /// Extended attributes, full name (`security.capability`) to raw value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Hard-link identity: entries with the same identity are one inode. Only what a package
    /// links itself is linked; equal content never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The package that brought the entry, or what made it (`generator:users`, `profile`).
    pub origin: String,
}

/// What a path holds. Devices, sockets and pipes cannot be represented: no image ships one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File(Blob),
    /// A symbolic link and its target.
    Symlink(String),
}

/// A user or group, by number or by a name that the users generator resolves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Numeric id.
    Id(u32),
    /// A name of `passwd` or `group`.
    Name(String),
}

/// A tree, by the digest of its canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeId {
    /// Digest of the canonical bytes.
    #[serde(rename = "$tree")]
    pub digest: crate::Digest,
    /// Size of the canonical bytes.
    pub size: u64,
}

impl TreeId {
    /// The blob that holds the tree's canonical bytes.
    pub fn blob(self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }
}

impl Owner {
    /// User or group 0.
    pub const ROOT: Self = Self::Id(0);
}

impl Entry {
    /// A directory of root, 0755.
    pub fn directory(origin: &str) -> Self {
        Self::new(Node::Directory, 0o755, origin)
    }

    /// A file of root.
    pub fn file(blob: Blob, mode: u16, origin: &str) -> Self {
        Self::new(Node::File(blob), mode, origin)
    }

    /// A symbolic link of root.
    pub fn symlink(target: impl Into<String>, origin: &str) -> Self {
        Self::new(Node::Symlink(target.into()), 0o777, origin)
    }

    fn new(node: Node, mode: u16, origin: &str) -> Self {
        Self {
            node,
            mode,
            owner: Owner::ROOT,
            group: Owner::ROOT,
            xattrs: BTreeMap::new(),
            link: None,
            origin: origin.to_owned(),
        }
    }

    /// The content, if this is a file.
    pub fn blob(&self) -> Option<Blob> {
        match self.node {
            Node::File(blob) => Some(blob),
            Node::Directory | Node::Symlink(_) => None,
        }
    }
}

impl Tree {
    /// Every file content, in path order, repeated where files share it.
    pub fn blobs(&self) -> impl Iterator<Item = Blob> + '_ {
        self.0.values().filter_map(Entry::blob)
    }

    /// The entry at `path` without following links.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Adds or replaces one path. An ill-formed path is an error.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Result<()> {
        check_path(path)?;
        self.0.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Removes `path` and everything below it; says how many entries went.
    pub fn remove_all(&mut self, path: &str) -> usize {
        let before = self.0.len();
        let below = format!("{path}/");
        self.0.retain(|p, _| p != path && !p.starts_with(&below));
        before - self.0.len()
    }

    /// The entries at and below `path`.
    pub fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> + 'a {
        self.0
            .range(path.to_owned()..)
            .take_while(move |(p, _)| p.starts_with(path))
            .filter(move |(p, _)| p.len() == path.len() || p.as_bytes()[path.len()] == b'/')
            .map(|(p, e)| (p.as_str(), e))
    }

    /// Follows symbolic links inside the tree, in every component, and gives the path where
    /// `path` ends; `None` when it dangles or loops (40 links, as Linux).
    pub fn resolve(&self, path: &str) -> Option<String> {
        self.follow(path, &mut |_| {})
    }

    /// As [`Tree::resolve`]; every link on the way is told to `met`, also when the end is nowhere.
    pub fn follow(&self, path: &str, met: &mut dyn FnMut(&str)) -> Option<String> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            let here = at.join("/");
            if let Some(Entry { node: Node::Symlink(target), .. }) = self.0.get(&here) {
                met(&here);
                links += 1;
                if links > 40 {
                    return None;
                }
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        let found = at.join("/");
        let below = format!("{found}/");
        let exists = found.is_empty()
            || self.0.contains_key(&found)
            || self.0.range(below.clone()..).next().is_some_and(|(p, _)| p.starts_with(&below));
        exists.then_some(found)
    }

    /// The tree with every missing parent directory added (0755, owner 0, `origin`).
    pub fn with_parents(mut self, origin: &str) -> Self {
        let mut missing = std::collections::BTreeSet::new();
        for path in self.0.keys() {
            let mut end = path.len();
            while let Some(slash) = path[..end].rfind('/') {
                end = slash;
                if self.0.contains_key(&path[..end]) || !missing.insert(path[..end].to_owned()) {
                    break;
                }
            }
        }
        for path in missing {
            self.0.insert(path, Entry::directory(origin));
        }
        self
    }

    /// An id that is a function of the tree's bytes, for formats that want a UUID.
    pub fn uuid(id: TreeId, purpose: &str) -> [u8; 16] {
        Seed(id.digest).uuid(purpose)
    }
}

/// Refuses what is no well-formed relative path.
fn check_path(path: &str) -> Result<()> {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.len() > 255;
    if path.split('/').any(bad) || path.contains('\0') {
        bail!("`{}` is not a path inside a tree", path.escape_debug());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[(&str, Node)]) -> Tree {
        let mut tree = Tree::default();
        for (path, node) in paths {
            tree.insert(path, Entry::new(node.clone(), 0o755, "test")).unwrap();
        }
        tree
    }

    #[test]
    fn resolve_follows_links_in_every_component() {
        let t = tree(&[
            ("bin", Node::Symlink("usr/bin".into())),
            ("usr/bin/sh", Node::Symlink("dash".into())),
            ("usr/bin/dash", Node::File(Blob::of(b""))),
            ("loop", Node::Symlink("loop".into())),
            ("etc/up", Node::Symlink("../../../usr".into())),
        ]);
        assert_eq!(t.resolve("bin/sh").as_deref(), Some("usr/bin/dash"));
        assert_eq!(t.resolve("/etc/up/bin").as_deref(), Some("usr/bin"));
        assert_eq!(t.resolve("loop"), None);
        assert_eq!(t.resolve("usr/bin/gone"), None);
    }

    #[test]
    fn a_path_that_climbs_out_is_refused() {
        let mut t = Tree::default();
        for path in ["", "/etc", "a//b", "a/../b", "./a", "a/", "a\0b"] {
            assert!(t.insert(path, Entry::directory("test")).is_err(), "{path:?}");
        }
    }

    #[test]
    fn below_does_not_take_siblings_with_the_same_beginning() {
        let t = tree(&[("a", Node::Directory), ("a-b", Node::Directory), ("a/c", Node::Directory)]);
        assert_eq!(t.below("a").map(|(p, _)| p).collect::<Vec<_>>(), ["a", "a/c"]);
    }

    #[test]
    fn missing_parents_are_added() {
        let t = tree(&[("a/b/c", Node::Directory)]).with_parents("made");
        assert_eq!(t.0.keys().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
    }
}
