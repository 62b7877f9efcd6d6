//! A host on version 1 of `mini`, the keys that it trusts, and a feed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use judge::{Ran, run, scratch, tool};
use release::{FEEDS, PARTS, Source, label, transfers};
use store::{Digest, Epoch};

/// The partition's UUID in the names of artifacts.
pub(crate) const UUID: &str = "11111111-2222-3333-4444-555555555555";
/// Types as the disk's layout has them, and bytes of a slot, twice each.
pub(crate) const SLOTS: [(&str, &str, usize); 3] = [
    ("usr", "8484680c-9521-48c6-9c11-b0720656f69e", 4 << 20),
    ("usr-verity", "77ff5f63-e7b6-4633-acf4-1565b864c0e6", 1 << 20),
    ("usr-verity-sig", "e7bb33fb-06cf-4e81-8273-e543b413e2e2", 1 << 20),
];
/// Where slot A begins, in bytes.
pub(crate) const FIRST_SLOT: usize = 1 << 20;
/// What slot B holds before an update: of a longer artifact before the next one.
pub(crate) const OLD: u8 = 0x55;
/// Where the keys of the image lie on the bench, and those of the host's owner.
pub(crate) const VENDOR: &str = "systemd";
pub(crate) const OWNER: &str = "etc-systemd";

pub(crate) struct Bench {
    here: PathBuf,
}

impl Bench {
    /// The feed is a folder, and both names of the image's key ring hold our key.
    pub(crate) fn new(name: &str, floor: Option<&str>) -> Self {
        let bench = Self { here: scratch(name) };
        for folder in ["feed/stable", "definitions", VENDOR, OWNER, "esp", "keys"] {
            fs::create_dir_all(bench.at(folder)).unwrap();
        }
        bench.disk();
        fs::write(bench.at("esp/mini_1.efi"), "running").unwrap();
        fs::write(bench.at("os-release"), "ID=x\nIMAGE_ID=mini\nIMAGE_VERSION=1\n").unwrap();
        bench.define(&format!("file://{}", bench.at("feed").display()), floor);
        bench.new_key("ours");
        for name in ["import-pubring.gpg", "import-pubring.pgp"] {
            bench.trust(VENDOR, name, "ours");
        }
        bench.puller();
        bench
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.here.join(name)
    }

    /// Writes the transfer files, the two target paths replaced.
    pub(crate) fn define(&self, feed: &str, floor: Option<&str>) {
        let source = Source { feed, channel: "stable", floor };
        for (path, text) in transfers("mini", "x86-64", &source) {
            let path = self.at("definitions").join(Path::new(&path).file_name().unwrap());
            let auto = format!("Path={}", self.at("disk").display());
            let esp = format!("Path={}\n", self.at("esp").display());
            let text = text.replace("Path=auto", &auto);
            fs::write(path, text.replace("Path=/EFI/Linux\nPathRelativeTo=boot\n", &esp)).unwrap();
        }
    }

    /// Puts the public half of a key where a client may look for it.
    pub(crate) fn trust(&self, folder: &str, name: &str, key: &str) {
        fs::write(self.at(folder).join(name), self.public(key)).unwrap();
    }

    /// Version 1 in slot A, slot B emptied of another one.
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
        let mut bytes = self.disk_bytes();
        let all = SLOTS.iter().map(|(.., size)| size).sum::<usize>();
        bytes[FIRST_SLOT + all..FIRST_SLOT + 2 * all].fill(OLD);
        fs::write(self.at("disk"), bytes).unwrap();
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

    pub(crate) fn new_key(&self, name: &str) {
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
    pub(crate) fn add(&self, id: &str, architecture: &str, version: &str, content: &[u8]) {
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

    /// Adds the empty file that says until when the list holds, in place of one before it.
    pub(crate) fn best_before(&self, expires: Epoch) {
        let feed = self.at("feed/stable");
        for path in store::list(&feed).unwrap() {
            if path.file_name().unwrap().to_str().unwrap().starts_with("BEST-BEFORE-") {
                fs::remove_file(path).unwrap();
            }
        }
        for name in (FEEDS[0].markers)(expires) {
            fs::write(feed.join(name), "").unwrap();
        }
    }

    /// Signs the list of all that is in the feed, under every name.
    pub(crate) fn sign(&self, key: &str, more: &[&str]) {
        let feed = self.at("feed/stable");
        let mut files = BTreeMap::new();
        for path in store::list(&feed).unwrap() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with(FEEDS[0].list) {
                files.insert(name, Digest::of(&fs::read(&path).unwrap()).to_string());
            }
        }
        let list = feed.join(FEEDS[0].list);
        fs::write(&list, (FEEDS[0].text)(&files)).unwrap();
        let first = feed.join(FEEDS[0].signatures[0]);
        let (list, signature) = (list.to_str().unwrap(), first.to_str().unwrap());
        let own = ["--yes", "--local-user", key, "--output", signature, "--detach-sign", list];
        let ran = self.gpg(&[more, &own[..]].concat());
        assert!(ran.ok, "{}", ran.text);
        for name in &FEEDS[0].signatures[1..] {
            fs::copy(&first, feed.join(name)).unwrap();
        }
    }

    pub(crate) fn unsign(&self, name: &str) {
        fs::remove_file(self.at("feed/stable").join(name)).unwrap();
    }

    pub(crate) fn client(&self, verb: &str) -> Ran {
        const SCRIPT: &str = "mount --bind \"$0/systemd\" /usr/lib/systemd\n\
             mount --bind \"$0/etc-systemd\" /etc/systemd\n\
             mount --bind \"$0/os-release\" /usr/lib/os-release\n\
             exec \"$1\" --definitions=\"$0/definitions\" \"$2\"\n";
        let mut command = tool("unshare");
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.args(["--map-root-user", "--mount", "sh", "-euc", SCRIPT]).arg(&self.here);
        run(command.arg(tool("systemd-sysupdate").get_program()).arg(verb))
    }

    /// What the client says of a version, such as `candidate`.
    pub(crate) fn assessment(&self, version: &str) -> Option<String> {
        let ran = self.client("list");
        assert!(ran.ok, "{}", ran.text);
        let line = ran.text.lines().find(|line| line.split_whitespace().nth(1) == Some(version))?;
        line.split_whitespace().last().map(str::to_owned)
    }

    pub(crate) fn disk_bytes(&self) -> Vec<u8> {
        fs::read(self.at("disk")).unwrap()
    }

    /// What sgdisk says of a partition.
    pub(crate) fn partition(&self, number: usize) -> String {
        run(tool("sgdisk").arg(format!("-i{number}")).arg(self.at("disk"))).text
    }
}
