//! The kernel finds its modules: `modules.dep` and its kin name the files that are there
//! (modules.dep(5)).

use std::collections::BTreeSet;

use anyhow::Result;
use store::Tree;

use super::{Finding, Lint, Lookup, finding};
use crate::module_file;

pub(super) const ROW: Lint = Lint {
    name: "module-index",
    about: "an index of kernel modules that names other files than those that are there",
    way_out: "lay no index over the generated one, and leave no module out behind it",
    run,
};

const TOP: &str = "usr/lib/modules";
/// What depmod(8) makes, and a name with another ending would be wrong in.
const INDEXES: [&str; 9] = [
    "modules.alias",
    "modules.alias.bin",
    "modules.dep",
    "modules.dep.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.weakdep",
];
/// Endings of packed modules behind `.ko`.
const PACKED: [&[u8]; 3] = [b".ko.xz", b".ko.zst", b".ko.gz"];

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let kernels = tree.below(TOP).filter_map(|(path, _)| path.get(TOP.len() + 1..));
    let kernels: BTreeSet<&str> = kernels.filter_map(|path| path.split('/').next()).collect();
    let mut found = Vec::new();
    for kernel in kernels {
        of_kernel(tree, lookup, &format!("{TOP}/{kernel}"), &mut found)?;
    }
    Ok(found)
}

fn of_kernel(
    tree: &Tree,
    lookup: &Lookup<'_, '_>,
    top: &str,
    found: &mut Vec<Finding>,
) -> Result<()> {
    let modules = tree
        .below(top)
        .filter(|(path, entry)| module_file::stem(path).is_some() && entry.blob().is_some());
    let modules: BTreeSet<&str> =
        modules.filter_map(|(path, _)| path.strip_prefix(top)?.strip_prefix('/')).collect();
    let Some(first) = modules.first() else { return Ok(()) };
    let dep = format!("{top}/modules.dep");
    let Some(entry) = tree.get(&dep) else {
        let path = format!("{top}/{first}");
        found.extend(tree.get(&path).map(|entry| {
            finding(&path, entry, format!("`{dep}` is missing: no module can be loaded by name"))
        }));
        return Ok(());
    };
    let text = lookup.bytes(tree, &dep)?;
    let text = String::from_utf8_lossy(&text);
    let mut named = BTreeSet::new();
    for (module, needs) in text.lines().filter_map(|line| line.split_once(':')) {
        named.insert(module);
        for name in std::iter::once(module).chain(needs.split_whitespace()) {
            if !modules.contains(name) {
                found.push(finding(&dep, entry, format!("names `{name}`, which is not there")));
            }
        }
    }
    for module in modules.iter().filter(|module| !named.contains(*module)) {
        found.push(finding(&dep, entry, format!("does not name `{module}`")));
    }
    let packed = modules.iter().any(|module| !module.ends_with(".ko"));
    for index in INDEXES.iter().filter(|_| !packed) {
        let path = format!("{top}/{index}");
        let Some(entry) = tree.get(&path) else { continue };
        let bytes = lookup.bytes(tree, &path)?;
        if PACKED.iter().any(|ending| bytes.windows(ending.len()).any(|part| part == *ending)) {
            found.push(finding(&path, entry, "names packed modules, and they are stored plain"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn an_index_names_every_module_that_is_there_and_no_other() {
        let top = "usr/lib/modules/6.12";
        let dep = format!("{top}/modules.dep");
        let mut sample = Sample::new("module-index");
        sample.file(&format!("{top}/kernel/a.ko"), "a", 0o644);
        sample.file(&format!("{top}/kernel/b.ko"), "b", 0o644);
        sample.says("module-index", &format!("{top}/kernel/a.ko"), "modules.dep` is missing");
        sample.file(&dep, "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n", 0o644);
        sample.file(&format!("{top}/modules.dep.bin"), "kernel/a.ko: kernel/b.ko", 0o644);
        assert_eq!(sample.findings(), []);
        sample.file(&dep, "kernel/a.ko: kernel/b.ko.xz\nkernel/c.ko:\n", 0o644);
        sample.file(&format!("{top}/modules.dep.bin"), "kernel/a.ko: kernel/b.ko.xz", 0o644);
        for (path, part) in [
            (&dep, "names `kernel/b.ko.xz`, which is not there"),
            (&dep, "names `kernel/c.ko`, which is not there"),
            (&dep, "does not name `kernel/b.ko`"),
            (&dep, "names packed modules"),
            (&format!("{top}/modules.dep.bin"), "names packed modules"),
        ] {
            sample.says("module-index", path, part);
        }
    }
}
