//! FAT12, FAT16 and FAT32 volumes (Microsoft FAT specification 1.03).

mod directory;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use anyhow::{Context, Error, Result, anyhow, bail};
use serde::Serialize;

use crate::bytes::{read_at, size, slice, u8_at, u16_at, u32_at};

/// A volume whose tables and directories hold together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundVolume {
    /// Which FAT, by the number of clusters, as firmware decides.
    pub kind: Kind,
    /// Bytes per sector.
    #[serde(rename = "sector-bytes")]
    pub sector: u32,
    /// Bytes per cluster.
    #[serde(rename = "cluster-bytes")]
    pub cluster: u32,
    /// How many clusters there are.
    pub clusters: u32,
    /// How many of them are free.
    #[serde(rename = "free-clusters")]
    pub free: u32,
    /// Sectors on the disk before the volume, as its boot sector says.
    #[serde(rename = "hidden-sectors")]
    pub hidden: u32,
    /// The volume's serial number.
    #[serde(rename = "serial-number")]
    pub id: u32,
    /// The label in its root directory, else in the boot sector.
    pub label: String,
    /// Directories by path, the root left out.
    pub directories: BTreeSet<String>,
    /// Files by path.
    pub files: BTreeMap<String, FoundFile>,
    #[serde(skip)]
    geometry: Geometry,
    #[serde(skip)]
    next: Vec<u32>,
}

/// The three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Fewer than 4,085 clusters.
    Fat12,
    /// Fewer than 65,525 clusters.
    Fat16,
    /// All others.
    Fat32,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFile {
    /// Its bytes.
    #[serde(rename = "size-bytes")]
    pub size: u32,
    /// Its attributes; bit 0 is "read only".
    pub attributes: u8,
    /// When it was written, as `2026-11-25T22:23:24`; FAT knows no zone.
    pub modified: String,
    #[serde(skip)]
    first: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Geometry {
    /// Bytes before the first table, of one table, before the root directory of FAT12 and FAT16,
    /// and before cluster 2.
    table: u64,
    table_size: u64,
    root: u64,
    data: u64,
    root_cluster: u32,
}

/// The most bytes of one table.
const TABLE_LIMIT: u64 = 64 << 20;
/// The most bytes of one file that are read at once.
const CONTENT_LIMIT: u64 = 1 << 30;

/// Reads a whole volume: boot sector, both tables, every directory.
///
/// Errors: a second table that differs, a chain that loops, ends in free space or is shared by two
/// files, a size that does not match its chain, an ill-formed directory, a free count in FSInfo
/// that is not true.
pub fn read<D: Read + Seek>(device: &mut D) -> Result<FoundVolume> {
    let (volume, faults) = survey(device)?;
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(volume),
    }
}

/// Reads a volume as firmware does, by its first table: what [`read`] refuses and firmware passes
/// over is a fault, and the file or directory it is in is shown as far as it goes.
///
/// Errors: no boot sector, or no table that could be read.
pub fn survey<D: Read + Seek>(device: &mut D) -> Result<(FoundVolume, Vec<Error>)> {
    let mut faults = Vec::new();
    let mut volume = boot(device).context("read FAT boot sector")?;
    volume.next = tables(device, &volume, &mut faults).context("read FAT")?;
    let used: BTreeSet<u32> = directory::walk(device, &mut volume, &mut faults);
    let numbers = 2..volume.clusters + 2;
    for cluster in numbers {
        let free = volume.next.get(cluster as usize) == Some(&0);
        if free && used.contains(&cluster) {
            faults.push(anyhow!("cluster {cluster} is in use and marked as free"));
        }
        volume.free += u32::from(free);
    }
    faults.extend(information(device, &volume).context("read FSInfo").err());
    Ok((volume, faults))
}

impl FoundVolume {
    /// Bytes that files can still take.
    pub fn free_bytes(&self) -> u64 {
        u64::from(self.free) * u64::from(self.cluster)
    }

