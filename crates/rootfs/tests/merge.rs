//! Properties of MERGE on trees made by hand.

use std::collections::BTreeMap;

use package::{Alternative, Capability, Fact, Family, Id, Version};
use rootfs::{Alternatives, Imported, MERGE, Merge, Merged, Overlay, Rule, Rules};
use store::{Entry, Node, Owner, Store, Tree};

fn store(name: &str) -> Store {
    Store::open(&judge::scratch(&format!("merge-{name}")), None).unwrap()
}

fn rules(packages: &[(&str, &str)]) -> Rules {
    let mut rules = Rules::default();
    for (from, to) in [("lib", "usr/lib"), ("bin", "usr/bin")] {
        rules.distribution.aliases.insert(from.into(), to.into());
    }
    for (name, rule) in packages {
        rules.packages.insert((*name).to_owned(), serde_json::from_str(rule).unwrap());
    }
    rules
}

/// A path and what is there: `=text` a file, `>target` a link, `/` a directory.
fn tree(store: &Store, origin: &str, entries: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, what) in entries {
        let entry = match what.split_at(1) {
            ("=", text) => Entry::file(store.put(text.as_bytes()).unwrap(), 0o644, origin),
            (">", target) => Entry::symlink(target, origin),
            _ => Entry::directory(origin),
        };
        tree.insert(path, entry).unwrap();
    }
    tree
}

fn package(store: &Store, name: &str, entries: &[(&str, &str)]) -> Imported {
    Imported {
        family: Family::Deb,
        id: Id {
            name: name.to_owned(),
            version: Version("1".to_owned()),
            architecture: "all".to_owned(),
        },
        tree: store.put_tree(&tree(store, name, entries)).unwrap(),
        facts: vec![],
        remainders: vec![],
        replaces: vec![],
        config: vec![],
    }
}

fn replacing(mut package: Imported, name: &str) -> Imported {
    package.replaces.push(Capability { name: name.to_owned(), range: None });
    package
}

/// The result for every order of the packages, which must not matter.
fn merge(store: &Store, input: &Merge) -> Result<(Tree, Merged), String> {
    let run = |input: &Merge| store.realize(&MERGE, input).map_err(|error| format!("{error:#}"));
    let mut reversed = input.clone();
    reversed.imported.reverse();
    let (one, other) = (run(input), run(&reversed));
    assert_eq!(one, other, "the order of packages matters");
    let merged = one?;
    Ok((store.tree(&merged.tree).unwrap(), merged))
}

fn of(imported: &[&Imported], rules: Rules) -> Merge {
    let imported = imported.iter().map(|one| (*one).clone()).collect();
    Merge { imported, rules, ..Merge::default() }
}

fn text(store: &Store, tree: &Tree, path: &str) -> String {
    let blob = tree.get(path).unwrap_or_else(|| panic!("no `{path}`")).blob().unwrap();
    String::from_utf8(store.read(&blob).unwrap()).unwrap()
}

#[test]
fn a_real_lib_directory_lands_under_usr_and_the_link_stays() {
    let store = store("alias");
    let base =
        package(&store, "base", &[("lib", ">usr/lib"), ("usr/lib", "/"), ("bin", ">usr/bin")]);
    let third = package(
        &store,
        "third",
        &[("lib", "/"), ("lib/x", "/"), ("lib/x/f.so", "=elf"), ("bin/f", "=1")],
    );
    let (tree, _) = merge(&store, &of(&[&base, &third], rules(&[]))).unwrap();
    assert_eq!(text(&store, &tree, "usr/lib/x/f.so"), "elf");
    assert_eq!(tree.get("lib").unwrap().node, Node::Symlink("usr/lib".into()));
    assert_eq!(tree.get("usr/bin/f").unwrap().origin, "third");
    assert!(tree.get("lib/x/f.so").is_none());
}

#[test]
fn a_file_or_another_link_named_as_an_alias_is_refused() {
    let store = store("alias-bad");
    for (what, says) in [("=file", "has a file `lib`"), (">usr/lib64", "not to `usr/lib`")] {
        let bad = package(&store, "bad", &[("lib", what)]);
        let error = merge(&store, &of(&[&bad], rules(&[]))).unwrap_err();
        assert!(error.contains("`bad`") && error.contains(says), "{error}");
    }
}

