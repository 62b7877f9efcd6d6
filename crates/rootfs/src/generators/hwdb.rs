//! The hardware database `hwdb.bin`, byte for byte as `systemd-hwdb --usr --strict update` of
//! systemd 257 makes it. The text files go: only that program reads them.

mod trie;

use anyhow::{Context, Result, bail};
use store::{Entry, Scratch, Tree};

use self::trie::{Origin, Trie};
use super::files::{bytes, drop_ins};
use crate::{Change, Generator, Point, Purpose};

const DATABASE: &str = "usr/lib/udev/hwdb.bin";
const TEXTS: &str = "usr/lib/udev/hwdb.d";
const ORIGIN: &str = "generator:hwdb";

pub(crate) const ROW: Generator = Generator {
    name: "hwdb",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Installed,
    reads: &["etc/udev/hwdb.bin", "etc/udev/hwdb.d/**", DATABASE, "usr/lib/udev/hwdb.d/**"],
    writes: &["etc/udev/hwdb.bin", "etc/udev/hwdb.d/**", DATABASE, "usr/lib/udev/hwdb.d/**"],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    let files = drop_ins(tree, &["etc/udev/hwdb.d", TEXTS], ".hwdb");
    if files.is_empty() {
        return Ok(change);
    }
    let mut trie = Trie::new();
    for (file, priority) in files.iter().zip(1..) {
        let text = bytes(tree, scratch, file)?.unwrap_or_default();
        read(&text, file, priority, &mut trie).with_context(|| format!("read `{file}`"))?;
    }
    let database = Entry::file(scratch.put(&trie.bytes()?)?, 0o444, ORIGIN);
    change.add.insert(DATABASE, database)?;
    // One in `etc` would hide the new one.
    let old = ["etc/udev/hwdb.bin", "etc/udev/hwdb.d", TEXTS];
    let there = old.iter().filter(|path| tree.below(path).next().is_some());
    change.remove.extend(there.map(|path| (*path).to_owned()));
    Ok(change)
}

/// Reads one text file (hwdb(7)): records of match lines and ` KEY=value` lines, between blank
/// lines.
fn read(text: &[u8], file: &str, priority: u16, trie: &mut Trie) -> Result<()> {
    let mut matches: Vec<&[u8]> = Vec::new();
    let mut in_values = false;
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1_u32..) {
        if line.starts_with(b"#") {
            continue;
        }
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii_end();
        let named = || format!("line {number}: `{}`", String::from_utf8_lossy(line));
        match (line.first(), matches.is_empty(), in_values) {
            (None, false, false) => bail!("{}: a record without properties", named()),
            (None, _, _) => {
                matches.clear();
                in_values = false;
            }
            (Some(b' '), true, _) => bail!("{}: a property without a match", named()),
            (Some(b' '), false, _) => {
                in_values = true;
                let equals = line.iter().position(|byte| *byte == b'=').with_context(named)?;
                let (key, value) = (&line[..equals], &line[equals + 1..]);
                // One of the leading blanks is part of the key in the database.
                let blanks = key.windows(2).take_while(|two| two.iter().all(|b| is_blank(*b)));
                let key = &key[blanks.count()..];
                if key.len() < 2 {
                    bail!("{}: a property without a name", named());
                }
                let origin = Origin { file: file.to_owned(), priority, line: number };
                matches.iter().try_for_each(|m| trie.insert(m, key, value, &origin))?;
            }
            (Some(_), _, true) => bail!("{}: neither a property nor a blank line", named()),
            (Some(_), _, false) => matches.push(line),
        }
    }
    if !matches.is_empty() && !in_values {
        bail!("the last record has no properties");
    }
    Ok(())
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The database of files with their paths, for the judge.
#[cfg(test)]
pub(crate) fn database(files: &[(String, &str)]) -> Result<Vec<u8>> {
    let mut trie = Trie::new();
    for ((file, text), priority) in files.iter().zip(1..) {
        read(text.as_bytes(), file, priority, &mut trie)?;
    }
    trie.bytes()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    #[test]
    fn the_texts_go_and_the_database_comes() {
        let sample = Sample::new()
            .file("usr/lib/udev/hwdb.d/20-a.hwdb", b"# c\nusb:v1*\nusb:v2*\n ID_X=1 # c\n\n")
            .file("etc/udev/hwdb.d/README", b"")
            .file("etc/udev/hwdb.bin", b"old");
        let tree = sample.run(&ROW).unwrap();
        assert_eq!(tree.0.keys().collect::<Vec<_>>(), [DATABASE]);
    }

    #[test]
    fn malformed_records_are_refused_with_file_and_line() {
        for text in ["a\n\n", " K=V\n", "a\n K\n", "a\n  =v\n", "a\n K=V\nb\n", "a\n"] {
            let sample = Sample::new().file("usr/lib/udev/hwdb.d/evil.hwdb", text.as_bytes());
            let error = format!("{:#}", sample.run(&ROW).unwrap_err());
            assert!(error.contains("evil.hwdb"), "{text:?}: {error}");
        }
    }
}
