//! A small image, field by field, and its digest beside the revision that made it.

use std::collections::BTreeMap;
use std::fmt::Write;

use filesystem::{BLOCK, Codec, Extents, FREEZE, Holds, Image, Plan};
use store::{Entry, Epoch, Owner, Store, Tree};

/// Revision of [`FREEZE`], and the digest of the small image that it makes. Where the digest
/// must change, so must the revision: kept results of the old one are wrong.
const REVISION: (u32, &str) =
    (1, "e1b5998ca5591c58b5fdc9f3e47d31afda4f9becf8b96563ac5ce7e86f04626c");

fn small_tree(store: &Store) -> Tree {
    let mut tree = Tree::default();
    let mut insert = |path: &str, entry: Entry| tree.insert(path, entry).unwrap();
    let program = store.put(&b"program".repeat(700)).unwrap();
    let settings = store.put(b"settings\n").unwrap();
    let capability = ("security.capability".to_owned(), b"\x01\0\0\x02\0\x20\0\0".to_vec());
    let xattrs = BTreeMap::from([capability]);
    let linked = Entry { link: Some("zeta 1".into()), ..Entry::file(program, 0o755, "zeta") };
    insert("bin/copy", Entry { xattrs, ..Entry::file(program, 0o755, "zeta") });
    insert("bin/one", linked.clone());
    insert("bin/two", linked);
    insert("etc/alpha.conf", Entry::file(settings, 0o644, "alpha"));
    insert("etc/empty", Entry::file(store.put(b"").unwrap(), 0o600, "alpha"));
    insert("etc/link", Entry::symlink("alpha.conf", "alpha"));
    let far = Entry { owner: Owner::Id(100_000), ..Entry::directory("zeta") };
    insert("lib/far", Entry { group: Owner::Id(42), ..far });
    tree
}

fn freeze(store: &Store) -> Image {
    let plan = Plan {
        tree: store.put_tree(&small_tree(store)).unwrap(),
        codec: Codec::None,
        base: None,
        epoch: Epoch(1_795_645_404),
        uuid: *b"\x01\x23\x45\x67\x89\xab\x8d\xef\x81\x23\x45\x67\x89\xab\xcd\xef",
        label: "golden".into(),
    };
    store.realize(&FREEZE, &plan).unwrap()
}

#[test]
fn a_small_image_is_known_byte_by_byte() {
    let store = Store::open(&judge::scratch("erofs-golden").join("store"), None).unwrap();
    let made = freeze(&store);
    let image = store.read(&made.data).unwrap();
    let extents = Extents::read(&store.read(&made.extents).unwrap()).unwrap();
    let found = format!("{}\n{}\n{}", superblock(&image), map(&extents), dump(&image));
    assert_eq!(found, include_str!("golden/small.txt"), "\n{found}");
    assert_eq!((FREEZE.revision, made.data.digest.to_string().as_str()), REVISION);
}

#[test]
fn the_same_tree_gives_the_same_image_in_another_store() {
    let made = ["erofs-same-1", "erofs-same-2"]
        .map(|name| freeze(&Store::open(&judge::scratch(name).join("store"), None).unwrap()));
    assert_eq!(made[0], made[1]);
}

/// The superblock's fields: offset, size, name, value.
fn superblock(image: &[u8]) -> String {
    const FIELDS: [(usize, usize, &str); 21] = [
        (0, 4, "magic"),
        (4, 4, "checksum"),
        (8, 4, "compatible features: checksum, mtime"),
        (12, 1, "binary logarithm of the block size"),
        (13, 1, "extension slots"),
        (14, 2, "number of the root directory"),
        (16, 8, "inodes"),
        (24, 8, "time of every compact inode"),
        (32, 4, "nanoseconds of it"),
        (36, 4, "blocks"),
        (40, 4, "block from which inodes are numbered"),
        (44, 4, "first block of shared attributes"),
        (48, 16, "uuid"),
        (64, 16, "volume name"),
        (80, 4, "incompatible features"),
        (84, 2, "compression algorithms"),
        (86, 4, "other devices, their slots"),
        (90, 1, "directory blocks"),
        (91, 5, "long attribute prefixes"),
        (96, 8, "inode of packed tails"),
        (104, 24, "reserved"),
    ];
    let mut text = String::from("superblock at byte 1024\n");
    for (offset, size, name) in FIELDS {
        let bytes = &image[1024 + offset..][..size];
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{offset:>4} {size:>3}  {hex:<49} {name}").unwrap();
    }
    text
}

/// The extents: first byte, bytes, what.
fn map(extents: &Extents) -> String {
    let mut text = String::from("extents\n");
    for extent in &extents.0 {
        let holds = match &extent.holds {
            Holds::Padding => "padding".into(),
            Holds::Metadata(part) => format!("{part:?}").to_lowercase(),
            Holds::Content { digest, origin } => format!("{origin} {}", &digest.to_string()[..12]),
        };
        writeln!(text, "{:>6} {:>5}  {holds}", extent.start, extent.size).unwrap();
    }
    text
}

/// Inodes and directories in hexadecimal, 16 bytes a line; lines of zeros are left out.
fn dump(image: &[u8]) -> String {
    let mut text = String::from("bytes of inodes and directories\n");
    let blocks = image.chunks(16).enumerate().skip(1152 / 16);
    for (i, line) in blocks.filter(|(i, line)| i * 16 < 5 * BLOCK as usize && **line != [0; 16]) {
        let hex: String = line.iter().map(|byte| format!("{byte:02x} ")).collect();
        let readable = |b: &u8| if b.is_ascii_graphic() { char::from(*b) } else { '.' };
        let letters: String = line.iter().map(readable).collect();
        writeln!(text, "{:>6}  {hex} {letters}", i * 16).unwrap();
    }
    text
}
