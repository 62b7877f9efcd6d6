//! `cargo xtask bench`: what baking costs, beside the distribution's own installer.
//!
//! Every round does each case once, so that whatever else the machine does meets all of them; the
//! table holds medians. CPU seconds (user and system, the whole process tree) are the number to
//! trust; wall time depends on the neighbours. The installer makes a directory and no more; the
//! program makes the signed disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::Build;
use crate::doctor::{self, Consent, Need};
use crate::image::{Profile, bake, compile};
use crate::judge::Installation;
use crate::locked::{copy, furnish, lock, packages, text};
use crate::run::{list, run, target};
use crate::stages::{everything_ran, named, nothing_to_do, stages};

mod meter;
mod repack;

use meter::{Cost, measure, median};

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`, or the path of a profile.
    #[arg(default_value = "mini")]
    profile: String,
    /// How often each case is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The package whose new build changes one of its files.
    #[arg(long, default_value = "libssl3t64", value_name = "PACKAGE")]
    changed: String,
    /// Without the distribution's installer.
    #[arg(long)]
    alone: bool,
    /// Where the package archive is, when the profile must be locked or packages are missing.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
}

/// What is measured, in the order of the table.
const CASES: &[&str] = &[
    "installer, same packages from local files",
    "packages downloaded, nothing imported",
    "all packages imported",
    "one package changed",
    "one file of the profile changed",
    "nothing changed",
];

/// The verb.
pub(crate) fn bench(options: &Options) -> Result<()> {
    doctor::ready(Need::Test, Consent::from_flag(options.yes))?;
    compile()?;
    let profile = Profile::find(&options.profile)?;
    bake(&profile, &Build::plain(&options.profile, options.mirror.clone()))?;
    let work = target().join("bench");
    clear(&work)?;
    let installer = match options.alone {
        true => None,
        false => Some(Installer::make(&profile, &work)?),
    };
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); CASES.len()];
    for round in 0..options.rounds.max(1) {
        println!("round {}", round + 1);
        let folder = work.join(format!("{round}"));
        let place = Place::make(&profile, &folder)?;
        let mut round_costs = one_round(&profile, options, &place, round)?;
        if let Some(installer) = &installer {
            round_costs.insert(0, (0, installer.install(&folder)?));
        }
        for (case, cost) in round_costs {
            println!("  {:42} {}", CASES[case], cost.line());
            costs[case].push(cost);
        }
        clear(&folder)?;
    }
    clear(&work)?;
    println!("\n{}", table(&profile, &costs)?);
    Ok(())
}

/// Each case once; the program's own list of stages shows that the case was what it says.
fn one_round(
    profile: &Profile,
    options: &Options,
    place: &Place,
    round: usize,
) -> Result<Vec<(usize, Cost)>> {
    let packages = packages(&text(&place.lock)?)?;
    let mut costs = Vec::new();
    let (cost, said) = place.bake(&[])?;
    everything_ran(&said, packages.len())?;
    costs.push((1, cost));

    let primed = Place::make(profile, &place.folder.join("primed"))?;
    primed.import_only()?;
    let (cost, said) = primed.bake(&[])?;
    let all = stages(&said)?;
    if named(&all, "import")?.ran > 0 || all.iter().any(|s| s.name != "import" && s.ran == 0) {
        bail!("only the packages were imported before, and the program says:\n{said}");
    }
    costs.push((2, cost));
    clear(&primed.folder)?;

    repack::change(&options.changed, round, &place.store(), &place.lock)?;
    let (cost, said) = place.bake(&[])?;
    let all = stages(&said)?;
    if named(&all, "import")?.ran != 1 || named(&all, "freeze")?.ran != 1 {
        bail!("`{}` changed, and the program says:\n{said}", options.changed);
    }
    costs.push((3, cost));

    place.change_profile(profile, round)?;
    let (cost, said) = place.bake(&[])?;
    let all = stages(&said)?;
    if named(&all, "import")?.ran > 0 || named(&all, "merge")?.ran == 0 {
        bail!("a file of the profile changed, and the program says:\n{said}");
    }
    costs.push((4, cost));

    let (cost, said) = place.bake(&[])?;
    nothing_to_do(&said)?;
    costs.push((5, cost));
    Ok(costs)
}

/// A folder with its own store, lock, keys and profiles.
struct Place {
    folder: PathBuf,
    profile: PathBuf,
    lock: PathBuf,
}

impl Place {
    fn make(profile: &Profile, folder: &Path) -> Result<Place> {
        let locks = folder.join("locks");
        std::fs::create_dir_all(&locks).with_context(|| format!("make `{}`", locks.display()))?;
        let profiles = profile.file.parent().context("find the profile's folder")?;
        copy(profiles, &folder.join("profiles"))?;
        copy(&target().join("keys"), &folder.join("keys"))?;
        let own = locks.join(format!("{}.lock", profile.name));
        copy(&lock(profile), &own)?;
        furnish(&folder.join("store"), &text(&own)?)?;
        let name = profile.file.file_name().context("read the profile's name")?;
        Ok(Place {
            folder: folder.to_owned(),
            profile: folder.join("profiles").join(name),
            lock: own,
        })
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(target().join("debug/hardtack"));
        command.arg("image").arg(&self.profile).arg("--locked").args(more);
        for name in ["store", "keys", "locks", "output"] {
            command.arg(format!("--{name}")).arg(self.folder.join(name));
        }
        command
    }

    fn bake(&self, more: &[&str]) -> Result<(Cost, String)> {
        measure(&self.command(more), &self.folder).context("measure the program")
    }

    /// Reads every package and stops there: MERGE refuses a rule for a path that is not there.
    fn import_only(&self) -> Result<()> {
        let rules = self.folder.join("stop");
        copy(&self.folder.join("profiles/rules"), &rules)?;
        for distribution in list(&rules)? {
            let stop = "about: stops here\nmodes:\n  no/such/path: { mode: \"0644\" }\n";
            let file = distribution.join("_distribution.yaml");
            let own = text(&file)?;
            let changed = match own.contains("\nmodes:\n") {
                true => {
                    own.replacen("\nmodes:\n", "\nmodes:\n  no/such/path: { mode: \"0644\" }\n", 1)
                }
                false => format!("{own}{}", stop.trim_start_matches("about: stops here\n")),
            };
            std::fs::write(&file, changed)
                .with_context(|| format!("write `{}`", file.display()))?;
        }
        let mut command = self.command(&[]);
        let output = command.arg("--rules").arg(&rules).output().context("start the program")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || !said.contains("no/such/path") {
            bail!("the program was to stop behind the packages, and said:\n{said}");
        }
        Ok(())
    }

    /// Another file in the profile's own folder.
    fn change_profile(&self, profile: &Profile, round: usize) -> Result<()> {
        let folder = self.folder.join(format!("profiles/{}.d/usr/lib", profile.name));
        std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
        std::fs::write(folder.join("bench"), format!("{round}\n")).context("change the profile")
    }
}

/// The distribution's own installer and a repository of the locked packages.
struct Installer {
    installation: Installation,
    repository: PathBuf,
    root: PathBuf,
}

impl Installer {
    fn make(profile: &Profile, work: &Path) -> Result<Installer> {
        let home = work.join("installer");
        let installation = Installation::new(&text(&lock(profile))?, &home)?;
        let repository = installation.repository()?;
        Ok(Installer { installation, repository, root: home.join("root") })
    }

    /// Installs with the packages' scripts into a directory.
    fn install(&self, scratch: &Path) -> Result<Cost> {
        let command = self.installation.command(&self.repository, "directory", &self.root)?;
        let (cost, _) = measure(&command, scratch).context("measure the installer")?;
        clear(&self.root)?;
        Ok(cost)
    }
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        run(Command::new("rm").arg("-rf").arg(folder))?;
    }
    Ok(())
}

/// The table of `docs/performance.md`.
fn table(profile: &Profile, costs: &[Vec<Cost>]) -> Result<String> {
    let middle: Vec<Option<Cost>> = costs.iter().map(|costs| median(costs)).collect();
    let installer = middle.first().copied().flatten();
    let mut lines = vec![
        format!("| {} | CPU s | wall s | peak MiB | CPU, of the installer's |", profile.name),
        "|---|---|---|---|---|".to_owned(),
    ];
    for (case, cost) in CASES.iter().zip(&middle) {
        let Some(cost) = cost else { continue };
        let ratio = installer.map_or("–".to_owned(), |installer| {
            match cost.cpu / installer.cpu.max(0.01) {
                whole if whole >= 0.995 => format!("{whole:.2}"),
                part => format!("1/{:.0}", 1.0 / part.max(0.000_1)),
            }
        });
        let Cost { cpu, wall, peak } = cost;
        let peak = peak / 1024;
        lines.push(format!("| {case} | {cpu:.2} | {wall:.2} | {peak} | {ratio} |"));
    }
    Ok(lines.join("\n"))
}
