//! All that a stage can see of the world.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::{Blob, Erased, Hasher, Reached, Store, Tree, TreeId, decode, encode, reached};

/// Opens the blobs that a stage's input declares and no other, and makes new ones.
pub struct Scratch<'a> {
    store: &'a Store,
    stage: &'static str,
    open: Mutex<BTreeSet<Blob>>,
}

/// A new blob being written.
pub struct Sink {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) hasher: Hasher,
    pub(crate) store: Store,
}

impl<'a> Scratch<'a> {
    pub(crate) fn new(store: &'a Store, stage: &'static str, declared: Reached) -> Self {
        let mut open = declared.blobs;
        open.extend(declared.trees.iter().map(|tree| tree.blob()));
        Self { store, stage, open: Mutex::new(open) }
    }

    /// Opens a declared blob for reading.
    pub fn open(&self, blob: &Blob) -> Result<File> {
        self.check(blob)?;
        self.store.open_blob(blob)
    }

    /// All bytes of a declared blob.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size)?);
        self.open(blob)?
            .read_to_end(&mut bytes)
            .with_context(|| format!("read blob {}", blob.digest))?;
        Ok(bytes)
    }

    /// A declared tree; the contents of its files are declared with it.
    pub fn tree(&self, id: &TreeId) -> Result<Tree> {
        let tree: Tree = decode(&self.read(&id.blob())?)?;
        self.allow(tree.blobs());
        Ok(tree)
    }

    /// Makes a blob of `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = self.store.put(bytes)?;
        self.allow([blob]);
        Ok(blob)
    }

    /// Makes a blob of a tree.
    pub fn put_tree(&self, tree: &Tree) -> Result<TreeId> {
        let blob = self.put(&encode(tree)?)?;
        Ok(TreeId { digest: blob.digest, size: blob.size })
    }

    /// Begins a blob whose bytes come in pieces.
    pub fn create(&self) -> Result<Sink> {
        self.store.create()
    }

    fn allow(&self, blobs: impl IntoIterator<Item = Blob>) {
        if let Ok(mut open) = self.open.lock() {
            open.extend(blobs);
        }
    }

    fn check(&self, blob: &Blob) -> Result<()> {
        if !self.open.lock().is_ok_and(|open| open.contains(blob)) {
            bail!(
                "stage `{}` opens blob {}, which its input does not declare",
                self.stage,
                blob.digest
            );
        }
        Ok(())
    }
}

/// Runs the stage of `row` on `input` (canonical bytes) without a store: what the input declares
/// must lie in `blobs` by digest, and what is made is put there. Gives the canonical result.
///
/// # Errors
/// When a declared blob is missing or damaged, before the stage begins; else the stage's own.
pub fn run_alone(row: &Erased, input: &[u8], blobs: &Path) -> Result<Vec<u8>> {
    let store = Store::flat(blobs);
    let declared = reached(input).with_context(|| format!("stage `{}`: input", row.name))?;
    let about = |blob: &Blob| {
        format!("open blob {}, which the input of stage `{}` declares", blob.digest, row.name)
    };
    let check = |blob: &Blob| store.open_blob(blob).map(drop).with_context(|| about(blob));
    for id in &declared.trees {
        check(&id.blob())?;
        store.tree(id)?.blobs().try_for_each(|blob| check(&blob))?;
    }
    declared.blobs.iter().try_for_each(check)?;
    (row.run)(input, &Scratch::new(&store, row.name, declared))
}

impl Sink {
    /// Ends the blob and puts it in its place.
    pub fn finish(self) -> Result<Blob> {
        let Self { file, path, hasher, store } = self;
        drop(file);
        store.admit(&path, hasher.finish())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
