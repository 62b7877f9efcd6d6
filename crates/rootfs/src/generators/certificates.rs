//! The bundle of trusted certificate authorities (update-ca-certificates(8)): every certificate
//! of the distribution that `ca-certificates.conf` does not strike out, then those of the profile.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use store::{Scratch, Tree};

use super::files::{bytes, put, text};
use crate::{Change, Generator, Point, Purpose};

const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const SELECTION: &str = "etc/ca-certificates.conf";
const SHIPPED: &str = "usr/share/ca-certificates";
const OWN: &str = "etc/ssl/hardtack";
const ORIGIN: &str = "generator:certificates";

pub(crate) const ROW: Generator = Generator {
    name: "certificates",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Installed,
    reads: &[BUNDLE, SELECTION, "usr/share/ca-certificates/**", "etc/ssl/hardtack/**"],
    writes: &[BUNDLE],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let selection = text(tree, scratch, SELECTION)?.unwrap_or_default();
    let struck: BTreeSet<&str> =
        selection.lines().filter_map(|line| line.strip_prefix('!')).map(str::trim).collect();
    let chosen = |path: &str| {
        let name = path.strip_prefix(SHIPPED).and_then(|name| name.strip_prefix('/'));
        !name.is_some_and(|name| struck.contains(name))
    };
    let mut bundle = Vec::new();
    let mut change = Change::default();
    for (path, entry) in tree.below(SHIPPED).chain(tree.below(OWN)) {
        if entry.blob().is_none() || !path.ends_with(".crt") || !chosen(path) {
            continue;
        }
        let certificate = bytes(tree, scratch, path)?.unwrap_or_default();
        let begin = b"-----BEGIN CERTIFICATE-----";
        if !certificate.windows(begin.len()).any(|window| window == begin) {
            bail!("`{path}` ({}) is not a PEM certificate", entry.origin);
        }
        bundle.extend_from_slice(&certificate);
        if !certificate.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    if !bundle.is_empty() {
        put(&mut change, scratch, BUNDLE, &bundle, ORIGIN)?;
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    fn pem(name: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn the_bundle_is_sorted_and_names_beyond_ascii_are_kept() {
        let sample = Sample::new()
            .file("usr/share/ca-certificates/mozilla/Zed.crt", pem("zed").as_bytes())
            .file("usr/share/ca-certificates/mozilla/Fő.crt", pem("fo").trim_end().as_bytes())
            .file("usr/share/ca-certificates/mozilla/Bad.crt", pem("bad").as_bytes())
            .file("usr/share/ca-certificates/mozilla/README", b"no")
            .file("etc/ssl/hardtack/own.crt", pem("own").as_bytes())
            .file(SELECTION, b"# choice\nmozilla/Zed.crt\n!mozilla/Bad.crt\n");
        let tree = sample.run(&ROW).unwrap();
        assert_eq!(sample.text(&tree, BUNDLE), pem("fo") + &pem("zed") + &pem("own"));
    }

    #[test]
    fn a_der_certificate_is_refused_by_name() {
        let sample = Sample::new().file("etc/ssl/hardtack/der.crt", &[0x30, 0x82]);
        assert!(format!("{:#}", sample.run(&ROW).unwrap_err()).contains("der.crt"));
    }
}
