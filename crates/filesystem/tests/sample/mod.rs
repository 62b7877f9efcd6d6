//! Trees for tests, and their images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use filesystem::{Codec, FREEZE, Image, Plan};
use store::{Blob, Entry, Epoch, Node, Owner, Store, Tree};

/// The time of every file.
pub(crate) const EPOCH: u64 = 1_795_645_404;

/// An image, its tree, and where both lie.
pub(crate) struct Sample {
    pub(crate) root: PathBuf,
    pub(crate) store: Store,
    pub(crate) tree: Tree,
    pub(crate) made: Image,
    pub(crate) image: PathBuf,
}

/// A tree that grows.
pub(crate) struct Growing {
    root: PathBuf,
    store: Store,
    tree: Tree,
}

impl Sample {
    pub(crate) fn begin(name: &str) -> Growing {
        let root = judge::scratch(name);
        let store = Store::open(&root.join("store"), None).unwrap();
        Growing { root, store, tree: Tree::default() }
    }

    pub(crate) fn of(name: &str, tree: &Tree, label: &str) -> Self {
        let mut growing = Self::begin(name);
        growing.tree = tree.clone();
        growing.freeze(label)
    }
}

impl Growing {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Blob {
        self.store.put(bytes).unwrap()
    }

    pub(crate) fn insert(&mut self, path: &str, entry: Entry) {
        self.tree.insert(path, entry).unwrap();
    }

    pub(crate) fn freeze(self, label: &str) -> Sample {
        let Self { root, store, tree } = self;
        let plan = Plan {
            tree: store.put_tree(&tree).unwrap(),
            codec: Codec::None,
            base: None,
            epoch: Epoch(EPOCH),
            uuid: *b"\x01\x23\x45\x67\x89\xab\x8d\xef\x81\x23\x45\x67\x89\xab\xcd\xef",
            label: label.to_owned(),
        };
        let made = store.realize(&FREEZE, &plan).unwrap();
        let image = root.join("image");
        std::fs::copy(store.blob_path(&made.data), &image).unwrap();
        Sample { root, store, tree: tree.with_parents("image"), made, image }
    }
}

/// Numbers that look random and are the same everywhere (Knuth's MMIX generator).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    pub(crate) fn bytes(&mut self, size: u64) -> Vec<u8> {
        (0..size).map(|_| self.below(256) as u8).collect()
    }
}

/// A tree of every kind of entry.
pub(crate) fn generated(name: &str, seed: u64) -> Sample {
    const SIZES: [u64; 9] = [0, 1, 31, 4095, 4096, 4097, 12_288, 70_000, 2_100_000];
    let mut sample = Sample::begin(name);
    let mut n = Numbers(seed);
    let mut directories = vec![String::new()];
    let mut linked: Vec<Entry> = Vec::new();
    for i in 0..120 {
        let stem = *n.pick(&["a", "!", ".x", "\u{fc}", "name with spaces", "Z-9"]);
        let path = format!("{}{stem}{i}", n.pick(&directories));
        let origin = *n.pick(&["alpha", "beta", "gamma"]);
        let mut entry = match n.below(8) {
            0 | 1 => Entry::directory(origin),
            2 => Entry::symlink(format!("../{}", "t".repeat(n.below(300) as usize)), origin),
            3 if !linked.is_empty() => {
                sample.insert(&path, n.pick(&linked).clone());
                continue;
            }
            _ => {
                let size = *n.pick(&SIZES);
                let bytes = n.bytes(size);
                Entry::file(sample.put(&bytes), 0o644, origin)
            }
        };
        if !matches!(entry.node, Node::Symlink(_)) {
            entry.mode = *n.pick(&[0o755, 0o644, 0o700, 0o4755, 0o1777, 0o2750, 0o400]);
            entry.xattrs = attributes(&mut n);
        }
        entry.owner = Owner::Id(*n.pick(&[0, 1, 65_535, 65_536, 1_000_000]));
        entry.group = Owner::Id(*n.pick(&[0, 42, 65_534, 200_000]));
        match &entry.node {
            Node::Directory => {
                entry.mode |= 0o700;
                directories.push(format!("{path}/"));
            }
            Node::File(_) if n.below(3) == 0 => {
                entry.link = Some(format!("link-{i}"));
                linked.push(entry.clone());
            }
            _ => {}
        }
        sample.insert(&path, entry);
    }
    sample.freeze("generated")
}

fn attributes(n: &mut Numbers) -> BTreeMap<String, Vec<u8>> {
    let mut attributes = BTreeMap::new();
    for _ in 0..n.below(4) {
        let name =
            format!("{}hardtack.{}", n.pick(&["user.", "trusted.", "security."]), n.below(5));
        // erofs-utils 1.8 does not read an empty value, not even its own.
        let size = *n.pick(&[1, 5, 40, 900]);
        let value = if n.below(2) == 0 { b"shared".to_vec() } else { n.bytes(size) };
        attributes.insert(name, value);
    }
    attributes
}

/// Names that make a directory of `size` bytes, its dots included.
pub(crate) fn names_of_size(size: usize) -> Vec<String> {
    const DOTS: usize = 12 + 1 + 12 + 2;
    let mut names = Vec::new();
    let mut end = DOTS;
    while end < size {
        // A name ends with its block at the latest: no name may span two.
        let left = (4096 - end % 4096).min(size - end);
        let length = if left > 2 * 112 { 100 } else { left - 12 };
        let name = format!("{:04}{}", names.len(), "n".repeat(length.saturating_sub(4)));
        names.push(if length < 4 { "z".repeat(length) } else { name });
        end += 12 + length;
    }
    names
}
