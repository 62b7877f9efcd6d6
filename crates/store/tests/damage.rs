//! What is damaged in a store is found when it is used, set aside, and made anew.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use store::{Blob, Damaged, Entry, Outcome, Sole, Stage, Store, Tree, TreeId};

/// Makes a tree of its input's text, so that a result reaches a tree and a content.
const PLANT: Stage<String, TreeId> = Stage {
    name: "plant",
    revision: 1,
    about: |_| "test".into(),
    run: |text, scratch| {
        let blob = scratch.put(text.as_bytes())?;
        let mut tree = Tree::default();
        tree.insert("leaf", Entry::file(blob, 0o644, "test"))?;
        scratch.put_tree(&tree)
    },
};

const TEXT: &str = "content";

fn open(root: &Path) -> Store {
    Store::open(root, None).unwrap()
}

/// A store with one result, one tree and one content.
struct Planted {
    root: PathBuf,
    leaf: Blob,
    tree: TreeId,
}

impl Planted {
    fn new(name: &str) -> Self {
        let root = judge::scratch(&format!("damage-{name}"));
        let tree = open(&root).realize(&PLANT, &TEXT.to_owned()).unwrap();
        Self { root, leaf: Blob::of(TEXT.as_bytes()), tree }
    }

    /// A build by another process: nothing is remembered. Whether the stage ran.
    fn again(&self) -> Outcome {
        let store = open(&self.root);
        let tree = store.realize(&PLANT, &TEXT.to_owned()).unwrap();
        assert_eq!(tree, self.tree);
        store.runs()[0].outcome
    }

    /// The same, and whoever builds then reads the content; a damage met only there is told, and
    /// the next build has made it anew.
    fn used(&self) {
        self.again();
        if let Err(error) = open(&self.root).read(&self.leaf) {
            assert!(error.is::<Damaged>(), "{error:#}");
            assert_eq!(self.again(), Outcome::Ran);
        }
        assert_eq!(open(&self.root).read(&self.leaf).unwrap(), TEXT.as_bytes());
    }

    fn files(&self) -> Vec<PathBuf> {
        let of = |part: &str| store::list(&self.root.join(part)).unwrap();
        let folders = of("blobs").into_iter().chain(of("results"));
        folders.flat_map(|folder| store::list(&folder).unwrap()).collect()
    }
}

#[test]
fn a_changed_byte_of_any_blob_or_result_is_found_and_made_anew() {
    let planted = Planted::new("bytes");
    let mut changed = 0;
    for file in planted.files() {
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            fs::write(&file, torn).unwrap();
            planted.used();
            assert_eq!(fs::read(&file).unwrap(), whole, "byte {at} of {}", file.display());
            changed += 1;
        }
        assert!(open(&planted.root).verify().unwrap().damaged.is_empty());
    }
    assert!(changed > 300, "{changed} bytes");
}

#[test]
fn a_file_that_is_cut_lengthened_emptied_linked_a_folder_or_gone_is_made_anew() {
    let planted = Planted::new("kinds");
    let elsewhere = planted.root.join("elsewhere");
    fs::write(&elsewhere, TEXT).unwrap();
    for file in planted.files() {
        let whole = fs::read(&file).unwrap();
        for kind in ["cut", "long", "empty", "link", "loop", "folder", "gone"] {
            fs::remove_file(&file).unwrap();
            match kind {
                "cut" => fs::write(&file, &whole[..whole.len() - 1]).unwrap(),
                "long" => fs::write(&file, [&whole[..], b"x"].concat()).unwrap(),
                "empty" => fs::write(&file, b"").unwrap(),
                "link" => symlink(&elsewhere, &file).unwrap(),
                "loop" => symlink(&file, &file).unwrap(),
                "folder" => fs::create_dir(&file).unwrap(),
                _ => {}
            }
            assert_eq!(planted.again(), Outcome::Ran, "{kind} {}", file.display());
            assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{kind}");
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
    }
    assert_eq!(fs::read(&elsewhere).unwrap(), TEXT.as_bytes(), "a link's target is not ours");
}

#[test]
fn a_changed_mode_changes_nothing() {
    let planted = Planted::new("mode");
    for file in planted.files() {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6777)).unwrap();
    }
    assert_eq!(planted.again(), Outcome::Kept);
}

#[test]
fn verify_names_what_is_damaged_and_sets_it_aside() {
    let planted = Planted::new("verify");
    let store = open(&planted.root);
    fs::write(store.blob_path(&planted.leaf), "CONTENT").unwrap();
    let found = store.verify().unwrap();
    assert_eq!((found.blobs, found.results, found.damaged.len()), (1, 1, 1));
    let told = found.damaged[0].to_string();
    assert!(told.contains(&planted.leaf.digest.to_string()) && told.contains("anew"), "{told}");
    assert_eq!(store::list(&planted.root.join("quarantine")).unwrap().len(), 1);
    assert_eq!(planted.again(), Outcome::Ran);
    assert!(open(&planted.root).verify().unwrap().damaged.is_empty());
}

#[test]
fn a_sweep_removes_what_is_old_and_unreached_and_what_was_half_written() {
    let planted = Planted::new("sweep");
    let (root, day) = (&planted.root, Duration::from_secs(86_400));
    let stray = open(root).put(b"reached by nothing").unwrap();
    for part in ["temporary", "locks"] {
        fs::write(root.join(part).join("left"), b"x").unwrap();
    }
    #[expect(clippy::disallowed_methods, reason = "a sweep asks for ages")]
    let now = SystemTime::now();
    let sole = Sole::open(root).unwrap();
    assert_eq!(sole.sweep(now - day).unwrap().files, 2, "all that is young stays");
    assert!(sole.store().has(&stray));
    drop(sole);
    let old = fs::FileTimes::new().set_modified(now - 3 * day);
    for file in planted.files() {
        fs::File::open(file).unwrap().set_times(old).unwrap();
    }
    assert_eq!(planted.again(), Outcome::Kept, "being used makes the result young");
    let sole = Sole::open(root).unwrap();
    assert_eq!(sole.sweep(now - day).unwrap().files, 1, "what a used result reaches stays");
    assert!(!sole.store().has(&stray) && sole.store().has(&planted.leaf));
    assert_eq!(sole.sweep(now + day).unwrap().files, 4, "the result goes, and what it ran on");
    assert_eq!(planted.files().len(), 0);
}

#[test]
fn a_store_in_use_is_not_swept_and_a_killed_build_s_leftovers_go_at_the_next() {
    let planted = Planted::new("hold");
    let left = planted.root.join("temporary/1234-0-0");
    fs::write(&left, b"half").unwrap();
    let other = open(&planted.root);
    assert!(!left.exists());
    fs::write(&left, b"half").unwrap();
    let told = format!("{:#}", Sole::open(&planted.root).err().unwrap());
    assert!(told.contains("in use"), "{told}");
    let second = open(&planted.root);
    assert!(left.exists(), "another build may be writing it");
    drop((other, second));
    drop(Sole::open(&planted.root).unwrap());
    open(&planted.root);
    assert!(!left.exists());
}

#[test]
fn the_lock_of_a_dead_build_stops_nobody() {
    let planted = Planted::new("dead");
    planted.files().iter().for_each(|file| fs::remove_file(file).unwrap());
    // What a killed build leaves: the file of the lock, and nobody who holds it.
    let key = PLANT.key(&store::encode(&TEXT).unwrap(), None);
    fs::write(planted.root.join("locks").join(key.to_string()), b"").unwrap();
    assert_eq!(planted.again(), Outcome::Ran);
}
