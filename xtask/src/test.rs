//! `cargo xtask test`: everything that this repository claims, shown.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::Build;
use crate::boot::{self, Stage};
use crate::check;
use crate::doctor::{self, Consent, Need};
use crate::image::{self, Baked, Profile, bake, compile};
use crate::judge;
use crate::pairs::{locked, pairs};
use crate::refusals;
use crate::repro;
use crate::run::{cargo, find, run};
use crate::twins;
use crate::update::{self, Ground, bad::Depth};
use crate::worker;

#[derive(Args)]
pub(crate) struct Options {
    /// Without images and boots: what needs no package archive and no QEMU.
    #[arg(long)]
    quick: bool,
    /// Only the steps whose name holds this text; they rely on what earlier runs left.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Where the package archive is, when the machine's own apt configuration names none.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
}

/// One of several things that may be done at once.
struct Case<'a> {
    name: String,
    work: Box<dyn FnOnce() -> Result<String> + Send + 'a>,
}

/// What was tried, in order.
#[derive(Default)]
pub(crate) struct Tally {
    /// Name, whether it went well, seconds.
    steps: Vec<(String, bool, u64)>,
    /// Leave out every step whose name lacks this.
    only: String,
}

impl Tally {
    /// Does one thing; its failure is kept, and the rest goes on. Returns whether to build on it.
    pub(crate) fn step(
        &mut self,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<()>,
    ) -> bool {
        let name = name.into();
        if !name.contains(&self.only) {
            return true;
        }
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work();
        if let Err(error) = &outcome {
            println!("FAILED  {name}: {error:#}");
        }
        self.steps.push((name, outcome.is_ok(), start.elapsed().as_secs()));
        outcome.is_ok()
    }

    /// Does several things, two at a time; each says what it saw when it is over.
    fn pairs(&mut self, mut cases: Vec<Case<'_>>) {
        cases.retain(|case| case.name.contains(&self.only));
        let saying = Mutex::new(());
        self.steps.extend(pairs(cases, |Case { name, work }| {
            let start = Instant::now();
            let outcome = work();
            let _one_at_a_time = locked(&saying);
            println!("\n== {name}");
            match &outcome {
                Ok(seen) => println!("ok      {seen}"),
                Err(error) => println!("FAILED  {name}: {error:#}"),
            }
            (name, outcome.is_ok(), start.elapsed().as_secs())
        }));
    }

    pub(crate) fn close(&self) -> Result<()> {
        if self.steps.is_empty() {
            bail!("no step's name holds `{}`", self.only);
        }
        println!("\n== summary");
        for (name, ok, seconds) in &self.steps {
            println!("{:7} {seconds:5} s  {name}", if *ok { "ok" } else { "FAILED" });
        }
        let failed = self.steps.iter().filter(|(_, ok, _)| !ok).count();
        println!("{} passed, {failed} failed", self.steps.len() - failed);
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.steps.len());
        }
        Ok(())
    }
}

/// The verb.
pub(crate) fn test(options: &Options) -> Result<()> {
    let only = options.only.clone().unwrap_or_default();
    let mut tally = Tally { only, ..Tally::default() };
    let consent = Consent::from_flag(options.yes);
    check::sources(&mut tally);
    if !tally.step("doctor", || doctor::ready(Need::Test, consent)) || !tally.step("build", compile)
    {
        return tally.close();
    }
    tally.step("licences, bans, sources", check::dependencies);
    tally.step("a worker as one static file", worker::worker);
    tally.step("tests of every crate", || {
        let mut command = cargo();
        if find("cargo-nextest").is_some() {
            run(command.args(["nextest", "run", "--workspace", "--no-fail-fast"]))
        } else {
            run(command.args([
                "test",
                "--workspace",
                "--no-fail-fast",
                "--bins",
                "--lib",
                "--tests",
            ]))
        }
    });
    tally.step("documentation", check::documentation);
    tally.step("examples in the documentation", || {
        run(cargo().args(["test", "--quiet", "--workspace", "--doc"]))
    });
    if !options.quick {
        images(&mut tally, options);
    }
    tally.close()
}

