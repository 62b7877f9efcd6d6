//! `cargo xtask powercut`: what a machine wrote, in order, so that a cut after any write can be
//! tried offline.

pub(crate) mod record;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::boot::Stage;
use crate::console::{Ending, Patience, tail, watch};
use crate::guest::{self, Facts};
use crate::image::{Baked, Profile};
use crate::qemu::{Console, text};

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`, or the path of a profile; its image is baked already.
    #[arg(default_value = "container-host")]
    profile: String,
}

/// The verb.
pub(crate) fn powercut(options: &Options) -> Result<()> {
    let profile = Profile::find(&options.profile)?;
    let base = Baked::of(&profile.output())?.disk;
    let raw = first_boot(&profile.name, &base)?;
    println!("recorded: {}", record::log(&raw).display());
    Ok(())
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
    machine.one_boot = true;
    let start = Instant::now();
    let mut running = machine.start()?;
    println!("powercut: one boot is recorded; console in {}", running.console.display());
    let ending = watch(&mut running, Patience::BOOT, &mut |_, _| false)?;
    let told = Facts::boots(&text(&running.facts)).len();
    if told == 0 || !matches!(ending, Ending::Ended(_)) {
        bail!(
            "the boot to record did not end well ({ending:?}):\n{}",
            tail(&text(&running.console), 20)
        );
    }
    drop(running);
    std::fs::remove_file(&stage.overlay).context("remove the disk that was not used")?;
    println!("powercut: recorded in {} s", start.elapsed().as_secs());
    Ok(raw)
}
