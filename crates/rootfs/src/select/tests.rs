//! Properties of SELECT on trees made by hand.

use std::path::PathBuf;

use store::Store;

use super::*;
use elf::tests::{Sample, module};

fn store(name: &str) -> Store {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-store");
    let root = root.join(format!("select-{name}"));
    let _ = std::fs::remove_dir_all(&root);
    Store::open(&root, None).unwrap()
}

fn grow(store: &Store, files: &[(&str, &[u8])], links: &[(&str, &str)]) -> TreeId {
    let mut tree = Tree::default();
    for (path, bytes) in files {
        tree.insert(path, Entry::file(store.put(bytes).unwrap(), 0o755, "p")).unwrap();
    }
    for (path, target) in links {
        tree.insert(path, Entry::symlink(*target, "p")).unwrap();
    }
    store.put_tree(&tree).unwrap()
}

fn select(store: &Store, input: &Select) -> Result<Vec<String>> {
    let tree = store.realize(&SELECT, input)?.tree;
    Ok(store.tree(&tree)?.0.into_keys().collect())
}

fn ask(tree: TreeId, keep: &[&str]) -> Select {
    Select {
        tree,
        drop: Patterns::default(),
        keep: Patterns::of(keep),
        modules: Vec::new(),
        without: Vec::new(),
    }
}

const PROGRAM: Sample<'_> = Sample {
    interpreter: Some("/lib64/ld.so"),
    needed: &["libone.so.1"],
    runpath: Some("/usr/lib/own:$ORIGIN/../lib/near"),
    notes: &[r#"[{"feature":"zip","soname":["libzip.so.2","libzip.so.1"]}]"#],
};
const PLAIN: Sample<'_> = Sample { interpreter: None, needed: &[], runpath: None, notes: &[] };

#[test]
fn a_program_brings_interpreter_libraries_and_features_through_every_link() {
    let store = store("needs");
    let one = Sample { needed: &["libtwo.so"], ..PLAIN }.bytes();
    let tree = grow(
        &store,
        &[
            ("usr/bin/program", &PROGRAM.bytes()),
            ("usr/lib64/ld-2.so", &PLAIN.bytes()),
            ("usr/lib/near/libone.so.1.2", &one),
            ("usr/lib/x86_64-linux-gnu/libtwo.so", &PLAIN.bytes()),
            ("usr/lib/own/libzip.so.1", &PLAIN.bytes()),
            ("usr/lib/x86_64-linux-gnu/libother.so", &PLAIN.bytes()),
        ],
        &[
            ("lib64", "usr/lib64"),
            ("usr/lib64/ld.so", "ld-2.so"),
            ("usr/lib/near/libone.so.1", "libone.so.1.2"),
        ],
    );
    assert_eq!(
        select(&store, &ask(tree, &["usr/bin/program"])).unwrap(),
        [
            "lib64",
            "usr/bin/program",
            "usr/lib/near/libone.so.1",
            "usr/lib/near/libone.so.1.2",
            "usr/lib/own/libzip.so.1",
            "usr/lib/x86_64-linux-gnu/libtwo.so",
            "usr/lib64/ld-2.so",
            "usr/lib64/ld.so",
        ]
    );
}

#[test]
fn a_need_that_the_tree_lacks_names_file_and_need() {
    let store = store("lacks");
    let program = PROGRAM.bytes();
    let ask = |files: &[(&str, &[u8])], without: &[&str]| {
        let mut all = vec![("usr/bin/program", program.as_slice())];
        all.extend_from_slice(files);
        let mut input = ask(grow(&store, &all, &[]), &["usr/bin/program"]);
        input.without = without.iter().map(|w| (*w).to_owned()).collect();
        select(&store, &input).map_err(|error| format!("{error:#}"))
    };
    let plain = PLAIN.bytes();
    let (ld, one) = (("lib64/ld.so", plain.as_slice()), ("usr/lib/libone.so.1", plain.as_slice()));
    let error = ask(&[], &[]).unwrap_err();
    assert!(error.contains("`usr/bin/program` needs the interpreter `/lib64/ld.so`"), "{error}");
    let error = ask(&[ld], &[]).unwrap_err();
    assert!(error.contains("`usr/bin/program` needs the library `libone.so.1`"), "{error}");
    let error = ask(&[ld, one], &[]).unwrap_err();
    assert!(error.contains("feature `zip` through libzip.so.2 or libzip.so.1"), "{error}");
    assert_eq!(ask(&[ld, one], &["zip"]).unwrap().len(), 3);
    let error = ask(&[ld, one], &["zip", "zap"]).unwrap_err();
    assert!(error.contains("the feature `zap`, which nothing offers"), "{error}");
}

