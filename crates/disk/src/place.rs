//! From images to regions of one disk.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::{Blob, Epoch, Scratch, Seed, Stage};

use crate::identity::{disk_uuid, partition_uuid};
use crate::layout::{ALIGNMENT, ROOT_LABEL, layout};
use crate::{Layout, Role, Row, Sizes, Slot, esp, table};

/// A partition label holds this many UTF-16 code units (UEFI 2.10, table 5.6).
const LABEL_UNITS: usize = 36;

/// The label that systemd-sysupdate takes as "free for the next version".
const EMPTY_LABEL: &str = "_empty";

/// What lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// A name of [`LAYOUTS`](crate::LAYOUTS).
    pub layout: String,
    /// How large its partitions are.
    pub sizes: Sizes,
    /// Where ids come from.
    pub seed: Seed,
    /// The time of every file of the ESP, and of the disk where a format holds one.
    pub epoch: Epoch,
    /// The image's id, first half of labels.
    pub id: String,
    /// The image's version, second half of labels.
    pub version: String,
    /// The file system of `/usr`, for slot A.
    pub usr: Blob,
    /// Its hash tree; empty where the layout has no place for one.
    pub verity: Blob,
    /// The signature of its root hash; empty where the layout has no place for one.
    pub signature: Blob,
    /// Its root hash.
    pub root_hash: [u8; 32],
    /// Files of the ESP by path (`EFI/BOOT/BOOTX64.EFI`).
    pub esp: BTreeMap<String, Blob>,
}

/// A disk: regions in ascending order that do not overlap. What no part covers is zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Bytes per logical sector.
    pub sector: u32,
    /// Bytes of the whole disk, a multiple of 1 MiB.
    pub size: u64,
    /// The disk's GUID.
    pub uuid: String,
    /// The time that formats with a time stamp carry.
    pub epoch: Epoch,
    /// Everything that is named.
    pub regions: Vec<Region>,
}

/// A named range of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Unique on the disk: `table`, `esp`, `usr-a`, …, `backup-table`.
    pub name: String,
    /// Where it begins, in bytes from the disk's start.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// What is known of its content; the rest is zero.
    pub parts: Vec<Part>,
    /// Its entry in the partition table, if it is a partition.
    pub partition: Option<Partition>,
}

/// Bytes inside a region, or (in a [`Range`](crate::Range)) of a whole disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where they begin, in bytes from the start of what they lie in.
    pub offset: u64,
    /// The bytes.
    pub blob: Blob,
}

/// A partition of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Its number in the table, from 1.
    pub number: u32,
    /// What it is for.
    pub role: Role,
    /// Which slot it belongs to.
    pub slot: Option<Slot>,
    /// Its label.
    pub label: String,
    /// Its type GUID.
    pub kind: String,
    /// Its unique GUID.
    pub uuid: String,
    /// Its attribute bits.
    pub attributes: u64,
    /// Bytes that its content takes.
    pub used: u64,
    /// Bytes that are left for larger content.
    pub free: u64,
}

/// Gives every byte its place.
///
/// An image that its slot cannot hold, a label over 36 UTF-16 units and an ESP too small for
/// FAT32 are errors that name what to change.
pub const LAY_OUT: Stage<Plan, Disk> = Stage {
    name: "lay-out",
    revision: 2,
    about: |plan| format!("{} {}", plan.id, plan.version),
    run: |plan, scratch| lay_out(layout(&plan.layout)?, plan, scratch),
};

fn lay_out(layout: &Layout, plan: &Plan, scratch: &Scratch<'_>) -> Result<Disk> {
    plan.sizes.check()?;
    check_places(layout, plan)?;
    let mut regions = Vec::new();
    let mut end = ALIGNMENT;
    for row in layout.rows {
        let length = plan.sizes.of(row.role);
        regions.push(fill(row, end, length, plan, scratch)?);
        end = end.checked_add(length).context("add up the sizes of partitions")?;
    }
    let size = end.checked_add(ALIGNMENT).context("add up the sizes of partitions")?;
    let sector = plan.sizes.sector;
    let uuid = disk_uuid(plan.seed);

    let placed: Vec<_> = regions
        .iter()
        .filter_map(|Region { partition, offset, length, .. }| {
            let partition = partition.as_ref()?;
            Some(table::Placed { partition, offset: *offset, length: *length })
        })
        .collect();
    let (head, tail) = table::tables(size, sector, &uuid, &placed)?;
    let tail_at = size - table::tail_bytes(sector);
    regions.insert(0, bare("table", 0, &head, scratch)?);
    regions.push(bare("backup-table", tail_at, &tail, scratch)?);
    Ok(Disk { sector, size, uuid, epoch: plan.epoch, regions })
}

/// Refuses images that the layout has no partition for, and two partitions with one identity.
fn check_places(layout: &Layout, plan: &Plan) -> Result<()> {
    let has = |role| layout.rows.iter().any(|row| row.role == role);
    let images =
        [(Role::Usr, &plan.usr), (Role::Verity, &plan.verity), (Role::Signature, &plan.signature)];
    for (role, blob) in images {
        if blob.size > 0 && !has(role) {
            bail!("layout `{}` has no partition for `{}`", layout.name, role.name());
        }
    }
    let mut ids = BTreeSet::new();
    for row in layout.rows {
        let uuid = partition_uuid(row, plan.seed, &plan.root_hash);
        if !ids.insert(uuid.clone()) {
            bail!("two partitions of the image have the UUID {uuid}");
        }
    }
    Ok(())
}

