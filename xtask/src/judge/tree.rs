//! `cargo xtask judge tree`: our trees before those that foreign programs make.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::compare::{Difference, differences};
use super::exact;
use super::install::{Installation, Made};
use super::list::List;
use super::walk::Walk;
use crate::Build;
use crate::doctor::{self, Consent, Need};
use crate::image::{Profile, bake, compile, hardtack};
use crate::run::{run, target, top};

/// The reason of the list that says what systemd-tmpfiles does, and is checked.
const AT_BOOT: &str = "made at boot by tmpfiles.d";

#[derive(Args)]
pub(crate) struct Options {
    /// A name in `profiles/`, or the path of a profile.
    #[arg(default_value = "mini")]
    profile: String,
    /// Where the package archive is, when the machine's own apt configuration names none.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// The verb: bakes the profile, then judges its tree.
pub(super) fn verb(options: &Options) -> Result<()> {
    let profile = Profile::find(&options.profile)?;
    doctor::ready(Need::Test, Consent::No)?;
    compile()?;
    bake(&profile, &Build::plain(&options.profile, options.mirror.clone()))?;
    judge(&profile)
}

/// Judges the tree of a profile that has been baked.
pub(crate) fn judge(profile: &Profile) -> Result<()> {
    let home = target().join("judge").join(&profile.name);
    std::fs::create_dir_all(&home).with_context(|| format!("make `{}`", home.display()))?;
    let installed = installed(profile, &home)?;
    let image = ours(profile, "image", &home)?;
    let mut failed = 0;
    let said = exact::judge(&image, &home, &installed.at_boot)?;
    for outcome in said.into_iter().chain([installed.report()]) {
        match outcome {
            Ok(line) => println!("ok      {line}"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {error:#}");
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} judges of `{}` disagree", exact::JUDGES + 1, profile.name);
    }
    Ok(())
}

/// What comparing with mmdebstrap found.
struct Compared {
    judged: usize,
    ours: usize,
    covered: Vec<(String, usize)>,
    /// What the list says to be made at boot; another judge sees to that.
    at_boot: Vec<String>,
    open: Vec<String>,
    stale: Vec<String>,
}

fn installed(profile: &Profile, home: &Path) -> Result<Compared> {
    let lock = lock(profile)?;
    let lock = std::fs::read_to_string(&lock)
        .with_context(|| format!("read the lock `{}`", lock.display()))?;
    let installation = Installation::new(&lock, home)?;
    let start = Instant::now();
    let made = installation.make()?;
    let how = if made == Made::Anew { "installed" } else { "installed before" };
    println!(
        "mmdebstrap: {} packages {how}, {} s",
        installation.count(),
        start.elapsed().as_secs()
    );
    let theirs = Walk::of(&installation.archive())?;
    let own = Walk::of(&ours(profile, "installed", home)?)?;
    let (elsewhere, others) = installation.elsewhere(&theirs);
    let found = differences(&theirs, &own, &elsewhere);
    let file = top().join("xtask/judge/tree.list");
    let about = || format!("read `{}`", file.display());
    let list = std::fs::read_to_string(&file).with_context(about)?;
    let verdict = List::parse(&list, &profile.name).with_context(about)?.judge(found);
    let absent = elsewhere.iter().filter(|path| !own.0.contains_key(*path)).count();
    let at_boot = verdict.covered.get(AT_BOOT).into_iter().flatten();
    let at_boot = at_boot.map(|difference| difference.path.clone()).collect();
    let count = |(reason, all): (String, Vec<Difference>)| (reason, all.len());
    let mut covered: Vec<(String, usize)> = verdict.covered.into_iter().map(count).collect();
    covered.push((format!("of the {others} packages that the image assumes"), absent));
    // Only the shipped profiles show that every line of the list is still needed.
    let shipped = profile.file.starts_with(top().join("profiles"));
    Ok(Compared {
        judged: theirs.0.len(),
        ours: own.0.len(),
        covered,
        at_boot,
        open: verdict.open.iter().map(ToString::to_string).collect(),
        stale: if shipped { verdict.stale } else { Vec::new() },
    })
}

impl Compared {
    fn report(mut self) -> Result<String> {
        self.covered.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total: usize = self.covered.iter().map(|(_, count)| count).sum();
        println!("mmdebstrap: {} entries, ours {}; {total} differences:", self.judged, self.ours);
        for (reason, count) in &self.covered {
            println!("{count:7}  {reason}");
        }
        for line in &self.open {
            println!("NEW     {line}");
        }
        for line in &self.stale {
            println!("STALE   {line} covers nothing");
        }
        if !self.open.is_empty() || !self.stale.is_empty() {
            bail!(
                "{} differences are not in `xtask/judge/tree.list`, {} of its lines cover nothing",
                self.open.len(),
                self.stale.len()
            );
        }
        Ok("mmdebstrap: every difference is reviewed".to_owned())
    }
}

/// Our tree as an archive.
fn ours(profile: &Profile, at: &str, home: &Path) -> Result<PathBuf> {
    let file = home.join(format!("ours-{at}.tar"));
    let mut command = hardtack();
    command.arg("tree").arg(&profile.file).args(["--locked", "--at", at, "--tar"]).arg(&file);
    for (option, folder) in [("--store", "store"), ("--keys", "keys"), ("--locks", "locks")] {
        command.arg(option).arg(target().join(folder));
    }
    run(&mut command).with_context(|| format!("make the tree of `{}`", profile.name))?;
    Ok(file)
}

/// The lock that baking obeyed or made.
fn lock(profile: &Profile) -> Result<PathBuf> {
    let own = profile.file.with_extension("lock");
    if own.exists() {
        return Ok(own);
    }
    let name = own.file_name().context("name the lock")?.to_owned();
    Ok(target().join("locks").join(name))
}
