//! Kernel modules stored unpacked, and their indexes byte for byte as depmod(8) of kmod 34 makes
//! them. Unpacked modules load faster, and what changes between two versions of one stays small.
//! Two rows, since an installed system has the same indexes over packed modules.

mod elf;
mod index;
mod order;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use store::{Entry, Node, Scratch, Tree};

use self::elf::Module;
#[cfg(test)]
pub(crate) use self::elf::tests::Ko;
use super::BOTH;
use super::files::{bytes, put};
use crate::module_file::{self, name_of, stem};
use crate::{Change, Generator, Point};

const TOP: &str = "usr/lib/modules";
const ORIGIN: &str = "generator:modules";

pub(crate) const ROW: Generator = Generator {
    name: "modules",
    revision: 2,
    purposes: BOTH,
    point: Point::Installed,
    reads: &["usr/lib/modules/**"],
    writes: &["usr/lib/modules/**"],
    run,
};

/// Puts every module unpacked in place of the packed one.
pub(crate) const UNPACK_ROW: Generator = Generator {
    name: "module-files",
    revision: 1,
    purposes: BOTH,
    point: Point::Image,
    reads: &["usr/lib/modules/**"],
    writes: &["usr/lib/modules/**"],
    run: unpack,
};

fn unpack(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let modules: Vec<(&str, &Entry)> = kernels(tree).into_values().flatten().collect();
    let plain = store::parallel(&modules, |(path, entry)| {
        let (Node::File(blob), false) = (&entry.node, path.ends_with(".ko")) else {
            return Ok(None);
        };
        let plain =
            module_file::unpack(path, scratch.read(blob)?).with_context(|| about(path, entry))?;
        Ok(Some(scratch.put(&plain)?))
    })?;
    let mut change = Change::default();
    for ((path, entry), plain) in modules.iter().zip(plain) {
        let (Some(plain), Some(stem)) = (plain, stem(path)) else { continue };
        let to = format!("{stem}.ko");
        if tree.get(&to).is_some() || change.add.get(&to).is_some() {
            bail!("`{to}` is there packed and unpacked");
        }
        change.remove.push((*path).to_owned());
        change.add.insert(&to, Entry { node: Node::File(plain), ..(*entry).clone() })?;
    }
    Ok(change)
}

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    for (kernel, paths) in kernels(tree) {
        let directory = format!("{TOP}/{kernel}");
        let modules = read(&directory, &paths, scratch)?;
        let lists = Lists {
            order: bytes(tree, scratch, &format!("{directory}/modules.order"))?,
            built_in: bytes(tree, scratch, &format!("{directory}/modules.builtin"))?,
            built_in_info: bytes(tree, scratch, &format!("{directory}/modules.builtin.modinfo"))?,
        };
        let tables = tables::all(modules, &lists)
            .with_context(|| format!("index the modules of kernel `{kernel}`"))?;
        for (name, text) in tables {
            put(&mut change, scratch, &format!("{directory}/{name}"), &text, ORIGIN)?;
        }
    }
    Ok(change)
}

/// The modules of every kernel.
fn kernels(tree: &Tree) -> BTreeMap<&str, Vec<(&str, &Entry)>> {
    let mut found: BTreeMap<&str, Vec<(&str, &Entry)>> = BTreeMap::new();
    for (path, entry) in tree.below(TOP) {
        let Some(below) = path.strip_prefix(TOP).and_then(|p| p.strip_prefix('/')) else {
            continue;
        };
        let (kernel, rest) = below.split_once('/').unwrap_or((below, ""));
        let modules = found.entry(kernel).or_default();
        if stem(path).is_some() && !rest.starts_with("build/") && !rest.starts_with("source/") {
            modules.push((path, entry));
        }
    }
    found
}

/// What the kernel's build left beside the modules.
struct Lists {
    /// `modules.order`: paths, in the order in which the kernel was linked.
    order: Option<Vec<u8>>,
    /// `modules.builtin`: paths of what is part of the kernel.
    built_in: Option<Vec<u8>>,
    /// `modules.builtin.modinfo`: what those say of themselves, `name.key=value` NUL.
    built_in_info: Option<Vec<u8>>,
}

