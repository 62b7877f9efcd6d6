//! `hardtack tree`: an assembled tree as mtree(5) text, or as a tar archive for foreign programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use store::{Entry, Node, Owner, Store, Tree};

use crate::args::{self, At};
use crate::fault::{Fault, Or as _};
use crate::hand_over::{self, Ready};
use crate::scripts::OnUnreviewed;
use crate::{assemble, plan, tar};

/// Where passwd(5) and group(5) may lie: as installed, and as an image keeps them.
const PLACES: [&str; 2] = ["etc", "usr/share/factory/etc"];

/// The verb.
pub(crate) fn run(arguments: args::Tree) -> Result<()> {
    let (at, archive) = (arguments.at, arguments.tar.clone());
    let image: args::Image = arguments.into();
    let ready = hand_over::ready(hand_over::begin(&image)?, &image)?;
    ready.fetch()?;
    let Ready { plan, keys, store, .. } = ready;
    let packages = assemble::import(&plan.lock, &store).fault(Fault::Build)?;
    let later = plan::later_rooms(&plan, &keys).fault(Fault::Sign)?;
    let tree = match at {
        At::Installed => assemble::installed(&plan, &packages, &store),
        At::Image => assemble::host(&plan, &packages, &later, &store).map(|host| host.tree),
        At::Initrd => assemble::initrd_tree(&plan, &packages, &later, &store).map(|(tree, _)| tree),
    };
    let tree = tree.fault(Fault::Build)?;
    match archive {
        Some(file) => write_tar(&tree, plan.lock.epoch, &store, &file).fault(Fault::Output),
        None => {
            let text = mtree(&tree, &Names::of(&tree, &store).fault(Fault::Build)?);
            // A closed pipe is no failure.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Ok(())
        }
    }
}

impl From<args::Tree> for args::Image {
    fn from(tree: args::Tree) -> Self {
        let args::Tree { profile, places, keys, version, locked, origin, .. } = tree;
        Self {
            profile,
            output: None,
            places,
            keys,
            version,
            update: false,
            previous: None,
            locked,
            checksums: false,
            unreviewed_scripts: OnUnreviewed::Warn,
            origin,
        }
    }
}

fn write_tar(tree: &Tree, epoch: store::Epoch, store: &Store, file: &Path) -> Result<()> {
    let about = || format!("write `{}`", file.display());
    let out = BufWriter::new(File::create(file).with_context(about)?);
    tar::write(tree, epoch, &|blob| store.open_blob(blob), out).with_context(about)
}

/// Users and groups of a tree by number.
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    fn of(tree: &Tree, store: &Store) -> Result<Self> {
        Ok(Self { users: names(tree, store, "passwd")?, groups: names(tree, store, "group")? })
    }
}

/// The first field of each line, by the third.
fn names(tree: &Tree, store: &Store, file: &str) -> Result<BTreeMap<u32, String>> {
    let found = PLACES.iter().find_map(|place| tree.get(&format!("{place}/{file}"))?.blob());
    let mut names = BTreeMap::new();
    let Some(blob) = found else { return Ok(names) };
    let text = store.read(&blob).with_context(|| format!("read the tree's {file}"))?;
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
        if let (Some(name), Some(id)) = (name, id) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    Ok(names)
}

/// The text of mtree(5): one line an entry in the order of paths, the root first. Entries of one
/// inode share `inode` and say `nlink`. Extended attributes, for which the format has no keyword,
/// stand in a comment before their entry: path, name, value in hexadecimal.
fn mtree(tree: &Tree, names: &Names) -> String {
    let mut inodes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for link in tree.0.values().filter_map(|entry| entry.link.as_deref()) {
        let next = inodes.len() + 1;
        inodes.entry(link).or_insert((next, 0)).1 += 1;
    }
    let mut text = String::from("#mtree\n. type=dir mode=0755 uname=root gname=root\n");
    for (path, entry) in &tree.0 {
        let path = escaped(&format!("./{path}"));
        for (name, value) in &entry.xattrs {
            let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            text.extend(["# ", &path, " ", &escaped(name), "=", &value, "\n"]);
        }
        text.extend([path.as_str(), " ", &keywords(entry, names)]);
        if let Some((inode, count)) = entry.link.as_deref().and_then(|link| inodes.get(link)) {
            // Writing to a String cannot fail.
            let _ = write!(text, " inode={inode} nlink={count}");
        }
        text.push('\n');
    }
    text
}

