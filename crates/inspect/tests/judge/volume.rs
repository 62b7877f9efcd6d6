//! FAT volumes and dm-verity trees made by others.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use inspect::fat::{self, Kind};
use inspect::verity;
use judge::{run, tool};

/// A volume of `size` bytes with two directories and three files, by mkfs.fat and mtools.
pub(crate) fn volume(
    directory: &Path,
    size: u64,
    options: &[&str],
    files: &[(&str, &[u8])],
) -> PathBuf {
    let path = directory.join("volume");
    File::create(&path).unwrap().set_len(size).unwrap();
    let ran =
        run(tool("mkfs.fat").args(["-n", "LABEL", "-i", "12345678"]).args(options).arg(&path));
    assert!(ran.ok, "{}", ran.text);
    let mut made = std::collections::BTreeSet::new();
    for (name, content) in files {
        for (end, _) in name.match_indices('/') {
            if made.insert(&name[..end]) {
                let target = format!("::{}", &name[..end]);
                let ran = run(tool("mmd").arg("-i").arg(&path).arg(target));
                assert!(ran.ok, "{}", ran.text);
            }
        }
        let from = directory.join("content");
        fs::write(&from, content).unwrap();
        let target = format!("::{name}");
        let ran = run(tool("mcopy").arg("-i").arg(&path).arg(&from).arg(target));
        assert!(ran.ok, "{}", ran.text);
    }
    path
}

const FILES: &[(&str, &[u8])] = &[
    ("EFI/Linux/a long name of a kernel.efi", &[7; 70_000]),
    ("EFI/Linux/empty", b""),
    ("loader.conf", b"timeout 0\n"),
    ("UPPER.TXT", b"x"),
];

#[test]
fn every_kind_of_fat_reads_back_as_mtools_wrote_it() {
    let directory = judge::scratch("inspect-fat");
    for (kind, size, options) in [
        (Kind::Fat12, 1 << 20, &["-F", "12"][..]),
        (Kind::Fat16, 16 << 20, &["-F", "16"][..]),
        (Kind::Fat32, 40 << 20, &["-F", "32", "-s", "1"][..]),
        (Kind::Fat32, 300 << 20, &["-F", "32", "-S", "4096"][..]),
    ] {
        let path = volume(&directory, size, options, FILES);
        let mut file = File::open(path).unwrap();
        let found = fat::read(&mut file).unwrap();
        assert_eq!((found.kind, found.id), (kind, 0x1234_5678));
        assert_eq!(found.label, "LABEL");
        assert_eq!(found.files.len(), FILES.len());
        for (name, content) in FILES {
            assert!(found.content(&mut file, name).unwrap() == *content, "{name}");
        }
    }
}

#[test]
fn a_volume_that_is_fat32_by_name_only_is_refused() {
    let directory = judge::scratch("inspect-fat32-by-name");
    let path = volume(&directory, 16 << 20, &["-F", "32", "-s", "1"], &[]);
    assert!(fat::read(&mut File::open(path).unwrap()).is_err());
}

#[test]
fn changed_bytes_of_a_volume_never_panic_and_a_broken_chain_is_refused() {
    let directory = judge::scratch("inspect-fat-hostile");
    for (size, options) in [(1 << 20, &["-F", "12"][..]), (40 << 20, &["-F", "32", "-s", "1"][..])]
    {
        let path = volume(&directory, size, options, FILES);
        let whole = fs::read(&path).unwrap();
        let volume = fat::read(&mut Cursor::new(&whole)).unwrap();
        // Boot sector, FSInfo, heads of both tables, root directory and what is near it.
        let table = if size > 2 << 20 { 32 * 512 } else { 512 };
        let data = whole.len() - volume.clusters as usize * volume.cluster as usize;
        for range in [0..1024, table..table + 600, data - 16_384..data + 4096] {
            crate::hostile::flip(&whole, range, |bytes| {
                if let Ok(found) = fat::read(&mut Cursor::new(bytes)) {
                    for name in found.files.keys() {
                        let _ = found.content(&mut Cursor::new(bytes), name);
                    }
                }
            });
        }
        // The chain of the first cluster of a table copy alone.
        let mut broken = whole.clone();
        broken[table + 12] ^= 0xff;
        assert!(fat::read(&mut Cursor::new(broken)).is_err());
    }
}

