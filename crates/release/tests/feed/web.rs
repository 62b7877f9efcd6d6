//! The same over HTTP.

use std::fs;
use std::path::PathBuf;

use fetch::Machine;
use release::{Origin, verify};

use crate::bench::{Bench, Key, NOW, SIGNED};
use crate::told;

/// Serves the files below `root`; the body is made by `body`. Gives the URL.
fn serve(root: PathBuf, body: fn(&str, Vec<u8>) -> Vec<u8>) -> String {
    fixture::serve(move |path| {
        let path = path.trim_start_matches('/');
        fixture::found(fs::read(root.join(path)).ok().map(|bytes| body(path, bytes)))
    })
}

#[test]
fn a_channel_is_verified_over_http_and_what_a_server_does_to_it_is_told() {
    let bench = Bench::new("web");
    let feed = bench.two_versions();
    let directory = bench.write(&feed, Key::Ours, SIGNED);
    let trust = bench.trust();
    let told_of = |body| {
        let url = serve(bench.at("feed"), body);
        let origin = Origin::of(&url, "stable", Machine::default()).unwrap();
        told(&verify(&origin, "stable", trust, NOW, &mut |_| {}))
    };
    let good = told_of(|_, bytes| bytes);
    assert_eq!(good, "");
    let flipped = told_of(|path, mut bytes| {
        if path.ends_with("efi") {
            bytes[700] ^= 1;
        }
        bytes
    });
    assert!(flipped.contains("mini_1.9.x86-64.efi: the digest is not"), "{flipped}");
    let cut = told_of(|path, mut bytes| {
        bytes.truncate(if path.ends_with("usr.raw.gz") { 1000 } else { usize::MAX });
        bytes
    });
    assert!(cut.contains("cut at 1000 of"), "{cut}");
    let long = told_of(|path, mut bytes| {
        bytes.resize(if path.ends_with("SUMS") { 100 << 20 } else { bytes.len() }, b'\n');
        bytes
    });
    assert!(long.contains("there are more than 1048576 bytes"), "{long}");
    fs::remove_file(directory.join("mini_1.10.x86-64.efi")).unwrap();
    let gone = told_of(|_, bytes| bytes);
    assert!(gone.contains("mini_1.10.x86-64.efi answers 404"), "{gone}");
}
