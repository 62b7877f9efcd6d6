//! Lints stop a build: over the host's tree, and over the sizes that only later rooms know.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use profile::UnitState;
use release::KERNELS;
use rootfs::{Finding, LINT, LINTS, Linted, Merged, Policy, Waivers};
use store::{Store, Tree};

use crate::ledger::{Bytes, Ledger};
use crate::plan::Plan;
use crate::previous::{Known, Previous};
use crate::updates;

/// The lint of sizes: a row of its own, since no tree shows what FREEZE will make of it.
pub const SLOT_SIZE: &str = "slot-size";
const WAY_OUT: &str = "leave packages out, or make the slot larger (`layout`; an installed host \
                       keeps its own)";

/// A version may fill so many hundredths of a slot: the next ones must fit as well, and no update
/// can make a slot larger.
const FULL: u64 = 90;
/// Copies of the boot loader: where the firmware looks by itself, and where it is installed.
const LOADERS: u64 = 2;
/// What a signature with its certificates adds to a program, at most.
const SIGNATURE: u64 = 64 << 10;
/// The most that all else on the ESP takes: keys to enrol, configuration, random seed, directories.
const ELSE: u64 = 1 << 20;

/// Names of all lints.
pub fn names() -> Vec<&'static str> {
    LINTS.iter().map(|lint| lint.name).chain([SLOT_SIZE]).collect()
}

/// Refuses waivers of lints that do not exist.
pub(crate) fn check(profile: &Path, waivers: &Waivers) -> Result<()> {
    let names = names();
    if let Some(lint) = waivers.keys().find(|lint| !names.contains(&lint.as_str())) {
        bail!(
            "profile `{}`: `lints` waives the unknown lint `{lint}`{}",
            profile.display(),
            profile::advice(lint, &names)
        );
    }
    Ok(())
}

/// Refuses a tree in which a lint finds anything; gives warnings. `shipped` is what packages bring
/// outside of the image ([`rootfs::outside`]).
pub fn tree(
    plan: &Plan,
    tree: &Tree,
    shipped: &Tree,
    merged: &Merged,
    store: &Store,
) -> Result<Vec<String>> {
    let host = &plan.host;
    let mut policy = Policy::of(&plan.rules, merged);
    policy.optional.extend(host.without.clone());
    policy.setid = host.setid.clone();
    policy.waived = host.lints.clone();
    policy.waived.remove(SLOT_SIZE);
    for (unit, state) in &host.units {
        policy.units.insert(unit.clone(), *state == UnitState::Enabled);
    }
    for unit in updates::wanted(host) {
        policy.units.insert(unit.to_owned(), true);
    }
    let shipped = store.put_tree(shipped)?;
    let linted = Linted { tree: store.put_tree(tree)?, shipped, policy };
    let verdict = store.realize(&LINT, &linted)?;
    refuse(&verdict.findings)?;
    Ok(verdict.warnings)
}

/// What fills the slots, in bytes; programs unsigned.
pub(crate) struct Sizes {
    /// The file system of `/usr`.
    pub(crate) usr: u64,
    /// Its hash tree.
    pub(crate) hash_tree: u64,
    /// The kernel image.
    pub(crate) uki: u64,
    /// The boot loader.
    pub(crate) loader: u64,
}

/// What is said of an image that fits its slots.
pub(crate) struct Fit {
    /// Of waivers that nothing needs.
    pub(crate) warnings: Vec<String>,
    /// Slots of an earlier release that stands in the output directory and that this one does not
    /// fit into: for people, and never for a manifest, whose bytes depend on inputs alone.
    pub(crate) outgrown: Vec<String>,
}

