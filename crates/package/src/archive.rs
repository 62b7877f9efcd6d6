//! Reading a package's archive: entries and control data, never an extraction.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::Owner;

use crate::container::deb_member;
use crate::payload::{inside, payload, utf8};
use crate::{Family, Id, Moment, Relations, Script, read_control_stanza};

/// One entry of a package's payload, as the archive writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path without leading `./` or `/`; well-formed as `store::Tree` wants it.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub mode: u16,
    /// User.
    pub owner: Owner,
    /// Group.
    pub group: Owner,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// The kinds of entries that an image can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of this many bytes.
    File(u64),
    /// A symbolic link and its target.
    Symlink(String),
    /// A hard link to an earlier path of the same package.
    Hardlink(String),
}

/// A package's control data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Which package it is.
    pub id: Id,
    /// What it says of others.
    pub relations: Relations,
    /// Paths (no leading `/`) that the package marks as configuration.
    pub config: Vec<String>,
    /// Maintainer scripts.
    pub scripts: Vec<Script>,
}

/// Largest file that a package may hold, in bytes.
pub const FILE_LIMIT: u64 = 2 << 30;
/// Largest sum of a package's unpacked payload, headers included, in bytes.
pub const PAYLOAD_LIMIT: u64 = 8 << 30;
/// Most entries of a package; the largest of Debian 13 has some hundred thousand.
pub const ENTRY_LIMIT: usize = 1 << 20;

/// Largest unpacked control part, in bytes.
const CONTROL_LIMIT: u64 = 32 << 20;
/// Most entries of a control part.
const CONTROL_ENTRIES: usize = 1024;

/// Reads the payload of `archive` in the archive's order: `visit` gets each entry and a reader of
/// its content, which it may leave unread.
///
/// # Errors
/// A malformed or damaged archive, or one that two readers could read differently; an entry that
/// no image can hold (device, pipe, absolute or climbing path, a name that is not UTF-8 or holds
/// control characters, an extended attribute beyond `security.capability` and `user.*`); a path
/// given twice, a hard link to a path that no earlier file has, a path below something that is no
/// directory; a file over [`FILE_LIMIT`], a payload over [`PAYLOAD_LIMIT`], [`ENTRY_LIMIT`] or a
/// thousand times its packed size; whatever `visit` returns.
pub fn open(
    family: Family,
    archive: impl Read,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    match family {
        Family::Deb => {
            deb_member(archive, "data.tar", PAYLOAD_LIMIT, |part| payload(part, ENTRY_LIMIT, visit))
        }
    }
}

/// Reads the control data of `archive`: the payload is not touched.
///
/// Scripts that run before or after unpacking are given whole; what the package watches and sets
/// off is a script at [`Moment::Triggered`] without interpreter. Removal scripts and the dialogue
/// before an installation are not read.
///
/// # Errors
/// A malformed archive, or control data that lacks a name, version or architecture.
pub fn control(family: Family, archive: impl Read) -> Result<Control> {
    match family {
        Family::Deb => deb_member(archive, "control.tar", CONTROL_LIMIT, |part| {
            deb_control(family, control_files(part)?)
        }),
    }
}

/// The files of the control part by name.
fn control_files(part: &mut dyn Read) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    payload(part, CONTROL_ENTRIES, &mut |entry, content| {
        if let Kind::File(_) = entry.kind {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            files.insert(entry.path.clone(), bytes);
        }
        Ok(())
    })?;
    Ok(files)
}

fn deb_control(family: Family, mut files: BTreeMap<String, Vec<u8>>) -> Result<Control> {
    let stanza = files.remove("control").context("the control part has no file `control`")?;
    let (id, relations) = read_control_stanza(family, &utf8(&stanza)?)?;
    let config = match files.remove("conffiles") {
        Some(bytes) => conffiles(&utf8(&bytes)?).context("read `conffiles`")?,
        None => Vec::new(),
    };
    let moments = [
        ("preinst", Moment::BeforeUnpack),
        ("postinst", Moment::AfterUnpack),
        ("triggers", Moment::Triggered),
    ];
    let script = |(name, moment)| files.remove(name).map(|bytes| deb_script(moment, &bytes));
    let scripts = moments.into_iter().filter_map(script).collect();
    Ok(Control { id, relations, config, scripts })
}

/// Absolute paths, one a line; one that is to vanish on an upgrade is no file of this package
/// (deb-conffiles(5)).
fn conffiles(text: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some(path) = line.strip_prefix('/') else {
            let gone = line.strip_prefix("remove-on-upgrade ").map(str::trim_start);
            let gone = gone.and_then(|path| path.strip_prefix('/'));
            gone.with_context(|| format!("`{}` is not an absolute path", line.escape_debug()))?;
            continue;
        };
        match inside(path) {
            Some(path) => paths.push(path.to_owned()),
            None => bail!("`{}` is not a path inside a package", line.escape_debug()),
        }
    }
    Ok(paths)
}

fn deb_script(moment: Moment, bytes: &[u8]) -> Script {
    let body = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // A program: it cannot be read, so a rule names its digest.
        Err(_) => format!("program {}\n", store::Digest::of(bytes)),
    };
    let first = body.lines().next().and_then(|line| line.strip_prefix("#!")).unwrap_or_default();
    let interpreter = first.split_whitespace().map(str::to_owned).collect();
    Script { moment, interpreter, body }
}
