//! A baked release, understood from its finished bytes before it is published.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use inspect::gpt::FoundPartition;
use inspect::holding::{FoundErofs, Holding};
use inspect::signature::FoundSignature;
use inspect::{FoundImage, FoundSlot, FoundUkiFile, Window, erofs, kinds};
use serde::Deserialize;
use store::{Blob, Digest, bounded};

use crate::channel::{PartFile, Slots, Version, check_name};
use crate::{MANIFEST, Manifest, PARTS, Part, Place, label};

/// A release that could become a version of a channel.
pub struct Candidate {
    /// What the release says of itself.
    pub manifest: Manifest,
    /// What a channel will say of it. Of its files only the names are known, and the contents; size
    /// and digest follow when they are written.
    pub version: Version,
    /// What each part holds, by the part's name.
    contents: BTreeMap<&'static str, Content>,
    /// The kernel image's signatures.
    signatures: Vec<FoundSignature>,
    disk: PathBuf,
}

/// What a part holds.
struct Content {
    /// UUID of its partition; none for a kernel image.
    uuid: String,
    from: Source,
    blob: Blob,
}

/// Where a part's bytes are.
enum Source {
    /// A range of the disk.
    Disk { offset: u64, length: u64 },
    /// Bytes out of a file system.
    Memory(Vec<u8>),
}

/// The longest label of a GPT partition in UTF-16 units (UEFI 2.10, 5.3.3).
const LABEL_UNITS: usize = 36;

/// Where transfer files lie below `/usr`.
const TRANSFERS: &str = "lib/sysupdate.d/";
/// The end of a disk's name: raw, or the same bytes with a footer.
const DISKS: &[&str] = &["raw", "vhd"];
/// The most bytes of `result.json`, and of the map of `/usr`.
const MANIFEST_LIMIT: u64 = 64 << 20;
const EXTENTS_LIMIT: u64 = 1 << 30;

impl Candidate {
    /// Reads the release in `directory`, as `hardtack image` left it: everything that is published
    /// comes from the disk's own bytes, its hashes and signatures computed anew.
    ///
    /// # Errors
    /// An image that is damaged, contradicts itself or is not what its manifest says.
    pub fn read(directory: &Path) -> Result<Self> {
        let text = bounded(&directory.join(MANIFEST), MANIFEST_LIMIT)?;
        let text = std::str::from_utf8(&text).context("read the manifest as text")?;
        let manifest = Manifest::parse(text)?;
        check_labels(&manifest.id, &manifest.version)?;
        let disk = disk_of(directory, &manifest)?;
        let about = || format!("read image `{}`", disk.display());
        let image = inspect::summary(&disk)?;
        if let Some(fault) = image.faults.first() {
            bail!("image `{}` is not whole: {fault}", disk.display());
        }
        let mut file = File::open(&disk).with_context(about)?;
        let found = Found::of(&image, &manifest).with_context(about)?;
        let mut contents = BTreeMap::new();
        let mut parts = BTreeMap::new();
        for part in PARTS {
            let content = found.content(part, &mut file).with_context(about)?;
            parts.insert(part.name.to_owned(), content.file(part, &manifest));
            contents.insert(part.name, content);
        }
        let kernel = contents.get("uki").context("no part is a kernel image")?;
        let uki_sha256 = kernel.blob.digest.to_string();
        let own = format!("{}_{}.efi", manifest.id, manifest.version);
        let said = manifest.artifacts.get(&own).and_then(|artifact| artifact.sha256.as_ref());
        ensure!(said == Some(&uki_sha256), "the kernel image on the ESP is not `{own}`");
        let version = Version {
            version: manifest.version.clone(),
            epoch: manifest.epoch.clone(),
            root_hash: found.slot.verity.root_hash.clone(),
            tool: manifest.tool.clone(),
            loader_sha256: loader(&image)?.to_owned(),
            uki_sha256,
            layout: found.layout(),
            transfers: found.transfers(&mut file).with_context(about)?,
            parts,
            packages: found.packages().with_context(about)?,
            bytes: bytes_by_package(directory, &manifest)?,
        };
        let signatures = found.uki.uki.signatures.clone();
        Ok(Self { manifest, version, contents, signatures, disk })
    }