/// Reads every module. Of two of one name the one in `updates` wins, then the first by path.
fn read(directory: &str, paths: &[(&str, &Entry)], scratch: &Scratch<'_>) -> Result<Vec<Module>> {
    let read = store::parallel(paths, |(path, entry)| {
        let Node::File(blob) = entry.node else { return Ok(None) };
        let read = || {
            let below = path.strip_prefix(directory).and_then(|path| path.strip_prefix('/'));
            let below = below.context("not below its kernel's directory")?;
            let plain = module_file::unpack(path, scratch.read(&blob)?)?;
            Module::parse(below.to_owned(), &plain)
        };
        Ok(Some(read().with_context(|| about(path, entry))?))
    })?;
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for module in read.into_iter().flatten() {
        let update = |module: &Module| !module.path.starts_with("updates/");
        match modules.get(&module.name) {
            Some(other) if update(other) <= update(&module) => {}
            _ => {
                modules.insert(module.name.clone(), module);
            }
        }
    }
    Ok(modules.into_values().collect())
}

fn about(path: &str, entry: &Entry) -> String {
    format!("read the kernel module `{path}` of {}", entry.origin)
}

#[cfg(any(test, feature = "fuzz"))]
/// Reads a kernel module.
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Module::parse("kernel/fuzz.ko".to_owned(), bytes);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::testing::Sample;
    use super::*;

    const KERNEL: &str = "usr/lib/modules/6.12";

    fn sample() -> Sample {
        let low = Ko::new().exports("low_init").info("alias=pci:v*-d*").bytes();
        let high = Ko::new().needs("low_init").needs("printk").info("softdep=pre: low").bytes();
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(high.as_slice(), 1).read_to_end(&mut packed).unwrap();
        Sample::new()
            .file(&format!("{KERNEL}/kernel/high-one.ko.xz"), &packed)
            .file(&format!("{KERNEL}/kernel/low.ko"), &low)
            .file(&format!("{KERNEL}/modules.order"), b"kernel/low.ko\nkernel/high-one.ko\n")
    }

    #[test]
    fn no_index_names_a_packed_module_and_none_is_left() {
        let mut sample = sample();
        sample.tree = sample.run(&UNPACK_ROW).unwrap();
        let tree = sample.run(&ROW).unwrap();
        assert!(tree.get(&format!("{KERNEL}/kernel/high-one.ko")).is_some());
        assert!(tree.0.keys().all(|path| !path.ends_with(".xz")));
        let dep = sample.text(&tree, &format!("{KERNEL}/modules.dep"));
        assert_eq!(dep, "kernel/low.ko:\nkernel/high-one.ko: kernel/low.ko\n");
        let alias = sample.text(&tree, &format!("{KERNEL}/modules.alias"));
        assert!(alias.ends_with("\nalias pci:v*-d* low\n"), "{alias}");
        let soft = sample.text(&tree, &format!("{KERNEL}/modules.softdep"));
        assert!(soft.ends_with("\nsoftdep high_one pre: low\n"), "{soft}");
        assert_eq!(sample.text(&tree, &format!("{KERNEL}/modules.builtin.bin")), "");
    }

    #[test]
    fn indexes_over_packed_modules_differ_by_their_names_alone() {
        let sample = sample();
        let tree = sample.run(&ROW).unwrap();
        let dep = sample.text(&tree, &format!("{KERNEL}/modules.dep"));
        assert_eq!(dep, "kernel/low.ko:\nkernel/high-one.ko.xz: kernel/low.ko\n");
    }

    #[test]
    fn a_module_packed_and_unpacked_is_refused() {
        let sample = sample().file(&format!("{KERNEL}/kernel/high-one.ko"), b"twice");
        assert!(format!("{:#}", sample.run(&UNPACK_ROW).unwrap_err()).contains("high-one.ko"));
    }

    #[test]
    fn a_module_that_is_no_elf_file_is_an_error_with_its_path() {
        let sample = sample().file(&format!("{KERNEL}/kernel/evil.ko"), b"\x7fELF");
        assert!(format!("{:#}", sample.run(&ROW).unwrap_err()).contains("evil.ko"));
    }

    #[test]
    fn modules_that_need_each_other_are_an_error() {
        let a = Ko::new().exports("a").needs("b").bytes();
        let b = Ko::new().exports("b").needs("a").bytes();
        let sample = Sample::new()
            .file(&format!("{KERNEL}/kernel/a.ko"), &a)
            .file(&format!("{KERNEL}/kernel/b.ko"), &b);
        assert!(format!("{:#}", sample.run(&ROW).unwrap_err()).contains("circle"));
    }

    #[test]
    fn a_module_in_updates_takes_the_place_of_the_kernels_own() {
        let own = Ko::new().info("alias=new").bytes();
        let sample = sample().file(&format!("{KERNEL}/updates/low.ko"), &own);
        let tree = sample.run(&ROW).unwrap();
        let alias = sample.text(&tree, &format!("{KERNEL}/modules.alias"));
        assert!(alias.contains("alias new low") && !alias.contains("pci:"), "{alias}");
    }
}
