//! What packages ship outside `/usr` and `/etc` becomes lines of tmpfiles.d(5), since only those
//! two are part of the image: `/var` and its like are empty on a new machine and filled at boot.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use store::{Entry, Node, Owner, Scratch, Tree};

use super::files::{drop_ins, put, text};
use crate::{Change, Generator, Point, Purpose};

const LINES: &str = "usr/lib/tmpfiles.d/20-hardtack-var.conf";
const FACTORY: &str = "usr/share/factory";
const ORIGIN: &str = "generator:tmpfiles-var";

/// Top-level directories whose content is made at boot.
pub(crate) const MADE_AT_BOOT: [&str; 7] = ["home", "media", "mnt", "opt", "root", "srv", "var"];

/// Links that systemd's own `legacy.conf` makes; a directory line would clash with them.
const LEGACY: [&str; 2] = ["var/lock", "var/run"];

pub(crate) const ROW: Generator = Generator {
    name: "tmpfiles-var",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Image,
    reads: &[
        "home/**",
        "media/**",
        "mnt/**",
        "opt/**",
        "root/**",
        "run/**",
        "srv/**",
        "var/**",
        "etc/tmpfiles.d/*",
        "usr/lib/tmpfiles.d/*",
    ],
    writes: &[
        "home/**",
        "media/**",
        "mnt/**",
        "opt/**",
        "root/**",
        "run/**",
        "srv/**",
        "var/**",
        LINES,
        "usr/share/factory/**",
    ],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let covered = covered(tree, scratch)?;
    let mut change = Change::default();
    let mut lines = String::new();
    for top in MADE_AT_BOOT {
        for (path, entry) in tree.below(top) {
            if is_legacy(path) {
                continue;
            }
            if !entry.xattrs.is_empty() {
                bail!("`{path}` of {} has attributes that no tmpfiles.d line keeps", entry.origin);
            }
            if let Node::File(_) = entry.node {
                change.add.insert(&format!("{FACTORY}/{path}"), entry.clone())?;
            }
            if !covered.contains(path) {
                lines.push_str(&line(path, entry)?);
            }
        }
    }
    let tops = MADE_AT_BOOT.iter().chain(&["run"]);
    change
        .remove
        .extend(tops.filter(|top| tree.below(top).next().is_some()).map(|top| (*top).to_owned()));
    if !lines.is_empty() {
        lines.insert_str(0, "# What packages ship outside /usr and /etc. Made by Hardtack.\n");
        put(&mut change, scratch, LINES, lines.as_bytes(), ORIGIN)?;
    }
    Ok(change)
}

/// Whether the host makes the path without a line of ours: `/var` itself is the mount point or
/// directory that PID 1 makes, and links of old are systemd's own.
pub(crate) fn is_legacy(path: &str) -> bool {
    let below =
        |old: &&str| path.strip_prefix(*old).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    path == "var" || LEGACY.iter().any(below)
}

/// Paths (without leading `/`) that a line of the tree's own tmpfiles.d makes.
fn covered(tree: &Tree, scratch: &Scratch<'_>) -> Result<BTreeSet<String>> {
    let mut covered = BTreeSet::new();
    for file in drop_ins(tree, &["etc/tmpfiles.d", "usr/lib/tmpfiles.d"], ".conf") {
        for line in text(tree, scratch, &file)?.unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            let (Some(kind), Some(path)) = (words.next(), words.next()) else { continue };
            if kind.starts_with(['d', 'D', 'v', 'q', 'Q', 'f', 'F', 'C', 'L']) {
                let path = path.trim_matches('"').trim_start_matches('/');
                covered.insert(path.trim_end_matches('/').to_owned());
            }
        }
    }
    Ok(covered)
}

fn line(path: &str, entry: &Entry) -> Result<String> {
    let path = quoted(path)?;
    let (mode, user, group) = (entry.mode, name(&entry.owner), name(&entry.group));
    Ok(match &entry.node {
        Node::Directory => format!("d {path} {mode:04o} {user} {group} - -\n"),
        Node::File(_) => format!("C {path} {mode:04o} {user} {group} - -\n"),
        Node::Symlink(target) => format!("L {path} - - - - {}\n", argument(target)?),
    })
}

fn name(owner: &Owner) -> String {
    match owner {
        Owner::Id(0) => "root".to_owned(),
        Owner::Id(id) => id.to_string(),
        Owner::Name(name) => name.clone(),
    }
}

/// An absolute path as the second field, where blanks, quotes and `%` have meanings.
fn quoted(path: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '%');
    if path.chars().all(plain) {
        return Ok(format!("/{path}"));
    }
    let mut quoted = String::from("\"/");
    for c in path.chars() {
        match c {
            '%' => quoted.push_str("%%"),
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\x{:02x}", u32::from(c))?,
            c => quoted.push(c),
        }
    }
    Ok(quoted + "\"")
}

/// The last field, which reaches to the end of the line: only `%` has a meaning.
fn argument(target: &str) -> Result<String> {
    if target.chars().any(char::is_control) || target != target.trim() {
        bail!("the link target `{}` fits no tmpfiles.d line", target.escape_debug());
    }
    Ok(target.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    fn sample() -> Sample {
        Sample::new()
            .entry("var", Entry::directory("base"))
            .entry("var/run", Entry::directory("base"))
            .entry("var/lib/chrony", Entry::directory("chrony"))
            .owned("var/lib/chrony", "_chrony", "_chrony", 0o750)
            .entry("var/cache", Entry::directory("base"))
            .file("var/lib/a b%", b"x")
            .link("var/spool/mail", "../mail")
            .file("root/.profile", b"p")
            .entry("run/x", Entry::directory("base"))
            .entry("srv", Entry::directory("base"))
            .file("usr/lib/tmpfiles.d/var.conf", b"d /var/cache 0755 - - -\nq /srv 0755\n")
    }

    #[test]
    fn every_path_has_a_line_with_owner_and_mode_unless_one_covers_it() {
        let sample = sample();
        let tree = sample.run(&ROW).unwrap();
        let text = sample.text(&tree, LINES);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "C /root/.profile 0644 root root - -",
                "C \"/var/lib/a b%%\" 0644 root root - -",
                "d /var/lib/chrony 0750 _chrony _chrony - -",
                "L /var/spool/mail - - - - ../mail",
            ]
        );
        assert!(tree.get("usr/share/factory/var/lib/a b%").is_some());
        assert!(tree.get("usr/share/factory/root/.profile").is_some());
        assert!(tree.0.keys().all(|path| path.starts_with("usr/")), "{:?}", tree.0.keys());
    }

    #[test]
    fn a_capability_in_var_is_an_error_and_not_lost() {
        let mut entry = Entry::directory("odd");
        entry.xattrs.insert("security.capability".into(), vec![1]);
        let error = Sample::new().entry("var/x", entry).run(&ROW).unwrap_err();
        assert!(format!("{error:#}").contains("var/x"));
    }
}
