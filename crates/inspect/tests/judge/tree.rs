//! EROFS made by mkfs.erofs.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use inspect::erofs::{self, Kind};
use judge::{run, tool};

/// A small tree of every kind of thing.
fn source(directory: &Path) {
    fs::create_dir_all(directory.join("many")).unwrap();
    fs::create_dir_all(directory.join("a/b/c")).unwrap();
    for i in 0..700 {
        fs::write(directory.join(format!("many/a file with a rather long name {i}")), "x").unwrap();
    }
    let large: Vec<u8> = (0..1_000_003u32).map(|i| (i / 7 % 253) as u8).collect();
    fs::write(directory.join("a/large"), large).unwrap();
    fs::write(directory.join("a/b/empty"), "").unwrap();
    fs::write(directory.join("a/b/small"), "small").unwrap();
    fs::set_permissions(directory.join("a/b/small"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(directory.join("a/b/small"), directory.join("a/b/c/linked")).unwrap();
    symlink("../b/small", directory.join("a/b/c/link")).unwrap();
}

fn made(name: &str, options: &[&str]) -> (std::path::PathBuf, std::path::PathBuf) {
    let directory = judge::scratch(name);
    let (from, image) = (directory.join("from"), directory.join("image"));
    source(&from);
    let ran =
        run(tool("mkfs.erofs").args(["-T", "1000000000"]).args(options).arg(&image).arg(&from));
    assert!(ran.ok, "{}", ran.text);
    (from, image)
}

#[test]
fn mkfs_erofs_trees_read_back_as_they_were() {
    for (name, options) in [
        ("compact", &["-Eforce-inode-compact,noinline_data"][..]),
        ("extended", &["-Eforce-inode-extended"][..]),
    ] {
        let (from, image) = made(&format!("inspect-erofs-{name}"), options);
        let mut file = File::open(image).unwrap();
        let tree = erofs::read(&mut file).unwrap();
        let mut files = 0;
        for (path, entry) in &tree.entries {
            let real = fs::symlink_metadata(from.join(path)).unwrap();
            assert_eq!(u32::from(entry.mode), real.mode() & 0o7777, "{path}");
            assert_eq!((entry.uid, entry.gid), (real.uid(), real.gid()), "{path}");
            match &entry.kind {
                Kind::File => {
                    let content = erofs::content(&mut file, &tree, path, 1 << 20).unwrap();
                    assert!(content == fs::read(from.join(path)).unwrap(), "{path}");
                    files += 1;
                }
                Kind::Symlink(target) => assert_eq!(target, "../b/small"),
                Kind::Directory => assert!(real.is_dir(), "{path}"),
                Kind::Other(bits) => panic!("{path} is {bits:#o}"),
            }
        }
        assert_eq!(files, 700 + 4);
        assert_eq!(tree.entries["a/b/small"].inode, tree.entries["a/b/c/linked"].inode);
        assert_eq!(tree.entries["a/b/small"].links, 2);
        assert_eq!(tree.superblock.epoch, 1_000_000_000);
    }
}

#[test]
fn extended_attributes_read_back_inline_and_shared() {
    let directory = judge::scratch("inspect-erofs-xattrs");
    // A tar stream with PAX records carries attributes wherever the test runs.
    let mut archive = Vec::new();
    for i in 0..4 {
        let own = format!("own {i}");
        let records = record("SCHILY.xattr.user.same", "shared by all of them, and long enough")
            + &record("SCHILY.xattr.security.own", &own);
        archive.extend(member("pax", b'x', records.as_bytes()));
        archive.extend(member(&format!("file{i}"), b'0', b"content"));
    }
    archive.extend([0; 1024]);
    let (tar, image) = (directory.join("tar"), directory.join("image"));
    fs::write(&tar, archive).unwrap();
    let ran = run(tool("mkfs.erofs").args(["--tar=f", "-x1"]).arg(&image).arg(&tar));
    assert!(ran.ok, "{}", ran.text);
    let tree = erofs::read(&mut File::open(image).unwrap()).unwrap();
    for i in 0..4 {
        let xattrs = &tree.entries[&format!("file{i}")].xattrs;
        assert_eq!(xattrs["user.same"], b"shared by all of them, and long enough");
        assert_eq!(xattrs["security.own"], format!("own {i}").as_bytes());
        assert_eq!(xattrs.len(), 2);
    }
}

/// A PAX record: its own length in decimal, key and value.
fn record(key: &str, value: &str) -> String {
    let body = format!(" {key}={value}\n");
    let length = (1..)
        .map(|digits| body.len() + digits)
        .find(|length| length.to_string().len() + body.len() == *length)
        .unwrap();
    format!("{length}{body}")
}

fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{:011o}\x0000000000000\0", content.len()).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

#[test]
fn a_damaged_superblock_is_refused_and_changed_bytes_never_panic() {
    let (_, image) = made("inspect-erofs-hostile", &["-Eforce-inode-extended"]);
    let whole = fs::read(image).unwrap();
    let mut damaged = whole.clone();
    damaged[1024 + 40] ^= 1;
    assert!(erofs::read(&mut Cursor::new(damaged)).is_err());
    // Without its checksum the superblock's fields are reached; metadata follows it.
    let mut open = whole.clone();
    open[1024 + 8] &= !1;
    erofs::read(&mut Cursor::new(&open)).unwrap();
    for range in [1024..1152, 1152..12_000] {
        crate::hostile::flip(&open, range, |bytes| {
            if let Ok(tree) = erofs::read(&mut Cursor::new(bytes)) {
                let _ = erofs::content(&mut Cursor::new(bytes), &tree, "a/large", 4 << 20);
            }
        });
    }
}
