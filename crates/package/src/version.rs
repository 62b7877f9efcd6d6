//! Versions: text with a family, ordered by the family alone.

use std::cmp::Ordering;
use std::fmt;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// A family of packages: it decides how versions compare and how archives are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// `.deb` archives and their indexes (deb(5), deb-control(5)).
    Deb,
}

/// A version as its package writes it. It has no order of its own: see [`Family::compare`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Family {
    /// The family's order of two versions (Debian Policy 5.6.12). Versions that are written
    /// differently can be equal: `1.0` and `0:1.0-0`.
    pub fn compare(self, a: &Version, b: &Version) -> Ordering {
        match self {
            Self::Deb => compare_deb(&a.0, &b.0),
        }
    }

    /// Reads a version; an error when the family would not write it so.
    pub fn version(self, text: &str) -> Result<Version> {
        match self {
            Self::Deb => check_deb(text)?,
        }
        Ok(Version(text.to_owned()))
    }
}

/// Longest version that is read, in bytes; the longest of Debian 13 has 63.
const LONGEST: usize = 256;

/// Debian Policy 5.6.12: `[epoch:]upstream[-revision]`.
fn check_deb(text: &str) -> Result<()> {
    let (epoch, upstream, revision) = split_deb(text);
    let characters = |part: &str, more: &str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || ".+~".contains(c) || more.contains(c))
    };
    let wrong = if text.len() > LONGEST {
        "it is too long"
    } else if text.contains(':') && (epoch.is_empty() || epoch.parse::<u32>().is_err()) {
        "the epoch before `:` is no number"
    } else if upstream.is_empty() {
        "nothing is left before the revision"
    } else if !upstream.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it begins with neither digit nor letter"
    } else if text.ends_with('-') {
        "the revision after `-` is empty"
    } else if !characters(upstream, "-:") || !characters(revision, "") {
        "a character is none of letters, digits and `.+~-:`"
    } else {
        return Ok(());
    };
    bail!("`{}` is not a version: {wrong}", text.escape_debug())
}

/// Epoch, upstream version and revision as they are written; empty where missing.
fn split_deb(text: &str) -> (&str, &str, &str) {
    let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

fn compare_deb(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split_deb(a);
    let (epoch_b, upstream_b, revision_b) = split_deb(b);
    compare_number(epoch_a.as_bytes(), epoch_b.as_bytes())
        .then_with(|| compare_part(upstream_a.as_bytes(), upstream_b.as_bytes()))
        .then_with(|| compare_part(revision_a.as_bytes(), revision_b.as_bytes()))
}

/// Alternates between a run without digits and a number, until one differs.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = split_run(a, |byte| !byte.is_ascii_digit());
        let (text_b, rest_b) = split_run(b, |byte| !byte.is_ascii_digit());
        let (number_a, rest_a) = split_run(rest_a, u8::is_ascii_digit);
        let (number_b, rest_b) = split_run(rest_b, u8::is_ascii_digit);
        let order = compare_text(text_a, text_b).then_with(|| compare_number(number_a, number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn split_run(bytes: &[u8], inside: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !inside(byte)).unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// `~` before the end, the end before letters, letters before everything else.
fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|i| weight(a.get(i)).cmp(&weight(b.get(i))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Decimal numbers of any length; an empty one is zero.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |number: &[u8]| number.iter().skip_while(|&&d| d == b'0').count();
    let (length_a, length_b) = (significant(a), significant(b));
    length_a.cmp(&length_b).then_with(|| a[a.len() - length_a..].cmp(&b[b.len() - length_b..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(a: &str, b: &str) -> Ordering {
        Family::Deb.compare(&Version(a.into()), &Version(b.into()))
    }

    #[test]
    fn the_order_is_that_of_policy() {
        let rising = [
            "~~",
            "~~a",
            "~",
            "",
            "0.9",
            "1.0~beta1~svc1",
            "1.0~beta1",
            "1.0~rc",
            "1.0",
            "1.0-0.1",
            "1.0-1",
            "1.0-1+b1",
            "1.0a",
            "1.0+a",
            "1.0.1",
            "1.9",
            "1.10",
            "2",
            "1:0",
            "10:0~",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(order(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn what_is_written_differently_can_be_equal() {
        for (a, b) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1"), ("1a", "1a0")] {
            assert_eq!(order(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn a_number_longer_than_any_integer_compares() {
        assert_eq!(order(&"9".repeat(99), &format!("1{}", "0".repeat(99))), Ordering::Less);
    }

    #[test]
    fn bad_versions_are_named_with_the_reason() {
        for (text, reason) in [
            ("", "nothing is left"),
            ("a:1", "no number"),
            (":1", "no number"),
            ("-1", "nothing is left"),
            ("~1", "neither digit"),
            ("1-", "empty"),
            ("1_2", "none of letters"),
            ("1 2", "none of letters"),
            ("99999999999:1", "no number"),
            (&"1".repeat(300), "too long"),
        ] {
            let error = Family::Deb.version(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        assert!(Family::Deb.version("1:2.0-rc1~x+dfsg-3.1+deb13u1").is_ok());
    }
}
