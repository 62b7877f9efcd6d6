//! From names to a set of packages that work together: the door to the solver.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use anyhow::{Result, anyhow, bail};
use package::{Capability, Clause};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex, Dependencies,
    DependencyProvider, HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem,
    Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};

use crate::universe::{Universe, provides};

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
    let mut requirements = Vec::new();
    for name in names {
        if universe.named(name).is_empty() {
            bail!("{}", unknown(universe, name));
        }
        let offers = universe.named(name).to_vec();
        let set = problem.version_set(name, offers, String::new());
        requirements.push(ConditionalRequirement::from(set));
    }
    let mut solver = Solver::new(problem);
    match solver.solve(Problem::new().requirements(requirements)) {
        Ok(found) => Ok(found.into_iter().map(DenseIndex::to_index).collect()),
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let reasons = conflict.display_user_friendly(&solver).to_string();
            Err(anyhow!("no set of packages fits:\n{}", reasons.trim_end()))
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
        true => format!("no archive of the profile offers a package `{name}`"),
        false => format!("`{name}` is no package; it is provided by {}", providers.join(", ")),
    }
}

/// The universe in the solver's terms. A name's number is its place among all names in use.
struct Terms<'a> {
    universe: &'a Universe,
    wish: &'a Wish<'a>,
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
    text: String,
}

impl<'a> Terms<'a> {
    fn new(universe: &'a Universe, wish: &'a Wish<'a>) -> Self {
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

    fn version_set(&self, name: &str, mut offers: Vec<usize>, text: String) -> VersionSetId {
        let name = self.name(name).to_index();
        offers.sort_unstable();
        let mut interned = self.interned.borrow_mut();
        let next = interned.sets.len();
        let id = *interned.set_ids.entry((name, offers.clone(), text.clone())).or_insert(next);
        if id == next {
            interned.sets.push(Set { name, offers, text });
        }
        VersionSetId::from_index(id)
    }

    fn set(&self, id: VersionSetId) -> Set {
        self.interned.borrow().sets[id.to_index()].clone()
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
        let range = wanted.range.as_ref();
        let range = range.map_or(String::new(), |(r, version)| format!("{} {version}", r.sign()));
        let mut sets = Vec::new();
        for (name, offers) in self.universe.meeting(wanted) {
            if !self.wish.assume.contains(name) {
                let text = match name == wanted.name {
                    true => range.clone(),
                    false => format!("(as {wanted})"),
                };
                sets.push(self.version_set(name, offers, text));
            }
        }
        if sets.is_empty() {
            sets.push(self.version_set(&wanted.name, Vec::new(), range));
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
                sets.push(self.version_set(name, good, format!("conflicting with {unwanted}")));
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
        self.set(version_set).text
    }

    fn display_string(&self, string_id: StringId) -> impl Display + '_ {
        self.interned.borrow().strings[string_id.to_index()].clone()
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

#[cfg(test)]
mod tests {
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
        assert!(reasons(old, &["a"]).contains("no candidates"));
        let good = "a 1 [Depends: v (>= 2)]\np 3 [Provides: v (= 2)]";
        assert_eq!(found(good, &["a"]), "a 1, p 3");
    }

    #[test]
    fn conflicts_and_breaks_are_kept_also_with_provided_names() {
        let breaks = "a 2 [Breaks: b (<< 2)]\nb 1\nc 1 [Depends: a | d]\nd 1";
        assert_eq!(found(breaks, &["b", "c"]), "b 1, c 1, d 1");
        let older = "a 2 [Breaks: b]\na 1\nb 1";
        assert_eq!(found(older, &["a", "b"]), "a 1, b 1");
        let mta =
            "exim 1 [Provides: mta; Conflicts: mta]\npostfix 1 [Provides: mta; Conflicts: mta]";
        assert_eq!(found(mta, &["exim"]), "exim 1");
        let why = reasons(mta, &["exim", "postfix"]);
        assert!(why.contains("exim") && why.contains("postfix") && why.contains("mta"), "{why}");
    }

    #[test]
    fn what_cannot_be_is_told_as_a_tree_of_reasons() {
        let why = reasons("a 1 [Depends: b]\nb 1 [Depends: c (>= 2)]\nc 1", &["a"]);
        for part in ["no set of packages fits", "a", "b", "c >= 2"] {
            assert!(why.contains(part), "{why}");
        }
        let why = reasons("a 1", &["nope"]);
        assert!(why.contains("no archive of the profile offers a package `nope`"), "{why}");
        let why = reasons("gawk 1 [Provides: awk]", &["awk"]);
        assert!(why.contains("provided by gawk"), "{why}");
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
        let universe = universe(
            "a 1\nbase 1 [Essential: yes; Depends: c]\nc 1\nold 2\nold 1 [Essential: yes]",
        );
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
}
