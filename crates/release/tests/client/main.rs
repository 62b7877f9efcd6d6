//! The stock update client (systemd-sysupdate of the images) reads our transfer files and feeds.
//!
//! Its disk is a file and its ESP a directory, so the two target paths are replaced; everything
//! else is as images carry it. A namespace shows it our keyring and os-release in their places.
//! `cargo xtask judge client` runs the same with the newest client that there is; lines that begin
//! with `seen: ` are its report.

mod bench;
mod habits;
mod server;

use std::fs;

use judge::{run, tool};
use release::{FEEDS, PARTS, Place, label};
use store::Epoch;

use crate::bench::{Bench, FIRST_SLOT, OLD, OWNER, SLOTS, UUID, VENDOR};
use crate::habits::{RINGS, habits};
use crate::server::Server;

#[test]
fn the_client_finds_a_version_and_installs_every_part_where_the_disk_expects_it() {
    let bench = Bench::new("client", None);
    let server = Server::start(bench.at("feed"), None);
    bench.define(&server.url, Some("1"));
    // With zeros inside, which a writer may skip, and of no whole number of sectors.
    let text = b"of version 2 ".repeat(4000);
    let content = [&text[..], &[0; 40_000], &text[..]].concat();
    bench.add("mini", "x86-64", "2", &content);
    bench.sign("ours", &[]);
    assert_eq!(bench.assessment("1").as_deref(), Some("current"));
    assert_eq!(bench.assessment("2").as_deref(), Some("candidate"));
    server.asked();

    let ran = bench.client("update");
    assert!(ran.ok, "{}", ran.text);
    let mut asked = server.asked();
    asked.retain(|name| !name.starts_with("SHA256SUMS"));
    let files: Vec<_> = PARTS.iter().map(|part| part.file("mini", "x86-64", "2", UUID)).collect();
    assert_eq!(asked, files);
    assert_eq!(bench.assessment("2").as_deref(), Some("current"), "{}", ran.text);
    // Newer than what runs, so that what runs is only kept because a transfer file says so.
    assert_eq!(bench.assessment("1").as_deref(), Some("protected"));

    let disk = bench.disk_bytes();
    let mut slot = FIRST_SLOT + SLOTS.iter().map(|(.., size)| size).sum::<usize>();
    for (at, (kind, guid, size)) in SLOTS.iter().enumerate() {
        let (new, rest) = disk[slot..slot + size].split_at(content.len());
        assert!(new == content, "{kind} is not what was packed");
        assert!(rest.iter().all(|byte| *byte == OLD), "{kind} is written beyond its end");
        slot += size;
        let row = bench.partition(SLOTS.len() + at + 1);
        let label = format!("'{}'", label(kind, "mini", "2"));
        let kind_of = guid.to_ascii_uppercase();
        let wants = [UUID, &kind_of, "flags: 1000000000000000", &label];
        assert!(wants.iter().all(|want| row.contains(want)), "{kind}: {row}");
    }
    assert_eq!(fs::read(bench.at("esp/mini_2+1-0.efi")).unwrap(), content);
    assert_eq!(fs::read(bench.at("esp/mini_1.efi")).unwrap(), b"running");
    assert_eq!(store::list(&bench.at("esp")).unwrap().len(), 2);
    assert!(PARTS.iter().any(|part| part.place == Place::Esp));
    println!("seen: {} installs every part byte for byte, over HTTP", habits().0);
}

