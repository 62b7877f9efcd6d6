//! `cargo xtask judge client`: the newest systemd reads what images of today's systemd read.
//!
//! Tests that ask systemd run again with its programs in the place of Debian 13's. Of the update
//! client they know what each version of it asks for (`docs/updates.md`) and say what they saw.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::doctor;
use crate::judges::NEWEST;
use crate::run::{cargo, read, run};

/// Told to the tests (crate `judge`): whose programs come first.
const FIRST: &str = "HARDTACK_JUDGES";

/// What a test begins a line of its report with.
const SEEN: &str = "seen: ";

/// Crate, which of its targets, and which of its tests ask a program of [`NEWEST`].
const TESTS: &[(&str, &[&str], &str)] = &[
    ("release", &["--test", "client"], ""),
    ("release", &["--lib"], "order"),
    ("disk", &["--test", "judge"], "repart"),
    ("profile", &["--test", "shipped"], "the_manager"),
    ("profile", &["--lib"], "the_manager"),
];

/// What images are made for; the newest has to be newer.
const OURS: u32 = 257;

#[derive(Args)]
pub(crate) struct Options {
    /// Download and unpack it anew: it may be newer by now.
    #[arg(long)]
    renew: bool,
    /// Disks for systemd-dissect to look at, which are only read.
    #[arg(value_name = "DISK")]
    disks: Vec<PathBuf>,
}

/// The verb.
pub(crate) fn client(options: &Options) -> Result<()> {
    doctor::ready(doctor::Need::Test, doctor::Consent::from_flag(false))?;
    if options.renew || !NEWEST.present() {
        NEWEST.make()?;
    }
    let version = version()?;
    NEWEST.keep()?;
    println!("judged by {version}");
    let mut count = 0;
    for (package, targets, filter) in TESTS {
        let said = tests(package, targets, filter)?;
        for line in said.lines().filter_map(|line| seen(line, &version)) {
            println!("{SEEN}{line}");
            count += 1;
        }
    }
    ensure!(count > 0, "the tests passed, and none saw `{version}`: another client was judged");
    for disk in &options.disks {
        dissect(disk)?;
    }
    println!("{version} reads and installs what we make");
    Ok(())
}

/// What a line of a test's output says of this version, without the version.
fn seen<'a>(line: &'a str, version: &str) -> Option<&'a str> {
    // Other words of the test's runner may stand on the line before it.
    line.split_once(SEEN)?.1.strip_prefix(version).map(str::trim)
}

/// The newest client's own words for its version.
fn version() -> Result<String> {
    let said = read(Command::new(NEWEST.bin().join("systemd-sysupdate")).arg("--version"))
        .context("start the newest update client")?;
    let said = String::from_utf8(said).context("read a version")?;
    let line = said.lines().next().unwrap_or_default().to_owned();
    let number = line.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
    let number = number.with_context(|| format!("read the client's version out of `{line}`"))?;
    ensure!(number > OURS, "`{line}` is no newer than what images carry: nothing would be judged");
    Ok(line)
}

/// Runs some tests of a crate; what they say.
fn tests(package: &str, targets: &[&str], filter: &str) -> Result<String> {
    let mut command = cargo();
    command.args(["test", "-p", package]).args(targets).args(["--", "--nocapture", filter]);
    command.env(FIRST, NEWEST.bin()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("start `cargo test`")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let none = said.lines().any(|line| line.starts_with("test result: ok. 0 passed"));
    if none || !output.status.success() {
        print!("{said}");
        bail!("tests of `{package}` with the newest systemd: {}, none run: {none}", output.status);
    }
    Ok(said)
}

/// A disk's `/usr` must be found with its hash tree and signature, and pass for nothing that it is
/// not.
fn dissect(disk: &Path) -> Result<()> {
    let validate = |policy: &str| {
        let mut command = Command::new(NEWEST.bin().join("systemd-dissect"));
        command.args(["--validate", &format!("--image-policy={policy}")]).arg(disk);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    run(&mut validate("usr=signed:root=unprotected:esp=unprotected:=absent"))
        .with_context(|| format!("find a signed `/usr` on `{}`", disk.display()))?;
    let refused = validate("usr=absent:=ignore").stderr(Stdio::null()).status();
    ensure!(
        !refused.context("start `systemd-dissect`")?.success(),
        "systemd-dissect finds no fault with a policy that `{}` cannot meet",
        disk.display()
    );
    println!("{SEEN}a signed `/usr` and root on `{}`", disk.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_client_was_seen_to_do_is_not_of_this_one() {
        let newest = "systemd 262 (262-1)";
        assert_eq!(seen("test a ... seen: systemd 262 (262-1) asks", newest), Some("asks"));
        assert_eq!(seen("seen: systemd 257 (257.13-1) asks", newest), None);
        assert_eq!(seen("test a ... ok", newest), None);
    }
}
