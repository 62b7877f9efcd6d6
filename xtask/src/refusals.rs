//! Damaged disks, and that none of them boots.
//!
//! Each case is a copy of a good disk with one thing changed. What runs in the guest would tell
//! facts, as it does on the good disk: silence on that port is the proof that nothing ran.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::boot::{Stage, refused};
use crate::console::{Ending, Patience, plain, tail, watch};
use crate::disk::{self, Esp, Extent};
use crate::guest;
use crate::qemu::{Console, text};
use crate::run::{run, target, tool};

/// Who must stop the boot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Firmware or loader, before any kernel runs.
    Firmware,
    /// The kernel or the initrd, by a reset.
    Reset,
}

type Damage = fn(&Path, &Path) -> Result<()>;

/// Name of the attack, who stops it, how it is made (disk, folder for files).
const ATTACKS: &[(&str, Stop, Damage)] = &[
    ("uki-unsigned", Stop::Firmware, unsigned),
    ("uki-flipped-linux", Stop::Firmware, |disk, work| flipped(disk, work, ".linux")),
    ("uki-flipped-initrd", Stop::Firmware, |disk, work| flipped(disk, work, ".initrd")),
    ("uki-flipped-cmdline", Stop::Firmware, |disk, work| flipped(disk, work, ".cmdline")),
    ("wrong-root-hash", Stop::Reset, wrong_root_hash),
    ("usr-flipped-data", Stop::Reset, flipped_data),
    ("usr-flipped-hash-tree", Stop::Reset, flipped_hash_tree),
];

/// A verdict of the firmware comes within seconds; the rest is a busy machine.
const FIRMWARE: Patience =
    Patience { silence: Duration::from_secs(90), whole: Duration::from_secs(180) };

/// A reset comes after a device time-out of 4 min at the latest.
const RESET: Patience =
    Patience { silence: Duration::from_secs(480), whole: Duration::from_secs(1500) };

/// The attacks' names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ATTACKS.iter().map(|(name, ..)| *name)
}

/// Makes one attack on a copy of `good` and watches it fail; returns what was seen.
pub(crate) fn refuse(name: &str, good: &Path) -> Result<String> {
    let attack = ATTACKS.iter().find(|(known, ..)| *known == name);
    let (_, stop, damage) = attack.with_context(|| format!("find the attack `{name}`"))?;
    let work = disk::folder(Stage::folder(name))?;
    let bad = work.join("damaged.raw");
    disk::copy(good, &bad)?;
    damage(&bad, &work).with_context(|| format!("make the attack `{name}`"))?;
    let seen = attempt(name, &bad, *stop);
    // Hundreds of megabytes a case; the logs stay.
    let _ = std::fs::remove_file(&bad);
    seen
}

fn attempt(name: &str, bad: &Path, stop: Stop) -> Result<String> {
    let stage = Stage::set(name, bad, None)?;
    let mut machine = stage.machine(Console::Log);
    machine.credentials = guest::telling();
    machine.one_boot = true;
    let mut running = machine.start()?;
    let start = Instant::now();
    let patience = if stop == Stop::Firmware { FIRMWARE } else { RESET };
    let ending = watch(&mut running, patience, &mut |console, facts| {
        guest::began(facts) || (stop == Stop::Firmware && refused(console))
    })?;
    let (console, facts) = (plain(&text(&running.console)), text(&running.facts));
    drop(running);
    let _ = std::fs::remove_file(&stage.overlay);
    let seconds = start.elapsed().as_secs();
    verdict(stop, &ending, &console, &facts)
        .map(|seen| format!("{seen}, after {seconds} s"))
        .with_context(|| format!("after {seconds} s ({ending:?}):\n{}", tail(&console, 20)))
}

/// What the console proves.
fn verdict(stop: Stop, ending: &Ending, console: &str, facts: &str) -> Result<String> {
    if guest::began(facts) {
        bail!("the damaged system ran");
    }
    let kernel = console.contains("Linux version");
    let line = |words: &[&str]| {
        let mut lines = console.lines();
        let line = lines.find(|line| {
            let line = line.to_lowercase();
            words.iter().any(|word| line.contains(word))
        });
        line.map(|line| line.trim().chars().take(120).collect::<String>())
    };
    match stop {
        Stop::Firmware if kernel => bail!("a kernel was started"),
        Stop::Firmware => {
            line(&["access denied", "security violation"]).context("no refusal was said")
        }
        // Otherwise the loader may have refused, and something else than meant was shown.
        Stop::Reset if !kernel => bail!("the kernel was not started"),
        Stop::Reset if !matches!(ending, Ending::Ended(_)) => bail!("the machine was not reset"),
        Stop::Reset => line(&["is corrupted", "verification failed", "kernel panic", "timed out"])
            .context("no reason was said"),
    }
}

