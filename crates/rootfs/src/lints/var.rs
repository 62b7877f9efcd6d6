//! What packages ship where an image holds nothing (`/var`, `/srv`, …) is made at boot by lines of
//! tmpfiles.d(5), as what it was and with the owner and mode that it had.

use std::collections::BTreeMap;

use anyhow::Result;
use store::{Entry, Node, Owner, Tree};

use super::owners::TMPFILES;
use super::{Finding, Lint, Lookup, finding};
use crate::generators::files::drop_ins;
use crate::generators::is_legacy;
use crate::tmpfiles::{self, Line};

pub(super) const ROW: Lint = Lint {
    name: "var",
    about: "a path below /var, /srv or the like that no tmpfiles.d line makes as it was shipped",
    way_out: "write the line with mode and owner (`tmpfiles` in a rule), or leave it out by `drop`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut made: BTreeMap<String, Line> = BTreeMap::new();
    let mut adjusted: BTreeMap<String, Line> = BTreeMap::new();
    for file in drop_ins(tree, &TMPFILES, ".conf") {
        for line in tmpfiles::read(lookup.text(tree, &file)) {
            // Of two lines for one path the first holds.
            let path = line.path.clone();
            if line.makes() {
                made.entry(path).or_insert(line);
            } else if line.adjusts() {
                adjusted.entry(path).or_insert(line);
            }
        }
    }
    let mut found = Vec::new();
    for (path, entry) in lookup.shipped.0.iter().filter(|(path, _)| !is_legacy(path)) {
        match made.get(path) {
            Some(line) => found.extend(
                problem(entry, line, adjusted.get(path))
                    .map(|problem| finding(path, entry, problem)),
            ),
            None if copied_with_parent(path, &made) => {}
            None => found.push(finding(path, entry, "is shipped, and no tmpfiles.d line makes it")),
        }
    }
    for (path, entry) in crate::outside(tree).0 {
        found.push(finding(&path, &entry, "is in the finished tree, where an image holds nothing"));
    }
    Ok(found)
}

/// What the host would have instead of what was shipped; `adjusted` sets mode and owner later.
fn problem(entry: &Entry, line: &Line, adjusted: Option<&Line>) -> Option<String> {
    let kinds = match &entry.node {
        Node::Directory => "dDvqQC",
        Node::File(_) => "fFwC",
        Node::Symlink(_) => "LC",
    };
    if !kinds.contains(line.kind) {
        return Some(format!(
            "is shipped as {}, and its line is of type `{}`",
            what(entry),
            line.kind
        ));
    }
    // A link has no mode, and a copy keeps what its original has.
    if matches!(entry.node, Node::Symlink(_)) {
        return None;
    }
    let usual = if entry.node == Node::Directory { 0o755 } else { 0o644 };
    let usual = if line.kind == 'C' { entry.mode } else { usual };
    let says = |of: fn(&Line) -> bool| of(line) || adjusted.is_some_and(of);
    if !says(|line| line.mode.is_some()) && entry.mode != usual {
        return Some(format!("has mode {:04o}, and its line gives none", entry.mode));
    }
    for (owner, said, what) in [
        (&entry.owner, says(|line| line.user.is_some()), "user"),
        (&entry.group, says(|line| line.group.is_some()), "group"),
    ] {
        if !said && *owner != Owner::ROOT && line.kind != 'C' {
            return Some(format!("belongs to a {what} of its own, and its line gives none"));
        }
    }
    None
}

/// A line `C` copies all that lies below its path.
fn copied_with_parent(path: &str, made: &BTreeMap<String, Line>) -> bool {
    let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
    parents.filter_map(|parent| made.get(parent)).any(|line| line.kind == 'C')
}

fn what(entry: &Entry) -> &'static str {
    match entry.node {
        Node::Directory => "a directory",
        Node::File(_) => "a file",
        Node::Symlink(_) => "a link",
    }
}

#[cfg(test)]
mod tests {
    use store::{Blob, Entry};

    use super::super::testing::Sample;

    #[test]
    fn what_is_shipped_in_var_has_a_line_of_its_kind_with_mode_and_owner() {
        let lines = "usr/lib/tmpfiles.d/x.conf";
        let mut sample = Sample::new("var");
        let file = || Entry::file(Blob::of(b""), 0o644, "a");
        sample.ship("var", Entry::directory("a"), 0o755, "root");
        sample.ship("var/run", Entry::directory("a"), 0o755, "root");
        sample.ship("var/lib/a", Entry::directory("a"), 0o750, "a");
        sample.ship("var/lib/b", Entry::directory("a"), 0o755, "root");
        sample.ship("var/lib/b/f", file(), 0o600, "root");
        sample.ship("srv/link", Entry::symlink("x", "a"), 0o777, "root");
        let good = "d /var/lib/a 0750 0 0\nC /var/lib/b\nL /srv/link - - - - x\n";
        sample.file(lines, good, 0o644);
        assert_eq!(sample.findings(), []);
        let late = "d /var/lib/a\nC /var/lib/b\nL /srv/link - - - - x\nz /var/lib/a 0750 0 0\n";
        sample.file(lines, late, 0o644);
        assert_eq!(sample.findings(), []);
        sample.file(lines, "d /var/lib/a - 0 0\nf /var/lib/b\n", 0o644);
        sample.file("usr/share/factory/etc/tmpfiles.d/y.conf", "d /srv/link\n", 0o644);
        sample.says("var", "var/lib/a", "has mode 0750");
        sample.says("var", "var/lib/b", "is shipped as a directory, and its line is of type `f`");
        sample.says("var", "var/lib/b/f", "no tmpfiles.d line");
        sample.says("var", "srv/link", "is shipped as a link");
        sample.file(lines, "d /var/lib/a 0750\nC /var/lib/b\n", 0o644);
        sample.says("var", "var/lib/a", "a user of its own");
    }

    #[test]
    fn nothing_is_left_where_an_image_holds_nothing() {
        let mut sample = Sample::new("var-left");
        sample.file("var/lib/x", "x", 0o644);
        sample.says("var", "var/lib/x", "in the finished tree");
    }
}