#[test]
fn the_client_knows_every_setting_of_the_transfer_files() {
    let bench = Bench::new("settings", Some("1"));
    bench.add("mini", "x86-64", "2", &b"x".repeat(40_000));
    bench.sign("ours", &[]);
    // It begins what it says of a file with the file's name and line.
    let says = |verb: &str| {
        let ran = bench.client(verb);
        assert!(ran.ok, "{}", ran.text);
        let of_files = |line: &&str| line.contains(".transfer:");
        ran.text.lines().filter(of_files).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((says("list"), says("update")), (vec![], vec![]));
    let path = bench.at("definitions/60-usr.transfer");
    let text = fs::read_to_string(&path).unwrap() + "NoSuchSetting=1\n";
    fs::write(&path, text).unwrap();
    assert!(says("list")[0].contains("NoSuchSetting"), "it tells of an unknown one");
    println!("seen: {} knows every setting of our transfer files", habits().0);
}

#[test]
fn the_client_asks_for_the_signature_names_in_order_and_stops_at_the_first_that_is_there() {
    let (version, habits) = habits();
    let bench = Bench::new("names", None);
    bench.add("mini", "x86-64", "2", b"x");
    bench.sign("ours", &[]);
    let server = Server::start(bench.at("feed"), None);
    bench.define(&server.url, None);
    let names = || -> Vec<String> {
        let mut asked = server.asked();
        asked.retain(|name| name.starts_with("SHA256SUMS."));
        asked
    };
    for (at, name) in habits.signatures.iter().enumerate() {
        assert_eq!(bench.assessment("2").as_deref(), Some("candidate"), "{name}");
        assert_eq!(names(), habits.signatures[..=at]);
        bench.unsign(name);
    }
    let ran = bench.client("list");
    assert!(!ran.ok && ran.text.contains("Failed to retrieve signature file"), "{}", ran.text);
    assert_eq!(names(), habits.signatures);
    println!("seen: {version} asks for {}", habits.signatures.join(", "));

    // Which is why a feed has a file under every name.
    assert!(habits.signatures.iter().all(|name| FEEDS[0].signatures.contains(name)));
    bench.sign("ours", &[]);
    let server = Server::start(bench.at("feed"), Some(habits.signatures[0]));
    bench.define(&server.url, None);
    let ran = bench.client("list");
    assert!(!ran.ok, "{}", ran.text);
    let asked = server.asked();
    assert!(habits.signatures[1..].iter().all(|name| !asked.contains(&(*name).to_owned())));
    println!("seen: {version} stops at an answer of 403");
}

#[test]
fn the_client_finds_the_image_s_key_ring_under_its_name() {
    let (version, habits) = habits();
    let bench = Bench::new("rings", None);
    bench.new_key("another");
    bench.add("mini", "x86-64", "2", b"x");
    bench.sign("ours", &[]);
    let forget = || {
        for (folder, name) in RINGS {
            let _ = fs::remove_file(bench.at(folder).join(name));
        }
    };
    for ring in RINGS {
        forget();
        bench.trust(ring.0, ring.1, "ours");
        let ran = bench.client("list");
        assert_eq!(ran.ok, habits.rings.contains(&ring), "{ring:?}: {}", ran.text);
    }
    assert!(habits.rings.iter().any(|(folder, _)| *folder == VENDOR));
    for (folder, name) in habits.rings {
        println!("seen: {version} takes {folder}/{name} alone");
    }
    forget();
    bench.trust(VENDOR, "import-pubring.gpg", "ours");
    bench.trust(VENDOR, "import-pubring.pgp", "ours");
    bench.trust(OWNER, "import-pubring.gpg", "another");
    let ran = bench.client("list");
    assert_eq!(ran.ok, habits.adds_rings, "{}", ran.text);
    println!("seen: {version} takes keys of the image and the owner: {}", habits.adds_rings);
    bench.trust(OWNER, "import-pubring.gpg", "ours");
    bench.trust(VENDOR, "import-pubring.gpg", "another");
    bench.trust(VENDOR, "import-pubring.pgp", "another");
    assert!(bench.client("list").ok);
}

#[test]
fn a_list_is_refused_from_its_day_on_by_clients_that_know_of_days() {
    const DAY: u64 = 24 * 60 * 60;
    let (version, habits) = habits();
    let bench = Bench::new("days", None);
    bench.add("mini", "x86-64", "2", b"x");
    let now: u64 = run(tool("date").arg("+%s")).text.trim().parse().unwrap();
    let taken = |expires: u64| {
        bench.best_before(Epoch(expires));
        bench.sign("ours", &[]);
        let ran = bench.client("list");
        let out_of_date = "Best before marker indicates out-of-date file list";
        assert!(ran.ok || ran.text.contains(out_of_date), "{}", ran.text);
        ran.ok
    };
    // The day of a feed is the one after its signature's end: no list is refused before that.
    assert!(taken(now + DAY / 2) && taken(now + 30 * DAY) && taken(253_402_214_400));
    for expired in [now - DAY, now - 30 * DAY] {
        assert_eq!(taken(expired), !habits.best_before, "{expired}");
    }
    println!("seen: {version} refuses a list after its day: {}", habits.best_before);
}

#[test]
fn a_list_that_its_keys_owner_did_not_sign_writes_nothing() {
    let (version, habits) = habits();
    let bench = Bench::new("refused", None);
    bench.new_key("another");
    bench.add("mini", "x86-64", "2", &b"x".repeat(40_000));
    let before = bench.disk_bytes();
    let refused = |what: &str, says: &str| {
        let ran = bench.client("update");
        assert!(!ran.ok && ran.text.contains(says), "{what}: {}", ran.text);
        assert_eq!(bench.disk_bytes(), before, "{what}");
        assert_eq!(store::list(&bench.at("esp")).unwrap().len(), 1, "{what}");
        println!("seen: {version} refuses a list: {what}");
    };
    let list = bench.at("feed/stable/SHA256SUMS");
    bench.sign("another", &[]);
    refused("unknown key", "No public key");
    bench.sign("ours", &["--faked-system-time", "20200102T000000", "--default-sig-expire", "1d"]);
    refused("expired", "Expired signature");
    bench.sign("ours", &[]);
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replacen('0', "1", 1)).unwrap();
    refused("changed", "BAD signature");
    habits.signatures.iter().for_each(|name| bench.unsign(name));
    refused("unsigned", "Failed to retrieve signature file");
    bench.sign("ours", &[]);
    let ran = bench.client("update");
    assert!(ran.ok && bench.disk_bytes() != before, "{}", ran.text);
}

