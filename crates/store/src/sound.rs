//! Finding what is damaged, and removing what nobody needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::files::{BLOBS, INPUTS, LOCKS, QUARANTINE, RESULTS, TEMPORARY, blob_of, make, unseal};
use crate::{Digest, Store, list, parallel, reached};

/// Something in the store that is not what its name says. It was set aside: whatever makes or
/// fetches it makes it anew.
#[derive(Debug)]
pub struct Damaged {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, why } = self;
        write!(f, "`{name}` in the store {why}")
    }
}

impl std::error::Error for Damaged {}

/// What [`Store::verify`] saw.
#[derive(Debug, Default)]
pub struct Verified {
    /// Sound blobs.
    pub blobs: usize,
    /// Sound results.
    pub results: usize,
    /// What was set aside.
    pub damaged: Vec<Damaged>,
}

impl Store {
    /// Reads every blob and result; what is damaged is set aside.
    pub fn verify(&self) -> Result<Verified> {
        let blobs = self.files(BLOBS)?;
        let checked = parallel(&blobs, |(path, name)| {
            let Ok(digest) = name.parse::<Digest>() else {
                return Ok(Some(self.set_aside(
                    path,
                    &stray(path),
                    "is no blob's name".to_owned(),
                )));
            };
            let found = match fs::symlink_metadata(path) {
                Ok(found) if found.is_file() => blob_of(path)?.digest,
                // Another build may have set it aside.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                _ => return Ok(Some(self.set_aside(path, name, "is no file".to_owned()))),
            };
            if found == digest {
                self.trust(digest);
                return Ok(None);
            }
            Ok(Some(self.set_aside(path, name, format!("has the digest {found}"))))
        })?;
        let mut damaged: Vec<Damaged> = checked.into_iter().flatten().collect();
        let sound = blobs.len() - damaged.len();
        let results = self.files(RESULTS)?;
        let before = damaged.len();
        for (path, name) in &results {
            let plain = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
            if !plain || fs::read(path).ok().and_then(unseal).is_none() {
                let name = if name.parse::<Digest>().is_ok() { name } else { &stray(path) };
                damaged.push(self.set_aside(path, name, "is a torn result".to_owned()));
            }
        }
        let results = results.len() - (damaged.len() - before);
        Ok(Verified { blobs: sound, results, damaged })
    }

    /// Files of a part with two-letter folders: path, and the name that folder and file spell.
    fn files(&self, part: &str) -> Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        for folder in list(&self.root().join(part))? {
            for path in list(&folder)? {
                let name = format!("{}{}", stray(&folder), stray(&path));
                files.push((path, name));
            }
        }
        Ok(files)
    }
}

/// The last component of a path, for people.
fn stray(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A store that nobody else has open, nor opens as long as this lives.
pub struct Sole(Store);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes; a content that the pool names too stays on disk until the pool drops it.
    pub bytes: u64,
}

impl Sole {
    /// Opens the store in `root` for oneself.
    ///
    /// # Errors
    /// When a build has it open.
    pub fn open(root: &Path) -> Result<Self> {
        let hold = make(root)?;
        if hold.try_lock().is_err() {
            bail!("the store `{}` is in use: wait for the builds that use it", root.display());
        }
        Ok(Self(Store::alone(root, hold)))
    }

    /// The store itself.
    pub fn store(&self) -> &Store {
        &self.0
    }

    /// Removes what was half-written or set aside, results that nobody used since `before`, and
    /// blobs older than that which no remaining result reaches.
    pub fn sweep(&self, before: SystemTime) -> Result<Swept> {
        let store = &self.0;
        let mut swept = Swept::default();
        for part in [TEMPORARY, LOCKS, QUARANTINE] {
            let folder = store.root().join(part);
            let left = if folder.exists() { list(&folder)? } else { vec![] };
            left.iter().try_for_each(|path| swept.remove(path))?;
        }
        let mut needed: BTreeSet<Digest> = BTreeSet::new();
        for (path, _) in store.files(RESULTS)? {
            let output =
                unseal(fs::read(&path).with_context(|| format!("read `{}`", path.display()))?);
            let Some(output) = output.filter(|_| !is_older(&path, before)) else {
                swept.remove(&path)?;
                continue;
            };
            let reached = reached(&output)?;
            needed.extend(reached.blobs.iter().map(|blob| blob.digest));
            for id in &reached.trees {
                needed.insert(id.digest);
                // A result whose tree is gone is a miss, and keeps nothing.
                needed
                    .extend(store.tree(id).iter().flat_map(|tree| tree.blobs()).map(|b| b.digest));
            }
        }
        let results: BTreeSet<String> =
            store.files(RESULTS)?.into_iter().map(|(_, name)| name).collect();
        for (path, name) in store.files(INPUTS)? {
            if !results.contains(&name) && is_older(&path, before) {
                swept.remove(&path)?;
            }
        }
        for (path, name) in store.files(BLOBS)? {
            let kept = name.parse().is_ok_and(|digest| needed.contains(&digest));
            if !kept && is_older(&path, before) {
                swept.remove(&path)?;
            }
        }
        Ok(swept)
    }
}

impl Swept {
    fn remove(&mut self, path: &Path) -> Result<()> {
        let about = || format!("remove `{}`", path.display());
        let found = fs::symlink_metadata(path).with_context(about)?;
        if found.is_dir() {
            return fs::remove_dir_all(path).with_context(about);
        }
        fs::remove_file(path).with_context(about)?;
        self.files += 1;
        self.bytes += found.len();
        Ok(())
    }
}

/// Whether a file was last written or used before `moment`; one that does not say is not.
fn is_older(path: &Path, moment: SystemTime) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|modified| modified < moment)
}
