//! `cargo xtask judge closure`: apt chooses packages for the wishes that we lock, with
//! recommendations off and the packages that the rules assume installed already; both choices are
//! compared name by name and version by version.

mod apt;
mod list;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::apt::Apt;
use self::list::{Difference, List};
use crate::image::{Profile, compile, hardtack};
use crate::judges::RELEASE;
use crate::mirrors;
use crate::run::{list, read, target, top};

#[derive(Args)]
pub(crate) struct Options {
    /// Names in `profiles/`, paths of profiles, or sets of `closure/sets.txt`; all sets if none.
    profiles: Vec<String>,
    /// Where the package archive is, when the machine's own apt configuration names none.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Names and versions of packages.
type Choice = BTreeMap<String, String>;

/// The parts of an image, and whether a system's essential packages belong to each.
const ROLES: &[(&str, apt::Implied)] =
    &[("host", apt::Implied::Essential), ("initrd", apt::Implied::Nothing)];

/// The verb.
pub(crate) fn closure(options: &Options) -> Result<()> {
    compile()?;
    compare(&options.profiles, options.mirror.as_deref())
}

/// Every set of the list, with the program as it is compiled.
pub(crate) fn of_all(mirror: Option<&str>) -> Result<()> {
    compare(&[], mirror)
}

fn compare(names: &[String], mirror: Option<&str>) -> Result<()> {
    let known = List::read(include_str!("closure/sets.txt"))?;
    let home = target().join("closure");
    let mirrors = match mirror {
        Some(url) => mirrors::named(url),
        None => mirrors::of_machine(Path::new("/etc"))?,
    };
    let apt = Apt::new(&home.join("apt"), &mirrors)?;
    let all: Vec<String> = known.sets.keys().cloned().collect();
    let names = if names.is_empty() { &all } else { names };
    let mut failed = Vec::new();
    for name in names {
        let profile = match known.sets.get(name) {
            Some(packages) if !packages.is_empty() => written(&home, name, packages)?,
            _ => Profile::find(name)?.file,
        };
        let start = Instant::now();
        let lock = locked(&profile, &home.join(format!("{name}.lock")), mirror)
            .with_context(|| format!("lock `{name}`"))?;
        println!("        {name}: locked in {} s", start.elapsed().as_secs());
        for (role, implied) in ROLES {
            // A set's initrd is that of the profile that it extends.
            if *role != "host" && known.sets.get(name).is_some_and(|packages| !packages.is_empty())
            {
                continue;
            }
            let accepted = known.accepted(name);
            if let Err(error) = one(&apt, &profile, &lock, role, *implied, &accepted) {
                println!("FAILED  {name} {role}: {error:#}");
                failed.push(format!("{name} {role}"));
            }
        }
    }
    if !failed.is_empty() {
        bail!("we and apt choose differently for {}", failed.join(", "));
    }
    Ok(())
}

/// One part of an image, and what both say of it.
fn one(
    apt: &Apt,
    profile: &Path,
    lock: &str,
    role: &str,
    implied: apt::Implied,
    accepted: &[&Difference],
) -> Result<()> {
    let wish = wish::of(profile, role)?;
    let ours = chosen(lock, role)?;
    let start = Instant::now();
    let apts = apt.choose(&wish, &assumed(&wish)?, implied)?;
    let seconds = start.elapsed().as_secs();
    let listed = judge(&ours, &apts, accepted)?;
    let name = profile.file_stem().unwrap_or_default().display();
    println!(
        "ok      {name} {role}: {} wished, ours {} packages, apt's {} in {seconds} s, {listed} \
         listed differences",
        wish.len(),
        ours.len(),
        apts.len()
    );
    Ok(())
}

/// How many of the accepted differences occur: all of them, and nothing else may differ.
fn judge(ours: &Choice, apts: &Choice, accepted: &[&Difference]) -> Result<usize> {
    let only = |these: &Choice, those: &Choice| -> BTreeSet<String> {
        these.keys().filter(|name| !those.contains_key(*name)).cloned().collect()
    };
    let (mut us, mut them) = (only(ours, apts), only(apts, ours));
    let mut wrong = Vec::new();
    for one in accepted {
        let gone = |name: &&String| !us.contains(*name) && !them.contains(*name);
        let missing: Vec<_> = one.ours.iter().chain(&one.apts).filter(gone).cloned().collect();
        if !missing.is_empty() {
            wrong.push(format!("{} listed and no difference any more", missing.join(", ")));
        }
        us.retain(|name| !one.ours.contains(name));
        them.retain(|name| !one.apts.contains(name));
    }
    wrong.extend(us.iter().map(|name| format!("{name} {} ours alone", ours[name])));
    wrong.extend(them.iter().map(|name| format!("{name} {} apt's alone", apts[name])));
    for (name, version) in ours {
        if let Some(other) = apts.get(name).filter(|other| *other != version) {
            wrong.push(format!("{name} {version} ours, {other} apt's"));
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{}; mend the resolver, or list a provider's choice with its reason in \
             `xtask/src/judge/closure/sets.txt`",
            wrong.join("; ")
        );
    }
    Ok(accepted.len())
}

/// A profile that nobody ships: `mini` and some packages.
fn written(home: &Path, name: &str, packages: &[String]) -> Result<PathBuf> {
    let file = home.join(format!("{name}.yaml"));
    let parent = top().join("profiles/mini");
    let text = format!(
        "about: A set of the closure judge.\nextends: {}\npackages: [{}]\n",
        parent.display(),
        packages.join(", ")
    );
    std::fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
    Ok(file)
}

/// The lock of a profile, made anew from the archive of now.
fn locked(profile: &Path, lock: &Path, mirror: Option<&str>) -> Result<String> {
    let mut command = hardtack();
    command.arg("lock").arg(profile).arg("--output").arg(lock);
    command.arg("--rules").arg(top().join("profiles/rules"));
    if let Some(mirror) = mirror {
        command.arg("--mirror").arg(mirror);
    }
    let _ = std::fs::remove_file(lock);
    read(&mut command)?;
    std::fs::read_to_string(lock).with_context(|| format!("read `{}`", lock.display()))
}

/// The packages that a lock names for a role; its suites must be those that apt is shown.
fn chosen(lock: &str, role: &str) -> Result<Choice> {
    let mut suites = BTreeSet::new();
    let mut choice = Choice::new();
    for line in lock.lines() {
        let columns: Vec<&str> = line.split("  ").collect();
        match columns[..] {
            ["suite", _, suite, ..] => drop(suites.insert(suite.to_owned())),
            ["package", name, version, .., roles, _] if roles.split(',').any(|one| one == role) => {
                choice.insert(name.to_owned(), version.to_owned());
            }
            _ => {}
        }
    }
    let expected = ["", "-security", "-updates"].map(|end| format!("{RELEASE}{end}"));
    if suites != expected.iter().cloned().collect() {
        bail!("the lock's suites are {suites:?}, but apt is shown {expected:?}");
    }
    if choice.is_empty() {
        bail!("the lock names no package for `{role}`");
    }
    Ok(choice)
}

/// Packages that the rules assume, without those that are wished for by name.
fn assumed(wish: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in list(&top().join("profiles/rules/debian"))? {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("read rule `{}`", file.display()))?;
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if text.lines().any(|line| line.trim_end() == "assume: true") && !wish.contains(name) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> Choice {
        let words = text.split_whitespace().filter_map(|word| word.split_once('='));
        words.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    fn wrong(ours: &str, apts: &str, accepted: &[&Difference]) -> String {
        format!("{:#}", judge(&choice(ours), &choice(apts), accepted).unwrap_err())
    }

    #[test]
    fn only_listed_differences_pass_and_each_must_occur() {
        let list = List::read("set  s  a\ndiffers  s  mawk  gawk,x  why\n").unwrap();
        let accepted = list.accepted("s");
        let ours = choice("a=1 mawk=1");
        assert_eq!(judge(&ours, &choice("a=1 gawk=1 x=1"), &accepted).unwrap(), 1);
        assert_eq!(judge(&ours, &ours, &[]).unwrap(), 0);
        assert!(wrong("a=1 mawk=1", "a=1", &[]).contains("mawk 1 ours alone"));
        assert!(wrong("a=1", "a=1 b=2", &[]).contains("b 2 apt's alone"));
        assert!(wrong("a=1", "a=2", &[]).contains("a 1 ours, 2 apt's"));
        let gone = wrong("a=1 mawk=1", "a=1 gawk=1", &accepted);
        assert!(gone.contains("x listed and no difference any more"), "{gone}");
    }

    #[test]
    fn a_lock_of_other_suites_is_not_compared() {
        let lock = "suite  m  trixie  1  A\nsuite  m  trixie-updates  1  A\n\
                    suite  s  trixie-security  1  A\npackage  a  1  x  host,initrd  asked\n";
        assert_eq!(chosen(lock, "initrd").unwrap(), choice("a=1"));
        assert!(chosen(lock, "boot").is_err());
        assert!(chosen(&lock.replace("trixie-security", "sid"), "host").is_err());
    }
}
