//! Files that run with rights which their caller lacks are listed, each with a reason.

use anyhow::Result;
use store::{Node, Tree};

use super::{Finding, Lint, Lookup, everywhere, finding};
use crate::capabilities::ATTRIBUTE;

pub(super) const ROW: Lint = Lint {
    name: "set-id",
    about: "a set-id file, or one with file capabilities, that no list allows",
    way_out: "name it under `setid` with the reason, or leave it out with `drop`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in everywhere(tree, lookup) {
        if !matches!(entry.node, Node::File(_)) || lookup.policy.setid.contains_key(path) {
            continue;
        }
        if entry.mode & 0o6000 != 0 {
            found.push(finding(path, entry, format!("mode {:04o} is set-id", entry.mode)));
        }
        if entry.xattrs.contains_key(ATTRIBUTE) {
            found.push(finding(path, entry, "holds file capabilities"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::Sample;

    #[test]
    fn set_id_and_capabilities_need_a_place_on_the_list() {
        let mut sample = Sample::new("setid");
        sample.file("usr/bin/su", "x", 0o4755);
        sample.file("usr/bin/ping", "x", 0o755);
        let ping = sample.tree.0.get_mut("usr/bin/ping").unwrap();
        ping.xattrs.insert("security.capability".to_owned(), vec![1]);
        sample.says("set-id", "usr/bin/su", "4755");
        sample.says("set-id", "usr/bin/ping", "capabilities");
        let listed = ["usr/bin/su", "usr/bin/ping"].map(|path| (path.to_owned(), "why".to_owned()));
        sample.policy.setid = BTreeMap::from(listed);
        assert_eq!(sample.findings(), []);
    }
}
