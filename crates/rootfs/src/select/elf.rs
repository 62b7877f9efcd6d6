//! What a 64-bit ELF file says it needs.

use std::io::Read;

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use serde::Deserialize;
use store::{Node, Tree};

type Header = FileHeader64<Endianness>;

/// Type and section of the notes about `dlopen` (UAPI.13, "ELF dlopen metadata").
const NOTE_TYPE: u32 = 0x407c_0c0a;
const NOTE_SECTION: &[u8] = b".note.dlopen";
/// More needs than any real file has: above this a file is broken or hostile.
const MOST_NEEDS: usize = 1000;

/// Needs of one file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The program interpreter (PT_INTERP), an absolute path.
    pub(crate) interpreter: Option<String>,
    /// Names of libraries (DT_NEEDED).
    pub(crate) libraries: Vec<String>,
    /// Libraries that make a feature work.
    pub(crate) wishes: Vec<Wish>,
    /// Directories to look in first (DT_RUNPATH, else DT_RPATH).
    runpath: Vec<String>,
    /// The directory of the architecture's libraries.
    multiarch: &'static str,
}

/// One entry of a `dlopen` note.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Wish {
    /// Which feature.
    pub(crate) feature: String,
    /// Libraries that serve, the best first; one is enough.
    #[serde(rename = "soname")]
    pub(crate) sonames: Vec<String>,
}

/// Whether the file begins as an ELF file does.
pub(crate) fn is_elf(mut file: impl Read) -> Result<bool> {
    let mut magic = [0; 4];
    Ok(file.read_exact(&mut magic).is_ok() && magic == elf::ELFMAG)
}

impl Needs {
    /// Reads them.
    pub(crate) fn read(data: &[u8]) -> Result<Self> {
        let header = Header::parse(data).context("read the ELF header")?;
        let endian = header.endian()?;
        let multiarch = match header.e_machine(endian) {
            elf::EM_X86_64 => "usr/lib/x86_64-linux-gnu",
            elf::EM_AARCH64 => "usr/lib/aarch64-linux-gnu",
            other => bail!("the machine type {other} is none of ours"),
        };
        let mut needs = Self {
            interpreter: None,
            libraries: Vec::new(),
            wishes: Vec::new(),
            runpath: Vec::new(),
            multiarch,
        };
        let segments = header.program_headers(endian, data)?;
        for segment in segments {
            if let Some(path) = segment.interpreter(endian, data)? {
                needs.interpreter = Some(text(path)?);
            }
            if let Some(dynamic) = segment.dynamic(endian, data)? {
                needs.read_dynamic(dynamic, segments, endian, data)?;
            }
        }
        needs.read_notes(header, endian, data)?;
        Ok(needs)
    }

    fn read_dynamic(
        &mut self,
        dynamic: &[elf::Dyn64<Endianness>],
        segments: &[elf::ProgramHeader64<Endianness>],
        endian: Endianness,
        data: &[u8],
    ) -> Result<()> {
        let dynamic = || {
            dynamic
                .iter()
                .map(|entry| (entry.d_tag(endian), entry.d_val(endian)))
                .take_while(|(tag, _)| *tag != elf::DT_NULL)
        };
        let value = |wanted: i64| dynamic().find(|(tag, _)| *tag == wanted).map(|(_, v)| v);
        let (Some(at), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            return Ok(());
        };
        let mut strings = None;
        for segment in segments.iter().filter(|s| s.p_type(endian) == elf::PT_LOAD) {
            strings = strings.or(segment.data_range(endian, data, at, size).ok().flatten());
        }
        let strings = strings.context("find the dynamic string table")?;
        let string = |offset: u64| {
            let rest = usize::try_from(offset).ok().and_then(|offset| strings.get(offset..));
            let rest = rest.context("a dynamic string lies outside of its table")?;
            text(rest.split(|byte| *byte == 0).next().unwrap_or_default())
        };
        for (tag, offset) in dynamic() {
            if tag == elf::DT_NEEDED {
                self.libraries.push(string(offset)?);
            }
            if self.libraries.len() > MOST_NEEDS {
                bail!("more than {MOST_NEEDS} libraries are needed");
            }
        }
        if let Some(offset) = value(elf::DT_RUNPATH).or(value(elf::DT_RPATH)) {
            self.runpath = string(offset)?.split(':').map(str::to_owned).collect();
        }
        Ok(())
    }

