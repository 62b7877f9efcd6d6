//! `cargo xtask powercut`: what a machine wrote, in order, so that a cut after any write can be
//! tried offline.

mod first;
pub(crate) mod record;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::boot::Stage;
use crate::console::{Ending, Patience, tail, watch};
use crate::doctor::{self, Consent, Need};
use crate::guest::{self, Facts};
use crate::image::{Baked, Profile};
use crate::qemu::{Console, text};
use crate::run::{cargo, read, run, target};

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`, or the path of a profile; its image is baked already.
    #[arg(default_value = "container-host")]
    profile: String,
    /// Look at this log of writes instead of recording a first boot.
    #[arg(long, value_name = "FILE", requires = "base")]
    writes: Option<PathBuf>,
    /// The disk as it was before the log's first write.
    #[arg(long, value_name = "FILE", requires = "writes")]
    base: Option<PathBuf>,
    /// The log is of a first boot: look at the files that it makes, too.
    #[arg(long, requires = "writes")]
    first_boot: bool,
}

/// The fewest cuts that a recorded update or boot is looked at with.
pub(crate) const CUTS: u32 = 500;

/// The root partition's number in the layout `dps-ab`.
const ROOT: u32 = 8;

/// The verb.
pub(crate) fn powercut(options: &Options) -> Result<()> {
    doctor::ready(Need::Test, Consent::from_flag(false))?;
    if let (Some(base), Some(writes)) = (&options.base, &options.writes) {
        println!("{}", prefixes(base, writes)?);
        return if options.first_boot { files(base, writes) } else { Ok(()) };
    }
    let profile = Profile::find(&options.profile)?;
    let base = Baked::of(&profile.output())?.disk;
    let writes = record::log(&first_boot(&profile.name, &base)?);
    println!("recorded: {}", writes.display());
    println!("{}", prefixes(&base, &writes)?);
    files(&base, &writes)
}

/// Tries at least [`CUTS`] cuts of a recorded log, every flush among them, on the disk that was
/// there before; returns the checker's report. An error when one leaves a disk that does not start.
pub(crate) fn prefixes(base: &Path, writes: &Path) -> Result<String> {
    compile()?;
    let mut check = checker()?;
    check.arg("check").args([base, writes]).args(["--at-least", &CUTS.to_string()]);
    check.arg("--trusted").arg(target().join("keys/db.crt"));
    let output = check.output().context("start the checker")?;
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("a power cut would leave a disk that does not start:\n{said}\n{}", errors.trim());
    }
    Ok(said)
}

/// After how many entries of the log a flush ended a change of the partition.
pub(crate) fn boundaries(base: &Path, writes: &Path, partition: u32) -> Result<Vec<usize>> {
    let mut list = checker()?;
    list.arg("boundaries").args([base, writes]).args(["--partition", &partition.to_string()]);
    let text = String::from_utf8(read(&mut list)?).context("read the boundaries")?;
    text.lines().map(|line| line.parse().context("read a boundary")).collect()
}

/// Writes the whole disk as it is after so many entries of the log.
pub(crate) fn cut(base: &Path, writes: &Path, output: &Path, entries: usize) -> Result<()> {
    let mut cut = checker()?;
    cut.arg("cut").args([base, writes, output]).args(["--entries", &entries.to_string()]);
    read(&mut cut).map(drop)
}

fn files(base: &Path, writes: &Path) -> Result<()> {
    let folder = target().join("boot/powercut-files");
    std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
    println!("{}", first::files(base, writes, ROOT, &folder)?);
    Ok(())
}

/// The checker is an example of the crate whose readers it uses: this program uses no crate.
pub(crate) fn compile() -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "inspect", "--example", "powercut"]);
    run(&mut build).context("build the checker")
}

fn checker() -> Result<Command> {
    let program = target().join("debug/examples/powercut");
    if !program.is_file() {
        bail!("the checker `{}` is not built", program.display());
    }
    Ok(Command::new(program))
}

/// Boots a copy of `base` once, recorded, to a restart that the system makes itself; returns the
/// copy.
fn first_boot(name: &str, base: &Path) -> Result<PathBuf> {
    let stage = Stage::set(&format!("powercut-{name}"), base, None)?;
    let mut machine = stage.machine(Console::Log);
    let drive = record::recording(base, &stage.folder, guest::SYSTEM)?;
    let raw = drive.file.clone();
    machine.drives = vec![drive];
    machine.credentials = guest::telling();
    // The host's keys are made when its server is first started.
    for (name, unit) in &mut machine.credentials {
        if name == "systemd.unit-dropin.multi-user.target" {
            unit.push_str("Wants=ssh.service\n");
        }
    }
    machine.one_boot = true;
    let start = Instant::now();
    let mut running = machine.start()?;
    println!("powercut: one boot is recorded; console in {}", running.console.display());
    let ending = watch(&mut running, Patience::BOOT, &mut |_, _| false)?;
    let told = Facts::boots(&text(&running.facts)).len();
    if told == 0 || !matches!(ending, Ending::Ended(_)) {
        let console = tail(&text(&running.console), 20);
        bail!("the boot to record did not end well ({ending:?}):\n{console}");
    }
    drop(running);
    std::fs::remove_file(&stage.overlay).context("remove the disk that was not used")?;
    println!("powercut: recorded in {} s", start.elapsed().as_secs());
    Ok(raw)
}
