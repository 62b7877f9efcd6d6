//! Every package on offer, found by name and by what it provides.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use package::{Capability, Family, Record, Version};

/// A package on offer.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) record: Record,
    /// Position of the archive in the request, sorted by name.
    pub(crate) archive: usize,
    /// Position of the suite in the archive's snapshot.
    pub(crate) suite: usize,
    /// Whether something else is on offer under the same name and version.
    pub(crate) ambiguous: bool,
}

/// Every package on offer.
pub(crate) struct Universe {
    pub(crate) family: Family,
    pub(crate) offers: Vec<Offer>,
    /// Offers of a name, newest first.
    names: BTreeMap<String, Vec<usize>>,
    /// Offers that provide a name, and as what; in the order of preference, then name, newest
    /// first.
    provided: BTreeMap<String, Vec<(usize, Capability)>>,
}

impl Universe {
    /// Orders what is on offer. In which order archives, suites and indexes list it changes
    /// nothing. Of a pinned name only the pinned version is on offer.
    pub(crate) fn new(
        family: Family,
        mut offers: Vec<Offer>,
        pins: &BTreeMap<String, String>,
    ) -> Result<Self> {
        check_pins(family, &offers, pins)?;
        offers.retain(|offer| {
            let pin = pins.get(&offer.record.id.name);
            pin.is_none_or(|pin| equal(family, &offer.record.id.version, pin))
        });
        offers.sort_by(|a, b| {
            let (x, y) = (&a.record, &b.record);
            x.id.name
                .cmp(&y.id.name)
                .then_with(|| family.compare(&y.id.version, &x.id.version))
                .then_with(|| x.id.cmp(&y.id))
                .then_with(|| (x.blob, a.archive, a.suite).cmp(&(y.blob, b.archive, b.suite)))
        });
        offers.dedup_by(|next, kept| {
            let same = next.record.id.name == kept.record.id.name
                && family.compare(&next.record.id.version, &kept.record.id.version).is_eq();
            kept.ambiguous |= same && next.record.blob != kept.record.blob;
            same
        });
        let mut names: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut provided: BTreeMap<String, Vec<(usize, Capability)>> = BTreeMap::new();
        for (i, offer) in offers.iter().enumerate() {
            names.entry(offer.record.id.name.clone()).or_default().push(i);
            for capability in &offer.record.relations.provides {
                provided.entry(capability.name.clone()).or_default().push((i, capability.clone()));
            }
        }
        for providers in provided.values_mut() {
            // Stable, and offers are sorted by name already.
            providers.sort_by_key(|(i, _)| offers[*i].record.preference);
        }
        Ok(Self { family, offers, names, provided })
    }

    /// Offers of a name, newest first.
    pub(crate) fn named(&self, name: &str) -> &[usize] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names on offer.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.names.iter().map(|(name, offers)| (name.as_str(), offers.as_slice()))
    }

    /// What meets a capability: names in the order of preference, each with its offers that do.
    /// The concrete package of the name comes before all others.
    pub(crate) fn meeting(&self, wanted: &Capability) -> Vec<(&str, Vec<usize>)> {
        let mut found: Vec<(&str, Vec<usize>)> = Vec::new();
        let admitted = |i: &usize| wanted.admits(self.family, &self.offers[*i].record.id.version);
        let concrete: Vec<_> = self.named(&wanted.name).iter().copied().filter(admitted).collect();
        if let Some(first) = concrete.first() {
            found.push((&self.offers[*first].record.id.name, concrete));
        }
        for (i, capability) in self.provided.get(&wanted.name).into_iter().flatten() {
            let name = self.offers[*i].record.id.name.as_str();
            if name == wanted.name || !provides(self.family, capability, wanted) {
                continue;
            }
            match found.iter_mut().find(|(other, _)| *other == name) {
                Some((_, offers)) if offers.contains(i) => {}
                Some((_, offers)) => offers.push(*i),
                None => found.push((name, vec![*i])),
            }
        }
        found
    }
}

/// Whether what is provided meets what is wanted: a range is met only by a provided version.
pub fn provides(family: Family, provided: &Capability, wanted: &Capability) -> bool {
    provided.name == wanted.name
        && match (&wanted.range, &provided.range) {
            (None, _) => true,
            (Some(_), Some((_, version))) => wanted.admits(family, version),
            (Some(_), None) => false,
        }
}

fn check_pins(family: Family, offers: &[Offer], pins: &BTreeMap<String, String>) -> Result<()> {
    for (name, pin) in pins {
        family.version(pin)?;
        let mut versions: Vec<&Version> = offers
            .iter()
            .filter(|offer| offer.record.id.name == *name)
            .map(|offer| &offer.record.id.version)
            .collect();
        if !versions.is_empty() && !versions.iter().any(|version| equal(family, version, pin)) {
            versions.sort_by(|a, b| family.compare(b, a));
            versions.dedup();
            let shown: Vec<_> = versions.iter().map(ToString::to_string).collect();
            bail!("`{name}` is pinned to {pin}, but on offer are {}", shown.join(", "));
        }
    }
    Ok(())
}

fn equal(family: Family, version: &Version, pin: &str) -> bool {
    family.compare(version, &Version(pin.to_owned())).is_eq()
}
