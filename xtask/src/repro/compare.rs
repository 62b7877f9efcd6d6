//! Comparing two outputs byte by byte, and saying where they differ.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::file_name;
use crate::run::{list, read, tool};

/// Compares two outputs: names, what the results say of each file, and every byte. Says how many files
/// there are; an error names the artifact, the first differing byte and what lies there.
pub(super) fn same(one: &Path, other: &Path) -> Result<usize> {
    let names = |folder: &Path| -> Result<Vec<String>> {
        let files = list(folder)?;
        let names = files.iter().map(|file| file_name(file).map(str::to_owned));
        let names: Vec<String> = names.collect::<Result<_>>()?;
        Ok(names.into_iter().filter(|name| !name.starts_with('.')).collect())
    };
    let (left, right) = (names(one)?, names(other)?);
    let named = artifacts(one)?;
    if let Some((name, _)) = named.iter().find(|(name, _)| !left.contains(name)) {
        bail!("the result names `{name}`, and there is no such file");
    }
    if left != right {
        bail!("different files: {left:?} and {right:?}");
    }
    let mut differences = Vec::new();
    for name in &left {
        let (a, b) = (one.join(name), other.join(name));
        if let Some(at) = first_difference(&a, &b)? {
            let place = if name.ends_with(".raw") { region(&a, at)? } else { String::new() };
            differences.push(format!("`{name}` differs from byte {at} on{place}"));
        }
    }
    if !differences.is_empty() {
        bail!("{}", differences.join("; "));
    }
    if named != artifacts(other)? {
        bail!("the files are equal, and the results say different things of them");
    }
    Ok(left.len())
}

/// The artifacts that a result names, by name, with what it says of each.
fn artifacts(folder: &Path) -> Result<Vec<(String, Value)>> {
    let file = folder.join("result.json");
    let text = std::fs::read(&file).with_context(|| format!("read `{}`", file.display()))?;
    let result: Value =
        serde_json::from_slice(&text).with_context(|| format!("parse `{}`", file.display()))?;
    let artifacts = result["artifacts"].as_object();
    let artifacts = artifacts.with_context(|| format!("find artifacts in `{}`", file.display()))?;
    let named = artifacts.iter().map(|(name, about)| {
        let ranges = about["ranges"].as_array().is_some_and(|ranges| !ranges.is_empty());
        if !ranges && !about["sha256"].is_string() {
            bail!("`{}` gives no digest of `{name}`", file.display());
        }
        Ok((name.clone(), about.clone()))
    });
    named.collect()
}

/// The offset of the first byte that differs, if any does; the shorter file's end is one.
fn first_difference(one: &Path, other: &Path) -> Result<Option<u64>> {
    const PIECE: u64 = 1 << 20;
    let open = |path: &Path| File::open(path).with_context(|| format!("open `{}`", path.display()));
    let (mut a, mut b) = (open(one)?, open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        left.clear();
        right.clear();
        for (file, piece, path) in [(&mut a, &mut left, one), (&mut b, &mut right, other)] {
            let read = file.by_ref().take(PIECE).read_to_end(piece);
            read.with_context(|| format!("read `{}`", path.display()))?;
        }
        if left != right {
            let equal = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + equal as u64));
        }
        if left.is_empty() {
            return Ok(None);
        }
        at += left.len() as u64;
    }
}

/// What lies at a byte of a disk, as sfdisk reads its table.
fn region(disk: &Path, at: u64) -> Result<String> {
    region_of(&read(tool("sfdisk")?.arg("-J").arg(disk))?, at)
        .with_context(|| format!("find byte {at} in `{}`", disk.display()))
}

fn region_of(said: &[u8], at: u64) -> Result<String> {
    let said: Value = serde_json::from_slice(said).context("parse sfdisk's answer")?;
    let table = &said["partitiontable"];
    let sector = table["sectorsize"].as_u64().unwrap_or(512);
    for (i, partition) in table["partitions"].as_array().into_iter().flatten().enumerate() {
        let bytes = |field: &str| {
            let sectors = partition[field].as_u64().and_then(|n| n.checked_mul(sector));
            sectors.with_context(|| format!("read the {field} of partition {}", i + 1))
        };
        let (start, size) = (bytes("start")?, bytes("size")?);
        if at >= start && at - start < size {
            let label = partition["name"].as_str().unwrap_or_default();
            return Ok(format!(" (byte {} of `{label}`, partition {})", at - start, i + 1));
        }
    }
    Ok(" (in no partition: a partition table)".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::run::target;

    fn outputs(name: &str, disks: [&[u8]; 2]) -> [PathBuf; 2] {
        let work = target().join("scratch").join(format!("xtask-{name}"));
        let _ = std::fs::remove_dir_all(&work);
        let make = |at: usize| {
            let folder = work.join(at.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("x.efi"), disks[at]).unwrap();
            std::fs::write(folder.join(".note"), at.to_string()).unwrap();
            let result = r#"{"artifacts": {"x.efi": {"sha256": "00"}}}"#;
            std::fs::write(folder.join("result.json"), result).unwrap();
            folder
        };
        [make(0), make(1)]
    }

    #[test]
    fn one_byte_is_a_difference_and_is_named() {
        let long = vec![0; (1 << 20) + 10];
        let mut changed = long.clone();
        changed[(1 << 20) + 5] = 1;
        let [one, other] = outputs("byte", [&long, &changed]);
        let error = same(&one, &other).unwrap_err().to_string();
        assert_eq!(error, "`x.efi` differs from byte 1048581 on");
        let [one, other] = outputs("equal", [&long, &long]);
        assert_eq!(same(&one, &other).unwrap(), 2);
        let [one, other] = outputs("shorter", [b"abc", b"ab"]);
        assert!(same(&one, &other).unwrap_err().to_string().contains("from byte 2 on"));
    }

    #[test]
    fn a_file_or_a_digest_that_only_one_has_is_a_difference() {
        let [one, other] = outputs("file", [b"a", b"a"]);
        std::fs::write(one.join("more"), "").unwrap();
        assert!(same(&one, &other).unwrap_err().to_string().contains("different files"));
        let [one, other] = outputs("named", [b"a", b"a"]);
        std::fs::remove_file(one.join("x.efi")).unwrap();
        assert!(same(&one, &other).unwrap_err().to_string().contains("no such file"));
    }

    #[test]
    fn a_byte_is_found_in_its_partition() {
        let said = br#"{"partitiontable": {"sectorsize": 512, "partitions": [
            {"start": 2048, "size": 10, "name": "esp"},
            {"start": 4096, "size": 10, "name": "usr"}]}}"#;
        assert_eq!(region_of(said, 2048 * 512 + 3).unwrap(), " (byte 3 of `esp`, partition 1)");
        assert!(region_of(said, 4106 * 512).unwrap().contains("in no partition"));
        assert!(region_of(b"{", 0).is_err());
    }
}
