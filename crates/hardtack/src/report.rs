//! What a person reads at the end of a build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use filesystem::Extents;
use store::{Outcome, Run, Store};

use crate::ledger::{self, Ledger};
use crate::pipeline::Built;
use crate::plan::Plan;
use crate::updates;

/// How many stage runs are named one by one.
const NAMED: usize = 8;

/// Partition map, biggest packages, growth where an earlier release is known, what updates came to
/// and stage times.
pub(crate) fn report(plan: &Plan, built: &Built, store: &Store) -> Result<String> {
    let bytes = ledger::of(&Extents::read(&store.read(&built.image.extents)?)?);
    let ledger = Ledger::new(&bytes, plan.previous.as_ref().map(|previous| &previous.bytes));
    let updates = updates::told(&plan.host);
    let (disk, stages) = (&built.disk, stages(&store.runs()));
    Ok(format!("{disk}\n{ledger}\nupdates\n           {updates}\n\n{stages}"))
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
