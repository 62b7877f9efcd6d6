//! What `fatfs` 0.3.6 leaves wrong or open on a volume that it wrote (Microsoft FAT
//! specification 1.03; sections by name).
//!
//! - A long name before `.` and `..`, which checkers refuse ("FAT directory structure").
//! - A cluster number in `..` below the root, which must be 0 there.
//! - Time stamps, which here are all the image's.
//! - Hidden sectors in the boot sector, the free count in FSInfo, and FSInfo's backup.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use store::Epoch;

use crate::sparse::Sparse;

const ENTRY: usize = 32;
const DELETED: u8 = 0xe5;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTES_LONG_NAME: u8 = 0x0f;

/// A moment as FAT writes it.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    date: u16,
    time: u16,
}

impl Stamp {
    /// The moment in UTC, not before 1980-01-01; FAT ends with the year 2107.
    pub(crate) fn of(epoch: Epoch) -> Result<Self> {
        const FIRST: u64 = 315_532_800;
        let epoch = Epoch(epoch.0.max(FIRST));
        let (year, month, day) = epoch.date();
        if year > 2107 {
            bail!("FAT cannot hold the time {}", epoch.rfc3339());
        }
        let second = epoch.0 % 86_400;
        let date = (year - 1980) << 9 | month << 5 | day;
        let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
        Ok(Self { date: u16::try_from(date)?, time: u16::try_from(time)? })
    }

    /// Into creation, access and modification of a directory entry.
    fn put(self, entry: &mut [u8]) {
        let (date, time) = (self.date.to_le_bytes(), self.time.to_le_bytes());
        entry[13] = 0;
        entry[14..16].copy_from_slice(&time);
        entry[16..18].copy_from_slice(&date);
        entry[18..20].copy_from_slice(&date);
        entry[22..24].copy_from_slice(&time);
        entry[24..26].copy_from_slice(&date);
    }
}

/// Where things lie on a volume, in bytes.
struct Geometry {
    sector: u64,
    cluster: u64,
    table: u64,
    data: u64,
    root: u32,
    /// How many clusters there are; their numbers begin at 2.
    clusters: u32,
}

/// Repairs the volume; gives its free bytes.
pub(crate) fn repair(device: &mut Sparse, stamp: Stamp, hidden: u32) -> Result<u64> {
    let geometry = geometry(device)?;
    let tables = tables(device, &geometry)?;
    let mut left = vec![geometry.root];
    let mut seen = BTreeSet::new();
    while let Some(first) = left.pop() {
        if !seen.insert(first) {
            bail!("cluster {first} begins two directories");
        }
        let clusters = chain(&tables, first)?;
        left.extend(directory(device, &geometry, &clusters, stamp)?);
    }
    let free = tables[2..].iter().filter(|next| **next == 0).count();
    let next = tables[2..].iter().position(|next| *next == 0).map_or(u32::MAX, |at| at as u32 + 2);
    close(device, &geometry, hidden, u32::try_from(free)?, next)?;
    Ok(free as u64 * geometry.cluster)
}

fn geometry(device: &mut Sparse) -> Result<Geometry> {
    let mut boot = [0; 512];
    device.read_at(0, &mut boot).context("read boot sector")?;
    let u16_at = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let u32_at =
        |at: usize| u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]);
    let sector = u16_at(11);
    let cluster = sector * u64::from(boot[13]);
    let table = u16_at(14) * sector;
    let data = table + u64::from(boot[16]) * u64::from(u32_at(36)) * sector;
    let total = if u16_at(19) == 0 { u64::from(u32_at(32)) } else { u16_at(19) };
    let space = (total * sector).checked_sub(data).context("measure the FAT volume")?;
    let clusters = space.checked_div(cluster).context("measure the FAT volume")?;
    Ok(Geometry {
        sector,
        cluster,
        table,
        data,
        root: u32_at(44),
        clusters: u32::try_from(clusters)?,
    })
}

/// The first table: for each cluster the next one, 0 where it is free.
fn tables(device: &mut Sparse, geometry: &Geometry) -> Result<Vec<u32>> {
    let mut bytes = vec![0; (geometry.clusters as usize + 2) * 4];
    device.read_at(geometry.table, &mut bytes).context("read the FAT")?;
    let next = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x0fff_ffff;
    Ok(bytes.chunks_exact(4).map(next).collect())
}

fn chain(tables: &[u32], first: u32) -> Result<Vec<u32>> {
    let mut clusters = Vec::new();
    let mut at = first;
    while (2..0x0fff_fff7).contains(&at) {
        if clusters.len() > tables.len() {
            bail!("cluster {first} begins a loop");
        }
        clusters.push(at);
        at = *tables.get(at as usize).with_context(|| format!("follow cluster {at}"))?;
    }
    Ok(clusters)
}

