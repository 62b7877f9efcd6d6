//! What must differ between hosts is in no image.

use anyhow::Result;
use store::{Entry, Tree};

use super::{FACTORY, Finding, Lookup, finding};
use crate::Patterns;

/// Files that are made on the host or stay empty.
const MUST_BE_EMPTY: &[&str] = &[
    "etc/machine-id",
    "etc/ssh/ssh_host_*_key",
    "etc/ssh/ssh_host_*_key.pub",
    "etc/hostid",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
];

/// Where keys lie by habit; a program may hold the words of the header.
const MAY_HOLD_KEYS: &[&str] =
    &["etc/**", "root/**", "home/**", "**/*.pem", "**/*.key", "**/*_key"];

/// Larger files are no keys.
const LARGEST_KEY: u64 = 64 << 10;

pub(super) fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let empty = Patterns::of(MUST_BE_EMPTY);
    let keys = Patterns::of(MAY_HOLD_KEYS);
    let mut found = Vec::new();
    for (path, entry) in tree.0.iter().filter(|(path, _)| !path.starts_with(FACTORY)) {
        let Some(blob) = entry.blob().filter(|blob| blob.size > 0) else { continue };
        if empty.matches(path) {
            let problem = "must be made on each host, and is not empty here".to_owned();
            found.push(finding("secret", path, entry, problem));
        }
        if blob.size > LARGEST_KEY || !(keys.matches(path) || entry.origin == "profile") {
            continue;
        }
        let bytes = lookup.read(&blob)?;
        found.extend(secret_text(path, entry, &String::from_utf8_lossy(&bytes)));
    }
    Ok(found)
}

fn secret_text(path: &str, entry: &Entry, text: &str) -> Option<Finding> {
    let key = |line: &str| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----");
    if text.lines().any(|line| key(line.trim())) {
        return Some(finding("secret", path, entry, "holds a private key".to_owned()));
    }
    let password = |line: &str| line.split(':').nth(1).is_some_and(|hash| hash.starts_with('$'));
    let shadow = matches!(path, "etc/shadow" | "etc/gshadow");
    (shadow && text.lines().any(password))
        .then(|| finding("secret", path, entry, "holds a password".to_owned()))
}
