//! The binary index that modprobe(8) searches: a prefix tree with compressed paths, version 2.1
//! (kmod, `libkmod-index.c`), all numbers big-endian.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;

/// Magic, version and the root's place.
const HEADER: u32 = 12;

/// Flags in the upper bits of a node's place: what the node has.
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// The place itself.
const PLACE: u32 = 0x0FFF_FFFF;

/// The longest key, as the longest path of Linux.
const KEY_LIMIT: usize = 4096;

/// A tree of keys of 7-bit characters.
#[derive(Default)]
pub(super) struct Index {
    prefix: Vec<u8>,
    values: Vec<(u32, String)>,
    children: BTreeMap<u8, Index>,
}

impl Index {
    /// Adds a value. Values of one key are ordered by priority, later ones before earlier ones.
    pub(super) fn insert(&mut self, key: &str, value: &str, priority: u32) -> Result<()> {
        if key.len() > KEY_LIMIT || !key.is_ascii() || !value.is_ascii() {
            bail!("`{}` is no key of a module index", key.escape_debug());
        }
        let mut node = self;
        let mut rest = key.as_bytes();
        loop {
            let common = node.prefix.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < node.prefix.len() {
                node.split(common);
            }
            rest = &rest[common..];
            let Some((first, below)) = rest.split_first() else {
                let at = node.values.partition_point(|(other, _)| *other < priority);
                node.values.insert(at, (priority, value.to_owned()));
                return Ok(());
            };
            if !node.children.contains_key(first) {
                let values = vec![(priority, value.to_owned())];
                let leaf = Self { prefix: below.to_vec(), values, ..Self::default() };
                node.children.insert(*first, leaf);
                return Ok(());
            }
            node = node.children.get_mut(first).context("a child that was just there")?;
            rest = below;
        }
    }

    /// Splits the node's prefix at `at`; what the node had moves to the only child.
    fn split(&mut self, at: usize) {
        let whole = std::mem::take(self);
        let (prefix, first, below) =
            (whole.prefix[..at].to_vec(), whole.prefix[at], whole.prefix[at + 1..].to_vec());
        self.prefix = prefix;
        self.children.insert(first, Self { prefix: below, ..whole });
    }

    /// The file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for word in [MAGIC, VERSION, HEADER | self.flags()] {
            bytes.extend(word.to_be_bytes());
        }
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    fn flags(&self) -> u32 {
        let mut flags = 0;
        for (has, flag) in [
            (!self.children.is_empty(), HAS_CHILDREN),
            (!self.prefix.is_empty(), HAS_PREFIX),
            (!self.values.is_empty(), HAS_VALUES),
        ] {
            flags |= if has { flag } else { 0 };
        }
        flags
    }

    /// Writes the node and all below it: prefix, places of children from the first to the last
    /// character, values, then the children.
    fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        if !self.prefix.is_empty() {
            bytes.extend_from_slice(&self.prefix);
            bytes.push(0);
        }
        let mut places = bytes.len();
        if let (Some((first, _)), Some((last, _))) =
            (self.children.first_key_value(), self.children.last_key_value())
        {
            bytes.extend([*first, *last]);
            places = bytes.len();
            bytes.resize(places + 4 * (usize::from(last - first) + 1), 0);
        }
        if !self.values.is_empty() {
            bytes.extend(u32::try_from(self.values.len())?.to_be_bytes());
            for (priority, value) in &self.values {
                bytes.extend(priority.to_be_bytes());
                bytes.extend_from_slice(value.as_bytes());
                bytes.push(0);
            }
        }
        let first = self.children.keys().next().copied().unwrap_or_default();
        for (character, child) in &self.children {
            let at = u32::try_from(bytes.len()).ok().filter(|at| *at <= PLACE);
            let at = at.context("the module index has more than 256 MB")?;
            let slot = places + 4 * usize::from(character - first);
            bytes[slot..slot + 4].copy_from_slice(&(at | child.flags()).to_be_bytes());
            child.write(bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_key_follow_their_priority() {
        let mut index = Index::default();
        for (value, priority) in [("b", 2), ("a", 1), ("c", 2)] {
            index.insert("k", value, priority).unwrap();
        }
        let leaf = &index.children[&b'k'];
        assert_eq!(
            leaf.values.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(),
            ["a", "c", "b"]
        );
    }

    #[test]
    fn a_key_beyond_ascii_is_refused() {
        assert!(Index::default().insert("ö", "x", 0).is_err());
        assert!(Index::default().insert(&"a".repeat(5000), "x", 0).is_err());
    }
}
