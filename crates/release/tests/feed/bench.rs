//! Channels made by other people's programs: veritysetup, ukify, sbsign, openssl, gzip, gpg.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fetch::{Keyring, Machine};
use judge::{run, tool};
use release::{
    CHANNEL_MANIFEST, CHANNEL_SIGNATURE, Channel, FEEDS, Origin, PARTS, PartFile, Slots, Trust,
    Verified, Version, verify,
};
use store::{Digest, Epoch};

/// When the keys of these tests were made, when lists are signed, and when they are read.
const MADE: u64 = 1_690_000_000;
pub(crate) const SIGNED: Epoch = Epoch(1_700_001_000);
const DAYS: u64 = 30;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const NOW: Epoch = Epoch(SIGNED.0 + DAY);
/// When what was signed at [`SIGNED`] ends.
pub(crate) const END: Epoch = Epoch(SIGNED.0 + DAYS * DAY);

pub(crate) const SLOTS: Slots =
    Slots { esp: 1 << 20, usr: 1 << 20, verity: 1 << 16, signature: 1 << 14 };

/// Keys, and a folder to work in.
pub(crate) struct Bench {
    folder: PathBuf,
    trust: OnceCell<Trust>,
}

/// What is going to be a channel's directory.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) channel: Channel,
    /// Files of its versions.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Names that are listed although the manifest does not know them.
    pub(crate) more: Vec<String>,
}

/// Who signs.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Ours,
    Foreign,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Foreign => "foreign",
        }
    }
}

