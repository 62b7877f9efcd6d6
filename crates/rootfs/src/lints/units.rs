//! Enabled units are there and can start, and masked ones say why they are.

use std::collections::BTreeSet;

use anyhow::Result;
use store::{Entry, Node, Tree};

use super::{Finding, Lint, Lookup, finding, unit_file};

pub(super) const ROW: Lint = Lint {
    name: "unit",
    about: "an enabled unit that is missing or never starts, a mask without a reason",
    way_out: "say under `units` what becomes of it: `enable`, `disable`, or `mask` with a reason",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let enabled = lookup.policy.units.iter().filter(|(_, enabled)| **enabled);
    let missing = enabled.filter(|(unit, _)| !unit_file::known(tree, unit));
    let profile = Entry::directory("profile");
    let mut found: Vec<Finding> = missing
        .map(|(unit, _)| (format!("{}/{unit}", unit_file::MANAGERS[0][1]), &profile))
        .map(|(path, entry)| {
            finding(&path, entry, "is wanted by the profile, and there is no such unit")
        })
        .collect();
    for places in &unit_file::MANAGERS {
        let mut checked = BTreeSet::new();
        for (path, entry) in tree.below(places[0]) {
            let Node::Symlink(target) = &entry.node else { continue };
            let name = path.rsplit('/').next().unwrap_or(path);
            if target == "/dev/null" {
                if !lookup.policy.masked.contains_key(name) {
                    found.push(finding(path, entry, "is masked, and nobody says why"));
                }
                continue;
            }
            if !checked.insert(name.to_owned()) || unit_file::masked(tree, places, name) {
                continue;
            }
            let problem = match unit_file::file(tree, places, name) {
                Some(file) => waits_for_ever(tree, lookup, places, name, &file),
                None => Some("is enabled, and there is no such unit"),
            };
            found.extend(problem.map(|problem| finding(path, entry, problem)));
        }
    }
    Ok(found)
}

fn waits_for_ever(
    tree: &Tree,
    lookup: &Lookup<'_, '_>,
    places: &[&str],
    name: &str,
    file: &str,
) -> Option<&'static str> {
    let mut first_boot = false;
    for setting in unit_file::settings(tree, lookup, places, name, file) {
        if setting.key == "ConditionFirstBoot" {
            // An empty value takes back what was said before.
            first_boot = matches!(setting.value.as_str(), "yes" | "true" | "1" | "on");
        }
    }
    first_boot.then_some("waits for a first boot that never comes (machine-id ships empty)")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn an_enabled_unit_is_there_and_waits_for_nothing_that_never_comes() {
        let wants = "etc/systemd/system/multi-user.target.wants";
        let unit = |name: &str| format!("usr/lib/systemd/system/{name}");
        let mut sample = Sample::new("unit");
        sample.file(&unit("good.service"), "[Unit]\nConditionFirstBoot=no\n", 0o644);
        sample.file(&unit("getty@.service"), "[Service]\n", 0o644);
        sample.file(&unit("first.service"), "[Unit]\nConditionFirstBoot=yes\n", 0o644);
        sample.file(&unit("first.service.d/x.conf"), "[Unit]\nConditionFirstBoot=\n", 0o644);
        for (name, target) in [
            ("good.service", "good.service"),
            ("first.service", "first.service"),
            ("getty@tty1.service", "getty@.service"),
        ] {
            sample.link(&format!("{wants}/{name}"), &format!("/{}", unit(target)));
        }
        assert_eq!(sample.findings(), []);
        sample.tree.remove_all(&unit("first.service.d"));
        sample.link(&format!("{wants}/missing.service"), &format!("/{}", unit("missing.service")));
        sample.says("unit", &format!("{wants}/first.service"), "first boot");
        sample.says("unit", &format!("{wants}/missing.service"), "no such unit");
    }

    #[test]
    fn a_unit_that_the_profile_enables_is_there() {
        let mut sample = Sample::new("unit-profile");
        sample.policy.units.insert("a@x.service".to_owned(), true);
        sample.says("unit", "usr/lib/systemd/system/a@x.service", "no such unit");
        sample.file("usr/lib/systemd/system/a@.service", "[Service]\n", 0o644);
        assert_eq!(sample.findings(), []);
    }

    #[test]
    fn a_mask_needs_a_reason() {
        let mut sample = Sample::new("mask");
        sample.link("etc/systemd/system/a.service", "/dev/null");
        sample.says("unit", "etc/systemd/system/a.service", "nobody says why");
        sample.policy.masked.insert("a.service".to_owned(), "not here".to_owned());
        assert_eq!(sample.findings(), []);
    }
}
