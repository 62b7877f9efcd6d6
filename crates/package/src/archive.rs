//! Reading a package's archive: entries and control data, never an extraction.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use store::Owner;

use crate::container::deb_member;
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

/// Largest unpacked control part, in bytes.
const CONTROL_LIMIT: u64 = 32 << 20;
/// Ids below this are the same on every system of the family (Debian Policy 9.2.2).
const STATIC_IDS: u64 = 100;
/// Longest path and longest link target, in bytes.
const PATH_LIMIT: usize = 4095;

/// Reads the payload of `archive` in the archive's order: `visit` gets each entry and a reader of
/// its content, which it may leave unread.
///
/// # Errors
/// A malformed or damaged archive; an entry that no image can hold (device, pipe, absolute or
/// climbing path, a name that is not UTF-8); a path given twice, a hard link to a path that no
/// earlier file has, a path below something that is no directory; a file over [`FILE_LIMIT`], a
/// payload over [`PAYLOAD_LIMIT`]; whatever `visit` returns.
pub fn open(
    family: Family,
    archive: impl Read,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    match family {
        Family::Deb => deb_member(archive, "data.tar", PAYLOAD_LIMIT, |part| payload(part, visit)),
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

fn payload(
    part: &mut dyn Read,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut seen: BTreeMap<String, Kind> = BTreeMap::new();
    let mut archive = tar::Archive::new(part);
    for entry in archive.entries().context("read the payload")? {
        let mut raw = entry.context("read the payload")?;
        let Some(entry) = read_entry(&mut raw)? else { continue };
        check_place(&entry, &seen)?;
        visit(&entry, &mut raw).with_context(|| format!("entry `{}`", entry.path))?;
        seen.insert(entry.path, entry.kind);
    }
    Ok(())
}

/// The entry, or `None` for the root directory.
fn read_entry(raw: &mut tar::Entry<'_, &mut dyn Read>) -> Result<Option<Entry>> {
    let written = utf8(&raw.path_bytes()).context("an entry's path")?;
    let kind = raw.header().entry_type();
    let Some(path) = clean(&written, kind.is_dir())? else {
        ensure!(kind.is_dir(), "the root `{written}` is no directory");
        return Ok(None);
    };
    let target = |raw: &tar::Entry<'_, &mut dyn Read>| -> Result<String> {
        let target = raw.link_name_bytes().with_context(|| format!("`{path}` has no target"))?;
        let target = utf8(&target).with_context(|| format!("target of `{path}`"))?;
        ensure!(
            !target.is_empty() && target.len() <= PATH_LIMIT,
            "target of `{path}` is empty or too long"
        );
        Ok(target)
    };
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        ensure!(
            raw.size() <= FILE_LIMIT,
            "`{path}` has {} bytes, more than the {FILE_LIMIT} allowed",
            raw.size()
        );
        Kind::File(raw.size())
    } else if kind.is_symlink() {
        Kind::Symlink(target(raw)?)
    } else if kind.is_hard_link() {
        let target = target(raw)?;
        Kind::Hardlink(clean(&target, false)?.with_context(|| format!("`{path}` links to `/`"))?)
    } else {
        bail!("`{path}` is a device, pipe or another thing that no image holds ({kind:?})");
    };
    let mode = match kind {
        Kind::Symlink(_) => 0o777,
        _ => {
            let mode = raw.header().mode().with_context(|| format!("mode of `{path}`"))?;
            u16::try_from(mode & 0o7777)?
        }
    };
    let header = raw.header();
    let uid = header.uid().with_context(|| format!("owner of `{path}`"))?;
    let gid = header.gid().with_context(|| format!("group of `{path}`"))?;
    let user = owner(uid, header.username_bytes()).with_context(|| format!("owner of `{path}`"))?;
    let group =
        owner(gid, header.groupname_bytes()).with_context(|| format!("group of `{path}`"))?;
    let xattrs = xattrs(raw).with_context(|| format!("extended attributes of `{path}`"))?;
    Ok(Some(Entry { path, kind, mode, owner: user, group, xattrs }))
}

fn utf8(bytes: &[u8]) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => bail!("`{}` is not UTF-8 (Policy 10.10) or holds NUL", bytes.escape_ascii()),
    }
}

