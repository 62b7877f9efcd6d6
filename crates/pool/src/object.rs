//! OSTree's object header and checksum (libostree `ostree-core.h`, "file header"), computed
//! without libostree.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use ostree::ObjectType;
use ostree::glib::{self, prelude::*};
use store::{Blob, Digest, Entry, Hasher, Node, Store};

use crate::known;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The extended attribute of [`file()`] (libostree, `ostree-repo-private.h`).
pub(crate) const FILE_METADATA: &str = "user.ostreemeta";

/// A content object: what precedes the content, and the checksum over both.
pub(crate) struct Object {
    pub(crate) checksum: Digest,
    pub(crate) header: Vec<u8>,
}

/// Checksums of objects by content and header: who commits what was admitted computes none.
#[derive(Default)]
pub(crate) struct Checksums(Mutex<BTreeMap<(Blob, Vec<u8>), Digest>>);

impl Object {
    /// The object of a file or symbolic link.
    pub(crate) fn of(entry: &Entry, store: &Store, checksums: &Checksums) -> Result<Self> {
        let (kind, target) = match &entry.node {
            Node::Symlink(target) => (S_IFLNK, target.as_str()),
            Node::File(_) | Node::Directory => (S_IFREG, ""),
        };
        let header = header(entry, kind, target)?;
        let Some(blob) = entry.blob() else {
            return Ok(Self { checksum: Digest::of(&header), header });
        };
        let key = (blob, header);
        if let Some(checksum) = checksums.0.lock().ok().and_then(|all| all.get(&key).copied()) {
            return Ok(Self { checksum, header: key.1 });
        }
        let checksum = checksum(&key.1, &blob, store)?;
        let header = key.1.clone();
        if let Ok(mut all) = checksums.0.lock() {
            all.insert(key, checksum);
        }
        Ok(Self { checksum, header })
    }
}

/// SHA-256 of the header and the content behind it.
fn checksum(header: &[u8], blob: &Blob, store: &Store) -> Result<Digest> {
    let mut hasher = Hasher::new();
    hasher.update(header);
    let mut file = store.open_blob(blob)?;
    let mut piece = vec![0; 128 << 10];
    loop {
        let n = match file.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.with_context(|| format!("read blob {}", blob.digest))?,
        };
        if n == 0 {
            return Ok(hasher.finish().digest);
        }
        hasher.update(&piece[..n]);
    }
}

/// What an object's file is called: `ab/cdef….file`. Other files are none.
pub(crate) fn of_file(path: &Path) -> Option<(ObjectType, String)> {
    let kind = match path.extension()?.to_str()? {
        "file" => ObjectType::File,
        "dirtree" => ObjectType::DirTree,
        "dirmeta" => ObjectType::DirMeta,
        "commit" => ObjectType::Commit,
        _ => return None,
    };
    let folder = path.parent()?.file_name()?.to_str()?;
    let checksum = format!("{folder}{}", path.file_stem()?.to_str()?);
    checksum.parse::<Digest>().ok().map(|_| (kind, checksum))
}

/// The header: size of the variant (32 bits, big endian), four zero bytes, then uid, gid, mode,
/// rdev (big endian), symbolic-link target and extended attributes as GVariant `(uuuusa(ayay))`.
fn header(entry: &Entry, kind: u32, target: &str) -> Result<Vec<u8>> {
    let variant = (
        known(&entry.owner).to_be(),
        known(&entry.group).to_be(),
        (kind | u32::from(entry.mode)).to_be(),
        0u32,
        target,
        xattrs(entry),
    )
        .to_variant();
    let data = variant.data();
    let mut header =
        u32::try_from(data.len()).context("measure an object's header")?.to_be_bytes().to_vec();
    header.extend([0; 4]);
    header.extend_from_slice(data);
    Ok(header)
}

/// The metadata object of a directory.
pub(crate) fn directory(entry: &Entry) -> glib::Variant {
    metadata(entry, S_IFDIR)
}

/// What a bare-user repository keeps beside the content of a file, in [`FILE_METADATA`].
pub(crate) fn file(entry: &Entry) -> glib::Variant {
    metadata(entry, S_IFREG)
}

/// Owner, group, mode and extended attributes: GVariant `(uuua(ayay))`.
fn metadata(entry: &Entry, kind: u32) -> glib::Variant {
    let mode = kind | u32::from(entry.mode);
    (known(&entry.owner).to_be(), known(&entry.group).to_be(), mode.to_be(), xattrs(entry))
        .to_variant()
}

/// Attributes sorted by name; names carry a terminating NUL.
fn xattrs(entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let named = |name: &String| [name.as_bytes(), b"\0"].concat();
    entry.xattrs.iter().map(|(name, value)| (named(name), value.clone())).collect()
}
