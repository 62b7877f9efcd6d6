//! The reviewed list of differences: `xtask/judge/tree.list`.
//!
//! One line a difference that is meant: a pattern of paths, kinds of difference, a reason. `*` is
//! any text within a name, `**` any text. A line `[profile]` begins a part for that profile alone,
//! `[all]` a part for every one. A line that covers nothing is as wrong as a difference that no
//! line covers: then the list no longer says what is true.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::compare::{Difference, What};

/// The part for every profile.
const ALL: &str = "all";

/// One line of the list.
#[derive(Debug)]
struct Line {
    number: usize,
    pattern: String,
    kinds: Vec<What>,
    reason: String,
}

/// The lines that hold for one profile.
#[derive(Debug)]
pub(super) struct List(Vec<Line>);

/// What a list makes of differences.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Reason to the differences that it covers.
    pub(super) covered: BTreeMap<String, Vec<Difference>>,
    /// Differences that no line covers.
    pub(super) open: Vec<Difference>,
    /// Lines that cover nothing.
    pub(super) stale: Vec<String>,
}

impl List {
    /// The lines for `profile`; for one that has no part of its own, those of every part.
    pub(super) fn parse(text: &str, profile: &str) -> Result<List> {
        let headed = text.lines().any(|line| line.trim() == format!("[{profile}]"));
        let mut part = ALL.to_owned();
        let mut lines = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            let number = at + 1;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut part);
                continue;
            }
            let fields: Vec<&str> = line.splitn(3, "  ").map(str::trim).collect();
            let [pattern, kinds, reason] = fields.as_slice() else {
                bail!(
                    "line {number}: `{line}` is not `pattern  kinds  reason`, two blanks between"
                );
            };
            let kinds = kinds.split(',').map(|kind| {
                What::named(kind).with_context(|| format!("line {number}: no kind `{kind}`"))
            });
            let kinds: Vec<What> = kinds.collect::<Result<_>>()?;
            if reason.is_empty() {
                bail!("line {number}: `{pattern}` has no reason");
            }
            if part == ALL || part == profile || !headed {
                let (pattern, reason) = ((*pattern).to_owned(), (*reason).to_owned());
                lines.push(Line { number, pattern, kinds, reason });
            }
        }
        Ok(List(lines))
    }

    /// Sorts differences into covered and open ones. The first line that fits covers.
    pub(super) fn judge(&self, differences: Vec<Difference>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut used = vec![0; self.0.len()];
        for difference in differences {
            let fits = |line: &Line| {
                line.kinds.contains(&difference.what) && matches(&line.pattern, &difference.path)
            };
            match self.0.iter().position(fits) {
                Some(at) => {
                    used[at] += 1;
                    let reason = self.0[at].reason.clone();
                    verdict.covered.entry(reason).or_default().push(difference);
                }
                None => verdict.open.push(difference),
            }
        }
        let unused = self.0.iter().zip(used).filter(|(_, used)| *used == 0);
        verdict.stale =
            unused.map(|(line, _)| format!("line {}: {}", line.number, line.pattern)).collect();
        verdict
    }
}

/// Whether a path has the form of a pattern.
fn matches(pattern: &str, path: &str) -> bool {
    fn at(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=path.len()).any(|skip| at(rest, &path[skip..])),
            [b'*', rest @ ..] => {
                let name = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
                (0..=name).any(|skip| at(rest, &path[skip..]))
            }
            [first, rest @ ..] => path.first() == Some(first) && at(rest, &path[1..]),
        }
    }
    at(pattern.as_bytes(), path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, what: What) -> Difference {
        Difference { path: path.to_owned(), what, says: String::new() }
    }

    #[test]
    fn a_star_stays_within_a_name_and_two_do_not() {
        for (pattern, path, fits) in [
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("a/*.d/x", "a/b.d/x", true),
            ("**/x", "a/b/x", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn what_no_line_covers_is_open_and_a_line_that_covers_nothing_is_stale() {
        let text =
            "# c\netc/x  content,mode  why\nvar/**  absent  cache\n[other]\nb  extra  no\n[own]\n";
        let list = List::parse(text, "own").unwrap();
        let verdict = list.judge(vec![
            found("etc/x", What::Mode),
            found("etc/x", What::Owner),
            found("b", What::Extra),
        ]);
        assert_eq!(verdict.covered["why"], [found("etc/x", What::Mode)]);
        assert_eq!(verdict.covered.len(), 1);
        assert_eq!(verdict.open.len(), 2);
        assert_eq!(verdict.stale, ["line 3: var/**"]);
        assert_eq!(List::parse(text, "stranger").unwrap().0.len(), 3);
    }

    #[test]
    fn no_line_of_the_shipped_list_covers_programs_or_libraries_wholesale() {
        let text = include_str!("../../judge/tree.list");
        let list = List::parse(text, "mini").unwrap();
        for path in ["usr/bin/bash", "usr/lib/x86_64-linux-gnu/libc.so.6", "etc/passwd"] {
            for (name, what) in What::ALL {
                assert_eq!(list.judge(vec![found(path, what)]).open.len(), 1, "{path} {name}");
            }
        }
        assert!(List::parse(text, "container-host").unwrap().0.len() > list.0.len());
    }

    #[test]
    fn a_line_without_reason_or_with_an_unknown_kind_is_refused() {
        for text in ["etc/x  content", "etc/x  nonsense  why", "etc/x content why"] {
            assert!(List::parse(text, "own").is_err(), "{text}");
        }
    }
}
