//! Feeds of updates before the programs that read them, and publishers that are stopped.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use judge::{run, tool};
use release::{CHANNEL_MANIFEST, CHANNEL_SIGNATURE, Channel, FEEDS};
use store::Digest;

use crate::bench::{Bench, LATER, Ran, start};

const TRIAL: &str = "--development-keys-are-fine-for-this-feed";
/// Exit codes; see `docs/exit-codes.md`.
const SIGN: i32 = 6;
const IMAGE: i32 = 8;
const FEED: i32 = 9;

impl Bench {
    /// Bakes a version into a directory of its own.
    pub(crate) fn release(&self, version: &str) -> PathBuf {
        let output = self.path(&format!("release-{version}"));
        let mut command = self.with_arguments(start(program()), &output);
        let ran = Ran::of(command.args(["--version", version]).output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        output
    }

    /// `hardtack publish` into the feed, without a word on whose keys these are.
    fn publisher(&self) -> Command {
        let mut command = start(program());
        command.arg("publish").arg(self.path("feed")).arg("--keys").arg(self.path("keys"));
        command
    }

    fn to_feed(&self, words: &[&str]) -> Ran {
        Ran::of(self.publisher().arg(TRIAL).args(words).output().unwrap())
    }

    fn published(&self, words: &[&str]) -> Ran {
        let ran = self.to_feed(words);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        ran
    }

    pub(crate) fn add(&self, release: &Path, more: &[&str]) -> Ran {
        let words = ["--release", release.to_str().unwrap()];
        self.published(&[&words[..], more].concat())
    }

    /// What a reader of the channel meets: every signature holds, and everything that the list
    /// names is there.
    fn reads(&self, channel: &str) -> Channel {
        let place = self.path("feed").join(channel);
        for feed in FEEDS {
            for name in feed.signatures {
                let ran = self.client(&place, feed.list, name, &self.path("keyring.pgp"));
                assert!(ran.ok, "{name}: {}", ran.text);
            }
            let mut sums = tool("sha256sum");
            let ran = run(sums.args(["--strict", "-c", feed.list]).current_dir(&place));
            assert!(ran.ok, "{}", ran.text);
        }
        let keyring = self.path("keyring.pgp");
        let ran = self.client(&place, CHANNEL_MANIFEST, CHANNEL_SIGNATURE, &keyring);
        assert!(ran.ok, "{}", ran.text);
        Channel::parse(&fs::read_to_string(place.join(CHANNEL_MANIFEST)).unwrap()).unwrap()
    }

    /// `gpg` as systemd-pull starts it.
    fn client(&self, place: &Path, file: &str, signature: &str, keyring: &Path) -> judge::Ran {
        let home = self.path("gpg");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let mut gpg = tool("gpg");
        gpg.args(["--no-options", "--no-default-keyring", "--no-auto-key-locate"]);
        gpg.args(["--no-auto-check-trustdb", "--batch", "--trust-model=always"]);
        gpg.arg(format!("--homedir={}", home.display()));
        gpg.arg(format!("--keyring={}", keyring.display())).arg("--verify");
        gpg.arg(place.join(signature)).arg("-");
        run(gpg.stdin(Stdio::from(File::open(place.join(file)).unwrap())))
    }
}

fn program() -> &'static OsStr {
    OsStr::new(env!("CARGO_BIN_EXE_hardtack"))
}

fn names(channel: &Channel) -> Vec<&str> {
    channel.versions.iter().map(|version| version.version.as_str()).collect()
}

/// Every file of a feed: its digest, inode and time.
fn state(feed: &Path) -> BTreeMap<PathBuf, (Digest, u64, i64)> {
    let known = |path: PathBuf| {
        let metadata = fs::metadata(&path).unwrap();
        let digest = Digest::of(&fs::read(&path).unwrap());
        (path, (digest, metadata.ino(), metadata.mtime_nsec()))
    };
    crate::files(feed).into_iter().map(known).collect()
}