impl Bench {
    pub(crate) fn new(name: &str) -> Self {
        let folder = judge::scratch(&format!("feed-{name}"));
        let bench = Self { folder, trust: OnceCell::new() };
        // gpg wants a home of its owner's alone.
        run(tool("chmod").arg("700").arg(&bench.folder));
        for key in [Key::Ours, Key::Foreign] {
            let name = key.name();
            bench.gpg(MADE, &["--quick-generate-key", name, "ed25519", "sign", "never"]);
            let subject = format!("/CN={name}");
            let mut openssl = tool("openssl");
            openssl.args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes"]);
            openssl.args(["-subj", &subject, "-days", "9", "-keyout"]).arg(bench.at(name));
            good(openssl.arg("-out").arg(bench.at(&format!("{name}.crt"))));
        }
        bench
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn gpg(&self, at: u64, arguments: &[&str]) -> String {
        let mut gpg = tool("gpg");
        gpg.arg("--homedir").arg(&self.folder).args(["--batch", "--yes", "--passphrase", ""]);
        gpg.args(["--pinentry-mode", "loopback", "--faked-system-time", &format!("{at}!")]);
        good(gpg.args(arguments).current_dir(&self.folder))
    }

    /// A detached signature that holds for [`DAYS`].
    pub(crate) fn sign(&self, key: Key, at: Epoch, content: &[u8]) -> Vec<u8> {
        fs::write(self.at("content"), content).unwrap();
        let days = format!("{DAYS}d");
        let expiry = ["--default-sig-expire", &days, "--local-user", key.name()];
        let rest = ["--output", "content.sig", "--detach-sign", "content"];
        self.gpg(at.0, &[expiry, rest].concat());
        fs::read(self.at("content.sig")).unwrap()
    }

    /// Our own keys.
    pub(crate) fn trust(&self) -> &Trust {
        self.trust.get_or_init(|| self.exported())
    }

    fn exported(&self) -> Trust {
        self.gpg(MADE, &["--output", "ring", "--export", "ours"]);
        let keyring = Keyring::read(&fs::read(self.at("ring")).unwrap()).unwrap();
        let (from, to) = (self.at("ours.crt"), self.at("ours.der"));
        let mut openssl = tool("openssl");
        openssl.args(["x509", "-outform", "der", "-in"]).arg(from);
        good(openssl.arg("-out").arg(&to));
        Trust { keyring, certificate: fs::read(to).unwrap() }
    }

    /// A kernel image that calls itself this and names this root hash.
    pub(crate) fn kernel(&self, key: Key, product: &str, version: &str, root: &str) -> Vec<u8> {
        let (plain, signed) = (self.at("plain.efi"), self.at("signed.efi"));
        fs::write(self.at("stub"), fixture::stub()).unwrap();
        fs::write(self.at("linux"), fixture::kernel()).unwrap();
        let release = format!("ID=debian\nIMAGE_ID={product}\nIMAGE_VERSION={version}\n");
        let mut ukify = tool("ukify");
        ukify.args(["build", "--efi-arch", "x64", "--uname", "6.12", "--os-release", &release]);
        ukify.args(["--cmdline", &format!("usrhash={root} panic=5")]);
        ukify.arg("--stub").arg(self.at("stub")).arg("--linux").arg(self.at("linux"));
        good(ukify.arg("--output").arg(&plain));
        let mut sbsign = tool("sbsign");
        sbsign.arg("--key").arg(self.at(key.name()));
        sbsign.arg("--cert").arg(self.at(&format!("{}.crt", key.name())));
        good(sbsign.arg("--output").arg(&signed).arg(&plain));
        fs::read(signed).unwrap()
    }

    /// The content of a signature partition.
    pub(crate) fn root_hash_signature(&self, root: &str) -> Vec<u8> {
        fs::write(self.at("hash"), root).unwrap();
        let mut openssl = tool("openssl");
        openssl.args(["smime", "-sign", "-nocerts", "-noattr", "-binary", "-outform", "der"]);
        openssl.arg("-in").arg(self.at("hash")).arg("-inkey").arg(self.at("ours"));
        openssl.arg("-signer").arg(self.at("ours.crt")).arg("-out").arg(self.at("hash.p7"));
        good(&mut openssl);
        let base64 = good(tool("base64").args(["-w", "0"]).arg(self.at("hash.p7")));
        let zeros = "0".repeat(64);
        let json = format!(
            "{{\"rootHash\":\"{root}\",\"certificateFingerprint\":\"{zeros}\",\"signature\":\"{}\"}}",
            base64.trim()
        );
        let mut bytes = json.into_bytes();
        bytes.resize(usize::try_from(SLOTS.signature).unwrap(), 0);
        bytes
    }

    /// A version whose `/usr` follows from `seed`, put into `feed`.
    pub(crate) fn add(&self, feed: &mut Feed, version: &str, seed: u8) {
        let data: Vec<u8> = (0..300_000u32 / 4096 * 4096).map(|i| (i / 61) as u8 ^ seed).collect();
        let (path, tree) = (self.at("data"), self.at("tree"));
        fs::write(&path, &data).unwrap();
        let _ = fs::remove_file(&tree);
        let said = good(tool("veritysetup").args(["format", "--salt", "01"]).args([&path, &tree]));
        let root = said.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap();
        let root = root.trim().to_owned();
        feed.channel.versions.push(Version {
            version: version.to_owned(),
            epoch: SIGNED.rfc3339(),
            root_hash: root.clone(),
            tool: "others".to_owned(),
            loader_sha256: Digest::of(b"loader").to_string(),
            uki_sha256: String::new(),
            layout: SLOTS,
            transfers: vec!["50-a.transfer".to_owned()],
            parts: BTreeMap::new(),
            packages: BTreeMap::new(),
            bytes: BTreeMap::new(),
        });
        self.put(feed, version, "usr", &data);
        self.put(feed, version, "usr-verity", &fs::read(&tree).unwrap());
        self.put(feed, version, "usr-verity-sig", &self.root_hash_signature(&root));
        let kernel = self.kernel(Key::Ours, "mini", version, &root);
        self.put(feed, version, "uki", &kernel);
    }

    /// Puts the content of a part into the feed, and says so everywhere.
    pub(crate) fn put(&self, feed: &mut Feed, version: &str, part: &str, content: &[u8]) {
        let row = PARTS.iter().find(|row| row.name == part).unwrap();
        let (product, arch) = (&feed.channel.product, &feed.channel.architecture);
        let known = feed.channel.versions.iter_mut().find(|one| one.version == version).unwrap();
        let digits = |from: usize| {
            let hex = &known.root_hash[from..from + 32];
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        };
        let uuid = if part == "usr" { digits(0) } else { digits(32) };
        let file = row.file(product, arch, version, &uuid);
        let bytes = if row.compressed { self.gzip(content) } else { content.to_vec() };
        let said = PartFile {
            file: file.clone(),
            size: bytes.len() as u64,
            sha256: Digest::of(&bytes).to_string(),
            content_size: content.len() as u64,
            content_sha256: Digest::of(content).to_string(),
        };
        if part == "uki" {
            known.uki_sha256.clone_from(&said.sha256);
        }
        known.parts.insert(part.to_owned(), said);
        feed.files.insert(file, bytes);
    }

    pub(crate) fn gzip(&self, content: &[u8]) -> Vec<u8> {
        let path = self.at("unpacked");
        fs::write(&path, content).unwrap();
        good(tool("gzip").args(["-n", "-f", "-k"]).arg(&path));
        fs::read(self.at("unpacked.gz")).unwrap()
    }

    /// Versions 1.9 and 1.10, the channel's manifest not signed yet.
    pub(crate) fn two_versions(&self) -> Feed {
        let channel = Channel::new("mini", "x86-64", "stable");
        let mut feed = Feed { channel, files: BTreeMap::new(), more: Vec::new() };
        self.add(&mut feed, "1.9", 1);
        self.add(&mut feed, "1.10", 2);
        feed
    }

    /// Writes the channel, signed, and gives its directory.
    pub(crate) fn write(&self, feed: &Feed, key: Key, at: Epoch) -> PathBuf {
        let directory = self.at("feed/stable");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).unwrap();
        let mut listed: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for (name, bytes) in &feed.files {
            put(name, bytes);
            listed.insert(name, bytes.clone());
        }
        let mut channel = feed.channel.clone();
        let end = Epoch(at.0 + DAYS * DAY);
        (channel.published, channel.expires) = (at.rfc3339(), end.rfc3339());
        let manifest = channel.text().unwrap().into_bytes();
        put(CHANNEL_MANIFEST, &manifest);
        put(CHANNEL_SIGNATURE, &self.sign(key, at, &manifest));
        listed.insert(CHANNEL_MANIFEST, manifest);
        let markers = (FEEDS[0].markers)(end);
        for name in markers.iter().chain(&feed.more) {
            put(name, b"");
            listed.insert(name, Vec::new());
        }
        let line = |(name, bytes): (&&str, &Vec<u8>)| format!("{} *{name}\n", Digest::of(bytes));
        let list: String = listed.iter().map(line).collect();
        self.sign_list(&directory, key, at, list.as_bytes());
        directory
    }