fn take(disk: &Path, work: &Path) -> Result<(Esp, String, PathBuf, Vec<u8>)> {
    let esp = Esp::of(disk)?;
    let name = esp.uki()?;
    let file = work.join("uki.efi");
    esp.get(&name, &file)?;
    let bytes = std::fs::read(&file).context("read the UKI")?;
    Ok((esp, name, file, bytes))
}

fn unsigned(disk: &Path, work: &Path) -> Result<()> {
    let (esp, name, file, _) = take(disk, work)?;
    run(tool("sbattach")?.arg("--remove").arg(&file))?;
    esp.put(&file, &name)
}

fn flipped(disk: &Path, work: &Path, section: &str) -> Result<()> {
    let (esp, name, file, bytes) = take(disk, work)?;
    let Extent { start, size } = disk::section(&bytes, section)?;
    disk::flip(&file, start + size / 2)?;
    esp.put(&file, &name)
}

/// Another digit in the root hash, properly signed again.
fn wrong_root_hash(disk: &Path, work: &Path) -> Result<()> {
    const NAME: &[u8] = b"usrhash=";
    let (esp, name, file, bytes) = take(disk, work)?;
    let Extent { start, size } = disk::section(&bytes, ".cmdline")?;
    let place = usize::try_from(start)?..usize::try_from(start + size)?;
    let line = bytes.get(place).context("read the command line")?;
    let at = line.windows(NAME.len()).position(|word| word == NAME);
    let at = u64::try_from(at.context("find `usrhash=`")? + NAME.len())?;
    // With its lowest bit flipped, a decimal digit is a decimal digit still; a letter may not be.
    let digits = line.get(usize::try_from(at)?..).context("find the root hash")?;
    let digit = digits.iter().position(|digit| digit.is_ascii_digit());
    let digit = u64::try_from(digit.context("find a digit to change")?)?;
    run(tool("sbattach")?.arg("--remove").arg(&file))?;
    disk::flip(&file, start + at + digit)?;
    let keys = target().join("keys");
    let mut sign = tool("sbsign")?;
    sign.arg("--key").arg(keys.join("db.key")).arg("--cert").arg(keys.join("db.crt"));
    run(sign.arg("--output").arg(&file).arg(&file))?;
    esp.put(&file, &name)
}

/// A byte of the first program that the system starts.
fn flipped_data(disk: &Path, _: &Path) -> Result<()> {
    let usr = disk::partition(disk, disk::USR)?;
    let Extent { start, size } = disk::extent_of_file(disk, usr, "/lib/systemd/systemd")?;
    if start + size > usr.size {
        bail!("dump.erofs names a place outside of /usr");
    }
    // The first page holds the headers that every start reads.
    disk::flip(disk, usr.start + start + 8)
}

/// A byte of the topmost hash block: the one behind the superblock.
fn flipped_hash_tree(disk: &Path, _: &Path) -> Result<()> {
    const BLOCK: u64 = 4096;
    let tree = disk::partition(disk, disk::USR_VERITY)?;
    disk::flip(disk, tree.start + BLOCK)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    const KERNEL: &str = "[    0.0] Linux version 6.12\n";
    const DENIED: &str = "BdsDxe: failed to load Boot0001: Access Denied\n";

    fn ended() -> Ending {
        Ending::Ended(ExitStatus::from_raw(0))
    }

    #[test]
    fn a_damaged_system_that_ran_is_never_a_refusal() {
        let console = format!("{DENIED}{KERNEL}verity: 254:2: data block 7 is corrupted\n");
        for stop in [Stop::Firmware, Stop::Reset] {
            assert!(verdict(stop, &ended(), &console, "begin=1").is_err());
        }
    }

    #[test]
    fn the_firmware_s_refusal_must_be_said_before_a_kernel_runs() {
        assert!(verdict(Stop::Firmware, &Ending::Said, DENIED, "").is_ok());
        assert!(verdict(Stop::Firmware, &Ending::Said, &format!("{KERNEL}{DENIED}"), "").is_err());
        assert!(verdict(Stop::Firmware, &ended(), "", "").is_err());
    }

    #[test]
    fn a_hang_is_not_a_reset() {
        let console = format!("{KERNEL}device-mapper: verity: data block 7 is corrupted\n");
        let silent = Ending::Silent(Duration::from_secs(1));
        assert!(verdict(Stop::Reset, &ended(), &console, "").is_ok());
        assert!(verdict(Stop::Reset, &silent, &console, "").is_err());
        assert!(verdict(Stop::Reset, &ended(), "Access denied", "").is_err());
        assert!(verdict(Stop::Reset, &ended(), KERNEL, "").is_err());
    }
}
