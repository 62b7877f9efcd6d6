//! `hardtack lock` against an archive that is signed here and changes between runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use store::Digest;

const PROFILE: &str = "about: A tiny host.
archives:
  debian:
    source: debian
    path: debian
    keyring: ring.gpg
    suites: [s]
    components: [main]
packages:
  add: [base]
outputs: [raw]
initrd: initrd
";

/// A profile, and the archive that serves it.
struct Bench {
    home: PathBuf,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    url: String,
}

impl Bench {
    fn new(name: &str) -> Self {
        let home = judge::scratch(&format!("lock-{name}"));
        judge::run(judge::tool("chmod").arg("700").arg(&home));
        let files: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let served = files.clone();
        let url = fixture::serve(move |path| {
            ("200 OK", served.lock().unwrap().get(path).cloned().unwrap_or_default())
        });
        let url = format!("{url}/debian");
        let bench = Self { home, files, url };
        bench.gpg(&["--quick-generate-key", "archive", "ed25519", "sign", "never"]);
        bench.gpg(&["--output", "ring.gpg", "--export"]);
        fs::create_dir_all(bench.home.join("rules/debian")).unwrap();
        for (name, text) in [
            ("tiny.yaml", PROFILE),
            ("initrd.yaml", "about: An initrd.\npackages:\n  add: [base]\n"),
            ("rules/debian/_distribution.yaml", "about: Nothing.\n"),
        ] {
            fs::write(bench.home.join(name), text).unwrap();
        }
        bench
    }

    fn gpg(&self, args: &[&str]) {
        let mut gpg = judge::tool("gpg");
        gpg.arg("--homedir").arg(&self.home).args(["--batch", "--yes", "--passphrase", ""]);
        gpg.args(["--pinentry-mode", "loopback", "--faked-system-time", "1570000000!"]);
        let ran = judge::run(gpg.args(args).current_dir(&self.home));
        assert!(ran.ok, "gpg {args:?}: {}", ran.text);
    }

    /// The archive as of a day of January 2020.
    fn publish(&self, date: &str, index: &str) {
        let digest = Digest::of(index.as_bytes());
        let release = format!(
            "Codename: s\nDate: {date}\nSHA256:\n {digest} {} main/binary-amd64/Packages\n",
            index.len()
        );
        fs::write(self.home.join("Release"), release).unwrap();
        self.gpg(&["--output", "InRelease", "--clear-sign", "Release"]);
        let mut files = self.files.lock().unwrap();
        let signed = fs::read(self.home.join("InRelease")).unwrap();
        files.insert("/debian/dists/s/InRelease".into(), signed);
        files.insert("/debian/dists/s/main/binary-amd64/Packages".into(), index.into());
    }

    /// `hardtack lock`: exit code, what it said, and the lock that there is.
    #[expect(clippy::disallowed_methods, reason = "the program itself is what is judged")]
    fn lock(&self, more: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hardtack"));
        command.arg("lock").arg("tiny.yaml").args(["--mirror", &self.url]).args(more);
        let output = command.current_dir(&self.home).env("LC_ALL", "C").output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let lock = fs::read_to_string(self.home.join("tiny.lock")).unwrap_or_default();
        (output.status.code().unwrap(), text, lock)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let mut conf = judge::tool("gpgconf");
        judge::run(conf.arg("--homedir").arg(&self.home).args(["--kill", "all"]));
    }
}

fn package(name: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nFilename: pool/{name}.deb\nSize: 1\n\
         SHA256: {}\n{more}\n",
        Digest::of(name.as_bytes())
    )
}

#[test]
fn an_archive_older_than_the_lock_is_refused_unless_a_reason_is_given_and_recorded() {
    let bench = Bench::new("rollback");
    bench.publish("Tue, 07 Jan 2020 00:00:00 UTC", &package("base", ""));
    let (code, text, first) = bench.lock(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(!first.contains("warning"), "{first}");

    bench.publish("Mon, 06 Jan 2020 00:00:00 UTC", &package("base", ""));
    let (code, text, lock) = bench.lock(&[]);
    assert_eq!(code, 3, "{text}");
    let line = "suite s of archive debian: 2020-01-07T00:00:00Z → 2020-01-06T00:00:00Z";
    for part in ["tiny.lock", line, "--allow-rollback REASON"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert_eq!(lock, first, "a refused lock changed the one there was");
    assert_eq!(bench.lock(&["--allow-rollback", ""]).0, 2);

    let (code, text, lock) = bench.lock(&["--allow-rollback", "the mirror is rebuilt"]);
    assert_eq!(code, 0, "{text}");
    let recorded = format!("warning  rolled back: {line}: the mirror is rebuilt");
    assert!(lock.lines().any(|line| line == recorded), "{lock}");

    bench.publish("Tue, 07 Jan 2020 00:00:00 UTC", &package("base", ""));
    let (code, text, lock) = bench.lock(&[]);
    assert_eq!((code, lock), (0, first), "{text}");
}

#[test]
fn a_wish_that_cannot_be_met_prints_the_tree_of_reasons_and_leaves_no_lock() {
    let bench = Bench::new("reasons");
    let index = package("base", "Depends: tool (>= 2)\n") + &package("tool", "");
    bench.publish("Tue, 07 Jan 2020 00:00:00 UTC", &index);
    let (code, text, lock) = bench.lock(&[]);
    assert_eq!((code, lock.as_str()), (3, ""), "{text}");
    for part in [
        "the packages cannot be locked",
        "no set of packages fits:",
        "`base` is asked for",
        "base 1 needs tool >= 2, but of `tool` there is only 1",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}
