//! A small hash device, field by field, and its digest beside the revision that made it.

use std::fmt::Write;

use store::Store;
use verity::{PROTECT, Plan};

/// Revision of [`PROTECT`], and the digest of the small hash device that it makes. Where the
/// digest must change, so must the revision: kept results of the old one are wrong.
const REVISION: (u32, &str) =
    (1, "4ff9688ee32aa7783087e92acca84d5552afea26383440dd80f0d1778e40af4d");

/// The superblock's fields: offset, size, name.
const FIELDS: [(usize, usize, &str); 11] = [
    (0, 8, "magic"),
    (8, 4, "version"),
    (12, 4, "hash type: the salt comes first"),
    (16, 16, "uuid"),
    (32, 32, "algorithm"),
    (64, 4, "bytes in a data block"),
    (68, 4, "bytes in a hash block"),
    (72, 8, "data blocks"),
    (80, 2, "bytes of salt"),
    (82, 6, "padding"),
    (88, 32, "salt"),
];

#[test]
fn a_small_hash_device_is_known_byte_by_byte() {
    let store = Store::open(&judge::scratch("verity-golden").join("store"), None).unwrap();
    let data = store.put(&[[b'a'; 4096], [b'b'; 4096], [0; 4096]].concat()).unwrap();
    let uuid = *b"\x01\x23\x45\x67\x89\xab\x8d\xef\x81\x23\x45\x67\x89\xab\xcd\xef";
    let plan = Plan { data, salt: std::array::from_fn(|i| i as u8), uuid };
    let made = store.realize(&PROTECT, &plan).unwrap();
    let tree = store.read(&made.hash_tree).unwrap();

    let mut found = String::from("superblock\n");
    for (offset, size, name) in FIELDS {
        writeln!(found, "{offset:>4} {size:>3}  {:<65} {name}", hex(&tree[offset..][..size]))
            .unwrap();
    }
    found.push_str("\nhashes of the blocks\n");
    for (i, hash) in tree[4096..].chunks(32).enumerate().take_while(|(_, hash)| **hash != [0; 32]) {
        writeln!(found, "{:>4}  32  {}", 4096 + i * 32, hex(hash)).unwrap();
    }
    writeln!(found, "\nbytes: {}\nroot: {}", tree.len(), made.root).unwrap();
    assert_eq!(found, include_str!("golden/small.txt"), "\n{found}");
    assert_eq!((PROTECT.revision, made.hash_tree.digest.to_string().as_str()), REVISION);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