/// The profile that shows what adding packages looks like.
const EXAMPLE: &str = "newcomers";

fn images(tally: &mut Tally, options: &Options) {
    tally.step("closures are apt's", || judge::closures(options.mirror.as_deref()));
    let baked: Vec<&str> = ["mini", "container-host", EXAMPLE]
        .into_iter()
        .filter(|name| tally.step(format!("image {name}"), || baked(name, options)))
        .collect();
    for name in &baked {
        // The example's packages begin work when they are installed: a cluster, logs.
        if *name != EXAMPLE {
            tally.step(format!("judge: tree of {name}"), || judge::tree(&Profile::find(name)?));
        }
    }
    let Ok(good) = Profile::find("mini").and_then(|profile| Baked::of(&profile.output())) else {
        return;
    };
    tally.step("reproduced: mini", || repro::show(&Profile::find("mini")?));

    let disk = &good.disk;
    // The longest first.
    let looked = baked.iter().rev().map(|name| Case {
        name: format!("boot {name} twice, look inside"),
        work: Box::new(move || looked_into(name)),
    });
    let refused = refusals::names().map(|name| Case {
        name: format!("refused: {name}"),
        work: Box::new(move || refusals::refuse(name, disk)),
    });
    tally.pairs(looked.chain(refused).collect());

    let booted = Stage::folder("mini").join(Stage::OVERLAY);
    let second = booted.as_path();
    let twins = twins::names().map(|name| Case {
        name: format!("twin disk: {name}"),
        work: Box::new(move || twins::show(name, disk, second)),
    });
    let ground = &Ground::new("mini", Depth::Short);
    let updates = update::cases().into_iter().filter(|case| case.always).map(|case| Case {
        name: format!("update: {}", case.name),
        work: Box::new(move || (case.show)(ground)),
    });
    tally.pairs(updates.chain(twins).collect());
    if options.only.is_none() {
        let _ = std::fs::remove_file(&booted);
    }
}

fn baked(name: &str, options: &Options) -> Result<()> {
    // An archive moves without us: a script that changed since it was read is reported here, and
    // is no failure.
    let mut build = Build::plain(name, options.mirror.clone());
    build.rest = ["--unreviewed-scripts", "warn"].map(str::to_owned).into();
    let profile = Profile::find(name)?;
    bake(&profile, &build)?;
    let unreviewed = image::unreviewed(&profile.output())?;
    println!("{} scripts that nobody has reviewed", unreviewed.len());
    unreviewed.iter().for_each(|script| println!("unreviewed  {script}"));
    Ok(())
}

/// Leaves the booted disk: the twins need one.
fn looked_into(name: &str) -> Result<String> {
    let profile = Profile::find(name)?;
    let baked = Baked::of(&profile.output())?;
    // The larger disk of one of them shows that root grows to its end.
    let size = (name == "mini").then_some("10G");
    let stage = Stage::set(name, &baked.disk, size)?;
    boot::look_inside(&stage, &profile, &baked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_whole_and_the_rest_still_runs() {
        let mut tally = Tally::default();
        assert!(tally.step("good", || Ok(())));
        assert!(!tally.step("bad", || bail!("no")));
        assert!(tally.step("after", || Ok(())));
        assert!(tally.close().is_err());
        assert_eq!(tally.steps.len(), 3);
        let case = |name: &str, good: bool| Case {
            name: name.to_owned(),
            work: Box::new(move || if good { Ok(String::new()) } else { bail!("no") }),
        };
        tally.pairs(vec![case("c", true), case("d", false), case("e", true)]);
        assert_eq!(tally.steps.iter().filter(|(_, ok, _)| *ok).count(), 4);
        assert_eq!(tally.steps.len(), 6);
        tally.only = "other".into();
        tally.pairs(vec![case("left out too", false)]);
        assert!(tally.step("left out", || bail!("no")));
        assert_eq!(tally.steps.len(), 6);
    }
}