/// Refuses an image that leaves its slots too little room, or that the hosts of a named earlier
/// release cannot take; then with a ledger of what is large and what grew. `bytes`: those of `/usr`
/// by package.
pub(crate) fn slots(plan: &Plan, sizes: &Sizes, bytes: &Bytes) -> Result<Fit> {
    let slots = plan.sizes();
    let (on_esp, esp) = esp(sizes, 0, slots.esp, slots.sector)?;
    let held = [
        ("usr", sizes.usr, slots.usr),
        ("usr-verity", sizes.hash_tree, slots.verity),
        ("esp", on_esp, esp),
    ];
    let waivers = plan.host.lints.get(SLOT_SIZE);
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    for (slot, used, size) in held {
        let waived = waivers.is_some_and(|waivers| waivers.contains_key(slot));
        match problem(used, size) {
            // A slot that is too small is no matter of opinion.
            Some(_) if waived && used <= size => {}
            Some(problem) => findings.push(finding(slot, problem)),
            None if waived => warnings.push(format!(
                "`lints` waives `{SLOT_SIZE}` for `{slot}`, which has room: take the line out"
            )),
            None => {}
        }
    }
    let known = |slot: &String| held.iter().any(|(name, ..)| name == slot);
    let unknown = waivers.into_iter().flat_map(|row| row.keys()).filter(|slot| !known(slot));
    warnings.extend(unknown.map(|slot| {
        format!("`lints` waives `{SLOT_SIZE}` for `{slot}`: there are usr, usr-verity, esp")
    }));
    let mut outgrown = Vec::new();
    if let Some(previous) = &plan.previous {
        let problems = outgrows(sizes, &slots, previous)?;
        match previous.known {
            Known::Named => {
                findings.extend(problems.into_iter().map(|(slot, problem)| finding(slot, problem)))
            }
            Known::Found => outgrown
                .extend(problems.into_iter().map(|(slot, problem)| format!("{slot}: {problem}"))),
        }
    }
    let before = plan.previous.as_ref().map(|previous| &previous.bytes);
    refuse(&findings).map_err(|error| {
        let ledger = Ledger::new(bytes, before).to_string();
        anyhow!("{error}\n{}", ledger.trim_end())
    })?;
    Ok(Fit { warnings, outgrown })
}

fn finding(slot: &str, problem: String) -> Finding {
    Finding {
        lint: SLOT_SIZE.to_owned(),
        path: slot.to_owned(),
        origin: "layout".to_owned(),
        problem,
        way_out: WAY_OUT.to_owned(),
    }
}

/// Bytes that files take on an ESP of `size` bytes, each in whole clusters, and how many it holds.
/// `earlier`: the kernel image of an earlier release, which may be the larger one.
fn esp(sizes: &Sizes, earlier: u64, size: u64, sector: u32) -> Result<(u64, u64)> {
    let (room, cluster) = disk::esp_room(size, sector)?;
    let signed = |program: u64| program.saturating_add(SIGNATURE);
    let whole = |bytes: u64| bytes.div_ceil(cluster).saturating_mul(cluster);
    let kernels = whole(signed(sizes.uki).max(earlier)).saturating_mul(KERNELS);
    let loaders = whole(signed(sizes.loader)).saturating_mul(LOADERS);
    Ok((kernels.saturating_add(loaders).saturating_add(ELSE), room))
}

/// The slots of an earlier release's hosts that this one does not fit into, and why.
fn outgrows(
    sizes: &Sizes,
    own: &disk::Sizes,
    previous: &Previous,
) -> Result<Vec<(&'static str, String)>> {
    let Previous { version, slots, uki, .. } = previous;
    let (on_esp, room) = esp(sizes, *uki, slots.esp, own.sector)?;
    let held = [
        ("usr", sizes.usr, slots.usr),
        ("usr-verity", sizes.hash_tree, slots.verity),
        // The artifact is exactly as large as its partition.
        ("usr-verity-sig", own.signature, slots.signature),
        ("esp", on_esp, room),
    ];
    let large = held.into_iter().filter(|(_, used, size)| used > size);
    let told = large.map(|(slot, used, size)| {
        let told = format!(
            "{} MiB are needed, and hosts that were installed with version {version} have {} MiB: \
             they cannot take this update",
            used.div_ceil(1 << 20),
            size >> 20
        );
        (slot, told)
    });
    Ok(told.collect())
}

fn problem(used: u64, size: u64) -> Option<String> {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let full = u128::from(size) * u128::from(FULL) / 100;
    if used > size {
        return Some(format!("{} MiB do not fit into its {} MiB", mib(used), mib(size)));
    }
    (u128::from(used) > full).then(|| {
        format!(
            "{} of its {} MiB are used, more than {FULL} %: the next versions may not fit",
            mib(used),
            mib(size)
        )
    })
}

