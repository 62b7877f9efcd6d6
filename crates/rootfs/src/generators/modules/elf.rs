//! What a module says of itself: the sections that depmod(8) reads.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use object::read::elf::{ElfFile32, ElfFile64};
use object::{ObjectSection as _, ObjectSymbol as _};

/// One module.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Path below the kernel's directory, with the ending that says how it is packed.
    pub(super) path: String,
    /// Its name.
    pub(super) name: String,
    /// Symbols for others.
    pub(super) exports: Vec<String>,
    /// Symbols of others, in the order of the symbol table.
    pub(super) needs: Vec<String>,
    /// Values of `alias=`.
    pub(super) aliases: Vec<String>,
    /// Values of `softdep=`.
    pub(super) soft: Vec<String>,
    /// Values of `weakdep=`.
    pub(super) weak: Vec<String>,
}

impl Module {
    /// Reads a module. Bytes after the ELF file, such as a signature, are not looked at.
    pub(super) fn parse(path: String, bytes: &[u8]) -> Result<Self> {
        let mut module = Self { name: super::name_of(&path), path, ..Self::default() };
        // The fifth byte of an ELF file is its class; 1 stands for 32 bits.
        if bytes.get(4) == Some(&1) {
            module.fill(&ElfFile32::<object::Endianness>::parse(bytes).context("read ELF")?, 4)?;
        } else {
            module.fill(&ElfFile64::<object::Endianness>::parse(bytes).context("read ELF")?, 8)?;
        }
        Ok(module)
    }

    fn fill<'data>(&mut self, file: &impl object::Object<'data>, word: usize) -> Result<()> {
        let section = |name: &str| match file.section_by_name(name) {
            Some(section) => section.data().with_context(|| format!("read section `{name}`")),
            None => Ok(&[][..]),
        };
        for line in strings(section(".modinfo")?) {
            let line = std::str::from_utf8(line).context("read `.modinfo` as UTF-8")?;
            let (key, value) = line.split_once('=').unwrap_or((line, line));
            let values = match key {
                "alias" => &mut self.aliases,
                "softdep" => &mut self.soft,
                "weakdep" => &mut self.weak,
                _ => continue,
            };
            values.push(value.to_owned());
        }
        for symbol in file.symbols() {
            let name = symbol.name().context("read the name of a symbol")?;
            if let Some(export) = name.strip_prefix("__crc_") {
                self.exports.push(export.to_owned());
            } else if symbol.is_undefined() && !name.is_empty() {
                self.needs.push(name.to_owned());
            }
        }
        if self.exports.is_empty() {
            for name in strings(section("__ksymtab_strings")?) {
                self.exports.push(String::from_utf8(name.to_vec()).context("read exports")?);
            }
        }
        // Versions of symbols that no undefined symbol asks for are needs as well.
        let known: BTreeSet<&String> = self.needs.iter().collect();
        let mut more = Vec::new();
        for version in section("__versions")?.chunks_exact(64) {
            let name = strings(&version[word..]).next().unwrap_or_default();
            let name = String::from_utf8(name.to_vec()).context("read symbol versions")?;
            if !name.is_empty() && !known.contains(&name) {
                more.push(name);
            }
        }
        self.needs.extend(more);
        Ok(())
    }
}

/// Strings that end with NUL, empty ones left out.
pub(super) fn strings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0).filter(|string| !string.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A minimal relocatable ELF64 file, as a kernel module is.
    #[derive(Default)]
    pub(crate) struct Ko {
        info: Vec<u8>,
        exports: Vec<u8>,
        needs: Vec<String>,
    }

    impl Ko {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn info(mut self, line: &str) -> Self {
            self.info.extend(line.bytes().chain([0]));
            self
        }

        pub(crate) fn exports(mut self, symbol: &str) -> Self {
            self.exports.extend(symbol.bytes().chain([0]));
            self
        }

        pub(crate) fn needs(mut self, symbol: &str) -> Self {
            self.needs.push(symbol.to_owned());
            self
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            let (mut names, mut symbols) = (vec![0], vec![0; 24]);
            for need in &self.needs {
                symbols.extend((names.len() as u32).to_le_bytes());
                symbols.extend([0x10, 0]);
                symbols.extend([0; 18]);
                names.extend(need.bytes().chain([0]));
            }
            // Name, type, link, entry size, content; the last holds the names of all.
            let titles = ["", ".modinfo", "__ksymtab_strings", ".symtab", ".strtab", ".shstrtab"];
            let title_bytes: Vec<u8> = titles.iter().flat_map(|t| t.bytes().chain([0])).collect();
            let content =
                [vec![], self.info.clone(), self.exports.clone(), symbols, names, title_bytes];
            let kinds: [(u32, u32, u64); 6] =
                [(0, 0, 0), (1, 0, 0), (1, 0, 0), (2, 4, 24), (3, 0, 0), (3, 0, 0)];
            let mut file = b"\x7fELF\x02\x01\x01".to_vec();
            file.resize(16, 0);
            file.extend([1, 0, 62, 0, 1, 0, 0, 0]);
            file.extend([0; 16]);
            let table = 64 + content.iter().map(Vec::len).sum::<usize>();
            file.extend((table as u64).to_le_bytes());
            file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 6, 0, 5, 0]);
            let mut headers = Vec::new();
            let mut title_at = 0_u32;
            for (i, ((kind, link, size), bytes)) in kinds.iter().zip(&content).enumerate() {
                headers.extend(title_at.to_le_bytes());
                headers.extend(kind.to_le_bytes());
                headers.extend([0; 16]);
                let offset = if i == 0 { 0 } else { file.len() as u64 };
                headers.extend(offset.to_le_bytes());
                headers.extend((bytes.len() as u64).to_le_bytes());
                headers.extend(link.to_le_bytes());
                headers.extend(if *kind == 2 { 1_u32 } else { 0 }.to_le_bytes());
                headers.extend(1_u64.to_le_bytes());
                headers.extend(size.to_le_bytes());
                file.extend(bytes);
                title_at += titles[i].len() as u32 + 1;
            }
            file.extend(headers);
            file
        }
    }

    #[test]
    fn what_a_module_says_is_read_back() {
        let ko = Ko::new().info("license=GPL").info("alias=x").needs("b").needs("a").exports("c");
        let module = Module::parse("kernel/my-mod.ko".into(), &ko.bytes()).unwrap();
        assert_eq!(module.name, "my_mod");
        assert_eq!(
            (module.aliases, module.needs),
            (vec!["x".into()], vec!["b".into(), "a".into()])
        );
        assert_eq!(module.exports, ["c"]);
    }

    #[test]
    fn no_cut_of_a_module_panics() {
        let bytes = Ko::new().info("alias=x").needs("b").exports("c").bytes();
        for length in 0..bytes.len() {
            let _ = Module::parse("a.ko".into(), &bytes[..length]);
        }
    }
}
