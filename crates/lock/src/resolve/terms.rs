//! Offers and dependencies in the solver's terms.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::{Result, bail};
use package::{Capability, Clause};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex, Dependencies,
    DependencyProvider, HintDependenciesAvailable, Interner, KnownDependencies, NameId,
    Requirement, SolvableId, SolverCache, StringId, VersionSetId, VersionSetUnionId,
};

use super::Wish;
use crate::universe::{Universe, provides};

/// The universe in the solver's terms. A name's number is its place among all names in use.
pub(super) struct Terms<'a> {
    pub(super) universe: &'a Universe,
    pub(super) wish: &'a Wish<'a>,
    /// What packages that are assumed provide.
    assumed: Vec<&'a Capability>,
    interned: RefCell<Interned>,
}

#[derive(Default)]
struct Interned {
    names: Vec<String>,
    name_ids: BTreeMap<String, usize>,
    sets: Vec<Set>,
    set_ids: BTreeMap<(usize, Vec<usize>, String), usize>,
    unions: Vec<Vec<VersionSetId>>,
    strings: Vec<String>,
}

/// Some offers of a name.
#[derive(Clone)]
struct Set {
    name: usize,
    offers: Vec<usize>,
    /// What they are wanted, or not wanted, as.
    wanted: String,
}

impl<'a> Terms<'a> {
    pub(super) fn new(universe: &'a Universe, wish: &'a Wish<'a>) -> Self {
        let assumed = wish.assume.iter().flat_map(|name| universe.named(name));
        let assumed =
            assumed.flat_map(|i| &universe.offers[*i].record.relations.provides).collect();
        Self { universe, wish, assumed, interned: RefCell::default() }
    }

    fn name(&self, name: &str) -> NameId {
        let mut interned = self.interned.borrow_mut();
        if let Some(id) = interned.name_ids.get(name) {
            return NameId::from_index(*id);
        }
        let id = interned.names.len();
        interned.names.push(name.to_owned());
        interned.name_ids.insert(name.to_owned(), id);
        NameId::from_index(id)
    }

    pub(super) fn version_set(
        &self,
        name: &str,
        mut offers: Vec<usize>,
        wanted: String,
    ) -> VersionSetId {
        let name = self.name(name).to_index();
        offers.sort_unstable();
        let mut interned = self.interned.borrow_mut();
        let next = interned.sets.len();
        let id = *interned.set_ids.entry((name, offers.clone(), wanted.clone())).or_insert(next);
        if id == next {
            interned.sets.push(Set { name, offers, wanted });
        }
        VersionSetId::from_index(id)
    }

    fn set(&self, id: VersionSetId) -> Set {
        self.interned.borrow().sets[id.to_index()].clone()
    }

    /// What a requirement asks for: each name, and the words in which it is wanted.
    pub(super) fn asked(&self, requirement: Requirement) -> Vec<(String, String)> {
        let sets = match requirement {
            Requirement::Single(set) => vec![set],
            Requirement::Union(union) => self.interned.borrow().unions[union.to_index()].clone(),
        };
        sets.into_iter().map(|set| self.words(set)).collect()
    }

    /// The name of a set, and the words in which it is wanted or not.
    pub(super) fn words(&self, set: VersionSetId) -> (String, String) {
        let Set { name, wanted, .. } = self.set(set);
        (self.interned.borrow().names[name].clone(), wanted)
    }

    /// Why a package cannot be used.
    pub(super) fn string(&self, id: StringId) -> String {
        self.interned.borrow().strings[id.to_index()].clone()
    }

    fn is_assumed(&self, wanted: &Capability) -> bool {
        self.wish.assume.contains(wanted.name.as_str())
            || self.assumed.iter().any(|has| provides(self.universe.family, has, wanted))
    }

    /// The sets of offers that meet a clause, in the order of preference; `None` when what is
    /// assumed meets it.
    fn alternatives(&self, clause: &Clause) -> Result<Option<Vec<VersionSetId>>> {
        match clause {
            Clause::Needs(wanted) if self.is_assumed(wanted) => Ok(None),
            Clause::Needs(wanted) => Ok(Some(self.meeting(wanted))),
            Clause::Any(clauses) => {
                let mut all = Vec::new();
                for clause in clauses {
                    match self.alternatives(clause)? {
                        None => return Ok(None),
                        Some(sets) => all.extend(sets),
                    }
                }
                // Among alternatives, those that nobody offers only clutter.
                if all.iter().any(|set| !self.set(*set).offers.is_empty()) {
                    all.retain(|set| !self.set(*set).offers.is_empty());
                }
                Ok(Some(all))
            }
            Clause::All(_) => bail!("a dependency on all of several, as one alternative"),
        }
    }

