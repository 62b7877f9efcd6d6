//! Small finished trees for the tests of lints.

use store::{Entry, Owner, Store, Tree};

use super::{Finding, LINT, Linted, Policy, Verdict};

/// A tree being made, the store that holds its contents, and what lints go by.
pub(super) struct Sample {
    pub(super) store: Store,
    pub(super) tree: Tree,
    /// What packages ship outside of the image.
    pub(super) shipped: Tree,
    pub(super) policy: Policy,
}

impl Sample {
    pub(super) fn new(name: &str) -> Self {
        let store = Store::open(&judge::scratch(&format!("lints-{name}")), None).unwrap();
        let (tree, shipped) = (Tree::default(), Tree::default());
        Self { store, tree, shipped, policy: Policy::default() }
    }

    pub(super) fn file(&mut self, path: &str, text: &str, mode: u16) {
        self.bytes(path, text.as_bytes(), mode);
    }

    pub(super) fn bytes(&mut self, path: &str, bytes: &[u8], mode: u16) {
        let blob = self.store.put(bytes).unwrap();
        self.tree.insert(path, Entry::file(blob, mode, "a")).unwrap();
    }

    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.tree.insert(path, Entry::symlink(target, "a")).unwrap();
    }

    /// Something that a package ships outside of the image.
    pub(super) fn ship(&mut self, path: &str, mut entry: Entry, mode: u16, owner: &str) {
        entry.mode = mode;
        (entry.owner, entry.group) = match owner {
            "root" => (Owner::ROOT, Owner::ROOT),
            name => (Owner::Name(name.to_owned()), Owner::Name(name.to_owned())),
        };
        self.shipped.insert(path, entry).unwrap();
    }

    pub(super) fn verdict(&self) -> Verdict {
        let tree = self.store.put_tree(&self.tree).unwrap();
        let shipped = self.store.put_tree(&self.shipped).unwrap();
        let input = Linted { tree, shipped, policy: self.policy.clone() };
        self.store.realize(&LINT, &input).unwrap()
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.verdict().findings
    }

    /// Wants the finding of `lint` at `path` whose problem holds `part`.
    pub(super) fn says(&self, lint: &str, path: &str, part: &str) {
        let findings = self.findings();
        let hit = |f: &Finding| f.lint == lint && f.path == path && f.problem.contains(part);
        assert!(findings.iter().any(hit), "no `{part}` for `{path}` in {findings:#?}");
    }
}