    fn read_notes(&mut self, header: &Header, endian: Endianness, data: &[u8]) -> Result<()> {
        let sections = header.sections(endian, data)?;
        let Some((_, section)) = sections.section_by_name(endian, NOTE_SECTION) else {
            return Ok(());
        };
        let Some(mut notes) = section.notes(endian, data)? else { return Ok(()) };
        while let Some(note) = notes.next().context("read a `dlopen` note")? {
            if note.n_type(endian) != NOTE_TYPE {
                continue;
            }
            let json = note.desc().split(|byte| *byte == 0).next().unwrap_or_default();
            let wishes: Vec<Wish> = serde_json::from_slice(json).context("read a `dlopen` note")?;
            self.wishes.extend(wishes);
            if self.wishes.len() > MOST_NEEDS {
                bail!("more than {MOST_NEEDS} `dlopen` notes");
            }
        }
        Ok(())
    }

    /// The path in `tree` at which the dynamic linker finds `library` for the file `path`
    /// (`ld.so(8)`: run path, then the default directories).
    pub(crate) fn find(&self, tree: &Tree, path: &str, library: &str) -> Option<String> {
        let is_file = |place: &String| {
            let end = tree.resolve(place).and_then(|end| tree.get(&end));
            end.is_some_and(|entry| matches!(entry.node, Node::File(_)))
        };
        if library.contains('/') {
            return Some(library.trim_start_matches('/').to_owned()).filter(is_file);
        }
        let here = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let own = self.runpath.iter().map(|directory| {
            let directory = directory.replace("${ORIGIN}", "$ORIGIN");
            directory.replace("$ORIGIN", &format!("/{here}"))
        });
        let usual = [self.multiarch, "usr/lib64", "usr/lib"].map(str::to_owned);
        own.chain(usual)
            .map(|directory| format!("{}/{library}", directory.trim_matches('/')))
            .find(is_file)
            .map(|place| folded(&place))
    }
}

/// A path with its `..` folded; they come from `$ORIGIN` alone, which leads through no link.
fn folded(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn text(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).context("a name in the file is not UTF-8")?;
    if text.is_empty() || text.len() > 4096 {
        bail!("a name in the file has {} bytes", text.len());
    }
    Ok(text.to_owned())
}

