//! A whole archive, signed by `gpg` and served from this machine.

mod faults;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fetch::Progress;
use lock::{ArchiveRequest, Lock, Options, Request, lock, wanted};
use store::{Digest, Epoch, Store};

/// 2026-03-01T00:00:00Z, when the archive is signed.
const DATE: u64 = 1_772_323_200;
const DAY: u64 = 86_400;
const MARCH: &str = "Sun, 01 Mar 2026 00:00:00 UTC";

type Files = BTreeMap<String, Vec<u8>>;

/// A signing key and the files of an archive called `debian` and one called `debian-security`.
struct Archive {
    home: PathBuf,
    files: Arc<Mutex<Files>>,
    url: String,
}

impl Archive {
    fn new(name: &str) -> Self {
        let home = judge::scratch(&format!("archive-{name}"));
        judge::run(judge::tool("chmod").arg("700").arg(&home));
        let files: Arc<Mutex<Files>> = Arc::default();
        let served = files.clone();
        let url =
            fixture::serve(move |path| fixture::found(served.lock().unwrap().get(path).cloned()));
        let archive = Self { home, url, files };
        archive.gpg(&["--quick-generate-key", "archive", "ed25519", "sign", "never"]);
        archive.gpg(&["--output", "ring.gpg", "--export"]);
        archive.publish("debian", "s", MAIN, "");
        archive.publish("debian-security", "s-security", SECURITY, "");
        archive
    }

    fn gpg(&self, args: &[&str]) {
        let mut gpg = judge::tool("gpg");
        gpg.arg("--homedir").arg(&self.home).args(["--batch", "--yes", "--passphrase", ""]);
        gpg.args(["--pinentry-mode", "loopback", "--faked-system-time", "1770000000!"]);
        let ran = judge::run(gpg.args(args).current_dir(&self.home));
        assert!(ran.ok, "gpg {args:?}: {}", ran.text);
    }

    /// Publishes a suite: `packages` in short (see [`index`]), `more` lines for the release.
    fn publish(&self, path: &str, suite: &str, packages: &str, more: &str) {
        let (index, pool) = index(packages);
        self.publish_index(path, suite, index.as_bytes(), &format!("Date: {MARCH}\n{more}"));
        let mut files = self.files.lock().unwrap();
        files.extend(pool.into_iter().map(|(name, bytes)| (format!("/{path}/{name}"), bytes)));
    }

    /// Publishes an index as it is, under a release with `fields`.
    fn publish_index(&self, path: &str, suite: &str, index: &[u8], fields: &str) {
        let digest = Digest::of(index);
        let listed = format!(" {digest} {} main/binary-amd64/Packages\n", index.len());
        self.sign(path, suite, &format!("Codename: {suite}\n{fields}SHA256:\n{listed}"));
        let at = format!("/{path}/dists/{suite}/main/binary-amd64/by-hash/SHA256/{digest}");
        self.files.lock().unwrap().insert(at, index.into());
    }

    /// Signs and publishes the fields of a release.
    fn sign(&self, path: &str, suite: &str, fields: &str) {
        let release = format!("Origin: test\nSuite: stable\nAcquire-By-Hash: yes\n{fields}");
        std::fs::write(self.home.join("Release"), release).unwrap();
        self.gpg(&["--output", "InRelease", "--clear-sign", "Release"]);
        let signed = std::fs::read(self.home.join("InRelease")).unwrap();
        self.files.lock().unwrap().insert(format!("/{path}/dists/{suite}/InRelease"), signed);
    }

    /// Changes a file of the archive.
    fn spoil(&self, ending: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut files = self.files.lock().unwrap();
        let (_, file) = files.iter_mut().find(|(name, _)| name.ends_with(ending)).unwrap();
        change(file);
    }

    fn request(&self) -> Request {
        let archive = |name: &str, path: &str, suite: &str| ArchiveRequest {
            name: name.into(),
            source: "debian".into(),
            path: path.into(),
            url: None,
            keyring: std::fs::read(self.home.join("ring.gpg")).unwrap(),
            suites: vec![suite.into()],
            components: vec!["main".into()],
        };
        let role = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), None)).collect();
        Request {
            id: "test".into(),
            architecture: "x86-64".into(),
            archives: vec![
                archive("main", "debian", "s"),
                archive("security", "debian-security", "s-security"),
            ],
            roles: [("host", role(&["nginx"])), ("initrd", role(&["libc"]))]
                .map(|(name, role)| (name.to_owned(), role))
                .into(),
            assume: ["dpkg".to_owned()].into(),
        }
    }

    fn options(&self) -> Options {
        Options {
            mirror: Some(format!("{}/debian", self.url)),
            allow_stale: false,
            now: Epoch(DATE + DAY),
            apt_root: self.home.join("none"),
        }
    }

    fn lock(&self) -> anyhow::Result<Lock> {
        lock(&self.request(), &self.options(), Progress::Silent)
    }

    fn refused(&self, why: &str) {
        let error = format!("{:#}", self.lock().unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let mut conf = judge::tool("gpgconf");
        judge::run(conf.arg("--homedir").arg(&self.home).args(["--kill", "all"]));
    }
}