/// The path inside a tree, or `None` for the root itself.
fn clean(written: &str, directory: bool) -> Result<Option<String>> {
    let path = match written {
        "." | "./" => return Ok(None),
        path => path.strip_prefix("./").unwrap_or(path),
    };
    let path = if directory { path.strip_suffix('/').unwrap_or(path) } else { path };
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.len() > 255;
    if path.len() > PATH_LIMIT || path.split('/').any(bad) {
        bail!("`{}` is not a path inside a package", written.escape_debug());
    }
    Ok(Some(path.to_owned()))
}

/// A user or group: static ids stay numbers, others are names where the archive has names.
fn owner(id: u64, name: Option<&[u8]>) -> Result<Owner> {
    if id < STATIC_IDS {
        return Ok(Owner::Id(u32::try_from(id)?));
    }
    let name = utf8(name.unwrap_or_default())?;
    if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Owner::Id(u32::try_from(id)?));
    }
    Ok(Owner::Name(name))
}

fn xattrs(raw: &mut tar::Entry<'_, &mut dyn Read>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if let Some(records) = raw.pax_extensions()? {
        for record in records {
            let record = record?;
            if let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                found.insert(utf8(name)?, record.value_bytes().to_vec());
            }
        }
    }
    Ok(found)
}

/// Refuses a path that clashes with what the package brought before.
fn check_place(entry: &Entry, seen: &BTreeMap<String, Kind>) -> Result<()> {
    let path = &entry.path;
    if let Some(before) = seen.get(path) {
        let both = (before, &entry.kind);
        ensure!(matches!(both, (Kind::Directory, Kind::Directory)), "`{path}` comes twice");
    }
    let mut end = path.len();
    while let Some(slash) = path[..end].rfind('/') {
        end = slash;
        let above = seen.get(&path[..end]).unwrap_or(&Kind::Directory);
        ensure!(*above == Kind::Directory, "`{path}` lies below `{}`, no directory", &path[..end]);
    }
    if let Kind::Hardlink(target) = &entry.kind {
        ensure!(
            matches!(seen.get(target), Some(Kind::File(_) | Kind::Hardlink(_))),
            "`{path}` is a hard link to `{target}`, which no earlier file is"
        );
    }
    Ok(())
}

