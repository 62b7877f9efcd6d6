//! The directory that keeps blobs and results.
//!
//! `blobs/ab/cdef…` plain bytes by digest, `results/ab/cdef…` canonical results by key,
//! `locks/` one file per key being computed, `temporary/` what is being written.
//! A rebuildable result is not synced to disk: one that a crash tore is a miss.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Blob, Digest, Hasher, Reached, Scratch, Sink, Stage, Tree, TreeId, decode, encode, reached,
};

/// Blobs and results under one directory. Cheap to clone; safe to share between threads and
/// between processes.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    root: PathBuf,
    salt: Option<Digest>,
    serial: AtomicU64,
    runs: Mutex<Vec<Run>>,
}

/// One request for a stage's result, for the report at the end of a build.
#[derive(Clone, Debug)]
pub struct Run {
    /// The stage.
    pub stage: &'static str,
    /// What it was about (see [`Stage::about`]).
    pub about: String,
    /// Its key.
    pub key: Digest,
    /// Whether it ran.
    pub outcome: Outcome,
    /// Wall time.
    pub took: Duration,
}

/// How a result came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store had it.
    Kept,
    /// The stage ran.
    Ran,
}

impl Store {
    /// Opens the store in `root`, making it where it is missing. `salt` is mixed into every key:
    /// a development build passes the digest of its own program.
    pub fn open(root: &Path, salt: Option<Digest>) -> Result<Self> {
        for part in ["blobs", "results", "locks", "temporary"] {
            fs::create_dir_all(root.join(part))
                .with_context(|| format!("make the store `{}`", root.display()))?;
        }
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            salt,
            serial: AtomicU64::new(0),
            runs: Mutex::default(),
        })))
    }

    /// The result of `stage` for `input`: the kept one, or a new one.
    ///
    /// Two threads or processes that ask for one key run it once; the other waits.
    pub fn realize<I, O>(&self, stage: &Stage<I, O>, input: &I) -> Result<O>
    where
        I: Serialize + DeserializeOwned,
        O: Serialize + DeserializeOwned,
    {
        let began = now();
        let bytes = encode(input)?;
        let key = stage.key(&bytes, self.0.salt);
        let about = (stage.about)(input);
        let (output, outcome) = self
            .recall_or(key, || {
                let scratch = Scratch::new(self, stage.name, reached(&bytes)?);
                stage.run_erased(&bytes, &scratch)
            })
            .with_context(|| format!("stage `{}` of {about}", stage.name))?;
        if let Ok(mut runs) = self.0.runs.lock() {
            runs.push(Run { stage: stage.name, about, key, outcome, took: began.elapsed() });
        }
        decode(&output)
    }

    /// Whether the store could answer `stage` for `input` without running it, and the key.
    pub fn explain<I, O>(&self, stage: &Stage<I, O>, input: &I) -> Result<(Digest, Outcome)>
    where
        I: Serialize + DeserializeOwned,
        O: Serialize + DeserializeOwned,
    {
        let key = stage.key(&encode(input)?, self.0.salt);
        Ok((key, if self.recall(key).is_some() { Outcome::Kept } else { Outcome::Ran }))
    }

    /// Every request so far, in the order of their ends.
    pub fn runs(&self) -> Vec<Run> {
        self.0.runs.lock().map(|runs| runs.clone()).unwrap_or_default()
    }

    fn recall_or(
        &self,
        key: Digest,
        run: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<(Vec<u8>, Outcome)> {
        if let Some(kept) = self.recall(key) {
            return Ok((kept, Outcome::Kept));
        }
        let path = self.0.root.join("locks").join(key.to_string());
        let lock =
            File::create(&path).with_context(|| format!("make lock `{}`", path.display()))?;
        lock.lock().with_context(|| format!("wait for lock `{}`", path.display()))?;
        if let Some(kept) = self.recall(key) {
            return Ok((kept, Outcome::Kept));
        }
        let output = run()?;
        self.write(&self.sharded("results", key), &output)?;
        // Another process may hold the removed file open and wait for it: it then finds the result.
        let _ = fs::remove_file(&path);
        Ok((output, Outcome::Ran))
    }

    /// A kept result all of whose blobs are there.
    fn recall(&self, key: Digest) -> Option<Vec<u8>> {
        let output = fs::read(self.sharded("results", key)).ok()?;
        let Reached { blobs, trees } = reached(&output).ok()?;
        let whole =
            |id: &TreeId| self.tree(id).is_ok_and(|tree| tree.blobs().all(|blob| self.has(&blob)));
        (blobs.iter().all(|blob| self.has(blob)) && trees.iter().all(whole)).then_some(output)
    }

    /// Whether the blob is there, by its size.
    pub fn has(&self, blob: &Blob) -> bool {
        fs::metadata(self.blob_path(blob)).is_ok_and(|m| m.len() == blob.size)
    }

    /// Opens a blob.
    pub fn open_blob(&self, blob: &Blob) -> Result<File> {
        let path = self.blob_path(blob);
        let file = File::open(&path).with_context(|| format!("open blob `{}`", path.display()))?;
        let size = file.metadata()?.len();
        if size != blob.size {
            bail!("blob {} has {size} bytes in the store instead of {}", blob.digest, blob.size);
        }
        Ok(file)
    }

    /// All bytes of a blob.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>> {
        let path = self.blob_path(blob);
        fs::read(&path).with_context(|| format!("read blob `{}`", path.display()))
    }

    /// A tree.
    pub fn tree(&self, id: &TreeId) -> Result<Tree> {
        decode(&self.read(&id.blob())?)
    }

    /// Keeps `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = Blob::of(bytes);
        if !self.has(&blob) {
            self.write(&self.blob_path(&blob), bytes)?;
        }
        Ok(blob)
    }

    /// Keeps a tree.
    pub fn put_tree(&self, tree: &Tree) -> Result<TreeId> {
        let blob = self.put(&encode(tree)?)?;
        Ok(TreeId { digest: blob.digest, size: blob.size })
    }

    /// Begins a blob whose bytes come in pieces.
    pub fn create(&self) -> Result<Sink> {
        let path = self.temporary();
        let file = File::create_new(&path).with_context(|| format!("make `{}`", path.display()))?;
        Ok(Sink { file, path, hasher: Hasher::new(), store: self.clone() })
    }

    /// Moves the finished file `path` (on the store's file system) to the blob that it is.
    pub fn admit(&self, path: &Path, blob: Blob) -> Result<Blob> {
        if self.has(&blob) {
            fs::remove_file(path).with_context(|| format!("remove `{}`", path.display()))?;
        } else {
            place(path, &self.blob_path(&blob))?;
        }
        Ok(blob)
    }

    /// Where a blob lies: for the pool, which links it to its object, and for reflinks.
    pub fn blob_path(&self, blob: &Blob) -> PathBuf {
        self.sharded("blobs", blob.digest)
    }

    /// The directory of the store, for what lies beside the blobs (the pool's repository).
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// A fresh name for a file that is being written; on the store's file system.
    pub fn temporary(&self) -> PathBuf {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let own = std::ptr::from_ref(&*self.0).addr();
        self.0.root.join("temporary").join(format!("{}-{own:x}-{serial}", std::process::id()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary();
        File::create_new(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| format!("write `{}`", temporary.display()))?;
        place(&temporary, path)
    }

    fn sharded(&self, part: &str, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.0.root.join(part).join(&hex[..2]).join(&hex[2..])
    }
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

fn place(from: &Path, to: &Path) -> Result<()> {
    let renamed = fs::rename(from, to).or_else(|error| {
        let Some(parent) = to.parent() else { return Err(error) };
        fs::create_dir_all(parent)?;
        fs::rename(from, to)
    });
    renamed.with_context(|| format!("move `{}` to `{}`", from.display(), to.display()))
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "for the report of stage times only")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Stage<Vec<Blob>, Blob> = Stage {
        name: "count",
        revision: 1,
        about: |_| "test".into(),
        run: |blobs, scratch| {
            let mut total = 0;
            for blob in blobs {
                total += scratch.read(blob)?.len();
            }
            scratch.put(total.to_string().as_bytes())
        },
    };

    fn store(name: &str) -> Store {
        let root =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-store").join(name);
        let _ = fs::remove_dir_all(&root);
        Store::open(&root, None).unwrap()
    }

    #[test]
    fn a_result_is_kept_and_a_gone_blob_is_a_miss_that_heals() {
        let store = store("heals");
        let input = vec![store.put(b"abc").unwrap(), store.put(b"de").unwrap()];
        let first = store.realize(&COUNT, &input).unwrap();
        assert_eq!(store.read(&first).unwrap(), b"5");
        assert_eq!(store.realize(&COUNT, &input).unwrap(), first);
        fs::remove_file(store.blob_path(&first)).unwrap();
        assert_eq!(store.realize(&COUNT, &input).unwrap(), first);
        assert_eq!(store.read(&first).unwrap(), b"5");
        let outcomes: Vec<_> = store.runs().iter().map(|r| r.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ran, Outcome::Kept, Outcome::Ran]);
    }

    #[test]
    fn a_torn_result_is_a_miss() {
        let store = store("torn");
        let input = vec![store.put(b"abc").unwrap()];
        store.realize(&COUNT, &input).unwrap();
        let key = COUNT.key(&encode(&input).unwrap(), None);
        fs::write(store.sharded("results", key), b"").unwrap();
        assert_eq!(store.explain(&COUNT, &input).unwrap().1, Outcome::Ran);
        store.realize(&COUNT, &input).unwrap();
        assert_eq!(store.explain(&COUNT, &input).unwrap().1, Outcome::Kept);
    }

    #[test]
    fn an_undeclared_blob_fails_with_both_names() {
        const PRY: Stage<String, u64> = Stage {
            name: "pry",
            revision: 1,
            about: |_| "test".into(),
            run: |hex, scratch| {
                Ok(scratch.read(&Blob { digest: hex.parse()?, size: 3 })?.len() as u64)
            },
        };
        let store = store("undeclared");
        let hidden = store.put(b"abc").unwrap();
        let error = format!("{:#}", store.realize(&PRY, &hidden.digest.to_string()).unwrap_err());
        assert!(
            error.contains("stage `pry`") && error.contains(&hidden.digest.to_string()),
            "{error}"
        );
    }

    #[test]
    fn one_key_runs_once_across_threads() {
        let store = store("once");
        let input = vec![store.put(b"abc").unwrap()];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| store.realize(&COUNT, &input).unwrap());
            }
        });
        let ran = store.runs().iter().filter(|run| run.outcome == Outcome::Ran).count();
        assert_eq!(ran, 1);
    }

    #[test]
    fn the_contents_of_a_declared_tree_are_declared() {
        const SUM: Stage<TreeId, u64> = Stage {
            name: "sum",
            revision: 1,
            about: |_| "test".into(),
            run: |id, scratch| {
                let tree = scratch.tree(id)?;
                tree.blobs().try_fold(0, |n, b| Ok(n + scratch.read(&b)?.len() as u64))
            },
        };
        let store = store("tree");
        let mut tree = Tree::default();
        let blob = store.put(b"four").unwrap();
        tree.insert("a/b", crate::Entry::file(blob, 0o644, "test")).unwrap();
        let id = store.put_tree(&tree).unwrap();
        assert_eq!(store.realize(&SUM, &id).unwrap(), 4);
        assert_eq!(store.tree(&id).unwrap(), tree);
    }
}
