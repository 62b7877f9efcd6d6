//! The floor of a profile beside the version of the image that is baked from it.

use std::fs;

use crate::bench::Bench;

/// Exit code of a profile that cannot be used; see `docs/exit-codes.md`.
const PROFILE: i32 = 2;

#[test]
fn a_floor_above_the_image_s_own_version_is_refused_before_anything_is_fetched() {
    let bench = Bench::new("floor");
    let profile = fs::read_to_string(bench.path("host.yaml")).unwrap();
    fs::write(bench.path("host.yaml"), profile + "updates: {floor: \"1.10\"}\n").unwrap();
    let ran = bench.build(&["--version", "1.9"]);
    assert_eq!(ran.code, Some(PROFILE), "{}", ran.text);
    let words = "key `updates.floor`: `1.10` is newer than the image's own version `1.9`";
    assert!(ran.text.contains(words), "{}", ran.text);
    let asked = bench.repository.asked();
    assert!(!asked.iter().any(|path| path.contains("/pool/")), "{asked:?}");
    // The version that hosts go through is the floor itself.
    bench.good(&["--version", "1.10"]);
}
