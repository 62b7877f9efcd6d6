//! Kernel modules by name, with what they say they depend on.
//!
//! The packages' indexes do not tell (they are made later, from what is kept), so the modules
//! themselves are asked: `depends` and `softdep` of their `.modinfo`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use store::{Entry, Scratch, Tree};

use super::elf;
use crate::module_file::{self, name_of, plain_name, stem};

const TOP: &str = "usr/lib/modules/";
/// What the module indexes are made from beside the modules.
const LISTS: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Whether a path is that of a module.
pub(crate) fn is_module(path: &str) -> bool {
    path.starts_with(TOP) && stem(path).is_some()
}

/// Paths of the modules `names`, of what they depend on, and of the lists beside them, for every
/// kernel in the tree. A name that is neither a module nor built in is an error.
pub(crate) fn close(
    tree: &Tree,
    names: &[String],
    scratch: &Scratch<'_>,
) -> Result<BTreeSet<String>> {
    let mut kept = BTreeSet::new();
    if names.is_empty() {
        return Ok(kept);
    }
    let kernels = kernels(tree);
    if kernels.is_empty() {
        bail!("kernel modules are named, but the tree holds none");
    }
    for (kernel, modules) in &kernels {
        let built_in = built_in(tree, kernel, scratch)?;
        let mut left: Vec<(String, String)> = Vec::new();
        for name in names {
            left.push((plain_name(name), "`modules`".to_owned()));
        }
        while let Some((name, asker)) = left.pop() {
            let Some(path) = modules.get(&name) else {
                if built_in.contains(&name) {
                    continue;
                }
                bail!("{asker} names the kernel module `{name}`, which {kernel} does not have");
            };
            if !kept.insert((*path).to_owned()) {
                continue;
            }
            let info =
                info(tree, path, scratch).with_context(|| format!("read module `{path}`"))?;
            left.extend(info.depends.into_iter().map(|name| (name, format!("`{path}`"))));
            // A soft dependency may name an alias or what another kernel has: it is a wish.
            let soft = info.soft.into_iter().filter(|name| modules.contains_key(name));
            left.extend(soft.map(|name| (name, format!("`{path}`"))));
        }
        let lists = LISTS.map(|list| format!("{TOP}{kernel}/{list}"));
        kept.extend(lists.into_iter().filter(|path| tree.get(path).is_some()));
    }
    Ok(kept)
}

/// The modules of each kernel by name.
fn kernels(tree: &Tree) -> BTreeMap<&str, BTreeMap<String, &str>> {
    let mut kernels: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    for (path, entry) in tree.below(TOP.trim_end_matches('/')) {
        let kernel = path.strip_prefix(TOP).and_then(|rest| rest.split_once('/'));
        if let (Some((kernel, _)), Some(_), Some(_)) = (kernel, stem(path), entry.blob()) {
            kernels.entry(kernel).or_default().insert(name_of(path), path);
        }
    }
    kernels
}

fn built_in(tree: &Tree, kernel: &str, scratch: &Scratch<'_>) -> Result<BTreeSet<String>> {
    let path = format!("{TOP}{kernel}/modules.builtin");
    let Some(blob) = tree.get(&path).and_then(Entry::blob) else { return Ok(BTreeSet::new()) };
    let text = String::from_utf8(scratch.read(&blob)?).with_context(|| format!("read `{path}`"))?;
    Ok(text.lines().map(name_of).collect())
}

#[derive(Default)]
struct Info {
    depends: Vec<String>,
    soft: Vec<String>,
}

fn info(tree: &Tree, path: &str, scratch: &Scratch<'_>) -> Result<Info> {
    let blob = tree.get(path).and_then(Entry::blob).context("it is no file")?;
    let bytes = module_file::unpack(path, scratch.read(&blob)?)?;
    let info = elf::section(&bytes, ".modinfo")?.unwrap_or_default();
    let mut found = Info::default();
    for line in info.split(|byte| *byte == 0) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Some(names) = line.strip_prefix("depends=") {
            found.depends.extend(names.split(',').filter(|name| !name.is_empty()).map(plain_name));
        } else if let Some(names) = line.strip_prefix("softdep=") {
            let words = names.split_whitespace().filter(|word| !matches!(*word, "pre:" | "post:"));
            found.soft.extend(words.map(plain_name));
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read as _;

    use super::*;

    /// `bytes` as an `.xz` file.
    pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut packed).unwrap();
        packed
    }

    #[test]
    fn a_module_is_known_by_its_file_name() {
        assert_eq!(name_of("kernel/a/snd-hda.ko.xz"), "snd_hda");
        assert!(is_module("usr/lib/modules/6/kernel/a.ko") && !is_module("usr/share/a.ko"));
    }
}
