//! Writing the artifacts of a release where a person finds them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use disk::{Disk, Format};
use release::{Artifact, Range};
use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};
use store::{Blob, Digest, Hasher, Store};

/// What this program last wrote to a directory, so that an unchanged artifact is not written again.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Written(BTreeMap<String, Stamp>);

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// What the file was made from.
    source: Digest,
    /// Change time in nanoseconds and size of the file as left behind.
    changed: u128,
    size: u64,
    /// Its SHA-256, where somebody asked for it.
    digest: Option<Digest>,
}

/// Whether a disk's SHA-256 is wanted: it is read back for it, its zeros included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    Ranges,
    Whole,
}

const STAMPS: &str = ".written.json";

impl Written {
    /// What is known of `directory`; nothing where the note is missing or unreadable.
    pub(crate) fn of(directory: &Path) -> Self {
        let note = fs::read(directory.join(STAMPS)).unwrap_or_default();
        serde_json::from_slice(&note).unwrap_or_default()
    }

    /// Leaves the note behind.
    pub(crate) fn keep(&self, directory: &Path) -> Result<()> {
        let note = serde_json::to_vec(self).context("write the note of written files")?;
        fs::write(directory.join(STAMPS), note).context("write the note of written files")
    }

    /// Makes `name` in `directory` with `write` (unless the file is still the one made from
    /// `source`), synced and renamed into place.
    fn file(
        &mut self,
        directory: &Path,
        name: &str,
        source: Digest,
        write: &dyn Fn(&mut File) -> Result<()>,
    ) -> Result<()> {
        let path = directory.join(name);
        if let Some(stamp) = self.0.get(name)
            && stamp.source == source
            && changed(&path) == Some((stamp.changed, stamp.size))
        {
            return Ok(());
        }
        let temporary = directory.join(format!(".{name}.part"));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .with_context(|| format!("make `{}`", temporary.display()))?;
        write(&mut file).with_context(|| format!("write `{}`", temporary.display()))?;
        file.sync_all().with_context(|| format!("sync `{}`", temporary.display()))?;
        drop(file);
        fs::rename(&temporary, &path)
            .with_context(|| format!("put `{}` in place", path.display()))?;
        self.0.remove(name);
        if let Some((changed, size)) = changed(&path) {
            self.0.insert(name.to_owned(), Stamp { source, changed, size, digest: None });
        }
        Ok(())
    }

    /// Hands over a blob as `name`.
    pub(crate) fn blob(
        &mut self,
        directory: &Path,
        name: &str,
        purpose: &str,
        blob: &Blob,
        store: &Store,
    ) -> Result<Artifact> {
        self.file(directory, name, blob.digest, &|file| {
            std::io::copy(&mut store.open_blob(blob)?, file).context("copy from the store")?;
            Ok(())
        })?;
        Ok(Artifact::new(purpose, *blob))
    }

    /// Hands over a disk as `name`.
    pub(crate) fn disk(
        &mut self,
        directory: &Path,
        name: &str,
        format: &Format,
        disk: &Disk,
        checksums: Checksums,
        store: &Store,
    ) -> Result<Artifact> {
        let model = Digest::of(&store::encode(disk)?);
        self.file(directory, name, model, &|file| {
            (format.write)(disk, &|blob| store.open_blob(blob), file)
        })?;
        let path = directory.join(name);
        let (_, size) = changed(&path).with_context(|| format!("look at `{}`", path.display()))?;
        let sha256 = match checksums {
            Checksums::Whole => Some(self.digest(&path, name)?.to_string()),
            Checksums::Ranges => None,
        };
        let ranges = (format.ranges)(disk)?.into_iter().map(|disk::Range { region, part }| Range {
            region,
            offset: part.offset,
            size: part.blob.size,
            sha256: part.blob.digest.to_string(),
        });
        let (purpose, ranges) = (format.about.to_owned(), ranges.collect());
        Ok(Artifact { purpose, size, sha256, ranges })
    }

    /// The digest of a file that was just found or made.
    fn digest(&mut self, path: &Path, name: &str) -> Result<Digest> {
        if let Some(known) = self.0.get(name).and_then(|stamp| stamp.digest) {
            return Ok(known);
        }
        let digest = digest(path)?;
        if let Some(stamp) = self.0.get_mut(name) {
            stamp.digest = Some(digest);
        }
        Ok(digest)
    }
}

fn changed(path: &Path) -> Option<(u128, u64)> {
    let metadata = fs::metadata(path).ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((changed.as_nanos(), metadata.len()))
}

/// Reads a file back. Holes are not read: filling pages with zeros costs more than hashing them.
fn digest(path: &Path) -> Result<Digest> {
    let about = || format!("read `{}`", path.display());
    let mut file = File::open(path).with_context(about)?;
    let size = file.metadata().with_context(about)?.len();
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    let zeros = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        // No data behind `at` is an error of the call (ENXIO), and means that the rest is a hole.
        let data = seek(&file, SeekFrom::Data(at)).unwrap_or(size);
        while at < data {
            let n = usize::try_from(data - at).unwrap_or(PIECE).min(PIECE);
            hasher.update(&zeros[..n]);
            at += n as u64;
        }
        let hole =
            if at < size { seek(&file, SeekFrom::Hole(at)).with_context(about)? } else { size };
        seek(&file, SeekFrom::Start(at)).with_context(about)?;
        while at < hole {
            let n = usize::try_from(hole - at).unwrap_or(PIECE).min(PIECE);
            file.read_exact(&mut piece[..n]).with_context(about)?;
            hasher.update(&piece[..n]);
            at += n as u64;
        }
    }
    Ok(hasher.finish().digest)
}

/// Bytes hashed at a time.
const PIECE: usize = 1 << 20;