#[test]
fn a_link_claimed_twice_needs_replaces_whatever_the_order() {
    let store = store("claims");
    let a = package(&store, "a", &[("usr/x", ">one")]);
    let b = package(&store, "b", &[("usr/x", ">two")]);
    let error = merge(&store, &of(&[&a, &b], rules(&[]))).unwrap_err();
    for part in ["`usr/x`", "`a` (link to one)", "`b` (link to two)"] {
        assert!(error.contains(part), "{error}");
    }
    let b = replacing(b, "a");
    let (tree, _) = merge(&store, &of(&[&a, &b], rules(&[]))).unwrap();
    assert_eq!(tree.get("usr/x").unwrap().node, Node::Symlink("two".into()));
    let both = [&replacing(a.clone(), "b"), &b];
    assert!(merge(&store, &of(&both, rules(&[]))).is_err(), "two that replace each other");
}

#[test]
fn replaces_with_a_range_holds_for_versions_in_it_only() {
    let store = store("range");
    let a = package(&store, "a", &[("usr/x", "=one")]);
    for (bound, ok) in [("2", true), ("1", false)] {
        let mut b = package(&store, "b", &[("usr/x", "=two")]);
        let range = Some((package::Relation::Earlier, Version(bound.to_owned())));
        b.replaces.push(Capability { name: "a".to_owned(), range });
        assert_eq!(merge(&store, &of(&[&a, &b], rules(&[]))).is_ok(), ok, "<< {bound}");
    }
}

#[test]
fn identical_content_is_shared_and_a_directory_may_be_made_by_many() {
    let store = store("same");
    let a = package(&store, "a", &[("usr", "/"), ("usr/x", "=one")]);
    let b = package(&store, "b", &[("usr", "/"), ("usr/x", "=one")]);
    let (tree, _) = merge(&store, &of(&[&a, &b], rules(&[]))).unwrap();
    assert_eq!(tree.get("usr/x").unwrap().origin, "a");
    let c = package(&store, "c", &[("usr/x", "/")]);
    assert!(merge(&store, &of(&[&a, &c], rules(&[]))).unwrap_err().contains("(directory 0755)"));
}

#[test]
fn a_diversion_moves_the_path_of_others() {
    let store = store("divert");
    let a = package(&store, "a", &[("usr/bin/x", "=one")]);
    let b = package(&store, "b", &[("usr/bin/x", "=two")]);
    let rule = r#"{"divert": {"usr/bin/x": "usr/bin/x.other"}}"#;
    let (tree, _) = merge(&store, &of(&[&a, &b], rules(&[("b", rule)]))).unwrap();
    assert_eq!(text(&store, &tree, "usr/bin/x"), "two");
    assert_eq!(text(&store, &tree, "usr/bin/x.other"), "one");
}

#[test]
fn a_path_below_another_packages_link_is_refused() {
    let store = store("below");
    let a = package(&store, "a", &[("usr/x", ">y")]);
    let b = package(&store, "b", &[("usr/x/z", "=1")]);
    let error = merge(&store, &of(&[&a, &b], rules(&[]))).unwrap_err();
    assert!(error.contains("`usr/x/z` of `b` lies below `usr/x` of `a`"), "{error}");
}