/// The section `name` of a 64-bit ELF file.
pub(crate) fn section<'a>(data: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    let header = Header::parse(data).context("read the ELF header")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    match sections.section_by_name(endian, name.as_bytes()) {
        None => Ok(None),
        Some((_, section)) => Ok(Some(section.data(endian, data)?)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with just what [`Needs`] reads.
    pub(crate) struct Sample<'a> {
        pub(crate) interpreter: Option<&'a str>,
        pub(crate) needed: &'a [&'a str],
        pub(crate) runpath: Option<&'a str>,
        pub(crate) notes: &'a [&'a str],
    }

    impl Sample<'_> {
        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut strings = vec![0];
            let mut intern = |text: &str| {
                let at = strings.len() as u64;
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
                at
            };
            let mut dynamic: Vec<(i64, u64)> =
                self.needed.iter().map(|name| (elf::DT_NEEDED, intern(name))).collect();
            if let Some(path) = self.runpath {
                dynamic.push((elf::DT_RUNPATH, intern(path)));
            }
            let interpreter: Vec<u8> =
                self.interpreter.map_or(Vec::new(), |i| [i.as_bytes(), b"\0"].concat());
            let mut notes = Vec::new();
            for json in self.notes {
                let desc = [json.as_bytes(), b"\0"].concat();
                for word in [4, desc.len() as u32, NOTE_TYPE] {
                    notes.extend_from_slice(&word.to_le_bytes());
                }
                notes.extend_from_slice(b"FDO\0");
                notes.extend_from_slice(&desc);
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
            let strings_at = 64 + 3 * 56;
            dynamic.push((elf::DT_STRTAB, strings_at));
            dynamic.push((elf::DT_STRSZ, strings.len() as u64));
            dynamic.push((0, 0));
            let dynamic: Vec<u8> = dynamic
                .iter()
                .flat_map(|(t, v)| [t.to_le_bytes(), v.to_le_bytes()].concat())
                .collect();
            write(
                &[
                    (elf::PT_LOAD, &strings),
                    (elf::PT_DYNAMIC, &dynamic),
                    (elf::PT_INTERP, &interpreter),
                ],
                (".note.dlopen", elf::SHT_NOTE, &notes),
            )
        }
    }

    /// A kernel module whose `.modinfo` holds `lines`.
    pub(crate) fn module(lines: &[&str]) -> Vec<u8> {
        let info: Vec<u8> =
            lines.iter().flat_map(|line| [line.as_bytes(), b"\0"].concat()).collect();
        write(&[(elf::PT_NULL, b""); 3], (".modinfo", elf::SHT_PROGBITS, &info))
    }

    /// Header, three segments one after the other, one section.
    fn write(segments: &[(u32, &[u8]); 3], section: (&str, u32, &[u8])) -> Vec<u8> {
        let mut body = Vec::new();
        let mut headers = Vec::new();
        let top = 64 + 3 * 56;
        for (kind, bytes) in segments {
            let kind = if bytes.is_empty() { elf::PT_NULL } else { *kind };
            let at = (top + body.len()) as u64;
            let size = bytes.len() as u64;
            headers.extend_from_slice(&kind.to_le_bytes());
            headers.extend_from_slice(&4u32.to_le_bytes());
            for word in [at, at, at, size, size, 1] {
                headers.extend_from_slice(&word.to_le_bytes());
            }
            body.extend_from_slice(bytes);
            body.resize(body.len().next_multiple_of(8), 0);
        }
        let names = [b"\0", section.0.as_bytes(), b"\0"].concat();
        let section_at = (top + body.len()) as u64;
        body.extend_from_slice(section.2);
        let names_at = (top + body.len()) as u64;
        body.extend_from_slice(&names);
        body.resize(body.len().next_multiple_of(8), 0);
        let sections_at = (top + body.len()) as u64;
        for (name, kind, at, size) in [
            (0u32, elf::SHT_NULL, 0, 0),
            (1, section.1, section_at, section.2.len() as u64),
            (0, elf::SHT_STRTAB, names_at, names.len() as u64),
        ] {
            body.extend_from_slice(&name.to_le_bytes());
            body.extend_from_slice(&kind.to_le_bytes());
            for word in [0, 0, at, size, 0, 4, 0] {
                body.extend_from_slice(&word.to_le_bytes());
            }
        }
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [elf::ET_DYN, elf::EM_X86_64] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        file.extend_from_slice(&1u32.to_le_bytes());
        for word in [0, 64, sections_at] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&0u32.to_le_bytes());
        for half in [64u16, 56, 3, 64, 3, 2] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        [file, headers, body].concat()
    }

    #[test]
    fn damaged_files_are_errors_and_never_a_panic() {
        let whole = Sample {
            interpreter: Some("/lib/ld.so"),
            needed: &["a", "b"],
            runpath: Some("$ORIGIN"),
            notes: &[r#"[{"feature":"x","soname":["y"]}]"#],
        }
        .bytes();
        assert_eq!(Needs::read(&whole).unwrap().libraries, ["a", "b"]);
        for at in 0..whole.len() {
            let _ = Needs::read(&whole[..at]);
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let _ = Needs::read(&damaged);
            }
        }
        assert!(Needs::read(&whole[..100]).is_err());
    }
}
