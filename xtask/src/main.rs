//! The project's own chores: `cargo xtask image`, `boot`, `test`, `check`, `tidy`, `doctor`.
//!
//! It stands outside `crates/`, depends on none of them and needs no library of the system, so
//! that it compiles on a bare machine and can say what the rest needs. It alone runs programs,
//! reads the clock and the environment.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "talking to a person is its job")]

mod agent;
mod bench;
mod boot;
mod check;
mod console;
mod container;
mod disk;
mod doctor;
mod given;
mod guest;
mod health;
mod image;
mod judge;
mod judges;
mod locked;
mod mirrors;
mod monitor;
mod more;
mod pairs;
mod powercut;
mod qemu;
mod refusals;
mod repro;
mod run;
mod stages;
mod test;
mod tidy;
mod twins;
mod update;
mod wheels;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Hardtack repository", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bake an image of a profile with development keys, into `target/images/<profile>`.
    Image {
        #[command(flatten)]
        build: Build,
        /// Install missing system packages without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Start an image in QEMU under Secure Boot, on a throw-away copy of its disk.
    Boot(boot::Options),
    /// Bake twice from empty stores, as different users at different times, and compare every byte.
    Repro(repro::Options),
    /// What baking costs, beside the distribution's own installer of the same packages.
    Bench(bench::Options),
    /// Build, run every test, bake and boot `mini` and `container-host`, refuse damaged disks.
    Test(test::Options),
    /// Record every write of a first boot, and look at the disk as a power cut would leave it.
    Powercut(powercut::Options),
    /// Updates from version to version in QEMU, good ones and bad ones, from a server on the loopback.
    TestUpdate(update::Options),
    /// Between a connection of a guest and a port of the loopback: started by QEMU.
    #[command(hide = true)]
    Pipe { port: u16 },
    /// Compare with what the distribution's own programs make of the same packages.
    #[command(subcommand)]
    Judge(judge::Judge),
    /// Format, lints, tidiness, licences, documentation: all that reads the source only.
    Check,
    /// The rules of the house that no compiler knows.
    Tidy,
    /// Build the program that runs one stage as one static file, into `target/static`.
    Worker,
    /// Look for what building, booting and testing need of this machine.
    Doctor {
        /// Install what is missing.
        #[arg(long)]
        fix: bool,
        /// Do not ask before installing system packages.
        #[arg(long)]
        yes: bool,
    },
}

/// Which image, and what the program `hardtack` is told beside it.
#[derive(Args, Clone)]
struct Build {
    /// A name in `profiles/`, or the path of a profile.
    #[arg(default_value = "container-host")]
    profile: String,
    /// Where the package archive is, when the machine's own apt configuration names none.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Resolve the packages anew and say what changed.
    #[arg(long)]
    update: bool,
    /// Fail instead of making or changing a lock.
    #[arg(long)]
    locked: bool,
    /// Accept an archive index whose validity has ended.
    #[arg(long)]
    allow_stale: bool,
    /// The image's version, instead of one derived from the lock's date.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Further arguments for `hardtack image`.
    #[arg(last = true)]
    rest: Vec<String>,
}

impl Build {
    /// A profile, and nothing special about it.
    fn plain(profile: &str, mirror: Option<String>) -> Build {
        let profile = profile.to_owned();
        Build {
            profile,
            mirror,
            update: false,
            locked: false,
            allow_stale: false,
            version: None,
            rest: Vec::new(),
        }
    }
}

fn main() -> ExitCode {
    match start(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(verb: Verb) -> Result<()> {
    match verb {
        Verb::Image { build, yes } => image::image(&build, doctor::Consent::from_flag(yes)),
        Verb::Boot(options) => boot::boot(&options),
        Verb::Repro(options) => repro::repro(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Test(options) => test::test(&options),
        Verb::Powercut(options) => powercut::powercut(&options),
        Verb::TestUpdate(options) => update::update(&options),
        Verb::Pipe { port } => update::pipe(port),
        Verb::Judge(what) => judge::judge(&what),
        Verb::Check => {
            doctor::ready(doctor::Need::Test, doctor::Consent::from_flag(false))?;
            check::check()
        }
        Verb::Tidy => tidy::tidy(),
        Verb::Worker => worker::worker(),
        Verb::Doctor { fix, yes } => doctor::doctor(fix, doctor::Consent::from_flag(yes)),
    }
}
