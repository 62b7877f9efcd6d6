//! `fsck.erofs` and `dump.erofs` judge: every byte, mode, owner, link and attribute comes back,
//! and a damaged image is refused.

mod read_back;
mod sample;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use filesystem::{BLOCK, Extents, Holds};
use judge::Ran;
use read_back::read_back;
use sample::{Sample, generated};
use store::{Entry, Node, Owner, Tree};

/// What `fsck.erofs` says about an image, every content read. Its exit code does not speak of
/// every error.
fn fsck(image: &Path) -> Ran {
    let Ran { ok, text } = judge::run(judge::tool("fsck.erofs").arg("--extract").arg(image));
    Ran { ok: ok && !text.contains("<E>"), text }
}

/// The sample's image, unpacked by `fsck.erofs`.
fn extract(sample: &Sample) -> PathBuf {
    let to = sample.root.join("extracted");
    let mut command = judge::tool("fsck.erofs");
    command.arg("--preserve-perms").arg(format!("--extract={}", to.display()));
    if privileged(sample) {
        command.arg("--xattrs");
    }
    let said = judge::run(command.arg(&sample.image));
    assert!(said.ok, "{}", said.text);
    to
}

/// Whether this test may give files away and write every kind of attribute.
fn privileged(sample: &Sample) -> bool {
    std::fs::metadata(&sample.root).unwrap().uid() == 0
}

fn id(owner: &Owner) -> u32 {
    match owner {
        Owner::Id(id) => *id,
        Owner::Name(name) => panic!("{name}"),
    }
}

/// Compares what was extracted with the tree, both ways.
fn compare(sample: &Sample) {
    let to = extract(sample);
    let mut names = BTreeMap::new();
    for (path, entry) in &sample.tree.0 {
        let found = std::fs::symlink_metadata(to.join(path)).unwrap();
        let kind = match &entry.node {
            Node::Directory => 0o040_000,
            Node::File(blob) => {
                let bytes = std::fs::read(to.join(path)).unwrap();
                assert!(store::Blob::of(&bytes) == *blob, "content of `{path}`");
                0o100_000
            }
            Node::Symlink(target) => {
                assert_eq!(std::fs::read_link(to.join(path)).unwrap(), Path::new(target));
                0o120_000
            }
        };
        assert_eq!(found.mode(), kind | u32::from(entry.mode), "mode of `{path}`");
        if entry.node != Node::Directory {
            names.entry((entry.link.clone(), found.ino())).or_insert((0, found.nlink())).0 += 1;
        }
        if privileged(sample) {
            let ids = (id(&entry.owner), id(&entry.group));
            assert_eq!((found.uid(), found.gid()), ids, "owner of `{path}`");
        }
        if matches!(entry.node, Node::File(_)) {
            assert_eq!(found.mtime(), sample::EPOCH as i64, "time of `{path}`");
        }
        for (name, value) in entry.xattrs.iter().filter(|_| privileged(sample)) {
            let mut buffer = vec![0; value.len() + 1];
            let read = rustix::fs::lgetxattr(to.join(path), name.as_str(), &mut buffer);
            assert_eq!(read, Ok(value.len()), "attribute `{name}` of `{path}`");
            assert!(buffer.starts_with(value), "attribute `{name}` of `{path}`");
        }
    }
    for ((link, inode), (seen, links)) in names {
        assert_eq!(seen, links, "names of inode {inode}, link {link:?}");
    }
    assert_eq!(count(&to), sample.tree.0.len(), "nothing more was extracted");
}

fn count(directory: &Path) -> usize {
    let below = store::list(directory).unwrap();
    let directories = below.iter().filter(|path| path.is_dir() && !path.is_symlink());
    below.len() + directories.map(|path| count(path)).sum::<usize>()
}

/// Compares owners, modes, links and sizes with what `dump.erofs` reads.
fn dump(sample: &Sample) {
    for (path, entry) in &sample.tree.0 {
        let mut command = judge::tool("dump.erofs");
        let said = judge::run(command.arg(format!("--path=/{path}")).arg(&sample.image));
        let words: Vec<_> = said.text.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name);
            words[at.unwrap_or_else(|| panic!("`{path}`: no `{name}` in {}", said.text)) + 1]
        };
        assert_eq!(after("Uid:"), id(&entry.owner).to_string(), "`{path}`");
        assert_eq!(after("Gid:"), id(&entry.group).to_string(), "`{path}`");
        // It shows the permissions alone; `compare` sees the other bits.
        let mode = format!("{:04o}/", entry.mode & 0o777);
        assert!(after("Access:").starts_with(&mode), "`{path}`: {}", said.text);
        let size = match &entry.node {
            Node::File(blob) => blob.size,
            Node::Symlink(target) => target.len() as u64,
            Node::Directory => continue,
        };
        assert_eq!(after("Size:"), size.to_string(), "`{path}`");
        let links = sample.tree.0.values().filter(|e| e.link.is_some() && e.link == entry.link);
        assert_eq!(after("Links:"), links.count().max(1).to_string(), "`{path}`");
    }
}

