//! Nothing can be changed by everybody, except in directories where only owners remove.

use anyhow::Result;
use store::{Entry, Node, Tree};

use super::{Finding, Lint, Lookup, everywhere, finding};

pub(super) const ROW: Lint = Lint {
    name: "world-writable",
    about: "a file, or a directory without the sticky bit, that everybody may write to",
    way_out: "give it another mode in a rule (`modes`), or leave it out with `drop`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let all = everywhere(tree, lookup).filter(|(_, entry)| is_open(entry));
    let problem = |entry: &Entry| format!("everybody may write to it (mode {:04o})", entry.mode);
    Ok(all.map(|(path, entry)| finding(path, entry, problem(entry))).collect())
}

fn is_open(entry: &Entry) -> bool {
    let sticky = entry.mode & 0o1000 != 0;
    match entry.node {
        Node::Symlink(_) => false,
        Node::Directory => entry.mode & 0o002 != 0 && !sticky,
        Node::File(_) => entry.mode & 0o002 != 0,
    }
}

#[cfg(test)]
mod tests {
    use store::Entry;

    use super::super::testing::Sample;

    #[test]
    fn what_everybody_may_write_to_is_found_unless_it_is_sticky() {
        let mut sample = Sample::new("world-writable");
        sample.file("usr/lib/a", "x", 0o644);
        sample.link("usr/lib/b", "a");
        sample.ship("var/tmp", Entry::directory("a"), 0o1777, "root");
        sample.file("usr/lib/tmpfiles.d/x.conf", "q /var/tmp 1777\nd /var/open 0777\n", 0o644);
        assert_eq!(sample.findings(), []);
        sample.file("usr/lib/a", "x", 0o646);
        sample.file("usr/share/factory/etc/c", "x", 0o666);
        sample.ship("var/open", Entry::directory("a"), 0o777, "root");
        for path in ["usr/lib/a", "etc/c", "var/open"] {
            sample.says("world-writable", path, "everybody may write");
        }
        assert_eq!(sample.findings().len(), 3);
    }
}