/// Repairs one directory; gives the first clusters of those below it.
fn directory(
    device: &mut Sparse,
    geometry: &Geometry,
    clusters: &[u32],
    stamp: Stamp,
) -> Result<Vec<u32>> {
    let mut bytes = vec![0; clusters.len() * geometry.cluster as usize];
    let offset = |cluster: u32| geometry.data + u64::from(cluster - 2) * geometry.cluster;
    for (cluster, piece) in clusters.iter().zip(bytes.chunks_mut(geometry.cluster as usize)) {
        device.read_at(offset(*cluster), piece).context("read a directory")?;
    }
    if clusters.first() != Some(&geometry.root) {
        dots(&mut bytes, geometry.root)?;
    }
    let mut below = Vec::new();
    for entry in bytes.chunks_exact_mut(ENTRY) {
        let attributes = entry[11];
        if entry[0] == 0 {
            break;
        }
        if entry[0] == DELETED || attributes & 0x3f == ATTRIBUTES_LONG_NAME {
            continue;
        }
        stamp.put(entry);
        if attributes & ATTRIBUTE_DIRECTORY != 0 && entry[0] != b'.' {
            let high = u32::from(u16::from_le_bytes([entry[20], entry[21]]));
            below.push(high << 16 | u32::from(u16::from_le_bytes([entry[26], entry[27]])));
        }
    }
    for (cluster, piece) in clusters.iter().zip(bytes.chunks(geometry.cluster as usize)) {
        device.write_at(offset(*cluster), piece).context("write a directory")?;
    }
    Ok(below)
}

/// Puts `.` and `..` first and without long names.
fn dots(bytes: &mut [u8], root: u32) -> Result<()> {
    let head = bytes.get(..4 * ENTRY).context("read the head of a directory")?;
    let mut found: Vec<[u8; ENTRY]> = Vec::new();
    for entry in head.chunks_exact(ENTRY) {
        if entry[0] == b'.' && entry[11] & 0x3f != ATTRIBUTES_LONG_NAME {
            let mut copy = [0; ENTRY];
            copy.copy_from_slice(entry);
            found.push(copy);
        }
    }
    let [dot, mut parent] = found[..] else { bail!("a directory lacks `.` or `..`") };
    let low = u32::from(u16::from_le_bytes([parent[26], parent[27]]));
    let high = u32::from(u16::from_le_bytes([parent[20], parent[21]]));
    if high << 16 | low == root {
        parent[20..22].fill(0);
        parent[26..28].fill(0);
    }
    bytes[..ENTRY].copy_from_slice(&dot);
    bytes[ENTRY..2 * ENTRY].copy_from_slice(&parent);
    for gone in bytes[2 * ENTRY..4 * ENTRY].chunks_exact_mut(ENTRY) {
        gone.fill(0);
        gone[0] = DELETED;
    }
    Ok(())
}

/// Boot sector, FSInfo and the backup of both, which begins at sector 6 ("FAT32 FSInfo").
fn close(
    device: &mut Sparse,
    geometry: &Geometry,
    hidden: u32,
    free: u32,
    next: u32,
) -> Result<()> {
    const BACKUP: u64 = 6;
    for base in [0, BACKUP] {
        device
            .write_at(base * geometry.sector + 28, &hidden.to_le_bytes())
            .context("write hidden sectors")?;
    }
    let mut information = [0; 512];
    device.read_at(geometry.sector, &mut information).context("read FSInfo")?;
    information[488..492].copy_from_slice(&free.to_le_bytes());
    information[492..496].copy_from_slice(&next.to_le_bytes());
    for base in [0, BACKUP] {
        device.write_at((base + 1) * geometry.sector, &information).context("write FSInfo")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_before_fat_is_its_first_and_one_after_it_is_refused() {
        let stamp = Stamp::of(Epoch(0)).unwrap();
        assert_eq!((stamp.date, stamp.time), (1 << 5 | 1, 0));
        let stamp = Stamp::of(Epoch(1_795_645_404)).unwrap();
        assert_eq!(stamp.date, 46 << 9 | 11 << 5 | 25);
        assert_eq!(stamp.time, 22 << 11 | 23 << 5 | 12);
        assert!(Stamp::of(Epoch(4_400_000_000)).is_err());
    }

    #[test]
    fn a_chain_that_loops_is_an_error() {
        assert!(chain(&[0, 0, 3, 2], 2).is_err());
        assert_eq!(chain(&[0, 0, 3, 0x0fff_ffff], 2).unwrap(), [2, 3]);
    }
}
