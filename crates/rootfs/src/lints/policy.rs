//! What lints go by, and which of their findings somebody accepts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use store::Tree;

use super::{Finding, Verdict, unit_file};
use crate::{Merged, Patterns, Rules, pattern};

/// Name of a lint, then path pattern, to the reason why its findings there are accepted.
pub type Waivers = BTreeMap<String, BTreeMap<String, String>>;

/// What lints go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Path to the reason why it may be set-id or hold file capabilities.
    pub setid: BTreeMap<String, String>,
    /// Paths that no image may hold.
    pub forbid: Patterns,
    /// Masked unit to the reason.
    pub masked: BTreeMap<String, String>,
    /// Path to the reason why it may lack a library.
    pub unmet: BTreeMap<String, String>,
    /// Feature or library that programs load when it is there, to the reason why it is left out.
    pub optional: BTreeMap<String, String>,
    /// Unit that the profile names to whether it enables it.
    pub units: BTreeMap<String, bool>,
    /// What the profile accepts.
    pub waived: Waivers,
    /// What rules accept, whichever of their packages the image holds.
    pub accepted: Waivers,
}

impl Policy {
    /// What rules and a merge say; the profile's own words are still to be added.
    pub fn of(rules: &Rules, merged: &Merged) -> Self {
        let mut accepted = rules.distribution.lints.clone();
        for (lint, waivers) in rules.packages.values().flat_map(|rule| &rule.lints) {
            accepted.entry(lint.clone()).or_default().extend(waivers.clone());
        }
        Self {
            forbid: rules.distribution.forbid.clone(),
            masked: merged.masked.clone(),
            unmet: merged.unmet.clone(),
            optional: rules.distribution.optional.clone(),
            accepted,
            ..Self::default()
        }
    }

    /// Takes out what is waived, and says which of the profile's words nothing needs.
    pub(super) fn judge(&self, findings: Vec<Finding>, tree: &Tree) -> Verdict {
        let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut left = Vec::new();
        for finding in findings {
            let waived = covering(&self.waived, &finding);
            if waived.is_empty() && covering(&self.accepted, &finding).is_empty() {
                left.push(finding);
            }
            used.extend(waived);
        }
        let mut warnings = Vec::new();
        for (lint, waivers) in &self.waived {
            for pattern in waivers.keys().filter(|p| !used.contains(&(lint.as_str(), p.as_str()))) {
                warnings.push(format!(
                    "`lints` waives `{lint}` for `{pattern}`, where it finds nothing: take the \
                     line out"
                ));
            }
        }
        let gone = self.units.keys().filter(|unit| !unit_file::known(tree, unit));
        warnings.extend(
            gone.map(|unit| {
                format!("`units` names `{unit}`, which no package brings: take it out")
            }),
        );
        let gone = self.setid.keys().filter(|path| tree.get(path).is_none());
        warnings.extend(gone.map(|path| {
            format!("`setid` allows `{path}`, which the image does not hold: take the line out")
        }));
        Verdict { findings: left, warnings }
    }
}

/// Lint and pattern of each waiver that covers a finding.
fn covering<'w>(waivers: &'w Waivers, finding: &Finding) -> Vec<(&'w str, &'w str)> {
    let of_lint = waivers.get_key_value(&finding.lint).into_iter();
    let pairs =
        of_lint.flat_map(|(lint, row)| row.keys().map(move |pattern| (&**lint, &**pattern)));
    pairs.filter(|(_, pattern)| pattern::matches(pattern, &finding.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    fn waive(sample: &mut Sample, lint: &str, pattern: &str) {
        let row = sample.policy.waived.entry(lint.to_owned()).or_default();
        row.insert(pattern.to_owned(), "a reason".to_owned());
    }

    #[test]
    fn a_waiver_covers_its_lint_and_its_paths_and_no_other() {
        let mut sample = Sample::new("waiver");
        sample.file("usr/lib/x/a", "x", 0o666);
        sample.file("usr/lib/y", "x", 0o666);
        waive(&mut sample, "world-writable", "usr/lib/x/**");
        waive(&mut sample, "set-id", "usr/lib/y");
        let verdict = sample.verdict();
        let left: Vec<&str> = verdict.findings.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(left, ["usr/lib/y"]);
        assert_eq!(verdict.warnings.len(), 1);
        assert!(verdict.warnings[0].contains("waives `set-id` for `usr/lib/y`"));
    }

    #[test]
    fn what_rules_accept_is_not_found_and_need_not_be_there() {
        let mut sample = Sample::new("accepted");
        sample.policy.accepted.insert(
            "world-writable".to_owned(),
            [("usr/lib/x".to_owned(), "a reason".to_owned())].into(),
        );
        assert_eq!(sample.verdict().warnings, [""; 0]);
        sample.file("usr/lib/x", "x", 0o666);
        assert_eq!(sample.findings(), []);
    }

    #[test]
    fn a_place_on_the_set_id_list_that_nothing_needs_is_reported() {
        let mut sample = Sample::new("setid-gone");
        sample.policy.setid.insert("usr/bin/gone".to_owned(), "a reason".to_owned());
        assert!(sample.verdict().warnings[0].contains("`setid` allows `usr/bin/gone`"));
    }

    #[test]
    fn a_unit_that_no_package_brings_is_reported() {
        let mut sample = Sample::new("units-gone");
        sample.policy.units.insert("gone.service".to_owned(), false);
        assert!(sample.verdict().warnings[0].contains("`units` names `gone.service`"));
        sample.file("usr/lib/systemd/user/gone.service", "", 0o644);
        assert_eq!(sample.verdict().warnings, [""; 0]);
    }

    #[test]
    fn a_finding_reads_lint_path_package_problem_way_out() {
        let mut sample = Sample::new("form");
        sample.file("usr/lib/y", "x", 0o666);
        let line = sample.findings()[0].to_string();
        assert!(line.starts_with("world-writable: usr/lib/y (a): "), "{line}");
        assert_eq!(line.matches(": ").count(), 3, "{line}");
    }
}
