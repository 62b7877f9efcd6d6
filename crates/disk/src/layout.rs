//! Which partitions a disk has, in which order and how large.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Partitions begin at, and their lengths are, multiples of this many bytes (1 MiB).
pub(crate) const ALIGNMENT: u64 = 1 << 20;

/// Below this systemd-repart refuses the whole disk where it has no room to grow root.
const LEAST_ROOT: u64 = 10 << 20;

/// Sizes of partitions in bytes, each a multiple of 1 MiB, and of a sector.
///
/// Those of slots are for ever: a host keeps its table, and every later version must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// The ESP.
    pub esp: u64,
    /// Each slot's `/usr`.
    pub usr: u64,
    /// Each slot's hash tree.
    pub verity: u64,
    /// Each slot's signature.
    pub signature: u64,
    /// Root as shipped; it grows on the host.
    pub root: u64,
    /// Bytes per logical sector: 512 or 4096.
    pub sector: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            esp: 512 << 20,
            usr: 1 << 30,
            verity: 16 << 20,
            signature: 1 << 20,
            root: 2 << 30,
            sector: 512,
        }
    }
}

impl Sizes {
    /// The size of each partition of `role`.
    pub fn of(&self, role: Role) -> u64 {
        match role {
            Role::Esp => self.esp,
            Role::Usr => self.usr,
            Role::Verity => self.verity,
            Role::Signature => self.signature,
            Role::Root => self.root,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.sector != 512 && self.sector != 4096 {
            bail!("layout: sector size {} is neither 512 nor 4096", self.sector);
        }
        for role in [Role::Esp, Role::Usr, Role::Verity, Role::Signature, Role::Root] {
            let size = self.of(role);
            if size == 0 || !size.is_multiple_of(ALIGNMENT) {
                bail!(
                    "layout: size of `{}` is {size} bytes, not a positive multiple of 1 MiB",
                    role.key()
                );
            }
        }
        if self.root < LEAST_ROOT {
            bail!(
                "layout: size of `root` is {} bytes, systemd-repart takes none below {LEAST_ROOT}",
                self.root
            );
        }
        Ok(())
    }
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// EFI System Partition.
    Esp,
    /// The file system of `/usr`.
    Usr,
    /// The hash tree over it.
    Verity,
    /// The signature of its root hash.
    Signature,
    /// What the host writes.
    Root,
}

impl Role {
    /// The name that the Discoverable Partitions Specification uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Usr => "usr",
            Self::Verity => "usr-verity",
            Self::Signature => "usr-verity-sig",
            Self::Root => "root",
        }
    }

    /// The key of its size under `layout` in a profile.
    pub fn key(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Usr => "usr",
            Self::Verity => "verity",
            Self::Signature => "signature",
            Self::Root => "root",
        }
    }
}

/// One of the two places for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Holds the version that the image ships.
    A,
    /// Ships empty; the first update goes here.
    B,
}

/// One partition of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Slot number in the table, from 1; gaps are allowed.
    pub number: u32,
    /// What it is for.
    pub role: Role,
    /// Which version it belongs to, if any.
    pub slot: Option<Slot>,
    /// Partition type GUID.
    pub kind: &'static str,
    /// Attribute bits as shipped.
    pub attributes: u64,
}

/// A partition table to be, in disk order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its name in profiles.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its partitions. Hash and signature partitions may be missing.
    pub rows: &'static [Row],
}

/// Discoverable Partitions: mount read-only (bit 60).
const READ_ONLY: u64 = 1 << 60;
/// Discoverable Partitions: grow the file system to the partition's size (bit 59).
const GROW: u64 = 1 << 59;

const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const USR_X86_64: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
const USR_VERITY_X86_64: &str = "77ff5f63-e7b6-4633-acf4-1565b864c0e6";
const USR_VERITY_SIG_X86_64: &str = "e7bb33fb-06cf-4e81-8273-e543b413e2e2";
const ROOT_X86_64: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";

