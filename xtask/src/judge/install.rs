//! The packages of a lock, installed with their scripts by mmdebstrap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::walk::Walk;
use crate::judges;
use crate::locked::{Package, packages};
use crate::mirrors;
use crate::run::{list, read, run, target, tool};

const SUITE: &str = "trixie";
/// Where an installed system says which package owns which path.
const OWNED: &str = "var/lib/dpkg/info/";

/// What is installed: the locked packages, and a place to work in.
pub(crate) struct Installation {
    locked: Vec<Package>,
    home: PathBuf,
}

/// How an installation came about.
#[derive(PartialEq, Eq)]
pub(super) enum Made {
    Anew,
    Before,
}

/// The packages with the role `host` in the text of a lock.
fn host_packages(lock: &str) -> Result<Vec<Package>> {
    let mut found = packages(lock)?;
    found.retain(|package| package.roles.iter().any(|role| role == "host"));
    if found.is_empty() {
        bail!("the lock names no package of the host");
    }
    Ok(found)
}

impl Installation {
    /// The host's packages in the text of a lock, to be installed below `home`.
    pub(crate) fn new(lock: &str, home: &Path) -> Result<Installation> {
        std::fs::create_dir_all(home).with_context(|| format!("make `{}`", home.display()))?;
        Ok(Installation { locked: host_packages(lock)?, home: home.to_owned() })
    }

    pub(super) fn count(&self) -> usize {
        self.locked.len()
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.home.join("installed.tar")
    }

    /// Makes the archive of the installed system, unless one of these very packages is there.
    pub(super) fn make(&self) -> Result<Made> {
        let stamp = self.home.join("stamp");
        let mut wanted = String::new();
        for locked in &self.locked {
            writeln!(wanted, "{} {}", locked.name, locked.digest)?;
        }
        if self.archive().exists() && std::fs::read_to_string(&stamp).is_ok_and(|s| s == wanted) {
            return Ok(Made::Before);
        }
        let _ = std::fs::remove_file(&stamp);
        let repository = self.repository()?;
        let fresh = self.home.join("installed.tar.part");
        let log = self.home.join("log");
        let out = std::fs::File::create(&log).context("make mmdebstrap's log")?;
        let mut command = self.command(&repository, "tar", &fresh)?;
        command.stdin(Stdio::null()).stdout(out.try_clone().context("share mmdebstrap's log")?);
        let status = command.stderr(out).status().context("start `mmdebstrap`")?;
        if !status.success() {
            bail!("`mmdebstrap` ended with {status}: see `{}`", log.display());
        }
        std::fs::rename(&fresh, self.archive()).context("put the installed system in place")?;
        write(&stamp, &wanted)?;
        Ok(Made::Anew)
    }

    /// A repository of the locked packages and those that the image does without.
    pub(crate) fn repository(&self) -> Result<PathBuf> {
        let repository = self.home.join("repository");
        let _ = std::fs::remove_dir_all(&repository);
        std::fs::create_dir_all(&repository)
            .with_context(|| format!("make `{}`", repository.display()))?;
        let mut index = String::new();
        for locked in &self.locked {
            index += &add_locked(locked, &repository)?;
        }
        write(&repository.join("Packages"), &index)?;
        for file in self.assumed(&repository).context("bring what the image does without")? {
            index += &stanza(&file, &digest(&file)?)?;
        }
        write(&repository.join("Packages"), &index)?;
        // mmdebstrap looks for essential packages in the suite that it is told.
        let release = format!("Suite: {SUITE}\nCodename: {SUITE}\n");
        write(&repository.join("Release"), &release)?;
        Ok(repository)
    }

