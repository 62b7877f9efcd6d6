//! The EFI System Partition: a FAT32 volume (UEFI 2.10, section 13.3).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use store::{Blob, Epoch, Scratch, Seed};

use crate::place::Part;
use crate::repair::{self, Stamp};
use crate::sparse::Sparse;

/// A volume with fewer clusters is FAT16 whatever it says; firmware and Linux then disagree.
const LEAST_CLUSTERS: u64 = 65_525;

/// Clusters are at most this large: pages, and the least that waste little.
const CLUSTER: u32 = 4096;

/// Copied at a time.
const BUFFER: usize = 1 << 20;

/// What the volume is to be.
pub(crate) struct Volume<'a> {
    /// Bytes of the partition.
    pub(crate) size: u64,
    /// Where the partition begins on the disk, in bytes.
    pub(crate) offset: u64,
    pub(crate) sector: u32,
    pub(crate) seed: Seed,
    pub(crate) epoch: Epoch,
    pub(crate) files: &'a BTreeMap<String, Blob>,
}

/// Writes the volume; gives its parts that are not zero and how many of its bytes are in use.
pub(crate) fn write(volume: &Volume<'_>, scratch: &Scratch<'_>) -> Result<(Vec<Part>, u64)> {
    let cluster = cluster_size(volume.size, volume.sector)?;
    let directories = directories(volume.files)?;
    check_room(volume, cluster, directories.len())?;
    let mut device = format(volume, cluster)?;
    fill(&mut device, &directories, volume.files, scratch)?;
    let hidden = u32::try_from(volume.offset / u64::from(volume.sector))
        .context("write the ESP's first sector")?;
    let free = repair::repair(&mut device, Stamp::of(volume.epoch)?, hidden)?;

    let mut parts = Vec::new();
    for (offset, pieces) in device.runs() {
        let mut sink = scratch.create()?;
        pieces.iter().try_for_each(|piece| sink.write_all(piece)).context("keep the ESP")?;
        parts.push(Part { offset, blob: sink.finish()? });
    }
    Ok((parts, volume.size - free))
}

