//! A tree as a tar archive tells it: every path with all that is compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

/// Contents that some comparison reads are kept where they are no larger than this, in bytes.
const KEPT: u64 = 4 << 20;
/// Where such contents lie.
const READ: &[&str] = &["etc/", "usr/lib/modules/", "usr/share/factory/etc/", "var/lib/dpkg/info/"];

/// Paths without leading `/`, sorted.
#[derive(Debug, Default)]
pub(crate) struct Walk(pub(crate) BTreeMap<String, Found>);

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// Permission bits, set-id and sticky included; of a link nothing.
    pub(crate) mode: u32,
    pub(crate) user: u64,
    pub(crate) group: u64,
    /// Extended attributes and access lists.
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
    /// The first path of the same inode, where there are several.
    pub(crate) inode: Option<String>,
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File { sha256: String, size: u64, bytes: Option<Vec<u8>> },
    Link(String),
    Device,
}

impl Walk {
    /// Reads an archive.
    pub(crate) fn of(archive: &Path) -> Result<Walk> {
        let about = || format!("read `{}`", archive.display());
        let file = BufReader::new(File::open(archive).with_context(about)?);
        Walk::read(file).with_context(about)
    }

    pub(crate) fn read(archive: impl Read) -> Result<Walk> {
        let mut walk = Walk::default();
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = String::from_utf8(entry.path_bytes().into_owned())
                .context("read a path as UTF-8")?;
            let path = plain(&path);
            if !path.is_empty() {
                walk.add(&path, &mut entry).with_context(|| format!("read `{path}`"))?;
            }
        }
        walk.name_inodes();
        Ok(walk)
    }

    fn add(&mut self, path: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<()> {
        let mut attributes = BTreeMap::new();
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            let name = record.key().context("read a pax record")?;
            if name.starts_with("SCHILY.xattr.") || name.starts_with("SCHILY.acl.") {
                attributes.insert(name.to_owned(), record.value_bytes().to_vec());
            }
        }
        let target = match entry.link_name_bytes() {
            Some(target) => String::from_utf8(target.into_owned()).context("read a target")?,
            None => String::new(),
        };
        if entry.header().entry_type() == EntryType::Link {
            let first = plain(&target);
            let found = self.0.get_mut(&first);
            let found = found.with_context(|| format!("find `{first}`, which it is linked to"))?;
            found.inode.get_or_insert(first);
            let found = found.clone();
            self.0.insert(path.to_owned(), found);
            return Ok(());
        }
        let header = entry.header();
        let (mode, user, group) = (header.mode()? & 0o7777, header.uid()?, header.gid()?);
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Link(target),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                content(path, entry)?
            }
            _ => Kind::Device,
        };
        let mode = if matches!(kind, Kind::Link(_)) { 0 } else { mode };
        let found = Found { kind, mode, user, group, attributes, inode: None };
        self.0.insert(path.to_owned(), found);
        Ok(())
    }

    /// Calls every inode by its first path, whatever the order of the archive.
    fn name_inodes(&mut self) {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        for (path, found) in &self.0 {
            if let Some(inode) = &found.inode {
                first.entry(inode.clone()).or_insert_with(|| path.clone());
            }
        }
        for found in self.0.values_mut() {
            found.inode = found.inode.take().and_then(|inode| first.get(&inode).cloned());
        }
    }

    /// The bytes of a small file where bytes are kept.
    pub(crate) fn bytes(&self, path: &str) -> Option<&[u8]> {
        match &self.0.get(path)?.kind {
            Kind::File { bytes, .. } => bytes.as_deref(),
            _ => None,
        }
    }

    /// Where a path ends, links followed inside the tree; `None` when it dangles or loops.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut steps = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            if let Some(Found { kind: Kind::Link(target), .. }) = self.0.get(&at.join("/")) {
                steps += 1;
                if steps > 40 {
                    return None;
                }
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        let end = at.join("/");
        self.0.contains_key(&end).then_some(end)
    }
}

fn plain(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

fn content(path: &str, entry: &mut impl Read) -> Result<Kind> {
    let mut hasher = Sha256::new();
    let mut kept = Some(Vec::new()).filter(|_| READ.iter().any(|place| path.starts_with(place)));
    let mut piece = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let n = entry.read(&mut piece).context("read its content")?;
        if n == 0 {
            break;
        }
        hasher.update(&piece[..n]);
        size += n as u64;
        kept = kept.filter(|_| size <= KEPT);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&piece[..n]);
        }
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Kind::File { sha256, size, bytes: kept })
}
