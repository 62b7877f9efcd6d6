//! Archives that attack IMPORT: refused by name, and nothing of them stands in the store as done.

use judge::forge::{self, Tar, field, put};
use package::{Family, Id, Version};
use rootfs::{IMPORT, Import, Imported};
use store::{Blob, Digest, Node, Owner, Store};

fn tar() -> Tar {
    Tar::default()
}

fn import(store: &Store, archive: &[u8], version: &str) -> Result<Imported, String> {
    let id = Id {
        name: "foo".to_owned(),
        version: Version(version.to_owned()),
        architecture: "all".to_owned(),
    };
    let input = Import { family: Family::Deb, id, blob: store.put(archive).unwrap() };
    store.realize(&IMPORT, &input).map_err(|error| format!("{error:#}"))
}

/// Results and unfinished files are not there; every blob is what its name says.
fn is_sound(store: &Store) {
    let list = |part: &str| store::list(&store.root().join(part)).unwrap();
    assert!(list("results").is_empty() && list("temporary").is_empty());
    for folder in list("blobs") {
        for blob in store::list(&folder).unwrap() {
            let name = blob.strip_prefix(store.root().join("blobs")).unwrap();
            let digest = Digest::of(&std::fs::read(&blob).unwrap()).to_string();
            assert_eq!(name.display().to_string().replace('/', ""), digest);
        }
    }
}

#[test]
fn a_bad_archive_is_refused_with_package_path_and_way_out_and_leaves_no_result() {
    let good = || tar().directory("./usr/").file("./usr/first", "1");
    let wide = |header: &mut [u8; 512]| put(header, field::SIZE, b"00000000009");
    let cases: Vec<(&str, Tar, &str)> = vec![
        ("climbs", good().file("./../etc/shadow", "1"), "`./../etc/shadow` is not a path"),
        ("through a link", good().symlink("./x", "/").file("./x/y", "1"), "`x/y` lies below `x`"),
        ("link to a later file", good().hard_link("./x", "./y").file("./y", ""), "`x` is a hard"),
        ("device", good().with(b'3', b"./dev/null", b"", |_| {}), "`dev/null` is a device"),
        ("whiteout", good().with(b'3', b"./usr/.wh.x", b"", |_| {}), "is a device"),
        ("SELinux", good().pax(b'x', &[("SCHILY.xattr.security.selinux", b"x")]), "selinux"),
        ("twice", good().file("./usr/first", "2"), "`usr/first` comes twice"),
        ("size of another base", good().with(b'0', b"./x", b"123456789", wide), "number"),
        ("cut", good().long(b'L', b"x"), "one more entry"),
    ];
    for (attack, payload, says) in cases {
        let store = Store::open(&judge::scratch("bad-import"), None).unwrap();
        let archive = forge::package(forge::control(), payload);
        let error = import(&store, &archive, "1-1").expect_err(attack);
        for part in ["stage `import` of foo 1-1", "payload of `foo`", "pin another version", says] {
            assert!(error.contains(part), "{attack}: {error}");
        }
        is_sound(&store);
        // The same store takes the good archive, and gives what an untouched store gives.
        let archive = forge::package(forge::control(), good());
        let here = import(&store, &archive, "1-1").unwrap();
        let other = Store::open(&judge::scratch("bad-import-other"), None).unwrap();
        assert_eq!(here, import(&other, &archive, "1-1").unwrap());
    }
}

#[test]
fn an_archive_that_is_not_the_package_of_the_index_is_refused() {
    let store = Store::open(&judge::scratch("bad-control"), None).unwrap();
    let text = |text: &str| tar().file("./control", text);
    for (attack, control, says) in [
        ("name", text("Package: fop\nVersion: 1-1\nArchitecture: all\n"), "is `fop 1-1 all`, not"),
        ("version", text("Package: foo\nVersion: 1-2\nArchitecture: all\n"), "is `foo 1-2 all`"),
        ("machine", text("Package: foo\nVersion: 1-1\nArchitecture: amd64\n"), "1-1 amd64`, not"),
        ("nothing", tar(), "has no file `control`"),
    ] {
        let archive = forge::package(control, tar().file("./a", "1"));
        let error = import(&store, &archive, "1-1").expect_err(attack);
        assert!(error.contains(says), "{attack}: {error}");
        is_sound(&store);
    }
}

#[test]
fn a_directory_that_nobody_may_enter_is_an_entry_and_no_place_on_the_host() {
    let closed = |mode: &'static [u8]| move |header: &mut [u8; 512]| put(header, field::MODE, mode);
    let payload = tar()
        .with(b'5', b"./a/", b"", closed(b"0000000"))
        .file("./a/x", "1")
        .with(b'5', b"./b/", b"", closed(b"0000500"))
        .file("./b/x", "2");
    let store = Store::open(&judge::scratch("bad-closed"), None).unwrap();
    let archive = forge::package(forge::control(), payload);
    let tree = store.tree(&import(&store, &archive, "1-1").unwrap().tree).unwrap();
    assert_eq!((tree.get("a").unwrap().mode, tree.get("b").unwrap().mode), (0, 0o500));
    assert_eq!(tree.get("a/x").unwrap().blob(), Some(Blob::of(b"1")));
    assert!(store::list(&store.root().join("temporary")).unwrap().is_empty());
}

#[test]
fn names_owners_and_attributes_arrive_exactly() {
    let capability = [1, 0, 0, 2, 0, 0x20, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let payload = tar()
        .pax(b'x', &[("SCHILY.xattr.security.capability", &capability)])
        .with(b'0', b"./ping", b"1", |header| {
            put(header, field::USER, &[0x80, 0, 0, 0, 0x80, 0, 0, 0]);
            put(header, field::MODE, b"0004755");
        })
        .hard_link("./ping2", "./ping")
        .file("./Fő.crt", "1")
        .file("./fő.crt", "2")
        .symlink("./l", "ping");
    let store = Store::open(&judge::scratch("bad-exact"), None).unwrap();
    let archive = forge::package(forge::control(), payload);
    let tree = store.tree(&import(&store, &archive, "1-1").unwrap().tree).unwrap();
    let ping = tree.get("ping").unwrap();
    assert_eq!((ping.mode, &ping.owner, &ping.group), (0o4755, &Owner::Id(1 << 31), &Owner::ROOT));
    assert_eq!(ping.xattrs["security.capability"], capability);
    assert_eq!(tree.get("ping2"), Some(ping));
    assert_eq!(tree.get("l").unwrap().node, Node::Symlink("ping".into()));
    assert_eq!(tree.0.len(), 5);
}

#[test]
fn ten_thousand_links_are_one_inode_and_equal_files_are_not() {
    let mut payload = tar().file("./f", "").file("./lock1", "").file("./lock2", "");
    for i in 0..10_000 {
        payload = payload.hard_link(&format!("./l{i}"), "./f");
    }
    let store = Store::open(&judge::scratch("bad-links"), None).unwrap();
    let archive = forge::package(forge::control(), payload);
    let tree = store.tree(&import(&store, &archive, "1-1").unwrap().tree).unwrap();
    let linked = tree.0.values().filter(|entry| entry.link.as_deref() == Some("foo:f"));
    assert_eq!(linked.count(), 10_001);
    assert!(["lock1", "lock2"].iter().all(|path| tree.get(path).unwrap().link.is_none()));
}
