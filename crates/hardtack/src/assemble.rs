//! From locked packages to the trees of host, initrd and boot parts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use lock::{Lock, Locked};
use profile::{Profile, UnitState};
use rootfs::{
    IMPORT, Import, Imported, MERGE, Merge, Merged, Overlay, Patterns, Point, Purpose, Rule,
    SELECT, Select,
};
use store::{Blob, Entry, Store, Tree, TreeId};

use crate::plan::{Later, Plan};
use crate::{lint, origins};

/// The role of packages that the host is made of.
pub const HOST: &str = "host";
/// The role of packages that the initrd is made of.
pub const INITRD: &str = "initrd";

/// Every locked package, read.
pub struct Packages(Vec<(Locked, Imported)>);

/// The host's root file system and what is known of it.
pub struct Host {
    /// What lies below `/usr`, paths relative to it: the content of the partition.
    pub usr: TreeId,
    /// The same with whole paths, parents and owners, for inventory and pool.
    pub tree: Tree,
    /// The kernel.
    pub kernel: Blob,
    /// Its release.
    pub uname: String,
    /// The text of os-release.
    pub os_release: String,
    /// Where every path comes from.
    pub inventory: rootfs::Inventory,
    /// What MERGE says beside the tree.
    pub merged: Merged,
    /// What lints say of the profile's own words.
    pub warnings: Vec<String>,
}

/// The initial RAM disk.
pub struct Initrd {
    /// The compressed archive.
    pub image: Blob,
    /// What MERGE says beside the tree.
    pub merged: Merged,
}

/// What the firmware starts, unsigned.
pub struct BootParts {
    /// systemd's EFI stub.
    pub stub: Blob,
    /// systemd-boot.
    pub loader: Blob,
}

/// Reads every locked package.
pub fn import(lock: &Lock, store: &Store) -> Result<Packages> {
    let mut locked: Vec<&Locked> = lock.packages.iter().collect();
    // The longest work first, so that no core waits for it at the end.
    locked.sort_by_key(|locked| std::cmp::Reverse(locked.blob.size));
    let imported =
        store::parallel(&locked, |locked| store.realize(&IMPORT, &import_of(lock, locked)?))?;
    Ok(Packages(locked.into_iter().cloned().zip(imported).collect()))
}

/// Input of `IMPORT` for one package.
pub fn import_of(lock: &Lock, locked: &Locked) -> Result<Import> {
    Ok(Import { family: lock.family(locked)?, id: locked.id.clone(), blob: locked.blob })
}

impl Packages {
    /// Every package, whatever it is for.
    pub(crate) fn all(&self) -> Vec<Imported> {
        self.0.iter().map(|(_, imported)| imported.clone()).collect()
    }

    /// What each of them ships.
    pub fn trees(&self) -> Vec<TreeId> {
        self.0.iter().map(|(_, imported)| imported.tree).collect()
    }

    fn of(&self, role: &str) -> Vec<Imported> {
        let has_role = |locked: &Locked| locked.roles.iter().any(|own| own == role);
        let of = self.0.iter().filter(|(locked, _)| has_role(locked));
        of.map(|(_, imported)| imported.clone()).collect()
    }
}

/// MERGE, GENERATORS and lints over the host's packages.
pub fn host(plan: &Plan, packages: &Packages, later: &[Later], store: &Store) -> Result<Host> {
    let imported = packages.of(HOST);
    let mut later = later.to_vec();
    later.push(plan.package_list()?);
    let merged = merge(plan, &plan.host, &imported, &later, store)?;
    let mut tree = store.tree(&merged.tree)?;
    let (kernel, uname) = take_kernel(&mut tree, store)?;
    tree.remove_all("boot");
    let shipped = rootfs::outside(&tree);
    let mut tree =
        rootfs::generate(tree, Purpose::Host, Point::Image, store)?.with_parents("image");
    let mut usr = below_usr(&tree)?;
    let text = store.put(origins::text(&usr).as_bytes())?;
    let text = Entry::file(text, 0o644, "layout");
    usr.insert(origins::PATH.trim_start_matches("usr/"), text.clone())?;
    tree.insert(origins::PATH, text)?;
    let warnings = lint::tree(plan, &tree, &shipped, &merged, store)?;
    let os_release = tree.get("usr/lib/os-release").and_then(Entry::blob);
    let os_release = store.read(&os_release.context("find usr/lib/os-release in the tree")?)?;
    let ids = imported.iter().map(|imported| &imported.id);
    Ok(Host {
        usr: store.put_tree(&usr)?,
        kernel,
        uname,
        os_release: String::from_utf8(os_release).context("read os-release as UTF-8")?,
        inventory: rootfs::inventory(&tree, ids),
        tree,
        merged,
        warnings,
    })
}

/// What lies below `/usr`, paths relative to it; nothing may lie elsewhere.
fn below_usr(tree: &Tree) -> Result<Tree> {
    let mut usr = Tree::default();
    for (path, entry) in &tree.0 {
        match path.strip_prefix("usr/") {
            Some(below) => usr.insert(below, entry.clone())?,
            None if path == "usr" => {}
            None => bail!(
                "`{path}` of `{}` lies outside of /usr, where no image keeps it",
                entry.origin
            ),
        }
    }
    Ok(usr)
}

