//! A second disk that looks like the first: a repair machine's guest, a snapshot.
//!
//! Either every part of the system comes from the disk that the firmware started, or the machine
//! says in one line that it cannot tell the two apart, and resets.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::boot::Stage;
use crate::console::{Ending, Patience, plain, tail, watch};
use crate::guest::{self, Facts};
use crate::qemu::{self, Console, Drive, text};

/// What a disk went through before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// As it was baked.
    Fresh,
    /// Booted once: it has ids of its own.
    Booted,
}

/// Where the firmware and the kernel meet the twin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Earlier,
    Later,
}

/// Name, the host's disk, the twin, its place. Two disks of one past have equal ids.
const CASES: &[(&str, Past, Past, Place)] = &[
    ("booted-with-fresh-earlier", Past::Booted, Past::Fresh, Place::Earlier),
    ("booted-with-fresh-later", Past::Booted, Past::Fresh, Place::Later),
    ("fresh-with-booted-earlier", Past::Fresh, Past::Booted, Place::Earlier),
    ("fresh-with-booted-later", Past::Fresh, Past::Booted, Place::Later),
    ("fresh-with-fresh-earlier", Past::Fresh, Past::Fresh, Place::Earlier),
    ("fresh-with-fresh-later", Past::Fresh, Past::Fresh, Place::Later),
    ("booted-with-snapshot-earlier", Past::Booted, Past::Booted, Place::Earlier),
    ("booted-with-snapshot-later", Past::Booted, Past::Booted, Place::Later),
];

/// What the initrd says before it resets.
const REFUSAL: &str = "Two disks carry the ESP";

/// The cases' names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(name, ..)| *name)
}

/// Boots one case from `fresh` and `booted` disks, neither of which is written; returns what was
/// seen.
pub(crate) fn show(name: &str, fresh: &Path, booted: &Path) -> Result<String> {
    let case = CASES.iter().find(|(known, ..)| *known == name);
    let (_, host, twin, place) = case.with_context(|| format!("find the case `{name}`"))?;
    let disk = |past: &Past| if *past == Past::Fresh { fresh } else { booted };
    let stage = Stage::set(&format!("twin-{name}"), disk(host), None)?;
    let second = stage.folder.join("twin.qcow2");
    qemu::overlay(disk(twin), &second, None)?;
    let twin_drive =
        Drive { file: second.clone(), format: "qcow2", serial: "hardtack-twin", boots: false };
    let mut machine = stage.machine(Console::Log);
    machine.drives.insert(if *place == Place::Earlier { 0 } else { 1 }, twin_drive);
    machine.credentials = guest::telling();
    machine.one_boot = true;
    let mut running = machine.start()?;
    let start = Instant::now();
    let ending =
        watch(&mut running, Patience::BOOT, &mut |_, facts| !Facts::boots(facts).is_empty())?;
    let (console, facts) = (plain(&text(&running.console)), text(&running.facts));
    drop(running);
    for file in [&stage.overlay, &second] {
        let _ = std::fs::remove_file(file);
    }
    let seconds = start.elapsed().as_secs();
    verdict(host == twin, &ending, &console, &facts)
        .map(|seen| format!("{seen}, after {seconds} s"))
        .with_context(|| format!("after {seconds} s ({ending:?}):\n{}", tail(&console, 20)))
}

/// With equal ids only the refusal is right; with ids that differ only the host's own disk is.
fn verdict(equal: bool, ending: &Ending, console: &str, facts: &str) -> Result<String> {
    let boots = Facts::boots(facts);
    match (equal, boots.first()) {
        (true, Some(_)) => bail!("two disks with equal ids, and the system came up"),
        (true, None) if !console.contains(REFUSAL) => bail!("the refusal was not said"),
        (true, None) if !matches!(ending, Ending::Ended(_)) => bail!("the machine was not reset"),
        (true, None) => Ok(format!("refused: {REFUSAL} …")),
        (false, None) => bail!("the system did not come up"),
        (false, Some(facts)) => {
            let check = guest::one_disk(facts);
            if !check.ok {
                bail!("mixed disks: {}", check.fact);
            }
            Ok(check.fact)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::time::Duration;

    use super::*;

    const GOOD: &str = include_str!("facts.sample");

    #[test]
    fn equal_ids_must_be_refused_by_a_line_and_a_reset() {
        let ended = || Ending::Ended(ExitStatus::from_raw(0));
        assert!(verdict(true, &ended(), REFUSAL, "").is_ok());
        assert!(verdict(true, &ended(), "", "").is_err());
        assert!(verdict(true, &Ending::Silent(Duration::ZERO), REFUSAL, "").is_err());
        assert!(verdict(true, &Ending::Said, REFUSAL, GOOD).is_err());
    }

    #[test]
    fn a_part_from_the_twin_is_found() {
        assert!(verdict(false, &Ending::Said, "", GOOD).is_ok());
        let mixed = GOOD.replacen("hashes hardtack-system", "hashes hardtack-twin", 1);
        assert!(verdict(false, &Ending::Said, "", &mixed).is_err());
        assert!(verdict(false, &Ending::Said, "", "").is_err());
    }
}
