//! Package indexes and the stanzas that they are made of.

use std::io::Read;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use liblzma::read::XzDecoder;
use store::Blob;

use crate::dependency::check_name;
use crate::{Family, Id, Record, Relations, Version, read_capabilities, read_clauses};

/// Largest index that is read, in bytes; Debian 13's main for one architecture has 57 MB.
pub const LARGEST_INDEX: u64 = 512 << 20;

/// Most memory for reading xz, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// Most fields of one stanza.
const MOST_FIELDS: usize = 256;

/// Longest stanza, in bytes.
const LONGEST_STANZA: usize = 4 << 20;

/// Largest package, in bytes.
const LARGEST_PACKAGE: u64 = 8 << 30;

/// Named fields, in the order of the text (deb822(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Stanza<'a> {
    /// The value of a field, without the blanks around it; lines that continue it are included
    /// with their line ends. Names are compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The value of a field that must be there and hold something.
    pub fn need(&self, name: &str) -> Result<&'a str> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.with_context(|| format!("find field `{name}`"))
    }

    /// Names and values in the order of the text.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }
}

/// The stanzas of `text` (deb822(5)), one by one. A broken one is an error with its line, and
/// the last item.
pub fn stanzas(text: &str) -> impl Iterator<Item = Result<Stanza<'_>>> {
    let mut rest = text;
    let mut line = 1;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let (block, after) = split_block(rest);
            let first = line;
            line += rest[..rest.len() - after.len()].matches('\n').count();
            rest = after;
            match read_stanza(block, first) {
                // Comments alone, or several blank lines.
                Ok(stanza) if stanza.0.is_empty() => {}
                Ok(stanza) => return Some(Ok(stanza)),
                Err(error) => {
                    rest = "";
                    return Some(Err(error));
                }
            }
        }
    })
}

/// The text up to the next line that is empty or blank, and what follows that line.
fn split_block(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            return (&text[..at], &text[at + line.len()..]);
        }
        at += line.len();
    }
    (text, "")
}

fn read_stanza(block: &str, first_line: usize) -> Result<Stanza<'_>> {
    if block.len() > LONGEST_STANZA {
        bail!("line {first_line}: a stanza of more than {LONGEST_STANZA} bytes");
    }
    let mut fields: Vec<(&str, std::ops::Range<usize>)> = Vec::new();
    let mut at = 0;
    for (i, line) in block.split_inclusive('\n').enumerate() {
        let number = first_line + i;
        let end = at + line.len();
        if line.starts_with([' ', '\t']) {
            match fields.last_mut() {
                Some((_, value)) => value.end = end,
                None => bail!("line {number}: a continuation of nothing"),
            }
        } else if !line.starts_with('#') {
            let colon = line.find(':').filter(|colon| *colon > 0);
            let colon = colon.with_context(|| format!("line {number}: find a field's name"))?;
            let name = &line[..colon];
            if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                bail!("line {number}: `{}` is not a field's name", name.escape_debug());
            }
            if fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                bail!("line {number}: field `{name}` is there twice");
            }
            if fields.len() == MOST_FIELDS {
                bail!("line {number}: more than {MOST_FIELDS} fields in one stanza");
            }
            fields.push((name, at + colon + 1..end));
        }
        at = end;
    }
    Ok(Stanza(fields.into_iter().map(|(name, value)| (name, block[value].trim())).collect()))
}

/// The plain bytes of an index that is stored under `name`: the ending says how it is compressed
/// (`.xz`, `.gz`, none).
pub fn unpack_index(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let read = if name.ends_with(".xz") {
        let stream = liblzma::stream::Stream::new_stream_decoder(MOST_MEMORY, 0);
        let decoder = XzDecoder::new_stream(bytes, stream.context("start reading xz")?);
        decoder.take(LARGEST_INDEX + 1).read_to_end(&mut plain)
    } else if name.ends_with(".gz") {
        GzDecoder::new(bytes).take(LARGEST_INDEX + 1).read_to_end(&mut plain)
    } else {
        bytes.take(LARGEST_INDEX + 1).read_to_end(&mut plain)
    };
    read.with_context(|| format!("unpack index `{name}`"))?;
    if plain.len() as u64 > LARGEST_INDEX {
        bail!("index `{name}` holds more than {LARGEST_INDEX} bytes");
    }
    Ok(plain)
}

