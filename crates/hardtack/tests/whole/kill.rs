//! S4, S11, S12: the build ends in the middle. S6: another one is at work.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;

use crate::bench::{Bench, Ran, start};
use crate::files;

/// What changes a file system.
const CHANGES: &str = "openat,write,rename,linkat,unlink,unlinkat,mkdir,mkdirat,fsync,fsetxattr,\
                       fchmod,flock,utimensat,sendfile,copy_file_range";

/// How many of each call of [`CHANGES`] the thread makes that makes most of them in a whole build:
/// `strace` counts by thread and call.
fn calls(bench: &Bench) -> BTreeMap<String, usize> {
    bench.injected(CHANGES, "delay_enter=0");
    let log = fs::read_to_string(bench.path("strace.log")).unwrap();
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        *by_thread.entry((call, thread)).or_default() += 1;
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let known = most.entry(call.to_owned()).or_default();
        *known = count.max(*known);
    }
    most.retain(|call, _| CHANGES.split(',').any(|known| known == call));
    most
}

/// Ends builds from empty stores by `signal`, for each call at up to `points` moments spread over
/// all of it; after each nothing half-written is to be seen, and the next build is good. Gives how
/// many builds were begun, and how many of them ended that way.
fn ended(name: &str, signal: &str, points: usize) -> (usize, usize) {
    let bench = Bench::new(name);
    let (mut begun, mut ended) = (0, 0);
    let calls = calls(&bench);
    assert!(calls.len() >= 8, "{calls:?}");
    for (call, count) in calls {
        for i in 0..points.min(count) {
            for folder in ["store", "output", "locks"] {
                let _ = fs::remove_dir_all(bench.path(folder));
            }
            let at = 1 + (2 * i + 1) * count / (2 * points);
            let ran = bench.injected(&call, &format!("signal={signal}:when={}", at.min(count)));
            begun += 1;
            ended += usize::from(ran.code != Some(0));
            bench.nothing_half();
            bench.converges();
        }
    }
    (begun, ended)
}

#[test]
fn s4_killed_at_every_kind_of_call_that_changes_the_store() {
    let (begun, ended) = ended("s4", "KILL", 2);
    assert!(ended * 5 >= begun * 4, "only {ended} of {begun} builds were killed");
}

#[test]
fn s12_interrupted_at_every_kind_of_call_that_changes_the_store() {
    let (begun, ended) = ended("s12", "INT", 1);
    assert!(ended * 5 >= begun * 4, "only {ended} of {begun} builds were interrupted");
}

/// One kill after the other on one store, until a build gets through.
#[test]
fn s4_killed_again_and_again() {
    let bench = Bench::new("s4-again");
    for at in [5, 10, 20, 40, 80] {
        bench.injected(CHANGES, &format!("signal=KILL:when={at}"));
        bench.nothing_half();
    }
    bench.converges();
}

#[test]
fn s11_the_locks_of_dead_builds_are_nobody_s() {
    let bench = Bench::new("s11");
    let locked = calls(&bench)["flock"];
    let left = (1..=locked).find(|at| {
        let _ = fs::remove_dir_all(bench.path("store"));
        bench.injected("flock", &format!("signal=KILL:when={at}"));
        let locks = bench.path("store/locks");
        locks.exists() && !files(&locks).is_empty()
    });
    assert!(left.is_some(), "no kill left a lock to try");
    bench.converges();
    assert!(files(&bench.path("store/locks")).is_empty());
}

#[test]
fn s6_builds_at_once_by_two_versions_of_the_program_share_a_store() {
    let bench = Bench::new("s6");
    // Another version: its keys differ from the first one's.
    let other = bench.path("hardtack");
    let program = fs::read(env!("CARGO_BIN_EXE_hardtack")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_hardtack"), &other).unwrap();
    fs::write(&other, [&program[..], b"another version"].concat()).unwrap();
    let first = OsStr::new(env!("CARGO_BIN_EXE_hardtack"));
    let builders =
        [("output", first), ("output", first), ("output-2", first), ("output-3", other.as_ref())];
    let children: Vec<_> = builders
        .into_iter()
        .map(|(output, program)| {
            let mut command = bench.with_arguments(start(program), &bench.path(output));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ran: Vec<Ran> =
        children.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect();
    for one in &ran {
        assert_eq!(one.code, Some(0), "{}", one.text);
    }
    let asked = bench.repository.asked();
    let fetched = asked.iter().filter(|path| path.contains("/pool/")).count();
    assert_eq!(fetched, fixture::old().len(), "each package is fetched once: {asked:?}");
    for output in ["output-2", "output-3"] {
        bench.golden();
        fs::remove_dir_all(bench.path("output")).unwrap();
        fs::rename(bench.path(output), bench.path("output")).unwrap();
    }
    bench.converges();
}

#[test]
fn s6_a_sweep_waits_for_no_build_and_takes_nothing_from_it() {
    let bench = Bench::new("s6-gc");
    let hold = store::Store::open(&bench.path("store"), None).unwrap();
    let swept = bench.store(&["gc", "--days", "0"]);
    assert_eq!(swept.code, Some(crate::OUTPUT), "{}", swept.text);
    assert!(swept.text.contains("in use"), "{}", swept.text);
    drop(hold);
    bench.good(&[]);
    let swept = bench.store(&["gc", "--days", "0"]);
    assert_eq!(swept.code, Some(0), "{}", swept.text);
    assert!(files(&bench.path("store/blobs")).is_empty());
    bench.pool_is_whole();
    bench.converges();
    bench.pool_is_whole();
}
