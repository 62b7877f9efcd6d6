//! Two trees, path by path.

use std::collections::BTreeSet;
use std::fmt;

use super::normal::{self, Names};
use super::walk::{Found, Kind, Walk};

/// Links through this directory are compared by where they end.
const ALTERNATIVES: &str = "/etc/alternatives/";

/// One difference between the judge's tree and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) what: What,
    /// The judge's value, then ours.
    pub(super) says: String,
}

/// Kinds of difference, by the names that the list uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The judge has the path, our tree does not.
    Absent,
    /// Our tree has the path, the judge does not.
    Extra,
    /// One is a directory, the other a file, and so on.
    Type,
    Mode,
    Owner,
    Content,
    Target,
    /// Capabilities, other extended attributes, access lists.
    Attributes,
    /// Which paths are one inode.
    Inode,
}

impl What {
    pub(super) const ALL: [(&str, What); 9] = [
        ("absent", What::Absent),
        ("extra", What::Extra),
        ("type", What::Type),
        ("mode", What::Mode),
        ("owner", What::Owner),
        ("content", What::Content),
        ("target", What::Target),
        ("attributes", What::Attributes),
        ("inode", What::Inode),
    ];

    pub(super) fn named(name: &str) -> Option<What> {
        What::ALL.iter().find(|(known, _)| *known == name).map(|(_, what)| *what)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = What::ALL.iter().find(|(_, what)| *what == self.what).map_or("", |(n, _)| *n);
        write!(f, "{}  {name}  {}", self.path, self.says)
    }
}

/// Every difference, in the order of paths. Of what lies in `elsewhere`, which only the judge
/// installs, nothing is missed.
pub(super) fn differences(
    judges: &Walk,
    ours: &Walk,
    elsewhere: &BTreeSet<String>,
) -> Vec<Difference> {
    let (their_names, our_names) = (Names::of(judges), Names::of(ours));
    let mut all = Vec::new();
    let paths: BTreeSet<&String> = judges.0.keys().chain(ours.0.keys()).collect();
    for path in paths {
        let mut say = |what, says: String| all.push(Difference { path: path.clone(), what, says });
        match (judges.0.get(path), ours.0.get(path)) {
            (Some(_), None) if elsewhere.contains(path) => {}
            (Some(a), None) => say(What::Absent, kind(a).to_owned()),
            (None, Some(b)) => say(What::Extra, kind(b).to_owned()),
            (Some(a), Some(b)) => {
                if kind(a) != kind(b) {
                    say(What::Type, format!("{} / {}", kind(a), kind(b)));
                    continue;
                }
                if let Some((what, says)) =
                    content((path, a, b), (judges, ours), (&their_names, &our_names))
                {
                    say(what, says);
                }
                if a.mode != b.mode {
                    say(What::Mode, format!("{:04o} / {:04o}", a.mode, b.mode));
                }
                let owner = |found: &Found, names: &Names| {
                    format!("{}:{}", names.user(found.user), names.group(found.group))
                };
                let (theirs, own) = (owner(a, &their_names), owner(b, &our_names));
                if theirs != own {
                    say(What::Owner, format!("{theirs} / {own}"));
                }
                if a.attributes != b.attributes {
                    let names = |found: &Found| format!("{:?}", found.attributes);
                    say(What::Attributes, format!("{} / {}", names(a), names(b)));
                }
                if a.inode != b.inode {
                    say(What::Inode, format!("{:?} / {:?}", a.inode, b.inode));
                }
            }
            (None, None) => {}
        }
    }
    all
}

fn kind(found: &Found) -> &'static str {
    match found.kind {
        Kind::Directory => "directory",
        Kind::File { .. } => "file",
        Kind::Link(_) => "link",
        Kind::Device => "device",
    }
}

fn content(
    (path, a, b): (&str, &Found, &Found),
    (judges, ours): (&Walk, &Walk),
    (their_names, our_names): (&Names, &Names),
) -> Option<(What, String)> {
    match (&a.kind, &b.kind) {
        (Kind::Link(a), Kind::Link(b)) if a != b => {
            let alternative = a.starts_with(ALTERNATIVES);
            let same = alternative && judges.resolve(path) == ours.resolve(path);
            let same = same || normal::target(a) == normal::target(b);
            (!same).then(|| (What::Target, format!("{a} / {b}")))
        }
        (
            Kind::File { sha256: a, size: from, bytes: theirs },
            Kind::File { sha256: b, size: to, bytes: own },
        ) if a != b => {
            let theirs = theirs.as_deref().unwrap_or_default();
            let own = own.as_deref().unwrap_or_default();
            let forms =
                (normal::form(path, theirs, their_names), normal::form(path, own, our_names));
            match forms {
                (Some(theirs), Some(own)) if theirs == own => None,
                (Some(theirs), Some(own)) => Some((What::Content, lines(&theirs, &own))),
                _ => {
                    let text = (std::str::from_utf8(theirs), std::str::from_utf8(own));
                    let shown = match text {
                        (Ok(theirs), Ok(own)) => lines(theirs, own),
                        _ => String::new(),
                    };
                    Some((What::Content, format!("{from} / {to} bytes{shown}")))
                }
            }
        }
        _ => None,
    }
}

