//! What a guest is given to look into itself with: one tar on a disk of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::container;

/// Serial number of the disk that is the tar.
pub(crate) const SERIAL: &str = "hardtack-given";

/// The attribute that file capabilities are kept in (capabilities(7)).
const CAPABILITY: &str = "security.capability";

/// What a guest must find below `/usr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) files: usize,
    pub(crate) entries: usize,
    pub(crate) capabilities: usize,
}

/// What an inventory says of `/usr`, in the form in which a guest can compare it.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// For `sha256sum --check`.
    sums: String,
    /// `find -printf '%y %m %U %G %p %l'`, sorted by bytes.
    entries: Vec<String>,
    /// The attribute's name and value in hexadecimal, and the path.
    capabilities: String,
}

/// Writes the tar into the folder `work`, made anew: the container, what the inventory says, and a
/// script of more questions.
pub(crate) fn pack(work: &Path, listing: Option<&Listing>, more: Option<&str>) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(work);
    let folder = work.join("given");
    std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
    let container = container::archive(&work.join("container"))?;
    std::fs::rename(&container, folder.join("container.tar")).context("give the container")?;
    let mut texts = vec![("more.sh", more.unwrap_or_default().to_owned())];
    if let Some(listing) = listing {
        texts.push(("sums", listing.sums.clone()));
        texts.push(("damaged", listing.damaged()?));
        texts.push(("entries", lines(&listing.entries)));
        texts.push(("capabilities", listing.capabilities.clone()));
    }
    for (name, text) in texts {
        std::fs::write(folder.join(name), text).with_context(|| format!("write `{name}`"))?;
    }
    let tar = work.join("given.tar");
    container::pack(&folder, &tar)?;
    Ok(tar)
}

impl Listing {
    /// Reads `<name>.inventory.json`.
    pub(crate) fn read(inventory: &Path) -> Result<Listing> {
        let name = inventory.display();
        let bytes = std::fs::read(inventory).with_context(|| format!("read `{name}`"))?;
        Listing::parse(&bytes).with_context(|| format!("read the inventory `{name}`"))
    }

    fn parse(bytes: &[u8]) -> Result<Listing> {
        let items: Vec<Value> = serde_json::from_slice(bytes).context("parse it")?;
        let mut listing = Listing::default();
        for item in &items {
            let word = |key: &str| item.get(key).and_then(Value::as_str);
            let need = |key| word(key).with_context(|| format!("find `{key}` of {item}"));
            let path = need("path")?;
            if path != "usr" && !path.starts_with("usr/") {
                continue;
            }
            if path.chars().any(char::is_control) {
                bail!("list `{}`: no line can hold its name", path.escape_debug());
            }
            let kind = match need("kind")? {
                "directory" => 'd',
                "file" => 'f',
                "link" => 'l',
                other => bail!("list `{path}`: what is a {other}"),
            };
            let mode = need("mode")?.trim_start_matches('0');
            let mode = if mode.is_empty() { "0" } else { mode };
            let (owner, group) = (need("owner")?, need("group")?);
            let target = word("target").unwrap_or_default();
            listing.entries.push(format!("{kind} {mode} {owner} {group} /{path} {target}"));
            if kind == 'f' {
                let sum = need("digest")?;
                // sha256sum(1): a name with a backslash is escaped, and the line says so.
                let escaped = path.replace('\\', "\\\\");
                let mark = if escaped == path { "" } else { "\\" };
                writeln!(listing.sums, "{mark}{sum}  /{escaped}")?;
            }
            let value = item.get("xattrs").and_then(|all| all.get(CAPABILITY));
            if let Some(value) = value.and_then(Value::as_str) {
                let name: String = CAPABILITY.bytes().map(|byte| format!("{byte:02x}")).collect();
                // A record of the tar's extended header: `name=value` (pax, POSIX.1-2001).
                writeln!(listing.capabilities, "{name}3d{value} /{path}")?;
            }
        }
        if listing.sums.is_empty() {
            bail!("it names no file of /usr");
        }
        listing.entries.sort();
        Ok(listing)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            files: self.sums.lines().count(),
            entries: self.entries.len(),
            capabilities: self.capabilities.lines().count(),
        }
    }

    /// A few true sums, and one that is wrong in its first digit.
    fn damaged(&self) -> Result<String> {
        let true_ones: Vec<&str> =
            self.sums.lines().filter(|line| !line.starts_with('\\')).take(3).collect();
        let last = true_ones.last().context("damage a sum: there is none")?;
        let wrong = if last.starts_with('0') { '1' } else { '0' };
        let line = format!("{wrong}{}", last.get(1..).unwrap_or_default());
        Ok(lines(true_ones.iter().take(2).copied().chain([line.as_str()])))
    }
}

