//! S2, S3, S9: the system refuses a call.

use std::collections::BTreeMap;
use std::fs;

use crate::bench::Bench;
use crate::{OUTPUT, refused_by_the_machine};

/// What takes room.
const WRITES: &str = "write,ftruncate,mkdir,rename,link,linkat,fsetxattr,fsync";

/// One refused call, the `at`th of a thread, of builds from empty stores: the build says so with the
/// documented code, or does not need the call; the next one is good. How many ended with which.
fn refused(name: &str, calls: &str, error: &str, at: &[usize]) -> BTreeMap<Option<i32>, usize> {
    let bench = Bench::new(name);
    let mut ends: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    let mut said = 0;
    for at in at {
        for folder in ["store", "output", "locks"] {
            let _ = fs::remove_dir_all(bench.path(folder));
        }
        let ran = bench.injected(calls, &format!("error={error}:when={at}"));
        *ends.entry(ran.code).or_default() += 1;
        match ran.code {
            Some(0) => bench.golden(),
            // The refused call may be the one that says so.
            Some(_) => said += usize::from(ran.text.contains("because: ")),
            None => panic!("a signal ended it: {}", ran.text),
        }
        bench.nothing_half();
        bench.converges();
    }
    let refused = at.len() - ends.get(&Some(0)).copied().unwrap_or_default();
    assert!(said > 0 && said + 2 >= refused, "{said} of {refused} were told why");
    ends
}

#[test]
fn s2_no_room_at_one_call() {
    let ends =
        refused("s2-call", WRITES, "ENOSPC", &[1, 2, 4, 7, 12, 19, 30, 44, 60, 85, 110, 150]);
    let codes: Vec<&Option<i32>> = ends.keys().collect();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | OUTPUT))), "{ends:?}");
    assert!(ends[&Some(OUTPUT)] > 7, "{ends:?}");
}

#[test]
fn s2_disks_of_growing_size_are_full_until_one_is_not() {
    let bench = Bench::new("s2-disk");
    let (mut full, mut size) = (0, 256);
    loop {
        let disk = format!(
            "mkdir -p $BENCH/store $BENCH/output\n\
             mount -t tmpfs -o size={size}k none $BENCH/store"
        );
        let ran = bench.mounted(&disk);
        if ran.code == Some(0) {
            break;
        }
        refused_by_the_machine(&ran, "store");
        bench.nothing_half();
        full += 1;
        size = size * 3 / 2;
        assert!(size < 64 << 10, "{}", ran.text);
    }
    assert!(full >= 3, "{full} disks were full");
    bench.golden();
    let _ = fs::remove_dir_all(bench.path("output"));
    bench.converges();
}

/// The same disk, made larger: what the failed build left is used and not in the way.
#[test]
fn s2_a_full_disk_that_is_given_room() {
    let bench = Bench::new("s2-room");
    let again = bench.command(&[]);
    let words: Vec<String> =
        again.get_args().map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let build = format!("{} {}", env!("CARGO_BIN_EXE_hardtack"), words.join(" "));
    let ran = bench.mounted(&format!(
        "mkdir -p $BENCH/store\nmount -t tmpfs -o size=6m none $BENCH/store\n\
         dd if=/dev/zero of=$BENCH/store/ballast bs=1M count=4 2>$BENCH/dd\n\
         if {build}; then exit 90; else test $? = {OUTPUT} || exit 91; fi\n\
         test -z \"$(ls -A $BENCH/store/temporary)\" || exit 92\n\
         mount -o remount,size=64m none $BENCH/store"
    ));
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    bench.golden();
}

/// Little of a large disk is free, and yet more than the build takes.
#[test]
fn s2_the_last_of_a_large_disk_is_used() {
    let bench = Bench::new("s2-last");
    let ran = bench.mounted(
        "mkdir -p $BENCH/store\nmount -t tmpfs -o size=1g none $BENCH/store\n\
         fallocate -l 1000m $BENCH/store/ballast",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    bench.golden();
}

#[test]
fn s3_a_failing_disk_at_one_call() {
    let calls = "read,pread64,write,fsync,copy_file_range,sendfile";
    let first = Bench::new("s3-linker").reads_of_the_linker();
    let at = [1, 5, 20, 40, 80, 120, 200].map(|call| first + call);
    let ends = refused("s3", calls, "EIO", &at);
    assert!(ends.get(&Some(0)).is_none_or(|good| *good < 4), "{ends:?}");
}

/// A sync that failed once may have lost what was written: it is not tried again and trusted.
#[test]
fn s3_a_failed_sync_leaves_no_artifact() {
    let bench = Bench::new("s3-sync");
    let ran = bench.injected("fsync", "error=EIO:when=1+");
    refused_by_the_machine(&ran, "sync");
    assert!(bench.artifacts().is_empty(), "{:?}", bench.artifacts());
    bench.converges();
}

#[test]
fn s9_few_open_files() {
    let bench = Bench::new("s9-files");
    let mut refused = 0;
    for most in [4, 8, 12, 16, 24, 64] {
        let ran = bench.shell(&[], &format!("ulimit -n {most}"));
        // Below some number the program itself does not start.
        assert!(ran.code.is_some(), "{}", ran.text);
        refused += usize::from(ran.code != Some(0));
        bench.nothing_half();
    }
    assert!(refused >= 2, "{refused} builds were refused");
    bench.converges();
}

#[test]
fn s9_little_memory() {
    let bench = Bench::new("s9-memory");
    let mut refused = 0;
    for kib in [50_000, 80_000, 120_000, 200_000] {
        let ran = bench.shell(&[], &format!("ulimit -v {kib}"));
        refused += usize::from(ran.code != Some(0));
        bench.nothing_half();
    }
    assert!(refused >= 1, "no limit was felt");
    bench.converges();
}

#[test]
fn s9_a_limit_of_a_file_s_size() {
    let bench = Bench::new("s9-size");
    for blocks in [1, 100, 4000] {
        let ran = bench.shell(&[], &format!("ulimit -f {blocks}"));
        assert_ne!(ran.code, Some(0), "{}", ran.text);
        bench.nothing_half();
    }
    bench.converges();
}

#[test]
fn s9_interrupted_calls_are_made_again() {
    let bench = Bench::new("s9-intr");
    for (call, when) in [("write", "1+3"), ("recvfrom", "1+2")] {
        for folder in ["store", "output", "locks"] {
            let _ = fs::remove_dir_all(bench.path(folder));
        }
        let ran = bench.injected(call, &format!("error=EINTR:when={when}"));
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        let log = fs::read_to_string(bench.path("strace.log")).unwrap();
        assert!(log.matches("EINTR").count() > 2, "hardly a call was interrupted");
        bench.golden();
    }
    bench.converges();
}

#[test]
fn s9_nobody_reads_what_the_program_says() {
    let bench = Bench::new("s9-pipe");
    let mut command = bench.command(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    drop(reader);
    let status = command.status().unwrap();
    assert_eq!(status.code(), Some(0));
    bench.golden();
}
