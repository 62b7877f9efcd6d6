//! Unified kernel images (UAPI.5): the sections of one, understood.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bytes::sha256;
use crate::pe::{self, FoundPe, FoundSection};
use crate::signature::FoundSignature;

/// A unified kernel image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundUki {
    /// `.osrel`, by key, quotes taken away.
    pub os_release: BTreeMap<String, String>,
    /// `.cmdline`.
    pub command_line: String,
    /// `.uname`: the kernel's release.
    pub kernel: Option<String>,
    /// `.sbat`.
    pub sbat: Option<String>,
    /// Every section: its size without padding and the SHA-256 of its content.
    pub sections: BTreeMap<String, FoundContent>,
    /// The signatures that it carries.
    pub signatures: Vec<FoundSignature>,
    /// The Authenticode digest that they should be over, recomputed.
    pub digest: String,
}

/// Content by size and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundContent {
    /// Bytes.
    #[serde(rename = "size-bytes")]
    pub size: u64,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Reads a unified kernel image: a PE image with `.linux` and `.osrel`.
pub fn read(file: &[u8]) -> Result<FoundUki> {
    view(file, &pe::read(file)?)
}

/// Whether a PE image is a unified kernel image.
pub fn is_uki(image: &FoundPe) -> bool {
    let has = |name| image.sections.iter().any(|section| section.name == name);
    has(".linux") && has(".osrel")
}

/// `.osrel` of a unified kernel image, by key, quotes taken away. Nothing behind that section is
/// read: `file` may be the beginning of one.
pub fn os_release(file: &[u8]) -> Result<BTreeMap<String, String>> {
    assignments(file, &pe::sections(file)?)
}

fn assignments(file: &[u8], sections: &[FoundSection]) -> Result<BTreeMap<String, String>> {
    let text = text(file, sections, ".osrel")?.context("the image has no section `.osrel`")?;
    Ok(text.lines().filter_map(assignment).collect())
}

fn view(file: &[u8], image: &FoundPe) -> Result<FoundUki> {
    image.content(file, ".linux")?.context("the image has no section `.linux`")?;
    let os_release = assignments(file, &image.sections)?;
    let text = |name| text(file, &image.sections, name);
    let mut sections = BTreeMap::new();
    for section in &image.sections {
        let content = image.content(file, &section.name)?.unwrap_or_default();
        sections.insert(
            section.name.clone(),
            FoundContent { size: content.len() as u64, sha256: sha256(content) },
        );
    }
    Ok(FoundUki {
        os_release,
        command_line: text(".cmdline")?.unwrap_or_default().trim().to_owned(),
        kernel: text(".uname")?.map(|text| text.trim().to_owned()),
        sbat: text(".sbat")?,
        sections,
        signatures: image.signatures(file)?,
        digest: image.digest.clone(),
    })
}

impl FoundUki {
    /// The root hash of `/usr`, or of a root file system, on the command line.
    pub fn root_hash(&self) -> Option<[u8; 32]> {
        let named = |word: &'_ str| {
            let text = ["usrhash=", "roothash="].iter().find_map(|key| word.strip_prefix(key))?;
            Some(text.to_owned())
        };
        let text = self.command_line.split_whitespace().find_map(named)?;
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(hash)
    }
}

fn text(file: &[u8], sections: &[FoundSection], name: &str) -> Result<Option<String>> {
    let Some(content) = pe::content(sections, file, name)? else { return Ok(None) };
    let text = String::from_utf8(content.to_vec())
        .with_context(|| format!("read section `{name}` as text"))?;
    Ok(Some(text.trim_end_matches('\0').to_owned()))
}

/// One line of os-release, quotes taken away.
pub(crate) fn assignment(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().split_once('=').filter(|(key, _)| !key.starts_with('#'))?;
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    Some((key.to_owned(), unquoted.to_owned()))
}
