//! Rules: what is particular to a distribution or a package, as data.
//!
//! One short file per package. A rule says what the package's scripts would have done that its
//! files and facts do not say, and which scripts somebody has read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use package::Moment;
use serde::{Deserialize, Serialize};
use store::Digest;

use crate::{Capabilities, LINTS, Patterns, Waivers, pattern};

/// What one file of rules says. Paths have no leading `/` and are those of the merged tree
/// (`usr/bin/x`, never `bin/x`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// For people.
    pub about: String,
    /// The package meets dependencies and ships nothing.
    pub assume: bool,
    /// Own paths that do not reach the tree.
    pub drop: Patterns,
    /// Own file to the path that it is copied to, before anything is dropped.
    pub copy: BTreeMap<String, String>,
    /// Path to the target of a symbolic link made there.
    pub link: BTreeMap<String, String>,
    /// Path to the text of a file made there (0644); an own file there is replaced.
    pub write: BTreeMap<String, String>,
    /// Empty directories made (0755).
    pub directories: BTreeSet<String>,
    /// Modes, owners and file capabilities.
    pub modes: BTreeMap<String, Mode>,
    /// Lines of sysusers.d(5), which win over those of packages.
    pub users: Vec<String>,
    /// Lines of tmpfiles.d(5).
    pub tmpfiles: Vec<String>,
    /// Name of an alternative to the absolute path of its provider, whatever the priorities.
    pub alternatives: BTreeMap<String, String>,
    /// Path to where it goes when another package ships it.
    pub divert: BTreeMap<String, String>,
    /// Scripts that somebody has read.
    pub scripts: Vec<Reviewed>,
    /// Units.
    pub units: Units,
    /// Programs and libraries that may lack a library: path to reason.
    pub unmet: BTreeMap<String, String>,
    /// Findings of lints that are accepted: lint, then path pattern, to reason.
    pub lints: Waivers,
}

/// Mode and owner of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mode {
    /// Permission bits, octal (`"0640"`); as they are when missing.
    #[serde(with = "octal")]
    pub mode: Option<u16>,
    /// User name; as it is when missing.
    pub owner: Option<String>,
    /// Group name; as it is when missing.
    pub group: Option<String>,
    /// File capabilities; as they are when missing. A profile must allow the path under `setid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

/// A script that somebody has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reviewed {
    /// When it would run.
    pub moment: Moment,
    /// Digests of its remainder; several when releases or versions differ.
    pub sha256: Vec<Digest>,
    /// Why nothing, or nothing beyond this rule, is needed.
    pub why: String,
}

/// What becomes of units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Units {
    /// Enabled.
    pub enable: BTreeSet<String>,
    /// Not enabled, whatever packages want.
    pub disable: BTreeSet<String>,
    /// Never started: unit to reason.
    pub mask: BTreeMap<String, String>,
}

/// What holds for a distribution as a whole (file `_distribution.yaml`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Distribution {
    /// For people.
    pub about: String,
    /// Directory to the one that it is another name of.
    pub aliases: BTreeMap<String, String>,
    /// Paths that no package brings into a tree.
    pub drop: Patterns,
    /// Paths that no image may hold (package managers).
    pub forbid: Patterns,
    /// Path to the target of a symbolic link made there.
    pub link: BTreeMap<String, String>,
    /// Path to the text of a file made there.
    pub write: BTreeMap<String, String>,
    /// Modes and owners.
    pub modes: BTreeMap<String, Mode>,
    /// Lines of sysusers.d(5), behind those of packages' rules.
    pub users: Vec<String>,
    /// Lines of tmpfiles.d(5).
    pub tmpfiles: Vec<String>,
    /// Libraries that programs load by name when they want them: name to why no image needs it.
    pub optional: BTreeMap<String, String>,
    /// Findings of lints that are accepted: lint, then path pattern, to reason.
    pub lints: Waivers,
}

/// All rules of a distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What holds for all packages.
    pub distribution: Distribution,
    /// By the file's stem: a package's name, which may hold one `*`.
    pub packages: BTreeMap<String, Rule>,
}

impl Rules {
    /// The rule of a package: the one of its name, else the longest pattern that matches.
    pub fn for_package(&self, name: &str) -> Option<&Rule> {
        if let Some(rule) = self.packages.get(name) {
            return Some(rule);
        }
        let matching = self
            .packages
            .iter()
            .filter(|(stem, _)| stem.contains('*') && pattern::matches(stem, name));
        matching.max_by_key(|(stem, _)| (stem.len(), *stem)).map(|(_, rule)| rule)
    }

