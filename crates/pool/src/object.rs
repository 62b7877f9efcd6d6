//! OSTree's object header and checksum (libostree `ostree-core.h`, "file header"), computed
//! without libostree.

use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use ostree::ObjectType;
use ostree::glib::{self, prelude::*};
use store::{Digest, Entry, Hasher, Node, Store};

use crate::known;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// A content object: what precedes the content, and the checksum over both.
pub(crate) struct Object {
    pub(crate) checksum: Digest,
    pub(crate) header: Vec<u8>,
}

impl Object {
    /// The object of a file or symbolic link.
    pub(crate) fn of(entry: &Entry, store: &Store) -> Result<Self> {
        let (kind, target) = match &entry.node {
            Node::Symlink(target) => (S_IFLNK, target.as_str()),
            Node::File(_) | Node::Directory => (S_IFREG, ""),
        };
        let header = header(entry, kind, target)?;
        let mut hasher = Hasher::new();
        hasher.update(&header);
        if let Some(blob) = entry.blob() {
            let mut file = store.open_blob(&blob)?;
            let mut piece = vec![0; 128 << 10];
            loop {
                let n = match file.read(&mut piece) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read.with_context(|| format!("read blob {}", blob.digest))?,
                };
                if n == 0 {
                    break;
                }
                hasher.update(&piece[..n]);
            }
        }
        Ok(Self { checksum: hasher.finish().digest, header })
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

/// The metadata object of a directory: GVariant `(uuua(ayay))`.
pub(crate) fn directory(entry: &Entry) -> glib::Variant {
    let mode = S_IFDIR | u32::from(entry.mode);
    (known(&entry.owner).to_be(), known(&entry.group).to_be(), mode.to_be(), xattrs(entry))
        .to_variant()
}

/// Attributes sorted by name; names carry a terminating NUL.
fn xattrs(entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    let named = |name: &String| [name.as_bytes(), b"\0"].concat();
    entry.xattrs.iter().map(|(name, value)| (named(name), value.clone())).collect()
}
