//! What a partition (or a file that is none) holds, recognised by its first bytes.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use anyhow::{Context, Result, bail};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::bytes::{read_at, size, slice, u8_at, u16_at};
use crate::erofs::{self, FoundSuperblock, FoundTree, Kind};
use crate::fat::{self, FoundVolume};
use crate::signature::{self, FoundSignature};
use crate::uki::assignment;
use crate::verity::{self, FoundHead};

/// What some bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "holds", rename_all = "kebab-case")]
pub enum Holding {
    /// A FAT volume.
    Fat(FoundVolume),
    /// An EROFS.
    Erofs(FoundErofs),
    /// A dm-verity hash tree.
    HashTree(FoundHead),
    /// The signature of a root hash.
    RootHashSignature(FoundRootHash),
    /// Something that is known by name and not read.
    Other {
        /// What it is.
        name: String,
    },
    /// Zeros, as far as was looked (1 MiB).
    Empty,
    /// Bytes that nothing here knows.
    Unknown,
}

/// An EROFS and what its tree says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundErofs {
    /// Its superblock.
    pub superblock: FoundSuperblock,
    /// Bytes of the whole file system.
    #[serde(rename = "used-bytes")]
    pub used: u64,
    /// Names in the tree, the root included.
    pub names: u64,
    /// Bytes of all files, each name counted.
    #[serde(rename = "content-bytes")]
    pub content: u64,
    /// Files in a form that is not read here (compressed, or in chunks).
    pub unread_files: u64,
    /// os-release, by key.
    pub os_release: BTreeMap<String, String>,
    /// The packages that the image says it is made of; none where it does not say.
    pub packages: Vec<FoundPackage>,
    /// Certificates for root hashes, in DER.
    #[serde(skip)]
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// One package of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The source package that it was built from.
    pub source: String,
    /// That one's version.
    pub source_version: String,
    /// Its licence, where it is known.
    #[serde(default)]
    pub licence: Option<String>,
    /// The parts of the image that it is for.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// The content of a signature partition (Discoverable Partitions Specification, "Verity
/// signature").
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundRootHash {
    /// The root hash, in hexadecimal digits.
    pub root_hash: String,
    /// SHA-256 of the signer's certificate, as the partition says.
    pub certificate_fingerprint: String,
    /// The signature.
    pub signature: FoundSignature,
    #[serde(skip)]
    pub(crate) used: u64,
    #[serde(skip)]
    pkcs7: Vec<u8>,
}

/// The most bytes of a signature partition, an os-release, a list of packages and a certificate.
const JSON_LIMIT: u64 = 1 << 20;
const RELEASE_LIMIT: u64 = 1 << 20;
const PACKAGES_LIMIT: u64 = 16 << 20;
const CERTIFICATE_LIMIT: u64 = 1 << 20;
/// How far zeros are looked for.
const HEAD: u64 = 1 << 20;

/// The list of packages, and where certificates for root hashes lie, below `/usr`.
const PACKAGES: &str = "lib/hardtack/packages.json";
const CERTIFICATES: &str = "lib/verity.d/";

