//! What is handed over.
//!
//! A release is a directory of artifacts and one `result.json` that names each of them with size,
//! digest and purpose, so that nobody has to guess from file names. The crate does not know how
//! any artifact was made.

mod admit;
mod candidate;
mod channel;
mod directory;
mod feed;
mod forecast;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gzip;
pub mod order;
mod part;
mod transfer;
mod verify;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use store::Blob;

pub use admit::{Admission, admit};
pub use candidate::{Candidate, check_labels, loader};
pub use channel::{
    CHANNEL_LIMIT, CHANNEL_MANIFEST, CHANNEL_SIGNATURE, Channel, KERNELS, PartFile, Slots, Version,
    check_name,
};
pub use directory::{Held, Next};
pub use feed::{FEEDS, Feed};
pub use forecast::{AHEAD, Forecast, forecast};
pub use gzip::gzip;
pub use part::{PARTS, Part, Place};
pub use transfer::{Source, label, transfers};
pub use verify::{FeedFault, Origin, Trust, Verified, verify};

/// The file in which a [`Manifest`] is handed over.
pub const MANIFEST: &str = "result.json";

/// Everything that a release says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Version of this document's form.
    pub format: u32,
    /// The program that made it, and its version.
    pub tool: String,
    /// The image's id (`IMAGE_ID`).
    pub id: String,
    /// The image's version (`IMAGE_VERSION`).
    pub version: String,
    /// Architecture as the discoverable-partitions specification writes it.
    pub architecture: String,
    /// The lock's epoch, RFC 3339.
    pub epoch: String,
    /// Whether a development key signed it: such a release is never published.
    pub development: bool,
    /// Root hash of `/usr`, hexadecimal.
    pub root_hash: String,
    /// The kernel command line in the signed UKI.
    pub command_line: String,
    /// Partition UUID of the EFI system partition as shipped.
    pub esp: String,
    /// The release's commit in the pool.
    pub commit: String,
    /// Every file handed over, by name.
    pub artifacts: BTreeMap<String, Artifact>,
    /// Packages in the image: name to version.
    pub packages: BTreeMap<String, String>,
    /// Maintainer scripts that nobody has reviewed, `package: moment sha256`.
    pub unreviewed_scripts: Vec<String>,
    /// What was overridden or left open on the way.
    pub warnings: Vec<String>,
    /// How it is offered to hosts, where its profile says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
}

/// How a release is offered to hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Offer {
    /// The channel that its hosts follow.
    pub channel: String,
    /// How long the signature of the channel's list holds, in seconds.
    pub valid: u32,
    /// The version that older hosts must go through.
    pub floor: Option<String>,
}

/// One file of a release. Its bytes are known by one digest, by ranges, or by both: a disk is
/// gigabytes of zeros, whose digest costs more than the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is for.
    pub purpose: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole file, holes read as zeros; of a disk only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a disk: all that is not zero, in ascending order and without overlaps. A file of `size`
    /// bytes is this artifact when each range has its digest and every byte outside of them is
    /// zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// Bytes of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// What they belong to: a partition's name on the disk, `table`, `backup-table` or `footer`.
    pub region: String,
    /// Where they begin, in bytes from the file's start.
    pub offset: u64,
    /// How many there are.
    pub size: u64,
    /// SHA-256 of these bytes alone.
    pub sha256: String,
}

impl Artifact {
    /// An artifact from its bytes' name.
    pub fn new(purpose: &str, blob: Blob) -> Self {
        let sha256 = Some(blob.digest.to_string());
        Self { purpose: purpose.to_owned(), size: blob.size, sha256, ranges: Vec::new() }
    }
}

impl Manifest {
    /// The manifest as text: JSON, indented, one trailing newline.
    pub fn text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).context("write the manifest")?;
        Ok(text + "\n")
    }

    /// Reads a manifest.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("read the manifest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let manifest = Manifest {
            format: 1,
            tool: "hardtack 0".into(),
            id: "mini".into(),
            version: "1.10".into(),
            architecture: "x86-64".into(),
            epoch: "2026-11-25T00:00:00Z".into(),
            development: true,
            root_hash: "00".into(),
            command_line: "usrhash=00".into(),
            esp: String::new(),
            commit: String::new(),
            artifacts: [("a.raw".into(), Artifact::new("disk", Blob::of(b"abc")))].into(),
            packages: [("systemd".into(), "257".into())].into(),
            unreviewed_scripts: vec![],
            warnings: vec![],
            offer: None,
        };
        let text = manifest.text().unwrap();
        assert!(text.contains("\"version\": \"1.10\""), "{text}");
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
    }
}
