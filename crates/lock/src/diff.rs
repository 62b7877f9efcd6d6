//! What changed between two locks, for people.

use std::collections::BTreeMap;

use crate::{Lock, Locked};

impl Lock {
    /// What `other`, the newer lock, changes: a line each, packages in the order of their names.
    /// Empty when nothing does.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut changed = |what: &str, old: &str, new: &str| {
            if old != new {
                lines.push(format!("{what}: {old} → {new}"));
            }
        };
        changed("architecture", &self.architecture, &other.architecture);
        changed("epoch", &self.epoch.rfc3339(), &other.epoch.rfc3339());
        changed("seed", &self.seed.0.to_string(), &other.seed.0.to_string());
        for archive in &other.archives {
            let old = self.archives.iter().find(|old| old.name == archive.name);
            match old {
                None => lines.push(format!("+ archive {}", archive.name)),
                Some(old) if old.suites.len() != archive.suites.len() || old.url != archive.url => {
                    lines.push(format!("archive {}: other suites or another URL", archive.name));
                }
                Some(_) => {}
            }
        }
        let gone =
            self.archives.iter().filter(|old| other.archives.iter().all(|a| a.name != old.name));
        lines.extend(gone.map(|archive| format!("- archive {}", archive.name)));
        lines.extend(other.warnings.iter().filter(|w| !self.warnings.contains(w)).cloned());

        let by_name = |lock: &'_ Self| -> BTreeMap<String, Locked> {
            lock.packages.iter().map(|one| (one.id.name.clone(), one.clone())).collect()
        };
        let (old, new) = (by_name(self), by_name(other));
        let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        lines.extend(names.into_iter().filter_map(|name| match (old.get(name), new.get(name)) {
            (None, Some(new)) => Some(format!("+ {name} {}", new.id.version)),
            (Some(old), None) => Some(format!("- {name} {}", old.id.version)),
            (Some(old), Some(new)) if old != new => Some(format!("  {name} {}", how(old, new))),
            _ => None,
        }));
        lines
    }

    /// Suites that `other`, the later lock, saw in an older state than this one: a line each. An
    /// archive that goes back in time lags, or somebody replays an old state of it.
    pub fn rolled_back(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for archive in &self.archives {
            let Some(later) = other.archives.iter().find(|one| one.name == archive.name) else {
                continue;
            };
            for suite in &archive.suites {
                let later = later.suites.iter().find(|one| one.name == suite.name);
                if let Some(later) = later.filter(|later| later.date < suite.date) {
                    lines.push(format!(
                        "suite {} of archive {}: {} → {}",
                        suite.name,
                        archive.name,
                        suite.date.rfc3339(),
                        later.date.rfc3339()
                    ));
                }
            }
        }
        lines
    }
}

fn how(old: &Locked, new: &Locked) -> String {
    if old.id.version != new.id.version {
        format!("{} → {}", old.id.version, new.id.version)
    } else if old.blob != new.blob {
        format!("{}: other bytes under the same version", new.id.version)
    } else if old.roles != new.roles {
        format!("{}: for {} → {}", new.id.version, old.roles.join(","), new.roles.join(","))
    } else {
        format!("{}: from elsewhere, or asked for otherwise", new.id.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_has_its_line() {
        let old = Lock::parse(crate::text::tests::SAMPLE).unwrap();
        assert!(old.diff(&old).is_empty());
        let mut new = old.clone();
        new.epoch.0 += 60;
        new.packages[0].id.version.0 = "2".into();
        let mut added = new.packages[1].clone();
        added.id.name = "new".into();
        new.packages[1] = added;
        let lines = old.diff(&new);
        assert_eq!(
            lines,
            [
                "epoch: 2025-08-09T12:34:56Z → 2025-08-09T12:35:56Z",
                "  a 1 → 2",
                "- b 1:2~x",
                "+ new 1:2~x"
            ]
        );
    }
}
