//! From names to a set of packages that work together: the door to the solver.

mod reasons;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use package::Capability;
use resolvo::{ConditionalRequirement, DenseIndex, Problem, Solver, UnsolvableOrCancelled};

use self::terms::Terms;
use crate::universe::Universe;

/// What one part of an image needs.
pub(crate) struct Wish<'a> {
    /// Names asked for.
    pub(crate) names: BTreeSet<&'a str>,
    /// Names that satisfy dependencies and ship nothing.
    pub(crate) assume: BTreeSet<&'a str>,
    /// Whether the packages that a system implies come along.
    pub(crate) implied: bool,
    /// The offers that other parts have chosen: no other version of their names may be.
    pub(crate) chosen: &'a BTreeSet<usize>,
}

/// The offers that fulfil a wish, or a tree of reasons why none do.
pub(crate) fn resolve(universe: &Universe, wish: &Wish) -> Result<BTreeSet<usize>> {
    let mut names = wish.names.clone();
    if wish.implied {
        names.extend(implied(universe).filter(|name| !wish.assume.contains(name)));
    }
    let problem = Terms::new(universe, wish);
    let strange: Vec<_> = names.iter().filter(|name| universe.named(name).is_empty()).collect();
    if !strange.is_empty() {
        let lines: Vec<_> = strange.into_iter().map(|name| unknown(universe, name)).collect();
        bail!("{}", lines.join("\n"));
    }
    let mut requirements = Vec::new();
    for name in names {
        let offers = universe.named(name).to_vec();
        let set = problem.version_set(name, offers, name.to_owned());
        requirements.push(ConditionalRequirement::from(set));
    }
    let mut solver = Solver::new(problem);
    match solver.solve(Problem::new().requirements(requirements)) {
        Ok(found) => Ok(found.into_iter().map(DenseIndex::to_index).collect()),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            bail!("no set of packages fits:\n{}", reasons::tree(&conflict, &solver))
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => bail!("the solver was stopped"),
    }
}

/// Names whose newest offer says that a system implies it.
fn implied(universe: &Universe) -> impl Iterator<Item = &str> {
    universe.names().filter_map(|(name, offers)| {
        let newest = offers.first().map(|i| &universe.offers[*i].record);
        newest.is_some_and(|record| record.implied).then_some(name)
    })
}

fn unknown(universe: &Universe, name: &str) -> String {
    let asked = Capability { name: name.to_owned(), range: None };
    let providers: Vec<_> = universe.meeting(&asked).into_iter().map(|(name, _)| name).collect();
    match providers.is_empty() {
        true => format!(
            "no archive of the profile offers a package `{name}`{}",
            reasons::meant(universe, name)
        ),
        false => format!(
            "`{name}` is no package; it is provided by {}: ask for one of them",
            providers.join(", ")
        ),
    }
}
