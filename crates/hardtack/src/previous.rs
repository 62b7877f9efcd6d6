//! An earlier release: what it took and how large its hosts' slots are, so that a build can say what
//! grew and whether those hosts can still take it. It changes no byte of what is built.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use filesystem::Extents;
use release::{MANIFEST, Manifest};

use crate::ledger::{self, Bytes};

/// An earlier release.
pub struct Previous {
    /// Its version.
    pub(crate) version: String,
    /// How it became known.
    pub(crate) known: Known,
    /// Bytes in `/usr` by package.
    pub(crate) bytes: Bytes,
    /// The slots of its hosts: no update makes one larger.
    pub(crate) slots: Slots,
    /// Bytes of its signed kernel image.
    pub(crate) uki: u64,
}

/// How a release became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// `--previous` names it: what its hosts cannot take is refused.
    Named,
    /// It stands where this one goes: what its hosts cannot take is a warning.
    Found,
}

/// Bytes of the slots of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    pub(crate) esp: u64,
    pub(crate) usr: u64,
    pub(crate) verity: u64,
    pub(crate) signature: u64,
}

/// A manifest or a map is not larger than this, in bytes.
const TEXT_LIMIT: u64 = 256 << 20;

/// The release in an output directory.
///
/// Errors: there is none, or one of its files is missing or damaged.
pub(crate) fn named(directory: &Path) -> Result<Previous> {
    let of = || format!("read the earlier release in `{}`", directory.display());
    read(directory, &manifest(directory).with_context(of)?, Known::Named).with_context(of)
}

/// What an earlier build left where this one goes; nothing where that is no whole release or the
/// same version, which is being built again.
pub(crate) fn found(directory: &Path, version: &str) -> Option<Previous> {
    let manifest = manifest(directory).ok().filter(|earlier| earlier.version != version)?;
    read(directory, &manifest, Known::Found).ok()
}

fn manifest(directory: &Path) -> Result<Manifest> {
    let text = store::bounded(&directory.join(MANIFEST), TEXT_LIMIT)?;
    Manifest::parse(std::str::from_utf8(&text).context("read the manifest as UTF-8")?)
}

fn read(directory: &Path, manifest: &Manifest, known: Known) -> Result<Previous> {
    let named = |end: &str| {
        let mut names = manifest.artifacts.iter().filter(|(name, _)| !name.contains('/'));
        let found = names.find(|(name, _)| name.ends_with(end));
        found.with_context(|| format!("its manifest names no file `*{end}`"))
    };
    let (extents, _) = named(".extents.json")?;
    let extents = Extents::read(&store::bounded(&directory.join(extents), TEXT_LIMIT)?)?;
    let (_, uki) = named(".efi")?;
    Ok(Previous {
        version: manifest.version.clone(),
        known,
        bytes: ledger::of(&extents),
        slots: slots(directory, manifest)?,
        uki: uki.size,
    })
}

/// From the partition table of a disk: of two slots the first, since they are equal.
fn slots(directory: &Path, manifest: &Manifest) -> Result<Slots> {
    let names = manifest.artifacts.keys().filter(|name| !name.contains('/'));
    let mut disks = names
        .filter(|name| disk::FORMATS.iter().any(|of| name.ends_with(&format!(".{}", of.extension))))
        .map(|name| directory.join(name));
    let disk = disks.find(|disk| disk.exists()).context("find a disk, raw or VHD, beside it")?;
    let of = || format!("read `{}`", disk.display());
    let mut file = File::open(&disk).with_context(of)?;
    let table = inspect::gpt::read(&mut file).with_context(of)?;
    let size = |kind: &str| {
        let is = |uuid: &str| {
            let name = inspect::kinds::name(uuid).unwrap_or_default();
            name.split(' ').next() == Some(kind)
        };
        table.partitions.iter().find(|one| is(&one.kind)).map_or(0, |one| one.length)
    };
    Ok(Slots {
        esp: size("esp"),
        usr: size("usr"),
        verity: size("usr-verity"),
        signature: size("usr-verity-sig"),
    })
}