    /// The bytes of a file of [`FoundVolume::files`].
    pub fn content<D: Read + Seek>(&self, device: &mut D, path: &str) -> Result<Vec<u8>> {
        let file = self.files.get(path).with_context(|| format!("no file `{path}`"))?;
        if u64::from(file.size) > CONTENT_LIMIT {
            bail!("`{path}` has {} bytes, {CONTENT_LIMIT} are read", file.size);
        }
        let mut content = self.chain_bytes(device, &self.chain(file.first)?)?;
        if content.len() < file.size as usize {
            bail!("`{path}` has {} bytes and clusters for {}", file.size, content.len());
        }
        content.truncate(file.size as usize);
        Ok(content)
    }

    /// The bytes of a file as far as its chain of clusters goes: all of them, or fewer where the
    /// chain breaks off.
    pub fn beginning<D: Read + Seek>(&self, device: &mut D, path: &str) -> Result<Vec<u8>> {
        let file = self.files.get(path).with_context(|| format!("no file `{path}`"))?;
        let size = u64::from(file.size).min(CONTENT_LIMIT) as usize;
        let (mut chain, _) = self.walk(file.first);
        chain.truncate(size.div_ceil(self.cluster as usize));
        let mut bytes = self.chain_bytes(device, &chain)?;
        bytes.truncate(size);
        Ok(bytes)
    }

    /// Where on the volume the clusters of a file lie, in the file's order: first byte and length,
    /// neighbours as one.
    pub fn extents(&self, path: &str) -> Result<Vec<(u64, u64)>> {
        let file = self.files.get(path).with_context(|| format!("no file `{path}`"))?;
        Ok(self.runs(&self.chain(file.first)?))
    }

    /// The clusters from `first` to the end of its chain; none for 0.
    fn chain(&self, first: u32) -> Result<Vec<u32>> {
        let (clusters, broken) = self.walk(first);
        broken.map_or(Ok(clusters), |why| bail!("{why}"))
    }

    /// The clusters from `first` on, and why they do not come to an end, if so.
    fn walk(&self, first: u32) -> (Vec<u32>, Option<String>) {
        let end = match self.kind {
            Kind::Fat12 => 0xff8,
            Kind::Fat16 => 0xfff8,
            Kind::Fat32 => 0x0fff_fff8,
        };
        let mut clusters = Vec::new();
        let mut at = first;
        while at != 0 && at < end {
            let next = self.next.get(at as usize).copied();
            let Some(next) = next.filter(|_| (2..self.clusters + 2).contains(&at)) else {
                return (clusters, Some(format!("cluster {at} is not on the volume")));
            };
            if clusters.len() as u64 > u64::from(self.clusters) {
                return (clusters, Some(format!("the chain from cluster {first} loops")));
            }
            clusters.push(at);
            at = next;
            if at == 0 {
                let why = format!("the chain from cluster {first} ends in free space");
                return (clusters, Some(why));
            }
        }
        (clusters, None)
    }

    fn chain_bytes<D: Read + Seek>(&self, device: &mut D, chain: &[u32]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (at, length) in self.runs(chain) {
            bytes.extend(read_at(device, at, length)?);
        }
        Ok(bytes)
    }

    /// Neighbouring clusters are one range of bytes.
    fn runs(&self, chain: &[u32]) -> Vec<(u64, u64)> {
        let cluster = u64::from(self.cluster);
        let runs = chain.chunk_by(|a, b| a + 1 == *b);
        let range = |run: &[u32]| {
            (self.geometry.data + u64::from(run[0] - 2) * cluster, run.len() as u64 * cluster)
        };
        runs.map(range).collect()
    }
}

