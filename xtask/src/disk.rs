//! Reading and damaging a finished disk with other people's programs.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{read, run, tool};

/// Partition types of the Discoverable Partitions Specification (x86-64).
pub(crate) const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
pub(crate) const USR: &str = "8484680C-9521-48C6-9C11-B0720656F69E";
pub(crate) const USR_VERITY: &str = "77FF5F63-E7B6-4633-ACF4-1565B864C0E6";

/// Where a partition lies on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// A copy of a disk that may be damaged; holes stay holes.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_file(to);
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to))
}

/// The first partition of a type, as sfdisk reads the table.
pub(crate) fn partition(disk: &Path, kind: &str) -> Result<Extent> {
    let text = read(tool("sfdisk")?.arg("-J").arg(disk))?;
    first(&text, kind).with_context(|| format!("find a partition {kind} in `{}`", disk.display()))
}

fn first(text: &[u8], kind: &str) -> Result<Extent> {
    let said: Value = serde_json::from_slice(text).context("parse sfdisk's answer")?;
    let table = &said["partitiontable"];
    let sector = table["sectorsize"].as_u64().unwrap_or(512);
    let partitions = table["partitions"].as_array().context("find partitions")?;
    let found = partitions.iter().find(|partition| {
        partition["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(kind))
    });
    let found = found.context("find its type")?;
    let bytes = |field: &str| {
        let sectors = found[field].as_u64().with_context(|| format!("read its {field}"))?;
        sectors.checked_mul(sector).with_context(|| format!("read its {field}"))
    };
    Ok(Extent { start: bytes("start")?, size: bytes("size")? })
}

/// Flips the lowest bit of one byte.
pub(crate) fn flip(file: &Path, offset: u64) -> Result<()> {
    let open = File::options().read(true).write(true).open(file);
    let mut open = open.with_context(|| format!("open `{}`", file.display()))?;
    let mut byte = [0];
    open.read_exact_at(&mut byte, offset).with_context(|| format!("read byte {offset}"))?;
    open.seek(SeekFrom::Start(offset)).context("go to the byte")?;
    open.write_all(&[byte[0] ^ 1]).with_context(|| format!("write byte {offset}"))
}

/// The EFI system partition of a disk, through mtools.
pub(crate) struct Esp(String);

impl Esp {
    pub(crate) fn of(disk: &Path) -> Result<Esp> {
        let Extent { start, .. } = partition(disk, ESP)?;
        Ok(Esp(format!("{}@@{start}", disk.display())))
    }

    /// The only UKI.
    pub(crate) fn uki(&self) -> Result<String> {
        let text = read(self.command("mdir")?.args(["-b", "::/EFI/Linux"]))?;
        let text = String::from_utf8(text).context("read the ESP's listing")?;
        let mut names = text.lines().map(str::trim).filter(|line| line.ends_with(".efi"));
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name.to_owned()),
            _ => bail!("the ESP does not hold exactly one UKI: {text:?}"),
        }
    }

    pub(crate) fn get(&self, name: &str, file: &Path) -> Result<()> {
        let _ = std::fs::remove_file(file);
        run(self.command("mcopy")?.args(["-n", name]).arg(file))
    }

    /// Gives a file another path.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        run(self.command("mren")?.args([from, to]))
    }

    pub(crate) fn put(&self, file: &Path, name: &str) -> Result<()> {
        run(self.command("mcopy")?.arg("-o").arg(file).arg(name))
    }

    /// Where a file's clusters are, by their numbers: each run's first and last.
    fn clusters(&self, name: &str) -> Result<Vec<(u64, u64)>> {
        let text = read(self.command("mshowfat")?.arg(name))?;
        let text = String::from_utf8(text).context("read where the file's clusters are")?;
        runs(&text).with_context(|| format!("read where clusters are: {text:?}"))
    }

    fn command(&self, name: &str) -> Result<Command> {
        let mut command = tool(name)?;
        command.env("MTOOLS_SKIP_CHECK", "1").args(["-i", &self.0]);
        Ok(command)
    }
}

