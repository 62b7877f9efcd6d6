//! `cargo xtask check`: what can be said of the sources without running what they build.

use anyhow::{Result, bail};

use crate::run::{cargo, find, run};
use crate::test::Tally;
use crate::tidy;

/// The verb.
pub(crate) fn check() -> Result<()> {
    let mut tally = Tally::default();
    sources(&mut tally);
    tally.step("lints", || {
        let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--"];
        run(cargo().args(clippy).args(["-D", "warnings"]))
    });
    tally.step("documentation", || {
        let doc = ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
        run(cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))
    });
    tally.step("lints of what ships", || {
        // Tests may unwrap; what ships may not.
        let clippy = ["clippy", "--quiet", "--workspace", "--lib", "--bins", "--"];
        run(cargo().args(clippy).args(["-D", "warnings", "-D", "clippy::unwrap_used"]))
    });
    tally.step("licences, bans, sources", || {
        if find("cargo-deny").is_none() {
            bail!("`cargo-deny` is missing: run `cargo install --locked cargo-deny`");
        }
        let deny = ["deny", "check", "--config", ".deny.toml"];
        run(cargo().args(deny).args(["bans", "licenses", "sources"]))
    });
    tally.close()
}

/// What costs nothing, and so is a part of every test run.
pub(crate) fn sources(tally: &mut Tally) {
    tally.step("format", || run(cargo().args(["fmt", "--all", "--check"])));
    tally.step("tidy", tidy::tidy);
}