fn lines<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> String {
    lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::run::{read, target};

    use super::*;

    /// An inventory of a folder below `/usr` that every machine has, as sums.
    const INVENTORY: &str = r#"[
      {"path":"etc","kind":"directory","mode":"0755","owner":"0","group":"0"},
      {"path":"usr","kind":"directory","mode":"0755","owner":"0","group":"0"},
      {"path":"usr/a\\x2db","kind":"file","mode":"0644","owner":"0","group":"7","digest":"ab"},
      {"path":"usr/ping","kind":"file","mode":"4755","owner":"0","group":"0","digest":"cd",
       "xattrs":{"security.capability":"0100000200200000"}},
      {"path":"usr/link","kind":"link","mode":"0777","owner":"0","group":"0","target":"ping"}]"#;

    #[test]
    fn an_inventory_is_listed_as_find_and_sha256sum_say_it() {
        let listing = Listing::parse(INVENTORY.as_bytes()).unwrap();
        assert_eq!(listing.sums, "\\ab  /usr/a\\\\x2db\ncd  /usr/ping\n");
        assert_eq!(
            lines(&listing.entries),
            "d 755 0 0 /usr \nf 4755 0 0 /usr/ping \nf 644 0 7 /usr/a\\x2db \n\
             l 777 0 0 /usr/link ping\n"
        );
        assert!(listing.capabilities.ends_with("3d0100000200200000 /usr/ping\n"));
        assert_eq!(listing.counts(), Counts { files: 2, entries: 4, capabilities: 1 });
    }

    #[test]
    fn an_inventory_that_says_nothing_of_usr_is_refused() {
        for text in ["[]", "{}", "", r#"[{"path":"usr/x","kind":"socket"}]"#] {
            assert!(Listing::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn sha256sum_takes_the_sums_and_refuses_the_damaged_ones() {
        let folder = target().join("scratch/xtask-given");
        std::fs::create_dir_all(&folder).unwrap();
        let mut sums = String::new();
        for name in ["a", "b", "c\\x2dd", "e"] {
            let file = folder.join(name);
            std::fs::write(&file, name).unwrap();
            let said = read(Command::new("sha256sum").arg("--").arg(&file)).unwrap();
            sums.push_str(&String::from_utf8(said).unwrap());
        }
        let listing = Listing { sums, ..Listing::default() };
        let check = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).unwrap();
            let mut command = Command::new("sha256sum");
            read(command.args(["--check", "--quiet", "--strict"]).arg(folder.join(name)))
        };
        assert!(check("sums", listing.sums.clone()).is_ok());
        assert!(check("damaged", listing.damaged().unwrap()).is_err());
    }

    #[test]
    fn a_guest_finds_all_that_it_is_given() {
        let work = target().join("scratch/xtask-pack");
        let listing = Listing::parse(INVENTORY.as_bytes()).unwrap();
        let tar = pack(&work, Some(&listing), Some("tell a b")).unwrap();
        let names = read(Command::new("tar").arg("-tf").arg(tar)).unwrap();
        let names = String::from_utf8(names).unwrap();
        for name in ["container.tar", "sums", "damaged", "entries", "capabilities", "more.sh"] {
            assert!(names.lines().any(|line| line == format!("./{name}")), "{name} of {names}");
        }
    }
}
