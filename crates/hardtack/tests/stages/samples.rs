//! One small input for each stage, with something in it that the stage must work on.

use boot::{ADDON, AddonPlan, DIGEST, GRAFT, Graft, INITRD, InitrdPlan, LINK, LinkPlan};
use disk::{LAY_OUT, Sizes};
use filesystem::{Codec, FREEZE};
use package::{Alternative, Fact, Family, Id, Moment, Remainder, Version};
use rootfs::{
    IMPORT, Image, Import, Imported, LINT, Linted, MERGE, Merge, Overlay, Patterns, Policy, Rule,
    Rules, SELECT, Select,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Digest, Entry, Epoch, Owner, Seed, Stage, Store, Tree, TreeId};
use verity::PROTECT;

use fixture::{Kind, archive};

use crate::{Made, generators};

const EPOCH: Epoch = Epoch(1_763_000_000);

/// Every stage of `hardtack::STAGES` on its sample.
pub(crate) fn all(store: &Store) -> Vec<Made> {
    vec![
        of(store, &IMPORT, &import(store)),
        of(store, &MERGE, &merge(store)),
        of(store, &SELECT, &select(store)),
        generators::stage(store),
        of(store, &LINT, &lint(store)),
        of(store, &FREEZE, &freeze(store)),
        of(store, &PROTECT, &protect(store)),
        of(store, &INITRD, &InitrdPlan { tree: linked(store, false), epoch: EPOCH }),
        of(store, &LINK, &link(store)),
        of(store, &ADDON, &addon(store)),
        of(store, &DIGEST, &store.put(&fixture::stub()).unwrap()),
        of(store, &GRAFT, &graft(store)),
        of(store, &LAY_OUT, &lay_out(store)),
    ]
}

/// Runs a stage; its result, too, must survive being read and written.
pub(crate) fn of<I, O>(store: &Store, stage: &Stage<I, O>, input: &I) -> Made
where
    I: Serialize + DeserializeOwned,
    O: Serialize + DeserializeOwned,
{
    let made = store.realize(stage, input).unwrap_or_else(|error| panic!("{error:#}"));
    let output = store::encode(&made).unwrap();
    let again: O = store::decode(&output).unwrap();
    assert_eq!(store::encode(&again).unwrap(), output, "`{}`: result", stage.name);
    let input = store::encode(input).unwrap();
    Made { name: stage.name.to_owned(), revision: stage.revision, input, output }
}

/// A tree of files of root, 0644 each: path and text.
pub(crate) fn tree(store: &Store, origin: &str, files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, text) in files {
        let blob = store.put(text.as_bytes()).unwrap();
        tree.insert(path, Entry::file(blob, 0o644, origin)).unwrap();
    }
    tree
}

fn id(name: &str) -> Id {
    Id {
        name: name.to_owned(),
        version: Version("1:2.0~rc1-3".to_owned()),
        architecture: "amd64".to_owned(),
    }
}

fn import(store: &Store) -> Import {
    let control = "Package: tool\nVersion: 1:2.0~rc1-3\nArchitecture: amd64\n\
                   Maintainer: A <a@example.org>\nReplaces: older (<< 2)\nDescription: test\n";
    let script = "#!/bin/sh\nset -e\nadduser --system tool\n";
    let archive = archive(
        &[
            ("./", 0o755, Kind::Directory),
            ("./control", 0o644, Kind::File(control.as_bytes().into())),
            ("./conffiles", 0o644, Kind::File(b"/etc/tool.conf\n".into())),
            ("./postinst", 0o755, Kind::File(script.as_bytes().into())),
            ("./triggers", 0o644, Kind::File(b"activate-noawait ldconfig\n".into())),
        ],
        &[
            ("./", 0o755, Kind::Directory),
            ("./etc/", 0o755, Kind::Directory),
            ("./etc/tool.conf", 0o644, Kind::File(b"key = 1\n".into())),
            ("./usr/", 0o755, Kind::Directory),
            ("./usr/bin/", 0o755, Kind::Directory),
            ("./usr/bin/tool", 0o4755, Kind::File(b"program".into())),
            ("./usr/bin/also", 0o4755, Kind::Hardlink("./usr/bin/tool")),
            ("./usr/bin/link", 0o777, Kind::Symlink("tool")),
        ],
    );
    Import { family: Family::Deb, id: id("tool"), blob: store.put(&archive).unwrap() }
}

