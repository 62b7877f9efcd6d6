//! The dynamic linker's cache: none. A lint proves that every library is found on default paths,
//! and a cache that a package or profile ships would only go stale.

use anyhow::Result;
use store::{Scratch, Tree};

use super::BOTH;
use crate::{Change, Generator, Point};

const CACHE: &str = "etc/ld.so.cache";

pub(crate) const ROW: Generator = Generator {
    name: "dynamic-linker",
    revision: 1,
    purposes: BOTH,
    point: Point::Installed,
    reads: &[CACHE],
    writes: &[CACHE],
    run,
};

fn run(tree: &Tree, _: &Scratch<'_>) -> Result<Change> {
    let remove = tree.0.keys().cloned().collect();
    Ok(Change { remove, ..Change::default() })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    #[test]
    fn a_shipped_cache_is_dropped() {
        let sample = Sample::new().file(CACHE, b"stale").file("etc/ld.so.conf", b"");
        let tree = sample.run(&ROW).unwrap();
        assert_eq!(tree.0.keys().collect::<Vec<_>>(), ["etc/ld.so.conf"]);
    }
}