    /// Reads what the client writes for a part.
    ///
    /// # Errors
    /// No such part, or the disk cannot be read any more.
    pub fn open(&self, part: &Part) -> Result<Box<dyn Read + '_>> {
        match &self.contents.get(part.name).context("no such part")?.from {
            Source::Memory(bytes) => Ok(Box::new(bytes.as_slice())),
            Source::Disk { offset, length } => {
                let mut file = File::open(&self.disk).context("open the image again")?;
                file.seek(SeekFrom::Start(*offset)).context("go to a partition")?;
                Ok(Box::new(file.take(*length)))
            }
        }
    }

    /// Whether a signature of its kernel image holds and is by `certificate` (DER), one that the
    /// firmware of the channel's hosts trusts.
    pub fn is_signed_by(&self, certificate: &[u8]) -> bool {
        let wanted = Digest::of(certificate).to_string();
        let by = |one: &FoundSignature| one.certificate_sha256.as_ref() == Some(&wanted);
        self.signatures.iter().any(|one| one.holds == Some(true) && by(one))
    }

    /// Who signed its kernel image, for people.
    pub fn signers(&self) -> String {
        let names: Vec<&str> = self.signatures.iter().map(|one| one.signer.as_str()).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(" and ") }
    }
}

impl Content {
    /// A part whose file is not written yet.
    fn file(&self, part: &Part, manifest: &Manifest) -> PartFile {
        let Manifest { id, architecture, version, .. } = manifest;
        PartFile {
            file: part.file(id, architecture, version, &self.uuid),
            size: 0,
            sha256: String::new(),
            content_size: self.blob.size,
            content_sha256: self.blob.digest.to_string(),
        }
    }
}

/// Checks that every label of a version fits into a partition table, in whichever slot.
///
/// # Errors
/// One is too long: the client finds that out after it has emptied the slot.
pub fn check_labels(id: &str, version: &str) -> Result<()> {
    check_name(&format!("{id}_{version}"))?;
    for part in PARTS {
        let Place::Partition(kind) = part.place else { continue };
        let label = label(kind, id, version);
        let units = label.encode_utf16().count();
        ensure!(
            units <= LABEL_UNITS,
            "the label `{label}` has {units} UTF-16 units, {LABEL_UNITS} fit into a partition \
             table: shorten the version"
        );
    }
    Ok(())
}

/// The pieces of an image that make a version.
struct Found<'a> {
    image: &'a FoundImage,
    slot: &'a FoundSlot,
    uki: &'a FoundUkiFile,
    esp: &'a FoundPartition,
    data: &'a FoundPartition,
    tree: &'a FoundPartition,
    signature: &'a FoundPartition,
}

impl<'a> Found<'a> {
    fn of(image: &'a FoundImage, manifest: &Manifest) -> Result<Self> {
        let [slot] = image.slots.as_slice() else {
            bail!("it holds {} versions, a new image holds one", image.slots.len());
        };
        let [uki] = image.ukis.as_slice() else {
            bail!("it holds {} kernel images, a new image holds one", image.ukis.len());
        };
        let partition = |number: u32| {
            let mut all = image.table.partitions.iter();
            all.find(|one| one.number == number).with_context(|| format!("no partition {number}"))
        };
        let signature = slot.signature_partition.context("nothing signs its root hash")?;
        let is_fat = |one: &&FoundPartition| {
            matches!(image.holds.get(&one.number), Some(Holding::Fat(volume))
                if volume.files.contains_key(&uki.path))
        };
        let esp = image.table.partitions.iter().find(is_fat).context("no ESP")?;
        let found = Self {
            image,
            slot,
            uki,
            esp,
            data: partition(slot.data)?,
            tree: partition(slot.tree)?,
            signature: partition(signature)?,
        };
        found.is(manifest)?;
        Ok(found)
    }

