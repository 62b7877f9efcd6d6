//! Which maintainer scripts nobody has read, and what is known of ones like them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use package::Moment;
use store::Digest;

use crate::{Imported, Reviewed, Rules, pattern};

/// A script that nobody has read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreviewed {
    /// The package.
    pub package: String,
    /// When the script would run.
    pub moment: Moment,
    /// What a rule or an acknowledgement names.
    pub digest: Digest,
    /// What it would have done.
    pub text: String,
}

/// A rule that says something of a script like an unreviewed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Similar<'a> {
    /// The stem of the rule's file.
    pub rule: &'a str,
    /// What is alike.
    pub likeness: Likeness,
    /// What the rule says of its script.
    pub reviewed: &'a Reviewed,
}

/// How a rule's script is like an unreviewed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// The same text, of another package.
    Text,
    /// The same package and moment, another text: it was changed since somebody read it.
    Place,
    /// The same moment, and a package whose name differs in numbers alone.
    Name,
}

/// A digest that a rule names and no script of its packages has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale<'a> {
    /// The stem of the rule's file.
    pub rule: &'a str,
    /// When the script would run.
    pub moment: Moment,
    /// What the rule names.
    pub digest: Digest,
    /// Whether the script is there and needs no rule: all that it says is done without it.
    pub recognised: bool,
}

/// The scripts that neither a rule covers nor `acknowledged` (digests by package) names, sorted.
///
/// # Errors
/// A remainder without a digest, which IMPORT never makes.
pub fn unreviewed(
    imported: &[Imported],
    rules: &Rules,
    acknowledged: &BTreeMap<String, BTreeSet<Digest>>,
) -> Result<Vec<Unreviewed>> {
    let mut found = BTreeSet::new();
    for one in imported {
        let rule = rules.for_package(&one.id.name);
        for (moment, left) in &one.remainders {
            let digest = left.digest.with_context(|| {
                format!("find the digest of a script of `{}` ({moment})", one.id.name)
            })?;
            let reviewed = rule.is_some_and(|rule| {
                rule.scripts.iter().any(|s| s.moment == *moment && s.sha256.contains(&digest))
            });
            let known = acknowledged.get(&one.id.name);
            let known = known.is_some_and(|digests| digests.contains(&digest));
            if !reviewed && !known {
                let (package, text) = (one.id.name.clone(), left.text.clone());
                found.insert(Unreviewed { package, moment: *moment, digest, text });
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Rules that say something of a script like this one, the nearest first.
pub fn similar<'a>(script: &Unreviewed, rules: &'a Rules) -> Vec<Similar<'a>> {
    let mut found = Vec::new();
    for (stem, rule) in &rules.packages {
        for reviewed in rule.scripts.iter().filter(|one| one.moment == script.moment) {
            let likeness = if reviewed.sha256.contains(&script.digest) {
                Likeness::Text
            } else if covers(stem, &script.package) {
                Likeness::Place
            } else if without_numbers(stem) == without_numbers(&script.package) {
                Likeness::Name
            } else {
                continue;
            };
            found.push(Similar { rule: stem, likeness, reviewed });
        }
    }
    found.sort_by_key(|similar| similar.likeness);
    found
}

/// What rules of these packages name in vain: an archive moves, and a rule stays behind.
pub fn stale<'a>(imported: &[Imported], rules: &'a Rules) -> Vec<Stale<'a>> {
    let mut found = Vec::new();
    for (stem, rule) in &rules.packages {
        let own: Vec<&Imported> = imported
            .iter()
            .filter(|one| covers(stem, &one.id.name))
            .filter(|one| rules.for_package(&one.id.name) == Some(rule))
            .collect();
        if own.is_empty() {
            continue;
        }
        for reviewed in &rule.scripts {
            let at = own.iter().flat_map(|one| &one.remainders);
            let at: Vec<_> = at.filter(|(moment, _)| *moment == reviewed.moment).collect();
            for digest in &reviewed.sha256 {
                if !at.iter().any(|(_, left)| left.digest == Some(*digest)) {
                    let (moment, digest) = (reviewed.moment, *digest);
                    found.push(Stale { rule: stem, moment, digest, recognised: at.is_empty() });
                }
            }
        }
    }
    found
}

