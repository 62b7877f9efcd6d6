//! What a person reads at the end of a build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use filesystem::Extents;
use store::{Outcome, Run, Store};

use crate::pipeline::Built;
use crate::plan::Plan;
use crate::updates;

/// How many packages and stage runs are named one by one.
const NAMED: usize = 8;

/// Partition map, biggest packages, what updates came to and stage times.
pub(crate) fn report(plan: &Plan, built: &Built, store: &Store) -> Result<String> {
    let extents = Extents::read(&store.read(&built.image.extents)?)?;
    let updates = updates::told(&plan.host);
    let (disk, biggest, stages) = (&built.disk, biggest(&extents), stages(&store.runs()));
    Ok(format!("{disk}\n{biggest}\nupdates\n           {updates}\n\n{stages}"))
}

fn biggest(extents: &Extents) -> String {
    let mut sizes: Vec<(&str, u64)> = extents.by_origin().into_iter().collect();
    sizes.sort_by_key(|(name, size)| (std::cmp::Reverse(*size), *name));
    let mut text = String::from("biggest packages in /usr\n");
    for (name, size) in sizes.iter().take(NAMED) {
        let _ = writeln!(text, "{:>9}  {name}", mib(*size));
    }
    let rest: u64 = sizes.iter().skip(NAMED).map(|(_, size)| size).sum();
    if sizes.len() > NAMED {
        let _ = writeln!(text, "{:>9}  {} more", mib(rest), sizes.len() - NAMED);
    }
    text
}

/// Stages in the order in which they first ended: how many ran, how many were kept, and by name
/// what ran where that is a short list.
pub(crate) fn stages(runs: &[Run]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut by_stage: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let of_stage = by_stage.entry(run.stage).or_default();
        if of_stage.is_empty() {
            order.push(run.stage);
        }
        of_stage.push(run);
    }
    let mut text = String::from("stages\n");
    for stage in order {
        let runs = &by_stage[stage];
        let ran: Vec<&&Run> = runs.iter().filter(|run| run.outcome == Outcome::Ran).collect();
        let took: Duration = ran.iter().map(|run| run.took).sum();
        let kept = runs.len() - ran.len();
        let names: Vec<&str> = ran.iter().take(NAMED).map(|run| run.about.as_str()).collect();
        let more = if ran.len() > NAMED { ", …" } else { "" };
        let _ = writeln!(
            text,
            "{stage:>10}  {:>3} ran  {kept:>3} kept  {:>7.2} s  {}{more}",
            ran.len(),
            took.as_secs_f64(),
            names.join(", ")
        );
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}