/// The files of the control part by name.
fn control_files(part: &mut dyn Read) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    payload(part, &mut |entry, content| {
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
        Some(bytes) => conffiles(&utf8(&bytes)?),
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

/// Absolute paths, one a line; one that is to vanish on an upgrade is no file of this package.
fn conffiles(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.trim().strip_prefix('/')).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar archive of raw headers: what a packer would refuse to write.
    #[derive(Default)]
    struct Tar(Vec<u8>);

    impl Tar {
        fn add(
            mut self,
            path: &[u8],
            kind: u8,
            target: &str,
            content: &[u8],
            claimed: u64,
        ) -> Self {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path);
            header.set_entry_type(tar::EntryType::new(kind));
            header.set_size(claimed);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_cksum();
            self.0.extend_from_slice(header.as_bytes());
            self.0.extend_from_slice(content);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
            self
        }

        fn file(self, path: &str, content: &str) -> Self {
            let size = content.len() as u64;
            self.add(path.as_bytes(), b'0', "", content.as_bytes(), size)
        }

        fn link(self, path: &str, target: &str) -> Self {
            self.add(path.as_bytes(), b'2', target, b"", 0)
        }

        fn end(mut self) -> Vec<u8> {
            self.0.resize(self.0.len() + 1024, 0);
            self.0
        }
    }

    fn member(name: &str, body: &[u8]) -> Vec<u8> {
        let fields = (0, 0, 0, 100_644, body.len());
        let (time, user, group, mode, size) = fields;
        let header = format!("{name:<16}{time:<12}{user:<6}{group:<6}{mode:<8}{size:<10}`\n");
        let mut out = header.into_bytes();
        out.extend_from_slice(body);
        if body.len() % 2 == 1 {
            out.push(b'\n');
        }
        out
    }

    fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
        let members = members.iter().flat_map(|(name, body)| member(name, body));
        b"!<arch>\n".iter().copied().chain(members).collect()
    }

    fn package(payload: Tar) -> Vec<u8> {
        let control = Tar::default().file("./control", "Package: a\n").end();
        deb(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &payload.end())])
    }

    fn paths(archive: &[u8]) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        open(Family::Deb, archive, &mut |entry, _| {
            paths.push(entry.path.clone());
            Ok(())
        })?;
        Ok(paths)
    }

    fn refusal(archive: &[u8]) -> String {
        format!("{:#}", paths(archive).unwrap_err())
    }

    #[test]
    fn hostile_payloads_are_refused_by_name() {
        let tar = Tar::default;
        let cases: &[(&str, Tar, &str)] = &[
            ("climbs", tar().file("./../etc/x", ""), "is not a path inside a package"),
            ("absolute", tar().file("/etc/x", ""), "is not a path inside a package"),
            ("empty component", tar().file("./etc//x", ""), "is not a path inside a package"),
            ("device", tar().add(b"./dev/sda", b'4', "", b"", 0), "is a device"),
            ("pipe", tar().add(b"./p", b'6', "", b"", 0), "is a device"),
            ("not UTF-8", tar().add(b"./\xff", b'0', "", b"", 0), "is not UTF-8"),
            ("twice", tar().file("./x", "").file("./x", "1"), "comes twice"),
            ("file over link", tar().link("./x", "/etc/passwd").file("./x", "1"), "comes twice"),
            ("below a link", tar().link("./x", "/etc").file("./x/passwd", ""), "lies below `x`"),
            ("link to nothing", tar().add(b"./x", b'1', "./y", b"", 0), "which no earlier file is"),
            ("link out", tar().add(b"./x", b'1', "/etc/shadow", b"", 0), "is not a path inside"),
            ("huge", tar().add(b"./x", b'0', "", b"", 3 << 30), "more than the"),
            ("empty target", tar().link("./x", ""), "has no target"),
        ];
        for (name, payload, says) in cases {
            let error = refusal(&package(Tar(payload.0.clone())));
            assert!(error.contains(says), "{name}: {error}");
        }
        let good = tar().file("./a", "1").link("./b", "a").add(b"./c", b'1', "./a", b"", 0);
        assert_eq!(paths(&package(good)).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn members_in_another_order_are_refused() {
        let payload = Tar::default().file("./a", "1").end();
        let member = |name: &'static str, body| (name, body);
        let binary = member("debian-binary", &b"2.0\n"[..]);
        let (control, data) = (member("control.tar", &payload), member("data.tar", &payload));
        assert!(refusal(&deb(&[control, binary, data])).contains("in a place"));
        assert!(refusal(&deb(&[binary, data, control])).contains("in a place"));
        assert!(refusal(&deb(&[binary, control])).contains("read an archive member's header"));
        assert!(refusal(&deb(&[("debian-binary", b"3.0\n"), control, data])).contains("is not 2"));
        assert!(refusal(&deb(&[binary, control, ("data.tar.bz2", b"")])).contains("`.bz2`"));
        assert!(refusal(b"!<arch>\nshort").contains("read an archive member's header"));
        assert_eq!(paths(&deb(&[binary, ("_extra", b"x"), control, data])).unwrap(), ["a"]);
    }

    #[test]
    fn a_cut_archive_is_refused_at_every_length() {
        let whole = package(Tar::default().file("./a", "content"));
        assert!(paths(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(paths(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
        }
    }

    #[test]
    fn an_unpacked_stream_ends_at_its_limit() {
        let zeros = vec![0; 1 << 20];
        let packed = store::compress(&zeros, 3).unwrap();
        let archive = deb(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &packed)]);
        let read = |limit| {
            deb_member(&archive[..], "control.tar", limit, |part| {
                Ok(std::io::copy(part, &mut std::io::sink())?)
            })
        };
        assert_eq!(read(1 << 20).unwrap(), 1 << 20);
        assert!(format!("{:#}", read((1 << 20) - 1).unwrap_err()).contains("than any package"));
    }

    #[test]
    fn static_ids_stay_numbers_and_others_become_names() {
        assert_eq!(owner(42, Some(b"shadow")).unwrap(), Owner::Id(42));
        assert_eq!(owner(998, Some(b"_chrony")).unwrap(), Owner::Name("_chrony".into()));
        assert_eq!(owner(998, Some(b"998")).unwrap(), Owner::Id(998));
        assert_eq!(owner(998, None).unwrap(), Owner::Id(998));
        assert!(owner(u64::MAX, None).is_err());
    }
}
