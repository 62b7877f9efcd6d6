//! What a profile asks for by name: read from its text by other code than ours, as far as the
//! profiles of this repository and those of the judge go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The names that the profile `file` wishes for in a role.
pub(crate) fn of(file: &Path, role: &str) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let chain = chain(file)?;
    if role == "initrd" {
        let initrd = chain.iter().rev().find_map(|(file, text)| {
            let name = value(text, "initrd")?;
            Some(beside(file, name))
        });
        let initrd = initrd.with_context(|| format!("find `initrd` of `{}`", file.display()))?;
        return of(&initrd, "host");
    }
    for (file, text) in &chain {
        let (add, drop) = packages(text);
        for name in &drop {
            if !names.remove(name) {
                bail!("`{}` drops `{name}`, which is not there", file.display());
            }
        }
        names.extend(add);
    }
    if names.is_empty() {
        bail!("`{}` asks for no package", file.display());
    }
    Ok(names)
}

/// A profile and those that it extends, the eldest first, each with its text.
fn chain(file: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut chain = Vec::new();
    let mut next = Some(file.to_owned());
    while let Some(file) = next {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("read profile `{}`", file.display()))?;
        next = value(&text, "extends").map(|parent| beside(&file, parent));
        chain.push((file, text));
    }
    chain.reverse();
    Ok(chain)
}

fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(format!("{name}.yaml"))
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
}

/// What the key `packages` adds and drops: a list in brackets, or lists of one name a line.
fn packages(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut add, mut drop) = (Vec::new(), Vec::new());
    let mut inside = false;
    let mut dropping = false;
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim_end();
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            inside = line.starts_with("packages:");
            dropping = false;
        }
        if !inside {
            continue;
        }
        let words = line.trim_start();
        dropping = if words.starts_with("add:") { false } else { dropping };
        dropping = if words.starts_with("drop:") { true } else { dropping };
        let names = if dropping { &mut drop } else { &mut add };
        if let Some(name) = words.strip_prefix("- ") {
            names.push(name.trim().to_owned());
        } else if let Some((_, inner)) = words.split_once('[') {
            let inner = inner.trim_end_matches(']').split(',');
            names.extend(inner.map(|name| name.trim().to_owned()));
        }
    }
    (add, drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::top;

    #[test]
    fn both_forms_of_a_list_are_read_and_nothing_else() {
        let text = "about: x\npackages:\n  add:\n    - a   # why\n    # no\n    - b-1\n  drop: [c, d]\n\
                    files: [e]\ndrop:\n  - f\n";
        let (add, drop) = packages(text);
        assert_eq!((add.join(" "), drop.join(" ")), ("a b-1".into(), "c d".into()));
        assert_eq!(packages("packages: [x, y]\n").0.join(" "), "x y");
    }

    #[test]
    fn the_shipped_profiles_are_read_with_what_they_extend() {
        let file = top().join("profiles/container-host.yaml");
        let host = of(&file, "host").unwrap();
        assert!(host.contains("containerd") && host.contains("systemd"), "{host:?}");
        let initrd = of(&file, "initrd").unwrap();
        assert!(initrd.contains("tpm-udev") && !initrd.contains("containerd"), "{initrd:?}");
    }
}
