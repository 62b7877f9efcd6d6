//! Our own reader, which shares no code with the writer, sees what no judge shows.

use std::fs::File;

use inspect::erofs::{self, FoundTree, Kind};
use store::{Blob, Hasher, Node, Owner};

use crate::sample::{EPOCH, Sample};

/// Compares every field of every entry with the tree, both ways.
pub(crate) fn read_back(sample: &Sample) -> FoundTree {
    let mut image = File::open(&sample.image).unwrap();
    let found = erofs::read(&mut image).unwrap();
    assert_eq!(found.entries.len(), sample.tree.0.len() + 1, "entries and the root directory");
    for (path, entry) in &sample.tree.0 {
        let seen = &found.entries[path];
        let kind = match &entry.node {
            Node::Directory => Kind::Directory,
            Node::File(_) => Kind::File,
            Node::Symlink(target) => Kind::Symlink(target.clone()),
        };
        assert_eq!(seen.kind, kind, "`{path}`");
        assert_eq!(seen.mode, entry.mode, "`{path}`");
        let owners = [&entry.owner, &entry.group].map(Owner::clone);
        assert_eq!([seen.uid, seen.gid].map(Owner::Id), owners, "`{path}`");
        assert_eq!(seen.xattrs, entry.xattrs, "`{path}`");
        assert_eq!(seen.modified, EPOCH, "`{path}`");
        if let Node::File(blob) = &entry.node {
            assert_eq!(content(&mut image, &found, path), *blob, "`{path}`");
        }
    }
    found
}

fn content(image: &mut File, tree: &FoundTree, path: &str) -> Blob {
    let mut bytes = Vec::new();
    erofs::copy(image, tree, &tree.entries[path], &mut bytes).unwrap();
    let mut hasher = Hasher::new();
    hasher.update(&bytes);
    hasher.finish()
}
