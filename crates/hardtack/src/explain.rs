//! `hardtack explain`: what a build would run, and what of its input is new since the last one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rootfs::IMPORT;
use serde::{Deserialize, Serialize};
use sign::Directory;
use store::{Digest, Outcome, Run, Store, WouldRun};

use crate::STAGES;
use crate::args::Explain;
use crate::difference::differences;
use crate::fault::{Fault, Or as _};
use crate::plan::Plan;
use crate::{assemble, hand_over, inputs, pipeline, print, updates};

/// What the last build of an image asked for: `last/<id>.json` in the store.
#[derive(Default, Serialize, Deserialize)]
struct Last {
    /// The digest of a development build's own program.
    program: Option<Digest>,
    /// Requests in the order of their ends.
    runs: Vec<Asked>,
}

/// One request for a stage's result.
#[derive(Serialize, Deserialize)]
struct Asked {
    stage: String,
    about: String,
    key: Digest,
}

/// The most reasons, and the most packages, that are named at once.
const NAMED: usize = 12;

/// Remembers what this build asked for, so that the next can be explained.
pub(crate) fn remember(store: &Store, id: &str, program: Option<Digest>) -> Result<()> {
    let runs = store.runs().into_iter().map(|run| {
        let Run { stage, about, key, .. } = run;
        Asked { stage: stage.to_owned(), about, key }
    });
    let last = Last { program, runs: runs.collect() };
    let path = place(store, id);
    let directory = path.parent().context("name the directory of the last builds")?;
    fs::create_dir_all(directory).with_context(|| format!("make `{}`", directory.display()))?;
    let temporary = store.temporary();
    fs::write(&temporary, store::encode(&last)?)
        .and_then(|()| fs::rename(&temporary, &path))
        .with_context(|| format!("write `{}`", path.display()))
}

fn place(store: &Store, id: &str) -> PathBuf {
    store.root().join("last").join(format!("{id}.json"))
}

/// Says it on standard output. No stage runs and nothing is written.
pub(crate) fn explain(arguments: &Explain) -> Result<()> {
    let of = &arguments.of;
    let (root, locks) = hand_over::places(&of.places)?;
    let plan = inputs::settled(of, &locks)?;
    let program = hand_over::development_salt()?;
    let store = Store::look(&root, program);
    let last: Last = fs::read(place(&store, &plan.host.id))
        .ok()
        .and_then(|bytes| store::decode(&bytes).ok())
        .unwrap_or_default();
    let mut text = String::new();
    if last.runs.is_empty() {
        line(&mut text, "last build", "none that is remembered here: reasons are not known");
    } else if last.program != program {
        line(&mut text, "program", "changed since the last build (development build): all runs");
    }
    line(&mut text, "updates", &updates::told(&plan.host));
    fetch(&mut text, &plan, &store);
    let mut would_run = imports(&mut text, &plan, &store, &last)?;
    if !would_run {
        let keys = arguments.keys.clone().unwrap_or_else(|| root.join("keys"));
        would_run = rest(&mut text, &plan, &keys, &store, &last)?;
    }
    if !would_run {
        line(&mut text, "nothing", "would run: every result is kept");
    }
    print(text.trim_end());
    Ok(())
}

/// Packages that the store lacks.
fn fetch(text: &mut String, plan: &Plan, store: &Store) {
    let packages = plan.lock.packages.iter();
    let missing: Vec<_> = packages.filter(|locked| !store.has(&locked.blob)).collect();
    if missing.is_empty() {
        return line(text, "fetch", "nothing: the store holds every package");
    }
    let bytes: u64 = missing.iter().map(|locked| locked.blob.size).sum();
    let names: Vec<&str> = missing.iter().map(|locked| locked.id.name.as_str()).collect();
    let what = format!("{} packages of {bytes} bytes: {}", missing.len(), some(&names));
    line(text, "fetch", &what);
}