/// The label of root, in the table and in the one repart definition.
pub(crate) const ROOT_LABEL: &str = "root";

/// Every layout.
pub const LAYOUTS: &[Layout] = &[Layout {
    name: "dps-ab",
    about: "Discoverable Partitions, two slots with hash tree and signature each, root last",
    rows: &[
        row(1, Role::Esp, None, ESP, 0),
        row(2, Role::Usr, Some(Slot::A), USR_X86_64, READ_ONLY),
        row(3, Role::Verity, Some(Slot::A), USR_VERITY_X86_64, READ_ONLY),
        row(4, Role::Signature, Some(Slot::A), USR_VERITY_SIG_X86_64, READ_ONLY),
        row(5, Role::Usr, Some(Slot::B), USR_X86_64, 0),
        row(6, Role::Verity, Some(Slot::B), USR_VERITY_X86_64, 0),
        row(7, Role::Signature, Some(Slot::B), USR_VERITY_SIG_X86_64, 0),
        row(8, Role::Root, None, ROOT_X86_64, GROW),
    ],
}];

const fn row(
    number: u32,
    role: Role,
    slot: Option<Slot>,
    kind: &'static str,
    attributes: u64,
) -> Row {
    Row { number, role, slot, kind, attributes }
}

/// The layout called `name`.
pub fn layout(name: &str) -> Result<&'static Layout> {
    let names = || LAYOUTS.iter().map(|l| l.name).collect::<Vec<_>>().join(", ");
    LAYOUTS
        .iter()
        .find(|layout| layout.name == name)
        .with_context(|| format!("no layout `{name}`; there are: {}", names()))
}

/// `usr/lib/repart.d/50-root.conf` of hosts with this layout (repart.d(5)).
///
/// It names root alone, which the table already holds: repart grows the partition to the end of
/// the disk and touches nothing else. No `Format=` (systemd-makefs formats what exists), no
/// `FactoryReset=` (it would delete and make the partition again, and a power cut between the two
/// leaves a disk without root).
pub fn repart_definition(layout: &Layout) -> String {
    if !layout.rows.iter().any(|row| row.role == Role::Root) {
        return String::new();
    }
    format!("[Partition]\nType=root\nLabel={ROOT_LABEL}\nGrowFileSystem=yes\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_layout_is_named_once_and_numbers_its_partitions_once() {
        let names: BTreeSet<_> = LAYOUTS.iter().map(|l| l.name).collect();
        assert_eq!(names.len(), LAYOUTS.len());
        for layout in LAYOUTS {
            let numbers: BTreeSet<_> = layout.rows.iter().map(|row| row.number).collect();
            assert_eq!(numbers.len(), layout.rows.len(), "{}", layout.name);
            assert!(numbers.iter().all(|n| (1..=128).contains(n)), "{}", layout.name);
            assert_eq!(super::layout(layout.name).unwrap(), layout);
        }
        let error = super::layout("dps").unwrap_err().to_string();
        assert!(error.contains("dps-ab"), "{error}");
    }

    #[test]
    fn a_size_that_is_no_multiple_of_1_mib_is_refused_by_its_key() {
        let sizes = Sizes { verity: (16 << 20) + 4096, ..Sizes::default() };
        assert!(sizes.check().unwrap_err().to_string().contains("`verity`"));
        assert!(Sizes { root: 9 << 20, ..Sizes::default() }.check().is_err());
        assert!(Sizes { root: 0, ..Sizes::default() }.check().is_err());
        assert!(Sizes { sector: 1024, ..Sizes::default() }.check().is_err());
        Sizes::default().check().unwrap();
    }

    #[test]
    fn repart_neither_formats_nor_resets_root() {
        let text = repart_definition(&LAYOUTS[0]);
        assert_eq!(text, "[Partition]\nType=root\nLabel=root\nGrowFileSystem=yes\n");
    }
}
