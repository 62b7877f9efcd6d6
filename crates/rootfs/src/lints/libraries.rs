//! Programs find the libraries that they need, without a cache of the dynamic linker.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use store::{Blob, Entry, Node, Tree};

use super::{FACTORY, Finding, Lookup, finding};
use crate::select::elf::{Needs, is_elf};

pub(super) fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let files = tree.0.iter().filter_map(|(path, entry)| Some((path, entry, entry.blob()?)));
    let files: Vec<(&String, &Entry, Blob)> = files
        // Modules of the kernel need no library, and debug or boot programs are for firmware.
        .filter(|(path, ..)| !path.starts_with("usr/lib/modules/") && !path.starts_with(FACTORY))
        .collect();
    let found = store::parallel(&files, |(path, entry, blob)| {
        if !is_elf(&lookup.head(blob, 4)?[..])? {
            return Ok(Vec::new());
        }
        let bytes = lookup.read(blob)?;
        // Bytes for another machine (firmware, BPF) carry no needs that this host could meet.
        if !is_host_program(&bytes) {
            return Ok(Vec::new());
        }
        let needs = Needs::read(&bytes).with_context(|| format!("read `{path}`"))?;
        Ok(problems(tree, lookup, path, &needs)
            .into_iter()
            .map(|problem| finding("library", path, entry, problem))
            .collect())
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// 64-bit, executable or shared, for a machine that images are made for.
fn is_host_program(bytes: &[u8]) -> bool {
    let half = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    bytes.get(4) == Some(&2)
        && matches!(half(16), Some(2 | 3))
        && matches!(half(18), Some(62 | 183))
}

fn problems(tree: &Tree, lookup: &Lookup<'_, '_>, path: &str, needs: &Needs) -> Vec<String> {
    let policy = lookup.policy;
    let mut problems = Vec::new();
    if let Some(interpreter) = &needs.interpreter {
        let end = tree.resolve(interpreter).and_then(|end| tree.get(&end));
        if !end.is_some_and(|entry| matches!(entry.node, Node::File(_))) {
            problems.push(format!("is started by `{interpreter}`, which is not there"));
        }
    }
    if !policy.unmet.contains_key(path) {
        for library in &needs.libraries {
            if needs.find(tree, path, library).is_none() {
                problems.push(format!("needs `{library}`, which it will not find"));
            }
        }
    }
    // A feature works when each of its wishes is met by one library at least.
    let mut features: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
    for wish in &needs.wishes {
        features.entry(&wish.feature).or_default().push(&wish.sonames);
    }
    for (feature, wishes) in features {
        let lacking: BTreeSet<&String> = wishes
            .iter()
            .filter(|names| !names.iter().any(|name| needs.find(tree, path, name).is_some()))
            .flat_map(|names| names.iter())
            .collect();
        let left_out = |name: &str| policy.optional.contains_key(name);
        if lacking.is_empty() || left_out(feature) || lacking.iter().all(|name| left_out(name)) {
            continue;
        }
        let lacking: Vec<&str> = lacking.into_iter().map(String::as_str).collect();
        problems.push(format!(
            "loads `{}` for the feature `{feature}`: add it, or leave the feature out by name",
            lacking.join("` or `")
        ));
    }
    problems
}
