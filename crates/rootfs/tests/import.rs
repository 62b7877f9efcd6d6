//! IMPORT on an archive that the family's own tool made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use package::{Fact, Family, Id, Version};
use rootfs::{IMPORT, Import};
use store::{Node, Owner, Store};

#[test]
fn a_package_becomes_a_tree_with_its_contents_links_and_facts() {
    let scratch = judge::scratch("import");
    let root = scratch.join("root");
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let big = vec![5; (1 << 20) + 1];
    fs::write(root.join("usr/bin/big"), &big).unwrap();
    fs::set_permissions(root.join("usr/bin/big"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(root.join("usr/bin/big"), root.join("usr/bin/same")).unwrap();
    fs::write(root.join("usr/bin/small"), "small").unwrap();
    let control = "Package: foo\nVersion: 1-1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: test\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("DEBIAN/triggers"), "activate-noawait ldconfig\n").unwrap();
    fs::write(root.join("DEBIAN/postinst"), "#!/bin/sh\nset -e\ntouch /x\n").unwrap();
    fs::set_permissions(root.join("DEBIAN/postinst"), fs::Permissions::from_mode(0o755)).unwrap();
    let archive = scratch.join("foo.deb");
    let mut tool = judge::tool("dpkg-deb");
    let ran = judge::run(tool.args(["--root-owner-group", "-b"]).arg(&root).arg(&archive));
    assert!(ran.ok, "{}", ran.text);

    let store = Store::open(&scratch.join("store"), None).unwrap();
    let blob = store.put(&fs::read(&archive).unwrap()).unwrap();
    let id = |version: &str| Id {
        name: "foo".to_owned(),
        version: Version(version.to_owned()),
        architecture: "all".to_owned(),
    };
    let input = Import { family: Family::Deb, id: id("1-1"), blob };
    let imported = store.realize(&IMPORT, &input).unwrap();
    let tree = store.tree(&imported.tree).unwrap();
    let paths: Vec<&str> = tree.0.keys().map(String::as_str).collect();
    assert_eq!(paths, ["usr", "usr/bin", "usr/bin/big", "usr/bin/same", "usr/bin/small"]);
    let (one, other) = (tree.get("usr/bin/big").unwrap(), tree.get("usr/bin/same").unwrap());
    assert_eq!(one, other);
    assert_eq!((one.mode, &one.owner, one.origin.as_str()), (0o755, &Owner::ROOT, "foo"));
    assert!(one.link.is_some() && tree.get("usr/bin/small").unwrap().link.is_none());
    let Node::File(content) = one.node else { panic!("{one:?}") };
    assert!(store.read(&content).unwrap() == big);
    assert_eq!(imported.facts, [Fact::Refresh("ldconfig".to_owned())]);
    let [(_, left)] = imported.remainders.as_slice() else { panic!("{:?}", imported.remainders) };
    assert_eq!(left.text, "set -e\ntouch /x\n");

    let other = Import { id: id("2-1"), ..input };
    let error = format!("{:#}", store.realize(&IMPORT, &other).unwrap_err());
    assert!(error.contains("the archive is `foo 1-1 all`, not `foo 2-1 all`"), "{error}");
}
