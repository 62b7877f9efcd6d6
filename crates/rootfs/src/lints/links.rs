//! Every symbolic link leads to something. What a running host makes is no fault: `/run`, `/proc`,
//! `/dev` and `/sys` are the kernel's and the manager's, `/var`, `/tmp`, `/boot` and their like
//! are empty in an image. `/etc` is judged by the factory's.

use anyhow::Result;
use store::{Node, Tree};

use super::{Finding, Lint, Lookup, finding, paths};
use crate::link;

pub(super) const ROW: Lint = Lint {
    name: "dangling-link",
    about: "a symbolic link that leads nowhere",
    way_out: "add the package of its target, or leave the link out with `drop`",
    run,
};

fn run(tree: &Tree, _: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in paths(tree) {
        let Node::Symlink(target) = &entry.node else { continue };
        if tree.resolve(path).is_none() && !leaves_the_image(tree, path) {
            found.push(finding(path, entry, format!("leads to `{target}`, which is not there")));
        }
    }
    Ok(found)
}

/// Whether some link on the way leads to what only a running host has.
fn leaves_the_image(tree: &Tree, path: &str) -> bool {
    let mut leaves = false;
    tree.follow(path, &mut |at| {
        if let Some(Node::Symlink(target)) = tree.get(at).map(|entry| &entry.node) {
            leaves |= link::made_at_boot(&link::target(at, target));
        }
    });
    leaves
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn a_link_leads_to_something_in_the_image_or_on_a_running_host() {
        let mut sample = Sample::new("links");
        sample.file("usr/lib/a", "x", 0o644);
        sample.file("usr/share/factory/etc/conf", "x", 0o644);
        for (path, target) in [
            ("usr/bin/a", "../lib/a"),
            ("usr/bin/b", "/lib/a"),
            ("usr/lib/conf", "/etc/conf"),
            ("usr/lib/state", "/var/lib/x"),
            ("usr/lib/through", "state/y"),
            ("usr/share/factory/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
            ("usr/share/factory/etc/mtab", "../proc/self/mounts"),
            ("usr/lib/masked", "/dev/null"),
        ] {
            sample.link(path, target);
        }
        assert_eq!(sample.findings(), []);
        for (path, target) in [
            ("usr/bin/gone", "../lib/gone"),
            ("usr/lib/gone-conf", "/etc/gone"),
            ("usr/lib/loop", "loop"),
            ("usr/lib/chain", "/usr/bin/gone"),
        ] {
            sample.link(path, target);
            sample.says("dangling-link", path, "not there");
        }
        assert_eq!(sample.findings().len(), 4);
    }
}