/// What the distribution's own installer would leave behind: the host's packages, rules and
/// generators, before anything is dropped, laid over, unpacked or moved below `/usr`. Nothing of
/// the profile but its list of packages.
pub fn installed(plan: &Plan, packages: &Packages, store: &Store) -> Result<Tree> {
    let imported = packages.of(HOST);
    let merge = Merge { imported, rules: plan.rules.without_drops(), ..Merge::default() };
    let merged = store.realize(&MERGE, &merge)?;
    let tree = store.tree(&merged.tree)?;
    Ok(rootfs::generate(tree, Purpose::Host, Point::Installed, store)?.with_parents("image"))
}

/// The archive of the initrd.
pub fn initrd(plan: &Plan, packages: &Packages, later: &[Later], store: &Store) -> Result<Initrd> {
    let (tree, merged) = initrd_tree(plan, packages, later, store)?;
    let plan = boot::InitrdPlan { tree: store.put_tree(&tree)?, epoch: plan.lock.epoch };
    Ok(Initrd { image: store.realize(&boot::INITRD, &plan)?.image, merged })
}

/// MERGE, SELECT and GENERATORS over the initrd's packages.
pub fn initrd_tree(
    plan: &Plan,
    packages: &Packages,
    later: &[Later],
    store: &Store,
) -> Result<(Tree, Merged)> {
    let profile = &plan.initrd;
    let merged = merge(plan, profile, &packages.of(INITRD), later, store)?;
    let select = Select {
        tree: merged.tree,
        drop: Patterns::default(),
        keep: Patterns(profile.keep.clone()),
        modules: profile.modules.clone(),
        without: profile.without.keys().cloned().collect(),
    };
    let selected = store.realize(&SELECT, &select)?;
    let tree = store.tree(&selected.tree)?;
    let tree = rootfs::generate(tree, Purpose::Initrd, Point::Image, store)?;
    Ok((tree.with_parents("image"), merged))
}

/// Stub and loader, from whichever package ships them.
pub fn boot_parts(packages: &Packages, store: &Store) -> Result<BootParts> {
    let mut found: BTreeMap<&str, Blob> = BTreeMap::new();
    for (_, imported) in &packages.0 {
        let tree = store.tree(&imported.tree)?;
        for wanted in [boot::STUB, boot::LOADER] {
            if let Some(blob) = tree.get(wanted).and_then(Entry::blob) {
                found.insert(wanted, blob);
            }
        }
    }
    let take = |path: &str| {
        found.get(path).copied().with_context(|| format!("no package of the image ships `{path}`"))
    };
    Ok(BootParts { stub: take(boot::STUB)?, loader: take(boot::LOADER)? })
}

fn merge(
    plan: &Plan,
    profile: &Profile,
    imported: &[Imported],
    later: &[Later],
    store: &Store,
) -> Result<Merged> {
    let mut overlays: Vec<Overlay> = profile::overlays(profile, store)?
        .into_iter()
        .map(|profile::Overlay { origin, tree }| Overlay {
            origin,
            tree,
            replaces: BTreeMap::new(),
        })
        .collect();
    let replaces =
        later.iter().filter_map(|one| Some((one.path.clone(), one.replaces?.to_owned())));
    let replaces = replaces.collect();
    overlays.push(Overlay { origin: "layout".to_owned(), tree: plain(later, store)?, replaces });
    let mut own =
        Rule { drop: Patterns(profile.drop.keys().cloned().collect()), ..Rule::default() };
    for (unit, state) in &profile.units {
        if let UnitState::Masked(why) = state {
            own.units.mask.insert(unit.clone(), why.clone());
        }
    }
    let image =
        rootfs::Image { id: plan.host.id.clone(), version: plan.version.clone(), name: None };
    let merge = Merge {
        imported: imported.to_vec(),
        rules: plan.rules.clone(),
        profile: own,
        overlays,
        image: Some(image),
    };
    store.realize(&MERGE, &merge)
}

/// The files as a tree, owned by root, 0644.
fn plain(files: &[Later], store: &Store) -> Result<TreeId> {
    let mut tree = Tree::default();
    for Later { path, bytes, .. } in files {
        tree.insert(path, Entry::file(store.put(bytes)?, 0o644, "layout"))?;
    }
    store.put_tree(&tree)
}

/// The one kernel of the tree, from either place where packages put it.
fn take_kernel(tree: &mut Tree, store: &Store) -> Result<(Blob, String)> {
    let places = Patterns::of(&["boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"]);
    let kernels: Vec<(String, Blob)> = tree
        .0
        .iter()
        .filter(|(path, _)| places.matches(path))
        .filter_map(|(path, entry)| Some((path.clone(), entry.blob()?)))
        .collect();
    let [(path, kernel)] = kernels.as_slice() else {
        let names: Vec<&str> = kernels.iter().map(|(path, _)| path.as_str()).collect();
        bail!("the image needs exactly one kernel; its packages ship {}: {names:?}", names.len());
    };
    tree.0.remove(path);
    let uname = boot::uname(&store.read(kernel)?).with_context(|| format!("read `{path}`"))?;
    Ok((*kernel, uname))
}
