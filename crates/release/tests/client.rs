//! The stock update client (systemd-sysupdate of the images) reads our transfer files.
//!
//! Its disk is a file and its ESP a directory, so the two target paths are replaced; everything
//! else is as images carry it. A namespace shows it our keyring and os-release in their places.

use std::fs;
use std::path::{Path, PathBuf};

use judge::{Ran, run, scratch, tool};
use release::{PARTS, Place, Source, label, transfers};

const UUID: &str = "11111111-2222-3333-4444-555555555555";
/// Types as the disk's layout has them, and bytes of a slot, twice each.
const SLOTS: [(&str, &str, usize); 3] = [
    ("usr", "8484680c-9521-48c6-9c11-b0720656f69e", 4 << 20),
    ("usr-verity", "77ff5f63-e7b6-4633-acf4-1565b864c0e6", 1 << 20),
    ("usr-verity-sig", "e7bb33fb-06cf-4e81-8273-e543b413e2e2", 1 << 20),
];
const FIRST_SLOT: usize = 1 << 20;

/// A host on version 1 of `mini`, and a feed.
struct Bench {
    here: PathBuf,
}

impl Bench {
    fn new(name: &str, floor: Option<&str>) -> Self {
        let bench = Self { here: scratch(name) };
        for folder in ["feed/stable", "definitions", "systemd", "esp", "keys"] {
            fs::create_dir_all(bench.at(folder)).unwrap();
        }
        bench.disk();
        fs::write(bench.at("esp/mini_1.efi"), "running").unwrap();
        fs::write(bench.at("os-release"), "ID=x\nIMAGE_ID=mini\nIMAGE_VERSION=1\n").unwrap();
        let feed = format!("file://{}", bench.at("feed").display());
        let source = Source { feed: &feed, channel: "stable", floor };
        for (path, text) in transfers("mini", "x86-64", &source) {
            let path = bench.at("definitions").join(Path::new(&path).file_name().unwrap());
            let auto = format!("Path={}", bench.at("disk").display());
            let esp = format!("Path={}\n", bench.at("esp").display());
            let text = text.replace("Path=auto", &auto);
            fs::write(path, text.replace("Path=/EFI/Linux\nPathRelativeTo=boot\n", &esp)).unwrap();
        }
        bench.new_key("ours");
        fs::write(bench.at("systemd/import-pubring.gpg"), bench.public("ours")).unwrap();
        bench.puller();
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.here.join(name)
    }

    /// Version 1 in slot A, slot B empty.
    fn disk(&self) {
        fs::File::create(self.at("disk")).unwrap().set_len(32 << 20).unwrap();
        let mut command = tool("sgdisk");
        let rows = SLOTS.iter().map(|row| (row, "1")).chain(SLOTS.iter().map(|row| (row, "")));
        for (at, ((kind, guid, size), version)) in rows.enumerate() {
            let number = at + 1;
            let label =
                if version.is_empty() { "_empty".into() } else { label(kind, "mini", version) };
            command.args([
                format!("-n{number}:0:+{}K", size >> 10),
                format!("-t{number}:{guid}"),
                format!("-c{number}:{label}"),
            ]);
        }
        let ran = run(command.arg(self.at("disk")));
        assert!(ran.ok, "{}", ran.text);
    }

    /// Puts the client's downloader where the client starts it.
    fn puller(&self) {
        let client = PathBuf::from(tool("systemd-sysupdate").get_program());
        let bin = client.parent().unwrap();
        let text =
            fs::read_to_string(&client).unwrap().replace("systemd-sysupdate", "systemd-pull");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let place = lines.iter_mut().find(|line| line.starts_with("bin=")).unwrap();
        *place = format!("bin='{}'", bin.display());
        fs::write(self.at("systemd/systemd-pull"), lines.join("\n") + "\n").unwrap();
        let ran = run(tool("chmod").arg("0755").arg(self.at("systemd/systemd-pull")));
        assert!(ran.ok, "{}", ran.text);
    }

