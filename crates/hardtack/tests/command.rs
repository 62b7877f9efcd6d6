//! The command as people and scripts meet it: its help, its exit codes, its messages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::Kind;
use lock::{ArchiveRequest, Lock, Locked, LockedArchive, Request, Trust};
use package::{Id, Version};
use store::{Blob, Epoch, Seed};

/// The help of the program and of every verb below it.
const HELP: &str = include_str!("golden/help.txt");

#[expect(clippy::disallowed_methods, reason = "the program itself is what is judged")]
fn hardtack(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hardtack"));
    command.args(arguments).env_remove("HARDTACK_MIRROR").env("LC_ALL", "C");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn the_help_of_every_verb_is_known() {
    let mut found = String::new();
    let mut verbs = vec![String::new()];
    while let Some(verb) = verbs.pop() {
        let mut words: Vec<&str> = verb.split_whitespace().collect();
        words.push("--help");
        let (code, text) = hardtack(&words);
        assert_eq!(code, 0, "{words:?}");
        found += &format!("$ hardtack {}\n{text}\n", words.join(" "));
        let below = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names: Vec<&str> = below
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .collect();
        verbs.extend(names.iter().rev().map(|name| format!("{verb} {name}")));
    }
    assert!(found == HELP, "the help is now\n{found}");
}

/// A small profile with everything that a build reads before it needs a network.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str) -> Self {
        let bench = Self(judge::scratch(&format!("command-{name}")));
        fs::create_dir_all(bench.at("rules/debian")).unwrap();
        fs::create_dir_all(bench.at("locks")).unwrap();
        bench.write("tiny.yaml", PROFILE);
        bench.write("initrd.yaml", "about: An initrd.\npackages:\n  add: [base]\n");
        let keyring =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/keyrings/debian-13.asc");
        fs::copy(keyring, bench.at("keyring.asc")).unwrap();
        bench.write("rules/debian/_distribution.yaml", "about: Nothing.\n");
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// What the profile asks for.
    fn request(&self) -> Request {
        let archive = ArchiveRequest {
            name: "debian".to_owned(),
            source: "debian".to_owned(),
            path: "debian".to_owned(),
            url: None,
            keyring: fs::read(self.at("keyring.asc")).unwrap(),
            suites: vec!["stable".to_owned()],
            components: vec!["main".to_owned()],
        };
        let base = BTreeMap::from([("base".to_owned(), None)]);
        Request {
            id: "tiny".to_owned(),
            architecture: "x86-64".to_owned(),
            archives: vec![archive],
            roles: ["host", "initrd"].map(|role| (role.to_owned(), base.clone())).into(),
            assume: Default::default(),
        }
    }

    /// Leaves a lock of `request` that names `package`, where builds look for it.
    fn lock(&self, request: &Request, package: Blob) {
        let locked = Locked {
            id: Id {
                name: "base".to_owned(),
                version: Version("1".to_owned()),
                architecture: "all".to_owned(),
            },
            repository: "debian".to_owned(),
            location: "pool/base_1_all.deb".to_owned(),
            blob: package,
            source: "base".to_owned(),
            source_version: Version("1".to_owned()),
            licence: None,
            built: None,
            trust: Trust::Index,
            signer: "0".repeat(40),
            roles: vec!["host".to_owned(), "initrd".to_owned()],
            asked: true,
        };
        let archive = LockedArchive {
            name: "debian".to_owned(),
            source: "debian".to_owned(),
            path: "debian".to_owned(),
            url: None,
            suites: vec![],
        };
        let lock = Lock {
            architecture: "x86-64".to_owned(),
            request: request.digest().unwrap(),
            epoch: Epoch(1_763_000_000),
            seed: Seed::of("tiny"),
            warnings: vec![],
            archives: vec![archive],
            packages: vec![locked],
        };
        self.write("locks/tiny.lock", &lock.text());
    }

    /// `hardtack image` on the profile, its directories below the bench, with `more`; the mirror
    /// is a port on which nobody listens.
    fn image(&self, more: &[&str]) -> (i32, String) {
        let at = |name: &str| self.at(name).display().to_string();
        let mut arguments = vec!["image".to_owned(), at("tiny.yaml")];
        arguments.extend(["--mirror".to_owned(), "http://127.0.0.1:1/debian".to_owned()]);
        for name in ["store", "keys", "locks", "output"] {
            let option = format!("--{name}");
            if !more.contains(&option.as_str()) {
                arguments.extend([option, at(name)]);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        hardtack(&[&arguments, more].concat())
    }
}

const PROFILE: &str = "about: A tiny host.
archives:
  debian:
    source: debian
    path: debian
    keyring: keyring.asc
    suites: [stable]
    components: [main]
packages:
  add: [base]
outputs: [raw]
initrd: initrd
";

fn assert_refused(found: (i32, String), code: i32, words: &[&str]) {
    let (exit, text) = found;
    assert_eq!(exit, code, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
}

#[test]
fn a_profile_that_is_not_there_is_named() {
    let words = ["the profile cannot be used", "`nowhere/mini.yaml`"];
    assert_refused(hardtack(&["image", "nowhere/mini.yaml"]), 2, &words);
}

#[test]
fn an_option_that_is_not_known_is_named() {
    assert_refused(hardtack(&["image", "mini.yaml", "--updaet"]), 2, &["--updaet", "--update"]);
}

#[test]
fn a_misspelt_key_is_shown_where_it_stands() {
    let bench = Bench::new("key");
    bench.write("tiny.yaml", &PROFILE.replace("packages:", "pakages:"));
    let place = format!("{}:9:1: unknown key `pakages`", bench.at("tiny.yaml").display());
    assert_refused(bench.image(&[]), 2, &[&place, "did you mean `packages`?"]);
}

#[test]
fn a_misspelt_key_of_a_rule_is_shown_where_it_stands() {
    let bench = Bench::new("rule");
    bench.write("rules/debian/base.yaml", "about: x\nmodse: {}\n");
    let place = format!("{}:2:1: ", bench.at("rules/debian/base.yaml").display());
    assert_refused(bench.image(&[]), 2, &[&place, "`modse`"]);
}

#[test]
fn a_lock_of_another_wish_is_refused_where_locks_are_fixed() {
    let bench = Bench::new("wish");
    let mut other = bench.request();
    other.roles.clear();
    bench.lock(&other, Blob::of(b"x"));
    let words = ["the packages cannot be locked", "tiny.lock", "another wish", "hardtack lock"];
    assert_refused(bench.image(&["--locked"]), 3, &words);
}

#[test]
fn a_missing_lock_is_refused_where_locks_are_fixed() {
    assert_refused(Bench::new("no-lock").image(&["--locked"]), 3, &["tiny.lock"]);
}

#[test]
fn a_lock_that_cannot_be_read_is_not_written_over() {
    let bench = Bench::new("torn-lock");
    for torn in ["", "lock  1\npackage  base", "\u{0}"] {
        bench.write("locks/tiny.lock", torn);
        let words = ["the packages cannot be locked", "tiny.lock", "bring it back, or remove it"];
        assert_refused(bench.image(&["--update"]), 3, &words);
        bench.write("tiny.lock", torn);
        let profile = bench.at("tiny.yaml").display().to_string();
        assert_refused(hardtack(&["lock", &profile]), 3, &words);
        for name in ["locks/tiny.lock", "tiny.lock"] {
            assert_eq!(fs::read_to_string(bench.at(name)).unwrap(), torn);
        }
        fs::remove_file(bench.at("tiny.lock")).unwrap();
    }
}

#[test]
fn a_mirror_that_does_not_answer_makes_no_lock() {
    let bench = Bench::new("no-mirror");
    assert_refused(bench.image(&[]), 3, &["the packages cannot be locked", "127.0.0.1:1"]);
    assert!(!bench.at("locks/tiny.lock").exists());
}

#[test]
fn a_keyring_without_a_key_makes_no_lock() {
    let bench = Bench::new("no-key");
    bench.write("keyring.asc", "no key");
    assert_refused(bench.image(&[]), 3, &["keyring of archive `debian`", "holds no key"]);
}

#[test]
fn a_package_that_cannot_be_fetched_is_named_with_its_place() {
    let bench = Bench::new("no-package");
    bench.lock(&bench.request(), Blob::of(b"x"));
    let words = ["the packages cannot be fetched", "`base 1`", "pool/base_1_all.deb"];
    assert_refused(bench.image(&["--locked"]), 4, &words);
    assert!(!bench.at("output/result.json").exists());
}

#[test]
fn a_package_that_is_none_is_named_with_the_stage() {
    let bench = Bench::new("no-archive");
    let store = store::Store::open(&bench.at("store"), None).unwrap();
    bench.lock(&bench.request(), store.put(b"not an archive").unwrap());
    let words = ["the image cannot be built", "stage `import` of base 1", "`base`"];
    assert_refused(bench.image(&["--locked"]), 5, &words);
    assert!(!bench.at("output/result.json").exists());
}

#[test]
fn keys_that_are_none_are_named_and_not_replaced() {
    let bench = Bench::new("keys");
    bench.lock(&bench.request(), Blob::of(b"x"));
    fs::create_dir(bench.at("keys")).unwrap();
    bench.write("keys/db.key", "garbage");
    bench.write("keys/db.crt", "garbage");
    let words = ["the image cannot be signed", "the db key", "keys"];
    assert_refused(bench.image(&["--locked"]), 6, &words);
    assert_eq!(fs::read_to_string(bench.at("keys/db.key")).unwrap(), "garbage");
    bench.write("keys/db.key", "");
    fs::remove_file(bench.at("keys/db.crt")).unwrap();
    assert_refused(bench.image(&["--locked"]), 6, &["there are no keys"]);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let bench = Bench::new("output");
    bench.lock(&bench.request(), Blob::of(b"x"));
    bench.write("file", "");
    let below = bench.at("file/below").display().to_string();
    for option in ["--output", "--store"] {
        let words = ["the image cannot be written", below.as_str()];
        assert_refused(bench.image(&["--locked", option, &below]), 7, &words);
    }
}

#[test]
fn a_store_that_is_not_there_is_named_and_not_made() {
    let place = Bench::new("no-store").at("elsewhere");
    let named = place.display().to_string();
    for verb in ["verify", "gc"] {
        let words = ["there is no store", named.as_str()];
        assert_refused(hardtack(&["store", verb, "--store", &named]), 7, &words);
    }
    assert!(!place.exists());
}

#[test]
fn the_documented_exit_codes_are_those_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exit-codes.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let documented: Vec<u8> = rows.filter_map(|word| word.parse().ok()).collect();
    let mut known = vec![0, 1];
    known.extend(hardtack::fault::Fault::ALL.iter().map(|fault| fault.code()));
    assert_eq!(documented, known);
}

/// A script with one line that nothing but a person can judge.
const SCRIPT: &str =
    "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n  frobnicate --base\nfi\n";

impl Bench {
    /// A lock of one package with `SCRIPT`, whose bytes are in the store.
    fn with_script(name: &str) -> Self {
        let bench = Self::new(name);
        let control = "Package: base\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\n\
                       Description: test\n";
        let archive = fixture::archive(
            &[("./control", 0o644, Kind::text(control)), ("./postinst", 0o755, Kind::text(SCRIPT))],
            &[("./usr/", 0o755, Kind::Directory)],
        );
        let store = store::Store::open(&bench.at("store"), None).unwrap();
        bench.lock(&bench.request(), store.put(&archive).unwrap());
        bench
    }
}

/// The line of a message that says how a profile acknowledges a script.
fn acknowledging(message: &str) -> &str {
    let lines = message.lines().map(str::trim);
    lines.skip_while(|line| *line != "scripts:").nth(1).expect("a line below `scripts:`")
}

#[test]
fn a_script_that_nobody_has_read_stops_the_build_and_is_told_in_words() {
    let bench = Bench::with_script("script");
    let words = [
        "the image cannot be built",
        "unreviewed: base after-unpack ",
        "- runs `frobnicate --base`",
        "no rule reviews a similar script",
        "hardtack rules new --profile PROFILE base",
    ];
    assert_refused(bench.image(&["--locked"]), 5, &words);
    assert!(!bench.at("output/result.json").exists());
}

#[test]
fn a_draft_of_a_rule_covers_its_script_once_the_reason_is_filled_in() {
    let bench = Bench::with_script("draft");
    let at = |name: &str| bench.at(name).display().to_string();
    let (profile, store, locks) = (at("tiny.yaml"), at("store"), at("locks"));
    let new = ["rules", "new", "base", "--profile", &profile, "--store", &store, "--locks", &locks];
    let (code, printed) = hardtack(&new);
    assert_eq!(code, 0, "{printed}");
    for part in ["#   - runs `frobnicate --base`", "#   |   frobnicate --base", "moment: after-un"]
    {
        assert!(printed.contains(part), "`{part}` is not in\n{printed}");
    }
    let rule = at("rules/debian/base.yaml");
    let (code, text) = hardtack(&[&new[..], &["--output", &rule]].concat());
    assert_eq!((code, fs::read_to_string(&rule).unwrap()), (0, printed.clone()), "{text}");
    // A draft is no rule.
    assert_refused(bench.image(&["--locked"]), 2, &["`base`", "without saying why"]);
    assert_refused(hardtack(&[&new[..], &["--output", &rule]].concat()), 7, &["base.yaml"]);
    bench
        .write("rules/debian/base.yaml", &printed.replace("why: \"\"", "why: nothing frobnicates"));
    assert_refused(bench.image(&["--locked"]), 5, &["exactly one kernel"]);
}

#[test]
fn a_script_that_is_only_warned_of_or_acknowledged_stops_nothing() {
    let bench = Bench::with_script("script-known");
    // What stops the build then is that this image has no kernel.
    let further = "exactly one kernel";
    let message = bench.image(&["--locked"]).1;
    let warned = bench.image(&["--locked", "--unreviewed-scripts", "warn"]);
    assert_refused(warned, 5, &[further]);
    let line = acknowledging(&message).replace("REASON", "nothing here frobnicates");
    bench.write("tiny.yaml", &format!("{PROFILE}scripts:\n  {line}\n"));
    assert_refused(bench.image(&["--locked"]), 5, &[further]);
    let line = line.replace(": ", ": 0");
    bench.write("tiny.yaml", &format!("{PROFILE}scripts:\n  {line}\n"));
    assert_refused(bench.image(&["--locked"]), 2, &["scripts"]);
}
