//! `cargo xtask boot`: a profile's image in QEMU, for a person or for a list of checks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::Build;
use crate::agent::Agent;
use crate::console::{Ending, Patience, plain, tail, watch};
use crate::doctor::{self, Consent, Need};
use crate::given::{self, Listing};
use crate::guest::{self, Check, Expected, Facts};
use crate::image::{Baked, Profile, bake, compile};
use crate::more::More;
use crate::qemu::{self, Console, Drive, Machine, text};
use crate::run::{read, target, tool};

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`, or the path of a profile.
    #[arg(default_value = "container-host")]
    profile: String,
    /// No terminal: the console goes to its log alone.
    #[arg(long)]
    headless: bool,
    /// Look inside the guest, check what must hold, restart it, check again.
    #[arg(long, requires = "headless")]
    check: bool,
    /// Start this disk instead of the profile's image.
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Let the guest see a larger disk, for example `8G`.
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// Leave what the guest wrote in `target/boot/<profile>/disk.qcow2`.
    #[arg(long)]
    keep_overlay: bool,
    /// Where the package archive is, when the image must be baked first.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
}

/// The verb.
pub(crate) fn boot(options: &Options) -> Result<()> {
    let profile = Profile::find(&options.profile)?;
    let consent = Consent::from_flag(options.yes);
    doctor::ready(Need::Build, consent)?;
    doctor::ready(Need::Boot, consent)?;
    compile()?;
    // Baking what has not changed takes less than a second; booting a stale image costs an hour.
    if options.disk.is_none() {
        bake(&profile, &Build::plain(&options.profile, options.mirror.clone()))?;
    }
    let baked = match &options.disk {
        Some(disk) => Baked { disk: disk.clone(), root_hash: None, version: None, inventory: None },
        None => Baked::of(&profile.output())?,
    };
    let stage = Stage::set(&profile.name, &baked.disk, options.size.as_deref())?;
    let outcome = match (options.check, options.headless) {
        (true, _) => look_inside(&stage, &profile, &baked).map(|said| println!("{said}")),
        (false, true) => headless(&stage),
        (false, false) => interactive(&stage),
    };
    if options.keep_overlay {
        println!("what the guest wrote: {}", stage.overlay.display());
    } else {
        let _ = std::fs::remove_file(&stage.overlay);
    }
    outcome
}

/// Boots the stage's disk twice and gives what was seen, a line each; an error unless the guest is
/// what its profile and inventory say.
pub(crate) fn look_inside(stage: &Stage, profile: &Profile, baked: &Baked) -> Result<String> {
    let listing = baked.inventory.as_deref().map(Listing::read).transpose()?;
    let expected = Expected {
        root_hash: baked.root_hash.clone(),
        version: baked.version.clone(),
        containers: profile.name == "container-host",
        listed: listing.as_ref().map(Listing::counts),
        more: More::of(&profile.name),
    };
    report(&check(stage, &expected, listing.as_ref())?)
}

/// A throw-away disk and a variable store with the keys in it.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    pub(crate) overlay: PathBuf,
    variables: PathBuf,
    /// Held as long as the stage is set: two machines must not share files.
    _lock: File,
}

impl Stage {
    /// The throw-away disk's file name.
    pub(crate) const OVERLAY: &str = "disk.qcow2";

    /// Where the stage `name` has its files.
    pub(crate) fn folder(name: &str) -> PathBuf {
        target().join("boot").join(name)
    }

    /// Sets the stage `name` over the disk `base`.
    pub(crate) fn set(name: &str, base: &Path, size: Option<&str>) -> Result<Stage> {
        let folder = Stage::folder(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("make the stage's lock")?;
        if lock.try_lock().is_err() {
            bail!("another boot uses `{}`; let it end first", folder.display());
        }
        let overlay = folder.join(Stage::OVERLAY);
        qemu::overlay(base, &overlay, size)?;
        let variables = folder.join("variables.fd");
        qemu::variables(&variables)?;
        Ok(Stage { folder, overlay, variables, _lock: lock })
    }

    /// A machine with that disk alone, and one processor: machines run two at a time, and of one
    /// that is emulated a second processor waits for the first more than it does.
    pub(crate) fn machine(&self, console: Console) -> Machine {
        Machine {
            folder: self.folder.clone(),
            variables: self.variables.clone(),
            drives: vec![Drive {
                file: self.overlay.clone(),
                format: "qcow2",
                serial: guest::SYSTEM,
                boots: true,
            }],
            credentials: Vec::new(),
            console,
            one_boot: false,
            agent: None,
            feed: None,
            processors: 1,
            devices: &[],
            monitor: None,
        }
    }
}

fn interactive(stage: &Stage) -> Result<()> {
    let mut machine = stage.machine(Console::Terminal);
    machine.processors = 2;
    machine.credentials = guest::autologin();
    let mut running = machine.start()?;
    println!("log in:  root is logged in on this console, by a credential of this boot alone");
    println!("leave:   `poweroff` inside, or Ctrl-a x");
    println!("wait:    emulation takes about a minute to the prompt, KVM a few seconds");
    println!("log:     {}", running.console.display());
    println!("changes: thrown away");
    running.wait()?;
    Ok(())
}

fn headless(stage: &Stage) -> Result<()> {
    let mut running = stage.machine(Console::Log).start()?;
    println!("log:     {}", running.console.display());
    println!("leave:   Ctrl-c");
    running.wait()?;
    Ok(())
}

/// Boots the stage's disk twice and judges what the guest tells.
fn check(stage: &Stage, expected: &Expected, listing: Option<&Listing>) -> Result<Vec<Check>> {
    let mut machine = stage.machine(Console::Log);
    machine.processors = 2;
    machine.credentials = guest::telling();
    machine.drives.push(Drive {
        file: given::pack(&stage.folder.join("given"), listing, expected.more.map(|m| m.script))?,
        format: "raw",
        serial: given::SERIAL,
        boots: false,
    });
    let mut agent = match expected.more {
        Some(More { agent: true, .. }) => Some(Agent::new(&stage.folder)),
        _ => None,
    };
    machine.agent = agent.as_ref().map(|agent| agent.socket.clone());
    let mut running = machine.start()?;
    println!("boot:    two boots; console in {}", running.console.display());
    let start = Instant::now();
    let mut told = 0;
    let ending = watch(&mut running, Patience::BOOT, &mut |console, facts| {
        let boots = Facts::boots(facts).len();
        if boots > told {
            told = boots;
            println!("boot:    boot {boots} told its facts after {} s", start.elapsed().as_secs());
        }
        if let Some(agent) = &mut agent {
            agent.ask(facts);
        }
        // Starts of the loader beyond those of two boots: the machine resets before it is up.
        hidden(console) || starts(console) > 2 || refused(console)
    })?;
    let console = text(&running.console);
    let facts = text(&running.facts);
    let boots = Facts::boots(&facts);
    if let [first, second, ..] = boots.as_slice() {
        let mut checks = guest::judge(first, second, expected);
        drop(running);
        checks.push(table(&stage.overlay)?);
        checks.extend(agent.map(Agent::answered));
        return Ok(checks);
    }
    let why = match ending {
        Ending::Said if hidden(&console) => {
            bail!(
                "this image refuses credentials (`credentials: none`): the check cannot look inside"
            )
        }
        Ending::Said if refused(&console) => "the firmware refused what it should start".to_owned(),
        Ending::Said => "the machine was reset before it was up".to_owned(),
        Ending::Ended(status) => format!("QEMU ended ({status})"),
        Ending::Silent(time) => format!("nothing was said for {} s", time.as_secs()),
        Ending::TooLong(time) => format!("it took longer than {} s", time.as_secs()),
    };
    let told = if guest::began(&facts) { facts } else { "nothing".to_owned() };
    bail!(
        "{why}, after {} of 2 boots; told so far: {told}\nthe console ended with\n{}",
        boots.len(),
        tail(&console, 25)
    )
}

/// What a stranger says of the partition table that the guest left behind. `sgdisk` says "No
/// problems found" of a table with one broken copy as well, after a warning.
fn table(overlay: &Path) -> Result<Check> {
    let raw = qemu::flat(overlay)?;
    let said = read(tool("sgdisk")?.arg("-v").arg(&raw));
    let _ = std::fs::remove_file(&raw);
    let said = String::from_utf8_lossy(&said?).into_owned();
    let ok =
        said.contains("No problems found") && !said.contains("Warning") && !said.contains("ERROR");
    let fact = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Check { what: "the partition table is sound, as sgdisk -v says", ok, fact })
}

fn hidden(console: &str) -> bool {
    console.contains("systemd.import_credentials=no")
}

/// How often the firmware handed over to the loader on the disk.
pub(crate) fn starts(console: &str) -> usize {
    plain(console).matches("BdsDxe: starting Boot").count()
}

/// Whether firmware or loader refused to start a program.
pub(crate) fn refused(console: &str) -> bool {
    let console = plain(console).to_lowercase();
    console.contains("access denied") || console.contains("security violation")
}

/// A line for each check; an error with the same lines unless all hold.
pub(crate) fn report(checks: &[Check]) -> Result<String> {
    let lines = checks.iter().map(|Check { what, ok, fact }| {
        format!("{:7} {what}  ({fact})", if *ok { "ok" } else { "FAILED" })
    });
    let said = lines.collect::<Vec<_>>().join("\n");
    let failed = checks.iter().filter(|check| !check.ok).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed\n{said}", checks.len());
    }
    Ok(format!("{said}\nall {} checks passed", checks.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_boot() {
        let check = |ok| Check { what: "a", ok, fact: String::new() };
        let said = report(&[check(true), check(true)]).unwrap();
        assert!(said.contains("all 2 checks passed"), "{said}");
        let error = report(&[check(true), check(false)]).unwrap_err().to_string();
        assert!(error.contains("1 of 2 checks failed") && error.contains("FAILED"), "{error}");
    }

    #[test]
    fn a_refusal_is_seen_whoever_says_it() {
        assert!(refused("boot.c:2576@image_start: Error loading \\EFI\\x.efi: Access denied"));
        assert!(refused("BdsDxe: failed to load Boot0001: \u{1b}[1mAccess Denied"));
        assert!(!refused("Linux version 6.12"));
    }
}
