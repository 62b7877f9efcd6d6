//! The files of a store's directory: making, reading, placing, listing.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::{Blob, Digest, Hasher};

/// Parts of a store's directory.
pub(crate) const BLOBS: &str = "blobs";
pub(crate) const RESULTS: &str = "results";
pub(crate) const INPUTS: &str = "inputs";
pub(crate) const LOCKS: &str = "locks";
pub(crate) const TEMPORARY: &str = "temporary";
pub(crate) const QUARANTINE: &str = "quarantine";

/// Makes what is missing of a store in `root`, and opens the file by which it is held.
pub(crate) fn make(root: &Path) -> Result<File> {
    let about = || format!("make the store `{}` (--store names another place)", root.display());
    for part in [BLOBS, RESULTS, INPUTS, LOCKS, TEMPORARY] {
        fs::create_dir_all(root.join(part)).with_context(about)?;
    }
    File::create(root.join("lock")).with_context(about)
}

/// A result without the line of its digest; nothing where it is not the result of that digest.
pub(crate) fn unseal(mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    const HEX: usize = 64;
    let line = sealed.get(..=HEX)?;
    let digest: Digest = std::str::from_utf8(&line[..HEX]).ok()?.parse().ok()?;
    let right = line[HEX] == b'\n' && Digest::of(&sealed[HEX + 1..]) == digest;
    right.then(|| sealed.split_off(HEX + 1))
}

/// The blob that a file is.
pub fn blob_of(path: &Path) -> Result<Blob> {
    let about = || format!("read `{}`", path.display());
    blob_from(&mut File::open(path).with_context(about)?).with_context(about)
}

/// The blob that the rest of a reader is.
pub fn blob_from(from: &mut dyn Read) -> Result<Blob> {
    const PIECE: usize = 1 << 20;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        let n = match from.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&piece[..n]);
    }
}

/// The bytes of a file that must not have more than `limit`.
///
/// # Errors
/// It cannot be read, or has more.
pub fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let about = || format!("read `{}`", path.display());
    let file = File::open(path).with_context(about)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).with_context(about)?;
    ensure!(bytes.len() as u64 <= limit, "`{}` has more than {limit} bytes", path.display());
    Ok(bytes)
}

/// Marks a result as used now. One that cannot be marked is still a result.
pub(crate) fn touch(path: &Path) {
    #[expect(clippy::disallowed_methods, reason = "how long ago it was used; reaches no byte")]
    let now = SystemTime::now();
    let _ = File::open(path).and_then(|file| file.set_times(FileTimes::new().set_modified(now)));
}

/// The entries of a directory, sorted by name: the house's only reading of one.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    #[expect(clippy::disallowed_methods, reason = "the one sorted wrapper")]
    let entries = fs::read_dir(directory);
    let entries = entries.with_context(|| format!("list `{}`", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    let renamed = fs::rename(from, to).or_else(|error| {
        let Some(parent) = to.parent() else { return Err(error) };
        fs::create_dir_all(parent)?;
        fs::rename(from, to)
    });
    renamed.with_context(|| format!("move `{}` to `{}`", from.display(), to.display()))
}
