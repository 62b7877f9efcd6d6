//! S1: what lies in the store is not what it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::bench::Bench;
use crate::files;

/// A build of before, whose blobs and objects are then damaged; every stage reads them again.
fn damaged(name: &str, damage: impl Fn(&Path, &[u8])) -> usize {
    let bench = Bench::new(name);
    bench.good(&[]);
    let files = files(&bench.path("store/blobs"));
    for file in &files {
        damage(file, &fs::read(file).unwrap());
    }
    fs::remove_dir_all(bench.path("store/results")).unwrap();
    fs::remove_dir_all(bench.path("output")).unwrap();
    bench.converges();
    bench.pool_is_whole();
    files.len()
}

#[test]
fn s1_one_byte_of_every_blob_and_object_changed() {
    let count = damaged("s1-byte", |file, whole| {
        let mut bytes = whole.to_vec();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        // In place: the pool's object is the same file.
        fs::write(file, bytes).unwrap();
    });
    assert!(count > 50, "{count} blobs");
}

#[test]
fn s1_every_blob_and_object_cut_at_its_end() {
    damaged("s1-cut", |file, whole| fs::write(file, &whole[..whole.len() / 2]).unwrap());
}

#[test]
fn s1_every_blob_replaced_by_a_link() {
    damaged("s1-link", |file, _| {
        fs::remove_file(file).unwrap();
        symlink(env!("CARGO_MANIFEST_DIR"), file).unwrap();
    });
}

#[test]
fn s1_every_blob_gone() {
    damaged("s1-gone", |file, _| fs::remove_file(file).unwrap());
}

#[test]
fn s1_every_mode_changed() {
    damaged("s1-mode", |file, _| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o6777)).unwrap();
    });
}

#[test]
fn s1_one_byte_of_every_result_changed() {
    let bench = Bench::new("s1-result");
    let first = bench.good(&[]).stages();
    let results = files(&bench.path("store/results"));
    for (i, file) in results.iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        let at = i * 7 % bytes.len();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    let again = bench.good(&[]);
    bench.golden();
    assert_eq!(again.stages(), first, "a torn result was used");
    bench.converges();
}

/// The objects alone, where the blobs are other files: only `store verify` reads those.
#[test]
fn s1_objects_of_the_pool_are_found_by_verify_and_written_anew() {
    let bench = Bench::new("s1-object");
    bench.good(&[]);
    let objects = files(&bench.path("store/pool/repo/objects"));
    let mut count = 0;
    for file in objects.iter().filter(|file| file.extension().is_some_and(|e| e != "commitmeta")) {
        if fs::symlink_metadata(file).unwrap().is_symlink() {
            continue;
        }
        let mut bytes = fs::read(file).unwrap();
        let Some(last) = bytes.last_mut() else { continue };
        *last ^= 1;
        fs::write(file, bytes).unwrap();
        count += 1;
    }
    let told = bench.store(&["verify"]);
    assert_eq!(told.code, Some(crate::OUTPUT), "{}", told.text);
    let named = told.text.lines().filter(|line| line.contains("of the pool:")).count();
    assert_eq!(named, count, "{}", told.text);
    bench.converges();
    bench.pool_is_whole();
}
