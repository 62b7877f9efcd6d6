//! A version of a feed, asked as a release is: what differs, and whether its hosts take the next one.

use std::fs;
use std::path::Path;

use judge::{run, tool};
use release::{CHANNEL_MANIFEST, Channel, PartFile, Version};
use serde_json::{Value, json};
use store::Digest;

use crate::bench::Bench;

/// Exit codes; see `docs/exit-codes.md`.
const BUILD: i32 = 5;
const IMAGE: i32 = 8;

/// A difference without what a feed cannot say or calls by another word.
fn shared(mut found: Value) -> Value {
    let all = found.as_object_mut().unwrap();
    for key in ["old", "new", "programs", "not-compared"] {
        all.remove(key).unwrap();
    }
    for side in ["old", "new"] {
        let used = found.pointer_mut(&format!("/slots/esp/{side}/used-bytes")).unwrap();
        *used = Value::Null;
    }
    found
}

#[test]
fn two_versions_of_a_feed_differ_as_the_releases_that_were_published() {
    let bench = Bench::new("feed");
    bench.two_versions();
    let releases = bench.json("one", "two");
    assert_eq!((&releases["equal"], &releases["not-compared"]), (&json!(false), &json!([])));
    bench.add(&bench.path("one"), &[]);
    bench.add(&bench.path("two"), &[]);
    // Nothing but the feed is asked.
    for gone in ["store", "one", "two", "keys"] {
        fs::rename(bench.path(gone), bench.path(&format!("{gone}.gone"))).unwrap();
    }
    for (old, new) in [("feed/stable#1", "feed/stable#2"), ("feed#1", "feed/stable")] {
        let versions = bench.json(old, new);
        assert_eq!(versions["old"], json!({"name": "host_1", "form": "feed"}));
        assert_eq!(versions["new"], json!({"name": "host_2", "form": "feed"}));
        assert_eq!(versions["not-compared"], json!(["programs"]));
        assert_eq!(shared(versions), shared(releases.clone()));
    }
    // The release and what became of it are one.
    let same = bench.json("two.gone", "feed/stable");
    assert_eq!((&same["equal"], &same["not-compared"]), (&json!(true), &json!(["programs"])));
    assert_eq!(same["slots"]["usr"]["old"], same["slots"]["usr"]["new"]);

    let told = bench.diff(&["feed/stable#1", "feed/stable", "--html", "page.html"]);
    assert_eq!(told.code, Some(0), "{}", told.text);
    assert!(told.text.starts_with("host_1 (feed) → host_2 (feed)\n"), "{}", told.text);
    assert!(told.text.contains("one side does not say it: programs"), "{}", told.text);
}

/// Changes what the channel `stable` says of its version.
fn edit(bench: &Bench, change: impl FnOnce(&mut Version)) {
    let path = bench.path("feed/stable").join(CHANNEL_MANIFEST);
    let mut channel = Channel::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut channel.versions[0]);
    fs::write(path, channel.text().unwrap()).unwrap();
}

/// What the channel `stable` says of a part of its version.
fn part(bench: &Bench, name: &str) -> PartFile {
    let text = fs::read_to_string(bench.path("feed/stable").join(CHANNEL_MANIFEST)).unwrap();
    Channel::parse(&text).unwrap().versions[0].parts[name].clone()
}

/// Puts other bytes in a part's place, and makes the manifest name them.
fn replace(bench: &Bench, name: &str, bytes: &[u8]) {
    fs::write(bench.path("feed/stable").join(part(bench, name).file), bytes).unwrap();
    edit(bench, |version| {
        let part = version.parts.get_mut(name).unwrap();
        (part.size, part.sha256) = (bytes.len() as u64, Digest::of(bytes).to_string());
    });
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    release::gzip(&mut &*bytes, &mut packed).unwrap();
    packed
}