#[test]
fn a_feed_of_two_versions_and_two_channels_is_what_clients_verify() {
    let bench = Bench::new("publish");
    let (one, two) = (bench.release("1.9"), bench.release("1.10"));
    // In the wrong order: the list is sorted all the same.
    bench.add(&two, &[]);
    let told = bench.add(&one, &[]).text;
    assert!(told.contains("no host takes it"), "{told}");
    bench.add(&one, &["--channel", "testing"]);
    let (stable, testing) = (bench.reads("stable"), bench.reads("testing"));
    assert_eq!((names(&stable), names(&testing)), (vec!["1.9", "1.10"], vec!["1.9"]));

    // What the client unpacks is what the image's own partitions hold.
    let place = bench.path("feed/stable");
    let version = stable.version("1.10").unwrap();
    let disk = two.join("host_1.10.raw");
    let image = inspect::summary(&disk).unwrap();
    let disk = fs::read(&disk).unwrap();
    for (part, label) in [("usr", ""), ("usr-verity", "_verity"), ("usr-verity-sig", "_vsig")] {
        let file = &version.parts[part];
        let label = format!("host_1.10{label}");
        let partition =
            image.table.partitions.iter().find(|partition| partition.label == label).unwrap();
        assert!(file.file.starts_with(&format!("host_1.10_{}.x86-64.", partition.uuid)));
        let unpack = if file.file.ends_with(".gz") { "gzip -dc" } else { "cat" };
        let sum = format!("{unpack} {} | sha256sum", file.file);
        let sum = run(tool("sh").args(["-c", &sum]).current_dir(&place));
        assert!(sum.text.starts_with(&file.content_sha256), "{part}: {}", sum.text);
        let (from, size) = (partition.offset as usize, file.content_size as usize);
        assert_eq!(Digest::of(&disk[from..from + size]).to_string(), file.content_sha256);
        let rest = &disk[from + size..(partition.offset + partition.length) as usize];
        assert!(rest.iter().all(|byte| *byte == 0), "{part} is longer than what is published");
    }
    assert_eq!(version.parts["usr-verity-sig"].size, version.layout.signature);
    assert_eq!(fs::read(place.join("host_1.10.x86-64.efi")).unwrap(), {
        fs::read(two.join("host_1.10.efi")).unwrap()
    });
    assert!(version.bytes.values().sum::<u64>() > 0 && !version.packages.is_empty());

    // The same once more is no change, and a version leaves without the others.
    let before = state(&place);
    let told = bench.add(&two, &[]).text;
    assert!(told.contains("already"), "{told}");
    assert_eq!(state(&place), before);
    bench.published(&["--refresh"]);
    assert_ne!(state(&place), before);
    bench.published(&["--retire", "1.9"]);
    assert_eq!(names(&bench.reads("stable")), ["1.10"]);
    assert_eq!(names(&bench.reads("testing")), ["1.9"]);
    let left = crate::files(&place);
    assert!(!left.iter().any(|path| path.to_string_lossy().contains("1.9_")), "{left:?}");
    let ran = bench.to_feed(&["--retire", "1.9"]);
    assert_eq!(ran.code, Some(FEED), "{}", ran.text);
}

#[test]
fn the_stock_client_refuses_an_old_list_a_changed_one_and_another_key() {
    let bench = Bench::new("publish-expiry");
    let release = bench.release("1");
    bench.add(&release, &["--at", "2026-03-01T00:00:00Z", "--valid", "1h"]);
    let place = bench.path("feed/stable");
    let (keyring, feed) = (bench.path("keyring.pgp"), FEEDS[0]);
    let verify = |keyring: &Path| bench.client(&place, feed.list, feed.signatures[0], keyring);
    let expired = verify(&keyring);
    assert!(!expired.ok && expired.text.contains("xpired"), "{}", expired.text);
    let list = fs::read_to_string(place.join(feed.list)).unwrap();
    assert!(list.contains(" *BEST-BEFORE-2026-03-02\n"), "{list}");

    let before = state(&place);
    bench.published(&["--refresh"]);
    assert_eq!(names(&bench.reads("stable")), ["1"]);
    let after = state(&place);
    for (path, known) in &before {
        if path.to_string_lossy().contains("host_1") {
            assert_eq!(after.get(path), Some(known), "{} was rewritten", path.display());
        }
    }

    let changed = fs::read_to_string(place.join(feed.list)).unwrap().replacen('0', "1", 1);
    fs::write(place.join(feed.list), changed).unwrap();
    let refused = verify(&keyring);
    assert!(!refused.ok && refused.text.contains("BAD signature"), "{}", refused.text);
    bench.published(&["--refresh"]);
    sign::Directory::make(&bench.path("foreign")).unwrap();
    let refused = verify(&bench.path("foreign/release.pub.pgp"));
    assert!(!refused.ok && refused.text.contains("No public key"), "{}", refused.text);
    assert!(verify(&keyring).ok);
}

