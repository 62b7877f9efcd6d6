//! The payload: entries of a tar archive (POSIX pax interchange format, GNU's long names), each
//! read in the one way that every reader agrees on, or refused.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use store::Owner;

use crate::extended::Extended;
use crate::{Entry, FILE_LIMIT, Kind};

/// Ids below this are the same on every system of the family (Debian Policy 9.2.2).
const STATIC_IDS: u64 = 100;
/// The id that means none, `(uid_t) -1`.
const NO_ID: u32 = u32::MAX;
/// Longest path and longest link target, in bytes (Linux, `PATH_MAX` without its NUL).
const PATH_LIMIT: usize = 4095;
/// Longest name, in bytes (Linux, `NAME_MAX`).
const NAME_LIMIT: usize = 255;

/// An entry as the tar reader gives it: its header and its content.
pub(crate) type Raw<'a, 'r> = tar::Entry<'a, &'r mut dyn Read>;

/// Reads `part` to its end; `visit` gets each entry and a reader of its content.
pub(crate) fn payload(
    part: &mut dyn Read,
    limit: usize,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut seen: BTreeMap<String, Entry> = BTreeMap::new();
    let mut archive = tar::Archive::new(part);
    let mut extended = Extended::default();
    for raw in archive.entries().context("read the payload")?.raw(true) {
        let mut raw = raw.context("read the payload")?;
        check_numbers(&raw)?;
        if extended.take_in(&mut raw)? {
            continue;
        }
        let Some(entry) = read_entry(&raw, std::mem::take(&mut extended))? else { continue };
        check_place(&entry, &seen)?;
        ensure!(seen.len() < limit, "the payload has more than {limit} entries");
        visit(&entry, &mut raw).with_context(|| format!("entry `{}`", entry.path))?;
        seen.insert(entry.path.clone(), entry);
    }
    ensure!(extended == Extended::default(), "the payload ends where it tells of one more entry");
    check_rest(archive.into_inner())
}

/// The entry, or `None` for the root directory.
fn read_entry(raw: &Raw<'_, '_>, extended: Extended) -> Result<Option<Entry>> {
    let header = raw.header();
    let written = match &extended.path {
        Some(path) => path.clone(),
        None => utf8(&raw.path_bytes()).context("an entry's path")?,
    };
    let kind = header.entry_type();
    let Some(path) = clean(&written, kind.is_dir())? else {
        ensure!(kind.is_dir(), "the root `{written}` is no directory");
        return Ok(None);
    };
    let size = header.entry_size().with_context(|| format!("size of `{path}`"))?;
    if let Some(said) = extended.size {
        ensure!(said == size, "`{path}` has {size} bytes by its header, {said} by what extends it");
    }
    let target = || -> Result<String> {
        let target = match &extended.target {
            Some(target) => target.clone(),
            None => {
                let bytes = raw.link_name_bytes();
                let bytes = bytes.with_context(|| format!("`{path}` has no target"))?;
                utf8(&bytes).with_context(|| format!("target of `{path}`"))?
            }
        };
        ensure!(
            !target.is_empty() && target.len() <= PATH_LIMIT && !target.contains(hidden),
            "target of `{path}` is empty, too long or holds control characters"
        );
        Ok(target)
    };
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        ensure!(
            size <= FILE_LIMIT,
            "`{path}` has {size} bytes, more than the {FILE_LIMIT} allowed"
        );
        Kind::File(size)
    } else if kind.is_symlink() {
        Kind::Symlink(target()?)
    } else if kind.is_hard_link() {
        let target = target()?;
        Kind::Hardlink(clean(&target, false)?.with_context(|| format!("`{path}` links to `/`"))?)
    } else {
        bail!("`{path}` is a device, pipe or another thing that no image holds ({kind:?})");
    };
    // Readers disagree whether such bytes are skipped or are the next header.
    let file = matches!(kind, Kind::File(_));
    ensure!(file || size == 0, "`{path}` is no file and has {size} bytes of content");
    let mode = match kind {
        Kind::Symlink(_) => 0o777,
        _ => {
            let mode = header.mode().with_context(|| format!("mode of `{path}`"))?;
            u16::try_from(mode & 0o7777)?
        }
    };
    let whose = |said: Option<u64>, written: std::io::Result<u64>, name, what: &str| {
        let id = said.map_or(written, Ok);
        id.map_err(Into::into)
            .and_then(|id| owner(id, name))
            .with_context(|| format!("{what} of `{path}`"))
    };
    let user = extended.user.as_deref().map(str::as_bytes).or(header.username_bytes());
    let group = extended.group.as_deref().map(str::as_bytes).or(header.groupname_bytes());
    let user = whose(extended.uid, header.uid(), user, "owner")?;
    let group = whose(extended.gid, header.gid(), group, "group")?;
    Ok(Some(Entry { path, kind, mode, owner: user, group, xattrs: extended.xattrs }))
}

/// Refuses numbers that only some readers take: a sign, a size beyond 64 bits.
fn check_numbers(raw: &Raw<'_, '_>) -> Result<()> {
    let header = raw.header().as_old();
    let fields = [("mode", &header.mode[..]), ("user", &header.uid), ("group", &header.gid)];
    for (what, field) in fields.into_iter().chain([("size", &header.size[..])]) {
        let octal = field.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | b'\0'));
        // Base 256 begins with the top bit (GNU tar manual, "Extensions").
        let wide = field.len().saturating_sub(8);
        let binary = field[0] == 0x80 && field[1..wide.max(1)].iter().all(|byte| *byte == 0);
        ensure!(
            octal || binary,
            "`{}` has the {what} `{}`, no number that every reader takes",
            raw.path_bytes().escape_ascii(),
            field.escape_ascii()
        );
    }
    Ok(())
}