#[test]
fn a_feed_that_is_not_what_its_manifest_says_ends_before_anything_of_it_is_believed() {
    let bench = Bench::new("feed-damaged");
    let release = bench.release("1");
    bench.add(&release, &[]);
    let good = bench.path("good");
    let copy = |from: &Path, to: &Path| {
        let _ = fs::remove_dir_all(to);
        assert!(run(tool("cp").arg("-a").arg(from).arg(to)).ok);
    };
    copy(&bench.path("feed"), &good);
    let refused = |what: &str, words: &[&str]| {
        let ran = bench.diff(&[release.to_str().unwrap(), what]);
        assert_eq!(ran.code, Some(IMAGE), "{}", ran.text);
        for word in words {
            assert!(ran.text.contains(word), "`{word}` is not in {}", ran.text);
        }
        copy(&good, &bench.path("feed"));
    };
    let (usr, tree, uki) = (part(&bench, "usr"), part(&bench, "usr-verity"), part(&bench, "uki"));
    let place = bench.path("feed/stable");

    for file in [&usr.file, &tree.file, &uki.file] {
        let mut bytes = fs::read(place.join(file)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(place.join(file), bytes).unwrap();
        refused("feed/stable", &[file, "its digest is"]);
    }
    fs::write(place.join(&usr.file), "cut").unwrap();
    refused("feed/stable", &[&usr.file, "it has 3 bytes and not"]);
    fs::remove_file(place.join(&uki.file)).unwrap();
    refused("feed/stable", &[&uki.file, "No such file"]);

    // Files that are what the manifest says, and hold something else.
    edit(&bench, |version| {
        let content = &mut version.parts.get_mut("usr").unwrap().content_sha256;
        *content = Digest::of(b"another").to_string();
    });
    refused("feed/stable", &[&usr.file, "its content has the digest"]);
    let size = usize::try_from(usr.content_size).unwrap();
    replace(&bench, "usr", &gzip(&vec![0; size + 1]));
    refused("feed/stable", &[&usr.file, "it unpacks to more than"]);
    replace(&bench, "usr", &gzip(&vec![0; size - 1]));
    refused("feed/stable", &[&usr.file, "and is said to hold"]);
    let bomb = gzip(&vec![0; 64 << 20]);
    replace(&bench, "usr-verity", &bomb);
    refused("feed/stable", &[&tree.file, "it unpacks to more than"]);
    let zeros = vec![0; size];
    replace(&bench, "usr", &gzip(&zeros));
    edit(&bench, |version| {
        let content = &mut version.parts.get_mut("usr").unwrap().content_sha256;
        *content = Digest::of(&zeros).to_string();
    });
    refused("feed/stable", &["part `usr` of version `1`", "it is no EROFS"]);
    edit(&bench, |version| {
        version.layout.usr = u64::MAX;
        version.parts.get_mut("usr").unwrap().content_size = 1 << 60;
    });
    refused("feed/stable", &["is said to unpack to 1152921504606846976 bytes"]);
    edit(&bench, |version| drop(version.parts.remove("uki")));
    refused("feed/stable", &["find part `uki` of version `1`"]);

    fs::write(place.join(CHANNEL_MANIFEST), "[]").unwrap();
    refused("feed/stable", &["manifest.json`", "read a channel's manifest"]);
    refused("feed/stable#3", &["channel `stable` offers 1, not version `3`"]);
    refused("feed#3", &["channel `stable` offers 1, not version `3`"]);
    refused("feed/nowhere", &["feed/nowhere"]);
    let same = bench.json(release.to_str().unwrap(), "feed/stable");
    assert_eq!(same["equal"], json!(true));
    // No update renews a loader, and the manifest alone says which one a version was made with.
    edit(&bench, |version| version.loader_sha256 = "another".to_owned());
    let told = bench.json(release.to_str().unwrap(), "feed/stable");
    assert_eq!(told["loader"]["sha256"]["new"], "another");
    assert_eq!(told["equal"], json!(false));
}

#[test]
fn what_the_hosts_of_a_feed_cannot_take_is_refused_where_the_feed_is_named() {
    let bench = Bench::new("feed-previous");
    let release = bench.release("1");
    bench.add(&release, &[]);
    let profile = fs::read_to_string(bench.path("host.yaml")).unwrap();
    fs::write(bench.path("host.yaml"), profile.replace("usr: 4 MiB", "usr: 8 MiB")).unwrap();
    let ask = |previous: &str| {
        let previous = bench.path(previous).display().to_string();
        bench.build(&["--version", "2", "--previous", &previous])
    };
    let ran = ask("feed/stable");
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    bench.grow(3400);
    for previous in ["feed/stable", "feed/stable#1", "feed#1"] {
        let ran = ask(previous);
        assert_eq!(ran.code, Some(BUILD), "{}", ran.text);
        let told = "hosts that were installed with version 1 have 4 MiB";
        assert!(ran.text.contains(told), "{}", ran.text);
        assert!(ran.text.contains("+3.3 MiB  profile:host.d\n"), "{}", ran.text);
    }
    // The release says the same of itself.
    let ran = ask("release-1#1");
    assert!(ran.text.contains("+3.3 MiB  profile:host.d\n"), "{}", ran.text);
    for (previous, why) in [
        ("feed/stable#2", "channel `stable` offers 1, not version `2`"),
        ("release-1#2", "is of version 1, not 2"),
        ("keys", "name a release's directory or a feed's channel"),
    ] {
        let ran = ask(previous);
        assert_eq!(ran.code, Some(IMAGE), "{}", ran.text);
        assert!(ran.text.contains(why), "{}", ran.text);
    }
}