    /// What scripts and the package manager need, and no image holds: downloaded by apt, which
    /// prefers the locked packages to any other.
    fn assumed(&self, repository: &Path) -> Result<Vec<PathBuf>> {
        let apt = self.home.join("apt");
        let _ = std::fs::remove_dir_all(&apt);
        let mirrors = mirrors::of_machine(Path::new("/etc"))?;
        let configuration = judges::configure(&apt, &mirrors, &judges::keyring()?)?;
        let sources = apt.join("sources.list");
        let archives = std::fs::read_to_string(&sources).context("read apt's sources")?;
        let own = format!("deb [trusted=yes] file:{} ./\n", repository.display());
        write(&sources, &(own + &archives))?;
        let preferences = apt.join("preferences");
        write(&preferences, "Package: *\nPin: origin \"\"\nPin-Priority: 1001\n")?;
        let command = || {
            let mut command = Command::new("apt-get");
            command.arg("-c").arg(&configuration).args(["-qq", "-y", "-o"]);
            command.arg(format!("Dir::Etc::Preferences={}", preferences.display()));
            command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        run(command().args(["-o", "APT::Update::Error-Mode=any", "update"]))?;
        run(command()
            .args(["--download-only", "install", "?and(?essential,?not(?exact-name(apt)))"])
            .args(self.locked.iter().map(|locked| &locked.name)))?;
        let mut added = Vec::new();
        for file in list(&apt.join("cache/archives"))? {
            if file.extension().is_some_and(|end| end == "deb") {
                let to = repository.join(file.file_name().context("name an archive")?);
                std::fs::rename(&file, &to).context("move an archive")?;
                added.push(to);
            }
        }
        let _ = std::fs::remove_dir_all(&apt);
        Ok(added)
    }

    /// The installer, from a repository into `to`, of one of its own formats.
    pub(crate) fn command(&self, repository: &Path, format: &str, to: &Path) -> Result<Command> {
        let names: Vec<&str> = self.locked.iter().map(|locked| locked.name.as_str()).collect();
        let mut command = tool("mmdebstrap")?;
        command
            .args(["--variant=essential", "--architectures=amd64"])
            .arg(format!("--format={format}"))
            .arg("--aptopt=APT::Sandbox::User \"root\"")
            .arg(format!("--include={}", names.join(",")))
            .arg(SUITE)
            .arg(to)
            .arg(format!("deb [trusted=yes] copy:{} ./", repository.display()))
            .env("LC_ALL", "C");
        Ok(command)
    }

    /// Paths that belong to installed packages outside the lock, and to none of it; and how many
    /// such packages there are.
    pub(super) fn elsewhere(&self, installed: &Walk) -> (BTreeSet<String>, usize) {
        let ours: BTreeSet<&str> = self.locked.iter().map(|locked| locked.name.as_str()).collect();
        let mut owned: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
        let mut others = 0;
        for path in installed.0.keys() {
            let name = path.strip_prefix(OWNED).and_then(|name| name.strip_suffix(".list"));
            let Some(name) = name.and_then(|name| name.split(':').next()) else { continue };
            let locked = ours.contains(name);
            others += usize::from(!locked);
            let text = String::from_utf8_lossy(installed.bytes(path).unwrap_or_default());
            let paths = text.lines().map(|line| real(installed, line.trim_start_matches('/')));
            owned.entry(locked).or_default().extend(paths);
        }
        let locked = owned.remove(&true).unwrap_or_default();
        let others_paths = owned.remove(&false).unwrap_or_default();
        (&others_paths - &locked, others)
    }
}

/// A path with links in its parents followed: packages may say `/bin/x` of what is `usr/bin/x`.
fn real(installed: &Walk, path: &str) -> String {
    let Some((parent, name)) = path.rsplit_once('/') else { return path.to_owned() };
    match installed.resolve(parent) {
        Some(parent) => format!("{parent}/{name}"),
        None => path.to_owned(),
    }
}

/// Puts a locked package from the store into the repository; its index entry. apt checks the
/// lock's digest.
fn add_locked(locked: &Package, repository: &Path) -> Result<String> {
    let Package { name, version, architecture, digest, .. } = locked;
    let blob = target().join("store").join(locked.blob());
    let blob = std::fs::canonicalize(&blob)
        .with_context(|| format!("find `{name}` in the store: bake the profile first"))?;
    let file = format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a"));
    let file = repository.join(file);
    symlink(&blob, &file).with_context(|| format!("link `{}`", file.display()))?;
    stanza(&file, digest)
}

/// The index entry of an archive.
fn stanza(file: &Path, digest: &str) -> Result<String> {
    let control = read(Command::new("dpkg-deb").arg("--field").arg(file))?;
    let control = String::from_utf8(control).context("read control data as UTF-8")?;
    let size = std::fs::metadata(file).context("ask for an archive's size")?.len();
    let name = file.file_name().and_then(|name| name.to_str()).context("name an archive")?;
    let control = control.trim_end();
    Ok(format!("{control}\nFilename: ./{name}\nSize: {size}\nSHA256: {digest}\n\n"))
}

fn digest(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_of_the_host_are_installed() {
        let digest = "ab".repeat(32);
        let line = |name: &str, roles: &str| {
            let rest = format!("debian  pool/x.deb  s  1  -  -  index  F  {roles}  -");
            format!("package  {name}  1-1  amd64  9  {digest}  {rest}\n")
        };
        let lock = format!("lock  1\n{}{}", line("a", "host,initrd"), line("b", "initrd"));
        let found = host_packages(&lock).unwrap();
        assert_eq!((found.len(), found[0].name.as_str()), (1, "a"));
        assert!(host_packages(&format!("lock  1\n{}", line("b", "initrd"))).is_err());
    }
}