fn keywords(entry: &Entry, names: &Names) -> String {
    let user = owner(&entry.owner, &names.users, "uid", "uname");
    let group = owner(&entry.group, &names.groups, "gid", "gname");
    let mode = entry.mode;
    match &entry.node {
        Node::Directory => format!("type=dir mode={mode:04o} {user} {group}"),
        Node::Symlink(target) => {
            format!("type=link mode={mode:04o} {user} {group} link={}", escaped(target))
        }
        Node::File(blob) => format!(
            "type=file mode={mode:04o} {user} {group} size={} sha256digest={}",
            blob.size, blob.digest
        ),
    }
}

/// By name where the tree has one for the number.
fn owner(owner: &Owner, names: &BTreeMap<u32, String>, number: &str, name: &str) -> String {
    match owner {
        Owner::Id(0) => format!("{name}=root"),
        Owner::Id(id) => match names.get(id) {
            Some(known) => format!("{name}={}", escaped(known)),
            None => format!("{number}={id}"),
        },
        Owner::Name(known) => format!("{name}={}", escaped(known)),
    }
}

/// As vis(3) with octal numbers: all but printable ASCII, blanks and what has a meaning.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\\' | b'#' | b'=' | b'*' | b'?' | b'[' | 0..=b' ' | 127.. => {
                let _ = write!(escaped, "\\{byte:03o}");
            }
            plain => escaped.push(char::from(plain)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use store::{Blob, Epoch};

    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        let mut file = Entry::file(Blob::of(b"hello\n"), 0o4755, "a");
        file.group = Owner::Id(42);
        file.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2]);
        let mut one = Entry::file(Blob::of(b"one"), 0o644, "a");
        one.link = Some("a:usr/one".into());
        let long = format!("usr/{}/{}", "d".repeat(200), "f".repeat(120));
        for (path, entry) in [
            ("etc", Entry::directory("a")),
            ("usr/a b#=é", file),
            ("usr/one", one.clone()),
            ("usr/two", one),
            ("bin", Entry::symlink("usr/bin", "a")),
            (long.as_str(), Entry::symlink("t".repeat(150), "a")),
        ] {
            tree.insert(path, entry).unwrap();
        }
        tree.with_parents("a")
    }

    fn archive(tree: &Tree) -> Vec<u8> {
        let open = |blob: &Blob| -> Result<Box<dyn std::io::Read>> {
            let known: [&[u8]; 2] = [b"hello\n", b"one"];
            let found = known.into_iter().find(|bytes| Blob::of(bytes) == *blob);
            Ok(Box::new(found.context("no such content")?))
        };
        let mut bytes = Vec::new();
        tar::write(tree, Epoch(86400), &open, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_property_of_an_entry_is_shown() {
        let groups = BTreeMap::from([(42, "shadow".to_owned())]);
        let text = mtree(&sample(), &Names { users: BTreeMap::new(), groups });
        let digest = Blob::of(b"hello\n").digest;
        assert!(
            text.contains(&format!(
                "# ./usr/a\\040b\\043\\075\\303\\251 security.capability=01000002\n\
                 ./usr/a\\040b\\043\\075\\303\\251 type=file mode=4755 uname=root gname=shadow \
                 size=6 sha256digest={digest}\n"
            )),
            "{text}"
        );
        assert!(text.contains("./bin type=link mode=0777 uname=root gname=root link=usr/bin\n"));
        assert_eq!(text.matches(" inode=1 nlink=2\n").count(), 2, "{text}");
    }

    #[test]
    fn a_foreign_tar_reads_what_was_written() {
        let tree = sample();
        let directory = judge::scratch("tree-tar");
        let file = directory.join("tree.tar");
        std::fs::write(&file, archive(&tree)).unwrap();
        let mut tar = judge::tool("tar");
        let listed = judge::run(tar.args(["--numeric-owner", "--utc", "-tvf"]).arg(&file));
        assert!(listed.ok, "{}", listed.text);
        let lines: Vec<&str> = listed.text.lines().collect();
        assert_eq!(lines.len(), tree.0.len(), "{}", listed.text);
        assert!(listed.text.contains("-rwsr-xr-x 0/42"), "{}", listed.text);
        assert!(listed.text.contains("usr/two link to ./usr/one"), "{}", listed.text);
        assert!(listed.text.contains(&"t".repeat(150)), "{}", listed.text);
        let mut tar = judge::tool("tar");
        let content = judge::run(tar.arg("-xOf").arg(&file).arg("./usr/one"));
        assert_eq!(content.text, "one");
        let mut damaged = archive(&tree);
        damaged[0] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        assert!(!judge::run(judge::tool("tar").arg("-tf").arg(&file)).ok);
    }
}