    /// The image is what its manifest says.
    fn is(&self, manifest: &Manifest) -> Result<()> {
        let said = |key| self.uki.uki.os_release.get(key).map_or("", String::as_str);
        let Manifest { id, version, root_hash, .. } = manifest;
        ensure!(
            (said("IMAGE_ID"), said("IMAGE_VERSION")) == (id, version),
            "it is `{}` version `{}`, and `{MANIFEST}` says `{id}` version `{version}`",
            said("IMAGE_ID"),
            said("IMAGE_VERSION")
        );
        let found = &self.slot.verity.root_hash;
        ensure!(found == root_hash, "its root hash is {found}, `{MANIFEST}` says {root_hash}");
        let (kind, wanted) =
            (kinds::name(&self.data.kind), format!("usr {}", manifest.architecture));
        ensure!(
            kind == Some(&wanted),
            "its `/usr` is a partition of type `{}`, and `{MANIFEST}` says `{wanted}`",
            kind.unwrap_or(&self.data.kind)
        );
        let named = self.slot.kernel.as_ref() == Some(&self.uki.path);
        ensure!(named && self.slot.named_by_uuids, "its root hash names other partitions");
        for (kind, partition) in
            [("usr", self.data), ("usr-verity", self.tree), ("usr-verity-sig", self.signature)]
        {
            let (found, wanted) = (&partition.label, label(kind, id, version));
            ensure!(*found == wanted, "its `{kind}` is labelled `{found}` and not `{wanted}`");
        }
        Ok(())
    }

    fn layout(&self) -> Slots {
        // What fits must fit into either slot.
        let least = |partition: &FoundPartition| {
            let like = self.image.table.partitions.iter().filter(|one| one.kind == partition.kind);
            like.map(|one| one.length).min().unwrap_or(partition.length)
        };
        Slots {
            esp: self.esp.length,
            usr: least(self.data),
            verity: least(self.tree),
            signature: least(self.signature),
        }
    }

    fn content(&self, part: &Part, file: &mut File) -> Result<Content> {
        let verity = &self.slot.verity;
        let bytes = verity.data_blocks.checked_mul(u64::from(verity.block));
        let (partition, length) = match part.name {
            "usr" => (self.data, bytes.context("measure `/usr`")?),
            "usr-verity" => (self.tree, verity.length),
            // All of it: what a longer signature left behind would follow a shorter one.
            "usr-verity-sig" => (self.signature, self.signature.length),
            "uki" => return self.kernel(file),
            other => bail!("no content is known for part `{other}`"),
        };
        let slots = self.image.table.partitions.iter().filter(|one| one.kind == partition.kind);
        for slot in slots {
            ensure!(
                length <= slot.length,
                "part `{}` has {length} bytes, partition {} has {}",
                part.name,
                slot.number,
                slot.length
            );
        }
        ensure!(length <= partition.length, "part `{}` is longer than its partition", part.name);
        let offset = partition.offset;
        let mut content = Window::new(file, offset, length);
        let blob = store::blob_from(&mut content).context("read a partition")?;
        Ok(Content { uuid: partition.uuid.clone(), from: Source::Disk { offset, length }, blob })
    }

    fn kernel(&self, file: &mut File) -> Result<Content> {
        let Some(Holding::Fat(volume)) = self.image.holds.get(&self.esp.number) else {
            bail!("the ESP holds no FAT volume");
        };
        let mut window = Window::new(file, self.esp.offset, self.esp.length);
        let bytes = volume.content(&mut window, &self.uki.path)?;
        let blob = Blob::of(&bytes);
        Ok(Content { uuid: String::new(), from: Source::Memory(bytes), blob })
    }

