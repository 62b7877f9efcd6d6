//! What lints know of contents: every file is opened once, on all cores, and read only as far as
//! some lint needs it.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context, Result, bail};
use store::{Blob, Scratch, Tree};

use super::paths;
use crate::select::elf::{Needs, is_elf};

/// As much of a file as the kernel reads to find its interpreter, in bytes
/// (`BINPRM_BUF_SIZE`, include/uapi/linux/binfmts.h).
const HEAD: u64 = 256;
/// The longest configuration file that is read, in bytes; the longest module index has 2 MB.
const TEXT_LIMIT: u64 = 32 << 20;
/// The largest program or library that is read, in bytes.
const PROGRAM_LIMIT: u64 = 512 << 20;
/// The largest sum of configuration that is kept, in bytes.
const TEXTS_LIMIT: usize = 256 << 20;

/// Where the files lie whose text lints read.
const CONFIGURATION: [&str; 11] = [
    "etc/dbus-1/",
    "etc/systemd/",
    "etc/tmpfiles.d/",
    "etc/udev/",
    "usr/lib/systemd/system",
    "usr/lib/systemd/user",
    "usr/lib/tmpfiles.d/",
    "usr/lib/udev/rules.d/",
    "usr/share/dbus-1/",
    "usr/share/user-tmpfiles.d/",
    "usr/lib/dbus-1.0/",
];
const TABLES: [&str; 4] = ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"];

/// Contents by digest, so that a path more costs nothing.
pub(super) struct Contents(BTreeMap<Blob, Content>);

#[derive(Default)]
struct Content {
    needs: Option<Needs>,
    interpreter: Option<String>,
    text: Option<String>,
}

impl Contents {
    pub(super) fn read(tree: &Tree, scratch: &Scratch<'_>) -> Result<Self> {
        let mut wanted: BTreeMap<Blob, (&str, Part)> = BTreeMap::new();
        for (path, entry) in paths(tree) {
            // Modules need no library and no interpreter; their indexes are read by their lint.
            if let Some(blob) = entry.blob().filter(|_| !path.starts_with("usr/lib/modules/")) {
                let of = wanted.entry(blob).or_insert((path, Part::Head));
                of.1 = of.1.max(part(path));
            }
        }
        let wanted: Vec<(Blob, (&str, Part))> = wanted.into_iter().collect();
        let read = store::parallel(&wanted, |(blob, (path, part))| {
            content(blob, *part, scratch).with_context(|| format!("read `{path}`"))
        })?;
        let texts: usize = read.iter().filter_map(|c| Some(c.text.as_ref()?.len())).sum();
        if texts > TEXTS_LIMIT {
            bail!("the tree's configuration has {texts} bytes, more than {TEXTS_LIMIT}");
        }
        Ok(Self(wanted.into_iter().map(|(blob, _)| blob).zip(read).collect()))
    }

    /// What a program or library for the host needs.
    pub(super) fn needs(&self, blob: &Blob) -> Option<&Needs> {
        self.0.get(blob)?.needs.as_ref()
    }

    /// The first line of a script, without `#!`.
    pub(super) fn interpreter(&self, blob: &Blob) -> Option<&str> {
        self.0.get(blob)?.interpreter.as_deref()
    }

    /// The text of a configuration file.
    pub(super) fn text(&self, blob: &Blob) -> Option<&str> {
        self.0.get(blob)?.text.as_deref()
    }
}

/// How much of a file is read, if it is no program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Head,
    Text,
}

fn part(path: &str) -> Part {
    let configuration = CONFIGURATION.iter().any(|place| path.starts_with(place));
    if configuration || TABLES.contains(&path) { Part::Text } else { Part::Head }
}

fn content(blob: &Blob, part: Part, scratch: &Scratch<'_>) -> Result<Content> {
    let mut file = scratch.open(blob)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut bytes).context("read its head")?;
    let elf = is_elf(&bytes[..])?;
    // Bytes for another machine (firmware, BPF) carry no needs that this host could meet.
    let program = elf && is_host_program(&bytes);
    let text = part == Part::Text && !elf;
    let interpreter = interpreter(&bytes);
    if program || text {
        let limit = if program { PROGRAM_LIMIT } else { TEXT_LIMIT };
        if blob.size > limit {
            bail!("it has {} bytes, more than the {limit} allowed", blob.size);
        }
        file.take(limit).read_to_end(&mut bytes).context("read all of it")?;
    }
    let needs = if program { Some(Needs::read(&bytes)?) } else { None };
    let text = if text { String::from_utf8(bytes).ok() } else { None };
    Ok(Content { needs, interpreter, text })
}

/// The line behind `#!`, as far as the kernel reads it.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// 64-bit, executable or shared, for a machine that images are made for.
fn is_host_program(bytes: &[u8]) -> bool {
    let half = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    bytes.get(4) == Some(&2)
        && matches!(half(16), Some(2 | 3))
        && matches!(half(18), Some(62 | 183))
}
