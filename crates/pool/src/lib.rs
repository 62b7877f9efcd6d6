//! File contents kept as OSTree objects; a tree as a commit.
//!
//! A bare-user repository inside the store, opened by this crate alone. Every content that a tree
//! names becomes an object whose file is also the store's blob (one file, two names), so that
//! readers open blobs and never a library. Object checksums are computed here (libostree's own
//! SHA-256 is several times slower). A content's first object is the blob's own file; every other
//! object is written by libostree. The crate does not know what a package or an image is.

mod adopt;
mod object;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ostree::prelude::*;
use ostree::{MutableTree, ObjectType, Repo, RepoMode, gio, glib};
use store::{Blob, Digest, Entry, Epoch, Node, Owner, Store, Tree, TreeId};

use object::{Checksums, Object};

/// The repository of one store.
pub struct Pool {
    store: Store,
    repo: Repo,
    checksums: Checksums,
}

/// What a release is called in the pool.
pub struct Commit<'a> {
    /// The image's id.
    pub id: &'a str,
    /// The image's version.
    pub version: &'a str,
    /// The commit's only time.
    pub epoch: Epoch,
    /// Who signs it (a certificate, a fingerprint): another signer makes a commit anew.
    pub signer: &'a [u8],
}

/// What [`Pool::verify`] saw.
#[derive(Debug, Default)]
pub struct Verified {
    /// Sound objects.
    pub sound: usize,
    /// What was wrong with each object that was removed.
    pub damaged: Vec<String>,
}

/// ostree.repo-config(5).
const CORE: &str = "core";
const KEPT_FREE: &str = "min-free-space-percent";

const NEVER: Option<&gio::Cancellable> = None;

impl Pool {
    /// Opens the pool of `store`, making it where it is missing.
    pub fn open(store: &Store) -> Result<Self> {
        let path = store.root().join("pool");
        let repo = Repo::new_for_path(path.join("repo"));
        // libostree makes this folder last, and completes a repository that has none.
        let made = path.join("repo/objects");
        for part in ["admitted", "committed"] {
            fs::create_dir_all(path.join(part))
                .with_context(|| format!("make the pool `{}`", path.display()))?;
        }
        if !made.exists() {
            // Two processes may get here together: the lock lets one of them make it.
            let lock = File::create(path.join("lock")).context("make the pool's lock")?;
            lock.lock().context("wait for the pool's lock")?;
            if !made.exists() {
                repo.create(RepoMode::BareUser, NEVER).context("make the pool's repository")?;
            }
        }
        repo.open(NEVER).with_context(|| format!("open the pool `{}`", path.display()))?;
        // Everything here can be made again from the packages.
        repo.set_disable_fsync(true);
        let pool = Self { store: store.clone(), repo, checksums: Checksums::default() };
        pool.use_the_whole_disk().context("set up the pool's repository")?;
        Ok(pool)
    }

    /// libostree keeps 3 % of a disk free, on a large one more than a build takes. A full disk is
    /// an error that loses nothing here, so the last byte may be used.
    fn use_the_whole_disk(&self) -> Result<()> {
        let config = self.repo.copy_config();
        if config.string(CORE, KEPT_FREE).is_ok_and(|said| said == "0") {
            return Ok(());
        }
        config.set_string(CORE, KEPT_FREE, "0");
        // The file is replaced at once, and every builder writes the same.
        self.repo.write_config(&config).context("write its configuration")?;
        self.repo.reload_config(NEVER).context("read its configuration again")
    }

    /// Where the repository lies, for stock tools.
    pub fn path(&self) -> PathBuf {
        self.store.root().join("pool/repo")
    }

    /// Keeps every file content of `trees` as an object, and makes the store's blob a second name
    /// of the object's file. Gives how many objects were written.
    ///
    /// Owners that are still names are written as 0: the final owner gets an object of its own
    /// when the tree is committed.
    pub fn admit(&self, trees: &[TreeId]) -> Result<usize> {
        self.admit_all(trees).map_err(of_the_host)
    }

