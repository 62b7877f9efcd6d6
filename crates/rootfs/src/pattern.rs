//! Path patterns: `*` matches within one component, a trailing `/**` everything below.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use store::Tree;

/// A list of path patterns; paths have no leading `/`.
///
/// `usr/lib/*.so` matches one component per `*`; `usr/share/doc/**` matches the directory itself
/// and all that is below it; `**/x.conf` matches at any depth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patterns(pub Vec<String>);

impl Patterns {
    /// Patterns from literals.
    pub fn of(patterns: &[&str]) -> Self {
        Self(patterns.iter().map(|p| (*p).to_owned()).collect())
    }

    /// Whether any pattern matches.
    pub fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, path))
    }

    /// Takes every path that matches out of `tree`; gives the patterns that nothing matches.
    pub(crate) fn drop_from(&self, tree: &mut Tree) -> Vec<&str> {
        let mut idle: BTreeSet<&str> = self.0.iter().map(String::as_str).collect();
        tree.0.retain(|path, _| {
            let hits = self.0.iter().filter(|pattern| matches(pattern, path));
            hits.map(|pattern| idle.remove(pattern.as_str())).count() == 0
        });
        idle.into_iter().collect()
    }
}

/// Whether `pattern` matches `path`.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let patterns: Vec<&str> = pattern.split('/').collect();
    let parts: Vec<&str> = path.split('/').collect();
    run(&patterns, &parts, |p| *p == "**", |p, part| component(p.as_bytes(), part.as_bytes()))
}

/// Matches one component with `*` (any run) and `?` (one byte).
pub(crate) fn component(pattern: &[u8], name: &[u8]) -> bool {
    run(pattern, name, |p| *p == b'*', |p, byte| *p == b'?' || p == byte)
}

/// Matches `pattern`, of which some items are stars that take any run of `items`. Only the last
/// star met is ever taken back, which is enough: the work grows with the product of the lengths.
fn run<P, I>(
    pattern: &[P],
    items: &[I],
    star: impl Fn(&P) -> bool,
    one: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while item < items.len() {
        match pattern.get(at) {
            Some(p) if star(p) => {
                back = Some((at, item));
                at += 1;
            }
            Some(p) if one(p, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => match &mut back {
                Some((star, taken)) => {
                    *taken += 1;
                    (at, item) = (*star + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_in_its_component_and_two_stars_do_not() {
        assert!(matches("usr/lib/*.so", "usr/lib/a.so"));
        assert!(!matches("usr/lib/*.so", "usr/lib/x/a.so"));
        assert!(matches("usr/share/doc/**", "usr/share/doc/a/b"));
        assert!(matches("usr/share/doc/**", "usr/share/doc"));
        assert!(!matches("usr/share/doc/**", "usr/share/docs"));
        assert!(matches("**/*.pyc", "usr/lib/a.pyc"));
        assert!(matches("usr/lib/modules/*/kernel/**", "usr/lib/modules/6/kernel/a"));
        assert!(!matches("usr", "usr/lib"));
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
        let name = "a".repeat(4000);
        assert!(!component("*a".repeat(1000).as_bytes(), format!("{name}b").as_bytes()));
        assert!(component("*a".repeat(1000).as_bytes(), name.as_bytes()));
        let deep = "a/".repeat(1000) + "b";
        assert!(!matches(&("**/a/".repeat(200) + "c"), &deep));
        assert!(matches(&("**/a/".repeat(200) + "b"), &deep));
        assert!(component(b"a?c*", b"abc") && !component(b"a?c", b"ac") && component(b"", b""));
    }
}
