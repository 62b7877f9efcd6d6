//! `cargo xtask test-update`: from a signed release to the other slot, and back when it fails.
//!
//! The images are the shipped ones, made with a version, the address of a feed and one changed file;
//! nothing is injected but what looks: a unit and a script, as credentials of the virtual machine.

pub(crate) mod bad;
mod by_hand;
mod cut_off;
mod cuts;
mod firsts;
mod host;
mod pipe;
mod refused;
mod server;
mod story;
mod twin;
mod versions;
mod watchdog;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

pub(crate) use pipe::pipe;

use crate::Build;
use crate::doctor::{self, Consent, Need};
use crate::health;
use crate::image::{Baked, Profile, bake, compile};
use crate::pairs::{locked, pairs};
use crate::run::target;
use bad::Depth;
use host::Host;
use story::Starts;
use versions::{Kind, Version};

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`.
    #[arg(default_value = "mini")]
    profile: String,
    /// Every case; a case that went well in an earlier run with the same images is left out.
    #[arg(long, conflicts_with = "only")]
    full: bool,
    /// The case of this name, whatever went well before.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// With `--full`: forget what went well before.
    #[arg(long, requires = "full")]
    again: bool,
    /// Leave bad versions as soon as the next one lies in their slot, as `cargo xtask test` does.
    #[arg(long)]
    short: bool,
    /// Print the cases' names.
    #[arg(long)]
    list: bool,
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
}

/// What the cases stand on: a profile, and the versions of it that were asked for so far.
pub(crate) struct Ground {
    pub(crate) profile: String,
    depth: Depth,
    baked: Mutex<BTreeMap<(String, Kind), Version>>,
}

impl Ground {
    pub(crate) fn new(profile: &str, depth: Depth) -> Ground {
        Ground { profile: profile.to_owned(), depth, baked: Mutex::default() }
    }

    /// A version of the profile, baked when it is first asked for.
    pub(crate) fn version(&self, number: &str, kind: Kind) -> Result<Version> {
        let mut baked = locked(&self.baked);
        let key = (number.to_owned(), kind);
        if let Some(version) = baked.get(&key) {
            return Ok(version.clone());
        }
        let version = versions::version(&self.profile, number, kind)?;
        baked.insert(key, version.clone());
        Ok(version)
    }
}

/// Shows something and says what it saw.
type Show = Box<dyn Fn(&Ground) -> Result<String> + Send + Sync>;

/// One thing that is shown.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) show: Show,
    /// Part of `cargo xtask test`.
    pub(crate) always: bool,
}

/// Bad versions that `cargo xtask test` shows: refused by the firmware, and by a panic.
const ALWAYS: [&str; 2] = ["uki-unsigned", "kernel-panics-early"];

fn case(
    name: impl Into<String>,
    always: bool,
    show: impl Fn(&Ground) -> Result<String> + Send + Sync + 'static,
) -> Case {
    Case { name: name.into(), always, show: Box::new(show) }
}

/// Who has cases, in the order in which they are shown.
const PROVIDERS: &[fn() -> Vec<Case>] = &[rows, bads, refusals, hosts, trials, firsts];

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    PROVIDERS.iter().flat_map(|provider| provider()).collect()
}

fn rows() -> Vec<Case> {
    vec![
        case("a-b-a", true, |ground| row(ground, "a-b-a", Host::recorded, &["1", "2", "3"])),
        case("five-in-a-row", false, |ground| {
            row(ground, "five-in-a-row", Host::start, &["1", "2", "3", "4", "5", "6"])
        }),
    ]
}

fn row(ground: &Ground, name: &str, starts: Starts, numbers: &[&str]) -> Result<String> {
    let version = |number: &&str| Ok((number.to_string(), ground.version(number, Kind::Good)?));
    let versions = numbers.iter().map(version).collect::<Result<Vec<_>>>()?;
    story::row(&ground.profile, name, starts, &versions)
}

fn bads() -> Vec<Case> {
    let case = |bad: &'static bad::Bad| {
        case(format!("bad-{}", bad.name), ALWAYS.contains(&bad.name), |ground| {
            bad::show(bad, ground)
        })
    };
    bad::BAD.iter().map(case).collect()
}

fn refusals() -> Vec<Case> {
    vec![
        case("refused-feeds", false, refused::feeds),
        case("broken-streams", false, refused::streams),
    ]
}

/// What else a host goes through.
fn hosts() -> Vec<Case> {
    let mut cases = vec![
        case("changed-by-hand", false, by_hand::show),
        case("watchdog", false, watchdog::show),
        case("power-cuts-booted", false, cuts::show),
        case("removal-cut-off", false, cut_off::show),
    ];
    cases.extend(twin::ALL.iter().map(|(name, comes)| {
        case(format!("twin-{name}"), false, |ground| twin::show(name, *comes, ground))
    }));
    cases
}

fn firsts() -> Vec<Case> {
    let case = |way: &'static firsts::Way| {
        case(format!("first-boots-{}", way.name), false, |ground| firsts::show(way, ground))
    };
    firsts::WAYS.iter().map(case).collect()
}

/// Versions on trial without an update, on the shipped disk.
fn trials() -> Vec<Case> {
    let case = |name: &'static str| {
        case(format!("trial-{name}"), false, move |ground| {
            let profile = Profile::find(&ground.profile)?;
            bake(&profile, &Build::plain(&profile.name, None))?;
            health::show(name, &Baked::of(&profile.output())?.disk)
        })
    };
    health::names().map(case).collect()
}

/// The verb.
pub(crate) fn update(options: &Options) -> Result<()> {
    let cases = cases();
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    let wanted = |case: &&Case| match &options.only {
        Some(name) => case.name == *name,
        None => options.full || case.always,
    };
    let chosen: Vec<&Case> = cases.iter().filter(wanted).collect();
    if chosen.is_empty() {
        bail!("no case has that name: `cargo xtask test-update --list` prints them");
    }
    let consent = Consent::from_flag(options.yes);
    doctor::ready(Need::Build, consent)?;
    doctor::ready(Need::Boot, consent)?;
    doctor::ready(Need::Test, consent)?;
    compile()?;
    let ground =
        Ground::new(&options.profile, if options.short { Depth::Short } else { Depth::Whole });
    let done = Done::of(&ground, options.again)?;
    let outcomes = pairs(chosen, |case| {
        let name = &case.name;
        if options.full && done.has(name) {
            println!("done    {name} (in an earlier run)");
            return Ok(());
        }
        println!("begin   {name}");
        let start = Instant::now();
        let outcome = (case.show)(&ground);
        let seconds = start.elapsed().as_secs();
        match outcome {
            Ok(seen) => {
                println!("ok      {name} in {seconds} s: {seen}");
                if !options.short {
                    done.add(name, seconds, &seen)?;
                }
                Ok(())
            }
            Err(error) => {
                println!("FAILED  {name} in {seconds} s: {error:#}");
                Err(error.context(name.clone()))
            }
        }
    });
    let failed: Vec<String> =
        outcomes.into_iter().filter_map(|one| Some(one.err()?.to_string())).collect();
    if !failed.is_empty() {
        bail!("{} cases failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

/// What went well, kept between runs as long as the images stay the same. Runs side by side add to
/// one file.
struct Done {
    file: PathBuf,
}

impl Done {
    fn of(ground: &Ground, again: bool) -> Result<Done> {
        let file = target().join("update").join(&ground.profile).join("done");
        let root_hash = ground.version("1", Kind::Good)?.baked.root_hash.unwrap_or_default();
        let done = Done { file };
        if again || done.text().lines().next() != Some(root_hash.as_str()) {
            versions::put(&done.file, format!("{root_hash}\n").as_bytes())?;
        }
        Ok(done)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.text().lines().any(|line| line.split('\t').next() == Some(name))
    }

    fn add(&self, name: &str, seconds: u64, seen: &str) -> Result<()> {
        let line = format!("{name}\t{seconds} s\t{seen}\n");
        let file = std::fs::OpenOptions::new().append(true).open(&self.file);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .with_context(|| format!("note in `{}` what went well", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_well_in_runs_side_by_side_is_kept() {
        let file = target().join("scratch/xtask-done");
        versions::put(&file, b"hash\n").unwrap();
        let (one, other) = (Done { file: file.clone() }, Done { file });
        one.add("a", 1, "seen").unwrap();
        other.add("b", 2, "seen").unwrap();
        for done in [one, other] {
            assert!(done.has("a") && done.has("b") && !done.has("c"));
        }
    }

    #[test]
    fn every_case_has_a_name_of_its_own_and_those_of_each_run_are_there() {
        let cases = cases();
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let always: Vec<&Case> = cases.iter().filter(|case| case.always).collect();
        assert_eq!(always.len(), 3);
    }
}