    fn meeting(&self, wanted: &Capability) -> Vec<VersionSetId> {
        let mut sets = Vec::new();
        for (name, offers) in self.universe.meeting(wanted) {
            if !self.wish.assume.contains(name) {
                sets.push(self.version_set(name, offers, wanted.to_string()));
            }
        }
        if sets.is_empty() {
            sets.push(self.version_set(&wanted.name, Vec::new(), wanted.to_string()));
        }
        sets
    }

    fn requirements(&self, clause: &Clause) -> Result<Vec<ConditionalRequirement>> {
        if let Clause::All(clauses) = clause {
            let all = clauses.iter().map(|clause| self.requirements(clause));
            return Ok(all.collect::<Result<Vec<_>>>()?.concat());
        }
        let Some(sets) = self.alternatives(clause)? else { return Ok(Vec::new()) };
        if let [set] = sets[..] {
            return Ok(vec![set.into()]);
        }
        let mut interned = self.interned.borrow_mut();
        interned.unions.push(sets);
        let union = VersionSetUnionId::from_index(interned.unions.len() - 1);
        Ok(vec![Requirement::Union(union).into()])
    }

    /// For each other name that has offers which must not be present: the offers that may.
    fn constraints(&self, own: &str, unwanted: &Capability) -> Vec<VersionSetId> {
        let mut sets = Vec::new();
        for (name, bad) in self.universe.meeting(unwanted) {
            if name != own && !self.wish.assume.contains(name) {
                let good = self.universe.named(name).iter().copied();
                let good = good.filter(|offer| !bad.contains(offer)).collect();
                sets.push(self.version_set(name, good, unwanted.to_string()));
            }
        }
        sets
    }

    fn dependencies(&self, offer: usize) -> Result<KnownDependencies> {
        let record = &self.universe.offers[offer].record;
        let mut known = KnownDependencies::default();
        for clause in &record.relations.requires {
            known.requirements.extend(self.requirements(clause)?);
        }
        for unwanted in &record.relations.conflicts {
            known.constrains.extend(self.constraints(&record.id.name, unwanted));
        }
        Ok(known)
    }
}

impl Interner for Terms<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let id = &self.universe.offers[solvable.to_index()].record.id;
        format!("{} {}", id.name, id.version)
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl Display + '_ {
        let mut shown = String::new();
        for (i, solvable) in solvables.iter().enumerate() {
            let id = &self.universe.offers[solvable.to_index()].record.id;
            shown.push_str(if i == 0 { &id.name } else { " |" });
            shown.push_str(&format!(" {}", id.version));
        }
        shown
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.interned.borrow().names[name.to_index()].clone()
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        self.set(version_set).wanted
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        self.string(string_id)
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        NameId::from_index(self.interned.borrow().sets[version_set.to_index()].name)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.name(&self.universe.offers[solvable.to_index()].record.id.name)
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.interned.borrow().unions[union.to_index()].clone().into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("no condition is ever made")
    }
}

impl DependencyProvider for Terms<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        version_set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let offers = self.set(version_set).offers;
        let inside = |one: &SolvableId| offers.binary_search(&one.to_index()).is_ok();
        candidates.iter().copied().filter(|one| inside(one) != inverse).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let name = self.interned.borrow().names[name.to_index()].clone();
        let offers = self.universe.named(&name);
        if offers.is_empty() || self.wish.assume.contains(name.as_str()) {
            return None;
        }
        let locked = offers.iter().find(|offer| self.wish.chosen.contains(offer));
        Some(Candidates {
            candidates: offers.iter().map(|offer| SolvableId::from_index(*offer)).collect(),
            locked: locked.map(|offer| SolvableId::from_index(*offer)),
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        // Offers of one name are numbered from the newest on.
        solvables.sort_unstable();
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.dependencies(solvable.to_index()) {
            Ok(known) => Dependencies::Known(known),
            Err(error) => {
                let mut interned = self.interned.borrow_mut();
                interned.strings.push(format!("{error:#}"));
                Dependencies::Unknown(StringId::from_index(interned.strings.len() - 1))
            }
        }
    }
}
