//! Kinds of feeds: what a client reads beside a version's files.

use std::collections::BTreeMap;

use store::{Digest, Epoch};

/// A kind of feed: a signed list in a channel's directory.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Its name.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The list's file.
    pub list: &'static str,
    /// Every name under which some client asks for the list's detached signature.
    pub signatures: &'static [&'static str],
    /// The list, from names and SHA-256 (hexadecimal) of everything that it vouches for.
    pub text: fn(&BTreeMap<String, String>) -> String,
    /// Names of empty files that say until when the list holds.
    pub markers: fn(Epoch) -> Vec<String>,
}

/// Every kind of feed; see `docs/updates.md` for which client asks for what.
pub const FEEDS: &[Feed] = &[Feed {
    name: "sysupdate",
    about: "for systemd-sysupdate(8), over any web server",
    list: "SHA256SUMS",
    signatures: &[
        "SHA256SUMS.gpg",
        "SHA256SUMS.asc",
        "SHA256SUMS.sha256.asc",
        "SHA256SUMS.sha256.gpg",
    ],
    text: sums,
    markers: |expires| vec![best_before(expires)],
}];

/// The text of sha256sum(1), binary mode, sorted by name.
fn sums(files: &BTreeMap<String, String>) -> String {
    files.iter().map(|(name, sha256)| format!("{sha256} *{name}\n")).collect()
}

/// The first midnight (UTC) after `expires`: a client that counts days refuses no list whose
/// signature still holds.
fn best_before(expires: Epoch) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let next = expires.0.div_ceil(DAY).saturating_mul(DAY);
    let (year, month, day) = Epoch(next).date();
    format!("BEST-BEFORE-{year:04}-{month:02}-{day:02}")
}

impl Feed {
    /// Everything that the list vouches for: `files`, and its markers.
    pub fn listed(
        &self,
        files: &BTreeMap<String, String>,
        expires: Epoch,
    ) -> BTreeMap<String, String> {
        let empty = Digest::of(b"").to_string();
        let markers = (self.markers)(expires).into_iter().map(|name| (name, empty.clone()));
        files.clone().into_iter().chain(markers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::check_name;

    #[test]
    fn a_list_is_what_sha256sum_reads() {
        let folder = judge::scratch("sums");
        std::fs::write(folder.join("a,b_c-1.gz"), "abc").unwrap();
        let files = BTreeMap::from([("a,b_c-1.gz".to_owned(), Digest::of(b"abc").to_string())]);
        let feed = FEEDS[0];
        let listed = feed.listed(&files, Epoch(1_772_323_200));
        assert!(listed.contains_key("BEST-BEFORE-2026-03-01"), "{listed:?}");
        std::fs::write(folder.join("BEST-BEFORE-2026-03-01"), "").unwrap();
        std::fs::write(folder.join(feed.list), (feed.text)(&listed)).unwrap();
        let judged = || {
            let mut command = judge::tool("sha256sum");
            judge::run(command.args(["--strict", "-c", feed.list]).current_dir(&folder))
        };
        let ran = judged();
        assert!(ran.ok && ran.text.contains("a,b_c-1.gz: OK"), "{}", ran.text);
        std::fs::write(folder.join("a,b_c-1.gz"), "abd").unwrap();
        assert!(!judged().ok);
    }

    #[test]
    fn a_day_that_has_begun_is_not_refused_before_its_end() {
        assert_eq!(best_before(Epoch(1_772_323_199)), "BEST-BEFORE-2026-03-01");
        assert_eq!(best_before(Epoch(1_772_323_201)), "BEST-BEFORE-2026-03-02");
    }

    #[test]
    fn every_name_of_every_feed_is_flat() {
        for feed in FEEDS {
            for name in feed.signatures.iter().chain([&feed.list]) {
                check_name(name).unwrap();
            }
        }
    }
}