fn boot<D: Read + Seek>(device: &mut D) -> Result<FoundVolume> {
    let boot = read_at(device, 0, 512)?;
    if slice(&boot, 510, 2)? != [0x55, 0xaa] {
        bail!("no boot sector");
    }
    let sector = u64::from(u16_at(&boot, 11)?);
    let per_cluster = u64::from(u8_at(&boot, 13)?);
    if !matches!(sector, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() {
        bail!("sectors of {sector} bytes, {per_cluster} in a cluster");
    }
    let nonzero = |short: u64, long: u64| if short == 0 { long } else { short };
    let table = u64::from(u16_at(&boot, 14)?) * sector;
    let tables = u64::from(u8_at(&boot, 16)?);
    let root_size = u64::from(u16_at(&boot, 17)?) * 32;
    let table_sectors = nonzero(u16_at(&boot, 22)?.into(), u32_at(&boot, 36)?.into());
    let total = nonzero(u16_at(&boot, 19)?.into(), u32_at(&boot, 32)?.into()) * sector;
    let root = table + tables * table_sectors * sector;
    let data = root + root_size.next_multiple_of(sector);
    if table == 0 || tables != 2 || total > size(device)? {
        bail!("{tables} tables, {total} bytes");
    }
    let space = total.checked_sub(data).context("the volume has no room for data")?;
    let clusters = u32::try_from(space / (sector * per_cluster))?;
    let kind = match clusters {
        0..4085 => Kind::Fat12,
        4085..65_525 => Kind::Fat16,
        65_525..0x0fff_fff5 => Kind::Fat32,
        _ => bail!("{clusters} clusters"),
    };
    let long = kind == Kind::Fat32;
    if long != (root_size == 0) {
        bail!("the volume has {clusters} clusters and the boot sector of another kind of FAT");
    }
    let tail = if long { 64 } else { 36 };
    let label = slice(&boot, tail + 7, 11)?;
    Ok(FoundVolume {
        kind,
        sector: u32::try_from(sector)?,
        cluster: u32::try_from(sector * per_cluster)?,
        clusters,
        free: 0,
        hidden: u32_at(&boot, 28)?,
        id: u32_at(&boot, tail + 3)?,
        label: String::from_utf8_lossy(label).trim_end().to_owned(),
        directories: BTreeSet::new(),
        files: BTreeMap::new(),
        geometry: Geometry {
            table,
            table_size: table_sectors * sector,
            root,
            data,
            root_cluster: if long { u32_at(&boot, 44)? } else { 0 },
        },
        next: Vec::new(),
    })
}

/// For each cluster the one after it, from the first table; the second should be equal.
fn tables<D: Read + Seek>(
    device: &mut D,
    volume: &FoundVolume,
    faults: &mut Vec<Error>,
) -> Result<Vec<u32>> {
    let Geometry { table, table_size, .. } = volume.geometry;
    let entries = u64::from(volume.clusters) + 2;
    let needed = match volume.kind {
        Kind::Fat12 => (entries * 3).div_ceil(2),
        Kind::Fat16 => entries * 2,
        Kind::Fat32 => entries * 4,
    };
    if needed > table_size || table_size > TABLE_LIMIT {
        bail!("table of {table_size} bytes for {} clusters", volume.clusters);
    }
    let first = read_at(device, table, table_size)?;
    if read_at(device, table + table_size, table_size)? != first {
        faults.push(anyhow!("the two tables differ").context("read FAT"));
    }
    (0..usize::try_from(entries)?)
        .map(|n| match volume.kind {
            Kind::Fat12 => {
                let pair = u16_at(&first, n * 3 / 2)?;
                Ok(u32::from(if n % 2 == 0 { pair & 0xfff } else { pair >> 4 }))
            }
            Kind::Fat16 => Ok(u32::from(u16_at(&first, n * 2)?)),
            Kind::Fat32 => Ok(u32_at(&first, n * 4)? & 0x0fff_ffff),
        })
        .collect()
}

/// FSInfo and the backup of the boot sector, where the volume has them.
fn information<D: Read + Seek>(device: &mut D, volume: &FoundVolume) -> Result<()> {
    if volume.kind != Kind::Fat32 {
        return Ok(());
    }
    let sector = u64::from(volume.sector);
    let boot = read_at(device, 0, sector)?;
    let at = u64::from(u16_at(&boot, 48)?);
    let info = read_at(device, at * sector, 512)?;
    if slice(&info, 0, 4)? != b"RRaA" || slice(&info, 484, 4)? != b"rrAa" {
        bail!("no FSInfo in sector {at}");
    }
    let free = u32_at(&info, 488)?;
    if free != u32::MAX && free != volume.free {
        bail!("FSInfo says {free} free clusters, there are {}", volume.free);
    }
    let backup = u64::from(u16_at(&boot, 50)?);
    if backup != 0 && read_at(device, backup * sector, sector)? != boot {
        bail!("the backup of the boot sector differs");
    }
    Ok(())
}
