//! The pipeline, in order. Start reading here.

use std::collections::BTreeSet;

use anyhow::Result;
use filesystem::{Extents, FREEZE};
use pool::Pool;
use rootfs::Unreviewed;
use sign::Signer;
use store::{Digest, Store};
use verity::PROTECT;

use crate::assemble::Packages;
use crate::fault::{Fault, Or as _};
use crate::plan::{self, Plan};
use crate::{assemble, ledger, lint, scripts, seal};

/// An image whose every byte is decided and in the store.
pub struct Built {
    /// The host's tree and what is known of it.
    pub host: assemble::Host,
    /// The initial RAM disk.
    pub initrd: assemble::Initrd,
    /// The file system of `/usr`.
    pub image: filesystem::Image,
    /// Its hash tree.
    pub protected: verity::Protected,
    /// The kernel command line that names its root hash.
    pub command_line: String,
    /// The signed parts.
    pub sealed: seal::Sealed,
    /// Where every byte lies.
    pub disk: disk::Disk,
    /// Scripts that nobody has read.
    pub unreviewed: Vec<Unreviewed>,
    /// What rules name in vain, a line each.
    pub stale: Vec<String>,
    /// Slots of an earlier release that this one does not fit into, a line each.
    pub outgrown: Vec<String>,
}

/// Turns a plan into an image, and its tree into a commit of the pool.
pub fn build(
    plan: &Plan,
    signer: &dyn Signer,
    store: &Store,
    pool: &Pool,
) -> Result<(Built, Digest)> {
    let packages = assemble::import(&plan.lock, store).fault(Fault::Build)?;
    pool.admit(&packages.trees()).fault(Fault::Build)?;
    let built = bake(plan, &packages, signer, store)?;
    let commit = seal::commit(plan, &built.host, signer, pool).fault(Fault::Sign)?;
    Ok((built, commit))
}

/// Every stage behind IMPORT.
pub fn bake(plan: &Plan, packages: &Packages, signer: &dyn Signer, store: &Store) -> Result<Built> {
    let unreviewed = scripts::unreviewed(plan, packages).fault(Fault::Build)?;
    let stale = scripts::stale(plan, packages);
    let later = plan::later_rooms(plan, signer).fault(Fault::Sign)?;
    let mut host = assemble::host(plan, packages, &later, store).fault(Fault::Build)?;
    let image = store.realize(&FREEZE, &plan.freeze(host.usr)).fault(Fault::Build)?;
    let protected = store.realize(&PROTECT, &plan.protect(image.data)).fault(Fault::Build)?;

    let initrd = assemble::initrd(plan, packages, &later, store).fault(Fault::Build)?;
    let boot = assemble::boot_parts(packages, store).fault(Fault::Build)?;
    let command_line = plan.command_line(protected.root);
    let link = plan.link(&host, initrd.image, &boot, &command_line);
    let uki = store.realize(&boot::LINK, &link).fault(Fault::Build)?;

    let sizes = lint::Sizes {
        usr: image.data.size,
        hash_tree: protected.hash_tree.size,
        uki: uki.image.size,
        loader: boot.loader.size,
    };
    let extents = store.read(&image.extents).and_then(|bytes| Extents::read(&bytes));
    let fit = lint::slots(plan, &sizes, &ledger::of(&extents.fault(Fault::Build)?));
    let lint::Fit { warnings, outgrown } = fit.fault(Fault::Build)?;
    host.warnings.extend(warnings);

    let unsigned = seal::Unsigned { uki: uki.image, loader: boot.loader, root: protected.root };
    let sealed = seal::seal(&unsigned, plan.sizes().signature, signer, store).fault(Fault::Sign)?;

    let lay_out = plan.lay_out(&image, &protected, &sealed, store)?;
    let disk = store.realize(&disk::LAY_OUT, &lay_out).fault(Fault::Build)?;
    Ok(Built {
        host,
        initrd,
        image,
        protected,
        command_line,
        sealed,
        disk,
        unreviewed,
        stale,
        outgrown,
    })
}

impl Built {
    /// What MERGE and the lints warn of, in the host and the initrd, once.
    pub fn warnings(&self) -> BTreeSet<&str> {
        let Self { host, initrd, .. } = self;
        let all = [&host.merged.warnings, &initrd.merged.warnings, &host.warnings];
        all.into_iter().flatten().map(String::as_str).collect()
    }
}
