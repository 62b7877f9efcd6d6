//! From paths to inodes: the gate through which a tree must pass before it is written.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use store::{Entry, Node, Owner, Tree};

/// Longest name in a directory, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Longest target of a symbolic link, in bytes (`PATH_MAX` without the final NUL).
const TARGET_MAX: usize = 4095;

/// One file, directory or symbolic link, however many names it has.
pub(crate) struct Inode<'a> {
    /// Its first path in the order of paths; empty for the root directory.
    pub(crate) path: &'a str,
    /// What stands there.
    pub(crate) entry: &'a Entry,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// How many names refer to it, `.` and `..` included.
    pub(crate) links: u32,
    /// What a directory holds, `.` and `..` included, sorted by bytes.
    pub(crate) names: Vec<Name<'a>>,
}

/// One name in a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name<'a> {
    pub(crate) name: &'a str,
    /// Index of its inode.
    pub(crate) inode: usize,
}

/// The inodes of `tree`, whose parents are all listed, below the directory `root`; in the order
/// of their first paths, the root directory first.
pub(crate) fn inodes<'a>(root: &'a Entry, tree: &'a Tree) -> Result<Vec<Inode<'a>>> {
    let mut inodes = vec![inode("", root)?];
    let mut directories = BTreeMap::from([("", 0)]);
    let mut links = BTreeMap::new();
    enter(&mut inodes, 0, 0);
    for (path, entry) in &tree.0 {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        check_name(path, name)?;
        let Some(&parent) = directories.get(parent) else {
            bail!("`{path}` ({}) lies below `{parent}`, which is no directory", entry.origin);
        };
        let linked = entry.link.as_deref().and_then(|link| links.get(link)).copied();
        let index = match linked {
            Some(index) => index,
            None => {
                inodes.push(inode(path, entry)?);
                inodes.len() - 1
            }
        };
        check_link(&inodes[index], path, entry)?;
        inodes[parent].names.push(Name { name, inode: index });
        inodes[index].links += 1;
        match (&entry.node, &entry.link) {
            (Node::Directory, _) => {
                directories.insert(path, index);
                enter(&mut inodes, index, parent);
            }
            (_, Some(link)) => drop(links.insert(link.as_str(), index)),
            (_, None) => {}
        }
    }
    inodes.iter_mut().for_each(|inode| inode.names.sort());
    Ok(inodes)
}

/// Gives directory `index` the names that every directory has.
fn enter(inodes: &mut [Inode<'_>], index: usize, parent: usize) {
    inodes[index].names.push(Name { name: ".", inode: index });
    inodes[index].names.push(Name { name: "..", inode: parent });
    inodes[index].links += 1;
    inodes[parent].links += 1;
}

fn inode<'a>(path: &'a str, entry: &'a Entry) -> Result<Inode<'a>> {
    let origin = &entry.origin;
    ensure!(entry.mode <= 0o7777, "`{path}` ({origin}) has mode {:o}", entry.mode);
    if let Node::Symlink(target) = &entry.node {
        let bad = target.is_empty() || target.len() > TARGET_MAX || target.contains('\0');
        ensure!(!bad, "`{path}` ({origin}) is a symbolic link without a proper target");
    }
    let number = |owner: &Owner| match owner {
        Owner::Id(id) => Ok(*id),
        Owner::Name(name) => bail!("`{path}` ({origin}) belongs to `{name}`, which has no number"),
    };
    let (uid, gid) = (number(&entry.owner)?, number(&entry.group)?);
    Ok(Inode { path, entry, uid, gid, links: 0, names: Vec::new() })
}

fn check_name(path: &str, name: &str) -> Result<()> {
    let bad = matches!(name, "" | "." | "..") || name.len() > NAME_MAX || name.contains('\0');
    ensure!(!bad, "`{}` is not a path inside a tree", path.escape_debug());
    Ok(())
}

/// Whether `entry` may be another name of `inode`.
fn check_link(inode: &Inode<'_>, path: &str, entry: &Entry) -> Result<()> {
    let Entry { node, mode, owner, group, xattrs, link, origin: _ } = inode.entry;
    let same = *node == entry.node
        && *mode == entry.mode
        && (owner, group, xattrs) == (&entry.owner, &entry.group, &entry.xattrs);
    ensure!(same, "`{}` and `{path}` are links to one file but differ", inode.path);
    let linked_directory = link.is_some() && *node == Node::Directory;
    ensure!(!linked_directory, "`{path}` is a directory and a hard link");
    Ok(())
}

#[cfg(test)]
mod tests {
    use store::Blob;

    use super::*;

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        Tree(entries.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect())
    }

    fn file() -> Entry {
        Entry::file(Blob::of(b"x"), 0o644, "pack")
    }

    fn linked(link: &str) -> Entry {
        Entry { link: Some(link.into()), ..file() }
    }

    fn refusal(tree: &Tree) -> String {
        inodes(&Entry::directory("image"), tree).err().unwrap().to_string()
    }

    #[test]
    fn only_the_packages_own_links_make_one_inode() {
        let t = tree(&[("a", linked("1")), ("b", linked("1")), ("c", file()), ("d", file())]);
        let root = Entry::directory("image");
        let inodes = inodes(&root, &t).unwrap();
        let found: Vec<_> = inodes.iter().map(|i| (i.path, i.links)).collect();
        assert_eq!(found, [("", 2), ("a", 2), ("c", 1), ("d", 1)]);
    }

    #[test]
    fn names_are_in_byte_order_dots_included() {
        let t = tree(&[("a", file()), ("!", file()), ("Z", Entry::directory("pack"))]);
        let root = Entry::directory("image");
        let inodes = inodes(&root, &t).unwrap();
        let names: Vec<_> = inodes[0].names.iter().map(|n| n.name).collect();
        assert_eq!(names, ["!", ".", "..", "Z", "a"]);
        assert_eq!(inodes[0].links, 3);
    }

    #[test]
    fn what_cannot_be_an_inode_is_refused_by_name() {
        let below_file = tree(&[("a", file()), ("a/b", file())]);
        assert!(refusal(&below_file).contains("`a/b` (pack) lies below"));
        let unnumbered = Entry { owner: Owner::Name("chrony".into()), ..file() };
        let error = refusal(&tree(&[("x", unnumbered)]));
        assert!(error.contains("`x` (pack) belongs to `chrony`"), "{error}");
        let odd_link = tree(&[("a", linked("1")), ("b", Entry { mode: 0o600, ..linked("1") })]);
        assert!(refusal(&odd_link).contains("`a` and `b`"));
        let linked_directory = Entry { link: Some("1".into()), ..Entry::directory("pack") };
        assert!(refusal(&tree(&[("d", linked_directory)])).contains("`d` is a directory"));
        assert!(refusal(&tree(&[("m", Entry { mode: 0o10000, ..file() })])).contains("mode 10000"));
        for target in [String::new(), "x".repeat(4096), "a\0".into()] {
            let error = refusal(&tree(&[("l", Entry::symlink(target, "pack"))]));
            assert!(error.contains("`l` (pack) is a symbolic link"), "{error}");
        }
        for path in ["..", "", "a\0", &"n".repeat(256)] {
            assert!(refusal(&tree(&[(path, file())])).contains("is not a path"), "{path:?}");
        }
    }
}
