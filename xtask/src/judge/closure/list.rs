//! The sets that are compared, and where apt may choose otherwise.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

/// What `sets.txt` says.
#[derive(Default)]
pub(crate) struct List {
    /// Name of each set, and the packages that it adds to `mini`; a profile adds none.
    pub(crate) sets: BTreeMap<String, Vec<String>>,
    differences: Vec<(String, Difference)>,
}

/// One choice that apt makes otherwise.
pub(crate) struct Difference {
    /// Packages that we choose and apt does not.
    pub(crate) ours: BTreeSet<String>,
    /// Packages that apt chooses and we do not.
    pub(crate) apts: BTreeSet<String>,
}

impl List {
    /// Reads lines of columns, two blanks between them.
    pub(crate) fn read(text: &str) -> Result<List> {
        let mut list = List::default();
        let names = |text: &str| -> BTreeSet<String> {
            text.split(',').filter(|name| *name != "-").map(str::to_owned).collect()
        };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let columns: Vec<&str> = line.split("  ").collect();
            match columns[..] {
                ["profile", name] => drop(list.sets.insert(name.to_owned(), Vec::new())),
                ["set", name, packages] => {
                    let packages = packages.split(' ').map(str::to_owned).collect();
                    list.sets.insert(name.to_owned(), packages);
                }
                ["differs", set, ours, apts, why] if !why.trim().is_empty() => {
                    if !list.sets.contains_key(set) {
                        bail!("a difference of a set `{set}` that is not listed before it");
                    }
                    let difference = Difference { ours: names(ours), apts: names(apts) };
                    list.differences.push((set.to_owned(), difference));
                }
                _ => bail!("`{line}` is no line of the list of sets"),
            }
        }
        Ok(list)
    }

    /// The accepted differences of a set.
    pub(crate) fn accepted(&self, set: &str) -> Vec<&Difference> {
        self.differences.iter().filter(|(name, _)| name == set).map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_needs_its_set_and_a_reason() {
        assert!(List::read("profile  p\nset  s  a b\ndiffers  s  -  x  why\n").is_ok());
        for bad in ["differs  s  -  x  why", "set  s  a\ndiffers  s  -  x", "sets  s  a"] {
            assert!(List::read(bad).is_err(), "{bad}");
        }
    }
}