fn covers(stem: &str, package: &str) -> bool {
    stem == package || (stem.contains('*') && pattern::matches(stem, package))
}

/// A name without what versions change in it.
fn without_numbers(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rule;

    fn rules(rules: &[(&str, Moment, &[u8])]) -> Rules {
        let rule = |(stem, moment, text): &(&str, Moment, &[u8])| {
            let reviewed =
                Reviewed { moment: *moment, sha256: vec![Digest::of(text)], why: "x".to_owned() };
            ((*stem).to_owned(), Rule { scripts: vec![reviewed], ..Rule::default() })
        };
        Rules { packages: rules.iter().map(rule).collect(), ..Rules::default() }
    }

    fn imported(name: &str, remainders: &[(Moment, &[u8])]) -> Imported {
        let remainder = |(moment, text): &(Moment, &[u8])| {
            let digest = Some(Digest::of(text));
            (*moment, package::Remainder { text: String::new(), digest })
        };
        Imported {
            family: package::Family::Deb,
            id: package::Id {
                name: name.to_owned(),
                version: package::Version("1".to_owned()),
                architecture: "all".to_owned(),
            },
            tree: store::TreeId { digest: Digest::of(b""), size: 0 },
            facts: vec![],
            remainders: remainders.iter().map(remainder).collect(),
            replaces: vec![],
            config: vec![],
        }
    }

    #[test]
    fn a_script_is_covered_by_a_rule_or_an_acknowledgement_of_its_digest_and_moment() {
        let a = [imported("a", &[(Moment::AfterUnpack, b"t")])];
        let none = BTreeMap::new();
        let count = |rules: &Rules, known| unreviewed(&a, rules, known).unwrap().len();
        assert_eq!(count(&Rules::default(), &none), 1);
        assert_eq!(count(&rules(&[("a", Moment::AfterUnpack, b"t")]), &none), 0);
        assert_eq!(count(&rules(&[("a", Moment::BeforeUnpack, b"t")]), &none), 1);
        assert_eq!(count(&rules(&[("b", Moment::AfterUnpack, b"t")]), &none), 1);
        let known = BTreeMap::from([("a".to_owned(), BTreeSet::from([Digest::of(b"t")]))]);
        assert_eq!(count(&Rules::default(), &known), 0);
        let known = BTreeMap::from([("b".to_owned(), BTreeSet::from([Digest::of(b"t")]))]);
        assert_eq!(count(&Rules::default(), &known), 1);
    }

    #[test]
    fn like_scripts_are_found_by_text_place_and_name() {
        let moment = Moment::AfterUnpack;
        let rules = rules(&[
            ("lib-16", moment, b"old"),
            ("lib-17", moment, b"older"),
            ("other", moment, b"new"),
            ("lib-15", Moment::BeforeUnpack, b"new"),
            ("far", moment, b"far"),
        ]);
        let script = Unreviewed {
            package: "lib-17".to_owned(),
            moment,
            digest: Digest::of(b"new"),
            text: String::new(),
        };
        let found = similar(&script, &rules);
        let found: Vec<_> = found.iter().map(|found| (found.rule, found.likeness)).collect();
        let wanted =
            [("other", Likeness::Text), ("lib-17", Likeness::Place), ("lib-16", Likeness::Name)];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_rule_that_matches_nothing_is_stale_only_where_its_package_is_there() {
        let moment = Moment::AfterUnpack;
        let rules = rules(&[
            ("a", moment, b"gone"),
            ("b", moment, b"same"),
            ("c-*", moment, b"gone"),
            ("absent", moment, b"gone"),
        ]);
        let packages = [
            imported("a", &[(moment, b"new")]),
            imported("b", &[(moment, b"same")]),
            imported("c-1", &[]),
        ];
        let found = stale(&packages, &rules);
        let found: Vec<_> = found.iter().map(|found| (found.rule, found.recognised)).collect();
        assert_eq!(found, [("a", false), ("c-*", true)]);
    }
}