const MAIN: &str = "nginx 1.0 Depends: libc, dpkg (>= 1)
base 1 Essential: yes
dpkg 1 Essential: yes
libc 2 Homepage: x";
const SECURITY: &str = "nginx 1.1 Depends: libc, dpkg (>= 1)";

/// An index, and the files that it names.
fn index(packages: &str) -> (String, Files) {
    let mut index = String::new();
    let mut pool = Files::new();
    for line in packages.lines() {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap().to_owned();
        let (name, version, field) = (word(), word(), word());
        let (location, bytes) = (format!("pool/{name}_{version}+x.deb"), line.as_bytes().to_vec());
        index.push_str(&format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {location}\n\
             Size: {}\nSHA256: {}\n{field}\n\n",
            bytes.len(),
            Digest::of(&bytes)
        ));
        pool.insert(location.replace('+', "%2B"), bytes);
    }
    (index, pool)
}

#[test]
fn a_lock_names_the_newest_of_all_suites_and_everything_in_it_can_be_fetched() {
    let archive = Archive::new("whole");
    let made = archive.lock().unwrap();
    let shown: Vec<_> = made
        .packages
        .iter()
        .map(|one| {
            format!("{} {} {} {}", one.id.name, one.id.version, one.repository, one.roles.join(","))
        })
        .collect();
    assert_eq!(shown, ["base 1 main host", "libc 2 main host,initrd", "nginx 1.1 security host"]);
    assert_eq!(made.epoch, Epoch(DATE));
    assert!(!made.text().contains("127.0.0.1"), "a machine's mirror is in the lock");

    let store = Store::open(&archive.home.join("store"), None).unwrap();
    let again = Lock::parse(&made.text()).unwrap();
    fetch::all(&wanted(&again, &archive.options()).unwrap(), &store, Progress::Silent).unwrap();
    assert!(made.packages.iter().all(|one| store.has(&one.blob)));
}

#[test]
fn the_order_of_archives_changes_no_byte() {
    let archive = Archive::new("order");
    let mut request = archive.request();
    request.archives.reverse();
    let other = lock(&request, &archive.options(), Progress::Silent).unwrap();
    assert_eq!(other.text(), archive.lock().unwrap().text());
}

#[test]
fn nothing_of_a_release_with_a_changed_byte_is_used() {
    let archive = Archive::new("tampered");
    archive.spoil("s/InRelease", |file| {
        let at = file.windows(5).position(|bytes| bytes == b" test").unwrap();
        file[at + 1] = b'T';
    });
    archive.refused("check the signature");
}

#[test]
fn an_index_that_the_release_does_not_name_is_refused() {
    let archive = Archive::new("swapped");
    let mut files = archive.files.lock().unwrap();
    let (_, index) = files
        .iter_mut()
        .find(|(name, _)| name.contains("/debian/dists") && name.contains("by-hash"))
        .unwrap();
    let last = index.len() - 3;
    index[last] ^= 1;
    drop(files);
    archive.refused("the digest is not");
}

#[test]
fn an_expired_release_is_refused_or_recorded() {
    let ends = "Valid-Until: Sun, 01 Mar 2026 12:00:00 UTC\n";
    let archive = Archive::new("expired");
    archive.publish("debian", "s", MAIN, ends);
    archive.refused("expired at 2026-03-01T12:00:00Z");
    let options = Options { allow_stale: true, ..archive.options() };
    let made = lock(&archive.request(), &options, Progress::Silent).unwrap();
    assert_eq!(made.warnings, ["suite s: the index expired at 2026-03-01T12:00:00Z"]);

    // The package manager that names the archive may switch the check off.
    let etc = archive.home.join("root/etc/apt");
    std::fs::create_dir_all(etc.join("apt.conf.d")).unwrap();
    let sources =
        format!("deb {0}/debian any main\ndeb {0}/debian-security any main\n", archive.url);
    std::fs::write(etc.join("sources.list"), sources).unwrap();
    let options =
        Options { mirror: None, apt_root: archive.home.join("root"), ..archive.options() };
    assert!(lock(&archive.request(), &options, Progress::Silent).is_err());
    std::fs::write(etc.join("apt.conf.d/x"), "Acquire::Check-Valid-Until \"no\";\n").unwrap();
    let by_machine = lock(&archive.request(), &options, Progress::Silent).unwrap();
    assert_eq!(by_machine.text(), made.text());
}

#[test]
fn another_codename_and_a_missing_file_are_told_with_the_whole_url() {
    let archive = Archive::new("codename");
    let other =
        archive.files.lock().unwrap()["/debian-security/dists/s-security/InRelease"].clone();
    archive.spoil("debian/dists/s/InRelease", |file| file.clone_from(&other));
    archive.refused("`s-security`");
    archive.files.lock().unwrap().remove("/debian/dists/s/InRelease");
    archive.refused(&format!("{}/debian/dists/s/InRelease answers 404", archive.url));
    archive.refused("--mirror");
}
