//! Power cuts during an update, really booted: a dozen of those that the checker reads offline.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::boot::Stage;
use crate::pairs::pairs;
use crate::powercut::{boundaries, compile, cut, record};
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, B, committed, finish, install};
use crate::update::versions::{Feed, Kind};

/// How many cuts are booted.
const COUNT: usize = 12;

/// What an update changes: the ESP, `/usr`, its hash tree and signature in slot B, root.
const PARTITIONS: [u32; 5] = [1, 5, 6, 7, 8];

/// Records an update from version 1 to 2, boot by boot, and boots the disk as cuts leave it.
pub(crate) fn show(ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let (one, two) = (ground.version("1", Kind::Good)?, ground.version("2", Kind::Good)?);
    compile()?;
    let feed = Feed::of(id, "cuts", &[&two])?;
    let mut host = Host::recorded("cuts", &one.baked.disk, &feed.folder)?;
    committed(&host.up()?, id, "1", &A)?;
    let writes = host.writes.clone().context("record the writes")?;
    let before = entries(&one.baked.disk, &writes)?;
    install(&mut host, &feed, id, "2", &B)?;
    host.order("systemctl --no-block reboot");
    committed(&host.up()?, id, "2", &B)?;
    finish(host);
    let after = entries(&one.baked.disk, &writes)?;
    let update: Vec<usize> = after.into_iter().filter(|at| !before.contains(at)).collect();
    let chosen = spread(&update, COUNT);
    println!("        {} flushes end a change from the update on: {chosen:?}", update.len());

    let boot = |(number, at): (usize, usize)| -> Result<String> {
        let folder = Stage::folder(&format!("update-cut-{number}"));
        std::fs::create_dir_all(&folder).context("make a folder")?;
        let raw = folder.join("cut.raw");
        // Every other one lacks the flush and the last write before it.
        let at = if number % 2 == 0 { at } else { at.saturating_sub(2) };
        cut(&one.baked.disk, &writes, &raw, at)?;
        let seen = booted(id, number, &raw, &feed);
        let _ = std::fs::remove_file(&raw);
        let seen = seen.with_context(|| format!("cut after entry {at}"))?;
        println!("        cut after entry {at}: {seen}");
        Ok(seen)
    };
    let seen = pairs(chosen.into_iter().enumerate().collect(), boot);
    let seen = seen.into_iter().collect::<Result<Vec<_>>>()?;
    record::discard(&writes);
    let _ = std::fs::remove_dir_all(&feed.folder);
    Ok(format!("{} cuts booted: {}", seen.len(), seen.join("; ")))
}

/// Boots a disk as a cut left it; in the end a version is up and kept.
fn booted(id: &str, number: usize, raw: &Path, feed: &Feed) -> Result<String> {
    let mut host = Host::start(&format!("cut-{number}"), raw, &feed.folder)?;
    let facts = host.up()?;
    let version = facts.get("version").to_owned();
    match version.as_str() {
        "1" => committed(&facts, id, "1", &A)?,
        "2" => committed(&facts, id, "2", &B)?,
        other => bail!("version {other:?} came up"),
    }
    let kernels = host.kernels();
    finish(host);
    Ok(format!("version {version} up and kept, kernel {kernels}"))
}

/// After how many entries a flush ended a change of one of [`PARTITIONS`], in order.
fn entries(base: &Path, writes: &Path) -> Result<Vec<usize>> {
    let mut all = Vec::new();
    for partition in PARTITIONS {
        all.extend(boundaries(base, writes, partition)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// So many of them, the first and the last among them, evenly spread.
fn spread(all: &[usize], count: usize) -> Vec<usize> {
    let last = all.len().saturating_sub(1);
    let pick = |number: usize| all.get(number * last / count.saturating_sub(1).max(1)).copied();
    let mut chosen: Vec<usize> = (0..count).filter_map(pick).collect();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_spread_from_the_first_to_the_last() {
        let all: Vec<usize> = (0..100).map(|number| number * 3).collect();
        let chosen = spread(&all, 12);
        assert_eq!((chosen.len(), chosen[0], chosen[11]), (12, 0, 297));
        assert_eq!(spread(&[4, 7], 12), [4, 7]);
        assert!(spread(&[], 12).is_empty());
    }
}
