//! In which order depmod(8) writes modules, and which modules each one needs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::elf::Module;
use crate::module_file::stem;

/// Buckets of depmod's tables of modules and of symbols; their walk is an order of its output.
const MODULE_BUCKETS: u32 = 512;
pub(super) const SYMBOL_BUCKETS: u32 = 2048;

/// Modules in the order of the output.
pub(super) struct Ordered {
    pub(super) modules: Vec<Module>,
    /// Symbol to the module that exports it, an index into `modules`.
    pub(super) owners: BTreeMap<String, usize>,
    /// For each module all that it needs, in the order of the output: indexes into `modules`.
    pub(super) dependencies: Vec<Vec<usize>>,
}

/// Orders modules by `modules.order`; those that it does not name come last.
pub(super) fn ordered(mut modules: Vec<Module>, order: Option<&[u8]>) -> Result<Ordered> {
    modules.sort_by_cached_key(|module| walk_key(&module.name, MODULE_BUCKETS));
    if let Some(order) = order {
        let mut places: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (place, line) in order.split(|byte| *byte == b'\n').enumerate() {
            places.entry(line).or_insert(place);
        }
        // The list was made before anybody packed them.
        let place = |module: &Module| {
            let plain = format!("{}.ko", stem(&module.path).unwrap_or(&module.path));
            places.get(plain.as_bytes()).copied().unwrap_or(usize::MAX)
        };
        modules.sort_by_cached_key(place);
    }
    let mut owners = BTreeMap::new();
    for (i, module) in modules.iter().enumerate() {
        owners.extend(module.exports.iter().map(|symbol| (symbol.clone(), i)));
    }
    let direct: Vec<Vec<usize>> = modules.iter().map(|module| needs(module, &owners)).collect();
    let Some(ranks) = ranks(&direct) else {
        bail!("modules need each other in a circle");
    };
    let dependencies = (0..modules.len()).map(|i| closure(i, &direct, &ranks)).collect();
    Ok(Ordered { modules, owners, dependencies })
}

/// The modules that `module` needs itself, in the order in which its symbols ask for them.
fn needs(module: &Module, owners: &BTreeMap<String, usize>) -> Vec<usize> {
    let mut found = Vec::new();
    for symbol in &module.needs {
        let symbol = symbol.strip_prefix('.').unwrap_or(symbol);
        if let Some(owner) = owners.get(symbol)
            && !found.contains(owner)
        {
            found.push(*owner);
        }
    }
    found
}

/// A topological order that begins with what nobody needs; `None` when there is a circle. The
/// list of candidates is a stack, as depmod's is: the order shows in its output.
fn ranks(direct: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut users = vec![0_usize; direct.len()];
    direct.iter().flatten().for_each(|i| users[*i] += 1);
    let mut stack: Vec<usize> = (0..direct.len()).filter(|i| users[*i] == 0).collect();
    let mut ranks = vec![0; direct.len()];
    let mut ranked = 0;
    while let Some(i) = stack.pop() {
        ranks[i] = ranked;
        ranked += 1;
        for needed in &direct[i] {
            users[*needed] -= 1;
            if users[*needed] == 0 {
                stack.push(*needed);
            }
        }
    }
    (ranked == direct.len()).then_some(ranks)
}

/// All that module `of` needs, by rank: what others need comes later, and is loaded first.
fn closure(of: usize, direct: &[Vec<usize>], ranks: &[usize]) -> Vec<usize> {
    let mut found = BTreeSet::new();
    let mut left = direct[of].clone();
    while let Some(i) = left.pop() {
        if found.insert((ranks[i], i)) {
            left.extend(&direct[i]);
        }
    }
    found.into_iter().map(|(_, i)| i).collect()
}

/// The place of `key` in a walk through one of depmod's hash tables: bucket, then name.
pub(super) fn walk_key(key: &str, buckets: u32) -> (u32, Vec<u8>) {
    (hash(key.as_bytes()) & (buckets - 1), key.as_bytes().to_vec())
}

/// Paul Hsieh's SuperFastHash with the length as its first value, over 32 bits, as kmod has it.
fn hash(key: &[u8]) -> u32 {
    let pair = |at: &[u8]| u32::from(u16::from_le_bytes([at[0], at[1]]));
    let mut hash = key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        hash = hash.wrapping_add(pair(chunk));
        let mixed = (pair(&chunk[2..]) << 11) ^ hash;
        hash = (hash << 16) ^ mixed;
        hash = hash.wrapping_add(hash >> 11);
    }
    match chunks.remainder() {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(&[*a, *b]));
            hash ^= hash << 16;
            hash ^= u32::from(*c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(&[*a, *b]));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(*a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}