#[test]
fn a_rule_copies_before_it_drops_and_names_owners() {
    let store = store("rule");
    let a = package(&store, "a", &[("usr/share/a/conf", "=key"), ("usr/share/doc/a", "=doc")]);
    let rule = r#"{
        "copy": {"usr/share/a/conf": "etc/a.conf"}, "drop": ["usr/share/a/**"],
        "write": {"etc/b": "text"}, "link": {"etc/c": "b"}, "directories": ["var/lib/a"],
        "modes": {"etc/a.conf": {"mode": "0640", "group": "_a"}},
        "users": ["u _a 900"], "tmpfiles": ["d /run/a"]
    }"#;
    let mut rules = rules(&[("a", rule)]);
    rules.distribution.drop = rootfs::Patterns::of(&["usr/share/doc/**"]);
    let (tree, merged) = merge(&store, &of(&[&a], rules)).unwrap();
    assert_eq!(text(&store, &tree, "etc/a.conf"), "key");
    let entry = tree.get("etc/a.conf").unwrap();
    assert_eq!((entry.mode, &entry.group), (0o640, &Owner::Name("_a".into())));
    assert!(tree.get("usr/share/a/conf").is_none() && tree.get("usr/share/doc/a").is_none());
    assert_eq!(text(&store, &tree, "etc/b"), "text");
    assert_eq!(tree.get("etc/c").unwrap().node, Node::Symlink("b".into()));
    assert_eq!(text(&store, &tree, "usr/lib/sysusers.d/00-hardtack.conf"), "u _a 900\n");
    assert_eq!(text(&store, &tree, "usr/lib/tmpfiles.d/10-hardtack.conf"), "d /run/a\n");
    assert!(merged.warnings.is_empty(), "{:?}", merged.warnings);
}

#[test]
fn a_rule_gives_a_file_capabilities_and_nothing_else_any() {
    let store = store("capabilities");
    let a = package(&store, "a", &[("usr/bin/a", "=1")]);
    let of_rule = |path: &str| {
        let rule = format!(
            r#"{{"directories": ["var/a"], "modes": {{"{path}": {{"capabilities": "cap_net_raw=ep"}}}}}}"#
        );
        merge(&store, &of(&[&a], rules(&[("a", &rule)])))
    };
    let (tree, _) = of_rule("usr/bin/a").unwrap();
    let entry = tree.get("usr/bin/a").unwrap();
    assert_eq!(entry.xattrs["security.capability"][..5], [1, 0, 0, 2, 0]);
    assert!(of_rule("var/a").unwrap_err().contains("`var/a`"));
}

#[test]
fn a_rule_that_names_what_is_gone_is_an_error() {
    let store = store("stale");
    let a = package(&store, "a", &[("usr/x", "=1")]);
    let rule = r#"{"copy": {"usr/gone": "etc/a"}}"#;
    let error = merge(&store, &of(&[&a], rules(&[("a", rule)]))).unwrap_err();
    assert!(error.contains("`a`") && error.contains("copy `usr/gone`"), "{error}");
}

#[test]
fn overlays_win_later_over_earlier_and_never_hide_a_directory_silently() {
    let store = store("overlay");
    let a = package(&store, "a", &[("lib/x", "=package"), ("usr/d/e", "=1"), ("usr/l", ">d")]);
    let overlay = |origin: &str, entries: &[(&str, &str)]| Overlay {
        origin: origin.to_owned(),
        tree: store.put_tree(&tree(&store, "", entries)).unwrap(),
        replaces: BTreeMap::new(),
    };
    let mut input = of(&[&a], rules(&[]));
    input.overlays.push(overlay("profile:one", &[("lib/x", "=one"), ("etc/y", "=one")]));
    input.overlays.push(overlay("profile:two", &[("etc/y", "=two")]));
    let (merged, _) = merge(&store, &input).unwrap();
    assert_eq!(text(&store, &merged, "usr/lib/x"), "one");
    assert_eq!(text(&store, &merged, "etc/y"), "two");
    assert_eq!(merged.get("etc/y").unwrap().origin, "profile:two");
    input.overlays.push(overlay("profile:three", &[("usr/l", "/"), ("usr/l/z", "=1")]));
    assert!(merge(&store, &input).unwrap_err().contains("has a directory `usr/l`"));
}

