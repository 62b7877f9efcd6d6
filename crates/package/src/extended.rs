//! Headers that say more of the entry behind them: GNU's long names and pax records.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use crate::payload::{Raw, utf8};

/// Longest header of this kind, in bytes.
const HEADER_LIMIT: u64 = 1 << 20;
/// Longest value of an extended attribute, in bytes (Linux, `XATTR_SIZE_MAX`).
const VALUE_LIMIT: usize = 64 << 10;
/// Longest name of an extended attribute, in bytes (Linux, `XATTR_NAME_MAX`).
const NAME_LIMIT: usize = 255;
/// pax records that change nothing in an image: times are the lock's, words are for people.
const IGNORED: [&[u8]; 4] = [b"mtime", b"atime", b"ctime", b"comment"];

/// What is known of the next entry before its own header comes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) path: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

impl Extended {
    /// Reads `raw` if it is such a header, and says whether it was.
    pub(crate) fn take_in(&mut self, raw: &mut Raw<'_, '_>) -> Result<bool> {
        let kind = raw.header().entry_type();
        if kind.is_gnu_longname() {
            set(&mut self.path, long_name(raw)?, "path")?;
        } else if kind.is_gnu_longlink() {
            set(&mut self.target, long_name(raw)?, "link target")?;
        } else if kind.is_pax_local_extensions() {
            let bytes = content(raw)?;
            self.records(&bytes).context("read the records (pax) of an entry")?;
        } else if kind.is_pax_global_extensions() {
            // One such header would change every entry behind it, in some readers only.
            bail!("the payload has a header (pax, global) for all entries: repack it without");
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads `length keyword=value` lines (POSIX.1-2017, pax, "Extended Header").
    fn records(&mut self, mut rest: &[u8]) -> Result<()> {
        while !rest.is_empty() {
            let (record, after) = split_record(rest).context("a record is malformed")?;
            rest = after;
            let equals = record.iter().position(|byte| *byte == b'=');
            let (key, value) = record.split_at(equals.context("a record has no `=`")?);
            self.record(key, &value[1..])
                .with_context(|| format!("record `{}`", key.escape_ascii()))?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => set(&mut self.path, utf8(value)?, "path"),
            b"linkpath" => set(&mut self.target, utf8(value)?, "link target"),
            b"size" => set(&mut self.size, number(value)?, "size"),
            b"uid" => set(&mut self.uid, number(value)?, "user"),
            b"gid" => set(&mut self.gid, number(value)?, "group"),
            b"uname" => set(&mut self.user, utf8(value)?, "user's name"),
            b"gname" => set(&mut self.group, utf8(value)?, "group's name"),
            key if IGNORED.contains(&key) => Ok(()),
            key => match key.strip_prefix(b"SCHILY.xattr.") {
                Some(name) => self.xattr(&utf8(name)?, value),
                None => bail!("it says what this reader does not know, so it would be lost"),
            },
        }
    }

    fn xattr(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let allowed = match name {
            "security.capability" => is_capability(value),
            name => name.strip_prefix("user.").is_some_and(|rest| !rest.is_empty()),
        };
        ensure!(
            allowed && name.len() <= NAME_LIMIT && !name.contains(char::is_control),
            "a package may carry `security.capability` (well-formed) and `user.*` alone: repack it \
             without this extended attribute"
        );
        ensure!(value.len() <= VALUE_LIMIT, "the value has more than {VALUE_LIMIT} bytes");
        let before = self.xattrs.insert(name.to_owned(), value.to_owned());
        ensure!(before.is_none(), "the extended attribute comes twice");
        Ok(())
    }
}

/// A value is said once.
fn set<T>(known: &mut Option<T>, value: T, what: &str) -> Result<()> {
    ensure!(known.replace(value).is_none(), "the {what} of one entry is said twice");
    Ok(())
}

fn content(raw: &mut Raw<'_, '_>) -> Result<Vec<u8>> {
    let size = raw.header().entry_size().context("size of an extending header")?;
    ensure!(size <= HEADER_LIMIT, "an extending header has {size} bytes, more than {HEADER_LIMIT}");
    let mut bytes = Vec::new();
    raw.read_to_end(&mut bytes).context("read an extending header")?;
    ensure!(bytes.len() as u64 == size, "an extending header is cut");
    Ok(bytes)
}

/// A path that is too long for a header, ended by NUL (GNU tar manual, "Basic Tar Format").
fn long_name(raw: &mut Raw<'_, '_>) -> Result<String> {
    let bytes = content(raw)?;
    utf8(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).context("a long name")
}

/// The first record without its length and its line end, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&bytes[..blank]).ok()?).ok()?;
    let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
    Some((record, &bytes[length..]))
}

fn number(text: &[u8]) -> Result<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).context("it is no number")
}

/// Whether `value` is what Linux takes as a file's capabilities (`linux/capability.h`,
/// `struct vfs_cap_data`): five words, of which the first ends in the revision. Revision 3 names a
/// user namespace of one machine, which no package can know.
fn is_capability(value: &[u8]) -> bool {
    const SIZE: usize = 20;
    const REVISION_2: u8 = 2;
    value.len() == SIZE && value[3] == REVISION_2
}
