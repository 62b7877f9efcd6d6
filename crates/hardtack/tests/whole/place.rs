//! S7, S8, S10: where and when the build is done.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::bench::{Bench, Ran, THEN};
use crate::refused_by_the_machine;

#[test]
fn s7_a_read_only_store_is_named() {
    let bench = Bench::new("s7-read-only");
    bench.good(&[]);
    let mounts = "mount --bind $BENCH/store $BENCH/store\nmount -o remount,bind,ro $BENCH/store";
    let ran = bench.mounted(mounts);
    refused_by_the_machine(&ran, &bench.path("store").display().to_string());
    assert!(ran.text.contains("--store"), "no way out: {}", ran.text);
    bench.converges();
}

#[test]
fn s7_a_store_on_an_overlay_works() {
    let bench = Bench::new("s7-overlay");
    bench.good(&[]);
    fs::remove_dir_all(bench.path("output")).unwrap();
    // Some of it must be made anew above the lower layer.
    fs::remove_dir_all(bench.path("store/results")).unwrap();
    // An overlay cannot be its own upper layer's host: that lies on a tmpfs.
    let mounts = "mkdir -p $BENCH/upper\nmount -t tmpfs none $BENCH/upper\n\
        mkdir $BENCH/upper/u $BENCH/upper/w\n\
        mount -t overlay -o lowerdir=$BENCH/store,upperdir=$BENCH/upper/u,workdir=$BENCH/upper/w \
        none $BENCH/store";
    let ran = bench.mounted(mounts);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    bench.golden();
}

/// The kernel makes no link between two mounts, as a file system without links makes none.
#[test]
fn s7_a_pool_that_cannot_be_linked_to_the_blobs_works() {
    let bench = Bench::new("s7-links");
    let ran = bench
        .mounted("mkdir -p $BENCH/store/pool\nmount --bind $BENCH/store/pool $BENCH/store/pool");
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    bench.golden();
    bench.converges();
}

#[test]
fn s7_a_store_over_two_file_systems_is_refused_by_name() {
    let bench = Bench::new("s7-two");
    let ran = bench
        .mounted("mkdir -p $BENCH/store/blobs\nmount --bind $BENCH/store/blobs $BENCH/store/blobs");
    refused_by_the_machine(&ran, "move `");
    bench.converges();
}

fn at(bench: &Bench, moment: &str, more: &[&str]) -> Ran {
    let faketime = judge::tool("faketime").get_program().to_owned();
    let words: [&OsStr; 3] = [&faketime, "-f".as_ref(), moment.as_ref()];
    Ran::of(bench.command(&words).args(more).output().unwrap())
}

#[test]
fn s8_another_century_changes_no_byte() {
    for moment in ["@2038-01-19 03:14:08", "@2100-01-01 00:00:00", "@1970-01-02 00:00:00"] {
        let bench = Bench::new(&format!("s8-{}", &moment[1..5]));
        let made = at(&bench, moment, &[]);
        if moment.starts_with("@1970") {
            assert_eq!(made.code, Some(3), "{}", made.text);
            assert!(made.text.contains("in the future"), "{}", made.text);
            // A lock that is there asks for no date.
            bench.good(&[]);
            fs::remove_dir_all(bench.path("store")).unwrap();
            fs::remove_dir_all(bench.path("output")).unwrap();
            let locked = at(&bench, moment, &["--locked"]);
            assert_eq!(locked.code, Some(0), "{}", locked.text);
        } else {
            assert_eq!(made.code, Some(0), "{}", made.text);
        }
        bench.golden();
        bench.converges();
    }
}

#[test]
fn s10_masks_homes_and_working_directories_change_no_byte() {
    let bench = Bench::new("s10");
    for before in [
        "umask 077",
        "umask 000",
        "unset HOME XDG_CACHE_HOME USER LOGNAME PATH",
        "export HOME=/nonexistent TMPDIR=/nonexistent",
        "export TMPDIR=/dev/full TZ=Asia/Kathmandu LC_ALL=tr_TR.UTF-8",
        "mkdir -p $BENCH/gone\ncd $BENCH/gone\nrmdir $BENCH/gone",
    ] {
        for folder in ["store", "output", "locks"] {
            let _ = fs::remove_dir_all(bench.path(folder));
        }
        let ran = bench.shell(&[], before);
        assert_eq!(ran.code, Some(0), "{before}: {}", ran.text);
        bench.golden();
    }
    bench.converges();
}

#[test]
fn s10_places_with_any_name() {
    let top = judge::scratch("bench-s10-names");
    for name in [&b"with space"[..], b"new\nline", b"quote'\"$x", b"percent%s%n"] {
        let bench = Bench::at(top.join(OsStr::from_bytes(name)));
        bench.publish(THEN, &fixture::old());
        bench.converges();
    }
    let bench = Bench::at(top.join(OsStr::from_bytes(b"latin-\xe9\xff")));
    let ran = bench.build(&[]);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    assert!(ran.text.contains("is not UTF-8"), "{}", ran.text);
}