    fn admit_all(&self, trees: &[TreeId]) -> Result<usize> {
        let marker =
            |tree: &TreeId| self.store.root().join("pool/admitted").join(tree.digest.to_string());
        let doubt = self.store.is_in_doubt();
        let new: Vec<&TreeId> =
            trees.iter().filter(|tree| doubt || !marker(tree).exists()).collect();
        if new.is_empty() {
            return Ok(0);
        }
        let mut wanted: BTreeMap<(Blob, u16, u32, u32), Entry> = BTreeMap::new();
        for id in &new {
            for entry in self.store.tree(id)?.0.into_values() {
                if let Some(blob) = entry.blob() {
                    let key = (blob, entry.mode, known(&entry.owner), known(&entry.group));
                    wanted.entry(key).or_insert(entry);
                }
            }
        }
        let entries: Vec<Entry> = wanted.into_values().collect();
        let (store, checksums) = (&self.store, &self.checksums);
        let objects = store::parallel(&entries, |entry| Object::of(entry, store, checksums))?;
        let _lock = self.lock()?;
        let transaction = self.repo.auto_transaction(NEVER).context("begin a pool transaction")?;
        let mut written = 0;
        for (entry, object) in entries.iter().zip(&objects) {
            written += usize::from(self.write(entry, object)?);
        }
        transaction.commit(NEVER).context("end a pool transaction")?;
        for (entry, object) in entries.iter().zip(&objects) {
            self.link(entry, object)?;
        }
        for id in new {
            fs::write(marker(id), "").context("note what the pool holds")?;
        }
        Ok(written)
    }

