//! First boots, again and again: on one processor and on two, some beside busy loops.
//!
//! Each is a version on trial, as an update installs it: a boot that fails or is reset would cost
//! its only try, and shows in the name of its kernel image.

use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use crate::boot::{Stage, starts};
use crate::disk::{self, Esp};
use crate::pairs::pairs;
use crate::qemu::Console;
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, committed, finish};
use crate::update::versions::{Feed, Kind};

/// Boots of one kind.
const COUNT: usize = 10;

/// A way to boot.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    processors: u32,
    /// Programs that do nothing, on the same machine.
    busy: usize,
}

pub(crate) const WAYS: &[Way] = &[
    Way { name: "one-processor", processors: 1, busy: 0 },
    Way { name: "two-processors", processors: 2, busy: 0 },
    Way { name: "one-processor-beside-busy-loops", processors: 1, busy: 2 },
    Way { name: "two-processors-beside-busy-loops", processors: 2, busy: 2 },
];

/// A program that takes a whole processor as long as this value lives.
struct Busy(Child);

impl Busy {
    fn start() -> Result<Busy> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", "while :; do :; done"]);
        command.spawn().map(Busy).context("start a busy loop")
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots the first version's disk [`COUNT`] times, two machines at a time.
pub(crate) fn show(way: &Way, ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let good = ground.version("1", Kind::Good)?.baked.disk;
    let folder = disk::folder(Stage::folder(&format!("first-{}", way.name)))?;
    let feed = Feed::of(id, &format!("first-{}", way.name), &[])?;
    let trial = folder.join("trial.raw");
    disk::copy(&good, &trial)?;
    Esp::of(&trial)?
        .rename(&format!("::/EFI/Linux/{id}_1.efi"), &format!("::/EFI/Linux/{id}_1+1-0.efi"))?;
    let _busy = (0..way.busy).map(|_| Busy::start()).collect::<Result<Vec<_>>>()?;
    let one = |number: usize| -> Result<u64> {
        let stage = Stage::set(&format!("update-first-{}-{number}", way.name), &trial, None)?;
        let mut machine = stage.machine(Console::Log);
        machine.processors = way.processors;
        let start = std::time::Instant::now();
        let mut host = Host::lead(stage, machine, &feed.folder)?;
        committed(&host.up()?, id, "1", &A)?;
        let seconds = start.elapsed().as_secs();
        let (kernels, starts) = (host.kernels(), starts(&host.console()));
        if (kernels, starts) != (1, 1) {
            bail!("{kernels} kernels and {starts} loaders were started");
        }
        finish(host);
        println!("        {} {}: blessed after {seconds} s", way.name, number + 1);
        Ok(seconds)
    };
    let seen = pairs((0..COUNT).collect(), |number| {
        one(number).with_context(|| format!("boot {} of {COUNT}", number + 1))
    });
    let _ = std::fs::remove_file(&trial);
    let times = seen.into_iter().collect::<Result<Vec<_>>>()?;
    let (least, most) = (times.iter().min(), times.iter().max());
    Ok(format!(
        "{} first boots on trial, each one kernel, no reset, blessed, no failed unit, in {} to {} s",
        times.len(),
        least.copied().unwrap_or_default(),
        most.copied().unwrap_or_default()
    ))
}