/// A refused attempt: `words` of the message, and the feed as it was before.
fn refused(bench: &Bench, ran: &Ran, code: i32, words: &str, before: &Path) {
    assert_eq!(ran.code, Some(code), "{}", ran.text);
    assert!(ran.text.contains(words), "`{words}` is not in\n{}", ran.text);
    let here = state(&bench.path("feed/stable"));
    let there = state(before);
    let digests = |state: &BTreeMap<PathBuf, (Digest, u64, i64)>| -> Vec<Digest> {
        state.values().map(|known| known.0).collect()
    };
    assert_eq!(digests(&here), digests(&there), "the feed changed: {}", ran.text);
}

/// A copy of a directory that the next attempts may damage.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(run(tool("cp").arg("-a").arg(from).arg(to)).ok);
}

#[test]
fn what_no_host_should_get_is_refused_and_the_feed_stays() {
    let bench = Bench::new("publish-refused");
    let (one, two) = (bench.release("1"), bench.release("2"));
    bench.add(&one, &[]);
    let before = bench.path("before");
    copy(&bench.path("feed/stable"), &before);
    let bad = bench.path("bad");
    let attempt =
        |words: &[&str]| bench.to_feed(&[&["--release", bad.to_str().unwrap()], words].concat());
    let edit = |from: &str, to: &str| {
        copy(&two, &bad);
        let path = bad.join("result.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };

    // Keys that anybody may have, unless that is said in full.
    let ran = Ran::of(bench.publisher().arg("--release").arg(&two).output().unwrap());
    refused(&bench, &ran, SIGN, "holds development keys", &before);

    // Another version with the same name.
    bench.publish(LATER, &fixture::patched());
    let output = bench.path("other");
    let mut command = bench.with_arguments(start(program()), &output);
    let baked = Ran::of(command.args(["--version", "1", "--update"]).output().unwrap());
    assert_eq!(baked.code, Some(0), "{}", baked.text);
    copy(&output, &bad);
    refused(&bench, &attempt(&[]), FEED, "is published with other bytes", &before);

    edit("\"unreviewed-scripts\": []", "\"unreviewed-scripts\": [\"a: Before 0\"]");
    refused(&bench, &attempt(&[]), FEED, "that nobody has reviewed", &before);

    edit(
        "\"warnings\": []",
        "\"warnings\": [], \"offer\": {\"channel\": \"stable\", \"valid\": 60, \"floor\": \"3\"}",
    );
    refused(&bench, &attempt(&[]), FEED, "older than the channel's floor", &before);

    // The manifest and the image are of two minds.
    edit("\"version\": \"2\"", "\"version\": \"3\"");
    fs::rename(bad.join("host_2.raw"), bad.join("host_3.raw")).unwrap();
    let path = bad.join("result.json");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("host_2.", "host_3.")).unwrap();
    refused(&bench, &attempt(&[]), IMAGE, "it is `host` version `2`", &before);

    edit("\"architecture\": \"x86-64\"", "\"architecture\": \"arm64\"");
    refused(&bench, &attempt(&[]), IMAGE, "says `usr arm64`", &before);

    // One bit of `/usr`, of the hash tree, of the signature; a cut disk.
    let image = inspect::summary(&two.join("host_2.raw")).unwrap();
    for label in ["host_2", "host_2_verity", "host_2_vsig"] {
        copy(&two, &bad);
        let disk = bad.join("host_2.raw");
        let partition = image.table.partitions.iter().find(|one| one.label == label).unwrap();
        let mut bytes = fs::read(&disk).unwrap();
        bytes[partition.offset as usize + 4096 * usize::from(label != "host_2_vsig") + 40] ^= 1;
        fs::write(&disk, bytes).unwrap();
        refused(&bench, &attempt(&[]), IMAGE, "", &before);
    }
    copy(&two, &bad);
    File::options().write(true).open(bad.join("host_2.raw")).unwrap().set_len(1 << 20).unwrap();
    refused(&bench, &attempt(&[]), IMAGE, "`result.json` says", &before);

    // A kernel image that the channel's hosts do not start.
    copy(&two, &bad);
    sign::Directory::make(&bench.path("foreign")).unwrap();
    let foreign = bench.path("foreign");
    let mut command = start(program());
    command.arg("publish").arg(bench.path("feed")).arg("--keys").arg(&foreign).arg(TRIAL);
    let ran = Ran::of(command.arg("--release").arg(&two).output().unwrap());
    refused(&bench, &ran, FEED, "is not the db certificate", &before);

    // And the release is good.
    bench.add(&two, &[]);
    assert_eq!(names(&bench.reads("stable")), ["1", "2"]);
}

/// Signing again what somebody else wrote would vouch for it.
#[test]
fn a_feed_that_somebody_changed_is_not_signed_again() {
    let bench = Bench::new("publish-changed");
    bench.add(&bench.release("1"), &[]);
    let place = bench.path("feed/stable");
    let good = bench.path("good");
    copy(&place, &good);
    let path = place.join(CHANNEL_MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    for changed in [
        text.replacen("\"size\": ", "\"size\": 1", 1),
        text.replacen("\"published\": \"2", "\"published\": \"1", 1),
        text.replace("\"product\": \"host\"", "\"product\": \"other\""),
    ] {
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        for words in [&["--refresh"][..], &["--retire", "1"]] {
            let ran = bench.to_feed(words);
            assert_eq!(ran.code, Some(FEED), "{}", ran.text);
        }
    }
    copy(&good, &place);
    let file = crate::files(&place).into_iter().find(|path| path.ends_with("host_1.x86-64.efi"));
    fs::write(file.unwrap(), "cut").unwrap();
    let ran = bench.to_feed(&["--refresh"]);
    assert_eq!(ran.code, Some(FEED), "{}", ran.text);
    assert!(ran.text.contains("has 3 bytes"), "{}", ran.text);
}

#[test]
fn a_publisher_killed_at_any_call_leaves_a_feed_that_clients_verify() {
    let bench = Bench::new("publish-killed");
    let (one, two) = (bench.release("1"), bench.release("2"));
    bench.add(&one, &[]);
    let (feed, before) = (bench.path("feed"), bench.path("before"));
    copy(&feed, &before);
    let strace = tool("strace").get_program().to_owned();
    let (mut old, mut new) = (0, 0);
    for (call, at) in [
        ("mkdir", 1),
        ("link,linkat", 1),
        ("link,linkat", 4),
        ("fsync", 1),
        ("fsync", 3),
        ("fsync", 5),
        ("fsync", 7),
        ("fsync", 9),
        ("fsync", 13),
        ("renameat2", 1),
        ("fsync", 14),
        ("unlinkat,unlink,rmdir", 1),
        ("unlinkat,unlink,rmdir", 3),
        ("unlinkat,unlink,rmdir", 9),
    ] {
        copy(&before, &feed);
        let mut command = start(&strace);
        command.args(["-f", "-qq", "-o"]).arg(bench.path("strace.log"));
        command.arg("-e").arg(format!("trace={call}"));
        command.arg("-e").arg(format!("inject={call}:signal=KILL:when={at}"));
        command.arg(program()).arg("publish").arg(&feed).arg("--keys").arg(bench.path("keys"));
        let ran = Ran::of(command.arg(TRIAL).arg("--release").arg(&two).output().unwrap());
        assert_eq!(ran.code, None, "{call} {at} stopped nothing: {}", ran.text);
        match names(&bench.reads("stable"))[..] {
            ["1"] => old += 1,
            ["1", "2"] => new += 1,
            ref other => panic!("{other:?}"),
        }
        bench.add(&two, &[]);
        assert_eq!(names(&bench.reads("stable")), ["1", "2"], "after {call} {at}");
        let left =
            crate::files(&feed).into_iter().filter(|path| !path.starts_with(feed.join("stable")));
        let left: Vec<PathBuf> = left.collect();
        assert_eq!(left, [feed.join(".stable.lock")], "after {call} {at}");
    }
    assert!(old >= 8 && new >= 3, "{old} times the old list, {new} times the new one");
}

#[test]
fn two_publishers_at_once_both_publish() {
    let bench = Bench::new("publish-two");
    let releases = [bench.release("1"), bench.release("2"), bench.release("3")];
    let start = |release: &PathBuf| {
        let mut command = bench.publisher();
        command.arg(TRIAL).arg("--release").arg(release);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = releases.iter().map(start).collect();
    for mut one in running {
        assert!(one.wait().unwrap().success());
    }
    assert_eq!(names(&bench.reads("stable")), ["1", "2", "3"]);
}