fn refuse(findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    let faults = if lines.len() == 1 { "fault" } else { "faults" };
    bail!(
        "lints found {} {faults}; one that is meant is waived in the profile \
         (`lints: {{LINT: {{PATH: REASON}}}}`):\n{}",
        lines.len(),
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use release::Slots;

    use super::*;

    #[test]
    fn a_slot_without_room_for_the_next_version_is_refused() {
        let mib = 1 << 20;
        assert_eq!(problem(90 * mib, 100 * mib), None);
        let tight = problem(91 * mib, 100 * mib).unwrap();
        assert!(tight.contains("91 of its 100 MiB"), "{tight}");
        let large = problem(100 * mib + 1, 100 * mib).unwrap();
        assert!(large.contains("101 MiB do not fit into its 100 MiB"), "{large}");
        assert!(problem(u64::MAX, u64::MAX).is_some());
    }

    const MIB: u64 = 1 << 20;

    fn sizes(usr: u64, uki: u64) -> Sizes {
        Sizes { usr, hash_tree: usr / 100, uki, loader: 200 << 10 }
    }

    #[test]
    fn an_esp_holds_three_kernels_two_loaders_and_the_rest_in_whole_clusters() {
        let (used, room) = esp(&sizes(0, 20 * MIB), 0, 100 * MIB, 512).unwrap();
        assert!(room < 100 * MIB && room > 98 * MIB, "{room}");
        let one = |size: u64| size + SIGNATURE;
        assert_eq!(used, 3 * one(20 * MIB) + 2 * one(200 << 10) + ELSE);
        assert_eq!(problem(used, room), None);
        let (used, room) = esp(&sizes(0, 30 * MIB), 0, 100 * MIB, 512).unwrap();
        assert!(problem(used, room).is_some_and(|told| told.contains("90 %")), "two would fit");
        let (used, _) = esp(&sizes(0, 20 * MIB + 1), 30 * MIB, 100 * MIB, 512).unwrap();
        assert!(used > 90 * MIB, "the larger of two versions counts: {used}");
    }

    #[test]
    fn the_slots_of_installed_hosts_bind_the_next_version() {
        let slots = Slots { esp: 100 * MIB, usr: 50 * MIB, verity: MIB, signature: MIB };
        let (version, bytes) = ("1".to_owned(), Bytes::new());
        let previous = Previous { version, known: Known::Named, bytes, slots, uki: 20 * MIB };
        let own = disk::Sizes { signature: MIB, ..disk::Sizes::default() };
        let found = |sizes: &Sizes, own: &disk::Sizes| -> Vec<&str> {
            let found = outgrows(sizes, own, &previous).unwrap();
            found.into_iter().map(|(slot, _)| slot).collect()
        };
        assert_eq!(found(&sizes(50 * MIB, 20 * MIB), &own), Vec::<&str>::new());
        assert_eq!(found(&sizes(50 * MIB + 1, 20 * MIB), &own), ["usr"]);
        assert_eq!(found(&sizes(200 * MIB, 40 * MIB), &own), ["usr", "usr-verity", "esp"]);
        let larger = disk::Sizes { signature: 2 * MIB, ..disk::Sizes::default() };
        assert_eq!(found(&sizes(MIB, MIB), &larger), ["usr-verity-sig"]);
    }

    #[test]
    fn an_unknown_lint_is_an_error_with_the_nearest_name() {
        let waive = |lint: &str| Waivers::from([(lint.to_owned(), Default::default())]);
        let path = Path::new("x.yaml");
        for name in names() {
            check(path, &waive(name)).unwrap();
        }
        let error = check(path, &waive("dangling-links")).unwrap_err().to_string();
        assert!(error.contains("did you mean `dangling-link`?"), "{error}");
        let error = check(path, &waive("colour")).unwrap_err().to_string();
        assert!(error.contains("known are set-id, "), "{error}");
    }

    #[test]
    fn the_documentation_has_a_row_for_every_lint() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/profile.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().skip_while(|line| *line != "## Lints");
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let rows: Vec<(&str, &str)> = rows.collect();
        assert_eq!(rows.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names());
        for lint in LINTS {
            let about = rows.iter().find(|(name, _)| *name == lint.name).unwrap().1;
            assert_eq!(about.trim().trim_end_matches('|').trim(), lint.about);
        }
    }
}
