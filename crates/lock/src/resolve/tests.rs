//! Small universes, each with the choice or the reasons that it leads to.

use super::*;
use crate::universe::Offer;
use package::{Family, read_index};

/// Stanzas in short: `name version [Field: value; …]`, one a line.
fn universe(packages: &str) -> Universe {
    pinned(packages, &[]).unwrap()
}

fn pinned(packages: &str, pins: &[(&str, &str)]) -> Result<Universe> {
    let mut index = String::new();
    for line in packages.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (id, fields) = line.split_once('[').unwrap_or((line, "]"));
        let (name, version) = id.trim().split_once(' ').unwrap();
        let digest = store::Digest::of(line.as_bytes());
        index.push_str(&format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nSize: 1\n\
             Filename: pool/{name}\nSHA256: {digest}\n{}\n\n",
            fields.trim_end_matches(']').replace("; ", "\n")
        ));
    }
    let records = read_index(Family::Deb, index.as_bytes(), "amd64").unwrap();
    let offers = records
        .into_iter()
        .map(|record| Offer { record, archive: 0, suite: 0, ambiguous: false })
        .collect();
    let pins = pins.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Universe::new(Family::Deb, offers, &pins)
}

fn with(universe: &Universe, names: &[&str], assume: &[&str], implied: bool) -> Result<String> {
    let chosen = BTreeSet::new();
    let wish = Wish {
        names: names.iter().copied().collect(),
        assume: assume.iter().copied().collect(),
        implied,
        chosen: &chosen,
    };
    let found = resolve(universe, &wish)?;
    let ids = found.iter().map(|offer| &universe.offers[*offer].record.id);
    Ok(ids.map(|id| format!("{} {}", id.name, id.version)).collect::<Vec<_>>().join(", "))
}

fn found(packages: &str, names: &[&str]) -> String {
    with(&universe(packages), names, &[], false).unwrap()
}

fn reasons(packages: &str, names: &[&str]) -> String {
    format!("{:#}", with(&universe(packages), names, &[], false).unwrap_err())
}

#[test]
fn the_concrete_package_beats_a_lone_provider() {
    // Field report L1: the provider sorts first and is newer, and loses.
    let packages = "ffmpeg 7 [Depends: libavcodec61]
        aa-extra 9 [Provides: libavcodec61; Priority: required]
        libavcodec61 7";
    assert_eq!(found(packages, &["ffmpeg"]), "ffmpeg 7, libavcodec61 7");
}

#[test]
fn one_version_of_a_name_and_the_order_of_the_index_changes_nothing() {
    // Field report L2: a virtual name must not hold on to the older provider.
    let lines = [
        "nginx 1.0 [Provides: nginx-abi-1]",
        "nginx 1.1 [Provides: nginx-abi-1]",
        "mod 1 [Depends: nginx-abi-1]",
    ];
    let forward = lines.join("\n");
    let backward = lines.iter().rev().copied().collect::<Vec<_>>().join("\n");
    for packages in [forward, backward] {
        assert_eq!(found(&packages, &["nginx", "mod"]), "mod 1, nginx 1.1");
        assert_eq!(found(&packages, &["mod"]), "mod 1, nginx 1.1");
    }
}

#[test]
fn alternatives_are_taken_in_order_unless_another_is_there_anyway() {
    let packages = "a 1 [Depends: x | y]
        b 1 [Depends: y]
        x 1
        y 1";
    assert_eq!(found(packages, &["a"]), "a 1, x 1");
    assert!(found(packages, &["a", "b"]).contains("y 1"));
    let gone = "a 1 [Depends: x (>= 2) | y]\nx 1\ny 1";
    assert_eq!(found(gone, &["a"]), "a 1, y 1");
}

#[test]
fn providers_come_by_preference_then_name() {
    let packages = "a 1 [Depends: awk]
        gawk 1 [Provides: awk; Priority: optional]
        mawk 1 [Provides: awk; Priority: required]
        original-awk 1 [Provides: awk; Priority: required]";
    assert_eq!(found(packages, &["a"]), "a 1, mawk 1");
}

#[test]
fn a_range_is_met_only_by_a_provided_version() {
    let bare = "a 1 [Depends: v (>= 2)]\np 3 [Provides: v]";
    assert!(reasons(bare, &["a"]).contains("v >= 2"), "{}", reasons(bare, &["a"]));
    let old = "a 1 [Depends: v (>= 2)]\np 3 [Provides: v (= 1)]";
    assert!(reasons(old, &["a"]).contains("needs v >= 2"));
    let good = "a 1 [Depends: v (>= 2)]\np 3 [Provides: v (= 2)]";
    assert_eq!(found(good, &["a"]), "a 1, p 3");
}

