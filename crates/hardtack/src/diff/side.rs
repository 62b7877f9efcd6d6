//! One side of a difference: what can be said of a release, whatever form it lies in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use inspect::holding::{FoundPackage, Holding};
use inspect::uki::FoundUki;
use inspect::{Form, FoundImage, FoundSlot, Window};
use lock::Lock;
use release::MANIFEST;
use serde::Serialize;

use super::{feed, usr};
use crate::{offered, previous, say};

/// What one side says. `None` is what its form cannot say.
#[derive(Default)]
pub(super) struct Side {
    /// What people call it: `<id>_<version>` where that is known, else the path.
    pub(super) name: String,
    /// The form that it was read from.
    pub(super) form: &'static str,
    pub(super) packages: Option<BTreeMap<String, Package>>,
    /// By path, `/usr` included.
    pub(super) files: Option<BTreeMap<String, Leaf>>,
    /// What brought a file or link, where the image says so.
    pub(super) origins: BTreeMap<String, String>,
    /// Bytes of content in `/usr` by origin, equal contents counted once.
    pub(super) bytes: Option<BTreeMap<String, u64>>,
    /// What the kernel image holds, by name.
    pub(super) boot: Option<BTreeMap<String, String>>,
    /// `sha256` of the program that the firmware starts by its path alone.
    pub(super) loader: Option<BTreeMap<String, String>>,
    /// Authenticode digests of programs on the ESP, by path.
    pub(super) programs: Option<BTreeMap<String, String>>,
    /// Words of the kernel command line, ids that follow from the root hash made equal.
    pub(super) command_line: Option<Vec<String>>,
    /// Enabled, disabled or masked.
    pub(super) units: Option<BTreeMap<String, String>>,
    /// By name, the rest of the line in passwd(5).
    pub(super) users: Option<BTreeMap<String, String>>,
    /// By name, the rest of the line in group(5).
    pub(super) groups: Option<BTreeMap<String, String>>,
    pub(super) slots: Option<BTreeMap<String, Room>>,
}

/// A package of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Package {
    pub(super) version: String,
    pub(super) architecture: String,
    /// Parts of the image that it is for.
    pub(super) parts: Vec<String>,
}

/// A file, link or directory of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Leaf {
    /// `file`, `link`, `directory`, or the type bits of another.
    pub(super) kind: String,
    /// Octal.
    pub(super) mode: String,
    pub(super) owner: u32,
    pub(super) group: u32,
    #[serde(rename = "size-bytes")]
    pub(super) size: u64,
    /// SHA-256 of a file's content, uncompressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// Values in hexadecimal digits.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) xattrs: BTreeMap<String, String>,
}

/// A slot and how much of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Room {
    #[serde(rename = "size-bytes")]
    pub(super) size: u64,
    #[serde(rename = "used-bytes")]
    pub(super) used: Option<u64>,
}

/// A lock or a list is not larger than this, in bytes.
const TEXT_LIMIT: u64 = 16 << 20;

/// Reads `what`: an image, a release's directory, a feed's channel or a lock, each with `#VERSION`
/// behind it where there is more than one version.
pub(super) fn read(what: &str) -> Result<Side> {
    let (path, version) = offered::divide(Path::new(what));
    let of = || format!("read `{}`", path.display());
    let about = fs::metadata(path).with_context(of)?;
    let side = if !about.is_dir() {
        file(path, version)
    } else if path.join(MANIFEST).exists() {
        release(path, version)
    } else {
        offered(path, version)
    };
    let mut side = side.with_context(of)?;
    if side.name.is_empty() {
        side.name = what.to_owned();
    }
    Ok(side)
}

/// A lock or anything that `inspect` knows.
fn file(path: &Path, version: Option<&str>) -> Result<Side> {
    let mut file = File::open(path).context("open it")?;
    if file.metadata().context("measure it")?.len() <= TEXT_LIMIT {
        let mut bytes = Vec::new();
        file.by_ref().take(TEXT_LIMIT).read_to_end(&mut bytes).context("read it")?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            return Ok(lock(&Lock::parse(text).context("read it as a lock")?));
        }
    }
    let found = inspect::look(&mut file)?;
    for problem in &found.problems {
        say(&format!("warning: `{}`: {problem}", path.display()));
    }
    let mut side = Side::default();
    match found.form {
        Form::Disk(image) => disk(&mut file, &image, version, &mut side)?,
        Form::Kernel(kernel) => boots(&kernel, &mut side),
        Form::Volume(holding) => match *holding {
            Holding::Erofs(erofs) => {
                side.form = "file system";
                side.packages = packages(&erofs.packages);
                usr::read(&mut file, &mut side)?;
            }
            _ => bail!("it is a file system, and none that this program makes"),
        },
        Form::Program(_) | Form::Archive(_) => {
            bail!("it is no image: name a disk, an EROFS, a UKI, a release's directory or a lock")
        }
    }
    Ok(side)
}

fn lock(lock: &Lock) -> Side {
    let packages = lock.packages.iter().map(|locked| {
        let package = Package {
            version: locked.id.version.0.clone(),
            architecture: locked.id.architecture.clone(),
            parts: locked.roles.clone(),
        };
        (locked.id.name.clone(), package)
    });
    Side { form: "lock", packages: Some(packages.collect()), ..Side::default() }
}

