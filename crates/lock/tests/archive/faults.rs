//! Archives with one fault each: refused with the object, the reason and where there is one the
//! way out; the same archive without the fault locks as before.

use lock::{Lock, Options, Request, lock};
use package::LARGEST_INDEX;
use store::{Digest, Epoch};

use super::{Archive, DATE, DAY, MAIN, MARCH, Progress, SECURITY, index};

impl Archive {
    /// `fault` is done to an archive that locks, refused with every one of `parts`, undone, and
    /// the lock is what it was before.
    fn survives(&self, fault: impl Fn(&Self), parts: &[&str]) {
        let before = self.lock().unwrap().text();
        let files = self.files.lock().unwrap().clone();
        fault(self);
        let error = format!("{:#}", self.lock().unwrap_err());
        for part in parts {
            assert!(error.contains(part), "`{part}` is not said: {error}");
        }
        *self.files.lock().unwrap() = files;
        assert_eq!(self.lock().unwrap().text(), before);
    }

    fn remove(&self, ending: &str) {
        self.files.lock().unwrap().retain(|name, _| !name.ends_with(ending));
    }
}

const SUITE: &str = "read suite `s` of archive `main`";

/// A package of an index, with one line in place of another.
fn stanza(from: &str, to: &str) -> String {
    let (index, _) = index("nginx 1.0 Depends: libc\nlibc 2 Homepage: x\nbase 1 Homepage: x");
    assert!(index.contains(from), "{from}");
    index.replacen(from, to, 1)
}

#[test]
fn an_index_of_the_future_is_refused_and_the_clock_is_named() {
    let archive = Archive::new("future");
    archive.survives(
        |one| {
            let (index, _) = index(MAIN);
            let date = "Date: Tue, 03 Mar 2026 00:00:00 UTC\n";
            one.publish_index("debian", "s", index.as_bytes(), date);
        },
        &[SUITE, "dated 2026-03-03T00:00:00Z, in the future", "clock", "--allow-stale"],
    );
}

#[test]
fn a_release_for_another_suite_or_with_broken_fields_is_refused() {
    let archive = Archive::new("fields");
    let digest = Digest::of(b"x");
    let file = "main/binary-amd64/Packages";
    let twice = format!("SHA256:\n {digest} 1 {file}\n {} 1 {file}\n", Digest::of(b"y"));
    let huge = format!("SHA256:\n {digest} {} {file}\n", LARGEST_INDEX + 1);
    for (fields, why) in [
        (format!("Codename: s\nDate: {MARCH}\n{twice}"), "listed twice with two digests"),
        (format!("Codename: s\nDate: {MARCH}\n{huge}"), "bytes, more than"),
        (format!("Codename: s\nDate: {MARCH}\nSHA256:\n {digest} -1 {file}\n"), "the size of"),
        (format!("Codename: s\nDate: {MARCH}\nMD5Sum:\n x 1 {file}\n"), "`SHA256`"),
        (format!("Codename: s\nDate: {MARCH}\nSHA256:\n {digest} 1 other\n"), "find the index"),
        (format!("Codename: s\nDate: someday\nSHA256:\n {digest} 1 {file}\n"), "`someday`"),
        (format!("Codename: s\nCodename: t\nDate: {MARCH}\n"), "there twice"),
        (format!("Codename: other\nDate: {MARCH}\n{huge}"), "calls this suite `other`"),
    ] {
        archive.survives(|one| one.sign("debian", "s", &fields), &[SUITE, why]);
    }
}

#[test]
fn an_index_that_is_not_the_one_that_was_signed_is_refused() {
    let archive = Archive::new("index");
    let by_hash = |one: &Archive, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = one.files.lock().unwrap();
        let mut all = files.iter_mut();
        let found = all.find(|(name, _)| name.starts_with("/debian/") && name.contains("by-hash"));
        change(found.unwrap().1);
    };
    let parts = |why: &'static str| [SUITE, "fetch http://127.0.0.1", why];
    archive.survives(|one| by_hash(one, &|file| file[3] ^= 1), &parts("the digest is not"));
    archive.survives(|one| by_hash(one, &|file| file.push(b'\n')), &parts("more than"));
    archive.survives(|one| by_hash(one, &|file| file.truncate(9)), &parts("cut at 9 of"));
    archive.survives(|one| by_hash(one, &|file| file.clear()), &parts("cut at 0 of"));
    archive.survives(
        |one| one.files.lock().unwrap().retain(|name, _| !name.contains("/debian/dists/s/main/")),
        &parts("answers 404"),
    );
    // Yesterday's index under today's signature.
    archive.survives(
        |one| {
            let (old, _) = index("nginx 0.9 Depends: libc");
            by_hash(one, &|file| *file = old.clone().into_bytes());
        },
        &parts("cut at"),
    );
}