/// Reads an index of packages (`Packages`, deb-control(5)): those for `architecture` (as the
/// family writes it) and for all, in the order of the index.
pub fn read_index(family: Family, bytes: &[u8], architecture: &str) -> Result<Vec<Record>> {
    if bytes.len() as u64 > LARGEST_INDEX {
        bail!("an index of more than {LARGEST_INDEX} bytes");
    }
    let text = std::str::from_utf8(bytes).context("read index as UTF-8")?;
    match family {
        Family::Deb => {}
    }
    let mut records = Vec::new();
    for stanza in stanzas(text) {
        let stanza = stanza?;
        if stanza.get("Architecture").is_some_and(|a| a == architecture || a == "all") {
            let name = stanza.get("Package").unwrap_or("?");
            records.push(read_record(&stanza).with_context(|| format!("read package `{name}`"))?);
        }
    }
    Ok(records)
}

/// Reads a package's own control stanza (deb-control(5)): which package it is and what it says
/// of others.
pub fn read_control_stanza(family: Family, text: &str) -> Result<(Id, Relations)> {
    match family {
        Family::Deb => {}
    }
    let stanza = stanzas(text).next().context("find a control stanza")??;
    let id = read_id(&stanza)?;
    let relations = read_relations(&stanza).with_context(|| format!("read `{}`", id.name))?;
    Ok((id, relations))
}

fn read_record(stanza: &Stanza) -> Result<Record> {
    let id = read_id(stanza)?;
    let (source, source_version) = read_source(stanza, &id)?;
    let size = read_number(stanza, "Size")?.context("find field `Size`")?;
    if size > LARGEST_PACKAGE {
        bail!("a package of {size} bytes, more than {LARGEST_PACKAGE}");
    }
    let digest = stanza.need("SHA256")?.parse().context("read field `SHA256`")?;
    let location = stanza.need("Filename")?;
    check_location(location)?;
    Ok(Record {
        relations: read_relations(stanza)?,
        blob: Blob { digest, size },
        location: location.to_owned(),
        source,
        source_version,
        implied: stanza.get("Essential") == Some("yes"),
        preference: match stanza.get("Priority") {
            Some("required") => 0,
            Some("important") => 1,
            Some("standard") => 2,
            Some("extra") => 4,
            _ => 3,
        },
        multi_arch: stanza.get("Multi-Arch").map(str::to_owned),
        installed_kib: read_number(stanza, "Installed-Size")?.unwrap_or(0),
        id,
    })
}

fn read_id(stanza: &Stanza) -> Result<Id> {
    let name = stanza.need("Package")?;
    check_name(name)?;
    let architecture = stanza.need("Architecture")?;
    check_name(architecture).context("read field `Architecture`")?;
    let version = Family::Deb.version(stanza.need("Version")?)?;
    Ok(Id { name: name.to_owned(), version, architecture: architecture.to_owned() })
}

/// `Source: name (version)`; each half defaults to the binary package's own.
fn read_source(stanza: &Stanza, id: &Id) -> Result<(String, Version)> {
    let Some(text) = stanza.get("Source") else {
        return Ok((id.name.clone(), id.version.clone()));
    };
    let (name, version) = match text.split_once('(') {
        None => (text, id.version.clone()),
        Some((name, rest)) => {
            let inside = rest.strip_suffix(')').context("read field `Source`")?;
            (name.trim_end(), Family::Deb.version(inside.trim())?)
        }
    };
    check_name(name).context("read field `Source`")?;
    Ok((name.to_owned(), version))
}

fn read_relations(stanza: &Stanza) -> Result<Relations> {
    let clauses = |fields: &[&str]| -> Result<_> {
        let mut all = Vec::new();
        for field in fields {
            let text = stanza.get(field).unwrap_or_default();
            all.extend(read_clauses(text).with_context(|| format!("read field `{field}`"))?);
        }
        Ok(all)
    };
    let capabilities = |fields: &[&str]| -> Result<_> {
        let mut all = Vec::new();
        for field in fields {
            let text = stanza.get(field).unwrap_or_default();
            all.extend(read_capabilities(text).with_context(|| format!("read field `{field}`"))?);
        }
        Ok(all)
    };
    Ok(Relations {
        requires: clauses(&["Pre-Depends", "Depends"])?,
        recommends: clauses(&["Recommends"])?,
        conflicts: capabilities(&["Conflicts", "Breaks"])?,
        replaces: capabilities(&["Replaces"])?,
        provides: capabilities(&["Provides"])?,
    })
}

