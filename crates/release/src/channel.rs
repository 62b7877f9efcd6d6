//! What a channel of a feed says of itself: `manifest.json`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{Part, Place};

/// The file of a channel's directory that holds a [`Channel`].
pub const CHANNEL_MANIFEST: &str = "manifest.json";

/// Its own detached OpenPGP signature.
pub const CHANNEL_SIGNATURE: &str = "manifest.json.gpg";

/// The most bytes of a channel's manifest.
pub const CHANNEL_LIMIT: u64 = 64 << 20;

/// The form of a [`Channel`]'s text: raised when a field changes its meaning or goes.
const FORMAT: u32 = 1;

/// Every version that a channel offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Channel {
    /// Version of this document's form.
    pub format: u32,
    /// The images' id (`IMAGE_ID`).
    pub product: String,
    /// Architecture as the discoverable-partitions specification writes it.
    pub architecture: String,
    /// The channel's name.
    pub channel: String,
    /// Versions below it are not offered.
    pub floor: Option<String>,
    /// When it was signed, RFC 3339.
    pub published: String,
    /// When its signature ends, RFC 3339.
    pub expires: String,
    /// Its versions, oldest first (UAPI.10).
    pub versions: Vec<Version>,
}

/// One version of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Version {
    /// `IMAGE_VERSION`.
    pub version: String,
    /// The lock's epoch, RFC 3339.
    pub epoch: String,
    /// Root hash of `/usr`, hexadecimal.
    pub root_hash: String,
    /// The program that made it, and its version.
    pub tool: String,
    /// SHA-256 of the boot loader that its image has; the client never renews it.
    pub loader_sha256: String,
    /// SHA-256 of its signed kernel image.
    pub uki_sha256: String,
    /// The slots of the disk that it is made for.
    pub layout: Slots,
    /// Its transfer files (`sysupdate.d(5)`) by name: a set that changes leaves the running version
    /// incomplete, and so without protection.
    pub transfers: Vec<String>,
    /// Its files, by the part's name.
    pub parts: BTreeMap<String, PartFile>,
    /// Packages in `/usr`: name to version.
    pub packages: BTreeMap<String, String>,
    /// Bytes in `/usr` by package.
    pub bytes: BTreeMap<String, u64>,
}

/// How large the slots of a disk are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slots {
    /// The EFI system partition.
    pub esp: u64,
    /// `/usr`.
    pub usr: u64,
    /// Its hash tree.
    pub verity: u64,
    /// The signature of its root hash.
    pub signature: u64,
}

/// Kernel images that a host's ESP must have room for: two installed, and one that is written.
pub const KERNELS: u64 = 3;

impl Slots {
    /// Bytes that a part may have where the client writes it.
    ///
    /// # Errors
    /// No slot is known for it.
    pub fn of(&self, part: &Part) -> Result<u64> {
        Ok(match part.place {
            Place::Partition("usr") => self.usr,
            Place::Partition("usr-verity") => self.verity,
            Place::Partition("usr-verity-sig") => self.signature,
            Place::Esp => self.esp,
            Place::Partition(other) => bail!("no slot is known for `{other}`"),
        })
    }
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PartFile {
    /// Its name in the channel's directory.
    pub file: String,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Bytes of what the client writes.
    pub content_size: u64,
    /// SHA-256 of what the client writes.
    pub content_sha256: String,
}

impl Channel {
    /// A channel without versions.
    pub fn new(product: &str, architecture: &str, channel: &str) -> Self {
        Self {
            format: FORMAT,
            product: product.to_owned(),
            architecture: architecture.to_owned(),
            channel: channel.to_owned(),
            floor: None,
            published: String::new(),
            expires: String::new(),
            versions: Vec::new(),
        }
    }

    /// The manifest as text: JSON, indented, one trailing newline.
    pub fn text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).context("write a channel's manifest")?;
        Ok(text + "\n")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Other text, another form, a field that is not known, a file's name that is not flat.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let about = "read a channel's manifest";
        let Form { format } = serde_json::from_str(text).context(about)?;
        ensure!(
            format == FORMAT,
            "{about}: it has form {format} and this program knows {FORMAT}: use the program of the \
             version that wrote it"
        );
        let channel: Self = serde_json::from_str(text).context(about)?;
        check_name(&channel.channel).context("the channel's name")?;
        for file in channel.files() {
            check_name(&file.file)?;
        }
        Ok(channel)
    }

    /// Every file of every version.
    pub fn files(&self) -> impl Iterator<Item = &PartFile> {
        self.versions.iter().flat_map(|version| version.parts.values())
    }

    /// The version called `version`.
    pub fn version(&self, version: &str) -> Option<&Version> {
        self.versions.iter().find(|known| known.version == version)
    }
}

/// Checks a name of a feed: letters, digits and `.,_-`, no `.` at its beginning.
///
/// Clients refuse a `/`, and other letters would mean something in an address.
pub fn check_name(name: &str) -> Result<()> {
    let shown = name.escape_debug();
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !".,_-".contains(*c)) {
        bail!("`{shown}`: `{}` cannot stand in a name of a feed", bad.escape_debug());
    }
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name.len() <= NAME_LIMIT,
        "`{shown}` is no name of a feed: it is empty, hidden or longer than {NAME_LIMIT} bytes"
    );
    Ok(())
}

/// What file systems take as a name, in bytes.
const NAME_LIMIT: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Channel {
        let part = PartFile {
            file: "mini_1.2.x86-64.efi".into(),
            size: 3,
            sha256: "00".into(),
            content_size: 3,
            content_sha256: "00".into(),
        };
        let version = Version {
            version: "1.2".into(),
            epoch: "2026-11-25T00:00:00Z".into(),
            root_hash: "00".into(),
            tool: "hardtack 0".into(),
            loader_sha256: "00".into(),
            uki_sha256: "00".into(),
            layout: Slots { esp: 4, usr: 3, verity: 2, signature: 1 },
            transfers: vec!["70-uki.transfer".into()],
            parts: [("uki".into(), part)].into(),
            packages: [("systemd".into(), "257".into())].into(),
            bytes: [("systemd".into(), 9)].into(),
        };
        let mut channel = Channel::new("mini", "x86-64", "stable");
        channel.versions.push(version);
        channel
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let text = sample().text().unwrap();
        assert!(text.contains("\"root-hash\": \"00\""), "{text}");
        assert_eq!(Channel::parse(&text).unwrap(), sample());
    }

    #[test]
    fn unknown_fields_other_forms_and_names_with_folders_are_refused() {
        let text = sample().text().unwrap();
        for (from, to, why) in [
            ("\"floor\": null", "\"flor\": null", "flor"),
            ("\"format\": 1", "\"format\": 2", "form 2"),
            ("mini_1.2.x86-64.efi", "../mini.efi", "`/` cannot stand"),
            ("mini_1.2.x86-64.efi", ".hidden", "hidden"),
            ("\"channel\": \"stable\"", "\"channel\": \"a/b\"", "channel's name"),
        ] {
            let error = Channel::parse(&text.replace(from, to)).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{why}: {error:#}");
        }
    }
}