    /// Writes a list and its signature under every name.
    pub(crate) fn sign_list(&self, directory: &Path, key: Key, at: Epoch, list: &[u8]) {
        fs::write(directory.join(FEEDS[0].list), list).unwrap();
        let signature = self.sign(key, at, list);
        for name in FEEDS[0].signatures {
            fs::write(directory.join(name), &signature).unwrap();
        }
    }

    /// Signs the list again, without an end.
    pub(crate) fn sign_for_ever(&self, directory: &Path) {
        fs::copy(directory.join(FEEDS[0].list), self.at("content")).unwrap();
        let rest = ["--output", "content.sig", "--detach-sign", "content"];
        self.gpg(SIGNED.0, &[&["--local-user", "ours"][..], &rest].concat());
        for name in FEEDS[0].signatures {
            fs::copy(self.at("content.sig"), directory.join(name)).unwrap();
        }
    }

    /// Verifies the channel where [`Bench::write`] left it.
    pub(crate) fn verified(&self, now: Epoch) -> Verified {
        let feed = self.at("feed");
        let origin = Origin::of(feed.to_str().unwrap(), "stable", Machine::default()).unwrap();
        verify(&origin, "stable", self.trust(), now, &mut |_| {})
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        run(tool("gpgconf").arg("--homedir").arg(&self.folder).args(["--kill", "all"]));
    }
}

/// Runs a program that must succeed.
fn good(command: &mut std::process::Command) -> String {
    let ran = run(command);
    assert!(ran.ok, "{command:?}: {}", ran.text);
    ran.text
}