/// One partition with its content.
fn fill(row: &Row, offset: u64, length: u64, plan: &Plan, scratch: &Scratch<'_>) -> Result<Region> {
    let (parts, used) = match (row.role, row.slot) {
        (Role::Esp, _) => {
            let volume = esp::Volume {
                size: length,
                offset,
                sector: plan.sizes.sector,
                seed: plan.seed,
                epoch: plan.epoch,
                files: &plan.esp,
            };
            esp::write(&volume, scratch).context("write the ESP")?
        }
        (Role::Usr, Some(Slot::A)) => whole(row.role, plan.usr, length)?,
        (Role::Verity, Some(Slot::A)) => whole(row.role, plan.verity, length)?,
        (Role::Signature, Some(Slot::A)) => whole(row.role, plan.signature, length)?,
        (Role::Root | Role::Usr | Role::Verity | Role::Signature, _) => (Vec::new(), 0),
    };
    let partition = Partition {
        number: row.number,
        role: row.role,
        slot: row.slot,
        label: label(row, &plan.id, &plan.version)?,
        kind: row.kind.to_owned(),
        uuid: partition_uuid(row, plan.seed, &plan.root_hash),
        attributes: row.attributes,
        used,
        free: length - used,
    };
    Ok(Region { name: name(row), offset, length, parts, partition: Some(partition) })
}

/// An image that begins where its partition does.
fn whole(role: Role, blob: Blob, length: u64) -> Result<(Vec<Part>, u64)> {
    if blob.size > length {
        bail!(
            "image `{}` has {} bytes and its slot {length}: raise `layout.{}` by {} MiB \
             (hosts that are installed already keep the old size), or ship less",
            role.name(),
            blob.size,
            role.key(),
            (blob.size - length).div_ceil(ALIGNMENT)
        );
    }
    let parts = if blob.size == 0 { Vec::new() } else { vec![Part { offset: 0, blob }] };
    Ok((parts, blob.size))
}

/// A range that is no partition.
fn bare(name: &str, offset: u64, bytes: &[u8], scratch: &Scratch<'_>) -> Result<Region> {
    let blob = scratch.put(bytes)?;
    let parts = vec![Part { offset: 0, blob }];
    Ok(Region { name: name.to_owned(), offset, length: blob.size, parts, partition: None })
}

fn name(row: &Row) -> String {
    match row.slot {
        None => row.role.name().to_owned(),
        Some(Slot::A) => format!("{}-a", row.role.name()),
        Some(Slot::B) => format!("{}-b", row.role.name()),
    }
}

/// What systemd-sysupdate matches: `<id>_<version>` with the role's suffix, or `_empty`.
fn label(row: &Row, id: &str, version: &str) -> Result<String> {
    let label = match (row.role, row.slot) {
        (Role::Esp, _) => "esp".to_owned(),
        (Role::Root, _) => ROOT_LABEL.to_owned(),
        (_, Some(Slot::B)) => EMPTY_LABEL.to_owned(),
        (Role::Usr, _) => format!("{id}_{version}"),
        (Role::Verity, _) => format!("{id}_{version}_verity"),
        (Role::Signature, _) => format!("{id}_{version}_vsig"),
    };
    let units = label.encode_utf16().count();
    if units > LABEL_UNITS {
        bail!(
            "partition label `{label}` has {units} UTF-16 units, {LABEL_UNITS} are allowed: \
             shorten the image's id or version by {}",
            units - LABEL_UNITS
        );
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use store::Store;

    use super::*;
    use crate::LAYOUTS;

    /// A layout with gaps in its numbers and no place for hash tree or signature.
    const BARE: Layout = Layout {
        name: "bare",
        about: "for tests",
        rows: &[Row { number: 3, ..LAYOUTS[0].rows[1] }, Row { number: 9, ..LAYOUTS[0].rows[7] }],
    };

    const LAY_OUT_BARE: Stage<Plan, Disk> =
        Stage { run: |plan, scratch| lay_out(&BARE, plan, scratch), ..LAY_OUT };

    fn plan(store: &Store) -> Plan {
        let none = store.put(b"").unwrap();
        Plan {
            layout: "bare".into(),
            sizes: Sizes { usr: 1 << 20, root: 10 << 20, ..Sizes::default() },
            seed: Seed::of("test"),
            epoch: Epoch(0),
            id: "test".into(),
            version: "1".into(),
            usr: store.put(b"usr").unwrap(),
            verity: none,
            signature: none,
            root_hash: [7; 32],
            esp: BTreeMap::new(),
        }
    }

    fn store(name: &str) -> Store {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-store");
        Store::open(&target.join(name), None).unwrap()
    }

    #[test]
    fn a_layout_may_lack_partitions_and_have_gaps_in_its_numbers() {
        let store = store("disk-bare");
        let mut plan = plan(&store);
        plan.root_hash = std::array::from_fn(|i| i as u8);
        let disk = store.realize(&LAY_OUT_BARE, &plan).unwrap();
        let numbers: Vec<_> = disk
            .regions
            .iter()
            .filter_map(|region| Some((region.name.as_str(), region.partition.as_ref()?.number)))
            .collect();
        assert_eq!(numbers, [("usr-a", 3), ("root", 9)]);
        assert_eq!(disk.size, 13 << 20);
    }

    #[test]
    fn an_image_without_a_place_is_refused() {
        let store = store("disk-no-place");
        let mut plan = plan(&store);
        plan.verity = store.put(b"tree").unwrap();
        let error = format!("{:#}", store.realize(&LAY_OUT_BARE, &plan).unwrap_err());
        assert!(error.contains("no partition for `usr-verity`"), "{error}");
    }

    #[test]
    fn a_root_hash_of_equal_halves_is_refused() {
        let store = store("disk-equal-halves");
        let mut plan = plan(&store);
        plan.layout = "dps-ab".into();
        let error = format!("{:#}", store.realize(&LAY_OUT, &plan).unwrap_err());
        assert!(error.contains("two partitions"), "{error}");
    }
}
