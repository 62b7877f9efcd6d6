//! What clients of one version or another do: the table in `docs/updates.md`, as tests ask it.

use judge::{run, tool};

use crate::bench::{OWNER, VENDOR};

/// What a client does that not all do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Names of the list's signature, in the order in which it asks for them.
    pub(crate) signatures: &'static [&'static str],
    /// Key rings that are enough: folder on the bench, and name.
    pub(crate) rings: &'static [(&'static str, &'static str)],
    /// Whether a key of the image counts while the host's owner has a ring.
    pub(crate) adds_rings: bool,
    /// Whether an old `BEST-BEFORE-…` makes it refuse the list.
    pub(crate) best_before: bool,
    /// Characters of which one makes a version unknown to it.
    pub(crate) refused: &'static str,
}

/// Key rings that some client may look for.
pub(crate) const RINGS: [(&str, &str); 4] = [
    (VENDOR, "import-pubring.gpg"),
    (VENDOR, "import-pubring.pgp"),
    (OWNER, "import-pubring.gpg"),
    (OWNER, "import-pubring.pgp"),
];

const DEBIAN_13: Habits = Habits {
    signatures: &["SHA256SUMS.gpg"],
    rings: &[RINGS[0], RINGS[2]],
    adds_rings: false,
    best_before: false,
    refused: "~^",
};

const NEWEST: Habits = Habits {
    signatures: &[
        "SHA256SUMS.sha256.asc",
        "SHA256SUMS.sha256.gpg",
        "SHA256SUMS.gpg",
        "SHA256SUMS.asc",
    ],
    rings: &[RINGS[1], RINGS[2], RINGS[3]],
    adds_rings: true,
    best_before: true,
    refused: ",",
};

/// The version of the client that is judged, for people, and what it should do. Of one that is
/// newer than what is known the same is expected: the tests say where it is not so.
///
/// # Panics
/// For a version of which nobody knows.
pub(crate) fn habits() -> (String, &'static Habits) {
    let said = run(tool("systemd-sysupdate").arg("--version")).text;
    let line = said.lines().next().unwrap_or_default().to_owned();
    let number = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0u32);
    match number {
        257 => (line, &DEBIAN_13),
        262.. => (line, &NEWEST),
        _ => panic!("nobody saw what the client of `{line}` asks for"),
    }
}