#[test]
fn what_matches_nothing_is_an_error() {
    let store = store("nothing");
    let tree = grow(&store, &[("a", b"1")], &[]);
    let error = select(&store, &ask(tree, &["a", "b/*"])).unwrap_err();
    assert!(format!("{error:#}").contains("`keep` names `b/*`, which matches nothing"));
    let mut input = ask(tree, &[]);
    input.drop = Patterns::of(&["c"]);
    let error = select(&store, &input).unwrap_err();
    assert!(format!("{error:#}").contains("`drop` names `c`, which matches nothing"));
}

#[test]
fn without_keep_everything_stays_but_what_is_dropped() {
    let store = store("drop");
    let tree = grow(&store, &[("a/b", b"1"), ("a/c/d", b"1"), ("e", b"1")], &[]);
    let mut input = ask(tree, &[]);
    input.drop = Patterns::of(&["a/c"]);
    assert_eq!(select(&store, &input).unwrap(), ["a/b", "e"]);
}

#[test]
fn a_wildcard_keeps_links_only_to_what_is_kept() {
    let store = store("links");
    let tree = grow(
        &store,
        &[("u/a.service", b"1"), ("u/b.service", b"1"), ("etc/c", b"1")],
        &[
            ("u/t.wants/a.service", "../a.service"),
            ("u/t.wants/b.service", "../b.service"),
            ("u/t.wants/gone.service", "../gone.service"),
            ("u/t.wants/masked.service", "/dev/null"),
            ("etc/resolv.conf", "../run/resolv.conf"),
            ("etc/d", "c"),
        ],
    );
    let kept = select(&store, &ask(tree, &["u/a.service", "u/*.wants/*", "etc/d", "etc/*.conf"]));
    assert_eq!(
        kept.unwrap(),
        [
            "etc/c",
            "etc/d",
            "etc/resolv.conf",
            "u/a.service",
            "u/t.wants/a.service",
            "u/t.wants/masked.service"
        ]
    );
}

#[test]
fn what_the_profile_brings_is_kept_unasked() {
    let store = store("own");
    let mut tree = Tree::default();
    let blob = store.put(b"x").unwrap();
    for (path, origin) in
        [("a", "p"), ("b", "profile"), ("c", "profile:x.d"), (".facts/d", "p"), ("e", "p")]
    {
        tree.insert(path, Entry::file(blob, 0o644, origin)).unwrap();
    }
    let tree = store.put_tree(&tree).unwrap();
    assert_eq!(select(&store, &ask(tree, &["a"])).unwrap(), [".facts/d", "a", "b", "c"]);
}

#[test]
fn modules_bring_what_they_depend_on_and_unknown_ones_are_errors() {
    let store = store("modules");
    let top = "usr/lib/modules/6.1";
    let path = |name: &str| format!("{top}/kernel/{name}");
    let files: Vec<(String, Vec<u8>)> = vec![
        (path("a.ko"), module(&["depends=b,c_d", "softdep=pre: e post: gone"])),
        (path("b.ko.xz"), modules::tests::xz(&module(&["depends="]))),
        (path("c-d.ko"), module(&["name=c_d"])),
        (path("e.ko"), module(&[])),
        (path("f.ko"), module(&[])),
        (format!("{top}/modules.builtin"), b"kernel/fs/ext4/ext4.ko\n".to_vec()),
        (format!("{top}/modules.order"), b"".to_vec()),
        ("x".to_owned(), b"1".to_vec()),
    ];
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let mut input = ask(grow(&store, &files, &[]), &["x"]);
    input.modules = vec!["a".to_owned(), "ext4".to_owned()];
    let expect: Vec<String> = ["a.ko", "b.ko.xz", "c-d.ko", "e.ko"].map(path).into();
    let kept = select(&store, &input).unwrap();
    assert_eq!(kept[..4], expect);
    assert_eq!(
        kept[4..],
        [&*format!("{top}/modules.builtin"), &*format!("{top}/modules.order"), "x"]
    );
    input.modules.push("nope".to_owned());
    let error = format!("{:#}", select(&store, &input).unwrap_err());
    assert!(error.contains("kernel module `nope`"), "{error}");
}
