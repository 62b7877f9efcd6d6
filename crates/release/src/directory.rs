//! A channel's directory, replaced as a whole.
//!
//! The next state is made beside the present one: files that stay are hard links, so that nothing
//! is copied. Then the two directories change names in one step. Whatever stops a publisher, a
//! reader finds one state or the other, each with the list and the signature that belong to it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use store::{Blob, Hasher, bounded};

use crate::channel::{CHANNEL_LIMIT, CHANNEL_MANIFEST, check_name};

/// A channel of a feed, held against other publishers as long as this lives.
pub struct Held {
    feed: PathBuf,
    channel: String,
    _lock: File,
}

/// The state of a channel that follows the present one.
pub struct Next<'a> {
    held: &'a Held,
    directory: PathBuf,
}

impl Held {
    /// Waits until no other publisher holds the channel. The feed is made where there is none.
    ///
    /// # Errors
    /// A name that a feed cannot have; a feed that cannot be written to.
    pub fn open(feed: &Path, channel: &str) -> Result<Self> {
        check_name(channel).context("the channel's name")?;
        fs::create_dir_all(feed).with_context(|| format!("make feed `{}`", feed.display()))?;
        let path = feed.join(format!(".{channel}.lock"));
        let about = || format!("hold channel `{channel}` by `{}`", path.display());
        let lock = File::create(&path).with_context(about)?;
        lock.lock().with_context(about)?;
        let held = Self { feed: feed.to_owned(), channel: channel.to_owned(), _lock: lock };
        // What a stopped publisher left: half of a next state, or the state before.
        remove(&held.next())?;
        Ok(held)
    }

    fn next(&self) -> PathBuf {
        self.feed.join(format!(".{}.next", self.channel))
    }

    /// The channel's directory.
    pub fn path(&self) -> PathBuf {
        self.feed.join(&self.channel)
    }

    /// The bytes of the present manifest; none for a channel that is not there yet.
    pub fn manifest(&self) -> Result<Option<Vec<u8>>> {
        if !self.path().exists() {
            return Ok(None);
        }
        self.file(CHANNEL_MANIFEST).map(Some)
    }

    /// The bytes of a small file of the present state.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        check_name(name)?;
        bounded(&self.path().join(name), CHANNEL_LIMIT)
    }

    /// Begins an empty next state.
    pub fn begin(&self) -> Result<Next<'_>> {
        let directory = self.next();
        remove(&directory)?;
        fs::create_dir(&directory).with_context(|| format!("make `{}`", directory.display()))?;
        Ok(Next { held: self, directory })
    }
}

impl Next<'_> {
    /// Takes over a file of the present state, which must have `size` bytes.
    pub fn keep(&self, name: &str, size: u64) -> Result<()> {
        check_name(name)?;
        let present = self.held.path().join(name);
        let about = || format!("keep `{}`", present.display());
        let found = fs::metadata(&present).with_context(about)?.len();
        ensure!(
            found == size,
            "`{}` has {found} bytes and the channel's manifest says {size}: restore the file, or \
             retire its version",
            present.display()
        );
        fs::hard_link(&present, self.directory.join(name)).with_context(about).context(
            "a feed needs a file system with hard links: publish to a local disk and copy it",
        )
    }

    /// Makes a new file with what `write` writes, synced, and says what it is.
    pub fn write(
        &self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<Blob> {
        check_name(name)?;
        let path = self.directory.join(name);
        let about = || format!("write `{}`", path.display());
        let file = File::create_new(&path).with_context(about)?;
        let mut tally = Tally { file, hasher: Hasher::new() };
        write(&mut tally).with_context(about)?;
        tally.file.sync_all().with_context(about)?;
        Ok(tally.hasher.finish())
    }

    /// Puts the state in place of the present one.
    pub fn finish(self) -> Result<()> {
        let present = self.held.path();
        let about = || format!("put `{}` in place", present.display());
        sync(&self.directory)?;
        let flags = if present.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.directory, CWD, &present, flags) {
            Err(error @ (Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) => {
                return Err(error).with_context(about).context(
                    "a feed needs a file system that exchanges two directories in one step: \
                     publish to a local disk and copy it",
                );
            }
            done => done.with_context(about)?,
        }
        sync(&self.held.feed)?;
        // Now the state before.
        remove(&self.directory)
    }
}

/// A file that is hashed as it is written.
struct Tally {
    file: File,
    hasher: Hasher,
}

impl Write for Tally {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", directory.display()))
        }
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|open| open.sync_all())
        .with_context(|| format!("sync `{}`", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        store::list(path).unwrap().into_iter().map(name).collect()
    }

    fn text(text: &'static str) -> impl FnMut(&mut dyn Write) -> Result<()> {
        move |to| Ok(to.write_all(text.as_bytes())?)
    }

    #[test]
    fn a_state_replaces_the_one_before_and_keeps_what_it_names() {
        let feed = judge::scratch("directory").join("feed");
        let held = Held::open(&feed, "stable").unwrap();
        assert!(held.manifest().unwrap().is_none());
        let next = held.begin().unwrap();
        let blob = next.write("one", &mut text("1")).unwrap();
        assert_eq!(blob, Blob::of(b"1"));
        next.write("old", &mut text("old")).unwrap();
        assert!(!held.path().exists(), "visible before it is whole");
        next.finish().unwrap();
        let next = held.begin().unwrap();
        next.keep("one", 1).unwrap();
        next.write("two", &mut text("2")).unwrap();
        assert_eq!(names(&held.path()), ["old", "one"]);
        next.finish().unwrap();
        assert_eq!(names(&held.path()), ["one", "two"]);
        assert_eq!(names(&feed), [".stable.lock", "stable"]);
    }

    #[test]
    fn what_a_killed_publisher_left_is_in_nobody_s_way() {
        let feed = judge::scratch("directory-left").join("feed");
        let held = Held::open(&feed, "stable").unwrap();
        held.begin().unwrap().write("half", &mut text("h")).unwrap();
        drop(held);
        let held = Held::open(&feed, "stable").unwrap();
        assert_eq!(names(&feed), [".stable.lock"]);
        let next = held.begin().unwrap();
        next.write("whole", &mut text("w")).unwrap();
        next.finish().unwrap();
        assert_eq!(names(&held.path()), ["whole"]);
    }

    #[test]
    fn a_file_that_was_cut_or_is_gone_is_not_kept() {
        let feed = judge::scratch("directory-cut").join("feed");
        let held = Held::open(&feed, "stable").unwrap();
        let next = held.begin().unwrap();
        next.write("one", &mut text("1")).unwrap();
        next.finish().unwrap();
        let next = held.begin().unwrap();
        let error = next.keep("one", 2).unwrap_err().to_string();
        assert!(error.contains("retire its version"), "{error}");
        assert!(next.keep("two", 2).is_err());
        assert!(next.keep("../stable/one", 1).is_err());
    }

    #[test]
    fn a_second_publisher_waits_for_the_first() {
        let feed = judge::scratch("directory-two").join("feed");
        let held = Held::open(&feed, "stable").unwrap();
        let file = File::open(feed.join(".stable.lock")).unwrap();
        assert!(file.try_lock().is_err());
        drop(held);
        file.try_lock().unwrap();
    }
}
