//! What `publish` made, verified from outside.

use std::ffi::OsStr;
use std::fs;

use fixture::Repository;

use crate::bench::{Bench, Ran, start};

/// Exit codes; see `docs/exit-codes.md`.
const SIGN: i32 = 6;
const IMAGE: i32 = 8;

/// `hardtack verify` of the feed at `feed`.
fn verify(bench: &Bench, feed: &OsStr, more: &[&str]) -> Ran {
    let mut command = start(OsStr::new(env!("CARGO_BIN_EXE_hardtack")));
    command.args(["verify", "--feed"]).arg(feed).arg("--keys").arg(bench.path("keys"));
    Ran::of(command.args(more).output().unwrap())
}

#[test]
fn what_is_published_is_verified_in_a_directory_and_over_http_until_a_byte_changes() {
    let bench = Bench::new("verify");
    let at = ["--at", "2026-03-01T00:00:00Z"];
    for version in ["1.9", "1.10"] {
        bench.add(&bench.release(version), &at);
    }
    let feed = bench.path("feed");
    let ran = verify(&bench, feed.as_os_str(), &["--at", "2026-03-30T23:59:59Z"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let lines: Vec<&str> = ran.text.lines().collect();
    assert!(lines[0].starts_with("1.9: whole, ") && lines[1].starts_with("1.10: whole, "));
    let end = "channel stable, 2 versions, signed until 2026-03-31T00:00:00Z";
    assert!(lines[2].starts_with("verified: ") && lines[2].ends_with(end), "{}", ran.text);

    let web = Repository::serve();
    web.offer("/feed/stable", &feed.join("stable"));
    let url = web.mirror().replace("/made", "/feed");
    let ran = verify(&bench, url.as_ref(), &at);
    assert_eq!(ran.code, Some(0), "{}", ran.text);

    let ran = verify(&bench, feed.as_os_str(), &["--at", "2026-03-31T00:00:00Z"]);
    assert!(ran.code == Some(IMAGE) && ran.text.contains("--refresh"), "{}", ran.text);
    let ran = verify(&bench, feed.as_os_str(), &["--keyring", "nowhere"]);
    assert!(ran.code == Some(SIGN) && ran.text.contains("nowhere"), "{}", ran.text);
    let stranger = bench.path("keys/KEK.crt");
    let other = ["--certificate", stranger.to_str().unwrap()];
    let ran = verify(&bench, feed.as_os_str(), &[&at[..], &other].concat());
    assert!(ran.code == Some(IMAGE) && ran.text.contains("would refuse to start it"));

    let files = store::list(&feed.join("stable")).unwrap();
    let usr = files.iter().find(|path| path.to_string_lossy().ends_with(".usr.raw.gz")).unwrap();
    let mut bytes = fs::read(usr).unwrap();
    bytes[1000] ^= 1;
    fs::write(usr, bytes).unwrap();
    let ran = verify(&bench, feed.as_os_str(), &at);
    assert_eq!(ran.code, Some(IMAGE), "{}", ran.text);
    assert!(ran.text.contains("error: what was looked at is not whole"), "{}", ran.text);
    assert!(ran.text.contains("its digest is") && !ran.text.contains("verified"), "{}", ran.text);
}
