//! Data and hash trees that belong together, found by the root hash that signed command lines
//! name, else by the table alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Seek};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bytes::{Window, hex, read_at, uuid};
use crate::gpt::FoundPartition;
use crate::holding::{FoundErofs, FoundRootHash, Holding};
use crate::image::{FoundImage, name, named_hashes};
use crate::{erofs, kinds, verity};

/// A version in its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundSlot {
    /// The label of its data partition: `<id>_<version>`.
    pub label: String,
    /// The number of its data partition.
    #[serde(rename = "data-partition")]
    pub data: u32,
    /// The number of its hash partition.
    #[serde(rename = "tree-partition")]
    pub tree: u32,
    /// Its hash tree, the root hash recomputed from the data and the whole tree.
    pub verity: verity::FoundTree,
    /// The superblock of its file system, if that is EROFS.
    pub file_system: Option<erofs::FoundSuperblock>,
    /// The kernel whose command line names the root hash.
    pub kernel: Option<String>,
    /// Whether the partitions' UUIDs are the halves of the root hash.
    pub named_by_uuids: bool,
    /// The number of the partition that signs the root hash.
    pub signature_partition: Option<u32>,
}

/// The most of a hash partition that is read.
const TREE_LIMIT: u64 = 1 << 30;

/// Finds and checks every slot of an image.
pub(crate) fn all<D: Read + Seek>(disk: &mut D, image: &mut FoundImage) {
    for (path, hash) in named_hashes(image) {
        match named(disk, image, &path, &hash) {
            Ok(slot) => image.slots.push(slot),
            Err(error) => image.faults.push(format!("`{path}`: {error:#}")),
        }
    }
    for file in &image.ukis {
        match file.uki.root_hash() {
            None => image.notes.push(format!("`{}` names no root hash", file.path)),
            Some(hash) => {
                let fault = check_version(&file.path, &file.uki.os_release, &hash, &image.slots);
                image.faults.extend(fault);
            }
        }
    }
    unnamed(disk, image);
    signatures(image);
    releases(image);
}

/// The slot that a command line names: the partitions whose UUIDs are the halves of the hash.
fn named<D: Read + Seek>(
    disk: &mut D,
    image: &FoundImage,
    path: &str,
    hash: &[u8; 32],
) -> Result<FoundSlot> {
    let find = |half: &[u8]| {
        let wanted = uuid(half);
        let mut partitions = image.table.partitions.iter();
        partitions
            .find(|partition| partition.uuid == wanted)
            .with_context(|| format!("no partition has the UUID {wanted}"))
    };
    let (data, tree) = (find(&hash[..16])?, find(&hash[16..])?);
    let mut slot = measured(disk, data, tree, Some(hash))?;
    slot.kernel = Some(path.to_owned());
    Ok(slot)
}

/// Hash trees that no command line names, each with the data of its type and turn.
fn unnamed<D: Read + Seek>(disk: &mut D, image: &mut FoundImage) {
    let named = named_hashes(image);
    let named: BTreeSet<String> = named.iter().map(|(_, hash)| uuid(&hash[16..])).collect();
    let partitions = image.table.partitions.clone();
    for tree in &partitions {
        let is_tree = matches!(image.holds.get(&tree.number), Some(Holding::HashTree(_)));
        if !is_tree || named.contains(&tree.uuid) {
            continue;
        }
        let Some(data) = data_of(&partitions, tree) else {
            image.notes.push(format!("partition {}: a hash tree of no data here", tree.number));
            continue;
        };
        match measured(disk, data, tree, None) {
            Ok(slot) => {
                if !slot.named_by_uuids {
                    image.notes.push(format!(
                        "partitions {} and {}: their UUIDs are not those of the root hash",
                        slot.data, slot.tree
                    ));
                }
                image.slots.push(slot);
            }
            Err(error) => image.faults.push(format!("{error:#}")),
        }
    }
}

