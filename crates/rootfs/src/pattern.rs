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
    let mut patterns = pattern.split('/');
    let mut parts = path.split('/');
    loop {
        match (patterns.next(), parts.clone().next()) {
            (Some("**"), _) => {
                let rest: Vec<&str> = patterns.collect();
                if rest.is_empty() {
                    return true;
                }
                let rest = rest.join("/");
                let left: Vec<&str> = parts.collect();
                return (0..left.len()).any(|i| matches(&rest, &left[i..].join("/")));
            }
            (Some(p), Some(part)) if component(p.as_bytes(), part.as_bytes()) => {
                parts.next();
            }
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Matches one component with `*` (any run) and `?` (one byte).
pub(crate) fn component(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|i| component(rest, &name[i..])),
        Some((b'?', rest)) => !name.is_empty() && component(rest, &name[1..]),
        Some((c, rest)) => name.first() == Some(c) && component(rest, &name[1..]),
    }
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
}
