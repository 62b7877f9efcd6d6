//! No package manager, nor what is left of one.

use anyhow::Result;
use store::Tree;

use super::{Finding, Lookup, finding};

pub(super) fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let forbidden = tree.0.iter().filter(|(path, _)| lookup.policy.forbid.matches(path));
    let problem = "belongs to a package manager, which no image holds".to_owned();
    Ok(forbidden.map(|(path, e)| finding("package-manager", path, e, problem.clone())).collect())
}