fn read_number(stanza: &Stanza, field: &str) -> Result<Option<u64>> {
    let Some(text) = stanza.get(field) else { return Ok(None) };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("field `{field}` is `{}`, not a number", text.escape_debug());
    }
    text.parse().map(Some).with_context(|| format!("read field `{field}`"))
}

/// A location is relative to the repository and stays inside it.
fn check_location(location: &str) -> Result<()> {
    let bad = |part: &str| matches!(part, "" | "." | "..");
    if location.len() > 1024
        || location.split('/').any(bad)
        || location.contains("://")
        || location.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        bail!("`{}` is not a location inside the repository", location.escape_debug());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Package: a\nSource: s (1.0)\nVersion: 1.0+b1\nArchitecture: amd64\n\
        Installed-Size: 12\nPre-Depends: p\nDepends: d (>= 1) | e,\n f\nBreaks: b (<< 2)\n\
        Priority: required\nEssential: yes\nFilename: pool/a_1.0+b1.deb\nSize: 3\n\
        SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";

    fn with(field: &str, value: &str) -> Result<Vec<Record>> {
        let lines = ONE.lines().filter(|l| !l.starts_with(&format!("{field}:")) && *l != " f");
        let mut text: String = lines.map(|l| format!("{l}\n")).collect();
        if !value.is_empty() {
            text.push_str(&format!("{field}: {value}\n"));
        }
        read_index(Family::Deb, text.as_bytes(), "amd64")
    }

    #[test]
    fn a_record_holds_what_the_stanza_says() {
        let text = format!("# a comment\n\n\n{ONE}\n \n{}", ONE.replace("amd64", "riscv64"));
        let records = read_index(Family::Deb, text.as_bytes(), "amd64").unwrap();
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.source.as_str(), record.source_version.0.as_str()), ("s", "1.0"));
        assert_eq!(record.relations.requires.len(), 3);
        assert_eq!(record.relations.conflicts[0].to_string(), "b < 2");
        assert_eq!((record.preference, record.implied, record.installed_kib), (0, true, 12));
        assert_eq!(record.blob, Blob::of(b"abc"));
    }

    #[test]
    fn hostile_fields_are_errors_that_name_package_and_field() {
        for (field, value, said) in [
            ("Filename", "../../x", "not a location"),
            ("Filename", "/etc/passwd", "not a location"),
            ("Filename", "http://x/y", "not a location"),
            ("Filename", "pool/a b", "not a location"),
            ("Size", "-1", "not a number"),
            ("Size", "99999999999999999999", "field `Size`"),
            ("Size", "9999999999999", "more than"),
            ("Size", "", "field `Size`"),
            ("SHA256", "abc", "field `SHA256`"),
            ("SHA256", "", "field `SHA256`"),
            ("Version", "", "field `Version`"),
            ("Version", "a b", "not a version"),
            ("Depends", "a (1)", "field `Depends`"),
            ("Source", "s (1", "field `Source`"),
        ] {
            let error = format!("{:#}", with(field, value).unwrap_err());
            assert!(error.contains("package `a`") && error.contains(said), "{field}: {error}");
        }
        assert_eq!(with("Homepage", "x").unwrap().len(), 1);
    }

    #[test]
    fn broken_stanzas_are_errors_with_the_line() {
        let many: String = (0..300).map(|i| format!("F{i}: x\n")).collect();
        let long = format!("A: {}\n", "x".repeat(5 << 20));
        for (text, said) in [
            ("A: 1\n\n b\n", "line 3: a continuation"),
            ("A: 1\nb\n", "line 2: find a field's name"),
            ("A: 1\na: 2\n", "line 2: field `a` is there twice"),
            ("A b: 1\n", "line 1: `A b`"),
            (": 1\n", "line 1: find"),
            (many.as_str(), "more than 256 fields"),
            (long.as_str(), "a stanza of more than"),
        ] {
            let last = stanzas(text).last().unwrap();
            let error = format!("{:#}", last.unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        assert!(read_index(Family::Deb, b"A: \xff\n", "amd64").is_err());
    }

    #[test]
    fn a_control_stanza_says_who_and_what() {
        let (id, relations) = read_control_stanza(Family::Deb, ONE).unwrap();
        assert_eq!((id.name.as_str(), id.version.0.as_str()), ("a", "1.0+b1"));
        assert_eq!(relations.requires.len(), 3);
        assert!(read_control_stanza(Family::Deb, "").is_err());
    }
}
