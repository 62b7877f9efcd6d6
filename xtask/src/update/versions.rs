//! Versions of a shipped profile: baked, and published into feeds.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Build;
use crate::image::{Baked, Profile, bake, hardtack};
use crate::run::{list, read, run, target, top};
use crate::update::server::FEED;

/// The channel that every feed here has.
pub(crate) const CHANNEL: &str = "stable";

/// Bytes of the file that differs between versions and that nothing reads: several blocks.
const UNREAD: usize = 300 << 10;

/// That file, below `/usr`.
pub(crate) const UNREAD_PATH: &str = "share/hardtack/unread";

/// The unit that a profile names for its health.
pub(crate) const MUST: &str = "must.service";

/// What a version has beside the shipped profile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Good,
    /// A unit that the profile names for its health fails.
    Failing,
    /// Such a unit never ends its start.
    Hanging,
    /// Such a unit works, and the version has a service user that those before it lack.
    Newcomer,
}

/// That user and its id.
pub(crate) const NEWCOMER: (&str, u32) = ("newcomer", 871);

impl Kind {
    /// What stands behind the number in names.
    fn word(self) -> &'static str {
        match self {
            Kind::Good => "",
            Kind::Failing => "-failing",
            Kind::Hanging => "-hanging",
            Kind::Newcomer => "-newcomer",
        }
    }

    /// What the unit runs that the profile names for its health.
    fn must(self) -> Option<&'static str> {
        match self {
            Kind::Good => None,
            Kind::Failing => Some("/usr/bin/false"),
            Kind::Hanging => Some("/usr/bin/sleep infinity"),
            Kind::Newcomer => Some("/usr/bin/true"),
        }
    }
}

/// A version that was baked.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) baked: Baked,
    /// What `hardtack image` wrote.
    pub(crate) folder: PathBuf,
}

/// The folder for everything that the versions of a profile need.
fn work(profile: &str) -> PathBuf {
    target().join("update").join(profile)
}

/// Bakes a version of the profile in `profiles/`, as it is shipped but for what [`Kind`] says, its
/// version, the address of its feed and one changed file.
pub(crate) fn version(profile: &str, number: &str, kind: Kind) -> Result<Version> {
    let base = Profile::find(profile)?;
    let lock = lock(&base)?;
    let stem = format!("{profile}-{number}{}", kind.word());
    let work = work(profile);
    std::fs::create_dir_all(&work).with_context(|| format!("make `{}`", work.display()))?;
    // Cases that run side by side, each started by hand, make the same versions.
    let turn = std::fs::File::create(work.join("lock")).context("make the versions' lock")?;
    turn.lock().context("wait for the versions' lock")?;
    let files = work.join(format!("{stem}.d"));
    let _ = std::fs::remove_dir_all(&files);
    put(&files.join("usr").join(UNREAD_PATH), &unread(number))?;
    let mut text = format!(
        "extends: ../../../profiles/{profile}\nid: {profile}\nversion: \"{number}\"\n\
         files: [{stem}.d]\nupdates:\n  feed: {FEED}\n  channel: {CHANNEL}\n  auto: false\n"
    );
    if let Some(does) = kind.must() {
        let unit = format!(
            "[Unit]\nDescription=What a Version Must Have\n[Service]\nType=oneshot\n\
             RemainAfterExit=yes\nExecStart={does}\n[Install]\nWantedBy=multi-user.target\n"
        );
        put(&files.join("usr/lib/systemd/system").join(MUST), unit.as_bytes())?;
        text.push_str(&format!("health:\n  units: [{MUST}]\n  time: 4min\n"));
    }
    if kind == Kind::Newcomer {
        let (name, id) = NEWCOMER;
        let line = format!("u {name} {id}\n");
        put(&files.join("usr/lib/sysusers.d/newcomer.conf"), line.as_bytes())?;
        text.push_str(&format!("units:\n  enable: [{MUST}]\n"));
    }
    let file = work.join(format!("{stem}.yaml"));
    put(&file, text.as_bytes())?;
    put(&file.with_extension("lock"), &lock)?;
    let found = Profile { name: stem, file };
    let mut build = Build::plain(&found.name, None);
    // An archive moves without us, and so do its scripts.
    let rules = top().join("profiles/rules").display().to_string();
    build.rest = ["--rules", &rules, "--unreviewed-scripts", "warn"].map(str::to_owned).to_vec();
    bake(&found, &build)?;
    let folder = found.output();
    Ok(Version { baked: Baked::of(&folder)?, folder })
}

/// The lock of the shipped profile: versions differ by what they say, never by the archive's day.
fn lock(base: &Profile) -> Result<Vec<u8>> {
    let file = target().join("locks").join(format!("{}.lock", base.name));
    if !file.is_file() {
        bake(base, &Build::plain(&base.name, None))?;
    }
    std::fs::read(&file).with_context(|| format!("read the lock `{}`", file.display()))
}