fn format(volume: &Volume<'_>, cluster: u32) -> Result<Sparse> {
    let mut device = Sparse::new(volume.size);
    let id = volume.seed.bytes("esp volume");
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_sector(u16::try_from(volume.sector)?)
        .bytes_per_cluster(cluster)
        .total_sectors(
            u32::try_from(volume.size / u64::from(volume.sector))
                .with_context(|| format!("count the sectors of {} bytes", volume.size))?,
        )
        .volume_id(u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
        .volume_label(*b"ESP        ");
    fatfs::format_volume(&mut device, options).context("format FAT32")?;
    Ok(device)
}

fn fill(
    device: &mut Sparse,
    directories: &BTreeSet<&str>,
    files: &BTreeMap<String, Blob>,
    scratch: &Scratch<'_>,
) -> Result<()> {
    let volume = FileSystem::new(device, FsOptions::new().update_accessed_date(false))
        .context("open FAT32")?;
    let root = volume.root_dir();
    for path in directories {
        root.create_dir(path).with_context(|| format!("make directory `{path}`"))?;
    }
    let mut buffer = vec![0; BUFFER];
    for (path, blob) in files {
        let mut from = scratch.open(blob)?;
        let mut to = root.create_file(path).with_context(|| format!("make `{path}`"))?;
        loop {
            let n = from.read(&mut buffer).with_context(|| format!("read blob of `{path}`"))?;
            if n == 0 {
                break;
            }
            to.write_all(&buffer[..n]).with_context(|| format!("write `{path}`"))?;
        }
        to.flush().with_context(|| format!("write `{path}`"))?;
    }
    drop(root);
    volume.unmount().context("close FAT32")
}

/// Every directory above a file, parents first. FAT knows no case: two spellings are an error.
fn directories(files: &BTreeMap<String, Blob>) -> Result<BTreeSet<&str>> {
    let mut spelled: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    let mut directories = BTreeSet::new();
    for (path, blob) in files {
        if blob.size > u64::from(u32::MAX) {
            bail!("`{path}` has {} bytes, FAT holds files below 4 GiB", blob.size);
        }
        let bad = |name: &str| matches!(name, "" | "." | "..") || name.ends_with(['.', ' ']);
        if path.split('/').any(bad) {
            bail!("`{}` is no path of a FAT volume", path.escape_debug());
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (part, leaf) = (&path[..end], end == path.len());
            let known = spelled.entry(part.to_lowercase()).or_insert((part, leaf));
            if *known != (part, leaf) {
                bail!("`{part}` and `{}` are one name on a FAT volume", known.0);
            }
            if !leaf {
                directories.insert(part);
            }
        }
    }
    Ok(directories)
}

fn check_room(volume: &Volume<'_>, cluster: u32, directories: usize) -> Result<()> {
    let cluster = u64::from(cluster);
    // The root directory takes one cluster too.
    let mut needed = directories as u64 + 1;
    for blob in volume.files.values() {
        needed = needed.saturating_add(blob.size.div_ceil(cluster));
    }
    let clusters = clusters(volume.size, u64::from(volume.sector), cluster);
    if needed > clusters {
        bail!(
            "the files of the ESP need {} bytes and it holds {}: raise `layout.esp` by {} MiB",
            needed.saturating_mul(cluster),
            clusters * cluster,
            ((needed - clusters).saturating_mul(cluster)).div_ceil(1 << 20)
        );
    }
    Ok(())
}

/// The largest cluster, up to [`CLUSTER`], with which the volume is FAT32.
fn cluster_size(size: u64, sector: u32) -> Result<u32> {
    let mut cluster = CLUSTER.max(sector);
    while clusters(size, u64::from(sector), u64::from(cluster)) < LEAST_CLUSTERS {
        if cluster == sector {
            let least = least_size(sector);
            bail!(
                "{size} bytes are too few for FAT32 with sectors of {sector} bytes (fewer than \
                 {LEAST_CLUSTERS} clusters): `layout.esp` must be at least {} MiB",
                least >> 20
            );
        }
        cluster /= 2;
    }
    Ok(cluster)
}

/// How much files can take of an ESP of `size` bytes with sectors of `sector` bytes: bytes of all
/// clusters, and of one, in which every file and directory is counted whole.
///
/// Errors: it is too small for FAT32.
pub fn esp_room(size: u64, sector: u32) -> Result<(u64, u64)> {
    let cluster = u64::from(cluster_size(size, sector)?);
    Ok((clusters(size, u64::from(sector), cluster) * cluster, cluster))
}

/// The least multiple of 1 MiB that is FAT32.
fn least_size(sector: u32) -> u64 {
    let sector = u64::from(sector);
    let mut size = (LEAST_CLUSTERS * sector) >> 20 << 20;
    while clusters(size, sector, sector) < LEAST_CLUSTERS {
        size += 1 << 20;
    }
    size
}

/// Clusters of a FAT32 volume: what is left beside eight reserved sectors and two tables, which
/// hold four bytes for each cluster and for two more.
fn clusters(size: u64, sector: u64, cluster: u64) -> u64 {
    let sectors = (size / sector).saturating_sub(8);
    let per_cluster = cluster / sector;
    let per_table = (sectors + 2 * per_cluster).div_ceil(cluster / 4 + 2);
    sectors.saturating_sub(2 * per_table) / per_cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> BTreeMap<String, Blob> {
        paths.iter().map(|path| ((*path).to_owned(), Blob::of(b""))).collect()
    }

    #[test]
    fn parents_come_before_what_is_below_them() {
        let files = names(&["EFI/BOOT/BOOTX64.EFI", "EFI/Linux/a.efi", "loader/loader.conf"]);
        let found: Vec<_> = directories(&files).unwrap().into_iter().collect();
        assert_eq!(found, ["EFI", "EFI/BOOT", "EFI/Linux", "loader"]);
    }

    #[test]
    fn two_spellings_of_one_name_are_refused() {
        assert!(directories(&names(&["EFI/BOOT/A", "EFI/Boot/B"])).is_err());
        assert!(directories(&names(&["loader.conf", "LOADER.CONF"])).is_err());
        assert!(directories(&names(&["EFI", "EFI/A"])).is_err());
    }

    #[test]
    fn a_path_that_fat_cannot_hold_is_refused() {
        for path in ["", "/EFI", "EFI//A", "EFI/../A", "EFI/A.", "EFI/A "] {
            assert!(directories(&names(&[path])).is_err(), "{path:?}");
        }
    }

    #[test]
    fn an_esp_that_would_be_fat16_is_refused_with_the_least_size() {
        for (size, sector, least) in [(32, 512, 33), (128, 4096, 257), (256, 4096, 257)] {
            let error = cluster_size(size << 20, sector).unwrap_err().to_string();
            assert!(error.contains(&format!("at least {least} MiB")), "{error}");
            cluster_size(least << 20, sector).unwrap();
        }
    }

    #[test]
    fn clusters_are_pages_where_the_volume_is_large_enough() {
        assert_eq!(cluster_size(512 << 20, 512).unwrap(), 4096);
        assert_eq!(cluster_size(512 << 20, 4096).unwrap(), 4096);
        assert_eq!(cluster_size(128 << 20, 512).unwrap(), 1024);
    }
}
