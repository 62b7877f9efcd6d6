//! A whole disk image, understood.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bytes::{Window, sha256, uuid};
use crate::gpt::{FoundPartition, FoundTable};
use crate::uki::FoundUki;
use crate::vhd::{self, FoundVhd};
use crate::{erofs, fat, gpt, pe, uki, verity};

/// What an image holds, and what about it is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundImage {
    /// The VHD footer, if the file ends in one.
    pub vhd: Option<FoundVhd>,
    /// The partition table.
    pub table: FoundTable,
    /// Files of the ESP by path.
    pub esp: BTreeMap<String, FoundFile>,
    /// Every unified kernel image on the ESP.
    pub ukis: Vec<FoundUkiFile>,
    /// The version that each root hash on a command line leads to.
    pub slots: Vec<FoundSlot>,
    /// Contradictions, in words. An image without any is what its parts say it is; whether a
    /// signature is good is not looked at.
    pub faults: Vec<String>,
}

/// A file of the ESP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFile {
    /// Bytes.
    pub size: u32,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// FAT attributes.
    pub attributes: u8,
    /// When it was written.
    pub modified: String,
}

/// A unified kernel image and its path on the ESP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundUkiFile {
    /// Its path.
    pub path: String,
    /// What it holds.
    pub uki: FoundUki,
}

/// A version in its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundSlot {
    /// The label of its data partition: `<id>_<version>`.
    pub label: String,
    /// The number of its data partition.
    pub data: u32,
    /// The number of its hash partition.
    pub tree: u32,
    /// Its hash tree; its root hash is the one on the command line, recomputed from the data.
    pub verity: verity::FoundTree,
    /// The superblock of its file system, if that is EROFS.
    pub file_system: Option<erofs::FoundSuperblock>,
}

const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const READ_ONLY: u8 = 1;

/// Reads the image in the file `path`; see [`read`].
pub fn summary(path: &Path) -> Result<FoundImage> {
    let mut file = File::open(path).with_context(|| format!("open image `{}`", path.display()))?;
    read(&mut file).with_context(|| format!("read image `{}`", path.display()))
}

/// Reads a raw image or fixed VHD: table, ESP, kernels, and for each kernel the slot that its
/// `usrhash=` names, whose data and tree are hashed anew.
///
/// What cannot be read at all is an error; what contradicts itself is a fault.
pub fn read<D: Read + Seek>(device: &mut D) -> Result<FoundImage> {
    let vhd = vhd::read(device)?;
    let size = match &vhd {
        Some(vhd) => vhd.size,
        None => crate::bytes::size(device)?,
    };
    let mut disk = Window::new(device, 0, size);
    let table = gpt::read(&mut disk)?;
    let mut image = FoundImage {
        vhd,
        table,
        esp: BTreeMap::new(),
        ukis: Vec::new(),
        slots: Vec::new(),
        faults: Vec::new(),
    };
    for partition in image.table.partitions.clone() {
        if partition.kind == ESP {
            volume(&mut disk, &partition, &mut image)
                .with_context(|| format!("read ESP, partition {}", partition.number))?;
        }
    }
    slots(&mut disk, &mut image);
    Ok(image)
}

fn volume<D: Read + Seek>(
    disk: &mut D,
    partition: &FoundPartition,
    image: &mut FoundImage,
) -> Result<()> {
    let first = partition.offset / u64::from(image.table.sector);
    let mut window = Window::new(disk, partition.offset, partition.length);
    let volume = fat::read(&mut window)?;
    if u64::from(volume.hidden) != first {
        image.faults.push(format!("the ESP begins at {first} and says {}", volume.hidden));
    }
    if volume.sector != image.table.sector {
        image.faults.push(format!("the ESP has sectors of {} bytes", volume.sector));
    }
    for (path, file) in &volume.files {
        let content = volume.content(&mut window, path)?;
        if file.attributes & READ_ONLY != 0 {
            image.faults.push(format!("`{path}` is read-only: the loader cannot count its tries"));
        }
        image.esp.insert(
            path.clone(),
            FoundFile {
                size: file.size,
                sha256: sha256(&content),
                attributes: file.attributes,
                modified: file.modified.clone(),
            },
        );
        if path.to_lowercase().ends_with(".efi") {
            program(path, &content, image);
        }
    }
    Ok(())
}

fn program(path: &str, content: &[u8], image: &mut FoundImage) {
    let found = pe::read(content).and_then(|program| {
        if !uki::is_uki(&program) {
            return Ok(());
        }
        program.check_placement()?;
        image.ukis.push(FoundUkiFile { path: path.to_owned(), uki: uki::read(content)? });
        Ok(())
    });
    if let Err(error) = found {
        image.faults.push(format!("`{path}`: {error:#}"));
    }
}

fn slots<D: Read + Seek>(disk: &mut D, image: &mut FoundImage) {
    let mut seen = std::collections::BTreeSet::new();
    for FoundUkiFile { path, uki } in image.ukis.clone() {
        let Some(hash) = uki.root_hash() else {
            image.faults.push(format!("`{path}` names no root hash"));
            continue;
        };
        if !seen.insert(hash) {
            continue;
        }
        match slot(disk, image, &hash) {
            Ok(slot) => {
                let said = ["IMAGE_ID", "IMAGE_VERSION"].map(|key| uki.os_release.get(key));
                if let [Some(id), Some(version)] = said
                    && slot.label != format!("{id}_{version}")
                {
                    let label = &slot.label;
                    image.faults.push(format!("`{path}` is {id} {version}, its slot `{label}`"));
                }
                image.slots.push(slot);
            }
            Err(error) => image.faults.push(format!("`{path}`: {error:#}")),
        }
    }
}

/// The partitions whose UUIDs are the halves of the root hash.
fn slot<D: Read + Seek>(disk: &mut D, image: &FoundImage, hash: &[u8; 32]) -> Result<FoundSlot> {
    let find = |half: &[u8]| {
        let wanted = uuid(half);
        let mut partitions = image.table.partitions.iter();
        partitions
            .find(|partition| partition.uuid == wanted)
            .with_context(|| format!("no partition has the UUID {wanted}"))
    };
    let (data, tree) = (find(&hash[..16])?, find(&hash[16..])?);
    // Two windows on one device would borrow it twice; the tree is small.
    let tree_bytes = crate::bytes::read_at(disk, tree.offset, tree.length.min(TREE_LIMIT))
        .context("read hash partition")?;
    let mut window = Window::new(disk, data.offset, data.length);
    let verity = verity::verify(&mut window, &mut std::io::Cursor::new(tree_bytes), hash)
        .with_context(|| format!("partitions {} and {}", data.number, tree.number))?;
    let file_system = erofs::read_superblock(&mut window).ok();
    Ok(FoundSlot {
        label: data.label.clone(),
        data: data.number,
        tree: tree.number,
        verity,
        file_system,
    })
}

/// The most of a hash partition that is read.
const TREE_LIMIT: u64 = 1 << 30;
