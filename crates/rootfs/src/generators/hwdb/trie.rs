//! The prefix tree of `hwdb.bin` (systemd, `hwdb-internal.h`), all numbers little-endian.
//!
//! Header, nodes (children before parents), strings. Strings are kept once, and one that is the
//! end of another is found inside it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// What systemd 257 writes as the version of the tool; readers do not look at it.
const TOOL_VERSION: u64 = 257;
const HEADER_SIZE: u64 = 80;
const NODE_SIZE: u64 = 24;
const CHILD_SIZE: u64 = 16;
const VALUE_SIZE: u64 = 32;

/// Where a property was written.
#[derive(Clone)]
pub(super) struct Origin {
    /// Path of the file, without leading `/`.
    pub(super) file: String,
    /// Later files have higher ones.
    pub(super) priority: u16,
    /// Line, from 1.
    pub(super) line: u32,
}

/// Match patterns to their properties.
pub(super) struct Trie {
    root: Node,
    strings: Strings,
}

#[derive(Default)]
struct Node {
    /// Place of the prefix in the strings.
    prefix: usize,
    children: BTreeMap<u8, Node>,
    /// Key to value and origin; the key's text comes first to sort by it.
    values: BTreeMap<Vec<u8>, Value>,
}

struct Value {
    key: usize,
    value: usize,
    file: usize,
    line: u32,
    priority: u16,
}

impl Trie {
    pub(super) fn new() -> Self {
        Self { root: Node::default(), strings: Strings::new() }
    }

    /// Adds a property to a match; of two of one key the later stands.
    pub(super) fn insert(
        &mut self,
        pattern: &[u8],
        key: &[u8],
        value: &[u8],
        origin: &Origin,
    ) -> Result<()> {
        let Self { root, strings } = self;
        let mut node = root;
        let mut rest = pattern;
        loop {
            let prefix = strings.at(node.prefix);
            let common = prefix.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if let Some(first) = prefix.get(common).copied() {
                let head = prefix[..common].to_vec();
                let below = Node { prefix: node.prefix + common + 1, ..std::mem::take(node) };
                node.prefix = strings.add(&head);
                node.children.insert(first, below);
            }
            rest = &rest[common..];
            let Some((first, below)) = rest.split_first() else { break };
            if !node.children.contains_key(first) {
                let prefix = strings.add(below);
                node.children.insert(*first, Node { prefix, ..Node::default() });
                node = node.children.get_mut(first).context("a child that was just made")?;
                break;
            }
            node = node.children.get_mut(first).context("a child that was just there")?;
            rest = below;
        }
        let property = Value {
            key: strings.add(key),
            value: strings.add(value),
            file: strings.add(format!("/{}", origin.file).as_bytes()),
            line: origin.line,
            priority: origin.priority,
        };
        node.values.insert(key.to_vec(), property);
        Ok(())
    }

    /// The file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let nodes_size = self.root.size();
        let mut nodes = Vec::new();
        let root = self.root.write(&mut nodes, HEADER_SIZE + nodes_size);
        let strings = &self.strings.bytes;
        let mut bytes = b"KSLPHHRH".to_vec();
        for number in [
            TOOL_VERSION,
            HEADER_SIZE + nodes_size + strings.len() as u64,
            HEADER_SIZE,
            NODE_SIZE,
            CHILD_SIZE,
            VALUE_SIZE,
            root,
            nodes_size,
            strings.len() as u64,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend_from_slice(&nodes);
        bytes.extend_from_slice(strings);
        Ok(bytes)
    }
}

impl Node {
    /// Bytes of this node and all below it.
    fn size(&self) -> u64 {
        let own = CHILD_SIZE * self.children.len() as u64 + VALUE_SIZE * self.values.len() as u64;
        NODE_SIZE + own + self.children.values().map(Self::size).sum::<u64>()
    }

    /// Writes the children, then this node; gives its place in the file.
    fn write(&self, bytes: &mut Vec<u8>, strings: u64) -> u64 {
        let children: Vec<(u8, u64)> =
            self.children.iter().map(|(c, child)| (*c, child.write(bytes, strings))).collect();
        let place = HEADER_SIZE + bytes.len() as u64;
        let string = |place: usize| (strings + place as u64).to_le_bytes();
        bytes.extend(string(self.prefix));
        // At most 256 children; the format keeps the number in one byte.
        bytes.extend([children.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend((self.values.len() as u64).to_le_bytes());
        for (character, place) in children {
            bytes.extend([character, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(place.to_le_bytes());
        }
        for Value { key, value, file, line, priority } in self.values.values() {
            [key, value, file].into_iter().for_each(|place| bytes.extend(string(*place)));
            bytes.extend(line.to_le_bytes());
            bytes.extend(priority.to_le_bytes());
            bytes.extend([0, 0]);
        }
        place
    }
}

/// Strings, each ending with NUL. A tree over their characters from the last to the first finds
/// one that ends like a new one.
struct Strings {
    bytes: Vec<u8>,
    tails: Vec<Tail>,
}

struct Tail {
    place: usize,
    length: usize,
    children: BTreeMap<u8, usize>,
}

impl Strings {
    fn new() -> Self {
        let root = Tail { place: 0, length: 0, children: BTreeMap::new() };
        Self { bytes: vec![0], tails: vec![root] }
    }

    /// The string at a place.
    fn at(&self, place: usize) -> &[u8] {
        self.bytes[place..].split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The place of a string, which is added unless a known one ends with it.
    fn add(&mut self, string: &[u8]) -> usize {
        if string.is_empty() {
            return 0;
        }
        let mut at = 0;
        for (depth, character) in string.iter().rev().enumerate() {
            let tail = &self.tails[at];
            let end = tail.place + tail.length;
            if tail.length >= string.len() && self.bytes[end - string.len()..end] == *string {
                return end - string.len();
            }
            match tail.children.get(character) {
                Some(child) => at = *child,
                None => {
                    let place = self.bytes.len();
                    self.bytes.extend_from_slice(string);
                    self.bytes.push(0);
                    let new = self.tails.len();
                    self.tails[at].children.insert(*character, new);
                    self.tails.push(Tail {
                        place,
                        length: string.len(),
                        children: BTreeMap::new(),
                    });
                    return place;
                }
            }
            if depth + 1 == string.len() {
                let tail = &self.tails[at];
                return tail.place + tail.length - string.len();
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_that_ends_another_is_not_kept_twice() {
        let mut strings = Strings::new();
        let long = strings.add(b"keyboard");
        assert_eq!(strings.add(b"board"), long + 3);
        assert_eq!(strings.add(b"keyboard"), long);
        assert_eq!(strings.add(b""), 0);
        assert_eq!(strings.at(long + 3), b"board");
        let other = strings.add(b"aboard");
        assert_ne!(other, long + 2);
        assert_eq!(strings.at(other), b"aboard");
    }
}
