//! The list of a channel's files: what sha256sum(1) writes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use store::Digest;

use crate::check_name;

/// Reads a list: name to digest. Stricter than any client, because the list is ours.
///
/// # Errors
/// A line of another form, a name that is not flat, a name twice.
pub(crate) fn read_sums(bytes: &[u8]) -> Result<BTreeMap<String, Digest>> {
    let text = std::str::from_utf8(bytes).context("read the list as text")?;
    let mut files = BTreeMap::new();
    let Some(body) = text.strip_suffix('\n') else { bail!("the list's last line is cut") };
    for (number, line) in body.split('\n').enumerate() {
        let (name, digest) = entry(line).with_context(|| format!("line {}", number + 1))?;
        if files.insert(name.to_owned(), digest).is_some() {
            bail!("line {}: `{name}` is listed twice", number + 1);
        }
    }
    Ok(files)
}

fn entry(line: &str) -> Result<(&str, Digest)> {
    let split = line.split_once(' ').context("there is no digest and name")?;
    let (hex, rest) = split;
    let plain = hex.len() == 64 && !hex.bytes().any(|byte| byte.is_ascii_uppercase());
    ensure!(plain, "`{}` is no SHA-256", hex.escape_debug());
    let digest = hex.parse().context("read the digest")?;
    let name = rest.strip_prefix(['*', ' ']).context("the name has neither `*` nor ` ` before")?;
    check_name(name)?;
    Ok((name, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, why: &str) {
        let error = format!("{:#}", read_sums(text.as_bytes()).unwrap_err());
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn both_forms_of_a_line_are_read_and_no_third() {
        let digest = Digest::of(b"abc");
        let read = read_sums(format!("{digest} *a\n{digest}  b.gz\n").as_bytes()).unwrap();
        assert_eq!(read, [("a".into(), digest), ("b.gz".into(), digest)].into());
        refused(&format!("{digest} a\n"), "neither `*` nor ` `");
        refused(&format!("{digest}\n"), "no digest and name");
        refused(&format!("{digest} *a"), "last line is cut");
        refused(&format!("{digest} *a\n\n"), "line 2");
        refused("", "last line is cut");
        refused(&format!("{} *a\n", digest.to_string().to_uppercase()), "is no SHA-256");
        refused(&format!("{} *a\n", "é".repeat(32)), "read the digest");
        refused(&format!("{digest} *a\n{digest} *a\n"), "listed twice");
    }

    #[test]
    fn a_name_with_a_folder_or_of_the_folder_above_is_refused() {
        let digest = Digest::of(b"abc");
        for name in ["../a", "a/b", "/a", "..", ".", "", "a\0", "a b", "a\\b", "%2e", "a\r"] {
            let why = if name.contains('/') { "`/` cannot stand" } else { "name of a feed" };
            refused(&format!("{digest} *{name}\n"), why);
        }
    }
}