    fn gpg(&self, arguments: &[&str]) -> Ran {
        let mut command = tool("gpg");
        command.arg("--homedir").arg(self.at("keys")).args(["--batch", "--quiet"]);
        run(command.args(["--passphrase", ""]).args(arguments))
    }

    fn new_key(&self, name: &str) {
        let mode = run(tool("chmod").arg("0700").arg(self.at("keys")));
        assert!(mode.ok, "{}", mode.text);
        let made = ["--faked-system-time", "20200101T000000", "--quick-gen-key", name];
        let ran = self.gpg(&[&made[..], &["ed25519", "sign", "never"]].concat());
        assert!(ran.ok, "{}", ran.text);
    }

    fn public(&self, name: &str) -> Vec<u8> {
        let out = self.at("public");
        let ran = self.gpg(&["--yes", "--output", out.to_str().unwrap(), "--export", name]);
        assert!(ran.ok, "{}", ran.text);
        fs::read(out).unwrap()
    }

    /// Adds a version of some product and machine to the feed; `content` fills every part.
    fn add(&self, id: &str, architecture: &str, version: &str, content: &[u8]) {
        for part in PARTS {
            let name = part.file(id, architecture, version, UUID);
            let path = self.at("feed/stable").join(&name);
            fs::write(&path, content).unwrap();
            if part.compressed {
                let plain = path.with_extension("");
                fs::rename(&path, &plain).unwrap();
                assert!(run(tool("gzip").arg("-n").arg(&plain)).ok);
            }
        }
    }

    /// Signs the list of all that is in the feed.
    fn sign(&self, key: &str, more: &[&str]) {
        let feed = self.at("feed/stable");
        let (list, signature) = (feed.join("SHA256SUMS"), feed.join("SHA256SUMS.gpg"));
        let ran = run(tool("sh").current_dir(&feed).args(["-c", "sha256sum -b *_* > SHA256SUMS"]));
        assert!(ran.ok, "{}", ran.text);
        let (list, signature) = (list.to_str().unwrap(), signature.to_str().unwrap());
        let own = ["--yes", "--local-user", key, "--output", signature, "--detach-sign", list];
        let ran = self.gpg(&[more, &own[..]].concat());
        assert!(ran.ok, "{}", ran.text);
    }

    fn client(&self, verb: &str) -> Ran {
        const SCRIPT: &str = "mount --bind \"$0/systemd\" /usr/lib/systemd\n\
             mount --bind \"$0/os-release\" /usr/lib/os-release\n\
             exec \"$1\" --definitions=\"$0/definitions\" \"$2\"\n";
        let mut command = tool("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-euc", SCRIPT]).arg(&self.here);
        run(command.arg(tool("systemd-sysupdate").get_program()).arg(verb))
    }

    /// What the client says of a version, such as `candidate`.
    fn assessment(&self, version: &str) -> Option<String> {
        let ran = self.client("list");
        assert!(ran.ok, "{}", ran.text);
        let line = ran.text.lines().find(|line| line.split_whitespace().nth(1) == Some(version))?;
        line.split_whitespace().last().map(str::to_owned)
    }

    fn disk_bytes(&self) -> Vec<u8> {
        fs::read(self.at("disk")).unwrap()
    }
}

