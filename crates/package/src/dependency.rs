//! What a package asks of others: a boolean tree over capabilities.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Family, Version};

/// A condition on the set of packages that are present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clause {
    /// Something provides this.
    Needs(Capability),
    /// Every one of these holds.
    All(Vec<Clause>),
    /// At least one of these holds; the first is preferred.
    Any(Vec<Clause>),
}

/// A name (later: a path or a soname) that packages provide, with an optional range of versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Capability {
    /// The name.
    pub name: String,
    /// Which versions.
    pub range: Option<(Relation, Version)>,
}

/// How a version must stand to the one named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Strictly earlier.
    Earlier,
    /// Earlier or equal.
    AtMost,
    /// Equal.
    Equal,
    /// Later or equal.
    AtLeast,
    /// Strictly later.
    Later,
}

/// Everything that a package says of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// Must hold for the package to work (Depends and Pre-Depends).
    pub requires: Vec<Clause>,
    /// Wished for.
    pub recommends: Vec<Clause>,
    /// Must not be present at the same time (Conflicts and Breaks).
    pub conflicts: Vec<Capability>,
    /// Whose files this package may overwrite.
    pub replaces: Vec<Capability>,
    /// What this package is good for beside its own name.
    pub provides: Vec<Capability>,
}

/// Most members of one field; the largest field of Debian 13 has about 2,000.
const MOST: usize = 20_000;

/// Reads a field of requirements such as `Depends` (Debian Policy 7.1): one clause for each
/// member between commas; alternatives are in the order of the field.
///
/// A qualifier after a name (`:any`, `:native`) says which architecture may serve; an image has
/// one architecture, so it is dropped. A restriction in brackets never reaches a binary package
/// and is an error.
pub fn read_clauses(field: &str) -> Result<Vec<Clause>> {
    members(field)?
        .into_iter()
        .map(|member| {
            let mut either = member.split('|').map(|text| read_capability(text).map(Clause::Needs));
            if member.contains('|') {
                Ok(Clause::Any(either.collect::<Result<_>>()?))
            } else {
                either.next().unwrap_or_else(|| bail!("an empty clause"))
            }
        })
        .collect()
}

/// Reads a field of plain capabilities, such as `Provides` or `Conflicts` (Debian Policy 7.1).
pub fn read_capabilities(field: &str) -> Result<Vec<Capability>> {
    members(field)?.into_iter().map(read_capability).collect()
}

fn members(field: &str) -> Result<Vec<&str>> {
    let members: Vec<_> = field.split(',').map(str::trim).filter(|m| !m.is_empty()).collect();
    if members.len() > MOST {
        bail!("more than {MOST} members in one dependency field");
    }
    Ok(members)
}

fn read_capability(text: &str) -> Result<Capability> {
    let text = text.trim();
    let bad = || format!("read dependency `{}`", text.escape_debug());
    let (name, range) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let inside = rest.strip_suffix(')').with_context(bad)?;
            (name.trim_end(), Some(read_range(inside.trim()).with_context(bad)?))
        }
    };
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    check_name(name).with_context(bad)?;
    Ok(Capability { name: name.to_owned(), range })
}

fn read_range(text: &str) -> Result<(Relation, Version)> {
    let end = text.find(|c: char| !"<=>".contains(c)).unwrap_or(text.len());
    let relation = match &text[..end] {
        "<<" => Relation::Earlier,
        // Old spellings that dpkg still reads as "or equal".
        "<=" | "<" => Relation::AtMost,
        "=" => Relation::Equal,
        ">=" | ">" => Relation::AtLeast,
        ">>" => Relation::Later,
        other => bail!("`{other}` is no relation between versions"),
    };
    Ok((relation, Family::Deb.version(text[end..].trim_start())?))
}

/// Debian Policy 5.6.1, with the upper-case letters and `_` that virtual names of old use.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    if name.is_empty()
        || name.len() > 255
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !name.chars().all(good)
    {
        bail!("`{}` is not a package name", name.escape_debug());
    }
    Ok(())
}

impl Relation {
    /// The sign of the relation: `<`, `<=`, `=`, `>=`, `>`.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Earlier => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Later => ">",
        }
    }
}

impl Capability {
    /// Whether `version` lies in the range.
    pub fn admits(&self, family: Family, version: &Version) -> bool {
        self.range.as_ref().is_none_or(|(relation, bound)| {
            let order = family.compare(version, bound);
            match relation {
                Relation::Earlier => order.is_lt(),
                Relation::AtMost => order.is_le(),
                Relation::Equal => order.is_eq(),
                Relation::AtLeast => order.is_ge(),
                Relation::Later => order.is_gt(),
            }
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.range {
            None => f.write_str(&self.name),
            Some((relation, version)) => {
                write!(f, "{} {} {version}", self.name, relation.sign())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(field: &str) -> Vec<String> {
        read_clauses(field)
            .unwrap()
            .into_iter()
            .map(|clause| match clause {
                Clause::Needs(one) => one.to_string(),
                Clause::Any(many) => format!("{many:?}").matches("Needs").count().to_string(),
                Clause::All(_) => "all".into(),
            })
            .collect()
    }

    #[test]
    fn clauses_keep_order_ranges_and_alternatives() {
        assert_eq!(
            shown("libc6 (>= 2.41), a:any|b (<<1) , c(=1:2-3),\n d (>> 1~),"),
            ["libc6 >= 2.41", "2", "c = 1:2-3", "d > 1~"]
        );
    }

    #[test]
    fn broken_clauses_are_errors_that_show_the_clause() {
        for field in ["a (1)", "a (>= )", "a (>= 1", "a b", "a |", "a [amd64]", "../a", "(>= 1)"] {
            let error = format!("{:#}", read_clauses(field).unwrap_err());
            assert!(error.contains("read dependency"), "{field}: {error}");
        }
    }

    #[test]
    fn ranges_admit_what_they_say() {
        let one = |text: &str| read_capabilities(text).unwrap().remove(0);
        let admits = |text, version: &str| one(text).admits(Family::Deb, &Version(version.into()));
        assert!(admits("a", "1") && admits("a (>= 1)", "1") && admits("a (<< 1)", "1~rc"));
        assert!(
            !admits("a (>> 1)", "1-0") && !admits("a (= 1)", "1.0") && !admits("a (<= 1)", "2")
        );
    }
}
