//! What somebody without our keys does to a channel, and what somebody with them gets wrong.

use std::fs;
use std::path::Path;

use store::{Digest, Epoch};

use crate::bench::{Bench, DAY, END, Feed, Key, NOW, SIGNED, SLOTS};
use crate::told;

/// Name of the attack, what it does to a channel's directory, what is said of it.
type Outside = (&'static str, fn(&Bench, &Feed, &Path), &'static str);
/// Name of the attack, what it does to a channel before that is signed, what is said of it.
type Inside = (&'static str, fn(&Bench, &mut Feed), &'static str);

/// The file of a part.
fn file(feed: &Feed, version: &str, part: &str) -> String {
    feed.channel.version(version).unwrap().parts[part].file.clone()
}

fn change(directory: &Path, name: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(directory.join(name)).unwrap();
    change(&mut bytes);
    fs::write(directory.join(name), bytes).unwrap();
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// What a thief of the web server can do: no key of ours.
const FROM_OUTSIDE: &[Outside] = &[
    (
        "changed list",
        |_, _, at| change(at, "SHA256SUMS", |bytes| flip(bytes)),
        "SHA256SUMS.gpg`: check",
    ),
    (
        "list signed by a foreign key",
        |bench, feed, _| drop(bench.write(feed, Key::Foreign, SIGNED)),
        "no key of the keyring signed",
    ),
    (
        "list without signature",
        |_, _, at| {
            fs::remove_file(at.join("SHA256SUMS.gpg")).unwrap();
        },
        "SHA256SUMS.gpg",
    ),
    (
        "old list replayed",
        |bench, feed, _| drop(bench.write(feed, Key::Ours, Epoch(SIGNED.0 - 40 * DAY))),
        "its signature expired at 2023-11-04T22:30:00Z, and it is 2023-11-15",
    ),
    (
        "one name of the signature is of an older list",
        |bench, _, at| {
            let old = bench.sign(
                Key::Ours,
                Epoch(SIGNED.0 - DAY),
                &fs::read(at.join("SHA256SUMS")).unwrap(),
            );
            fs::write(at.join("SHA256SUMS.asc"), old).unwrap();
        },
        "`SHA256SUMS.asc`: what it signs, who signs or until when differs",
    ),
    (
        "list of 100 MB",
        |_, _, at| {
            let list = fs::File::options().append(true).open(at.join("SHA256SUMS")).unwrap();
            list.set_len(100 << 20).unwrap();
        },
        "has more than 1048576 bytes",
    ),
    (
        "changed manifest",
        |_, _, at| change(at, "manifest.json", |bytes| flip(bytes)),
        "manifest.json.gpg`: check",
    ),
    (
        "manifest of another day",
        |bench, feed, at| {
            let mut channel = feed.channel.clone();
            channel.versions.pop();
            let text = channel.text().unwrap().into_bytes();
            fs::write(at.join("manifest.json.gpg"), bench.sign(Key::Ours, SIGNED, &text)).unwrap();
            fs::write(at.join("manifest.json"), text).unwrap();
        },
        "not the one that the list names",
    ),
    (
        "truncated artifact",
        |_, feed, at| {
            change(at, &file(feed, "1.10", "usr"), |bytes| bytes.truncate(bytes.len() / 2));
        },
        "bytes and not",
    ),
    (
        "one byte of an artifact changed",
        |_, feed, at| {
            change(at, &file(feed, "1.10", "usr-verity"), |bytes| flip(bytes));
        },
        "its digest is",
    ),
    (
        "missing artifact",
        |_, feed, at| {
            fs::remove_file(at.join(file(feed, "1.9", "uki"))).unwrap();
        },
        "mini_1.9.x86-64.efi`: look at",
    ),
    (
        "artifacts of two versions swapped",
        |_, feed, at| {
            let [old, new] = ["1.9", "1.10"].map(|version| at.join(file(feed, version, "uki")));
            fs::rename(&old, at.join("x")).unwrap();
            fs::rename(&new, &old).unwrap();
            fs::rename(at.join("x"), &new).unwrap();
        },
        "mini_1.9.x86-64.efi`: its digest is",
    ),
    (
        "unlisted file",
        |_, _, at| fs::write(at.join("mini_2.0.x86-64.efi"), "x").unwrap(),
        "`mini_2.0.x86-64.efi`: it lies in the channel's directory, and nothing signed names it",
    ),
    (
        "an artifact that never ends",
        |_, feed, at| {
            let path = at.join(file(feed, "1.10", "uki"));
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        },
        "is no file",
    ),
];

#[test]
fn what_a_thief_of_the_web_server_can_do_is_refused() {
    let bench = Bench::new("outside");
    let feed = bench.two_versions();
    for (name, attack, why) in FROM_OUTSIDE {
        let directory = bench.write(&feed, Key::Ours, SIGNED);
        attack(&bench, &feed, &directory);
        let verified = bench.verified(NOW);
        let told = told(&verified);
        assert!(told.contains(why), "{name}: {told}");
        assert!(verified.faults.len() <= 2, "{name}: {told}");
    }
}

/// What is signed although it contradicts itself.
const FROM_INSIDE: &[Inside] = &[
    (
        "mixed bundle: kernel of 1.10, root of 1.9",
        |bench, feed| {
            let kernel =
                bench.kernel(Key::Ours, "mini", "1.10", &feed.channel.versions[0].root_hash);
            bench.put(feed, "1.10", "uki", &kernel);
        },
        "its command line names the root hash",
    ),
    (
        "kernel of another version",
        |bench, feed| {
            let kernel =
                bench.kernel(Key::Ours, "mini", "1.9", &feed.channel.versions[1].root_hash);
            bench.put(feed, "1.10", "uki", &kernel);
        },
        "it is `mini` version `1.9`, and offered as `mini` version `1.10`",
    ),
    (
        "wrong product",
        |bench, feed| {
            let kernel =
                bench.kernel(Key::Ours, "maxi", "1.10", &feed.channel.versions[1].root_hash);
            bench.put(feed, "1.10", "uki", &kernel);
        },
        "it is `maxi` version `1.10`",
    ),
    (
        "kernel signed by a foreign key",
        |bench, feed| {
            let kernel =
                bench.kernel(Key::Foreign, "mini", "1.10", &feed.channel.versions[1].root_hash);
            bench.put(feed, "1.10", "uki", &kernel);
        },
        "it carries CN=foreign: the firmware would refuse",
    ),
    (
        "kernel for another architecture",
        |bench, feed| {
            let name = file(feed, "1.10", "uki");
            let mut kernel = feed.files[&name].clone();
            kernel[0x44..0x46].copy_from_slice(&0xaa64u16.to_le_bytes());
            bench.put(feed, "1.10", "uki", &kernel);
        },
        "it is for machine 0xaa64",
    ),
    (
        "channel for another architecture",
        |_, feed| {
            feed.channel.architecture = "arm64".to_owned();
        },
        ".arm64.efi`",
    ),
    (
        "usr of 1.9 under the name of 1.10",
        |bench, feed| {
            let data: Vec<u8> = vec![7; 299_008];
            bench.put(feed, "1.10", "usr", &data);
        },
        "hash tree differs from the data",
    ),
    (
        "hash tree of other data",
        |bench, feed| {
            let (mut other, old) = (feed.clone(), file(feed, "1.9", "usr-verity"));
            other.files.retain(|name, _| *name == old);
            let tree = gunzip(bench, &other.files[&old]);
            bench.put(feed, "1.10", "usr-verity", &tree);
        },
        "hash tree differs from the data",
    ),
    (
        "signature of another root hash",
        |bench, feed| {
            let other = bench.root_hash_signature(&feed.channel.versions[0].root_hash);
            bench.put(feed, "1.10", "usr-verity-sig", &other);
        },
        "it signs the root hash",
    ),
    (
        "signature shorter than its slot",
        |bench, feed| {
            let whole = bench.root_hash_signature(&feed.channel.versions[1].root_hash);
            bench.put(feed, "1.10", "usr-verity-sig", &whole[..4096]);
        },
        "it has 4096 bytes and its slot 16384",
    ),
    (
        "bomb of gzip that says how large it is",
        |bench, feed| {
            let bomb = vec![0; usize::try_from(SLOTS.usr + 4096).unwrap()];
            bench.put(feed, "1.10", "usr", &bomb);
        },
        "it unpacks to 1052672 bytes, its slot has 1048576",
    ),
    (
        "bomb of gzip that does not say it",
        |bench, feed| {
            let name = file(feed, "1.10", "usr");
            let bomb = bench.gzip(&vec![0; 64 << 20]);
            lie(feed, "1.10", &name, bomb);
        },
        "hash tree differs from the data",
    ),
    (
        "more behind the content than is said",
        |bench, feed| {
            let name = file(feed, "1.10", "usr");
            let mut content = gunzip(bench, &feed.files[&name]);
            content.extend_from_slice(&[0; 4096]);
            lie(feed, "1.10", &name, bench.gzip(&content));
        },
        "it unpacks to more than the 299008 bytes",
    ),
    (
        "a second member of gzip",
        |bench, feed| {
            let name = file(feed, "1.10", "usr");
            let two = [feed.files[&name].clone(), bench.gzip(b"more")].concat();
            lie(feed, "1.10", &name, two);
        },
        "something follows the first member",
    ),
    (
        "data behind the hash tree's reach",
        |bench, feed| {
            let name = file(feed, "1.10", "usr");
            let mut content = gunzip(bench, &feed.files[&name]);
            content.extend_from_slice(&[7; 4096]);
            bench.put(feed, "1.10", "usr", &content);
        },
        "it has 303104 bytes, and the hash tree covers 299008",
    ),
    (
        "version below the floor",
        |_, feed| feed.channel.floor = Some("1.10".to_owned()),
        "`mini_1.9`: it is below the channel's floor, 1.10",
    ),
    (
        "two versions with one root hash",
        |bench, feed| bench.add(feed, "1.11", 2),
        "versions 1.10 and 1.11 have one root hash",
    ),
    (
        "versions in another order than UAPI.10's",
        |_, feed| feed.channel.versions.reverse(),
        "`mini_1.9`: it is not newer (UAPI.10) than 1.10",
    ),
    (
        "two spellings of one version",
        |bench, feed| bench.add(feed, "1.010", 3),
        "it is not newer (UAPI.10) than 1.10",
    ),
    (
        "another channel's manifest",
        |_, feed| feed.channel.channel = "beta".to_owned(),
        "it is of channel `beta`, and lies in `stable`",
    ),
    (
        "a version that lacks a part",
        |_, feed| {
            let name = file(feed, "1.10", "usr-verity-sig");
            feed.files.remove(&name);
            feed.channel.versions[1].parts.remove("usr-verity-sig");
        },
        "it has the parts uki, usr, usr-verity, and a version is",
    ),
    (
        "another set of transfer files",
        |_, feed| {
            feed.channel.versions[1].transfers.push("80-more.transfer".to_owned());
        },
        "the running version would look incomplete",
    ),
    (
        "two files for a part of one version",
        |_, feed| {
            feed.more.push("mini_1.10.1.x86-64.efi".to_owned());
            feed.more.push("mini_1.10_x.x86-64.usr.raw.gz".to_owned());
        },
        "`mini_1.10_x.x86-64.usr.raw.gz`: a second file for a part of version 1.10",
    ),
    (
        "a file that the manifest does not know",
        |_, feed| feed.more.push("zzz".to_owned()),
        "`SHA256SUMS` lists it, and it is no version's",
    ),
    (
        "an artifact that the list does not name",
        |_, feed| {
            let name = file(feed, "1.10", "uki");
            feed.files.remove(&name);
        },
        "`SHA256SUMS` does not list it",
    ),
    (
        "a label that does not fit into a partition table",
        |bench, feed| {
            bench.add(feed, "1.10.1234567890.123456789", 5);
        },
        "36 fit into a partition table",
    ),
];

#[test]
fn what_contradicts_itself_is_refused_although_it_is_signed() {
    let bench = Bench::new("inside");
    let feed = bench.two_versions();
    for (name, attack, why) in FROM_INSIDE {
        let mut feed = feed.clone();
        attack(&bench, &mut feed);
        bench.write(&feed, Key::Ours, SIGNED);
        let told = told(&bench.verified(NOW));
        assert!(told.contains(why), "{name}: {told}");
    }
}

/// Puts other bytes under a name, of whose content the manifest goes on to say what it said.
fn lie(feed: &mut Feed, version: &str, name: &str, bytes: Vec<u8>) {
    let known = feed.channel.versions.iter_mut().find(|one| one.version == version).unwrap();
    let part = known.parts.values_mut().find(|part| part.file == name).unwrap();
    part.size = bytes.len() as u64;
    part.sha256 = Digest::of(&bytes).to_string();
    feed.files.insert(name.to_owned(), bytes);
}

fn gunzip(bench: &Bench, bytes: &[u8]) -> Vec<u8> {
    fs::write(bench.at("packed.gz"), bytes).unwrap();
    let ran = judge::run(judge::tool("gzip").args(["-d", "-f", "-k"]).arg(bench.at("packed.gz")));
    assert!(ran.ok, "{}", ran.text);
    fs::read(bench.at("packed")).unwrap()
}

#[test]
fn names_with_folders_are_refused_before_anything_is_opened() {
    let bench = Bench::new("names");
    let feed = bench.two_versions();
    let directory = bench.write(&feed, Key::Ours, SIGNED);
    let list = fs::read_to_string(directory.join("SHA256SUMS")).unwrap();
    for name in ["../../secret", "a/b", "/etc/passwd", ".."] {
        let more = format!("{list}{} *{name}\n", Digest::of(b""));
        bench.sign_list(&directory, Key::Ours, SIGNED, more.as_bytes());
        let told = told(&bench.verified(NOW));
        assert!(told.contains(&format!("`SHA256SUMS`: line 11: `{name}`")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    // A manifest that is signed and names a file of another folder.
    let mut feed = feed;
    let part = feed.channel.versions[0].parts.get_mut("uki").unwrap();
    part.file = "../stable/mini_1.9.x86-64.efi".to_owned();
    bench.write(&feed, Key::Ours, SIGNED);
    let told = told(&bench.verified(NOW));
    assert!(told.contains("`/` cannot stand in a name of a feed"), "{told}");
}

#[test]
fn a_signature_without_an_end_is_refused() {
    let bench = Bench::new("endless");
    let feed = bench.two_versions();
    let directory = bench.write(&feed, Key::Ours, SIGNED);
    bench.sign_for_ever(&directory);
    let told = told(&bench.verified(END));
    assert!(told.contains("has no end: it could be played back for ever"), "{told}");
}