#[test]
fn facts_reach_generators_and_the_profile_decides_first() {
    let store = store("facts");
    let mut a = package(&store, "a", &[("usr/bin/awk1", "=1"), ("usr/bin/tool", "=1")]);
    let offer = |path: &str| Alternative {
        name: "awk".into(),
        link: "/usr/bin/awk".into(),
        path: path.into(),
        priority: 5,
        followers: vec![("awk.1".into(), "/usr/share/man/awk.1".into(), "/gone".into())],
    };
    a.facts = vec![
        Fact::Alternative(offer("/bin/awk1")),
        Fact::Alternative(offer("/usr/bin/gone")),
        Fact::Enable(vec!["b.service".into(), "a.service".into()]),
        Fact::Mode {
            path: "/bin/tool".into(),
            mode: Some(0o2755),
            owner: Some("root".into()),
            group: Some("_a".into()),
        },
        Fact::Mode {
            path: "/gone".into(),
            mode: Some(0o755),
            owner: Some("root".into()),
            group: Some("root".into()),
        },
    ];
    let rule =
        r#"{"units": {"enable": ["x.service"], "mask": {"m.service": "rule", "k.service": "r"}}}"#;
    let mut input = of(&[&a], rules(&[("a", rule)]));
    input.profile = serde_json::from_str::<Rule>(
        r#"{"units": {"disable": ["x.service"], "enable": ["k.service"], "mask": {"m.service": "profile"}},
            "alternatives": {"awk": "/usr/bin/awk1"}}"#,
    )
    .unwrap();
    let (tree, merged) = merge(&store, &input).unwrap();
    let found: Alternatives =
        serde_json::from_str(&text(&store, &tree, ".facts/alternatives.json")).unwrap();
    assert_eq!(found.offers.len(), 1);
    assert!(found.offers[0].followers.is_empty());
    assert_eq!(found.chosen, BTreeMap::from([("awk".into(), "/usr/bin/awk1".into())]));
    assert_eq!(text(&store, &tree, ".facts/enable.json"), r#"["a.service","b.service"]"#);
    assert_eq!(
        text(&store, &tree, "usr/lib/systemd/system-preset/05-hardtack.preset"),
        "enable k.service\ndisable x.service\n"
    );
    assert_eq!(merged.masked, BTreeMap::from([("m.service".into(), "profile".into())]));
    assert_eq!(
        tree.get("etc/systemd/system/m.service").unwrap().node,
        Node::Symlink("/dev/null".into())
    );
    let tool = tree.get("usr/bin/tool").unwrap();
    assert_eq!(
        (tool.mode, &tool.owner, &tool.group),
        (0o2755, &Owner::ROOT, &Owner::Name("_a".into()))
    );
    assert!(merged.warnings.iter().any(|w| w.contains("`gone`")), "{:?}", merged.warnings);
}

#[test]
fn what_scripts_plainly_say_is_done_and_rules_win() {
    let store = store("plain");
    let mut a = package(&store, "a", &[("usr/bin/ping", "=p"), ("usr/share/a.conf", "=c")]);
    let directory = |path: &str| Fact::Directory {
        path: path.to_owned(),
        mode: 0o2750,
        owner: "_a".to_owned(),
        group: "adm".to_owned(),
    };
    a.facts = vec![
        Fact::Users(["u _a - - /var/a", "g ours -", "g both -"].map(str::to_owned).to_vec()),
        directory("/var/log/a"),
        directory("/run/a"),
        directory("/usr/bin/ping/below"),
        Fact::Copy { from: "/usr/share/a.conf".to_owned(), to: "/etc/a.conf".to_owned() },
        Fact::Copy { from: "/usr/share/gone".to_owned(), to: "/etc/gone".to_owned() },
        Fact::Divert { path: "/usr/bin/b".to_owned(), to: "/usr/bin/b.real".to_owned() },
        Fact::Capabilities {
            path: "/usr/bin/ping".to_owned(),
            permitted: 1 << 13,
            inheritable: 0,
            effective: true,
        },
    ];
    let b = package(&store, "b", &[("usr/bin/b", "=b")]);
    let rule = r#"{"users": ["g ours 900 -", "u both 901"]}"#;
    let (tree, merged) = merge(&store, &of(&[&a, &b], rules(&[("a", rule)]))).unwrap();
    assert_eq!(merged.warnings, Vec::<String>::new());
    let log = tree.get("var/log/a").unwrap();
    let owners = [&log.owner, &log.group].map(Clone::clone);
    assert_eq!((log.mode, owners), (0o2750, ["_a", "adm"].map(|name| Owner::Name(name.into()))));
    assert_eq!(
        tree.get("etc/a.conf").unwrap().blob(),
        tree.get("usr/share/a.conf").unwrap().blob()
    );
    for path in ["run/a", "usr/bin/ping/below", "etc/gone", "usr/bin/b"] {
        assert!(tree.get(path).is_none(), "{path}");
    }
    assert!(tree.get("usr/bin/b.real").is_some());
    // What `setcap cap_net_raw=ep` writes.
    let value = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    assert_eq!(tree.get("usr/bin/ping").unwrap().xattrs["security.capability"], value);
    let stated = tree.get("usr/lib/sysusers.d/zz-hardtack.conf").unwrap().blob().unwrap();
    assert_eq!(store.read(&stated).unwrap(), b"u _a - - /var/a\n");
}