/// Names of what is recognised and not read: offset, magic, name.
const NAMES: &[(u64, &[u8], &str)] = &[
    (1080, b"\x53\xef", "ext2, ext3 or ext4"),
    (65_600, b"_BHRfS_M", "btrfs"),
    (0, b"XFSB", "XFS"),
    (0, b"hsqs", "SquashFS"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (4086, b"SWAPSPACE2", "swap"),
    (0, b"\x28\xb5\x2f\xfd", "zstd stream"),
    (0, b"\x1f\x8b", "gzip stream"),
    (0, b"\xfd7zXZ\0", "xz stream"),
    (0, b"conectix", "dynamic VHD"),
    (0, b"QFI\xfb", "qcow2 image"),
    (0, b"\x7fELF", "ELF file"),
];

/// Recognises and reads what `device` holds. What contradicts itself is added to `faults`.
///
/// Errors: what it begins as is damaged.
pub fn read<D: Read + Seek>(device: &mut D, faults: &mut Vec<String>) -> Result<Holding> {
    let begins = |device: &mut D, at: u64, magic: &[u8]| {
        read_at(device, at, magic.len() as u64).is_ok_and(|found| found == magic)
    };
    if begins(device, 1024, b"\xe2\xe1\xf5\xe0") {
        return erofs(device, faults).map(Holding::Erofs);
    }
    if begins(device, 0, b"verity\0\0") {
        return verity::head(device).map(Holding::HashTree);
    }
    if begins(device, 0, b"{\"rootHash\"") {
        return root_hash(device).map(Holding::RootHashSignature);
    }
    for (at, magic, name) in NAMES {
        if begins(device, *at, magic) {
            return Ok(Holding::Other { name: (*name).to_owned() });
        }
    }
    if boots_as_fat(device) {
        return fat::read(device).map(Holding::Fat);
    }
    let length = size(device)?.min(HEAD);
    let head = read_at(device, 0, length)?;
    Ok(if head.iter().all(|byte| *byte == 0) { Holding::Empty } else { Holding::Unknown })
}

impl Holding {
    /// Bytes in use, where that can be said.
    pub fn used(&self, length: u64) -> Option<u64> {
        match self {
            Self::Fat(volume) => Some(length.saturating_sub(volume.free_bytes())),
            Self::Erofs(erofs) => Some(erofs.used),
            Self::RootHashSignature(found) => Some(found.used),
            Self::Empty => Some(0),
            Self::HashTree(_) | Self::Other { .. } | Self::Unknown => None,
        }
    }
}

/// A jump, the signature of a boot sector and a sector size: what tells FAT from a bare MBR.
fn boots_as_fat<D: Read + Seek>(device: &mut D) -> bool {
    let mut read = || -> Result<bool> {
        let boot = read_at(device, 0, 512)?;
        let jumps = matches!(u8_at(&boot, 0)?, 0xeb | 0xe9);
        let sectors = matches!(u16_at(&boot, 11)?, 512 | 1024 | 2048 | 4096);
        Ok(jumps && sectors && slice(&boot, 510, 2)? == [0x55, 0xaa])
    };
    read().unwrap_or(false)
}

fn erofs<D: Read + Seek>(device: &mut D, faults: &mut Vec<String>) -> Result<FoundErofs> {
    let superblock = erofs::read_superblock(device)?;
    let mut found = FoundErofs {
        used: superblock.blocks * u64::from(superblock.block),
        superblock,
        names: 0,
        content: 0,
        unread_files: 0,
        os_release: BTreeMap::new(),
        packages: Vec::new(),
        certificates: Vec::new(),
    };
    match erofs::read(device) {
        Ok(tree) => inside(device, &tree, &mut found, faults),
        Err(error) => faults.push(format!("EROFS: {error:#}")),
    }
    Ok(found)
}

fn inside<D: Read + Seek>(
    device: &mut D,
    tree: &FoundTree,
    found: &mut FoundErofs,
    faults: &mut Vec<String>,
) {
    found.names = tree.entries.len() as u64;
    for entry in tree.entries.values().filter(|entry| entry.kind == Kind::File) {
        found.content = found.content.saturating_add(entry.size);
        found.unread_files += u64::from(!entry.is_plain());
    }
    // Of `/usr` alone, or of a whole root.
    let place = |path: &str| {
        let whole = format!("usr/{path}");
        let is_file = |path: &String| {
            tree.entries.get(path).is_some_and(|e| e.kind == Kind::File && e.is_plain())
        };
        [path.to_owned(), whole].into_iter().find(is_file)
    };
    if let Some(path) = place("lib/os-release") {
        match text(device, tree, &path, RELEASE_LIMIT) {
            Ok(text) => found.os_release = text.lines().filter_map(assignment).collect(),
            Err(error) => faults.push(format!("EROFS: `/{path}`: {error:#}")),
        }
    }
    if let Some(path) = place(PACKAGES) {
        match packages(device, tree, &path) {
            Ok(packages) => found.packages = packages,
            Err(error) => faults.push(format!("EROFS: `/{path}`: {error:#}")),
        }
    }
    let certificates = tree.entries.keys().filter(|path| {
        let below = path.strip_prefix("usr/").unwrap_or(path);
        below.starts_with(CERTIFICATES) && below.ends_with(".crt")
    });
    for path in certificates {
        match text(device, tree, path, CERTIFICATE_LIMIT).and_then(|text| pem(&text)) {
            Ok(der) => found.certificates.push(der),
            Err(error) => faults.push(format!("EROFS: `/{path}`: {error:#}")),
        }
    }
}

fn text<D: Read + Seek>(
    device: &mut D,
    tree: &FoundTree,
    path: &str,
    limit: u64,
) -> Result<String> {
    String::from_utf8(erofs::content(device, tree, path, limit)?).context("read it as text")
}

fn packages<D: Read + Seek>(
    device: &mut D,
    tree: &FoundTree,
    path: &str,
) -> Result<Vec<FoundPackage>> {
    #[derive(Deserialize)]
    struct List {
        packages: Vec<FoundPackage>,
    }
    let text = text(device, tree, path, PACKAGES_LIMIT)?;
    let list: List = serde_json::from_str(&text).context("read the list of packages")?;
    Ok(list.packages)
}

/// The first certificate of a file in PEM form (RFC 7468).
fn pem(text: &str) -> Result<Vec<u8>> {
    let inner = text.split_once("-----BEGIN CERTIFICATE-----").map(|(_, rest)| rest);
    let inner = inner.and_then(|rest| Some(rest.split_once("-----END CERTIFICATE-----")?.0));
    let digits: String = inner.context("no certificate in PEM form")?.split_whitespace().collect();
    match Base64::decode_vec(&digits) {
        Ok(der) => Ok(der),
        Err(_) => bail!("the certificate is not in base 64"),
    }
}

fn root_hash<D: Read + Seek>(device: &mut D) -> Result<FoundRootHash> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Json {
        root_hash: String,
        certificate_fingerprint: String,
        signature: String,
    }
    let length = size(device)?.min(JSON_LIMIT);
    let bytes = read_at(device, 0, length)?;
    let used = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if bytes.iter().skip(used).any(|byte| *byte != 0) {
        bail!("the signature of a root hash is followed by other bytes than zeros");
    }
    let json: Json =
        serde_json::from_slice(slice(&bytes, 0, used)?).context("read a signature partition")?;
    let Ok(pkcs7) = Base64::decode_vec(&json.signature) else {
        bail!("the signature of a root hash is not in base 64")
    };
    let signature = signature::detached(&pkcs7, json.root_hash.as_bytes(), &[])?;
    Ok(FoundRootHash {
        root_hash: json.root_hash,
        certificate_fingerprint: json.certificate_fingerprint,
        signature,
        used: used as u64,
        pkcs7,
    })
}

impl FoundRootHash {
    /// Tries the signature again, now with these certificates (DER) at hand.
    pub(crate) fn try_with(&mut self, certificates: &[Vec<u8>]) -> Result<()> {
        self.signature = signature::detached(&self.pkcs7, self.root_hash.as_bytes(), certificates)?;
        Ok(())
    }
}
