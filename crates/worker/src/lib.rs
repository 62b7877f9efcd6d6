//! Every stage, and running one of them: bytes in, bytes out.
//!
//! The program `worker` is what another machine runs: it knows stages and blobs, and neither a
//! store, a lock, a key nor OSTree. Built as one static file it needs nothing beside itself.

mod stages;

pub use stages::STAGES;

use std::path::Path;

use anyhow::{Context, Result};

/// Runs the stage called `name` on `input` (canonical bytes); the blobs that the input declares
/// lie in the directory `blobs` under their digests, and new ones are put there. Gives the
/// canonical result.
///
/// # Errors
/// A name that no stage has; a declared blob that is missing or damaged; the stage's own.
pub fn run(name: &str, input: &[u8], blobs: &Path) -> Result<Vec<u8>> {
    let row = STAGES.iter().find(|row| row.name == name).with_context(|| {
        let known: Vec<&str> = STAGES.iter().map(|row| row.name).collect();
        format!("there is no stage `{}`: known are {}", name.escape_debug(), known.join(", "))
    })?;
    store::run_alone(row, input, blobs).with_context(|| format!("run stage `{name}`"))
}