#[test]
fn what_is_of_another_product_or_machine_older_or_below_the_floor_is_never_chosen() {
    let bench = Bench::new("chosen", Some("3"));
    for (id, architecture, version) in
        [("maxi", "x86-64", "9"), ("mini", "arm64", "8"), ("mini", "x86-64", "2")]
    {
        bench.add(id, architecture, version, &b"x".repeat(40_000));
    }
    bench.add("mini", "x86-64", "0.9", &b"x".repeat(40_000));
    bench.sign("ours", &[]);
    let before = bench.disk_bytes();
    assert_eq!((bench.assessment("9"), bench.assessment("8")), (None, None));
    assert_eq!(bench.assessment("2").as_deref(), Some("available+obsolete"));
    assert_eq!(bench.assessment("0.9").as_deref(), Some("available+obsolete"));
    assert!(bench.client("update").ok && bench.disk_bytes() == before);
    bench.add("mini", "x86-64", "3", &b"x".repeat(40_000));
    bench.sign("ours", &[]);
    assert_eq!(bench.assessment("3").as_deref(), Some("candidate"));
    println!("seen: {} takes nothing below the floor", habits().0);
}

#[test]
fn the_client_takes_every_letter_of_a_version_but_ends_it_at_an_underscore() {
    let (version, habits) = habits();
    let bench = Bench::new("letters", None);
    let content = b"x".repeat(40_000);
    for version in ["2-rc1.a.B", "2-rc2.a.B", "1.9", "1.10"] {
        bench.add("mini", "x86-64", version, &content);
    }
    // These are why a profile's version has none of them: it would never be offered, and nothing
    // said.
    for letter in "_,~^".chars() {
        bench.add("mini", "x86-64", &format!("3{letter}1"), &content);
    }
    bench.sign("ours", &[]);
    let list = bench.client("list").text;
    let offered = |version: &str| {
        // A mark may stand before it.
        list.lines().position(|line| line.split_whitespace().take(2).any(|word| word == version))
    };
    let order = ["2-rc2.a.B", "2-rc1.a.B", "1.10", "1.9", "1"].map(offered);
    assert!(order.is_sorted() && order[0].is_some(), "{list}");
    assert_eq!((offered("3_1"), offered("3")), (None, None));
    for letter in ",~^".chars() {
        let known = !habits.refused.contains(letter);
        assert_eq!(offered(&format!("3{letter}1")).is_some(), known, "{letter}: {list}");
    }
    println!("seen: {version} knows no version with `_` and none of `{}`", habits.refused);
}
