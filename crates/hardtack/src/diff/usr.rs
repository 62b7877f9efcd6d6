//! What the tree of `/usr` says: files, origins, units, users.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use anyhow::{Context, Result};
use inspect::FoundOrigins;
use inspect::erofs::{self, FoundEntry, FoundTree, Kind};

use super::side::{Leaf, Side};

/// Which package brought each path; see `crate::origins`.
const ORIGINS: &str = "lib/hardtack/origins";
/// `/etc` as the image brings it, below `/usr`.
const ETC: &str = "share/factory/etc";
/// The most bytes of a text inside the image.
const TEXT_LIMIT: u64 = 64 << 20;
/// Set-user-id and set-group-id.
const SET_ID: u16 = 0o6000;
/// The attribute that holds file capabilities (capabilities(7)).
pub(super) const CAPABILITY: &str = "security.capability";

/// Reads the EROFS of a `/usr` into `side`.
pub(super) fn read<D: Read + Seek>(device: &mut D, side: &mut Side) -> Result<()> {
    let tree = erofs::read(device)?;
    let digests = erofs::digests(device, &tree)?;
    let origins = match text(device, &tree, ORIGINS)? {
        Some(text) => {
            Some(FoundOrigins::read(&text).with_context(|| format!("read `/usr/{ORIGINS}`"))?)
        }
        None => None,
    };
    let mut files = BTreeMap::new();
    for (path, entry) in tree.entries.iter().filter(|(path, _)| !path.is_empty()) {
        let whole = format!("usr/{path}");
        if let Some(origin) = origins.as_ref().and_then(|all| all.of(path)) {
            side.origins.insert(whole.clone(), origin.to_owned());
        }
        files.insert(whole, leaf(entry, digests.get(&entry.inode)));
    }
    side.bytes = origins.map(|_| bytes(&files, &side.origins));
    side.files = Some(files);
    side.units = Some(units(&tree));
    side.users = accounts(text(device, &tree, &format!("{ETC}/passwd"))?);
    side.groups = accounts(text(device, &tree, &format!("{ETC}/group"))?);
    if let Some(text) = text(device, &tree, "lib/os-release")? {
        let said = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        if let (Some(id), Some(version)) = (said("IMAGE_ID"), said("IMAGE_VERSION")) {
            side.name = format!("{id}_{version}");
        }
    }
    Ok(())
}

/// A text of the image; nothing where it has none.
fn text<D: Read + Seek>(device: &mut D, tree: &FoundTree, path: &str) -> Result<Option<String>> {
    if tree.entries.get(path).is_none_or(|entry| entry.kind != Kind::File) {
        return Ok(None);
    }
    let bytes = erofs::content(device, tree, path, TEXT_LIMIT)?;
    let text = String::from_utf8(bytes).with_context(|| format!("read `/usr/{path}` as text"))?;
    Ok(Some(text))
}

fn leaf(entry: &FoundEntry, digest: Option<&String>) -> Leaf {
    let (kind, target) = match &entry.kind {
        Kind::Directory => ("directory".to_owned(), None),
        Kind::File => ("file".to_owned(), None),
        Kind::Symlink(target) => ("link".to_owned(), Some(target.clone())),
        Kind::Other(bits) => (format!("type {bits:o}"), None),
    };
    Leaf {
        // The size of a directory is the file system's own affair.
        size: if entry.kind == Kind::File { entry.size } else { 0 },
        kind,
        mode: format!("{:04o}", entry.mode),
        owner: entry.uid,
        group: entry.gid,
        sha256: digest.filter(|_| entry.kind == Kind::File).cloned(),
        target,
        xattrs: entry
            .xattrs
            .iter()
            .map(|(name, value)| (name.clone(), inspect::hex(value)))
            .collect(),
    }
}

/// Bytes by origin, as the ledger of a build counts them: each content once, for the first of its
/// origins.
fn bytes(
    files: &BTreeMap<String, Leaf>,
    origins: &BTreeMap<String, String>,
) -> BTreeMap<String, u64> {
    let mut contents: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for (path, leaf) in files {
        let (Some(digest), Some(origin)) = (&leaf.sha256, origins.get(path)) else { continue };
        let first = contents.entry(digest).or_insert((origin, leaf.size));
        first.0 = first.0.min(origin);
    }
    let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
    for (origin, size) in contents.into_values().filter(|(_, size)| *size > 0) {
        let sum = bytes.entry(origin.to_owned()).or_default();
        *sum = sum.saturating_add(size);
    }
    bytes
}

/// Every system unit and whether it is on: masked, enabled (a directory of wants names it), or
/// disabled.
fn units(tree: &FoundTree) -> BTreeMap<String, String> {
    let places = [format!("{ETC}/systemd/system/"), "lib/systemd/system/".to_owned()];
    let mut units: BTreeMap<String, String> = BTreeMap::new();
    // What stands in /etc comes first, as systemd.unit(5) has it.
    for place in &places {
        for (path, entry) in tree.entries.range(place.clone()..) {
            let Some(name) = path.strip_prefix(place.as_str()) else { break };
            if entry.kind == Kind::Directory || name.contains('/') || !is_unit(name) {
                continue;
            }
            let masked = match &entry.kind {
                Kind::Symlink(target) => target == "/dev/null",
                _ => entry.size == 0,
            };
            let state = if masked { "masked" } else { "disabled" };
            units.entry(name.to_owned()).or_insert(state.to_owned());
        }
    }
    for place in &places {
        for (path, entry) in tree.entries.range(place.clone()..) {
            let Some(below) = path.strip_prefix(place.as_str()) else { break };
            let Some((by, name)) = below.split_once('/') else { continue };
            let wanted = [".wants", ".requires", ".upholds"].iter().any(|end| by.ends_with(end));
            if !wanted || entry.kind == Kind::Directory {
                continue;
            }
            let state = units.entry(name.to_owned()).or_default();
            if state != "masked" {
                "enabled".clone_into(state);
            }
        }
    }
    units
}

/// The kinds of units (systemd(1)).
fn is_unit(name: &str) -> bool {
    let kinds = [
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "slice",
        "scope",
    ];
    name.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(&kind))
}

/// Lines of passwd(5) or group(5) by name.
fn accounts(text: Option<String>) -> Option<BTreeMap<String, String>> {
    let text = text?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Some(lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect())
}

/// What runs with rights that its caller does not have: mode, owner and capabilities by path.
pub(super) fn privileged(files: &BTreeMap<String, Leaf>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, leaf) in files.iter().filter(|(_, leaf)| leaf.kind == "file") {
        let bits = u16::from_str_radix(&leaf.mode, 8).unwrap_or_default() & SET_ID;
        let capability = leaf.xattrs.get(CAPABILITY);
        if bits != 0 || capability.is_some() {
            let mut text = format!("{} {}:{}", leaf.mode, leaf.owner, leaf.group);
            if let Some(value) = capability {
                text += &format!(" capabilities {value}");
            }
            found.insert(path.clone(), text);
        }
    }
    found
}
