//! The same over HTTP.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use fetch::Machine;
use release::{Origin, verify};

use crate::bench::{Bench, Key, NOW, SIGNED};
use crate::told;

/// Serves the files below `root`; the body is made by `body`. Gives the URL.
fn serve(root: PathBuf, body: fn(&str, Vec<u8>) -> Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) = match fs::read(root.join(path)) {
                Ok(bytes) => ("200 OK", body(path, bytes)),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
            // Who is cut off in the middle is not our concern.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
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