#[test]
fn what_firmware_passes_over_is_shown_beside_its_faults() {
    let directory = judge::scratch("inspect-fat-survey");
    let path = volume(&directory, 40 << 20, &["-F", "32", "-s", "1"], FILES);
    let whole = fs::read(&path).unwrap();
    let sound = fat::read(&mut Cursor::new(&whole)).unwrap();
    assert_eq!(fat::survey(&mut Cursor::new(&whole)).unwrap().1.len(), 0);
    let table = 32 * 512;
    let size = (whole.len() - table - sound.clusters as usize * 512) / 2;
    let entry = |cluster: u64| table + 4 * cluster as usize;
    let (at, length) = sound.extents(FILES[0].0).unwrap()[0];
    assert!(length >= 70_000);
    let data = whole.len() as u64 - u64::from(sound.clusters) * 512;
    let first = (at - data) / 512 + 2;

    // The second table alone: nothing that firmware reads.
    let mut second = whole.clone();
    second[entry(first) + size] ^= 1;
    let (found, faults) = fat::survey(&mut Cursor::new(&second)).unwrap();
    assert_eq!((found.files, faults.len()), (sound.files.clone(), 1));
    // The chain of one file in both: that file ends early, all others are as they were.
    let mut short = whole.clone();
    for table in [0, size] {
        short[entry(first) + table..][..4].copy_from_slice(&0x0fff_ffffu32.to_le_bytes());
    }
    let (found, faults) = fat::survey(&mut Cursor::new(&short)).unwrap();
    assert_eq!(found.files.keys().collect::<Vec<_>>(), sound.files.keys().collect::<Vec<_>>());
    assert!(format!("{:#}", faults[0]).contains("do not take 1 clusters"), "{faults:?}");
    let content = |name: &str| found.content(&mut Cursor::new(&short), name);
    assert!(content(FILES[0].0).is_err());
    for (name, wanted) in &FILES[1..] {
        assert_eq!(content(name).unwrap(), *wanted);
    }
    assert!(fat::read(&mut Cursor::new(&short)).is_err());
}

/// Data, tree and root hash by veritysetup.
pub(crate) fn protected(directory: &Path, data: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let (data_path, tree) = (directory.join("data"), directory.join("tree"));
    fs::write(&data_path, data).unwrap();
    let ran = run(tool("veritysetup")
        .args(["format", "--salt", "0123456789abcdef"])
        .args(["--uuid", "11111111-2222-3333-4444-555555555555"])
        .arg(&data_path)
        .arg(&tree));
    let line = ran.text.lines().find_map(|line| line.strip_prefix("Root hash:"));
    let text = line.unwrap_or_else(|| panic!("{}", ran.text)).trim();
    let hash = std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap());
    (fs::read(tree).unwrap(), hash)
}

#[test]
fn veritysetups_trees_are_recomputed_and_a_flipped_byte_is_found() {
    let directory = judge::scratch("inspect-verity");
    for blocks in [1, 127, 129, 20_000] {
        let data: Vec<u8> = (0..blocks * 4096u64).map(|i| (i / 97 % 251) as u8).collect();
        let (tree, hash) = protected(&directory, &data);
        let check = |data: &[u8], tree: &[u8], hash: &[u8; 32]| {
            verity::verify(&mut Cursor::new(data), &mut Cursor::new(tree), hash)
        };
        let found = check(&data, &tree, &hash).unwrap();
        assert_eq!((found.data_blocks, found.salt.as_str()), (blocks, "0123456789abcdef"));
        assert_eq!(found.length, tree.len() as u64);
        let (mut other_data, mut other_tree, mut other_hash) = (data.clone(), tree.clone(), hash);
        other_data[data.len() - 1] ^= 1;
        other_tree[tree.len() - 4096] ^= 1;
        other_hash[31] ^= 1;
        assert!(check(&other_data, &tree, &hash).is_err());
        assert!(check(&data, &other_tree, &hash).is_err());
        assert!(check(&data, &tree, &other_hash).is_err());
        if blocks == 127 {
            crate::hostile::flip(&tree, 0..512, |bytes| {
                let _ = check(&data, bytes, &hash);
            });
        }
    }
}
