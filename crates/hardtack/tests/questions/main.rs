//! Questions to the command: why something is in an image, what a build would run, what a file is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Kind, archive as deb};
use lock::{ArchiveRequest, Lock, Locked, LockedArchive, Request, Trust};
use package::{Family, Id, Version};
use rootfs::{IMPORT, Import};
use store::{Digest, Epoch, Seed, Store};

#[expect(clippy::disallowed_methods, reason = "the program itself is what is judged")]
fn hardtack(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hardtack"));
    command.args(arguments).env_remove("HARDTACK_MIRROR").env("LC_ALL", "C");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// A profile that asks for `app`, which needs `libx`, which `libx2` provides; `base` is implied.
struct Bench(PathBuf);

const PROFILE: &str = "about: A tiny host.
archives:
  debian:
    source: debian
    path: debian
    keyring: keyring.asc
    suites: [stable]
    components: [main]
packages:
  add: [app]
drop:
  usr/share/doc/**: nobody reads it here
outputs: [raw]
initrd: initrd
";

const INVENTORY: &str = r#"[
{"path":"usr/bin/app","origin":"app","version":"1","kind":"file","digest":"DIGEST","size":3,"mode":"4755","owner":"0","group":"0"},
{"path":"usr/share/factory/etc/app.conf","origin":"app","version":"1","kind":"file","digest":"DIGEST","size":3,"mode":"0640","owner":"0","group":"app"},
{"path":"usr/lib/sysusers","origin":"generator:users","kind":"directory","mode":"0755","owner":"0","group":"0"}
]"#;

impl Bench {
    fn new(name: &str) -> Self {
        let bench = Self(judge::scratch(&format!("questions-{name}")));
        for directory in ["rules/debian", "locks", "output"] {
            fs::create_dir_all(bench.at(directory)).unwrap();
        }
        bench.write("tiny.yaml", PROFILE);
        bench.write("initrd.yaml", "about: An initrd.\npackages:\n  add: [base]\n");
        let keyring =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/keyrings/debian-13.asc");
        fs::copy(keyring, bench.at("keyring.asc")).unwrap();
        bench.write(
            "rules/debian/_distribution.yaml",
            "about: Nothing.\ndrop: [usr/share/man/**]\nmodes:\n  etc/app.conf: {mode: \"0640\", group: app}\n",
        );
        bench.write("rules/debian/gone.yaml", "about: The image has another one.\nassume: true\n");
        bench.lock();
        bench.write("output/x.inventory.json", &INVENTORY.replace("DIGEST", &"0".repeat(64)));
        bench.write("output/result.json", &manifest());
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// The store as the program itself opens it.
    fn store(&self) -> Store {
        let program = fs::read(env!("CARGO_BIN_EXE_hardtack")).unwrap();
        let salt = cfg!(debug_assertions).then(|| Digest::of(&program));
        Store::open(&self.at("store"), salt).unwrap()
    }

    fn lock(&self) {
        let archive = ArchiveRequest {
            name: "debian".to_owned(),
            source: "debian".to_owned(),
            path: "debian".to_owned(),
            url: None,
            keyring: fs::read(self.at("keyring.asc")).unwrap(),
            suites: vec!["stable".to_owned()],
            components: vec!["main".to_owned()],
        };
        let role =
            |role: &str, name: &str| (role.to_owned(), BTreeMap::from([(name.to_owned(), None)]));
        let request = Request {
            id: "tiny".to_owned(),
            architecture: "x86-64".to_owned(),
            archives: vec![archive],
            roles: BTreeMap::from([role("host", "app"), role("initrd", "base")]),
            assume: ["gone".to_owned()].into(),
        };
        let store = self.store();
        let package = |name: &str, fields: &str, parts: &[&str]| {
            let control =
                format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\n{fields}");
            let files = [
                ("./usr/bin/app", 0o755, Kind::text("app")),
                ("./usr/share/doc/app/x", 0o644, Kind::text("doc")),
                ("./usr/share/man/x", 0o644, Kind::text("man")),
            ];
            let files = if name == "app" { &files[..] } else { &[] };
            let bytes = deb(&[("./control", 0o644, Kind::text(&control))], files);
            Locked {
                id: id(name),
                repository: "debian".to_owned(),
                location: format!("pool/{name}.deb"),
                blob: store.put(&bytes).unwrap(),
                source: name.to_owned(),
                source_version: Version("1".to_owned()),
                licence: None,
                built: None,
                trust: Trust::Index,
                signer: "0".repeat(40),
                roles: parts.iter().map(|part| (*part).to_owned()).collect(),
                asked: name == "app",
            }
        };
        let lock = Lock {
            architecture: "x86-64".to_owned(),
            request: request.digest().unwrap(),
            epoch: Epoch(1_763_000_000),
            seed: Seed::of("tiny"),
            warnings: vec![],
            archives: vec![LockedArchive {
                name: "debian".to_owned(),
                source: "debian".to_owned(),
                path: "debian".to_owned(),
                url: None,
                suites: vec![],
            }],
            packages: vec![
                package("app", "Depends: other | libx (>= 2)\n", &["host"]),
                package("base", "", &["host", "initrd"]),
                package("libx2", "Provides: libx (= 2.1)\n", &["host"]),
            ],
        };
        self.write("locks/tiny.lock", &lock.text());
    }

    fn ask(&self, question: &[&str], more: &[&str]) -> (i32, String) {
        let at = |name: &str| self.at(name).display().to_string();
        let (profile, store, locks) = (at("tiny.yaml"), at("store"), at("locks"));
        let own = [profile.as_str(), "--store", &store, "--locks", &locks];
        hardtack(&[question, &own, more].concat())
    }

    fn why(&self, what: &str) -> (i32, String) {
        self.ask(&["why", what], &["--output", &self.at("output").display().to_string()])
    }
}

fn id(name: &str) -> Id {
    Id { name: name.to_owned(), version: Version("1".to_owned()), architecture: "all".to_owned() }
}

fn manifest() -> String {
    let blob = store::Blob::of(b"");
    let artifact = release::Artifact::new("inventory", blob);
    let manifest = release::Manifest {
        format: 1,
        tool: String::new(),
        id: "tiny".to_owned(),
        version: "1".to_owned(),
        architecture: String::new(),
        epoch: String::new(),
        development: true,
        root_hash: String::new(),
        command_line: String::new(),
        esp: String::new(),
        commit: String::new(),
        artifacts: BTreeMap::from([("x.inventory.json".to_owned(), artifact)]),
        packages: BTreeMap::new(),
        unreviewed_scripts: vec![],
        warnings: vec![],
        offer: None,
    };
    manifest.text().unwrap()
}

fn says(found: (i32, String), code: i32, words: &[&str]) {
    let (exit, text) = found;
    assert_eq!(exit, code, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }
}

#[test]
fn a_package_is_traced_to_the_wish_through_what_provides_it() {
    let bench = Bench::new("package");
    let words = [
        "libx2 1 all",
        "asked for by profile `tiny`",
        "needs `other | libx >= 2`, which libx2 1 meets",
        "needed by   app",
    ];
    says(bench.why("libx2"), 0, &words);
    says(bench.why("base"), 0, &["in host", "the distribution implies it", "in initrd", "asked"]);
    says(bench.why("app"), 0, &["2 paths of the host, 2 of them files of 6 bytes"]);
    says(bench.why("gone"), 0, &["is assumed and ships nothing", "another one"]);
    says(bench.why("nothing"), 2, &["no package `nothing`"]);
}

#[test]
fn a_path_is_traced_to_its_package_its_rule_and_the_wish() {
    let bench = Bench::new("path");
    says(bench.why("/usr/bin/app"), 0, &["4755, 0:0, 3 bytes", "package app 1", "asked for"]);
    let words = ["/usr/share/factory/etc/app.conf", "sets mode 0640, group app", "package app 1"];
    says(bench.why("/etc/app.conf"), 0, &words);
    says(bench.why("/usr/lib/sysusers"), 0, &["generator `users`"]);
}

#[test]
fn a_path_that_was_left_out_names_who_ships_it_and_the_rule() {
    let bench = Bench::new("dropped");
    let words = ["is not in the image", "shipped by  app 1", "profile, `usr/share/doc/**`: nobody"];
    says(bench.why("/usr/share/doc/app/x"), 0, &words);
    says(bench.why("/usr/share/man/x"), 0, &["distribution, `usr/share/man/**`"]);
    says(bench.why("/usr/bin/none"), 2, &["no locked package ships it"]);
    fs::remove_file(bench.at("output/result.json")).unwrap();
    says(bench.why("/usr/bin/app"), 2, &["--output"]);
}

#[test]
fn explain_stops_at_the_first_stage_that_would_run_and_writes_nothing() {
    let bench = Bench::new("explain");
    let before = every(&bench.0);
    let words = ["holds every package", "0 kept", "3 would run", "merge, select, generate"];
    says(bench.ask(&["explain"], &[]), 0, &words);
    assert_eq!(every(&bench.0), before);

    let store = bench.store();
    let lock = Lock::parse(&fs::read_to_string(bench.at("locks/tiny.lock")).unwrap()).unwrap();
    for locked in &lock.packages {
        let import = Import { family: Family::Deb, id: locked.id.clone(), blob: locked.blob };
        store.realize(&IMPORT, &import).unwrap();
    }
    says(bench.ask(&["explain"], &[]), 0, &["3 kept", "keys", "new ones are made"]);
    let keys = bench.at("keys").display().to_string();
    says(hardtack(&["keys", "make", &keys]), 0, &[]);
    let before = every(&bench.0);
    let words = ["3 kept", "would run: 3 packages", "not in the last build", "then"];
    says(bench.ask(&["explain"], &["--keys", &keys]), 0, &words);
    assert_eq!(every(&bench.0), before);
}

#[test]
fn a_question_about_an_image_without_a_lock_says_how_to_make_one() {
    let bench = Bench::new("no-lock");
    fs::remove_file(bench.at("locks/tiny.lock")).unwrap();
    says(bench.ask(&["explain"], &[]), 3, &["`hardtack image` makes it", "tiny.lock"]);
    assert!(!bench.at("locks/tiny.lock").exists());
}

#[test]
fn a_file_that_is_no_image_is_refused_and_one_that_is_damaged_is_shown() {
    let bench = Bench::new("inspect");
    bench.write("noise", &"noise ".repeat(1000));
    let at = |name: &str| bench.at(name).display().to_string();
    says(
        hardtack(&["inspect", &at("noise")]),
        8,
        &["what was looked at is not whole", "noise", "known"],
    );
    says(hardtack(&["inspect", &at("nowhere")]), 8, &["open", "nowhere"]);
    let disk = bench.at("disk");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let mut sgdisk = judge::tool("sgdisk");
    let ran = judge::run(sgdisk.args(["--set-alignment=8", "--new=1:40:200"]).arg(&disk));
    assert!(ran.ok, "{}", ran.text);
    says(hardtack(&["inspect", &at("disk")]), 0, &["partition 1: empty", "no problem found"]);
    let (code, json) = hardtack(&["inspect", "--json", &at("disk")]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["disk"]["table"]["partitions"][0]["number"]), (0, &1.into()));
    let mut bytes = fs::read(&disk).unwrap();
    bytes[512 + 60] ^= 1;
    fs::write(&disk, bytes).unwrap();
    let words = ["partition 1: empty", "problems", "from the backup table", "and 1 more"];
    says(hardtack(&["inspect", &at("disk")]), 8, &words);
}

/// Every file below a directory with its size, sorted.
fn every(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for path in store::list(directory).unwrap() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(every(&path));
        }
        found.push((path, if metadata.is_dir() { 0 } else { metadata.len() }));
    }
    found
}