/// Text without NUL and without what would make a terminal or a list show something else.
pub(crate) fn utf8(bytes: &[u8]) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => bail!("`{}` is not UTF-8 (Policy 10.10) or holds NUL", bytes.escape_ascii()),
    }
}

/// Whether a character is one that a name must not hold: controls, and those that turn the
/// direction of writing (Unicode Standard Annex 9, 2.1 and 2.2).
fn hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `path` if it can be one below a root.
pub(crate) fn inside(path: &str) -> Option<&str> {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.len() > NAME_LIMIT;
    let good = path.len() <= PATH_LIMIT && !path.split('/').any(bad) && !path.contains(hidden);
    good.then_some(path)
}

/// The path inside a tree, or `None` for the root itself.
fn clean(written: &str, directory: bool) -> Result<Option<String>> {
    let path = match written {
        "." | "./" => return Ok(None),
        path => path.strip_prefix("./").unwrap_or(path),
    };
    let path = if directory { path.strip_suffix('/').unwrap_or(path) } else { path };
    match inside(path) {
        Some(path) => Ok(Some(path.to_owned())),
        None => {
            let shown: String = written.chars().take(300).collect();
            bail!("`{}` is not a path inside a package", shown.escape_debug())
        }
    }
}

/// A user or group: static ids stay numbers, others are names where the archive has names.
fn owner(id: u64, name: Option<&[u8]>) -> Result<Owner> {
    let number = || -> Result<Owner> {
        let id = u32::try_from(id).ok().filter(|id| *id != NO_ID);
        id.map(Owner::Id).context("it is no id of Linux: those are below 2^32-1")
    };
    if id < STATIC_IDS {
        return number();
    }
    let name = utf8(name.unwrap_or_default())?;
    if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
        return number();
    }
    ensure!(
        !name.contains(|c: char| c.is_whitespace() || hidden(c) || matches!(c, ':' | '/')),
        "`{}` is no name of a user or group",
        name.escape_debug()
    );
    Ok(Owner::Name(name))
}

/// Refuses a path that clashes with what the package brought before.
fn check_place(entry: &Entry, seen: &BTreeMap<String, Entry>) -> Result<()> {
    let path = &entry.path;
    let directory = entry.kind == Kind::Directory;
    if let Some(before) = seen.get(path) {
        ensure!(directory && before == entry, "`{path}` comes twice, and not the same");
    }
    if !directory {
        let below = format!("{path}/");
        let next = seen.range(below.clone()..).next().filter(|(next, _)| next.starts_with(&below));
        if let Some((next, _)) = next {
            bail!("`{path}` is no directory, and `{next}` lies below it");
        }
    }
    let mut end = path.len();
    while let Some(slash) = path[..end].rfind('/') {
        end = slash;
        let above = seen.get(&path[..end]);
        let good = above.is_none_or(|above| above.kind == Kind::Directory);
        ensure!(good, "`{path}` lies below `{}`, no directory", &path[..end]);
    }
    if let Kind::Hardlink(target) = &entry.kind {
        let target_kind = seen.get(target).map(|entry| &entry.kind);
        ensure!(
            matches!(target_kind, Some(Kind::File(_) | Kind::Hardlink(_))),
            "`{path}` is a hard link to `{target}`, which no earlier file is"
        );
    }
    Ok(())
}

/// Behind the last entry there is nothing but zeros.
fn check_rest(part: &mut dyn Read) -> Result<()> {
    let mut piece = [0; 8192];
    loop {
        let read = part.read(&mut piece).context("read the payload to its end")?;
        ensure!(piece[..read].iter().all(|byte| *byte == 0), "the payload goes on behind its end");
        if read == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_ids_stay_numbers_and_others_become_names() {
        assert_eq!(owner(42, Some(b"shadow")).unwrap(), Owner::Id(42));
        assert_eq!(owner(998, Some(b"_chrony")).unwrap(), Owner::Name("_chrony".into()));
        assert_eq!(owner(998, Some(b"998")).unwrap(), Owner::Id(998));
        assert_eq!(owner(998, None).unwrap(), Owner::Id(998));
        assert_eq!(owner(1 << 31, None).unwrap(), Owner::Id(1 << 31));
        for id in [u64::from(NO_ID), 1 << 32, u64::MAX] {
            assert!(owner(id, None).is_err(), "{id}");
        }
        for name in ["a b", "a:b", "../a", "a\nb"] {
            assert!(owner(998, Some(name.as_bytes())).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_payload_of_too_many_entries_stops_at_the_limit() {
        let mut bytes = Vec::new();
        for i in 0..4 {
            let mut header = tar::Header::new_gnu();
            header.set_path(format!("f{i}")).unwrap();
            header.set_size(0);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
        }
        let mut visited = 0;
        let mut read = |limit| {
            payload(&mut &bytes[..], limit, &mut |_, _| {
                visited += 1;
                Ok(())
            })
        };
        read(4).unwrap();
        assert!(read(3).unwrap_err().to_string().contains("more than 3 entries"));
        assert_eq!(visited, 4 + 3);
    }
}