    /// Names (or patterns) of packages that ship nothing.
    pub fn assumed(&self) -> BTreeSet<String> {
        let assumed = self.packages.iter().filter(|(_, rule)| rule.assume);
        assumed.map(|(name, _)| name.clone()).collect()
    }

    /// The same rules without what keeps paths out of a tree: all that an installed system has.
    pub fn without_drops(&self) -> Rules {
        let mut rules = self.clone();
        rules.distribution.drop = Patterns::default();
        for rule in rules.packages.values_mut() {
            rule.drop = Patterns::default();
        }
        rules
    }

    /// Refuses what no rule may say.
    ///
    /// # Errors
    /// A file name with two stars, a mask, a review or a waiver without a reason, an unknown lint.
    pub fn check(&self) -> Result<()> {
        for (stem, rule) in &self.packages {
            if stem.matches('*').count() > 1 {
                bail!("rule `{stem}` holds more than one `*` in its name");
            }
            if rule.scripts.iter().any(|script| script.why.trim().is_empty()) {
                bail!("rule `{stem}` names a script without saying why it needs nothing");
            }
            if let Some((unit, _)) = rule.units.mask.iter().find(|(_, why)| why.trim().is_empty()) {
                bail!("rule `{stem}` masks `{unit}` without a reason");
            }
            check_waivers(&rule.lints).with_context(|| format!("read rule `{stem}`"))?;
        }
        check_waivers(&self.distribution.lints).context("read the rules of the distribution")?;
        Ok(())
    }
}

fn check_waivers(waivers: &Waivers) -> Result<()> {
    for (lint, row) in waivers {
        if !LINTS.iter().any(|known| known.name == lint) {
            let names: Vec<&str> = LINTS.iter().map(|lint| lint.name).collect();
            bail!("no lint is called `{lint}`; there are {}", names.join(", "));
        }
        if let Some((pattern, _)) = row.iter().find(|(_, why)| why.trim().is_empty()) {
            bail!("lint `{lint}` is waived for `{pattern}` without a reason");
        }
    }
    Ok(())
}

/// Octal text: YAML reads the bare number `0640` as 640.
mod octal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mode: &Option<u16>, s: S) -> Result<S::Ok, S::Error> {
        match mode {
            Some(mode) => s.serialize_str(&format!("{mode:04o}")),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u16>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
        let mode = u16::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.map(Some).ok_or_else(|| {
            D::Error::custom(format!("mode `{text}` is not octal between 0000 and 7777"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_beats_a_pattern_and_a_long_pattern_a_short_one() {
        let rule = |about: &str| Rule { about: about.to_owned(), ..Rule::default() };
        let packages = ["linux-*", "linux-image-*", "linux-image-cloud"];
        let packages = packages.into_iter().map(|stem| (stem.to_owned(), rule(stem))).collect();
        let rules = Rules { packages, ..Rules::default() };
        let found = |name| rules.for_package(name).map(|rule| rule.about.as_str());
        assert_eq!(found("linux-image-cloud"), Some("linux-image-cloud"));
        assert_eq!(found("linux-image-6"), Some("linux-image-*"));
        assert_eq!(found("linux-base"), Some("linux-*"));
        assert_eq!(found("systemd"), None);
    }

    #[test]
    fn a_mode_is_octal_text_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Mode>(text);
        assert_eq!(read(r#"{"mode":"0640"}"#).unwrap().mode, Some(0o640));
        assert!(read(r#"{"mode":"0888"}"#).is_err());
        assert!(read(r#"{"mode":"17777"}"#).is_err());
        assert!(read(r#"{"mod":"0640"}"#).is_err());
        assert!(read(r#"{"capabilities":"cap_net_raw=ep"}"#).unwrap().capabilities.is_some());
    }

    #[test]
    fn a_mask_without_a_reason_is_refused() {
        let mut rules = Rules::default();
        let rule: Rule = serde_json::from_str(r#"{"units":{"mask":{"a.service":" "}}}"#).unwrap();
        rules.packages.insert("a".to_owned(), rule);
        assert!(format!("{:#}", rules.check().unwrap_err()).contains("a.service"));
    }
}