fn merge(store: &Store) -> Merge {
    let imported = |name: &str, files: &[(&str, &str)], facts: Vec<Fact>| Imported {
        family: Family::Deb,
        id: id(name),
        tree: store.put_tree(&tree(store, name, files)).unwrap(),
        facts,
        remainders: vec![],
        replaces: vec![],
        config: vec![],
    };
    let pager = Alternative {
        name: "pager".to_owned(),
        link: "/usr/bin/pager".to_owned(),
        path: "/usr/bin/less".to_owned(),
        priority: 77,
        followers: vec![],
    };
    let mut less = imported(
        "less",
        &[("bin/less", "less"), ("usr/share/doc/less/a", "drop me")],
        vec![Fact::Alternative(pager), Fact::Enable(vec!["less.service".to_owned()])],
    );
    less.config.push("etc/less".to_owned());
    let text = "set -e\ntouch somewhere\n".to_owned();
    let digest = Some(Digest::of(text.as_bytes()));
    less.remainders.push((Moment::AfterUnpack, Remainder { text, digest }));
    let base = imported("base", &[("usr/lib/base", "base"), ("usr/lib/unit", "[Unit]\n")], vec![]);

    let mut rules = Rules::default();
    rules.distribution.aliases.insert("bin".to_owned(), "usr/bin".to_owned());
    rules.distribution.drop = Patterns::of(&["usr/share/doc/**"]);
    rules.distribution.users.push("u base 900".to_owned());
    let mut rule = Rule::default();
    rule.write.insert("etc/less".to_owned(), "written\n".to_owned());
    rule.tmpfiles.push("d /var/less".to_owned());
    rules.packages.insert("less".to_owned(), rule);
    let mut profile = Rule::default();
    profile.units.mask.insert("less.service".to_owned(), "not here".to_owned());
    let over = tree(store, "profile:x", &[("usr/lib/base", "the profile's")]);
    Merge {
        imported: vec![less, base],
        rules,
        profile,
        overlays: vec![Overlay {
            origin: "profile:x".to_owned(),
            tree: store.put_tree(&over).unwrap(),
            replaces: Default::default(),
        }],
        image: Some(Image { id: "x".to_owned(), version: "7".to_owned(), name: None }),
    }
}

fn select(store: &Store) -> Select {
    let files = [
        ("usr/bin/kept", "kept"),
        ("usr/bin/left", "left"),
        ("usr/lib/all/one", "1"),
        ("usr/lib/all/two", "2"),
        ("usr/share/dropped", "d"),
    ];
    let mut tree = tree(store, "sample", &files);
    tree.insert("usr/bin/link", Entry::symlink("kept", "sample")).unwrap();
    tree.insert("etc/own", Entry::file(store.put(b"own").unwrap(), 0o600, "profile:x")).unwrap();
    Select {
        tree: store.put_tree(&tree.with_parents("sample")).unwrap(),
        drop: Patterns::of(&["usr/share/dropped"]),
        keep: Patterns::of(&["usr/bin/link", "usr/lib/all/**"]),
        modules: vec![],
        without: vec![],
    }
}

fn lint(store: &Store) -> Linted {
    let files = [
        ("usr/bin/manager", "forbidden"),
        ("usr/share/x.pem", "-----BEGIN EC PRIVATE KEY-----\n"),
        ("usr/share/factory/etc/machine-id", "0123\n"),
    ];
    let shipped = tree(store, "sample", &[("opt/x", "no update reaches it")]);
    let shipped = store.put_tree(&shipped).unwrap();
    let mut tree = tree(store, "sample", &files);
    let suid = Entry::file(store.put(b"suid").unwrap(), 0o4755, "sample");
    tree.insert("usr/bin/allowed", suid.clone()).unwrap();
    tree.insert("usr/bin/suid", suid).unwrap();
    let mut policy = Policy { forbid: Patterns::of(&["usr/bin/manager"]), ..Policy::default() };
    policy.setid.insert("usr/bin/allowed".to_owned(), "a reason".to_owned());
    Linted { tree: store.put_tree(&tree.with_parents("sample")).unwrap(), shipped, policy }
}