#[test]
fn an_archive_that_stopped_signing_is_refused() {
    let archive = Archive::new("unsigned");
    let plain = |one: &Archive| std::fs::read(one.home.join("Release")).unwrap();
    archive.survives(
        |one| {
            let release = plain(one);
            one.remove("/debian/dists/s/InRelease");
            one.files.lock().unwrap().insert("/debian/dists/s/Release".into(), release);
        },
        &[SUITE, "/debian/dists/s/InRelease answers 404"],
    );
    archive.survives(
        |one| {
            let release = plain(one);
            one.spoil("/debian/dists/s/InRelease", |file| file.clone_from(&release));
        },
        &[SUITE, "check the signature", "does not begin with"],
    );
    archive.survives(
        |one| one.spoil("/debian/dists/s/InRelease", |file| file.insert(0, b'\n')),
        &[SUITE, "check the signature", "does not begin with"],
    );
}

#[test]
fn an_archive_under_another_key_is_refused() {
    let archive = Archive::new("stranger");
    let stranger = Archive::new("stranger-two");
    let signed = stranger.files.lock().unwrap()["/debian/dists/s/InRelease"].clone();
    archive.survives(
        |one| one.spoil("/debian/dists/s/InRelease", |file| file.clone_from(&signed)),
        &[SUITE, "check the signature", "no key of the keyring signed"],
    );
}

#[test]
fn hostile_fields_of_an_index_name_the_package_and_the_field() {
    let archive = Archive::new("hostile");
    let size = "Size: 29";
    let long = "x".repeat(5 << 20);
    let digest = format!("SHA256: {}", Digest::of(b"nginx 1.0 Depends: libc"));
    for (from, to, parts) in [
        (
            "Filename: pool/nginx",
            "Filename: ../../etc/nginx",
            ["package `nginx`", "not a location"],
        ),
        ("Filename: pool/nginx", "Filename: /etc/nginx", ["package `nginx`", "not a location"]),
        ("Filename: pool/nginx", "Filename: file:///etc/x", ["package `nginx`", "not a location"]),
        ("Size: 2", "Size: -2", ["package `nginx`", "not a number"]),
        ("Size: 2", "Size: 18446744073709551616", ["package `nginx`", "field `Size`"]),
        ("Size: 2", "Size: 99999999999", ["package `nginx`", "more than"]),
        ("Version: 1.0\n", "Version: 1.0\nVersion: 9\n", ["line 3", "there twice"]),
        ("Version: 1.0\n", "Version: 1.0\0\n", ["package `nginx`", "not a version"]),
        ("Package: nginx", "Package: ng\0inx", ["ng", "not a package name"]),
        ("Depends: libc", "Depends: libc (>> )", ["package `nginx`", "field `Depends`"]),
        (
            "Depends: libc\n",
            &format!("Depends: {long}\n"),
            ["index `main/", "a stanza of more than"],
        ),
        (digest.as_str(), "SHA256: abc", ["package `nginx`", "field `SHA256`"]),
        (digest.as_str(), "MD5sum: abc", ["package `nginx`", "field `SHA256`"]),
        ("Package: nginx\n", "Package: nginx\nno colon\n", ["line 2", "a field's name"]),
    ] {
        let index = stanza(from, to);
        archive.survives(
            |one| one.publish_index("debian", "s", index.as_bytes(), &format!("Date: {MARCH}\n")),
            &[SUITE, parts[0], parts[1]],
        );
    }
    let mut latin = stanza(size.split_at(6).0, "Size: ").into_bytes();
    latin.extend(b"\nX: caf\xe9\n");
    archive.survives(
        |one| one.publish_index("debian", "s", &latin, &format!("Date: {MARCH}\n")),
        &[SUITE, "UTF-8"],
    );
}

