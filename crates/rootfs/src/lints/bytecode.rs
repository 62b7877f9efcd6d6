//! Compiled Python is used as it is shipped. A `.pyc` that carries its source's time of change is
//! stale in every image, since all files have the lock's epoch: each start compiles again, and can
//! keep nothing on a read-only `/usr`.

use anyhow::Result;
use store::Tree;

use super::{Finding, Lint, Lookup, finding, paths};

pub(super) const ROW: Lint = Lint {
    name: "pyc",
    about: "compiled Python (`.pyc`) that is stale because it is stamped with its source's time",
    way_out: "leave it out with `drop` (`**/*.pyc`), or compile with `--invalidation-mode \
              unchecked-hash`",
    run,
};

/// Magic number, flags, then a hash, or time and size (PEP 552).
const HEADER: usize = 16;
/// The flag of a file that is found by its source's hash.
const BY_HASH: u8 = 1;

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in paths(tree).filter(|(path, _)| path.ends_with(".pyc")) {
        // Without its source a file is taken as it is, or not at all.
        if entry.blob().is_none() || tree.resolve(&source(path)).is_none() {
            continue;
        }
        let bytes = lookup.bytes(tree, path)?;
        let problem = match bytes.get(4).filter(|_| bytes.len() >= HEADER) {
            None => "is too short to be compiled Python",
            Some(flags) if flags & BY_HASH == 0 => "is stamped with a time that no image keeps",
            Some(_) => continue,
        };
        found.push(finding(path, entry, problem));
    }
    Ok(found)
}

/// `a/__pycache__/b.cpython-313.pyc` is made of `a/b.py`, `a/b.pyc` as well.
fn source(path: &str) -> String {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    match directory.strip_suffix("/__pycache__") {
        Some(parent) => format!("{parent}/{}.py", file.split('.').next().unwrap_or(file)),
        None => format!("{directory}/{}.py", file.trim_end_matches(".pyc")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn a_stamp_that_no_image_keeps_is_found_and_a_hash_is_not() {
        let path = "usr/lib/python3/x/__pycache__/y.cpython-313.pyc";
        let mut sample = Sample::new("pyc");
        let header = |flags: u8| [&[0xcb, 0x0d, 13, 10, flags, 0, 0, 0][..], &[7; 8]].concat();
        sample.bytes(path, &header(0), 0o644);
        // No source: nothing can be stale.
        assert_eq!(sample.findings(), []);
        sample.file("usr/lib/python3/x/y.py", "", 0o644);
        sample.says("pyc", path, "stamped with a time");
        sample.bytes(path, b"short", 0o644);
        sample.says("pyc", path, "too short");
        for by_hash in [1, 3] {
            sample.bytes(path, &header(by_hash), 0o644);
            assert_eq!(sample.findings(), []);
        }
    }
}
