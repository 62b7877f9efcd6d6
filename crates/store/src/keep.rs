//! The directory that keeps blobs and results.
//!
//! `blobs/ab/cdef…` plain bytes by digest, `results/ab/cdef…` canonical results by key (each
//! below a line with its own digest), `inputs/ab/cdef…` what a stage ran on by key, to say later
//! what changed; `locks/` one file per key being computed, `temporary/` what is being written,
//! `quarantine/` what was found damaged.
//! A rebuildable result is not synced to disk: one that a crash tore is a miss.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{
    BLOBS, INPUTS, QUARANTINE, RESULTS, TEMPORARY, blob_of, list, make, place, touch, unseal,
};
use crate::sound::Damaged;
use crate::{
    Blob, Digest, Hasher, Reached, Scratch, Sink, Stage, Tree, TreeId, decode, encode, reached,
};

/// Blobs and results under one directory. Cheap to clone; safe to share between threads and
/// between processes.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    root: PathBuf,
    shape: Shape,
    salt: Option<Digest>,
    serial: AtomicU64,
    runs: Mutex<Vec<Run>>,
    /// Blobs whose bytes this process wrote or checked: each is checked once.
    sound: Mutex<BTreeSet<Digest>>,
    /// How many files were set aside.
    set_aside: AtomicU64,
    /// Locked as long as the store is open: shared, or by [`crate::Sole`] alone.
    _hold: Option<File>,
    /// What would have been kept, where the store is only looked at.
    looked: Option<Mutex<BTreeMap<Blob, Vec<u8>>>>,
}

/// How blobs lie in the directory.
#[derive(Clone, Copy)]
enum Shape {
    /// `blobs/ab/cdef…`, among results and the rest.
    Store,
    /// By digest, and nothing else: what a worker is given.
    Flat,
}

/// The error of a store that is only looked at: this stage would run.
#[derive(Clone, Debug)]
pub struct WouldRun {
    /// The stage.
    pub stage: &'static str,
    /// What it is about (see [`Stage::about`]).
    pub about: String,
    /// Its key.
    pub key: Digest,
    /// Its input in canonical form.
    pub input: Vec<u8>,
}

impl std::fmt::Display for WouldRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stage `{}` of {} would run", self.stage, self.about)
    }
}