/// The partition of the matching type that has the same turn among its like; where types say
/// nothing, the one before.
fn data_of<'a>(
    partitions: &'a [FoundPartition],
    tree: &FoundPartition,
) -> Option<&'a FoundPartition> {
    let mut like = partitions.iter().filter(|one| one.kind == tree.kind);
    let turn = like.position(|one| one.number == tree.number)?;
    if let Some(name) = kinds::name(&tree.kind).filter(|name| name.contains("-verity")) {
        let wanted = name.replace("-verity", "");
        let mut data =
            partitions.iter().filter(|one| kinds::name(&one.kind) == Some(wanted.as_str()));
        return data.nth(turn);
    }
    let at = partitions.iter().position(|one| one.number == tree.number)?;
    partitions.get(at.checked_sub(1)?)
}

fn measured<D: Read + Seek>(
    disk: &mut D,
    data: &FoundPartition,
    tree: &FoundPartition,
    hash: Option<&[u8; 32]>,
) -> Result<FoundSlot> {
    // Two windows on one device would borrow it twice; the tree is small.
    let bytes =
        read_at(disk, tree.offset, tree.length.min(TREE_LIMIT)).context("read hash partition")?;
    let mut window = Window::new(disk, data.offset, data.length);
    let found = match hash {
        Some(hash) => verity::verify(&mut window, &mut Cursor::new(bytes), hash),
        None => verity::measure(&mut window, &mut Cursor::new(bytes)),
    };
    let verity =
        found.with_context(|| format!("partitions {} and {}", data.number, tree.number))?;
    let digits = |uuid: &str| uuid.replace('-', "");
    Ok(FoundSlot {
        label: data.label.clone(),
        data: data.number,
        tree: tree.number,
        file_system: erofs::read_superblock(&mut window).ok(),
        kernel: None,
        named_by_uuids: digits(&data.uuid) + &digits(&tree.uuid) == verity.root_hash,
        signature_partition: None,
        verity,
    })
}

/// A kernel must be of the version whose root hash it names.
fn check_version(
    path: &str,
    os_release: &BTreeMap<String, String>,
    hash: &[u8; 32],
    slots: &[FoundSlot],
) -> Option<String> {
    let slot = slots.iter().find(|slot| slot.verity.root_hash == hex(hash))?;
    let said = name(os_release)?;
    let label = &slot.label;
    (*label != said).then(|| format!("`{path}` is {said}, its slot `{label}`"))
}

/// Every signature partition belongs to a slot, and is tried with the certificates inside images.
fn signatures(image: &mut FoundImage) {
    let mut certificates = Vec::new();
    for holding in image.holds.values() {
        if let Holding::Erofs(erofs) = holding {
            certificates.extend(erofs.certificates.iter().cloned());
        }
    }
    for (number, holding) in &mut image.holds {
        let Holding::RootHashSignature(found) = holding else { continue };
        let mut slots = image.slots.iter_mut();
        match slots.find(|slot| slot.verity.root_hash == found.root_hash) {
            Some(slot) => slot.signature_partition = Some(*number),
            None => image.faults.push(format!(
                "partition {number}: signs the root hash {}, which no slot has",
                found.root_hash
            )),
        }
        let faults = try_signature(found, &certificates);
        image.faults.extend(faults.iter().map(|fault| format!("partition {number}: {fault}")));
    }
}

fn try_signature(found: &mut FoundRootHash, certificates: &[Vec<u8>]) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(error) = found.try_with(certificates) {
        faults.push(format!("{error:#}"));
    }
    faults.extend(found.signature.fault());
    if let Some(own) = &found.signature.certificate_sha256
        && *own != found.certificate_fingerprint
    {
        let said = &found.certificate_fingerprint;
        faults.push(format!("the fingerprint says {said}, the signer's certificate has {own}"));
    }
    faults
}

/// What is inside of a partition must be what its label says, where both speak.
fn releases(image: &mut FoundImage) {
    for partition in &image.table.partitions {
        let Some(Holding::Erofs(FoundErofs { os_release, .. })) =
            image.holds.get(&partition.number)
        else {
            continue;
        };
        if let Some(said) = name(os_release)
            && partition.label.contains('_')
            && partition.label != said
        {
            image.faults.push(format!(
                "partition {}: is labelled `{}` and holds {said}",
                partition.number, partition.label
            ));
        }
    }
}
