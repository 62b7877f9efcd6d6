//! A host made of `fixture`'s packages: profile, rules, keys, and the program that bakes it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fixture::{Package, Repository};
use sign::{Directory, Form, Request, Role, Signer as _};
use store::{Digest, Epoch};

/// When the states of the archive are from.
pub(crate) const THEN: &str = "Sun, 01 Mar 2026 00:00:00 UTC";
pub(crate) const LATER: &str = "Mon, 02 Mar 2026 00:00:00 UTC";
/// 2026-03-01T00:00:00Z.
const SIGNED: Epoch = Epoch(1_772_323_200);

const PROFILE: &str = "about: A host of packages that a test made.
archives:
  made:
    source: debian
    path: made
    keyring: keyring.pgp
    suites: [stable]
    components: [main]
packages:
  add: [linux, loader, tool]
files: [host.d]
layout:
  name: dps-ab
  esp: 64 MiB
  usr: 4 MiB
  verity: 1 MiB
  signature: 1 MiB
  root: 10 MiB
outputs: [raw]
initrd: initrd
";

const INITRD: &str = "about: Its initrd.
packages:
  add: [base]
keep: [usr/bin/init, usr/bin/sh, usr/lib/os-release]
";

const DISTRIBUTION: &str = "about: No distribution.
aliases:
  bin: usr/bin
drop: [usr/share/doc/**]
";

/// A directory with all that a build needs, and a repository.
pub(crate) struct Bench {
    pub(crate) directory: PathBuf,
    pub(crate) repository: Repository,
}

impl Bench {
    /// With the archive's first state.
    pub(crate) fn new(name: &str) -> Self {
        let bench = Self::at(judge::scratch(&format!("bench-{name}")));
        bench.publish(THEN, &fixture::old());
        bench
    }

    /// In an empty directory, with an empty archive.
    pub(crate) fn at(directory: PathBuf) -> Self {
        let at = |name: &str| directory.join(name);
        for folder in ["rules/debian", "host.d/usr/lib", "keys"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for (name, text) in [
            ("host.yaml", PROFILE),
            ("initrd.yaml", INITRD),
            ("rules/debian/_distribution.yaml", DISTRIBUTION),
            ("host.d/usr/lib/own", "the profile's own\n"),
        ] {
            fs::write(at(name), text).unwrap();
        }
        // Keys of tests, known to everybody, so that signatures and goldens stay the same.
        for file in store::list(&keys()).unwrap() {
            fs::copy(&file, at("keys").join(file.file_name().unwrap())).unwrap();
        }
        fs::copy(keys().join("release.pub.pgp"), at("keyring.pgp")).unwrap();
        Self { directory, repository: Repository::serve() }
    }

    pub(crate) fn publish(&self, date: &str, packages: &[Package]) {
        let keys = Directory::open(&keys()).unwrap();
        let sign = |bytes: &[u8]| {
            let form = Form::OpenPgp { bytes: bytes.to_vec(), created: SIGNED, expires: None };
            let request = Request { name: "archive".to_owned(), role: Role::Release, form };
            keys.sign(&[request]).unwrap().remove(0).0
        };
        self.repository.publish(date, packages, &sign);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// `hardtack image` on the profile, started by `before` (a program and its arguments, which
    /// run the program named behind them).
    pub(crate) fn command(&self, before: &[&OsStr]) -> Command {
        let program = OsStr::new(env!("CARGO_BIN_EXE_hardtack"));
        let Some((first, rest)) = before.split_first() else {
            return self.with_arguments(start(program), &self.path("output"));
        };
        let mut command = start(first);
        command.args(rest).arg(program);
        self.with_arguments(command, &self.path("output"))
    }

    /// Adds the arguments of `hardtack image`.
    pub(crate) fn with_arguments(&self, mut command: Command, output: &Path) -> Command {
        command.arg("image").arg(self.path("host.yaml"));
        command.args(["--mirror", &self.repository.mirror()]).arg("--output").arg(output);
        for name in ["store", "keys", "locks"] {
            command.arg(format!("--{name}")).arg(self.path(name));
        }
        command
    }

    /// Builds, with more arguments.
    pub(crate) fn build(&self, more: &[&str]) -> Ran {
        Ran::of(self.command(&[]).args(more).output().unwrap())
    }

    /// Builds well.
    pub(crate) fn good(&self, more: &[&str]) -> Ran {
        let ran = self.build(more);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        ran
    }

    /// `hardtack store verify` finds nothing.
    pub(crate) fn sound(&self) {
        let ran = self.store(&["verify"]);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
    }

    pub(crate) fn store(&self, words: &[&str]) -> Ran {
        let mut command = start(OsStr::new(env!("CARGO_BIN_EXE_hardtack")));
        Ran::of(
            command
                .arg("store")
                .args(words)
                .arg("--store")
                .arg(self.path("store"))
                .output()
                .unwrap(),
        )
    }

    /// Every artifact by name.
    pub(crate) fn artifacts(&self) -> BTreeMap<String, Digest> {
        let visible = |path: &PathBuf| !name(path).starts_with('.');
        let files = store::list(&self.path("output")).unwrap().into_iter().filter(visible);
        files.map(|path| (name(&path), Digest::of(&fs::read(&path).unwrap()))).collect()
    }
}

/// A command without what the machine's environment would tell it.
pub(crate) fn start(program: &OsStr) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the program itself is what is judged")]
    let mut command = Command::new(program);
    command.env_remove("HARDTACK_MIRROR").env("LC_ALL", "C");
    command
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whole/keys")
}

/// How a program ended and what it said.
pub(crate) struct Ran {
    /// Nothing when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = [output.stdout, output.stderr].concat();
        Self { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Stage, how often it ran, how often its result was kept.
    pub(crate) fn stages(&self) -> BTreeMap<String, [u32; 2]> {
        let rows = self.text.lines().skip_while(|line| *line != "stages").skip(1);
        let rows = rows.map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.map_while(|words| match words[..] {
            [stage, ran, "ran", kept, "kept", ..] => {
                Some((stage.to_owned(), [ran.parse().unwrap(), kept.parse().unwrap()]))
            }
            _ => None,
        })
        .collect()
    }
}
