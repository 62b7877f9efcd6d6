//! Known bytes, and how much of the pipeline runs again when little changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use release::Manifest;
use store::Digest;

use crate::bench::{Bench, LATER, Ran, THEN};

/// Stages that ran, and how often.
fn ran(ran: &Ran) -> BTreeMap<String, u32> {
    let ran = ran.stages().into_iter().filter(|(_, [ran, _])| *ran > 0);
    ran.map(|(stage, [ran, _])| (stage, ran)).collect()
}

#[test]
fn a_whole_build_makes_the_bytes_that_are_known() {
    let bench = Bench::new("golden");
    bench.good(&[]);
    bench.golden();
}

#[test]
fn where_nothing_changed_no_stage_runs_and_no_artifact_is_written() {
    let bench = Bench::new("nothing");
    let first = bench.good(&[]).stages();
    assert!(first.values().all(|[ran, _]| *ran > 0), "{first:?}");
    let times = || {
        let files = store::list(&bench.path("output")).unwrap();
        let disk = files.iter().find(|file| file.extension().is_some_and(|e| e == "raw")).unwrap();
        fs::metadata(disk).unwrap().modified().unwrap()
    };
    let (before, artifacts) = (times(), bench.artifacts());
    bench.repository.asked();
    let again = bench.good(&[]);
    assert_eq!(ran(&again), BTreeMap::new(), "{}", again.text);
    assert_eq!(bench.repository.asked(), Vec::<String>::new(), "a lock that holds asks nobody");
    assert_eq!((times(), bench.artifacts()), (before, artifacts));
}

#[test]
fn a_disk_is_its_ranges_and_zeros_and_its_digest_is_told_on_request() {
    let bench = Bench::new("checksums");
    bench.good(&[]);
    let disk = || {
        let result = fs::read_to_string(bench.path("output/result.json")).unwrap();
        let artifacts = Manifest::parse(&result).unwrap().artifacts;
        artifacts.into_iter().find(|(name, _)| name.ends_with(".raw")).unwrap()
    };
    let (name, plain) = disk();
    let file = bench.path("output").join(name);
    let bytes = fs::read(&file).unwrap();
    assert_eq!((plain.size, &plain.sha256), (bytes.len() as u64, &None));
    let mut rest = bytes.clone();
    for range in &plain.ranges {
        let start = usize::try_from(range.offset).unwrap();
        let place = start..start + usize::try_from(range.size).unwrap();
        let found = Digest::of(&bytes[place.clone()]).to_string();
        assert_eq!(found, range.sha256, "{}", range.region);
        rest[place].fill(0);
    }
    assert!(rest.iter().all(|byte| *byte == 0));
    let regions: BTreeSet<&str> = plain.ranges.iter().map(|range| &*range.region).collect();
    for region in ["table", "esp", "usr-a", "usr-verity-a", "usr-verity-sig-a", "backup-table"] {
        assert!(regions.contains(region), "{regions:?}");
    }
    // The disk is read for it and stays as it was.
    let written = || fs::metadata(&file).unwrap().modified().unwrap();
    let before = written();
    bench.good(&["--checksums"]);
    let (_, whole) = disk();
    assert_eq!(whole.sha256, Some(Digest::of(&bytes).to_string()));
    assert_eq!((&whole.ranges, written()), (&plain.ranges, before));
    bench.good(&[]);
    bench.golden();
}

#[test]
fn one_changed_package_is_one_import_and_what_follows_from_it() {
    let bench = Bench::new("patched");
    bench.good(&[]);
    bench.publish(LATER, &fixture::patched());
    bench.repository.asked();
    let again = bench.good(&["--update"]);
    let ran = ran(&again);
    assert_eq!(ran["import"], 1, "{}", again.text);
    assert!(again.text.contains("tool 1.0-2"), "{}", again.text);
    for stage in ["freeze", "protect", "link", "lay-out"] {
        assert_eq!(ran.get(stage), Some(&1), "{}", again.text);
    }
    // The generators of the host see less than all of it.
    assert!(again.stages()["generate"][1] > ran["generate"], "{}", again.text);
    let fetched: Vec<String> =
        bench.repository.asked().into_iter().filter(|path| path.contains("/pool/")).collect();
    assert_eq!(fetched, ["/made/pool/tool_1.0-2_amd64.deb"]);
}