/// The map covers the image, and every content that it names lies where it says.
fn check_extents(sample: &Sample) -> Extents {
    let image = std::fs::read(&sample.image).unwrap();
    let extents = Extents::read(&sample.store.read(&sample.made.extents).unwrap()).unwrap();
    assert_eq!(extents.size(), image.len() as u64);
    assert_eq!(image.len() as u64 % BLOCK, 0);
    for extent in &extents.0 {
        let start = usize::try_from(extent.start).unwrap();
        let bytes = &image[start..][..usize::try_from(extent.size).unwrap()];
        match &extent.holds {
            Holds::Padding => assert!(bytes.iter().all(|b| *b == 0), "padding at {start}"),
            Holds::Content { digest, origin } => {
                assert_eq!((store::Digest::of(bytes), start as u64 % BLOCK), (*digest, 0));
                let mut entries = sample.tree.0.values();
                let holder = entries
                    .find(|e| e.blob().is_some_and(|b| b.digest == *digest) && e.origin == *origin);
                assert!(holder.is_some(), "{origin} holds {digest}");
            }
            Holds::Metadata(_) => {}
        }
    }
    extents
}

fn check(sample: &Sample) {
    read_back(sample);
    compare(sample);
    dump(sample);
    check_extents(sample);
}

#[test]
fn an_empty_tree_is_a_root_directory_0755() {
    let sample = Sample::of("erofs-empty", &Tree::default(), "empty");
    compare(&sample);
    let said = judge::run(judge::tool("dump.erofs").arg("--path=/").arg(&sample.image));
    assert!(said.text.contains("Access: 0755/"), "{}", said.text);
    check_extents(&sample);
}

#[test]
fn generated_trees_come_back_whole() {
    for seed in 1..=6 {
        let name = format!("erofs-generated-{seed}");
        check(&generated(&name, seed));
    }
}

#[test]
fn directories_around_whole_blocks_and_of_long_names_come_back() {
    // The shortest record has 13 bytes, and none spans two blocks.
    const SIZES: [usize; 9] = [4095, 4096, 4109, 8191, 8192, 8205, 12_287, 12_288, 12_301];
    let mut sample = Sample::begin("erofs-directories");
    for size in SIZES {
        for (i, name) in sample::names_of_size(size).iter().enumerate() {
            let blob = sample.put(format!("{i}").as_bytes());
            sample.insert(&format!("{size}/{name}"), Entry::file(blob, 0o644, "pack"));
        }
    }
    for i in 0..80 {
        let name = format!("{}{i:02}", "n".repeat(253));
        sample.insert(&format!("long/{name}"), Entry::symlink(format!("{i}"), "pack"));
    }
    let sample = sample.freeze("directories");
    read_back(&sample);
    compare(&sample);
    for size in SIZES {
        let path = format!("--path=/{size}");
        let said = judge::run(judge::tool("dump.erofs").arg(path).arg(&sample.image));
        assert!(said.text.contains(&format!("Size: {size} ")), "{size}: {}", said.text);
    }
}

#[test]
fn names_that_sort_before_the_dots_are_found() {
    let mut sample = Sample::begin("erofs-before-dots");
    for name in ["!", "+x", "-", ".-", ".hidden", "...", "\u{e9}", "\u{1f980}", "\u{1}"] {
        sample.insert(&format!("d/{name}"), Entry::directory("pack"));
    }
    check(&sample.freeze("dots"));
}

