//! No package manager, nor what is left of one.

use anyhow::Result;
use store::Tree;

use super::{Finding, Lint, Lookup, finding};

pub(super) const ROW: Lint = Lint {
    name: "package-manager",
    about: "a package manager, or what is left of one",
    way_out: "leave it out with `drop`, or its package with `packages: {drop: …}`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let forbidden = tree.0.iter().filter(|(path, _)| lookup.policy.forbid.matches(path));
    let problem = "belongs to a package manager, which no image holds";
    Ok(forbidden.map(|(path, entry)| finding(path, entry, problem)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use crate::Patterns;

    #[test]
    fn a_package_manager_is_found_by_its_paths() {
        let mut sample = Sample::new("manager");
        sample.file("usr/bin/manager", "x", 0o755);
        assert_eq!(sample.findings(), []);
        sample.policy.forbid = Patterns::of(&["usr/bin/manager"]);
        sample.says("package-manager", "usr/bin/manager", "no image holds");
    }
}
