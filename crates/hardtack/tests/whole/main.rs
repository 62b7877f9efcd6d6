//! The whole pipeline on a host of packages that the test makes: known bytes, and how much of it
//! runs again when little changes.
//!
//! Then what a machine does to a build: damage in the store, full and failing disks, kills, other
//! builds, odd clocks and environments. After each, the store is sound and the next build makes
//! the known bytes. These tests are named after the fault (S1 to S12).

mod bench;
mod damage;
mod diff;
mod feed;
mod fit;
mod floor;
mod kill;
mod place;
mod publish;
mod refuse;
mod states;
mod verify;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use bench::{Bench, Ran};

/// Name and digest of every artifact of `fixture::old()`, one line each.
const GOLDEN: &str = include_str!("../golden/whole.txt");

/// Exit code of a machine that does not take what a build makes; see `docs/exit-codes.md`.
const OUTPUT: i32 = 7;

impl Bench {
    /// The artifacts are the known ones.
    fn golden(&self) {
        let found: String =
            self.artifacts().iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
        assert!(found == GOLDEN, "the artifacts are\n{found}");
    }

    /// Whatever happened before: a build goes well, its bytes are right, and the store is sound.
    fn converges(&self) {
        self.good(&[]);
        self.golden();
        self.sound();
        let left = store::list(&self.path("store/temporary")).unwrap();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Stock `ostree` finds every object of the pool, and each release whole.
    fn pool_is_whole(&self) {
        let mut fsck = judge::tool("ostree");
        fsck.arg(format!("--repo={}", self.path("store/pool/repo").display())).arg("fsck");
        let ran = judge::run(&mut fsck);
        assert!(ran.ok, "{}", ran.text);
    }

    /// No artifact stands under its final name unless it is whole.
    fn nothing_half(&self) {
        if !self.path("output").exists() {
            return;
        }
        for (name, digest) in self.artifacts() {
            let line = format!("{name} {digest}");
            assert!(GOLDEN.lines().any(|golden| golden == line), "half-written: {line}");
        }
    }

    /// A build under `strace`, which does `fault` (its syntax) to `calls`.
    fn injected(&self, calls: &str, fault: &str) -> Ran {
        let strace = judge::tool("strace").get_program().to_owned();
        let log = self.path("strace.log");
        let trace = OsString::from(format!("trace={calls}"));
        let inject = OsString::from(format!("inject={calls}:{fault}"));
        let mut words: Vec<&OsStr> = vec![&strace];
        // Other calls then run at full speed; but no signal is sent that way.
        if !fault.starts_with("signal=") {
            words.push("--seccomp-bpf".as_ref());
        }
        words.extend(["-f", "-qq", "-o"].map(OsStr::new));
        words.extend([log.as_os_str(), "-e".as_ref(), &trace, "-e".as_ref(), &inject]);
        Ran::of(self.command(&words).output().unwrap())
    }

    /// How often the dynamic linker calls `read` before the program begins, and some more.
    fn reads_of_the_linker(&self) -> usize {
        let log = self.path("linker.log");
        let mut strace = judge::tool("strace");
        strace.args(["-f", "-qq", "-e", "trace=read", "-o"]).arg(&log);
        judge::run(strace.arg(env!("CARGO_BIN_EXE_hardtack")).arg("--version"));
        std::fs::read_to_string(log).unwrap().lines().count() + 2
    }

    /// A build by a shell that first does `before`; in a namespace of its own, where it may mount.
    fn mounted(&self, before: &str) -> Ran {
        let root = judge::run(judge::tool("id").arg("-u")).text.trim() == "0";
        let unshare = judge::tool("unshare").get_program().to_owned();
        let kind: &OsStr = if root { "-m" } else { "-rm" }.as_ref();
        self.shell(&[&unshare, kind], before)
    }

    /// A build by a shell that first does `before`.
    fn shell(&self, outside: &[&OsStr], before: &str) -> Ran {
        let script = OsString::from(format!("set -e\n{before}\nexec \"$@\""));
        let shell: [&OsStr; 4] = ["sh".as_ref(), "-c".as_ref(), &script, "sh".as_ref()];
        let words: Vec<&OsStr> = outside.iter().copied().chain(shell).collect();
        let mut command = self.command(&words);
        Ran::of(command.env("BENCH", &self.directory).output().unwrap())
    }
}

/// Every file below `top`, sorted.
fn files(top: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in store::list(&folder).unwrap() {
            let kind = std::fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The run refused in the words and with the code of a machine that does not take it.
fn refused_by_the_machine(ran: &Ran, word: &str) {
    assert_eq!(ran.code, Some(OUTPUT), "{}", ran.text);
    assert!(ran.text.contains(word), "`{word}` is not in {}", ran.text);
}
