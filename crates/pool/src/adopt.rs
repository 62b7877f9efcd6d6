//! A content that is no object yet becomes one where it lies.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::XattrFlags;
use store::Entry;

use crate::object::{self, Object};
use crate::{Pool, names};

/// What a bare-user repository leaves of a file's mode, and what it adds (libostree,
/// `ostree-repo-commit.c`).
const KEPT_MODE: u32 = 0o775;
const READABLE: u32 = 0o400;

impl Pool {
    /// Keeps other processes from adopting: a content must not become two objects at once.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.store.root().join("pool/lock");
        let lock = File::create(&path).with_context(|| format!("make `{}`", path.display()))?;
        lock.lock().with_context(|| format!("wait for `{}`", path.display()))?;
        Ok(lock)
    }

    /// Gives the blob's own file what an object has, and the object's name, so that nothing is
    /// copied. Gives whether that went well: a content that is an object already, or that another
    /// file system holds, is left to libostree, which copies it and knows the words for errors.
    pub(crate) fn adopt(&self, entry: &Entry, object: &Object) -> bool {
        let Some(blob) = entry.blob() else { return false };
        let place = self.store.blob_path(&blob);
        names(&place) == 1 && make(&place, entry, &self.file(object)).is_ok()
    }
}

fn make(place: &Path, entry: &Entry, object: &Path) -> io::Result<()> {
    let metadata = object::file(entry);
    rustix::fs::setxattr(place, object::FILE_METADATA, metadata.data(), XattrFlags::empty())?;
    let mode = u32::from(entry.mode) & KEPT_MODE | READABLE;
    fs::set_permissions(place, Permissions::from_mode(mode))?;
    let Some(folder) = object.parent() else { return Err(io::ErrorKind::NotFound.into()) };
    fs::create_dir_all(folder)?;
    fs::hard_link(place, object)
}
