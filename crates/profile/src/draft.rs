//! A profile as it is written, one file at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Arch, Credentials, Reboot};

/// The keys of a profile.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Draft {
    pub(crate) id: Option<String>,
    pub(crate) about: Option<String>,
    pub(crate) extends: Option<String>,
    pub(crate) arch: Option<Arch>,
    pub(crate) archives: BTreeMap<String, Archive>,
    pub(crate) packages: Change<Packages>,
    pub(crate) files: Change<Vec<String>>,
    pub(crate) units: Units,
    pub(crate) users: Change<Vec<String>>,
    pub(crate) kernel: Kernel,
    pub(crate) layout: Layout,
    pub(crate) outputs: Change<Vec<String>>,
    pub(crate) version: Option<String>,
    pub(crate) updates: Option<Updates>,
    pub(crate) health: Health,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) scripts: BTreeMap<String, Lines>,
    pub(crate) setid: BTreeMap<String, String>,
    pub(crate) drop: BTreeMap<String, String>,
    pub(crate) initrd: Option<String>,
    pub(crate) keep: Change<Vec<String>>,
    pub(crate) modules: Change<Vec<String>>,
    pub(crate) without: BTreeMap<String, String>,
    pub(crate) lints: BTreeMap<String, BTreeMap<String, String>>,
}

/// See [`crate::Archive`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Archive {
    pub(crate) source: String,
    pub(crate) path: String,
    pub(crate) url: Option<String>,
    pub(crate) keyring: String,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
}

/// What is said of units.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Units {
    pub(crate) enable: Vec<String>,
    pub(crate) disable: Vec<String>,
    pub(crate) mask: BTreeMap<String, String>,
    /// Units of which the parent's word is forgotten.
    pub(crate) drop: Vec<String>,
}

/// What is said of the kernel.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kernel {
    pub(crate) args: Change<Vec<String>>,
    pub(crate) sbat: Change<Vec<String>>,
}

/// See [`crate::Updates`]; times as `30d`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Updates {
    pub(crate) feed: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) auto: Option<bool>,
    pub(crate) window: Option<String>,
    pub(crate) reboot: Option<Reboot>,
    pub(crate) valid: Option<String>,
    pub(crate) floor: Option<String>,
}

/// See [`crate::Health`]; times as `10min`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    pub(crate) units: Change<Vec<String>>,
    pub(crate) network: Option<bool>,
    pub(crate) time: Option<String>,
}

/// See [`crate::Layout`]; sizes as `512 MiB`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Layout {
    pub(crate) name: Option<String>,
    pub(crate) esp: Option<String>,
    pub(crate) usr: Option<String>,
    pub(crate) verity: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) root: Option<String>,
    pub(crate) sector: Option<u32>,
}

/// How a set differs from the parent's: `{add, drop}`, or a bare list, which adds.
#[derive(Debug, Default)]
pub(crate) struct Change<A> {
    pub(crate) add: A,
    pub(crate) drop: Vec<String>,
}

/// Package names, each with the version that it is pinned to.
#[derive(Debug, Default)]
pub(crate) struct Packages(pub(crate) Vec<(String, Option<String>)>);

/// One string or a list of them.
#[derive(Debug)]
pub(crate) struct Lines(pub(crate) Vec<String>);

impl<'de, A: DeserializeOwned + Default> Deserialize<'de> for Change<A> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ChangeVisitor(PhantomData))
    }
}

struct ChangeVisitor<A>(PhantomData<A>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, bound = "A: DeserializeOwned + Default")]
struct AddDrop<A: Default> {
    add: A,
    drop: Vec<String>,
}

impl<A: Default> Default for AddDrop<A> {
    fn default() -> Self {
        Self { add: A::default(), drop: Vec::new() }
    }
}

impl<'de, A: DeserializeOwned + Default> Visitor<'de> for ChangeVisitor<A> {
    type Value = Change<A>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, or a map of `add` and `drop`,")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<Self::Value, S::Error> {
        let add = A::deserialize(SeqAccessDeserializer::new(seq))?;
        Ok(Change { add, drop: Vec::new() })
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        let AddDrop { add, drop } = AddDrop::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Change { add, drop })
    }
}

impl<'de> Deserialize<'de> for Packages {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PackagesVisitor)
    }
}

struct PackagesVisitor;

impl<'de> Visitor<'de> for PackagesVisitor {
    type Value = Packages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of packages, or a map from packages to versions,")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Packages, S::Error> {
        let mut packages = Vec::new();
        while let Some(name) = seq.next_element()? {
            packages.push((name, None));
        }
        Ok(Packages(packages))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Packages, M::Error> {
        let mut packages = Vec::new();
        while let Some(entry) = map.next_entry()? {
            packages.push(entry);
        }
        Ok(Packages(packages))
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LinesVisitor)
    }
}

struct LinesVisitor;

impl<'de> Visitor<'de> for LinesVisitor {
    type Value = Lines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`<sha256> <reason>`, or a list of them,")
    }

    fn visit_str<E>(self, text: &str) -> Result<Lines, E> {
        Ok(Lines(vec![text.to_owned()]))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<Lines, S::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_has_the_keys_of_a_profile() {
        let schema =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/profile.schema.json");
        let schema = std::fs::read_to_string(schema).unwrap();
        let mut keys: Vec<&str> = schema
            .lines()
            .skip_while(|line| !line.starts_with("  \"properties\""))
            .filter_map(|line| line.strip_prefix("    \"")?.split_once('"').map(|(key, _)| key))
            .collect();
        let error = crate::yaml::<Draft>("colour-of-the-sky: blue", "x").unwrap_err().to_string();
        let known = error.split_once("known are ").unwrap().1.lines().next().unwrap();
        let mut known: Vec<&str> = known.split(", ").collect();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
    }
}
