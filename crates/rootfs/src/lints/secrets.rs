//! What must differ between hosts is in no image.

use anyhow::Result;
use store::{Entry, Tree};

use super::{Finding, Lint, Lookup, finding, paths};
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

pub(super) const ROW: Lint = Lint {
    name: "secret",
    about: "a key, a password or an id that must differ between hosts",
    way_out: "leave it out, and make it or hand it in on each host",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let empty = Patterns::of(MUST_BE_EMPTY);
    let keys = Patterns::of(MAY_HOLD_KEYS);
    let mut found = Vec::new();
    for (path, entry) in paths(tree) {
        let Some(blob) = entry.blob().filter(|blob| blob.size > 0) else { continue };
        if empty.matches(path) {
            found.push(finding(path, entry, "must be made on each host, and is not empty here"));
        }
        if blob.size > LARGEST_KEY || !(keys.matches(path) || entry.origin == "profile") {
            continue;
        }
        let bytes = lookup.bytes(tree, path)?;
        found.extend(secret_text(path, entry, &String::from_utf8_lossy(&bytes)));
    }
    Ok(found)
}

fn secret_text(path: &str, entry: &Entry, text: &str) -> Option<Finding> {
    let key = |line: &str| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----");
    if text.lines().any(|line| key(line.trim())) {
        return Some(finding(path, entry, "holds a private key"));
    }
    let password = |line: &str| line.split(':').nth(1).is_some_and(|hash| hash.starts_with('$'));
    let shadow = matches!(path, "etc/shadow" | "etc/gshadow");
    (shadow && text.lines().any(password)).then(|| finding(path, entry, "holds a password"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn secrets_are_found_in_the_factory_etc_as_well() {
        let mut sample = Sample::new("secret");
        sample.file("usr/share/factory/etc/machine-id", "", 0o444);
        sample.file("usr/share/x.pem", "-----BEGIN CERTIFICATE-----\n", 0o644);
        assert_eq!(sample.findings(), []);
        sample.file("usr/share/factory/etc/machine-id", "0123\n", 0o444);
        sample.file("usr/share/factory/etc/ssh/ssh_host_ed25519_key", "k", 0o600);
        sample.file("usr/share/x.pem", "a\n-----BEGIN EC PRIVATE KEY-----\nb\n", 0o644);
        sample.file("usr/share/factory/etc/shadow", "root:$y$j9T$x:20000::::::\n", 0o640);
        sample.says("secret", "etc/machine-id", "not empty");
        sample.says("secret", "etc/ssh/ssh_host_ed25519_key", "each host");
        sample.says("secret", "usr/share/x.pem", "private key");
        sample.says("secret", "etc/shadow", "password");
    }
}
