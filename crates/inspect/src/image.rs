//! A whole disk image, understood.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bytes::{Window, hex, sha256, size};
use crate::fat::FoundVolume;
use crate::gpt::{FoundPartition, FoundTable};
use crate::holding::{self, Holding};
use crate::kinds::ESP;
use crate::signature::FoundSignature;
use crate::slot::{self, FoundSlot};
use crate::uki::FoundUki;
use crate::vhd::{self, FoundVhd};
use crate::{gpt, loader, pe, uki};

/// What an image holds, and what about it is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundImage {
    /// The VHD footer, if the file ends in one.
    pub vhd: Option<FoundVhd>,
    /// The partition table.
    pub table: FoundTable,
    /// What each partition holds, by its number.
    pub holds: BTreeMap<u32, Holding>,
    /// Files of the ESP by path.
    pub esp: BTreeMap<String, FoundFile>,
    /// Every unified kernel image on the ESP.
    pub ukis: Vec<FoundUkiFile>,
    /// Every other program on the ESP.
    pub programs: Vec<FoundProgram>,
    /// Every version whose data and hash tree belong together.
    pub slots: Vec<FoundSlot>,
    /// Contradictions, in words. An image without any is what its parts say it is; whether a
    /// signer is trusted is not asked.
    #[serde(rename = "problems", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What is unusual and hinders nothing.
    pub notes: Vec<String>,
}

/// A file of the ESP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundFile {
    /// Bytes.
    #[serde(rename = "size-bytes")]
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
#[serde(rename_all = "kebab-case")]
pub struct FoundUkiFile {
    /// Its path.
    pub path: String,
    /// What it holds.
    pub uki: FoundUki,
}

/// A program of the ESP that is no unified kernel image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundProgram {
    /// Its path.
    pub path: String,
    /// Its Authenticode digest, recomputed.
    pub digest: String,
    /// The signatures that it carries.
    pub signatures: Vec<FoundSignature>,
}

const READ_ONLY: u8 = 1;

/// Reads the image in the file `path`; see [`read`].
pub fn summary(path: &Path) -> Result<FoundImage> {
    let mut file = File::open(path).with_context(|| format!("open image `{}`", path.display()))?;
    read(&mut file).with_context(|| format!("read image `{}`", path.display()))
}

/// Reads a raw image or fixed VHD: table, ESP, kernels, and for each kernel the slot that its
/// `usrhash=` names, whose data and tree are hashed anew.
///
/// What cannot be read at all is an error, and so is a partition table of which any copy is
/// damaged; what contradicts itself is a fault.
pub fn read<D: Read + Seek>(device: &mut D) -> Result<FoundImage> {
    let vhd = vhd::read(device)?;
    let bytes = disk_bytes(device, vhd.as_ref())?;
    let mut disk = Window::new(device, 0, bytes);
    let table = gpt::read(&mut disk)?;
    Ok(understand(&mut disk, vhd, table, Vec::new()))
}

/// As [`read`], of whatever is still there: damage to either copy of the table, or to the footer
/// of a VHD, is a fault.
///
/// Errors: no partition table at all.
pub fn survey<D: Read + Seek>(device: &mut D) -> Result<FoundImage> {
    let mut faults = Vec::new();
    let vhd = vhd::read(device).unwrap_or_else(|error| {
        faults.push(format!("{error:#}"));
        None
    });
    let damaged = !faults.is_empty();
    let bytes = match (damaged, &vhd) {
        (true, _) => size(device)?.saturating_sub(vhd::FOOTER),
        (false, vhd) => disk_bytes(device, vhd.as_ref())?,
    };
    let mut disk = Window::new(device, 0, bytes);
    let (table, more) = gpt::survey(&mut disk)?;
    faults.extend(more);
    Ok(understand(&mut disk, vhd, table, faults))
}

fn disk_bytes<D: Read + Seek>(device: &mut D, vhd: Option<&FoundVhd>) -> Result<u64> {
    match vhd {
        Some(vhd) => Ok(vhd.size),
        None => size(device),
    }
}