#[test]
fn a_lock_of_an_older_state_is_noticed() {
    let archive = Archive::new("rollback");
    let first = archive.lock().unwrap();
    assert_eq!(first.rolled_back(&first), Vec::<String>::new());
    let (index, _) = index(MAIN);
    let date = "Date: Sat, 28 Feb 2026 00:00:00 UTC\n";
    archive.publish_index("debian", "s", index.as_bytes(), date);
    let older = archive.lock().unwrap();
    assert_eq!(
        first.rolled_back(&older),
        ["suite s of archive main: 2026-03-01T00:00:00Z → 2026-02-28T00:00:00Z"]
    );
    assert_eq!(older.rolled_back(&first), Vec::<String>::new());
}

#[test]
fn the_order_of_suites_changes_no_byte_and_no_old_version_stays() {
    let archive = Archive::new("suites");
    archive.publish("debian", "t", SECURITY, "");
    let with = |suites: &[&str]| -> Lock {
        let mut request = archive.request();
        request.archives.truncate(1);
        request.archives[0].suites = suites.iter().map(|suite| (*suite).to_owned()).collect();
        lock(&request, &archive.options(), Progress::Silent).unwrap()
    };
    let made = with(&["s", "t"]);
    assert_eq!(made.text(), with(&["t", "s"]).text());
    let nginx: Vec<_> = made.packages.iter().filter(|one| one.id.name == "nginx").collect();
    assert_eq!((nginx.len(), nginx[0].id.version.0.as_str()), (1, "1.1"));
}

#[test]
fn a_higher_version_under_other_keys_takes_nothing_over() {
    let archive = Archive::new("origin");
    let other = Archive::new("origin-two");
    other.publish("extra", "x", "libc 9 Homepage: x", "");
    let evil = other.files.lock().unwrap().clone();
    archive.files.lock().unwrap().extend(evil.into_iter().filter(|(n, _)| n.starts_with("/extra")));
    let mut request: Request = archive.request();
    let mut extra = other.request().archives.remove(0);
    (extra.name, extra.path, extra.suites) = ("extra".into(), "extra".into(), vec!["x".into()]);
    request.archives.push(extra);
    let locked = |request: &Request| lock(request, &archive.options(), Progress::Silent);
    let error = format!("{:#}", locked(&request).unwrap_err());
    for part in ["`libc`", "as 9 in archive `extra`", "as 2 in archive `main`", "pin the version"] {
        assert!(error.contains(part), "{error}");
    }
    for (version, from) in [("2", "main"), ("9", "extra")] {
        let initrd = request.roles.get_mut("initrd").unwrap();
        initrd.insert("libc".into(), Some(version.into()));
        let made = locked(&request).unwrap();
        let libc = made.packages.iter().find(|one| one.id.name == "libc").unwrap();
        assert_eq!((libc.id.version.0.as_str(), libc.repository.as_str()), (version, from));
    }
}

#[test]
fn one_version_with_two_contents_is_refused() {
    let archive = Archive::new("two-files");
    archive.publish("debian-security", "s-security", "nginx 1.0 Depends: dpkg", "");
    archive.refused("two different files are on offer as `nginx 1.0`");
}

#[test]
fn a_stale_index_may_be_used_when_somebody_says_so() {
    let archive = Archive::new("stale-later");
    archive.publish("debian", "s", MAIN, "Valid-Until: Sun, 08 Mar 2026 00:00:00 UTC\n");
    let late = Options { now: Epoch(DATE + 30 * DAY), ..archive.options() };
    let error = lock(&archive.request(), &late, Progress::Silent).unwrap_err();
    assert!(format!("{error:#}").contains("expired at 2026-03-08T00:00:00Z"), "{error:#}");
    let allowed = Options { allow_stale: true, ..late };
    let made = lock(&archive.request(), &allowed, Progress::Silent).unwrap();
    assert_eq!(made.packages, archive.lock().unwrap().packages);
}