/// Hard links, a symbolic link, owners, an empty file, a content of several blocks and, where a
/// format can hold them, extended attributes.
fn linked(store: &Store, xattrs: bool) -> TreeId {
    let large = "0123456789abcdef".repeat(600);
    let mut tree = tree(store, "one", &[("usr/lib/empty", ""), ("usr/lib/large", &large)]);
    let mut add = |path: &str, entry: Entry| tree.insert(path, entry).unwrap();
    let same = Entry::file(store.put(b"same").unwrap(), 0o4755, "two");
    let same = Entry { link: Some("two:usr/bin/a".to_owned()), ..same };
    add("usr/bin/a", same.clone());
    add("usr/bin/b", same);
    add("usr/bin/c", Entry::symlink("../lib/large", "two"));
    let mut owned = Entry::file(store.put(b"owned").unwrap(), 0o640, "two");
    owned.owner = Owner::Id(70_000);
    owned.group = Owner::Id(42);
    if xattrs {
        owned.xattrs.insert("security.capability".to_owned(), vec![1, 0, 0, 2, 0, 32]);
    }
    add("usr/lib/owned", owned);
    store.put_tree(&tree).unwrap()
}

fn freeze(store: &Store) -> filesystem::Plan {
    let tree = linked(store, true);
    filesystem::Plan {
        tree,
        codec: Codec::None,
        base: None,
        epoch: EPOCH,
        uuid: Tree::uuid(tree, "usr"),
        label: "usr".to_owned(),
    }
}

fn protect(store: &Store) -> verity::Plan {
    // More than the 128 hashes of one block, so that the tree has two levels.
    let data: Vec<u8> = (0..130_u8).flat_map(|block| vec![block; verity::BLOCK]).collect();
    let seed = Seed::of("sample");
    verity::Plan {
        data: store.put(&data).unwrap(),
        salt: seed.bytes("verity salt"),
        uuid: seed.uuid("verity"),
    }
}

fn link(store: &Store) -> LinkPlan {
    LinkPlan {
        stub: store.put(&fixture::stub()).unwrap(),
        linux: store.put(&[1; 5000]).unwrap(),
        initrd: store.put(&[2; 70_001]).unwrap(),
        osrel: fixture::OS_RELEASE.to_owned(),
        cmdline: "usrhash=00 console=ttyS0".to_owned(),
        uname: "6.12.0".to_owned(),
        sbat: String::new(),
    }
}

fn addon(store: &Store) -> AddonPlan {
    AddonPlan {
        stub: store.put(&fixture::stub_without_sbat()).unwrap(),
        cmdline: "slot=b".to_owned(),
        uname: "6.12.0".to_owned(),
        sbat: String::new(),
    }
}

fn graft(store: &Store) -> Graft {
    let pkcs7 = store.put(&[0x30, 0x03, 0x02, 0x01, 0x07]).unwrap();
    Graft { pe: store.put(&fixture::stub()).unwrap(), pkcs7 }
}

pub(crate) fn lay_out(store: &Store) -> disk::Plan {
    let put = |bytes: &[u8]| store.put(bytes).unwrap();
    let mib = 1 << 20;
    let files = [("EFI/BOOT/BOOTX64.EFI", &b"loader"[..]), ("loader/loader.conf", b"timeout 0\n")];
    disk::Plan {
        layout: "dps-ab".to_owned(),
        sizes: Sizes {
            esp: 64 * mib,
            usr: mib,
            verity: mib,
            signature: mib,
            root: 10 * mib,
            sector: 512,
        },
        seed: Seed::of("sample"),
        epoch: EPOCH,
        id: "sample".to_owned(),
        version: "7".to_owned(),
        usr: put(&[3; 8192]),
        verity: put(&[4; 4096]),
        signature: put(b"{}"),
        root_hash: std::array::from_fn(|i| i as u8),
        esp: files.map(|(path, bytes)| (path.to_owned(), put(bytes))).into(),
    }
}
