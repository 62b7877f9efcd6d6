//! A tree as a tar archive: ustar headers, pax records where those are too small (POSIX.1-2024,
//! pax, section "pax Interchange Format"). Owners are numbers, every time the lock's epoch.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use store::{Blob, Entry, Epoch, Node, Owner, Tree};

/// Bytes of a header, and what contents are padded to.
const BLOCK: usize = 512;

/// Writes `tree`, entries in the order of their paths, each path with a leading `./`.
///
/// # Errors
/// An owner that is still a name, a content that cannot be read.
pub(crate) fn write<R: Read>(
    tree: &Tree,
    epoch: Epoch,
    open: &dyn Fn(&Blob) -> Result<R>,
    mut out: impl Write,
) -> Result<()> {
    let mut inodes: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, entry) in &tree.0 {
        let first = entry.link.as_deref().map(|link| *inodes.entry(link).or_insert(path));
        let first = first.filter(|first| first != path);
        one(path, entry, first, epoch, open, &mut out)
            .with_context(|| format!("write `{path}`"))?;
    }
    out.write_all(&[0; 2 * BLOCK]).context("write the archive's end")?;
    out.flush().context("write the archive")
}

fn one<R: Read>(
    path: &str,
    entry: &Entry,
    first: Option<&str>,
    epoch: Epoch,
    open: &dyn Fn(&Blob) -> Result<R>,
    out: &mut impl Write,
) -> Result<()> {
    let mut header = Header {
        path: format!("./{path}"),
        mode: entry.mode,
        user: number(&entry.owner)?,
        group: number(&entry.group)?,
        seconds: epoch.0,
        ..Header::default()
    };
    match (&entry.node, first) {
        (_, Some(first)) => (header.kind, header.target) = (b'1', format!("./{first}")),
        (Node::File(blob), None) => (header.kind, header.size) = (b'0', blob.size),
        (Node::Symlink(target), None) => (header.kind, header.target) = (b'2', target.clone()),
        (Node::Directory, None) => {
            header.kind = b'5';
            header.path.push('/');
        }
    }
    let mut records = Vec::new();
    for (name, value) in [("path", &header.path), ("linkpath", &header.target)] {
        if value.len() > 100 || !value.is_ascii() {
            record(&mut records, name, value.as_bytes());
        }
    }
    if first.is_none() {
        for (name, value) in &entry.xattrs {
            record(&mut records, &format!("SCHILY.xattr.{name}"), value);
        }
    }
    if !records.is_empty() {
        let size = records.len() as u64;
        let path = "./pax".to_owned();
        let pax =
            Header { path, mode: 0o644, kind: b'x', size, seconds: epoch.0, ..Header::default() };
        out.write_all(&pax.bytes()?)?;
        padded(records.as_slice(), size, out)?;
    }
    out.write_all(&header.bytes()?)?;
    match (&entry.node, first) {
        (Node::File(blob), None) => padded(open(blob)?, blob.size, out),
        _ => Ok(()),
    }
}

fn number(owner: &Owner) -> Result<u32> {
    match owner {
        Owner::Id(id) => Ok(*id),
        Owner::Name(name) => bail!("its owner `{name}` is a name, not a number"),
    }
}

/// Adds one pax record: its own length in decimal digits, a blank, `name=value`, a line feed.
fn record(records: &mut Vec<u8>, name: &str, value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {name}=").bytes());
    records.extend(value);
    records.push(b'\n');
}

/// Copies exactly `size` bytes, and zeros up to the next block.
fn padded(mut content: impl Read, size: u64, out: &mut impl Write) -> Result<()> {
    let copied = std::io::copy(&mut content, out).context("copy its content")?;
    if copied != size {
        bail!("its content has {copied} bytes instead of {size}");
    }
    let over = usize::try_from(size % BLOCK as u64)?;
    let zeros = [0; BLOCK];
    out.write_all(&zeros[..(BLOCK - over) % BLOCK]).context("pad its content")
}

/// One header; a path or target that is too long is cut, since a pax record says it whole.
#[derive(Default)]
struct Header {
    path: String,
    target: String,
    mode: u16,
    user: u32,
    group: u32,
    size: u64,
    kind: u8,
    seconds: u64,
}

impl Header {
    fn bytes(&self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        text(&mut block[..100], &self.path);
        octal(&mut block[100..108], u64::from(self.mode))?;
        octal(&mut block[108..116], u64::from(self.user))?;
        octal(&mut block[116..124], u64::from(self.group))?;
        octal(&mut block[124..136], self.size)?;
        octal(&mut block[136..148], self.seconds)?;
        block[156] = self.kind;
        text(&mut block[157..257], &self.target);
        block[257..265].copy_from_slice(b"ustar\x0000");
        // The sum is taken over a header whose own field holds blanks.
        block[148..156].fill(b' ');
        let sum = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..155], sum)?;
        Ok(block)
    }
}

fn text(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

/// Octal digits that fill the field but for a final NUL.
fn octal(field: &mut [u8], number: u64) -> Result<()> {
    let width = field.len() - 1;
    let digits = format!("{number:0width$o}");
    if digits.len() > width {
        bail!("the number {number} does not fit a field of {width} octal digits");
    }
    field[..width].copy_from_slice(digits.as_bytes());
    field[width] = 0;
    Ok(())
}