/// IMPORT of every package; says whether one would run.
fn imports(text: &mut String, plan: &Plan, store: &Store, last: &Last) -> Result<bool> {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut kept = 0;
    for locked in &plan.lock.packages {
        let input = assemble::import_of(&plan.lock, locked)?;
        let (key, outcome) = store.explain(&IMPORT, &input)?;
        if outcome == Outcome::Kept {
            kept += 1;
            continue;
        }
        let old = last.runs.iter().find(|one| {
            let mut words = one.about.split(' ');
            one.stage == IMPORT.name && words.next() == Some(&locked.id.name)
        });
        let reasons = reasons(old, key, &store::encode(&input)?, store);
        by_reason.entry(reasons.join(", ")).or_default().push(&locked.id.name);
    }
    line(text, IMPORT.name, &format!("{kept} kept"));
    for (reason, names) in &by_reason {
        let all = names.len();
        line(text, "", &format!("{all} would run: {}: {reason}", some(names)));
    }
    if by_reason.is_empty() {
        return Ok(false);
    }
    follows(text, IMPORT.name);
    Ok(true)
}

/// Every later stage, up to the first that would run; says whether there is one.
fn rest(
    text: &mut String,
    plan: &Plan,
    keys: &std::path::Path,
    store: &Store,
    last: &Last,
) -> Result<bool> {
    let keys = match Directory::open(keys) {
        Ok(keys) => keys,
        Err(error) => {
            line(text, "keys", &format!("{error:#}: new ones are made, and what holds them runs"));
            return Ok(true);
        }
    };
    let packages = assemble::import(&plan.lock, store).fault(Fault::Build)?;
    let error = pipeline::bake(plan, &packages, &keys, store).err();
    let runs = store.runs();
    let runs: Vec<&Run> = runs.iter().filter(|run| run.stage != IMPORT.name).collect();
    for run in &runs {
        line(text, run.stage, &format!("kept: {}", run.about));
    }
    let Some(error) = error else { return Ok(false) };
    let Some(WouldRun { stage, about, key, input }) = error.downcast_ref::<WouldRun>() else {
        return Err(error);
    };
    let old = before(last, &runs, stage, about);
    line(text, stage, &format!("would run: {about}"));
    for reason in reasons(old, *key, input, store).iter().take(NAMED) {
        line(text, "", reason);
    }
    follows(text, stage);
    Ok(true)
}

/// The same request of the last build: same stage and subject, in the same turn; where the
/// subject is new, the same turn of the stage.
fn before<'a>(last: &'a Last, runs: &[&Run], stage: &str, about: &str) -> Option<&'a Asked> {
    let of_stage = || last.runs.iter().filter(|one| one.stage == stage);
    let turn = runs.iter().filter(|run| run.stage == stage && run.about == about).count();
    let same = of_stage().filter(|one| one.about == about).nth(turn);
    same.or_else(|| of_stage().nth(runs.iter().filter(|run| run.stage == stage).count()))
}

/// Why a stage would run on this input: what differs from the last build's.
fn reasons(old: Option<&Asked>, key: Digest, input: &[u8], store: &Store) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    let Some(old) = old else { return one("not in the last build") };
    if old.key == key {
        return one("its result, or a file of it, is gone from the store");
    }
    let Some(before) = store.input(old.key) else { return one("its last input is not remembered") };
    if before == input {
        return one("the same input, another program or revision of the stage");
    }
    differences(&before, input, store)
}

/// What is behind a stage whose result is not known.
fn follows(text: &mut String, stage: &str) {
    let behind = STAGES.iter().skip_while(|row| row.name != stage).skip(1);
    let names: Vec<&str> = behind.map(|row| row.name).collect();
    if !names.is_empty() {
        let what = format!("what needs its result, known when it has run: {}", names.join(", "));
        line(text, "then", &what);
    }
}

fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn line(text: &mut String, name: &str, what: &str) {
    let _ = writeln!(text, "{name:>10}  {what}");
}
