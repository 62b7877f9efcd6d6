//! A version fits into its slots, and into those of hosts that are out there.

use std::fs;

use crate::bench::Bench;

/// Exit code of a stage that refuses its input; see `docs/exit-codes.md`.
const BUILD: i32 = 5;
/// Exit code of an image that is looked at; see `docs/exit-codes.md`.
const IMAGE: i32 = 8;

impl Bench {
    /// A file of the profile of so many KiB.
    pub(crate) fn grow(&self, kib: usize) {
        let bytes: Vec<u8> = (0..kib * 1024).map(|n| (n / 1024 % 251) as u8).collect();
        fs::write(self.path("host.d/usr/lib/grown"), bytes).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_ledger_of_what_is_large_and_what_grew() {
    let bench = Bench::new("fit");
    bench.good(&["--version", "1"]);
    fs::rename(bench.path("output"), bench.path("one")).unwrap();
    let one = bench.path("one").display().to_string();
    bench.grow(3400);
    let ran = bench.build(&["--version", "2"]);
    assert_eq!(ran.code, Some(BUILD), "{}", ran.text);
    assert!(ran.text.contains("slot-size: usr (layout): 5 MiB do not fit"), "{}", ran.text);
    assert!(ran.text.contains("3.3 MiB  profile:host.d"), "{}", ran.text);
    assert!(!ran.text.contains("growth since"), "nothing stands there: {}", ran.text);
    let ran = bench.build(&["--version", "2", "--previous", &one]);
    assert_eq!(ran.code, Some(BUILD), "{}", ran.text);
    assert!(ran.text.contains("growth since the earlier release: +3.3 MiB"), "{}", ran.text);
    assert!(ran.text.contains("+3.3 MiB  profile:host.d\n"), "{}", ran.text);
    let ran = bench.build(&["--version", "2", "--previous", "nowhere"]);
    assert_eq!(ran.code, Some(IMAGE), "{}", ran.text);
}

#[test]
fn a_larger_slot_is_of_no_use_to_hosts_that_are_out_there() {
    let bench = Bench::new("fit-hosts");
    bench.good(&["--version", "1"]);
    let one = bench.path("one").display().to_string();
    fs::create_dir(&one).unwrap();
    for file in store::list(&bench.path("output")).unwrap() {
        fs::copy(&file, bench.path("one").join(file.file_name().unwrap())).unwrap();
    }
    let profile = fs::read_to_string(bench.path("host.yaml")).unwrap();
    fs::write(bench.path("host.yaml"), profile.replace("usr: 4 MiB", "usr: 8 MiB")).unwrap();
    bench.grow(3400);
    let told = "hosts that were installed with version 1 have 4 MiB";
    let ran = bench.build(&["--version", "2", "--previous", &one]);
    assert_eq!(ran.code, Some(BUILD), "{}", ran.text);
    assert!(ran.text.contains(told), "{}", ran.text);
    // Not named, the release in the output directory is a warning, and no part of a byte.
    let ran = bench.good(&["--version", "2"]);
    assert!(ran.text.contains("warning: usr: 5 MiB are needed") && ran.text.contains(told));
    assert!(ran.text.contains("growth since the earlier release"), "{}", ran.text);
    let beside = bench.artifacts();
    fs::remove_dir_all(bench.path("output")).unwrap();
    let ran = bench.good(&["--version", "2"]);
    assert!(!ran.text.contains("have 4 MiB"), "{}", ran.text);
    let names = bench.artifacts().into_iter().filter(|(name, _)| !name.contains("_1."));
    let old = beside.into_iter().filter(|(name, _)| !name.contains("_1."));
    assert_eq!(names.collect::<Vec<_>>(), old.collect::<Vec<_>>());
}