/// The first lines that only one of two texts has.
fn lines(theirs: &str, own: &str) -> String {
    const SHOWN: usize = 12;
    let only = |a: &str, b: &str, sign: &str| -> Vec<String> {
        let other: BTreeSet<&str> = b.lines().collect();
        let lone = a.lines().filter(|line| !other.contains(line));
        lone.take(SHOWN).map(|line| format!("\n    {sign} {line}")).collect()
    };
    only(theirs, own, "-").concat() + &only(own, theirs, "+").concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// An archive of a few entries, damaged by `change`.
    fn walk(change: impl Fn(&str, &mut tar::Header, &mut Vec<u8>) -> bool) -> Walk {
        let mut builder = tar::Builder::new(Vec::new());
        let entries: [(&str, tar::EntryType, &str); 6] = [
            ("etc/passwd", tar::EntryType::Regular, "root:x:0:0::/:/sh\nd:x:900:900::/:/no\n"),
            ("etc/group", tar::EntryType::Regular, "root:x:0:\nd:x:900:\n"),
            ("etc/alternatives/awk", tar::EntryType::Symlink, "/usr/bin/mawk"),
            ("usr/bin/awk", tar::EntryType::Symlink, "/etc/alternatives/awk"),
            ("usr/bin/mawk", tar::EntryType::Regular, "program"),
            ("usr/bin/mawk2", tar::EntryType::Link, "./usr/bin/mawk"),
        ];
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_uid(900);
            header.set_gid(900);
            let mut bytes = text.as_bytes().to_vec();
            if !change(path, &mut header, &mut bytes) {
                continue;
            }
            let path = format!("./{path}");
            if kind == tar::EntryType::Regular {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
            } else {
                header.set_size(0);
                builder
                    .append_link(&mut header, path, std::str::from_utf8(&bytes).unwrap())
                    .unwrap();
            }
        }
        let mut bytes = builder.into_inner().unwrap();
        bytes.flush().unwrap();
        Walk::read(bytes.as_slice()).unwrap()
    }

    fn found(ours: &Walk) -> Vec<(String, What)> {
        let good = walk(|_, _, _| true);
        let all = differences(&good, ours, &BTreeSet::new());
        all.into_iter().map(|one| (one.path, one.what)).collect()
    }

    #[test]
    fn equal_trees_do_not_differ() {
        assert_eq!(found(&walk(|_, _, _| true)), []);
    }

    #[test]
    fn a_damaged_tree_is_told_from_a_good_one_by_path_and_kind() {
        let damaged = walk(|path, header, bytes| {
            match path {
                "usr/bin/mawk" => header.set_mode(0o4755),
                "etc/group" => bytes.extend_from_slice(b"evil:x:0:\n"),
                "etc/alternatives/awk" => *bytes = b"/usr/bin/gone".to_vec(),
                _ => {}
            }
            path != "usr/bin/mawk2"
        });
        assert_eq!(
            found(&damaged),
            [
                ("etc/alternatives/awk".to_owned(), What::Target),
                ("etc/group".to_owned(), What::Content),
                ("usr/bin/mawk".to_owned(), What::Mode),
                ("usr/bin/mawk".to_owned(), What::Inode),
                ("usr/bin/mawk2".to_owned(), What::Absent),
            ]
        );
    }

    #[test]
    fn owners_are_compared_by_name() {
        let renumbered = walk(|path, header, bytes| {
            header.set_uid(901);
            header.set_gid(901);
            if path.starts_with("etc/") && bytes.contains(&b':') {
                *bytes = String::from_utf8_lossy(bytes).replace("900", "901").into_bytes();
            }
            true
        });
        assert_eq!(found(&renumbered), []);
        let stolen = walk(|path, header, _| {
            header.set_uid(if path == "etc/passwd" { 0 } else { 900 });
            true
        });
        assert_eq!(found(&stolen), [("etc/passwd".to_owned(), What::Owner)]);
    }

    #[test]
    fn an_alternative_is_compared_by_where_it_ends() {
        let direct = walk(|path, _, bytes| {
            if path == "usr/bin/awk" {
                *bytes = b"mawk".to_vec();
            }
            path != "etc/alternatives/awk"
        });
        assert_eq!(found(&direct), [("etc/alternatives/awk".to_owned(), What::Absent)]);
        let other = walk(|path, _, bytes| {
            if path == "usr/bin/awk" {
                *bytes = b"gawk".to_vec();
            }
            true
        });
        assert_eq!(found(&other), [("usr/bin/awk".to_owned(), What::Target)]);
    }

    #[test]
    fn a_foreign_file_is_seen() {
        let lacking = walk(|path, _, _| path != "etc/group");
        let good = walk(|_, _, _| true);
        let all = differences(&lacking, &good, &BTreeSet::new());
        let extra = all.iter().find(|one| one.what == What::Extra).unwrap();
        assert_eq!(extra.path, "etc/group");
    }
}