#[test]
fn attributes_of_every_kind_come_back() {
    // An access list: version 2, then `rwx` for owner, user 7, group, mask and others.
    const LIST: [u8; 44] = *b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x07\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    let mut sample = Sample::begin("erofs-attributes");
    let blob = sample.put(b"content");
    let mut insert = |path: &str, entry: Entry, attributes: &[(&str, &[u8])]| {
        let xattrs = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        sample.insert(path, Entry { xattrs: xattrs.collect(), ..entry });
    };
    let file = |mode| Entry::file(blob, mode, "pack");
    let label: (&str, &[u8]) = ("security.selinux", b"system_u:object_r:bin_t:s0\0");
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    insert("a", file(0o755), &[label, ("security.capability", capability)]);
    insert("b", file(0o775), &[label, ("system.posix_acl_access", &LIST)]);
    insert("d", Entry::directory("pack"), &[("system.posix_acl_default", &LIST)]);
    insert("e", file(0o644), &[("user.empty", b""), ("trusted.overlay.opaque", b"y")]);
    insert("l", Entry::symlink("t".repeat(3000), "pack"), &[label, ("trusted.long", &[7; 3000])]);
    // Attributes that cross blocks, their own and shared ones.
    for i in 0..40 {
        let own = format!("user.own.{i}");
        let value = vec![i as u8; 3000];
        let pair = vec![i as u8 / 2; 3000];
        insert(&format!("x{i}"), file(0o644), &[(&own, &value), ("user.pair", &pair)]);
    }
    let sample = sample.freeze("attributes");
    read_back(&sample);
    check_extents(&sample);
    let said = fsck(&sample.image);
    assert!(said.ok, "{}", said.text);
}

#[test]
fn link_targets_of_every_length_come_back() {
    let mut sample = Sample::begin("erofs-targets");
    for length in [1, 31, 32, 33, 2000, 4031, 4032, 4063, 4064, 4065, 4095] {
        let target = "t".repeat(length);
        sample.insert(&format!("{length}"), Entry::symlink(target.clone(), "pack"));
        let owner = Owner::Id(70_000);
        sample.insert(&format!("x{length}"), Entry { owner, ..Entry::symlink(target, "pack") });
    }
    // Targets near `PATH_MAX` cannot be made on every host, so nothing is extracted.
    let sample = sample.freeze("targets");
    read_back(&sample);
    dump(&sample);
    check_extents(&sample);
    let said = fsck(&sample.image);
    assert!(said.ok, "{}", said.text);
}

#[test]
fn seventy_thousand_equal_files_are_as_many_inodes_and_one_block() {
    let mut sample = Sample::begin("erofs-equal");
    let blob = sample.put(b"the same");
    for i in 0..70_000 {
        sample.insert(&format!("lock/{i}"), Entry::file(blob, 0o644, "pack"));
    }
    let sample = sample.freeze("equal");
    read_back(&sample);
    let said = fsck(&sample.image);
    assert!(said.ok, "{}", said.text);
    let extents = check_extents(&sample);
    let contents = extents.0.iter().filter(|e| matches!(e.holds, Holds::Content { .. }));
    assert_eq!(contents.count(), 1);
    let said = judge::run(judge::tool("dump.erofs").arg("-s").arg(&sample.image));
    assert!(said.text.contains("inode count:                       70002"), "{}", said.text);
    let said = judge::run(judge::tool("dump.erofs").arg("--path=/lock/69999").arg(&sample.image));
    assert!(said.text.contains("Links: 1 "), "{}", said.text);
}

#[test]
fn seventy_thousand_names_of_one_inode_are_counted() {
    let mut sample = Sample::begin("erofs-links");
    let entry = Entry { link: Some("1".into()), ..Entry::file(sample.put(b"x"), 0o644, "pack") };
    for i in 0..70_000 {
        sample.insert(&format!("{i}"), entry.clone());
    }
    let sample = sample.freeze("links");
    read_back(&sample);
    let said = fsck(&sample.image);
    assert!(said.ok, "{}", said.text);
    let said = judge::run(judge::tool("dump.erofs").arg("--path=/69999").arg(&sample.image));
    assert!(said.text.contains("Links: 70000 "), "{}", said.text);
}

#[test]
fn a_damaged_image_is_refused() {
    let sample = generated("erofs-damaged", 9);
    let whole = std::fs::read(&sample.image).unwrap();
    assert!(fsck(&sample.image).ok);
    let refused = |what: &str, bytes: &[u8]| {
        let image = sample.root.join("damaged");
        std::fs::write(&image, bytes).unwrap();
        let said = fsck(&image);
        assert!(!said.ok, "{what}: {}", said.text);
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    refused("magic", &flipped(1024));
    refused("checksum", &flipped(1024 + 4));
    refused("volume name", &flipped(1024 + 64));
    refused("kind of the root directory", &flipped(1152 + 5));
    let extents = check_extents(&sample);
    let directories = extents
        .0
        .iter()
        .find(|e| matches!(e.holds, Holds::Metadata(filesystem::Part::Directories)));
    let first = usize::try_from(directories.unwrap().start).unwrap();
    refused("offset of the first name", &flipped(first + 8));
    refused("number of the directory itself", &flipped(first + 12 * 3 + 1));
    refused("end of the image", &whole[..first]);
}