#[test]
fn a_changed_file_of_the_profile_imports_nothing() {
    let bench = Bench::new("own");
    bench.good(&[]);
    fs::write(bench.path("host.d/usr/lib/own"), "another\n").unwrap();
    let again = bench.good(&[]);
    let ran = ran(&again);
    assert_eq!((ran.get("import"), ran.get("merge")), (None, Some(&1)), "{}", again.text);
    assert_eq!(ran.get("initrd"), None, "the initrd holds nothing of it: {}", again.text);
}

#[test]
fn a_lock_that_is_renewed_says_what_changed() {
    let bench = Bench::new("diff");
    bench.good(&[]);
    bench.publish(LATER, &fixture::new());
    let kept = bench.good(&[]);
    assert!(!kept.text.contains('→'), "a lock is kept until --update: {}", kept.text);
    let renewed = bench.good(&["--update"]);
    let said = "epoch: 2026-03-01T00:00:00Z → 2026-03-02T00:00:00Z\n+ extra 3\n  tool 1.0 → 1.1\n";
    assert!(renewed.text.contains(said), "{}", renewed.text);
    assert_eq!(renewed.text.matches('→').count(), 2, "{}", renewed.text);
}

#[test]
fn two_states_of_an_archive_are_two_releases_and_the_first_can_be_made_again() {
    let bench = Bench::new("releases");
    bench.good(&[]);
    let first = bench.artifacts();
    fs::copy(bench.path("locks/host.lock"), bench.path("first.lock")).unwrap();
    bench.publish(LATER, &fixture::new());
    fs::rename(bench.path("output"), bench.path("output-1")).unwrap();
    bench.good(&["--update"]);
    let second = bench.artifacts();
    let version = |artifacts: &BTreeMap<String, _>| {
        let disk = artifacts.keys().find(|name| name.ends_with(".raw")).unwrap().clone();
        disk.trim_start_matches("host_").trim_end_matches(".raw").to_owned()
    };
    assert_eq!((version(&first), version(&second)), ("202603.01.0".into(), "202603.02.0".into()));

    fs::copy(bench.path("first.lock"), bench.path("locks/host.lock")).unwrap();
    fs::remove_dir_all(bench.path("output")).unwrap();
    let again = bench.good(&["--locked"]);
    assert_eq!(ran(&again), BTreeMap::new(), "{}", again.text);
    assert_eq!(bench.artifacts(), first);
}

#[test]
fn a_locked_build_needs_no_index_and_names_the_package_that_has_moved() {
    let bench = Bench::new("moved");
    bench.good(&[]);
    let first = bench.artifacts();
    // What the lock names is in the store.
    bench.repository.withdraw();
    fs::remove_dir_all(bench.path("output")).unwrap();
    bench.good(&["--locked"]);
    assert_eq!(bench.artifacts(), first);
    // On another machine it is not, and the archive of today has only newer packages.
    bench.publish(LATER, &fixture::new());
    fs::remove_dir_all(bench.path("store")).unwrap();
    fs::remove_dir_all(bench.path("output")).unwrap();
    let refused = bench.build(&["--locked"]);
    assert_eq!(refused.code, Some(4), "{}", refused.text);
    for word in ["tool 1.0", "/made/pool/tool_1.0_amd64.deb", "404"] {
        assert!(refused.text.contains(word), "`{word}` is not in {}", refused.text);
    }
    assert!(!bench.path("output").join("host_202603.01.0.raw").exists());
    // And where it is found again, the bytes are the same.
    bench.publish(THEN, &fixture::old());
    bench.good(&["--locked"]);
    assert_eq!(bench.artifacts(), first);
}