#[test]
fn the_client_finds_a_version_and_installs_every_part_where_the_disk_expects_it() {
    let bench = Bench::new("client", Some("1"));
    let content = b"of version 2 ".repeat(4000);
    bench.add("mini", "x86-64", "2", &content);
    bench.sign("ours", &[]);
    assert_eq!(bench.assessment("1").as_deref(), Some("current"));
    assert_eq!(bench.assessment("2").as_deref(), Some("candidate"));

    let ran = bench.client("update");
    assert!(ran.ok, "{}", ran.text);
    assert_eq!(bench.assessment("2").as_deref(), Some("current"), "{}", ran.text);
    // Newer than what runs, so that what runs is only kept because a transfer file says so.
    assert_eq!(bench.assessment("1").as_deref(), Some("protected"));

    let disk = bench.disk_bytes();
    let mut slot = FIRST_SLOT + SLOTS.iter().map(|(.., size)| size).sum::<usize>();
    for (at, (kind, _, size)) in SLOTS.iter().enumerate() {
        assert!(disk[slot..].starts_with(&content), "{kind} is not unpacked");
        slot += size;
        let number = format!("-i{}", SLOTS.len() + at + 1);
        let row = run(tool("sgdisk").arg(number).arg(bench.at("disk"))).text;
        let wants = [UUID, "flags: 1000000000000000", &format!("'{}'", label(kind, "mini", "2"))];
        assert!(wants.iter().all(|want| row.contains(want)), "{kind}: {row}");
    }
    assert_eq!(fs::read(bench.at("esp/mini_2+1-0.efi")).unwrap(), content);
    assert_eq!(fs::read(bench.at("esp/mini_1.efi")).unwrap(), b"running");
    assert!(PARTS.iter().any(|part| part.place == Place::Esp));
}

#[test]
fn a_list_that_its_keys_owner_did_not_sign_writes_nothing() {
    let bench = Bench::new("refused", None);
    bench.new_key("another");
    bench.add("mini", "x86-64", "2", &b"x".repeat(40_000));
    let before = bench.disk_bytes();
    let refused = |what: &str, says: &str| {
        let ran = bench.client("update");
        assert!(!ran.ok && ran.text.contains(says), "{what}: {}", ran.text);
        assert_eq!(bench.disk_bytes(), before, "{what}");
        assert_eq!(store::list(&bench.at("esp")).unwrap().len(), 1, "{what}");
    };
    let list = bench.at("feed/stable/SHA256SUMS");
    bench.sign("another", &[]);
    refused("unknown key", "No public key");
    bench.sign("ours", &["--faked-system-time", "20200102T000000", "--default-sig-expire", "1d"]);
    refused("expired", "Expired signature");
    bench.sign("ours", &[]);
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replacen('0', "1", 1)).unwrap();
    refused("changed", "BAD signature");
    fs::remove_file(bench.at("feed/stable/SHA256SUMS.gpg")).unwrap();
    refused("unsigned", "Failed to retrieve signature file");
    bench.sign("ours", &[]);
    let ran = bench.client("update");
    assert!(ran.ok && bench.disk_bytes() != before, "{}", ran.text);
}

#[test]
fn what_is_of_another_product_or_machine_older_or_below_the_floor_is_never_chosen() {
    let bench = Bench::new("chosen", Some("3"));
    for (id, architecture, version) in
        [("maxi", "x86-64", "9"), ("mini", "arm64", "8"), ("mini", "x86-64", "2")]
    {
        bench.add(id, architecture, version, &b"x".repeat(40_000));
    }
    bench.add("mini", "x86-64", "0.9", &b"x".repeat(40_000));
    bench.sign("ours", &[]);
    let before = bench.disk_bytes();
    assert_eq!((bench.assessment("9"), bench.assessment("8")), (None, None));
    assert_eq!(bench.assessment("2").as_deref(), Some("available+obsolete"));
    assert_eq!(bench.assessment("0.9").as_deref(), Some("available+obsolete"));
    assert!(bench.client("update").ok && bench.disk_bytes() == before);
    bench.add("mini", "x86-64", "3", &b"x".repeat(40_000));
    bench.sign("ours", &[]);
    assert_eq!(bench.assessment("3").as_deref(), Some("candidate"));
}

#[test]
fn the_client_takes_every_letter_of_a_version_but_ends_it_at_an_underscore() {
    let bench = Bench::new("letters", None);
    bench.add("mini", "x86-64", "2-rc1,a.B", &b"x".repeat(40_000));
    // This is why a profile's version has none: it would never be offered, and nothing said.
    bench.add("mini", "x86-64", "3_1", &b"x".repeat(40_000));
    bench.sign("ours", &[]);
    assert_eq!(bench.assessment("2-rc1,a.B").as_deref(), Some("candidate"));
    assert_eq!((bench.assessment("3_1"), bench.assessment("3")), (None, None));
}
