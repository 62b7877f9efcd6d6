//! Small trees for the tests of generators.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use store::{Entry, Node, Owner, Store, Tree};

use crate::Generator;

/// A tree being made, and the store that holds its contents.
pub(crate) struct Sample {
    pub(crate) tree: Tree,
    pub(crate) store: Store,
}

impl Sample {
    pub(crate) fn new() -> Self {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let name = format!("generators-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let store = Store::open(&judge::scratch(&name), None).unwrap();
        Self { tree: Tree::default(), store }
    }

    pub(crate) fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.tree.insert(path, entry).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, bytes: &[u8]) -> Self {
        let blob = self.store.put(bytes).unwrap();
        self.entry(path, Entry::file(blob, 0o644, "sample"))
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, Entry::symlink(target, "sample"))
    }

    pub(crate) fn owned(mut self, path: &str, owner: &str, group: &str, mode: u16) -> Self {
        let entry = self.tree.0.get_mut(path).unwrap();
        entry.owner = Owner::Name(owner.to_owned());
        entry.group = Owner::Name(group.to_owned());
        entry.mode = mode;
        self
    }

    /// The tree after `row` worked on it, declarations enforced as in a build.
    pub(crate) fn run(&self, row: &Generator) -> Result<Tree> {
        crate::generate_one(self.tree.clone(), row, &self.store)
    }

    pub(crate) fn text(&self, tree: &Tree, path: &str) -> String {
        let blob = tree.get(path).unwrap_or_else(|| panic!("no `{path}`")).blob().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.store.open_blob(&blob).unwrap(), &mut text)
            .unwrap();
        text
    }
}

pub(crate) fn link_at(tree: &Tree, path: &str) -> String {
    match tree.get(path).map(|entry| &entry.node) {
        Some(Node::Symlink(target)) => target.clone(),
        other => panic!("`{path}` is {other:?}"),
    }
}
