//! What systemd-boot makes of the ESP's names: which version starts, and whether anything stands in
//! the way of counting its tries (systemd-boot(7), loader.conf(5), "Automatic Boot Assessment").

use std::collections::BTreeMap;

/// Where the loader's configuration lies on the ESP.
pub(crate) const CONFIGURATION: &str = "loader/loader.conf";

/// Where unified kernel images lie, in lower case.
const KERNELS: &str = "efi/linux/";

/// What in a loader.conf(5) takes the choice of a version from the loader, in words: a version that
/// is named there starts again however often it failed.
pub(crate) fn pinned(configuration: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for line in configuration.lines() {
        let key = line.split_whitespace().next().unwrap_or_default();
        if matches!(key, "default" | "preferred") {
            faults.push(format!(
                "`{CONFIGURATION}` names a `{key}` entry: it starts even when it is known to be bad"
            ));
        }
    }
    faults
}

/// Kernel images that are one version under several names, in words: what is kept or counted is
/// then one of them, and another starts.
pub(crate) fn twice<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut versions: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for path in paths {
        let lower = path.to_ascii_lowercase();
        let Some(stem) = lower.strip_prefix(KERNELS).and_then(|name| name.strip_suffix(".efi"))
        else {
            continue;
        };
        versions.entry(tries(stem).0.to_owned()).or_default().push(path);
    }
    let several = versions.into_values().filter(|paths| paths.len() > 1);
    several
        .map(|paths| format!("one version under several names: `{}`", paths.join("`, `")))
        .collect()
}

/// A kernel image's name without `.efi` and counter, and the tries that are left where the loader
/// counts them: `name+LEFT-DONE` or `name+LEFT`.
pub fn tries(stem: &str) -> (&str, Option<u32>) {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let counted = stem.rsplit_once('+').and_then(|(name, counter)| {
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let left = left.parse().ok().filter(|_| number(left) && number(done))?;
        Some((name, Some(left)))
    });
    counted.unwrap_or((stem, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b5_an_entry_that_is_named_is_a_fault() {
        assert!(pinned("timeout 0\neditor no\n# default a\n").is_empty());
        for bad in ["default a_1.efi", "timeout 0\n  default\ta*", "preferred @saved"] {
            assert_eq!(pinned(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_counter_is_read_from_a_name() {
        for (stem, left) in [("a_2+1-0", 1), ("a_2+0-1", 0), ("a_2+3", 3)] {
            assert_eq!(tries(stem), ("a_2", Some(left)));
        }
        for stem in ["a_2", "a_2+x", "a_2+", "a_2+1-", "a_2+1-x", "a_2++1-0x", "a_2+-1"] {
            assert_eq!(tries(stem), (stem, None));
        }
    }

    #[test]
    fn b5_a_version_with_and_without_a_counter_is_a_fault() {
        let faults = |names: &[&str]| twice(names.iter().copied()).len();
        assert_eq!(faults(&["EFI/Linux/a_1.efi", "EFI/Linux/a_2+1-0.efi", "loader/a_1.efi"]), 0);
        for other in ["a_1+3.efi", "a_1+0-1.efi", "A_1.EFI"] {
            assert_eq!(faults(&["EFI/Linux/a_1.efi", &format!("EFI/Linux/{other}")]), 1, "{other}");
        }
        assert_eq!(faults(&["EFI/Linux/a_1.efi", "EFI/Linux/a_1+x.efi"]), 0);
    }
}