#[test]
fn conflicts_and_breaks_are_kept_also_with_provided_names() {
    let breaks = "a 2 [Breaks: b (<< 2)]\nb 1\nc 1 [Depends: a | d]\nd 1";
    assert_eq!(found(breaks, &["b", "c"]), "b 1, c 1, d 1");
    let older = "a 2 [Breaks: b]\na 1\nb 1";
    assert_eq!(found(older, &["a", "b"]), "a 1, b 1");
    let mta = "exim 1 [Provides: mta; Conflicts: mta]\npostfix 1 [Provides: mta; Conflicts: mta]";
    assert_eq!(found(mta, &["exim"]), "exim 1");
    let why = reasons(mta, &["exim", "postfix"]);
    assert!(why.contains("exim") && why.contains("postfix") && why.contains("mta"), "{why}");
}

/// The tree of reasons, as it is printed.
fn tree(packages: &str, names: &[&str], lines: &[&str]) {
    let why = reasons(packages, names);
    let told: Vec<_> = why.lines().skip(1).collect();
    assert_eq!(told, lines, "\n{why}");
    assert!(why.starts_with("no set of packages fits:\n"), "{why}");
}

#[test]
fn a_dependency_on_a_version_that_is_not_there_names_the_versions_that_are() {
    tree(
        "a 1 [Depends: b]\nb 1 [Depends: c (>= 2)]\nc 1\nc 0.9",
        &["a"],
        &[
            "`a` is asked for",
            "  a 1 needs b",
            "    b 1 needs c >= 2, but of `c` there is only 1, 0.9",
        ],
    );
}

#[test]
fn a_dependency_that_nobody_offers_comes_with_the_nearest_name() {
    tree(
        "a 1 [Depends: libfooo1]\nlibfoo1 1\nother 1",
        &["a"],
        &[
            "`a` is asked for",
            "  a 1 needs libfooo1, but no archive of the profile offers `libfooo1`; did you mean \
             `libfoo1`?",
        ],
    );
}

#[test]
fn two_wishes_in_conflict_are_told_from_both_sides() {
    tree(
        "exim 1 [Provides: mta; Conflicts: mta]\npostfix 3 [Provides: mta; Conflicts: mta]",
        &["exim", "postfix"],
        &[
            "`exim` is asked for",
            "  exim 1 cannot be beside mta, which postfix 3 is",
            "`postfix` is asked for",
            "  postfix 3 is refused by exim 1, which cannot be beside mta",
        ],
    );
}

#[test]
fn a_conflict_deep_below_a_wish_names_the_way_to_it() {
    tree(
        "a 1 [Depends: b]\nb 1 [Depends: c]\nc 1 [Conflicts: d (<< 2)]\nd 1\ne 1 [Depends: d]",
        &["a", "e"],
        &[
            "`a` is asked for",
            "  a 1 needs b",
            "    b 1 needs c",
            "      c 1 cannot be beside d < 2, which d 1 is",
            "`e` is asked for",
            "  e 1 needs d",
            "    d 1 is refused by c 1, which cannot be beside d < 2",
        ],
    );
}

#[test]
fn alternatives_that_all_fail_are_told_one_by_one() {
    tree(
        "a 1 [Depends: x | y]\nx 1 [Depends: gone]\ny 1 [Depends: z (= 3)]\nz 2",
        &["a"],
        &[
            "`a` is asked for",
            "  a 1 needs x or y",
            "    x 1 needs gone, but no archive of the profile offers `gone`",
            "    y 1 needs z = 3, but of `z` there is only 2",
        ],
    );
}

#[test]
fn a_version_that_another_role_has_chosen_is_named() {
    let universe = universe("a 1 [Depends: b (>= 2)]\nb 2\nb 1");
    let chosen = [universe.named("b")[1]].into();
    let wish = Wish { names: ["a"].into(), assume: [].into(), implied: false, chosen: &chosen };
    let why = resolve(&universe, &wish).unwrap_err().to_string();
    assert_eq!(
        why,
        "no set of packages fits:\n`a` is asked for\n  a 1 needs b >= 2\n    \
         b 2 is not 1, which another role has chosen"
    );
}

#[test]
fn what_every_system_needs_is_told_as_such() {
    let universe = universe("a 1\nbase 1 [Essential: yes; Depends: gone]");
    let why = with(&universe, &["a"], &[], true).unwrap_err().to_string();
    assert_eq!(
        why,
        "no set of packages fits:\n`base` belongs to every system\n  \
         base 1 needs gone, but no archive of the profile offers `gone`"
    );
}