impl std::error::Error for WouldRun {}

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
    ///
    /// What killed builds left half-written is removed, when no other build is using the store.
    pub fn open(root: &Path, salt: Option<Digest>) -> Result<Self> {
        let hold = make(root)?;
        if hold.try_lock().is_ok() {
            for left in list(&root.join(TEMPORARY))? {
                fs::remove_file(&left).with_context(|| format!("remove `{}`", left.display()))?;
            }
        }
        hold.lock_shared().with_context(|| format!("wait for the store `{}`", root.display()))?;
        Ok(Self::held(root, Shape::Store, salt, Some(hold), None))
    }

    /// The store in `root`, to be looked at: nothing is written (what is put stays in memory), and
    /// a stage whose result is not kept is the error [`WouldRun`].
    pub fn look(root: &Path, salt: Option<Digest>) -> Self {
        Self::held(root, Shape::Store, salt, None, Some(Mutex::default()))
    }

    /// The store in `root`, whose lock the caller holds alone in `hold`.
    pub(crate) fn alone(root: &Path, hold: File) -> Self {
        Self::held(root, Shape::Store, None, Some(hold), None)
    }

    /// Blobs by digest in the directory `root`; new ones are made there.
    pub(crate) fn flat(root: &Path) -> Self {
        Self::held(root, Shape::Flat, None, None, None)
    }

    fn held(
        root: &Path,
        shape: Shape,
        salt: Option<Digest>,
        hold: Option<File>,
        looked: Option<Mutex<BTreeMap<Blob, Vec<u8>>>>,
    ) -> Self {
        Self(Arc::new(Inner {
            root: root.to_owned(),
            shape,
            salt,
            serial: AtomicU64::new(0),
            runs: Mutex::default(),
            sound: Mutex::default(),
            set_aside: AtomicU64::new(0),
            _hold: hold,
            looked,
        }))
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
                if self.0.looked.is_some() {
                    let (stage, about) = (stage.name, about.clone());
                    return Err(WouldRun { stage, about, key, input: bytes.clone() }.into());
                }
                self.write(&self.sharded(INPUTS, key), &bytes)?;
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
        if self.0.looked.is_some() {
            return run().map(|output| (output, Outcome::Ran));
        }
        let path = self.0.root.join("locks").join(key.to_string());
        let lock =
            File::create(&path).with_context(|| format!("make lock `{}`", path.display()))?;
        lock.lock().with_context(|| format!("wait for lock `{}`", path.display()))?;
        if let Some(kept) = self.recall(key) {
            return Ok((kept, Outcome::Kept));
        }
        let output = run()?;
        let sealed = [format!("{}\n", Digest::of(&output)).as_bytes(), &output].concat();
        self.write(&self.sharded(RESULTS, key), &sealed)?;
        // Another process may hold the removed file open and wait for it: it then finds the result.
        let _ = fs::remove_file(&path);
        Ok((output, Outcome::Ran))
    }

    /// A kept, undamaged result all of whose blobs are there. Being used keeps it young for
    /// [`crate::Sole::sweep`].
    fn recall(&self, key: Digest) -> Option<Vec<u8>> {
        let path = self.sharded(RESULTS, key);
        if !fs::symlink_metadata(&path).ok()?.is_file() {
            self.set_aside(&path, &key.to_string(), "is no file".to_owned());
            return None;
        }
        let Some(output) = unseal(fs::read(&path).ok()?) else {
            self.set_aside(&path, &key.to_string(), "is a torn result".to_owned());
            return None;
        };
        let Reached { blobs, trees } = reached(&output).ok()?;
        let whole =
            |id: &TreeId| self.tree(id).is_ok_and(|tree| tree.blobs().all(|blob| self.has(&blob)));
        let whole = blobs.iter().all(|blob| self.has(blob)) && trees.iter().all(whole);
        if whole {
            touch(&path);
        }
        whole.then_some(output)
    }

    /// The input with which a stage ran under `key`, in canonical form, where it is remembered.
    pub fn input(&self, key: Digest) -> Option<Vec<u8>> {
        fs::read(self.sharded(INPUTS, key)).ok()
    }

    /// What a store that is only looked at would have kept.
    fn looked(&self, blob: &Blob) -> Option<Vec<u8>> {
        self.0.looked.as_ref()?.lock().ok()?.get(blob).cloned()
    }

    /// Whether a file of the blob's name and size is there.
    pub fn has(&self, blob: &Blob) -> bool {
        // A link is none: nothing of ours makes one, and its target may be anything.
        fs::symlink_metadata(self.blob_path(blob))
            .is_ok_and(|found| found.is_file() && found.len() == blob.size)
    }

    /// Opens a blob. Its bytes are checked, once in a process.
    ///
    /// # Errors
    /// [`Damaged`] where the bytes are missing or others; they are set aside, so that whatever
    /// makes or fetches the blob makes it anew.
    pub fn open_blob(&self, blob: &Blob) -> Result<File> {
        let path = self.blob_path(blob);
        if let Some(why) = self.fault(blob, &path)? {
            return Err(self.set_aside(&path, &blob.digest.to_string(), why).into());
        }
        File::open(&path).with_context(|| format!("open blob `{}`", path.display()))
    }

    /// What is wrong with the file of a blob, if anything is.
    fn fault(&self, blob: &Blob, path: &Path) -> Result<Option<String>> {
        let known = self.0.sound.lock().is_ok_and(|sound| sound.contains(&blob.digest));
        if !self.has(blob) {
            return Ok(Some(match fs::symlink_metadata(path) {
                Ok(found) if found.is_file() => {
                    format!("has {} bytes instead of {}", found.len(), blob.size)
                }
                Ok(_) => "is no file".to_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is gone".to_owned(),
                Err(error) => return Err(error).context(format!("look at `{}`", path.display())),
            }));
        }
        if known {
            return Ok(None);
        }
        let found = blob_of(path)?;
        if found != *blob {
            return Ok(Some(format!("has the digest {}", found.digest)));
        }
        self.trust(blob.digest);
        Ok(None)
    }

    /// Moves a damaged file away from its name, or removes it. (What a worker was given is its
    /// giver's, and stays.)
    pub(crate) fn set_aside(&self, path: &Path, name: &str, why: String) -> Damaged {
        if matches!(self.0.shape, Shape::Flat) {
            return Damaged { name: name.to_owned(), why };
        }
        if let (Ok(mut sound), Ok(digest)) = (self.0.sound.lock(), name.parse()) {
            sound.remove(&digest);
        }
        self.0.set_aside.fetch_add(1, Ordering::Relaxed);
        let quarantine = self.0.root.join(QUARANTINE);
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let to = quarantine.join(format!("{name}-{}-{serial}", std::process::id()));
        // A store that cannot be changed keeps it; the error is told either way.
        let moved = fs::create_dir_all(&quarantine).and_then(|()| fs::rename(path, &to));
        if moved.is_err() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
        let why = format!("{why}; it is set aside, and the next build makes it anew");
        Damaged { name: name.to_owned(), why }
    }

    /// Whether this process met anything damaged in the store: then the pool, whose objects are
    /// the same files, cannot be taken at its word.
    pub fn is_in_doubt(&self) -> bool {
        self.0.set_aside.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn trust(&self, digest: Digest) {
        if let Ok(mut sound) = self.0.sound.lock() {
            sound.insert(digest);
        }
    }

    /// All bytes of a blob.
    ///
    /// # Errors
    /// As [`Store::open_blob`].
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>> {
        if let Some(bytes) = self.looked(blob) {
            return Ok(bytes);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size)?);
        self.open_blob(blob)?
            .read_to_end(&mut bytes)
            .with_context(|| format!("read blob {}", blob.digest))?;
        Ok(bytes)
    }

    /// A tree.
    pub fn tree(&self, id: &TreeId) -> Result<Tree> {
        decode(&self.read(&id.blob())?)
    }

    /// Keeps `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = Blob::of(bytes);
        if let Some(looked) = &self.0.looked {
            if let (false, Ok(mut looked)) = (self.has(&blob), looked.lock()) {
                looked.insert(blob, bytes.to_vec());
            }
            return Ok(blob);
        }
        if !self.keeps(&blob)? {
            self.write(&self.blob_path(&blob), bytes)?;
            self.trust(blob.digest);
        }
        Ok(blob)
    }

    /// Whether the blob is there and sound; what is damaged is set aside.
    fn keeps(&self, blob: &Blob) -> Result<bool> {
        let path = self.blob_path(blob);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(false);
        }
        match self.fault(blob, &path)? {
            Some(why) => drop(self.set_aside(&path, &blob.digest.to_string(), why)),
            None => return Ok(true),
        }
        Ok(false)
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
        if self.keeps(&blob)? {
            fs::remove_file(path).with_context(|| format!("remove `{}`", path.display()))?;
        } else {
            place(path, &self.blob_path(&blob))?;
            self.trust(blob.digest);
        }
        Ok(blob)
    }

    /// Where a blob lies: for the pool, which links it to its object, and for reflinks.
    pub fn blob_path(&self, blob: &Blob) -> PathBuf {
        match self.0.shape {
            Shape::Store => self.sharded(BLOBS, blob.digest),
            Shape::Flat => self.0.root.join(blob.digest.to_string()),
        }
    }

    /// The directory of the store, for what lies beside the blobs (the pool's repository).
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// A fresh name for a file that is being written; on the store's file system.
    pub fn temporary(&self) -> PathBuf {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let own = std::ptr::from_ref(&*self.0).addr();
        let name = format!("{}-{own:x}-{serial}", std::process::id());
        match self.0.shape {
            Shape::Store => self.0.root.join(TEMPORARY).join(name),
            Shape::Flat => self.0.root.join(format!(".{name}")),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary();
        let wrote = File::create_new(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| format!("write `{}`", temporary.display()))
            .and_then(|()| place(&temporary, path));
        if wrote.is_err() {
            // On a full disk, what is half-written is in the way of the next try.
            let _ = fs::remove_file(&temporary);
        }
        wrote
    }

    fn sharded(&self, part: &str, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.0.root.join(part).join(&hex[..2]).join(&hex[2..])
    }
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