    /// Commits `tree` (owners resolved, parents present) without a parent commit, signs the commit
    /// object's bytes with `sign` (OpenPGP, detached, binary) and sets the ref of its version.
    /// Equal trees, versions and epochs give equal commits.
    pub fn commit(
        &self,
        tree: &Tree,
        name: &Commit<'_>,
        sign: &dyn Fn(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Digest> {
        self.commit_tree(tree, name, sign).map_err(of_the_host)
    }

    fn commit_tree(
        &self,
        tree: &Tree,
        name: &Commit<'_>,
        sign: &dyn Fn(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Digest> {
        let known = self.committed(tree, name)?;
        if !self.store.is_in_doubt()
            && let Ok(checksum) = fs::read_to_string(&known)
            && self
                .repo
                .has_object(ObjectType::Commit, &checksum, NEVER)
                .context("look for a commit")?
        {
            return checksum.parse();
        }
        let entries: Vec<&Entry> = tree.0.values().collect();
        let directory = |entry: &Entry| matches!(entry.node, Node::Directory);
        let (store, checksums) = (&self.store, &self.checksums);
        let objects = store::parallel(&entries, |entry| match directory(entry) {
            true => Ok(None),
            false => Object::of(entry, store, checksums).map(Some),
        })?;
        let _lock = self.lock()?;
        let transaction = self.repo.auto_transaction(NEVER).context("begin a pool transaction")?;
        let root = MutableTree::new();
        root.set_metadata_checksum(&self.write_directory(&Entry::directory(""))?);
        let mut directories = BTreeMap::from([("", root.clone())]);
        for ((path, entry), object) in tree.0.iter().zip(&objects) {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(parent) = directories.get(parent) else {
                bail!("commit `{path}`: its directory is no entry of the tree");
            };
            if let Some(object) = object {
                self.write(entry, object)?;
                parent
                    .replace_file(name, &object.checksum.to_string())
                    .with_context(|| format!("commit `{path}`"))?;
            } else {
                let made = parent.ensure_dir(name).with_context(|| format!("commit `{path}`"))?;
                made.set_metadata_checksum(&self.write_directory(entry)?);
                directories.insert(path, made);
            }
        }
        let root = self.repo.write_mtree(&root, NEVER).context("write the commit's tree")?;
        let root: ostree::RepoFile = root.downcast().ok().context("read the commit's tree")?;
        let version = glib::VariantDict::new(None);
        version.insert("version", escape(name.version));
        let subject = format!("{} {}", name.id, name.version);
        let checksum = self
            .repo
            .write_commit_with_time(
                None,
                Some(&subject),
                None,
                Some(&version.end()),
                &root,
                name.epoch.0,
                NEVER,
            )
            .context("write the commit")?;
        let reference = format!("hardtack/{}/{}", escape(name.id), escape(name.version));
        self.repo.transaction_set_ref(None, &reference, Some(&checksum));
        transaction.commit(NEVER).context("end a pool transaction")?;
        self.sign(&checksum, sign)?;
        fs::write(&known, &checksum).context("note the commit")?;
        checksum.parse()
    }

    /// Reads every object; a damaged one is removed, and notes of what the pool holds with it, so
    /// that the next build writes it anew.
    pub fn verify(&self) -> Result<Verified> {
        let mut found = Verified::default();
        for folder in store::list(&self.path().join("objects"))? {
            for file in store::list(&folder)? {
                let Some((kind, checksum)) = object::of_file(&file) else { continue };
                match self.repo.fsck_object(kind, &checksum, NEVER) {
                    Ok(()) => found.sound += 1,
                    Err(error) => {
                        fs::remove_file(&file)
                            .with_context(|| format!("remove object {checksum}"))?;
                        found.damaged.push(format!("object {checksum} of the pool: {error}"));
                    }
                }
            }
        }
        if !found.damaged.is_empty() {
            self.forget()?;
        }
        Ok(found)
    }

    /// Removes every object that no release's commit reaches; the next build writes those that it
    /// needs anew. Gives how many were removed.
    pub fn prune(&self) -> Result<i32> {
        self.forget()?;
        let (_, removed, _) = self
            .repo
            .prune(ostree::RepoPruneFlags::REFS_ONLY, -1, NEVER)
            .context("remove what no release reaches from the pool")?;
        Ok(removed)
    }

    /// Forgets which trees and commits the pool is known to hold.
    fn forget(&self) -> Result<()> {
        for part in ["admitted", "committed"] {
            for note in store::list(&self.store.root().join("pool").join(part))? {
                fs::remove_file(&note).with_context(|| format!("remove `{}`", note.display()))?;
            }
        }
        Ok(())
    }

    /// The note of a commit that was made and signed: its name says what went into it.
    fn committed(&self, tree: &Tree, name: &Commit<'_>) -> Result<PathBuf> {
        let about = (name.id, name.version, name.epoch, name.signer, tree);
        let key = Digest::of(&store::encode(&about)?).to_string();
        Ok(self.store.root().join("pool/committed").join(key))
    }

    /// OSTree's own place for OpenPGP signatures is `ostree.gpgsigs` (`aay`) in the detached
    /// metadata; libostree's signing would start programs and leave a daemon.
    fn sign(&self, checksum: &str, sign: &dyn Fn(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
        let (commit, _) = self.repo.load_commit(checksum).context("read the commit back")?;
        let signature = sign(commit.data())?;
        let detached = glib::VariantDict::new(None);
        detached.insert("ostree.gpgsigs", vec![signature]);
        self.repo
            .write_commit_detached_metadata(checksum, Some(&detached.end()), NEVER)
            .context("keep the commit's signature")
    }

    /// Writes an object unless it is there.
    fn write(&self, entry: &Entry, object: &Object) -> Result<bool> {
        let checksum = object.checksum.to_string();
        if self.repo.has_object(ObjectType::File, &checksum, NEVER).context("look for an object")? {
            if self.is_sound(entry, object)? {
                return Ok(false);
            }
            fs::remove_file(self.file(object))
                .with_context(|| format!("remove the damaged object {checksum}"))?;
        }
        if self.adopt(entry, object) {
            return Ok(true);
        }
        let header = io::Cursor::new(object.header.clone());
        let length = object.header.len() as u64;
        let (content, size): (Box<dyn Read + Send>, u64) = match entry.blob() {
            Some(blob) => (Box::new(self.store.open_blob(&blob)?), blob.size),
            None => (Box::new(io::empty()), 0),
        };
        let stream = gio::ReadInputStream::new(header.chain(content));
        self.repo
            .write_content_trusted(&checksum, &stream, length + size, NEVER)
            .with_context(|| format!("write object {checksum}"))?;
        Ok(true)
    }

    /// Whether an object that was there before holds the content. One that is the very file of the
    /// blob, which was checked when its checksum was computed, does.
    fn is_sound(&self, entry: &Entry, object: &Object) -> Result<bool> {
        let Some(blob) = entry.blob() else { return Ok(true) };
        let file = self.file(object);
        Ok(one_file(&file, &self.store.blob_path(&blob))? || store::blob_of(&file)? == blob)
    }

    /// Where the file of a content's object lies.
    fn file(&self, object: &Object) -> PathBuf {
        let hex = object.checksum.to_string();
        self.path().join("objects").join(&hex[..2]).join(format!("{}.file", &hex[2..]))
    }

    fn write_directory(&self, entry: &Entry) -> Result<String> {
        let meta = object::directory(entry);
        let checksum = Digest::of(meta.data()).to_string();
        if !self
            .repo
            .has_object(ObjectType::DirMeta, &checksum, NEVER)
            .context("look for an object")?
        {
            self.repo
                .write_metadata_trusted(ObjectType::DirMeta, &checksum, &meta, NEVER)
                .context("write a directory's object")?;
        }
        Ok(checksum)
    }

    /// Makes the blob's file the object's, so that the content lies on disk once.
    fn link(&self, entry: &Entry, object: &Object) -> Result<()> {
        let Some(blob) = entry.blob() else { return Ok(()) };
        let file = self.file(object);
        let place = self.store.blob_path(&blob);
        // Another name is an object's.
        if names(&place) > 1 {
            return Ok(());
        }
        let temporary = self.store.temporary();
        // A file system has a limit of links to one file (ext4: 65,000); then the copy stays.
        if fs::hard_link(&file, &temporary).is_err() {
            return Ok(());
        }
        fs::rename(&temporary, &place)
            .with_context(|| format!("link blob `{}`", place.display()))?;
        // Renaming a file onto another name of itself does nothing and leaves both.
        let _ = fs::remove_file(&temporary);
        Ok(())
    }
}

/// How many names the file of a blob has; none where there is no file.
fn names(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.nlink())
}

/// Whether two names are of one file.
fn one_file(one: &Path, other: &Path) -> Result<bool> {
    let id = |path: &Path| {
        fs::symlink_metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .with_context(|| format!("look at `{}`", path.display()))
    };
    Ok(id(one)? == id(other)?)
}

/// Says in the standard library's words that the machine refused, where GLib said so.
fn of_the_host(error: anyhow::Error) -> anyhow::Error {
    let said = error.chain().find_map(|cause| cause.downcast_ref::<glib::Error>());
    let Some(said) = said else { return error };
    let eio = io::Error::from_raw_os_error(EIO);
    let host = match said.kind::<gio::IOErrorEnum>() {
        Some(gio::IOErrorEnum::NoSpace) => io::ErrorKind::StorageFull.into(),
        Some(gio::IOErrorEnum::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem.into(),
        Some(gio::IOErrorEnum::TooManyOpenFiles) => io::Error::from_raw_os_error(EMFILE),
        // GLib has no kind for it.
        Some(_)
            if eio.to_string().starts_with(said.message().rsplit(": ").next().unwrap_or("-")) =>
        {
            eio
        }
        _ => return error,
    };
    error.context(host)
}

/// Linux, asm-generic/errno-base.h.
const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// The number of an owner, as far as it is known.
fn known(owner: &Owner) -> u32 {
    match owner {
        Owner::Id(id) => *id,
        Owner::Name(_) => 0,
    }
}

/// A name in OSTree's alphabet: letters, digits, `.` and `-` stay, `_` doubles, every other byte
/// is `_` and two hexadecimal digits. Different names stay different.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'_' => escaped.push_str("__"),
            b'.' | b'-' if i > 0 => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("_{byte:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_one_to_one() {
        assert_eq!(escape("2026.11-3"), "2026.11-3");
        assert_eq!(escape("1,5_a"), "1_2c5__a");
        assert_eq!(escape(".x"), "_2ex");
    }
}