#[test]
fn a_name_that_nobody_offers_is_told_with_what_was_meant() {
    let why = reasons("htop 1\nawesome 1", &["htpo", "zzzzzzzz"]);
    assert_eq!(
        why,
        "no archive of the profile offers a package `htpo`; did you mean `htop`?\n\
         no archive of the profile offers a package `zzzzzzzz`"
    );
    let why = reasons("gawk 1 [Provides: awk]", &["awk"]);
    assert!(why.contains("provided by gawk: ask for"), "{why}");
}

#[test]
fn a_long_tree_of_reasons_ends() {
    let mut packages = String::from("a 1 [Depends: v]\n");
    (0..500).for_each(|i| packages.push_str(&format!("p{i} 1 [Provides: v; Depends: gone{i}]\n")));
    let why = reasons(&packages, &["a"]);
    assert!(why.lines().count() < 70 && why.contains("more reasons"), "{why}");
}

#[test]
fn what_is_assumed_satisfies_and_ships_nothing() {
    let universe = universe(
        "a 1 [Pre-Depends: debconf (>= 0.5) | debconf-2.0; Depends: perl (>= 5), hook, nowhere]
        debconf 1.5 [Provides: debconf-2.0; Depends: perl]
        tool 1 [Provides: hook]
        perl 5",
    );
    let assume = ["debconf", "perl", "tool", "nowhere"];
    assert_eq!(with(&universe, &["a"], &assume, false).unwrap(), "a 1");
    assert_eq!(
        with(&universe, &["a"], &["nowhere", "debconf"], false).unwrap(),
        "a 1, perl 5, tool 1"
    );
    assert!(with(&universe, &["a"], &[], false).is_err());
}

#[test]
fn implied_packages_are_roots_unless_assumed_or_not_wanted() {
    let universe =
        universe("a 1\nbase 1 [Essential: yes; Depends: c]\nc 1\nold 2\nold 1 [Essential: yes]");
    assert_eq!(with(&universe, &["a"], &[], true).unwrap(), "a 1, base 1, c 1");
    assert_eq!(with(&universe, &["a"], &["base"], true).unwrap(), "a 1");
    assert_eq!(with(&universe, &["a"], &[], false).unwrap(), "a 1");
}

#[test]
fn a_pin_holds_everywhere_and_one_that_nobody_offers_names_the_offers() {
    let packages = "a 1 [Depends: b]\nb 2\nb 1\nb 3~rc";
    let pinned_to = |version| pinned(packages, &[("b", version)]);
    assert_eq!(with(&pinned_to("1").unwrap(), &["a"], &[], false).unwrap(), "a 1, b 1");
    let error = pinned_to("4").err().unwrap().to_string();
    assert!(error.contains("pinned to 4") && error.contains("3~rc, 2, 1"), "{error}");
}

#[test]
fn one_version_and_two_files_is_seen() {
    let universe = universe("a 1 [Section: x]\na 1 [Section: y]\nb 1");
    assert!(universe.offers.iter().any(|one| one.record.id.name == "a" && one.ambiguous));
    assert!(universe.offers.iter().all(|one| one.record.id.name == "a" || !one.ambiguous));
}

#[test]
fn a_deep_and_wide_archive_ends_in_time() {
    let mut packages = String::new();
    for i in 0..600 {
        let (next, far) = ((i + 1) % 600, (i * 7 + 3) % 600);
        packages.push_str(&format!("p{i} 1 [Depends: p{next} | p{far}, v; Provides: v]\n"));
    }
    assert!(found(&packages, &["p0"]).split(", ").count() > 1);
}

#[test]
fn cycles_end_and_belong_together() {
    let ring = "a 1 [Depends: b]\nb 1 [Depends: c]\nc 1 [Pre-Depends: a; Depends: c]";
    assert_eq!(found(ring, &["b"]), "a 1, b 1, c 1");
    let broken = format!("{ring}\nd 1 [Depends: a; Conflicts: c]");
    let why = reasons(&broken, &["d"]);
    assert!(why.contains("d 1 cannot be beside c, which c 1 is"), "{why}");
}

#[test]
fn a_hundred_thousand_alternatives_end_with_the_one_that_is_there_or_with_reasons() {
    let names: Vec<String> = (0..100_000).map(|i| format!("x{i}")).collect();
    let packages = format!("a 1 [Depends: {}]\nx99999 1", names.join(" | "));
    assert_eq!(found(&packages, &["a"]), "a 1, x99999 1");
    let why = reasons(&packages.replace("\nx99999 1", ""), &["a"]);
    assert!(why.contains("x5 and 99994 more") && why.len() < 2000, "{} bytes", why.len());
}
