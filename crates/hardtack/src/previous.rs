//! An earlier release: what it took and how large its hosts' slots are, so that a build can say what
//! grew and whether those hosts can still take it. It changes no byte of what is built.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use filesystem::Extents;
use release::{MANIFEST, Manifest, Slots};

use crate::ledger::{self, Bytes};
use crate::offered::{self, Offered};

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

/// A manifest is not larger than this, in bytes.
const MANIFEST_LIMIT: u64 = 16 << 20;
/// A map of `/usr` is not larger than this, in bytes.
const EXTENTS_LIMIT: u64 = 256 << 20;

/// The release in an output directory, or a version of a channel of a feed: the newest, or
/// `#VERSION` behind the directory.
///
/// Errors: there is none, or one of its files is missing or damaged.
pub(crate) fn named(what: &Path) -> Result<Previous> {
    let (directory, version) = offered::divide(what);
    let of = || format!("read the earlier release in `{}`", directory.display());
    if !directory.join(MANIFEST).exists() {
        let offered = offered::find(directory, version).with_context(of)?;
        let offered = offered.with_context(|| {
            format!("it holds no `{MANIFEST}`: name a release's directory or a feed's channel")
        });
        return published(offered.with_context(of)?).with_context(of);
    }
    let manifest = manifest_of(directory, version).with_context(of)?;
    read(directory, &manifest, Known::Named).with_context(of)
}

/// What a channel says of a version is enough; none of its files is read.
fn published(Offered { version, .. }: Offered) -> Result<Previous> {
    let uki =
        version.parts.get("uki").context("find its kernel image in the channel's manifest")?;
    Ok(Previous {
        known: Known::Named,
        bytes: version.bytes,
        slots: version.layout,
        uki: uki.content_size,
        version: version.version,
    })
}

/// What an earlier build left where this one goes; nothing where that is no whole release or the
/// same version, which is being built again.
pub(crate) fn found(directory: &Path, version: &str) -> Option<Previous> {
    let manifest = manifest(directory).ok().filter(|earlier| earlier.version != version)?;
    read(directory, &manifest, Known::Found).ok()
}

/// The manifest of the release in a directory, which is of that version where one is named.
pub(crate) fn manifest_of(directory: &Path, version: Option<&str>) -> Result<Manifest> {
    let manifest = manifest(directory)?;
    ensure!(
        version.is_none_or(|version| version == manifest.version),
        "`{}` is of version {}, not {}",
        directory.display(),
        manifest.version,
        version.unwrap_or_default()
    );
    Ok(manifest)
}

fn manifest(directory: &Path) -> Result<Manifest> {
    let text = store::bounded(&directory.join(MANIFEST), MANIFEST_LIMIT)?;
    Manifest::parse(std::str::from_utf8(&text).context("read the manifest as UTF-8")?)
}

fn read(directory: &Path, manifest: &Manifest, known: Known) -> Result<Previous> {
    let named = |end: &str| {
        let mut names = manifest.artifacts.iter().filter(|(name, _)| !name.contains('/'));
        let found = names.find(|(name, _)| name.ends_with(end));
        found.with_context(|| format!("its manifest names no file `*{end}`"))
    };
    let (extents, _) = named(".extents.json")?;
    let extents = Extents::read(&store::bounded(&directory.join(extents), EXTENTS_LIMIT)?)?;
    let (_, uki) = named(".efi")?;
    Ok(Previous {
        version: manifest.version.clone(),
        known,
        bytes: ledger::of(&extents),
        slots: slots(directory, manifest)?,
        uki: uki.size,
    })
}

/// The first disk that a release's manifest names and that lies beside it.
pub(crate) fn disk(directory: &Path, manifest: &Manifest) -> Result<PathBuf> {
    let names = manifest.artifacts.keys().filter(|name| {
        let flat = !name.contains('/');
        flat && disk::FORMATS.iter().any(|format| name.ends_with(&format!(".{}", format.extension)))
    });
    let mut disks = names.map(|name| directory.join(name));
    disks.find(|disk| disk.exists()).with_context(|| {
        format!(
            "`{}` names no disk that lies beside it, raw or VHD",
            directory.join(MANIFEST).display()
        )
    })
}

/// From the partition table of a disk: of two slots the first, since they are equal.
fn slots(directory: &Path, manifest: &Manifest) -> Result<Slots> {
    let disk = disk(directory, manifest)?;
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
