//! A guest that is led step by step: what it tells of each boot, and what it is told to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::boot::Stage;
use crate::console::{Ending, Patience, tail, watch};
use crate::guest::{self, Facts};
use crate::powercut::record;
use crate::qemu::{Console, Machine, Running, text};
use crate::update::server::Server;

/// The script that tells and asks, run by the guest's own shell.
const STEPS: &str = include_str!("steps.sh");

/// An update writes hundreds of megabytes, emulated, on a busy machine.
const STEP: Patience =
    Patience { silence: Duration::from_secs(900), whole: Duration::from_secs(1500) };

/// A boot, after as many tries of another version as it takes.
const BOOT: Patience =
    Patience { silence: Duration::from_secs(900), whole: Duration::from_secs(3600) };

/// A running guest, its disk, and the server of its feed.
pub(crate) struct Host {
    running: Running,
    pub(crate) server: Server,
    pub(crate) stage: Stage,
    /// The log of every write to its disk, where that is recorded.
    pub(crate) writes: Option<PathBuf>,
    /// How many boots told all.
    boots: usize,
    /// How many scripts it was given.
    scripts: usize,
}

impl Host {
    /// Starts the disk `base`, which is not written, with the feed in `feed`.
    pub(crate) fn start(name: &str, base: &Path, feed: &Path) -> Result<Host> {
        let stage = Stage::set(&format!("update-{name}"), base, None)?;
        let machine = stage.machine(Console::Log);
        Host::lead(stage, machine, feed)
    }

    /// As [`Host::start`], and every write to the disk is recorded.
    pub(crate) fn recorded(name: &str, base: &Path, feed: &Path) -> Result<Host> {
        let stage = Stage::set(&format!("update-{name}"), base, None)?;
        let mut machine = stage.machine(Console::Log);
        let drive = record::recording(base, &stage.folder, guest::SYSTEM)?;
        let writes = record::log(&drive.file);
        machine.drives = vec![drive];
        Ok(Host { writes: Some(writes), ..Host::lead(stage, machine, feed)? })
    }

    /// Starts a machine of that stage, whose drives may be others than the stage's own.
    pub(crate) fn lead(stage: Stage, mut machine: Machine, feed: &Path) -> Result<Host> {
        let server = Server::start(feed)?;
        machine.credentials = guest::led(STEPS);
        machine.feed = Some(server.port());
        let running = machine.start()?;
        Ok(Host { running, server, stage, writes: None, boots: 0, scripts: 0 })
    }

    /// Waits for the next boot that tells all.
    pub(crate) fn up(&mut self) -> Result<Facts> {
        let boots = self.boots + 1;
        self.wait(BOOT, &format!("boot {boots}"), &|facts| Facts::boots(facts).len() >= boots)?;
        self.boots = boots;
        let facts = Facts::boots(&text(&self.running.facts)).pop();
        facts.context("read what the guest told of its boot")
    }

    /// Lets the guest run a script and returns what that told.
    pub(crate) fn ask(&mut self, script: &str) -> Result<Facts> {
        self.scripts += 1;
        let number = self.scripts;
        self.server.tell(format!("tell asking {number}\n{script}\ntell asked {number}\n"));
        let told = |facts: &str| Facts::of_step(facts, number);
        self.wait(STEP, &format!("`{script}`"), &|facts| told(facts).is_some())?;
        told(&text(&self.running.facts)).with_context(|| format!("read what `{script}` told"))
    }

    /// Lets the guest run a script that it does not return from.
    pub(crate) fn order(&mut self, script: &str) {
        self.scripts += 1;
        self.server.tell(script.to_owned());
    }

    /// Switches the guest off as an owner does; the disk that it wrote stays with its stage.
    pub(crate) fn off(mut self) -> Result<Stage> {
        self.order("systemctl --no-block poweroff");
        let ending = watch(&mut self.running, Patience::BOOT, &mut |_, _| false)?;
        if !matches!(&ending, Ending::Ended(status) if status.success()) {
            bail!("the guest was not switched off: {ending:?}");
        }
        Ok(self.stage)
    }

    /// Everything that the console said.
    pub(crate) fn console(&self) -> String {
        crate::console::plain(&text(&self.running.console))
    }

    /// How many kernels were started so far.
    pub(crate) fn kernels(&self) -> usize {
        self.console().matches("Linux version").count()
    }

    fn wait(&mut self, patience: Patience, what: &str, done: &dyn Fn(&str) -> bool) -> Result<()> {
        let ending = watch(&mut self.running, patience, &mut |_, facts| done(facts))?;
        if ending == Ending::Said {
            return Ok(());
        }
        let facts = text(&self.running.facts);
        bail!(
            "wait for {what}: {ending:?}; told last:\n{}the console ended with\n{}",
            tail(&facts, 8),
            tail(&text(&self.running.console), 25)
        )
    }
}
