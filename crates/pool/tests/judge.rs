//! The pool, judged by the stock `ostree` program.

use std::fs;

use pool::{Commit, Pool};
use store::{Entry, Epoch, Node, Owner, Store, Tree};

fn sample(store: &Store) -> Tree {
    let mut tree = Tree::default();
    let mut add = |path: &str, bytes: &[u8], mode| {
        let entry = Entry::file(store.put(bytes).unwrap(), mode, "sample");
        tree.insert(path, entry).unwrap();
    };
    add("usr/bin/one", b"one", 0o755);
    add("usr/bin/same", b"one", 0o644);
    add("usr/bin/suid", b"suid", 0o4755);
    add("usr/lib/empty", b"", 0o600);
    add("usr/lib/large", &vec![7; 3 << 20], 0o644);
    let mut owned = Entry::file(store.put(b"owned").unwrap(), 0o640, "sample");
    owned.owner = Owner::Id(905);
    owned.group = Owner::Id(42);
    owned.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, 0, 32]);
    tree.insert("usr/lib/owned", owned).unwrap();
    tree.insert("usr/lib/link", Entry::symlink("../bin/one", "sample")).unwrap();
    tree.with_parents("sample")
}

fn commit(pool: &Pool, tree: &Tree) -> String {
    let name =
        Commit { id: "mini", version: "2026.11,1", epoch: Epoch(1_700_000_000), signer: b"test" };
    pool.commit(tree, &name, &|_| Ok(b"signature".to_vec())).unwrap().to_string()
}

fn ostree(pool: &Pool, arguments: &[&str]) -> judge::Ran {
    let mut command = judge::tool("ostree");
    judge::run(command.arg(format!("--repo={}", pool.path().display())).args(arguments))
}

#[test]
fn stock_ostree_finds_every_object_of_a_commit_sound_and_refuses_a_damaged_one() {
    let store = Store::open(&judge::scratch("pool-fsck"), None).unwrap();
    let pool = Pool::open(&store).unwrap();
    let tree = sample(&store);
    let id = store.put_tree(&tree).unwrap();
    assert!(pool.admit(&[id]).unwrap() >= 6);
    assert_eq!(pool.admit(&[id]).unwrap(), 0);
    let checksum = commit(&pool, &tree);
    let ran = ostree(&pool, &["fsck"]);
    assert!(
        ran.ok && ran.text.contains("object fsck of 1 commits completed successfully"),
        "{}",
        ran.text
    );
    let listed = ostree(&pool, &["ls", "-R", "-X", &checksum]).text;
    assert!(listed.contains("-04755 0 0      4 { @a(ayay) [] } /usr/bin/suid"), "{listed}");
    assert!(listed.contains("-00640 905 42"), "{listed}");
    assert!(listed.contains("/usr/lib/link -> ../bin/one"), "{listed}");

    let Node::File(blob) = tree.get("usr/lib/large").unwrap().node else { panic!() };
    let path = store.blob_path(&blob);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1 << 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = ostree(&pool, &["fsck"]);
    assert!(!ran.ok && ran.text.contains("orrupted"), "{}", ran.text);
}

#[test]
fn a_repository_that_a_killed_builder_left_half_made_is_completed() {
    // What there is after each step of making one, by libostree's order.
    for there in [&[][..], &["config"], &["config", "tmp"], &["config", "tmp", "state", "refs"]] {
        let store = Store::open(&judge::scratch("pool-half-made"), None).unwrap();
        let path = Pool::open(&store).unwrap().path();
        for entry in store::list(&path).unwrap() {
            if there.iter().any(|kept| entry.ends_with(kept)) {
                continue;
            }
            if entry.is_dir() {
                fs::remove_dir_all(entry).unwrap();
            } else {
                fs::remove_file(entry).unwrap();
            }
        }
        let pool = Pool::open(&store).unwrap();
        commit(&pool, &sample(&store));
        let ran = ostree(&pool, &["fsck"]);
        assert!(ran.ok, "{there:?}: {}", ran.text);
    }
}

#[test]
fn a_repository_is_made_once_however_many_builders_ask() {
    for round in 0..50 {
        let store = Store::open(&judge::scratch("pool-at-once"), None).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    Pool::open(&store).map(drop).unwrap_or_else(|e| panic!("{round}: {e:#}"))
                });
            }
        });
    }
}

#[test]
fn a_content_lies_on_disk_once_and_a_commit_is_a_function_of_its_tree() {
    use std::os::unix::fs::MetadataExt;
    let first = Store::open(&judge::scratch("pool-once"), None).unwrap();
    let tree = sample(&first);
    let pool = Pool::open(&first).unwrap();
    let Node::File(blob) = tree.get("usr/lib/large").unwrap().node else { panic!() };
    let file = || fs::metadata(first.blob_path(&blob)).unwrap();
    let before = file().ino();
    pool.admit(&[first.put_tree(&tree).unwrap()]).unwrap();
    assert_eq!((file().ino(), file().nlink()), (before, 2));
    assert_eq!(fs::read(first.blob_path(&blob)).unwrap(), vec![7; 3 << 20]);

    let second = Store::open(&judge::scratch("pool-again"), None).unwrap();
    let again = sample(&second);
    assert_eq!(commit(&pool, &tree), commit(&Pool::open(&second).unwrap(), &again));
}