/// The runs that mshowfat prints: `name <first-last> <only>`.
fn runs(text: &str) -> Option<Vec<(u64, u64)>> {
    let runs = text.split('<').skip(1).map(|run| {
        let (run, _) = run.split_once('>')?;
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    runs.collect()
}

/// Frees the clusters of a file of the ESP in each allocation table and leaves its name, as a power
/// cut inside a removal may. FAT32 (Microsoft FAT specification, 3 and 4).
pub(crate) fn free_clusters(disk: &Path, name: &str) -> Result<()> {
    let runs = Esp::of(disk)?.clusters(name)?;
    let start = partition(disk, ESP)?.start;
    let file = File::options().read(true).write(true).open(disk);
    let file = file.with_context(|| format!("open `{}`", disk.display()))?;
    let mut boot = [0; 512];
    file.read_exact_at(&mut boot, start).context("read the boot sector")?;
    let two = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let (sector, reserved, tables) = (two(11), two(14), u64::from(boot[16]));
    let size = two(36) | two(38) << 16;
    for table in 0..tables {
        let table = start + (reserved + table * size) * sector;
        for (first, last) in &runs {
            let free = vec![0; usize::try_from(4 * (last + 1 - first))?];
            file.write_all_at(&free, table + 4 * first).context("free clusters")?;
        }
    }
    Ok(())
}

/// Where a section's bytes lie in a PE file (Microsoft PE and COFF specification, 4).
pub(crate) fn section(pe: &[u8], name: &str) -> Result<Extent> {
    let two = |at: usize| {
        let bytes = pe.get(at..at.checked_add(2)?)?;
        Some(u64::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    };
    let four = |at: usize| {
        let bytes = pe.get(at..at.checked_add(4)?)?;
        Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
    };
    let find = || {
        let header = usize::try_from(four(0x3c)?).ok()?;
        let optional = usize::try_from(two(header.checked_add(20)?)?).ok()?;
        let table = header.checked_add(24)?.checked_add(optional)?;
        for number in 0..usize::try_from(two(header.checked_add(6)?)?).ok()? {
            let at = table.checked_add(number.checked_mul(40)?)?;
            let label = pe.get(at..at.checked_add(8)?)?;
            let end = label.iter().position(|byte| *byte == 0).unwrap_or(8);
            if label.get(..end)? == name.as_bytes() {
                // The virtual size: what lies behind it in the file is padding.
                return Some(Extent { start: four(at + 20)?, size: four(at + 8)? });
            }
        }
        None
    };
    find().with_context(|| format!("find the section `{name}`"))
}

/// Where a file's content starts in an EROFS image inside a disk, and how long it is there.
pub(crate) fn extent_of_file(disk: &Path, image: Extent, path: &str) -> Result<Extent> {
    let mut command = tool("dump.erofs")?;
    command.arg(format!("--offset={}", image.start)).arg(format!("--path={path}")).arg("-e");
    let text = read(command.arg(disk))?;
    first_extent(&String::from_utf8_lossy(&text))
        .with_context(|| format!("find where `{path}` lies in /usr"))
}

/// The longest extent of dump.erofs's table: `n: from..to | length : from..to | length`.
fn first_extent(text: &str) -> Result<Extent> {
    let mut longest = None;
    for line in text.lines() {
        let Some((_, physical)) = line.rsplit_once(" : ") else { continue };
        let Some((range, length)) = physical.split_once('|') else { continue };
        let Some((start, _)) = range.split_once("..") else { continue };
        let (Ok(start), Ok(size)) = (start.trim().parse(), length.trim().parse()) else { continue };
        if longest.is_none_or(|Extent { size: before, .. }| size > before) {
            longest = Some(Extent { start, size });
        }
    }
    longest.context("read dump.erofs's table of extents")
}

/// A folder for a kind of work below `target`, made.
pub(crate) fn folder(path: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&path).with_context(|| format!("make `{}`", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sfdisk_counts_in_the_disk_s_own_sectors() {
        let text = br#"{"partitiontable": {"label": "gpt", "sectorsize": 4096, "partitions": [
            {"node": "d1", "start": 256, "size": 10, "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
            {"node": "d2", "start": 266, "size": 20, "type": "8484680c-9521-48c6-9c11-b0720656f69e"}]}}"#;
        let extent = Extent { start: 266 * 4096, size: 20 * 4096 };
        assert_eq!(first(text, USR).unwrap(), extent);
        assert!(first(text, USR_VERITY).is_err());
    }

    #[test]
    fn runs_of_clusters_are_read_as_mtools_prints_them() {
        assert_eq!(runs("::/EFI/Linux/a.efi <41-5680> <7> \n").unwrap(), [(41, 5680), (7, 7)]);
        assert!(runs("::/a <4-x>").is_none());
    }

    #[test]
    fn a_section_is_found_and_a_cut_file_is_an_error() {
        let mut pe = vec![0; 0x40];
        pe[0x3c] = 0x40;
        pe.extend(b"PE\0\0\x64\x86\x02\0");
        pe.extend([0; 12]);
        pe.extend([0, 0, 0, 0]);
        for (name, size, start) in [(b".text\0\0\0", 9u32, 512u32), (b".cmdline", 70, 1024)] {
            pe.extend(name);
            pe.extend(size.to_le_bytes());
            pe.extend([0; 8]);
            pe.extend(start.to_le_bytes());
            pe.extend([0; 16]);
        }
        assert_eq!(section(&pe, ".cmdline").unwrap(), Extent { start: 1024, size: 70 });
        assert!(section(&pe, ".linux").is_err());
        assert!(section(&pe[..0x70], ".cmdline").is_err());
    }

    #[test]
    fn a_file_of_the_esp_is_taken_out_and_put_back_and_the_rest_stays() {
        let work = folder(crate::run::target().join("scratch/xtask-esp")).unwrap();
        let (disk, file) = (work.join("disk.raw"), work.join("a.efi"));
        let _ = std::fs::remove_file(&disk);
        File::create(&disk).unwrap().set_len(48 << 20).unwrap();
        let mut table = tool("sgdisk").unwrap();
        run(table.args(["-n", "1:2048:+40M", "-t", "1:ef00"]).arg(&disk)).unwrap();
        let esp = Esp::of(&disk).unwrap();
        let mut format = esp.command("mformat").unwrap();
        run(format.args(["-F", "::"])).unwrap();
        for name in ["::/EFI", "::/EFI/Linux"] {
            run(esp.command("mmd").unwrap().arg(name)).unwrap();
        }
        std::fs::write(&file, b"first").unwrap();
        esp.put(&file, "::/EFI/Linux/a.efi").unwrap();
        let name = esp.uki().unwrap();
        flip(&file, 0).unwrap();
        esp.put(&file, &name).unwrap();
        esp.get(&name, &file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"girst");
        assert_eq!(partition(&disk, ESP).unwrap().start, 1 << 20);
        assert!(partition(&disk, USR).is_err());
        esp.rename(&name, "::/EFI/Linux/a+1-0.efi").unwrap();
        assert_eq!(esp.uki().unwrap(), "::/EFI/Linux/a+1-0.efi");
        esp.put(&file, "::/EFI/Linux/b.efi").unwrap();
        assert!(esp.uki().is_err(), "two UKIs are ambiguous");
    }

    #[test]
    fn the_longest_extent_of_a_file_is_taken() {
        let text = "\n Ext:   logical offset   |  length :     physical offset    |  length\n   \
                    0:        0..    8192 |    8192 :     122880..    131072 |    8192\n   \
                    1:     8192..    8300 |     108 :      69632..     69740 |     108\n";
        assert_eq!(first_extent(text).unwrap(), Extent { start: 122_880, size: 8192 });
        assert!(first_extent("").is_err());
    }
}
