//! Files that run with rights which their caller lacks are listed, each with a reason.

use anyhow::Result;
use store::{Node, Tree};

use super::{FACTORY, Finding, Lookup, finding};

const CAPABILITY: &str = "security.capability";

pub(super) fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in &tree.0 {
        let file = matches!(entry.node, Node::File(_));
        if !file || path.starts_with(FACTORY) || lookup.policy.setid.contains_key(path) {
            continue;
        }
        if entry.mode & 0o6000 != 0 {
            let problem = format!("mode {:04o} is set-id, and no list allows it", entry.mode);
            found.push(finding("set-id", path, entry, problem));
        }
        if entry.xattrs.contains_key(CAPABILITY) {
            let problem = "holds file capabilities, and no list allows it".to_owned();
            found.push(finding("set-id", path, entry, problem));
        }
    }
    Ok(found)
}
