//! Nothing is shipped where no update reaches it or an administrator's own files belong.

use anyhow::Result;
use store::{Node, Tree};

use super::{Finding, Lint, Lookup, finding};

pub(super) const ROW: Lint = Lint {
    name: "unreachable",
    about: "content below /opt or /usr/local",
    way_out: "move it (in a rule: `copy` to usr/lib/opt/… and a `tmpfiles` line `L /opt/…`, or \
              `link`), or leave it out with `drop`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let opt = lookup.shipped.below("opt").map(|(path, entry)| {
        (path, entry, "is copied to the host's own disk at its first boot: no update reaches it")
    });
    let local = tree.below("usr/local").map(|(path, entry)| {
        (path, entry, "lies where an administrator's own files belong, and may be mounted over")
    });
    let all = opt.chain(local).filter(|(_, entry, _)| entry.node != Node::Directory);
    Ok(all.map(|(path, entry, problem)| finding(path, entry, problem)).collect())
}

#[cfg(test)]
mod tests {
    use store::{Blob, Entry};

    use super::super::testing::Sample;

    #[test]
    fn content_of_a_vendor_in_opt_is_found_and_an_empty_directory_is_not() {
        let mut sample = Sample::new("unreachable");
        sample.ship("opt", Entry::directory("a"), 0o755, "root");
        sample.tree.insert("usr/local/bin", Entry::directory("a")).unwrap();
        sample.file("usr/lib/tmpfiles.d/x.conf", "d /opt\nC /opt/vendor\n", 0o644);
        sample.file("usr/lib/opt/vendor/bin/x", "x", 0o755);
        assert_eq!(sample.findings(), []);
        sample.ship("opt/vendor/bin/x", Entry::file(Blob::of(b"x"), 0o755, "a"), 0o755, "root");
        sample.file("usr/local/bin/y", "x", 0o755);
        sample.link("usr/local/z", "bin/y");
        sample.says("unreachable", "opt/vendor/bin/x", "no update reaches it");
        sample.says("unreachable", "usr/local/bin/y", "administrator");
        sample.says("unreachable", "usr/local/z", "administrator");
        assert_eq!(sample.findings().len(), 3);
    }
}