/// Bytes that no compression makes fewer, the same for the same version.
fn unread(number: &str) -> Vec<u8> {
    let mut state = number.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(UNREAD);
    while bytes.len() < UNREAD {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// Writes a file and the folders that it needs.
pub(crate) fn put(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
    }
    std::fs::write(file, bytes).with_context(|| format!("write `{}`", file.display()))
}

/// A feed of one channel.
pub(crate) struct Feed {
    pub(crate) folder: PathBuf,
}

impl Feed {
    /// A new feed with these versions, oldest first.
    pub(crate) fn of(profile: &str, name: &str, versions: &[&Version]) -> Result<Feed> {
        let folder = work(profile).join("feeds").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("make `{}`", folder.display()))?;
        let feed = Feed { folder };
        versions.iter().try_for_each(|version| feed.add(version))?;
        Ok(feed)
    }

    /// Publishes one more version.
    pub(crate) fn add(&self, version: &Version) -> Result<()> {
        let mut command = hardtack();
        command.arg("publish").arg(&self.folder).arg("--release").arg(&version.folder);
        command.args(["--channel", CHANNEL, "--development-keys-are-fine-for-this-feed"]);
        run(command.arg("--keys").arg(target().join("keys")))
            .with_context(|| format!("publish `{}`", version.folder.display()))
    }

    /// A copy that may be changed: files are links until then.
    pub(crate) fn copy(&self, name: &str) -> Result<Feed> {
        let folder = self.folder.with_file_name(name);
        let _ = std::fs::remove_dir_all(&folder);
        let copy = Feed { folder };
        let to = copy.channel();
        std::fs::create_dir_all(&to).with_context(|| format!("make `{}`", to.display()))?;
        for file in list(&self.channel())? {
            if let Some(name) = file.file_name() {
                std::fs::hard_link(&file, to.join(name))
                    .with_context(|| format!("link `{}`", file.display()))?;
            }
        }
        Ok(copy)
    }

    pub(crate) fn channel(&self) -> PathBuf {
        self.folder.join(CHANNEL)
    }

    /// The file of a version whose name has this suffix.
    pub(crate) fn file(&self, version: &str, suffix: &str) -> Result<PathBuf> {
        let files = list(&self.channel())?;
        let names = |file: &&PathBuf| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let label = name.split_once('_').map(|(_, rest)| rest).unwrap_or_default();
            name.ends_with(suffix)
                && label.strip_prefix(version).is_some_and(|rest| rest.starts_with(['_', '.']))
        };
        let mut found = files.iter().filter(names);
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(file.clone()),
            _ => {
                bail!("not one file `{suffix}` of version {version} in `{}`", self.folder.display())
            }
        }
    }

    /// Puts other bytes in a file's place: what it was linked with stays.
    pub(crate) fn replace(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        std::fs::remove_file(file).with_context(|| format!("remove `{}`", file.display()))?;
        put(file, bytes)
    }

    /// What `manifest.json` says of a part's content: bytes and SHA-256.
    pub(crate) fn content(&self, version: &str, part: &str) -> Result<(u64, String)> {
        let file = self.channel().join("manifest.json");
        let text = std::fs::read(&file).with_context(|| format!("read `{}`", file.display()))?;
        let manifest: Value =
            serde_json::from_slice(&text).with_context(|| format!("parse `{}`", file.display()))?;
        let versions = manifest["versions"].as_array().context("find `versions`")?;
        let found = versions.iter().find(|found| found["version"] == version);
        let part = &found.with_context(|| format!("find version {version}"))?["parts"][part];
        let size = part["content-size"].as_u64().context("find `content-size`")?;
        let sum = part["content-sha256"].as_str().context("find `content-sha256`")?;
        Ok((size, sum.to_owned()))
    }

    /// Lists and signs anew with the release key, as somebody would who has it.
    pub(crate) fn sign(&self, signer: &Signer<'_>) -> Result<()> {
        let channel = self.channel();
        let mut names = Vec::new();
        for file in list(&channel)? {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with("SHA256SUMS") && !name.ends_with(".gpg") && !name.ends_with(".asc")
            {
                names.push(name.to_owned());
            }
        }
        let mut command = std::process::Command::new("sha256sum");
        let sums = read(command.current_dir(&channel).arg("--binary").args(&names))?;
        let file = channel.join("SHA256SUMS");
        self.replace(&file, &sums)?;
        signer.sign(&file)
    }
}

/// Who signs a list, and when.
pub(crate) struct Signer<'a> {
    /// The secret key; a fresh one of nobody's otherwise.
    pub(crate) key: Option<PathBuf>,
    /// Signed at this moment and valid for a day.
    pub(crate) at: Option<&'a str>,
}

impl Signer<'_> {
    /// The key that hosts trust, now.
    pub(crate) fn release() -> Self {
        Signer { key: Some(target().join("keys/release.pgp")), at: None }
    }

    /// Makes `<file>.gpg` with GnuPG, and gives the further names that clients ask for the same.
    fn sign(&self, file: &Path) -> Result<()> {
        let home = target().join("update/gnupg");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).context("make GnuPG's folder")?;
        let gpg = || {
            let mut command = std::process::Command::new("gpg");
            command.env("GNUPGHOME", &home).args(["--batch", "--quiet", "--yes", "--no-tty"]);
            command.args(["--no-permission-warning", "--pinentry-mode", "loopback"]);
            command.args(["--passphrase", ""]);
            command
        };
        match &self.key {
            Some(key) => run(gpg().arg("--import").arg(key))?,
            None => run(gpg().args(["--quick-gen-key", "Nobody", "ed25519", "sign", "never"]))?,
        }
        let out = file.with_file_name("SHA256SUMS.gpg");
        let _ = std::fs::remove_file(&out);
        let mut command = gpg();
        if let Some(at) = self.at {
            command.args(["--faked-system-time", at, "--default-sig-expire", "1d"]);
            command.arg("--ignore-time-conflict");
        }
        run(command.arg("--output").arg(&out).arg("--detach-sign").arg(file))?;
        let mut kill = std::process::Command::new("gpgconf");
        run(kill.env("GNUPGHOME", &home).args(["--kill", "all"]))
    }
}
