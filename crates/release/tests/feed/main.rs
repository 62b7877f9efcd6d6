//! Feeds that somebody attacked, each refused in its own words.

mod attacks;
mod bench;
mod web;

use bench::{Bench, END, Key, NOW, SIGNED};
use release::Verified;

/// Every fault, a line each.
fn told(verified: &Verified) -> String {
    verified.faults.iter().map(|fault| format!("{fault}\n")).collect()
}

#[test]
fn a_channel_of_two_versions_is_verified_until_its_signature_ends() {
    let bench = Bench::new("good");
    let feed = bench.two_versions();
    bench.write(&feed, Key::Ours, SIGNED);
    let verified = bench.verified(NOW);
    assert_eq!(told(&verified), "");
    assert!(
        verified.about.starts_with("mini for x86-64, channel stable, 2 versions, signed until")
    );
    assert_eq!(told(&bench.verified(store::Epoch(END.0 - 1))), "");
    assert!(told(&bench.verified(END)).contains("expired at"));
}