#[test]
fn a_pattern_that_drops_nothing_is_said() {
    let store = store("idle-drop");
    let a = package(&store, "a", &[("usr/x", "=one"), ("usr/y", "=two")]);
    let mut input = of(&[&a], rules(&[("a", r#"{"drop":["usr/x","usr/gone/**"]}"#)]));
    input.rules.distribution.drop.0.push("usr/share/doc/**".to_owned());
    input.profile.drop.0.extend(["usr/x", "usr/y"].map(str::to_owned));
    let (tree, merged) = merge(&store, &input).unwrap();
    assert!(tree.get("usr/x").is_none() && tree.get("usr/y").is_none());
    let [rule, profile] = &merged.warnings[..] else { panic!("{:?}", merged.warnings) };
    assert!(rule.contains("the rule of `a` drops `usr/gone/**`"), "{rule}");
    // The package's rule was there before.
    assert!(profile.contains("`drop` names `usr/x`"), "{profile}");
}

#[test]
fn what_an_overlay_takes_away_unasked_is_said() {
    let store = store("overlay-said");
    let a = package(&store, "a", &[("usr/d", "/"), ("usr/d/x", "=1"), ("usr/d/y", "=2")]);
    let lay = |origin: &str, entries: &[(&str, &str)]| Overlay {
        origin: origin.to_owned(),
        tree: store.put_tree(&tree(&store, origin, entries)).unwrap(),
        replaces: BTreeMap::new(),
    };
    let mut input = of(&[&a], rules(&[]));
    input.overlays = vec![
        lay("profile:a.d", &[("usr/f", "=1"), ("usr/g", "=1")]),
        lay("profile:b.d", &[("usr/d", ">f"), ("usr/f", "=2")]),
        lay("layout", &[("usr/f", "=3"), ("usr/g", "=1")]),
    ];
    let (tree, merged) = merge(&store, &input).unwrap();
    assert_eq!(text(&store, &tree, "usr/f"), "3");
    let [directory, file] = &merged.warnings[..] else { panic!("{:?}", merged.warnings) };
    assert!(directory.contains("`usr/d`: the 2 paths below it are gone"), "{directory}");
    assert!(file.contains("`usr/f` of `profile:b.d` gives way to that of `layout`"), "{file}");
}

#[test]
fn a_later_rooms_file_replaces_a_packages_only_where_it_says_why() {
    let store = store("overlay-replaces");
    let a = package(&store, "a", &[("usr/f", "=theirs"), ("usr/g", "=same")]);
    let mut layout = Overlay {
        origin: "layout".to_owned(),
        tree: store
            .put_tree(&tree(&store, "", &[("usr/f", "=ours"), ("usr/g", "=same"), ("usr/h", "=1")]))
            .unwrap(),
        replaces: BTreeMap::new(),
    };
    let mut input = of(&[&a], rules(&[]));
    input.overlays = vec![layout.clone()];
    let error = merge(&store, &input).unwrap_err();
    assert!(error.contains("`layout` and `a` both have `usr/f`, and nobody says why"), "{error}");
    // What is not there to be replaced is no fault: another release of the package has it.
    let why = |path: &str| (path.to_owned(), "because".to_owned());
    layout.replaces = BTreeMap::from([why("usr/f"), why("usr/h")]);
    input.overlays = vec![layout];
    let (tree, merged) = merge(&store, &input).unwrap();
    assert_eq!(text(&store, &tree, "usr/f"), "ours");
    let replaced: Vec<_> = merged.replaced.into_iter().collect();
    assert_eq!(replaced, [("usr/f".to_owned(), "`a`: because".to_owned())]);
    assert_eq!(merged.warnings, [""; 0]);
}
