//! `hardtack store`: checking and sweeping the store and its pool; mending after damage.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Error, Result, bail};
use pool::Pool;
use store::{Damaged, Sole, Store};

use crate::args;
use crate::fault::{Fault, Or as _};
use crate::{hand_over, print, say};

const DAY: u64 = 24 * 60 * 60;

/// Does what `hardtack store` asks for.
pub(crate) fn run(verb: &args::Store) -> Result<()> {
    match verb {
        args::Store::Verify { store } => verify(&place(store)?).fault(Fault::Output),
        args::Store::Gc { store, days } => sweep(&place(store)?, *days).fault(Fault::Output),
    }
}

fn place(given: &Option<PathBuf>) -> Result<PathBuf> {
    let place = hand_over::root(given.as_deref())?;
    if !place.is_dir() {
        return Err(anyhow::anyhow!("there is no store `{}`", place.display()))
            .fault(Fault::Output);
    }
    Ok(place)
}

fn verify(root: &std::path::Path) -> Result<()> {
    let store = Store::open(root, None)?;
    let damaged = mend(&store)?;
    if damaged > 0 {
        bail!(
            "{damaged} things in the store were damaged and are set aside: the next build makes \
             them anew; look at the disk's health"
        );
    }
    Ok(())
}

/// Checks store and pool, says what is set aside, and gives how much that is.
pub(crate) fn mend(store: &Store) -> Result<usize> {
    let found = store.verify()?;
    let damaged: Vec<String> = found.damaged.iter().map(Damaged::to_string).collect();
    let objects = Pool::open(store)?.verify()?;
    for line in damaged.iter().chain(&objects.damaged) {
        say(&format!("damaged: {line}"));
    }
    print(&format!(
        "{} blobs, {} results and {} objects are sound",
        found.blobs, found.results, objects.sound
    ));
    Ok(damaged.len() + objects.damaged.len())
}

fn sweep(root: &std::path::Path, days: u64) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "how old is too old; reaches no byte")]
    let now = SystemTime::now();
    let age = Duration::from_secs(days.saturating_mul(DAY));
    let before = now.checked_sub(age).context("go back that many days")?;
    let sole = Sole::open(root)?;
    let swept = sole.sweep(before)?;
    let objects = Pool::open(sole.store())?.prune()?;
    print(&format!(
        "removed {} files of {} MiB, and {objects} objects of the pool",
        swept.files,
        swept.bytes >> 20
    ));
    Ok(())
}

/// Whether a build failed for something in the store that is set aside by now.
pub(crate) fn is_damage(error: &Error) -> bool {
    error.chain().any(|cause| cause.is::<Damaged>())
}