fn understand<D: Read + Seek>(
    disk: &mut D,
    vhd: Option<FoundVhd>,
    table: FoundTable,
    faults: Vec<String>,
) -> FoundImage {
    let mut image = FoundImage {
        vhd,
        table,
        holds: BTreeMap::new(),
        esp: BTreeMap::new(),
        ukis: Vec::new(),
        programs: Vec::new(),
        slots: Vec::new(),
        faults,
        notes: Vec::new(),
    };
    for partition in image.table.partitions.clone() {
        let number = partition.number;
        let mut window = Window::new(disk, partition.offset, partition.length);
        let mut faults = Vec::new();
        let holding = holding::read(&mut window, &mut faults).unwrap_or_else(|error| {
            faults.push(format!("{error:#}"));
            Holding::Unknown
        });
        if partition.kind == ESP {
            if let Holding::Fat(volume) = &holding {
                volume_of(&mut window, &partition, volume, &mut image);
            } else if faults.is_empty() {
                faults.push("the ESP holds no FAT volume".to_owned());
            }
        }
        image.faults.extend(faults.iter().map(|fault| format!("partition {number}: {fault}")));
        image.holds.insert(number, holding);
    }
    slot::all(disk, &mut image);
    image
}

fn volume_of<D: Read + Seek>(
    window: &mut D,
    partition: &FoundPartition,
    volume: &FoundVolume,
    image: &mut FoundImage,
) {
    let first = partition.offset / u64::from(image.table.sector);
    if u64::from(volume.hidden) != first {
        let note = format!("the ESP begins at sector {first} and says {}", volume.hidden);
        image.notes.push(note);
    }
    if volume.sector != image.table.sector {
        image.faults.push(format!("the ESP has sectors of {} bytes", volume.sector));
    }
    for (path, file) in &volume.files {
        let content = match volume.content(window, path) {
            Ok(content) => content,
            Err(error) => {
                image.faults.push(format!("`{path}`: {error:#}"));
                continue;
            }
        };
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
        if path.eq_ignore_ascii_case(loader::CONFIGURATION) {
            image.faults.extend(loader::pinned(&String::from_utf8_lossy(&content)));
        }
    }
    image.faults.extend(loader::twice(volume.files.keys().map(String::as_str)));
}

fn program(path: &str, content: &[u8], image: &mut FoundImage) {
    let found = pe::read(content).and_then(|program| {
        let signatures = program.signatures(content)?;
        for signature in &signatures {
            image.faults.extend(signature.fault().map(|fault| format!("`{path}`: {fault}")));
        }
        if !uki::is_uki(&program) {
            let (path, digest) = (path.to_owned(), program.digest);
            image.programs.push(FoundProgram { path, digest, signatures });
            return Ok(());
        }
        image.ukis.push(FoundUkiFile { path: path.to_owned(), uki: uki::read(content)? });
        program.check_placement()
    });
    if let Err(error) = found {
        image.faults.push(format!("`{path}`: {error:#}"));
    }
}

/// What the version in a slot, or in a kernel, is called: `<id>_<version>`, as far as its
/// os-release says it.
pub(crate) fn name(os_release: &BTreeMap<String, String>) -> Option<String> {
    let said = |key| os_release.get(key);
    Some(format!("{}_{}", said("IMAGE_ID")?, said("IMAGE_VERSION")?))
}

/// Root hashes on command lines, each with the path of the first kernel that names it.
pub(crate) fn named_hashes(image: &FoundImage) -> Vec<(String, [u8; 32])> {
    let mut seen = BTreeSet::new();
    let named = image.ukis.iter().filter_map(|file| Some((&file.path, file.uki.root_hash()?)));
    named
        .filter(|(_, hash)| seen.insert(hex(hash)))
        .map(|(path, hash)| (path.clone(), hash))
        .collect()
}
