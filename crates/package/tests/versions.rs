//! The order of versions, judged by the distribution's own program.

use std::cmp::Ordering;

use package::{Family, Version};

/// Pairs that people got wrong somewhere, then pieces to generate others from.
const PAIRS: &[(&str, &str)] = &[
    ("1.0~rc1", "1.0"),
    ("1.0", "1.0-0"),
    ("1.0-0", "1.0-0.1"),
    ("1:0.1", "9.9"),
    ("0:1", "1"),
    ("1.0a", "1.0+"),
    ("1.0.", "1.0~"),
    ("1.00", "1.0"),
    ("1.2-3-4", "1.2-3-5"),
    ("2.41-12", "2.41-12+b1"),
    ("6.12.48-1", "6.12.9-1"),
    ("257.9-1~deb13u1", "257.9-1"),
    ("1:10.0p1-7", "1:10.0p1-7+deb13u4"),
    ("5.2.37-2+b10", "5.2.37-2+b9"),
    ("99999999999999999999999", "100000000000000000000000"),
    ("1a~", "1a"),
    ("1-1~~", "1-1~"),
    ("20250419", "2025.04"),
];
const PIECES: &[&str] = &[
    "0", "1", "9", "10", "007", "a", "b", "Z", "~", "~~", "+", ".", "-", "rc", "dfsg", "+b", "1:",
];

fn generated(count: u64) -> Vec<(String, String)> {
    let mut state = 1u64;
    let mut draw = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut version = || {
        let mut text = String::from("1");
        (0..draw(6)).for_each(|_| text.push_str(PIECES[draw(PIECES.len())]));
        text
    };
    // dpkg warns of an upstream version that begins with a letter; we read it.
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let upstream = |text: &str| digit(text.split_once(':').map_or(text, |(_, rest)| rest));
    let valid = |text: &String| Family::Deb.version(text).is_ok() && upstream(text);
    let mut pairs = Vec::new();
    while (pairs.len() as u64) < count {
        let (a, b) = (version(), version());
        if valid(&a) && valid(&b) {
            pairs.push((a, b));
        }
    }
    pairs
}

fn judged(a: &str, relation: &str, b: &str) -> bool {
    let mut dpkg = judge::tool("dpkg");
    let ran = judge::run(dpkg.args(["--compare-versions", a, relation, b]));
    assert_eq!(ran.text, "", "dpkg has doubts about {a} or {b}");
    ran.ok
}

/// The lines `a relation b` that `dpkg` does not agree with: one shell asks for all of them.
fn disputed(lines: &[String]) -> String {
    let ask = r#"while read -r a relation b
        do dpkg --compare-versions "$a" "$relation" "$b" || echo "$a $relation $b"
        done < "$0""#;
    let file = judge::scratch("versions").join("lines");
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    // Found, or a failure that says so.
    judge::tool("dpkg");
    let ran = judge::run(judge::tool("sh").arg("-c").arg(ask).arg(&file));
    assert!(ran.ok, "{}", ran.text);
    ran.text
}

#[test]
fn two_thousand_generated_orders_are_those_that_dpkg_sees() {
    let sign = |order| match order {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    };
    let mut lines = Vec::new();
    for (a, b) in generated(2000) {
        let ours = Family::Deb.compare(&Version(a.clone()), &Version(b.clone()));
        lines.push(format!("{a} {} {b}", sign(ours)));
    }
    assert_eq!(disputed(&lines), "");
    let wrong = "1.0 lt 1.0~rc1".to_owned();
    assert_eq!(disputed(std::slice::from_ref(&wrong)), format!("{wrong}\n"));
}

#[test]
fn every_order_is_the_one_that_dpkg_sees() {
    let known = PAIRS.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    for (a, b) in known.chain(generated(50)) {
        let ours = Family::Deb.compare(&Version(a.clone()), &Version(b.clone()));
        let relation = match ours {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        assert!(judged(&a, relation, &b), "we say `{a} {relation} {b}`, dpkg does not");
        let swapped = Family::Deb.compare(&Version(b.clone()), &Version(a.clone()));
        assert_eq!(swapped, ours.reverse(), "{a} {b}");
    }
}

#[test]
fn the_judge_refuses_a_wrong_order() {
    assert!(!judged("1.0", "lt", "1.0~rc1"));
    assert!(!judged("1.0", "eq", "1.0.0"));
}