    fn transfers(&self, file: &mut File) -> Result<Vec<String>> {
        let mut window = Window::new(file, self.data.offset, self.data.length);
        let tree = erofs::read(&mut window)?;
        let names = tree.entries.keys().filter_map(|path| path.strip_prefix(TRANSFERS));
        Ok(names.filter(|name| name.ends_with(".transfer")).map(str::to_owned).collect())
    }

    fn packages(&self) -> Result<BTreeMap<String, String>> {
        let Some(Holding::Erofs(FoundErofs { packages, .. })) =
            self.image.holds.get(&self.data.number)
        else {
            bail!("`/usr` holds no EROFS");
        };
        Ok(packages.iter().map(|one| (one.name.clone(), one.version.clone())).collect())
    }
}

/// SHA-256 of the program that the firmware starts by its path alone (UEFI 2.10, 3.5.1.1).
///
/// # Errors
/// The image has none.
pub fn loader(image: &FoundImage) -> Result<&str> {
    let named = |path: &str| {
        let path = path.trim_start_matches('/').to_ascii_lowercase();
        path.starts_with("efi/boot/boot") && path.ends_with(".efi")
    };
    let mut loaders = image.programs.iter().filter(|program| named(&program.path));
    let loader = loaders.next().context("the ESP holds no boot loader, `EFI/BOOT/BOOT*.EFI`")?;
    let file = image.esp.get(&loader.path).context("find the boot loader")?;
    Ok(&file.sha256)
}

fn disk_of(directory: &Path, manifest: &Manifest) -> Result<PathBuf> {
    let Manifest { id, version, artifacts, .. } = manifest;
    for end in DISKS {
        let name = format!("{id}_{version}.{end}");
        let Some(artifact) = artifacts.get(&name) else { continue };
        let path = directory.join(name);
        let about = || format!("look at `{}`", path.display());
        let size = fs::metadata(&path).with_context(about)?.len();
        ensure!(
            size == artifact.size,
            "`{}` has {size} bytes, `{MANIFEST}` says {}",
            path.display(),
            artifact.size
        );
        return Ok(path);
    }
    bail!("release `{}` has no disk: bake it with output `raw` or `vhd`", directory.display())
}

/// How many bytes of `/usr` are of which package, by the map that was made with the file system;
/// none where the release has no such map.
fn bytes_by_package(directory: &Path, manifest: &Manifest) -> Result<BTreeMap<String, u64>> {
    #[derive(Deserialize)]
    struct Extent {
        size: u64,
        holds: serde_json::Value,
    }
    let name = format!("{}_{}.extents.json", manifest.id, manifest.version);
    let Some(artifact) = manifest.artifacts.get(&name) else { return Ok(BTreeMap::new()) };
    let bytes = bounded(&directory.join(&name), EXTENTS_LIMIT)?;
    let digest = Digest::of(&bytes).to_string();
    ensure!(
        artifact.sha256.as_ref() == Some(&digest),
        "`{name}` is not the one that `{MANIFEST}` names"
    );
    let extents: Vec<Extent> =
        serde_json::from_slice(&bytes).with_context(|| format!("read `{name}`"))?;
    let mut by_package: BTreeMap<String, u64> = BTreeMap::new();
    for Extent { size, holds } in extents {
        if let Some(origin) = holds.pointer("/content/origin").and_then(|origin| origin.as_str()) {
            let sum = by_package.entry(origin.to_owned()).or_default();
            *sum = sum.saturating_add(size);
        }
    }
    Ok(by_package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u4_a_version_whose_longest_label_does_not_fit_is_refused_before_anything_is_written() {
        let version = "1".repeat(LABEL_UNITS - "mini__verity".len());
        check_labels("mini", &version).unwrap();
        let error = check_labels("mini", &format!("{version}0")).unwrap_err().to_string();
        assert!(error.contains("_verity` has 37 UTF-16 units"), "{error}");
    }

    #[test]
    fn u7_an_id_or_version_with_a_folder_is_no_name() {
        assert!(check_labels("a/b", "1").is_err());
        assert!(check_labels("mini", "../1").is_err());
    }
}
