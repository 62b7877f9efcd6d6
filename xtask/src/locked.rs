//! A profile's lock, and the packages that it names, as files of the everyday store.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::image::Profile;
use crate::run::{run, target};

/// The lock that a profile ships, else the one that `cargo xtask image` keeps.
pub(crate) fn lock(profile: &Profile) -> PathBuf {
    let own = profile.file.with_extension("lock");
    let kept = target().join("locks").join(format!("{}.lock", profile.name));
    if own.is_file() { own } else { kept }
}

/// One package of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) size: String,
    /// SHA-256 of the archive.
    pub(crate) digest: String,
    /// What it is for, `host` among others.
    pub(crate) roles: Vec<String>,
}

impl Package {
    /// The archive's place below a store.
    pub(crate) fn blob(&self) -> PathBuf {
        Path::new("blobs").join(&self.digest[..2]).join(&self.digest[2..])
    }
}

/// The packages of a lock's text.
pub(crate) fn packages(lock: &str) -> Result<Vec<Package>> {
    let mut found = Vec::new();
    for line in lock.lines().filter(|line| line.starts_with("package  ")) {
        let words: Vec<&str> = line.split("  ").collect();
        let [_, name, version, architecture, size, digest, .., roles, _] = words.as_slice() else {
            bail!("read the lock's line `{line}`: it is too short");
        };
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("read the lock's line `{line}`: it has no digest in the sixth column");
        }
        let roles = roles.split(',').map(str::to_owned).collect();
        let [name, version, architecture] = [*name, *version, *architecture].map(str::to_owned);
        let [size, digest] = [*size, *digest].map(str::to_owned);
        found.push(Package { name, version, architecture, size, digest, roles });
    }
    if found.is_empty() {
        bail!("the lock names no package");
    }
    Ok(found)
}

/// Makes a store in `folder` that holds the packages of a lock's text and no result of any stage.
pub(crate) fn furnish(folder: &Path, lock: &str) -> Result<()> {
    for package in packages(lock)? {
        let blob = package.blob();
        let shard = folder.join(&blob);
        let shard = shard.parent().context("find the shard of a blob")?;
        std::fs::create_dir_all(shard).with_context(|| format!("make `{}`", shard.display()))?;
        copy(&target().join("store").join(&blob), &folder.join(&blob))?;
    }
    Ok(())
}

/// Copies a file or a folder with all that it holds.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").args(["-R", "--reflink=auto"]).arg(from).arg(to))
}

/// Reads a text file.
pub(crate) fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_a_lock_must_have_its_digest() {
        let digest = "0".repeat(64);
        let rest = "debian  pool/a.deb  a  1  -  -  index  F  host,initrd  -";
        let line = format!("package  a  1  all  3  {digest}  {rest}\n");
        let found = packages(&format!("lock  1\n{line}")).unwrap();
        assert_eq!((found.len(), found[0].digest.as_str(), &*found[0].name), (1, &*digest, "a"));
        assert_eq!(found[0].roles, ["host", "initrd"]);
        assert!(packages(&format!("lock  1\n{line}package  b  1\n")).is_err());
        let short = line.replace(&digest, &digest[1..]);
        assert!(packages(&format!("lock  1\n{short}")).is_err());
        assert!(packages("lock  1\n").is_err());
    }
}
