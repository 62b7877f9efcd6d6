//! Lints stop a build: over the host's tree, and over the sizes that only later rooms know.

use std::path::Path;

use anyhow::{Result, bail};
use profile::UnitState;
use rootfs::{Finding, LINT, LINTS, Linted, Merged, Policy, Waivers};
use store::{Blob, Store, Tree};

use crate::plan::Plan;
use crate::updates;

/// The lint of sizes: a row of its own, since no tree shows what FREEZE will make of it.
pub const SLOT_SIZE: &str = "slot-size";
const WAY_OUT: &str = "leave packages out, or make the slot larger (`layout`; an installed host \
                       keeps its own)";

/// A version may fill so many hundredths of a slot: the next ones must fit as well, and no update
/// can make a slot larger.
const FULL: u64 = 90;
/// Kernel images that an ESP holds at a time: one a slot.
const VERSIONS: u64 = 2;

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

/// What fills the slots.
pub struct Sizes {
    /// The file system of `/usr`.
    pub usr: Blob,
    /// Its hash tree.
    pub hash_tree: Blob,
    /// The kernel image.
    pub uki: Blob,
}

/// Refuses an image that leaves its slots too little room; gives warnings.
pub fn slots(plan: &Plan, sizes: &Sizes) -> Result<Vec<String>> {
    let slots = plan.sizes();
    let held = [
        ("usr", sizes.usr.size, slots.usr),
        ("usr-verity", sizes.hash_tree.size, slots.verity),
        ("esp", sizes.uki.size.saturating_mul(VERSIONS), slots.esp),
    ];
    let waivers = plan.host.lints.get(SLOT_SIZE);
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    for (slot, used, size) in held {
        let waived = waivers.is_some_and(|waivers| waivers.contains_key(slot));
        match problem(used, size) {
            // A slot that is too small is no matter of opinion.
            Some(_) if waived && used <= size => {}
            Some(problem) => findings.push(Finding {
                lint: SLOT_SIZE.to_owned(),
                path: slot.to_owned(),
                origin: "layout".to_owned(),
                problem,
                way_out: WAY_OUT.to_owned(),
            }),
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
    refuse(&findings)?;
    Ok(warnings)
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
