//! A new build of one package, as an update would bring it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::locked::{packages, text};
use crate::run::{list, read, run};

/// Changes a shared library of the package `name` and puts the new archive into the store and the
/// lock; another `round`, another change.
pub(crate) fn change(name: &str, round: usize, store: &Path, lock: &Path) -> Result<()> {
    let old = text(lock)?;
    let package = packages(&old)?.into_iter().find(|package| package.name == name);
    let package = package.with_context(|| format!("find `{name}` in `{}`", lock.display()))?;
    let work = lock.with_file_name("repacked");
    let _ = std::fs::remove_dir_all(&work);
    let mut unpack = Command::new("dpkg-deb");
    run(unpack.arg("--raw-extract").arg(store.join(package.blob())).arg(&work))?;
    let library = library(&work)?.with_context(|| format!("find a library in `{name}`"))?;
    let mut bytes = std::fs::read(&library).context("read the library")?;
    bytes.extend_from_slice(format!("change {round}\n").as_bytes());
    std::fs::write(&library, bytes).context("change the library")?;
    let archive = lock.with_file_name("repacked.deb");
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "-z1", "--build"]).arg(&work).arg(&archive);
    read(&mut pack)?;

    let digest = String::from_utf8(read(Command::new("sha256sum").arg(&archive))?)
        .context("read the digest of the new archive")?;
    let digest = digest.split_whitespace().next().unwrap_or_default().to_owned();
    let size = std::fs::metadata(&archive).context("measure the new archive")?.len().to_string();
    let new = crate::locked::Package { size, digest, ..package.clone() };
    let place = store.join(new.blob());
    let shard = place.parent().context("find the shard of a blob")?;
    std::fs::create_dir_all(shard).with_context(|| format!("make `{}`", shard.display()))?;
    std::fs::rename(&archive, &place).context("put the new archive into the store")?;
    let line =
        |package: &crate::locked::Package| format!("  {}  {}  ", package.size, package.digest);
    std::fs::write(lock, old.replace(&line(&package), &line(&new))).context("change the lock")
}

/// The first shared library below a folder that is a file.
fn library(folder: &Path) -> Result<Option<std::path::PathBuf>> {
    for path in list(folder)? {
        let about = std::fs::symlink_metadata(&path).context("look at an unpacked file")?;
        if about.is_dir() {
            if let Some(found) = library(&path)? {
                return Ok(Some(found));
            }
        } else if about.is_file() && path.to_string_lossy().contains(".so") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
