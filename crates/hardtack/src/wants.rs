//! Who wants a package: what locked packages say of each other, followed from what is asked for.
//!
//! A lock keeps no edges. They are read again from the packages' own control data, so that an old
//! lock can be asked as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result};
use lock::{Lock, Locked};
use package::{Capability, Clause, Family, Relations};
use store::Store;

/// One step of a chain: what is wanted, by whom and with which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The package that wants.
    pub(crate) by: String,
    /// Its clause.
    pub(crate) clause: String,
    /// The package that meets it.
    pub(crate) package: String,
}

/// How a package came to be in a part of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The package at the beginning.
    pub(crate) root: String,
    /// Whether the profile asks for it; else the distribution implies it.
    pub(crate) asked: bool,
    /// From the root to the package.
    pub(crate) steps: Vec<Step>,
}

/// What every package of one part of an image says of the others.
pub(crate) struct Wants(BTreeMap<String, Vec<Step>>);

/// Control data of every package that has `role`, from the store.
///
/// # Errors
/// A package that the store does not hold.
pub(crate) fn wants(lock: &Lock, role: &str, store: &Store) -> Result<Wants> {
    let of_role = |locked: &&Locked| locked.roles.iter().any(|own| own == role);
    let packages: Vec<&Locked> = lock.packages.iter().filter(of_role).collect();
    let read = store::parallel(&packages, |locked| {
        let name = &locked.id.name;
        if !store.has(&locked.blob) {
            anyhow::bail!("the store lacks package `{name}`: `hardtack image` fetches it");
        }
        let control = package::control(lock.family(locked)?, store.open_blob(&locked.blob)?);
        Ok(control.with_context(|| format!("read control data of `{name}`"))?.relations)
    })?;
    let family = packages.first().map(|locked| lock.family(locked)).transpose()?;
    let all: Vec<(&Locked, &Relations)> = packages.iter().copied().zip(&read).collect();
    let Some(family) = family else { return Ok(Wants(BTreeMap::new())) };
    let steps = all.iter().map(|(locked, relations)| {
        let clauses = relations.requires.iter();
        let steps = clauses.flat_map(|clause| steps(family, &locked.id.name, clause, clause, &all));
        (locked.id.name.clone(), steps.collect())
    });
    Ok(Wants(steps.collect()))
}

/// The steps that a clause makes; of alternatives those that are there, in the order of the clause.
fn steps(
    family: Family,
    by: &str,
    whole: &Clause,
    clause: &Clause,
    all: &[(&Locked, &Relations)],
) -> Vec<Step> {
    match clause {
        Clause::Needs(wanted) => {
            let met =
                all.iter().filter(|(locked, relations)| meets(family, locked, relations, wanted));
            met.map(|(locked, _)| Step {
                by: by.to_owned(),
                clause: words(whole),
                package: locked.id.name.clone(),
            })
            .collect()
        }
        Clause::All(parts) | Clause::Any(parts) => {
            parts.iter().flat_map(|part| steps(family, by, whole, part, all)).collect()
        }
    }
}

/// Whether a package is, or provides, what is wanted.
fn meets(family: Family, locked: &Locked, relations: &Relations, wanted: &Capability) -> bool {
    if locked.id.name == wanted.name {
        return wanted.admits(family, &locked.id.version);
    }
    relations.provides.iter().any(|provided| lock::provides(family, provided, wanted))
}

/// A clause as people write it.
fn words(clause: &Clause) -> String {
    let join =
        |parts: &[Clause], between: &str| parts.iter().map(words).collect::<Vec<_>>().join(between);
    match clause {
        Clause::Needs(wanted) => wanted.to_string(),
        Clause::Any(parts) => join(parts, " | "),
        Clause::All(parts) => join(parts, ", "),
    }
}

impl Wants {
    /// The shortest way to `package` from what is `asked` for; where there is none, from a package
    /// that nobody needs, which the distribution implies. `None` when it is not in this part.
    pub(crate) fn chain(&self, package: &str, asked: &BTreeSet<&str>) -> Option<Chain> {
        let (package, _) = self.0.get_key_value(package)?;
        let roots = self.0.keys().map(String::as_str).filter(|name| asked.contains(name));
        let roots: Vec<&str> = roots.collect();
        if let Some((root, steps)) = self.shortest(&roots, package) {
            return Some(Chain { root, asked: true, steps });
        }
        let needed: BTreeSet<&str> = self
            .0
            .values()
            .flatten()
            .filter(|step| step.by != step.package)
            .map(|step| step.package.as_str())
            .collect();
        let free = self.0.keys().map(String::as_str).filter(|name| !needed.contains(name));
        let free: Vec<&str> = free.filter(|name| !asked.contains(name)).collect();
        let found = self.shortest(&free, package);
        let (root, steps) = found.unwrap_or_else(|| (package.clone(), Vec::new()));
        Some(Chain { root, asked: false, steps })
    }

    /// Breadth first, in the order of names and clauses.
    fn shortest(&self, roots: &[&str], package: &str) -> Option<(String, Vec<Step>)> {
        let mut came: BTreeMap<&str, Option<&Step>> =
            roots.iter().map(|root| (*root, None)).collect();
        let mut left: VecDeque<&str> = roots.iter().copied().collect();
        while let Some(at) = left.pop_front() {
            if at == package {
                break;
            }
            for step in self.0.get(at).into_iter().flatten() {
                if !came.contains_key(step.package.as_str()) {
                    came.insert(&step.package, Some(step));
                    left.push_back(&step.package);
                }
            }
        }
        let mut steps = Vec::new();
        let mut at = package;
        while let Some(step) = came.get(at)? {
            steps.push((*step).clone());
            at = &step.by;
        }
        steps.reverse();
        Some((at.to_owned(), steps))
    }

    /// Everything that names `package` directly.
    pub(crate) fn directly(&self, package: &str) -> Vec<&Step> {
        let all = self.0.values().flatten();
        all.filter(|step| step.package == package && step.by != package).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Wants {
        let step = |by: &str, package: &str| Step {
            by: by.to_owned(),
            clause: format!("{package} >= 1"),
            package: package.to_owned(),
        };
        let edges = [
            ("asked", vec!["long", "short"]),
            ("long", vec!["longer"]),
            ("longer", vec!["end"]),
            ("short", vec!["end", "short"]),
            ("end", vec!["long"]),
            ("implied", vec!["below"]),
            ("below", vec![]),
            ("one", vec!["two"]),
            ("two", vec!["one"]),
        ];
        let edges = edges.into_iter().map(|(by, all)| {
            (by.to_owned(), all.into_iter().map(|package| step(by, package)).collect())
        });
        Wants(edges.collect())
    }

    fn shown(package: &str) -> String {
        let chain = sample().chain(package, &BTreeSet::from(["asked"])).unwrap();
        let steps: Vec<_> = chain.steps.iter().map(|step| step.package.as_str()).collect();
        format!("{} {} {}", chain.root, chain.asked, steps.join(" "))
    }

    #[test]
    fn the_shortest_way_from_what_is_asked_for_is_taken() {
        assert_eq!(shown("end"), "asked true short end");
        assert_eq!(shown("asked"), "asked true ");
        assert_eq!(sample().directly("end").len(), 2);
    }

    #[test]
    fn what_nobody_asks_for_is_implied_also_in_a_ring() {
        assert_eq!(shown("below"), "implied false below");
        assert_eq!(shown("two"), "two false ");
        assert!(sample().chain("gone", &BTreeSet::new()).is_none());
    }
}
