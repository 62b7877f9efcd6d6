//! The one byte form of every input and result: JSON with keys in the order of the type.
//!
//! A blob is an object with the key `$blob`, a tree one with the key `$tree`; whatever a value
//! reaches is found by walking its bytes, so that no type can forget to list a blob.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Blob, TreeId};

/// Everything that a value names by digest.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Blobs named directly.
    pub blobs: BTreeSet<Blob>,
    /// Trees named directly; each is also a blob, and reaches the contents of its files.
    pub trees: BTreeSet<TreeId>,
}

/// The canonical bytes of `value`.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("write a value in canonical form")
}

/// Reads a value back from its canonical bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).context("read a value in canonical form")
}

/// What the value in `bytes` (canonical form) reaches.
pub fn reached(bytes: &[u8]) -> Result<Reached> {
    let mut found = Reached::default();
    walk(&decode(bytes)?, &mut found)?;
    Ok(found)
}

fn walk(value: &Value, found: &mut Reached) -> Result<()> {
    match value {
        Value::Object(map) => {
            if map.contains_key("$blob") {
                found.blobs.insert(serde_json::from_value(value.clone()).context("read a blob")?);
            } else if map.contains_key("$tree") {
                found.trees.insert(serde_json::from_value(value.clone()).context("read a tree")?);
            } else {
                map.values().try_for_each(|v| walk(v, found))?;
            }
        }
        Value::Array(items) => items.iter().try_for_each(|v| walk(v, found))?,
        _ => {}
    }
    Ok(())
}
