//! The files that depmod(8) writes.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::Lists;
use super::elf::{Module, strings};
use super::index::Index;
use super::name_of;
use super::order::{Ordered, SYMBOL_BUCKETS, ordered, walk_key};

/// Name and bytes of every index.
pub(super) fn all(modules: Vec<Module>, lists: &Lists) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let ordered = ordered(modules, lists.order.as_deref())?;
    let Ordered { modules, .. } = &ordered;
    let dependencies = dependencies(&ordered);
    let mut dep = Index::default();
    for ((i, module), line) in modules.iter().enumerate().zip(dependencies.lines()) {
        dep.insert(&module.name, line, u32::try_from(i)?)?;
    }
    let soft = lines("# Soft dependencies extracted from modules themselves.\n", modules, |m| {
        m.soft.iter().map(|value| format!("softdep {} {value}\n", m.name)).collect()
    });
    let weak = lines("# Weak dependencies extracted from modules themselves.\n", modules, |m| {
        m.weak.iter().map(|value| format!("weakdep {} {value}\n", m.name)).collect()
    });
    let aliases = lines("# Aliases extracted from modules themselves.\n", modules, |m| {
        m.aliases.iter().map(|value| format!("alias {value} {}\n", m.name)).collect()
    });
    let (symbols, symbol_index) = symbols(&ordered)?;
    Ok(vec![
        ("modules.dep", dependencies.into_bytes()),
        ("modules.dep.bin", dep.bytes()?),
        ("modules.alias", aliases.into_bytes()),
        ("modules.alias.bin", alias_index(modules)?),
        ("modules.softdep", soft.into_bytes()),
        ("modules.weakdep", weak.into_bytes()),
        ("modules.symbols", symbols.into_bytes()),
        ("modules.symbols.bin", symbol_index),
        ("modules.builtin.bin", built_in(lists.built_in.as_deref())?),
        ("modules.builtin.alias.bin", built_in_aliases(lists.built_in_info.as_deref())?),
        ("modules.devname", device_names(modules).into_bytes()),
    ])
}

fn lines(head: &str, modules: &[Module], of: impl Fn(&Module) -> String) -> String {
    modules.iter().fold(head.to_owned(), |text, module| text + &of(module))
}

fn dependencies(ordered: &Ordered) -> String {
    let mut text = String::new();
    for (module, needed) in ordered.modules.iter().zip(&ordered.dependencies) {
        text.extend([&module.path, ":"]);
        needed.iter().for_each(|i| text.extend([" ", &ordered.modules[*i].path]));
        text.push('\n');
    }
    text
}

fn alias_index(modules: &[Module]) -> Result<Vec<u8>> {
    let mut index = Index::default();
    for (i, module) in modules.iter().enumerate() {
        for alias in module.aliases.iter().filter_map(|alias| normal(alias)) {
            index
                .insert(&alias, &module.name, u32::try_from(i)?)
                .with_context(|| format!("index an alias of module `{}`", module.name))?;
        }
    }
    index.bytes()
}

fn symbols(ordered: &Ordered) -> Result<(String, Vec<u8>)> {
    let mut text = "# Aliases for symbols, used by symbol_request().\n".to_owned();
    let mut index = Index::default();
    let mut owners: Vec<_> = ordered.owners.iter().collect();
    owners.sort_by_cached_key(|(symbol, _)| walk_key(symbol, SYMBOL_BUCKETS));
    for (symbol, owner) in owners {
        let name = &ordered.modules[*owner].name;
        writeln!(text, "alias symbol:{symbol} {name}")?;
        index.insert(&format!("symbol:{symbol}"), name, u32::try_from(*owner)?)?;
    }
    Ok((text, index.bytes()?))
}

/// Without a list there is an empty file.
fn built_in(list: Option<&[u8]>) -> Result<Vec<u8>> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let list = std::str::from_utf8(list).context("read `modules.builtin` as UTF-8")?;
    let mut index = Index::default();
    for line in list.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic())) {
        index.insert(&name_of(line), "", 0)?;
    }
    index.bytes()
}

fn built_in_aliases(info: Option<&[u8]>) -> Result<Vec<u8>> {
    let Some(info) = info else { return Ok(Vec::new()) };
    let mut index = Index::default();
    for record in strings(info) {
        let record = std::str::from_utf8(record).context("read `modules.builtin.modinfo`")?;
        let Some((name, rest)) = record.split_once('.') else { continue };
        if let Some(alias) = rest.strip_prefix("alias=").and_then(normal) {
            index.insert(&alias, name, 0)?;
        }
    }
    index.bytes()
}

/// Device nodes by which modules are loaded when somebody opens them.
fn device_names(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        let (mut device, mut number) = (None, None);
        for alias in &module.aliases {
            if let Some(name) = alias.strip_prefix("devname:") {
                device = Some(name);
            } else if let Some(pair) = alias.strip_prefix("char-major-").and_then(numbers) {
                number = Some(('c', pair));
            } else if let Some(pair) = alias.strip_prefix("block-major-").and_then(numbers) {
                number = Some(('b', pair));
            }
            if let (Some(device), Some((kind, (major, minor)))) = (device, number) {
                if text.is_empty() {
                    text.push_str("# Device nodes to trigger on-demand module loading.\n");
                }
                text.push_str(&format!("{} {device} {kind}{major}:{minor}\n", module.name));
                break;
            }
        }
    }
    text
}

/// `major-minor`, whatever follows.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('-')?;
    let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
    Some((major.parse().ok()?, minor[..digits].parse().ok()?))
}

/// An alias with `-` written `_` outside brackets; `None` when brackets do not match.
fn normal(alias: &str) -> Option<String> {
    let mut normal = String::new();
    let mut bracket = false;
    for c in alias.chars() {
        match c {
            ']' if !bracket => return None,
            ']' => bracket = false,
            '[' => bracket = true,
            _ => {}
        }
        normal.push(if c == '-' && !bracket { '_' } else { c });
    }
    (!bracket).then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_in_brackets_stay() {
        assert_eq!(normal("a-b[0-9]-c").as_deref(), Some("a_b[0-9]_c"));
        assert_eq!(normal("a]"), None);
        assert_eq!(normal("a[0"), None);
    }

    #[test]
    fn a_device_name_needs_a_number() {
        let module = |aliases: &[&str]| Module {
            name: "m".into(),
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            ..Module::default()
        };
        let loop_ = module(&["char-major-10-*", "char-major-10-237", "devname:loop-control"]);
        let none = module(&["devname:x"]);
        assert!(device_names(&[none, loop_]).ends_with(".\nm loop-control c10:237\n"));
    }
}