/// The first disk that a release's manifest names and that lies beside it.
fn release(directory: &Path, version: Option<&str>) -> Result<Side> {
    let manifest = previous::manifest_of(directory, version)?;
    let mut side = file(&previous::disk(directory, &manifest)?, Some(&manifest.version))?;
    side.form = "release";
    Ok(side)
}

/// A version of a feed.
fn offered(directory: &Path, version: Option<&str>) -> Result<Side> {
    match offered::find(directory, version)? {
        Some(offered) => feed::read(&offered),
        None => bail!(
            "it is no release and no feed: it holds no `{MANIFEST}` and no channel; name an image, \
             a release's directory, a feed's channel or a lock"
        ),
    }
}

fn disk(file: &mut File, image: &FoundImage, version: Option<&str>, side: &mut Side) -> Result<()> {
    side.form = "disk";
    let slot = slot(image, version)?;
    side.name.clone_from(&slot.label);
    let data = image.table.partitions.iter().find(|one| one.number == slot.data);
    let data = data.with_context(|| format!("find partition {}", slot.data))?;
    let Some(Holding::Erofs(erofs)) = image.holds.get(&slot.data) else {
        bail!("partition {} holds no EROFS that can be read", slot.data);
    };
    side.packages = packages(&erofs.packages);
    usr::read(&mut Window::new(file, data.offset, data.length), side)?;
    let kernel = image.ukis.iter().find(|kernel| slot.kernel.as_ref() == Some(&kernel.path));
    if let Some(kernel) = kernel {
        boots(&kernel.uki, side);
        let programs = image.programs.iter().map(|one| (one.path.clone(), one.digest.clone()));
        side.programs = Some(programs.collect());
    }
    let loader = release::loader(image).ok();
    side.loader = loader.map(|sha256| [("sha256".to_owned(), sha256.to_owned())].into());
    side.slots = Some(slots(image, slot));
    Ok(())
}

fn slot<'a>(image: &'a FoundImage, version: Option<&str>) -> Result<&'a FoundSlot> {
    let all: Vec<&FoundSlot> = image.slots.iter().collect();
    let names = || all.iter().map(|slot| slot.label.as_str()).collect::<Vec<_>>().join(", ");
    let named = |slot: &&&FoundSlot| {
        version.is_none_or(|version| slot.label.ends_with(&format!("_{version}")))
    };
    let mut fitting = all.iter().filter(named);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => bail!("it holds {}: name one of them, `IMAGE#VERSION`", names()),
        (None, _) if all.is_empty() => bail!("none of its partitions is a verified /usr"),
        (None, _) => {
            bail!("it holds {}, not version {}", names(), version.unwrap_or_default())
        }
    }
}

/// Sizes of the partitions of one version, and of the ESP.
fn slots(image: &FoundImage, slot: &FoundSlot) -> BTreeMap<String, Room> {
    let mut rooms = BTreeMap::new();
    for partition in &image.table.partitions {
        let kind = inspect::kinds::name(&partition.kind).unwrap_or_default();
        let kind = kind.split(' ').next().unwrap_or_default();
        let number = partition.number;
        let of_slot =
            [Some(slot.data), Some(slot.tree), slot.signature_partition].contains(&Some(number));
        if !of_slot && kind != "esp" {
            continue;
        }
        let used = match image.holds.get(&number) {
            Some(Holding::HashTree(_)) => Some(slot.verity.length),
            holding => holding.and_then(|holding| holding.used(partition.length)),
        };
        rooms.insert(kind.to_owned(), Room { size: partition.length, used });
    }
    rooms
}

/// Kernel, initrd and command line of a UKI.
pub(super) fn boots(kernel: &FoundUki, side: &mut Side) {
    if side.form.is_empty() {
        side.form = "unified kernel image";
    }
    let mut boot = BTreeMap::new();
    if let Some(release) = &kernel.kernel {
        boot.insert("kernel".to_owned(), release.clone());
    }
    for (section, name) in [(".linux", "linux"), (".initrd", "initrd"), (".sbat", "sbat")] {
        if let Some(content) = kernel.sections.get(section) {
            boot.insert(format!("{name}-bytes"), content.size.to_string());
            boot.insert(format!("{name}-sha256"), content.sha256.clone());
        }
    }
    side.boot = Some(boot);
    let root = kernel.root_hash().map(|hash| inspect::hex(&hash));
    side.command_line = Some(words(&kernel.command_line, root.as_deref()));
}

/// The words of a command line. What follows from the root hash differs between any two images, and
/// says nothing.
fn words(line: &str, root: Option<&str>) -> Vec<String> {
    let mut line = line.to_owned();
    if let Some(root) = root {
        let uuid = |half: &str| {
            let part = |from: usize, to: usize| half.get(from..to).unwrap_or_default();
            let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
            parts.join("-")
        };
        let (data, tree) = root.split_at(root.len() / 2);
        line = line.replace(root, "ROOT-HASH");
        line = line.replace(&uuid(data), "DATA-UUID").replace(&uuid(tree), "TREE-UUID");
    }
    line.split_whitespace().map(str::to_owned).collect()
}

/// The packages of an image; none where it does not say.
pub(super) fn packages(found: &[FoundPackage]) -> Option<BTreeMap<String, Package>> {
    if found.is_empty() {
        return None;
    }
    let all = found.iter().map(|one| {
        let (version, architecture) = (one.version.clone(), one.architecture.clone());
        (one.name.clone(), Package { version, architecture, parts: one.parts.clone() })
    });
    Some(all.collect())
}
