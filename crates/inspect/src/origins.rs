//! Which package brought a path, as an image says it itself (`docs/questions.md`, "origins").

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// What brought each path below `/usr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundOrigins {
    /// Origin by path; a path that ends in `/` holds for everything below it.
    paths: BTreeMap<String, String>,
}

/// The first line: what the text is, and the version of its form.
const HEAD: &str = "# hardtack origins 1";
/// The most lines that are read.
const LINES_LIMIT: usize = 4_000_000;

impl FoundOrigins {
    /// Reads the text: after lines of comment one line a path, `origin<TAB>path`, in which `\\`,
    /// `\t` and `\n` stand for a backslash, a tab and a line feed.
    ///
    /// Errors: another form, a line that is none of these, a path that is there twice.
    pub fn read(text: &str) -> Result<Self> {
        // Not `lines`: a path may end in a carriage return.
        let mut lines = text.split_terminator('\n');
        if lines.next() != Some(HEAD) {
            bail!("the text does not begin with `{HEAD}`");
        }
        let mut found = Self::default();
        for line in lines.filter(|line| !line.starts_with('#')) {
            if found.paths.len() >= LINES_LIMIT {
                bail!("more than {LINES_LIMIT} lines");
            }
            let of = || format!("read the line `{}`", line.escape_debug());
            let (origin, path) = line.split_once('\t').with_context(of)?;
            let (origin, path) = (plain(origin).with_context(of)?, plain(path).with_context(of)?);
            if let Some(before) = found.paths.insert(path, origin) {
                bail!("`{}` is there twice, and once of `{before}`", line.escape_debug());
            }
        }
        Ok(found)
    }

    /// What brought a path below `/usr` (`bin/sh`), if the text says it: the line of the path
    /// itself, else that of the nearest directory above.
    pub fn of(&self, path: &str) -> Option<&str> {
        if let Some(own) = self.paths.get(path) {
            return Some(own);
        }
        let above = path.rmatch_indices('/').map(|(at, _)| path.get(..=at));
        above.flatten().find_map(|above| self.paths.get(above)).map(String::as_str)
    }
}

/// A field without its escapes.
fn plain(field: &str) -> Result<String> {
    let mut letters = field.chars();
    let mut text = String::with_capacity(field.len());
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next() {
                Some('\\') => '\\',
                Some('t') => '\t',
                Some('n') => '\n',
                _ => bail!("a backslash stands before another letter than `\\`, `t` and `n`"),
            },
            other => other,
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_its_own_line_else_to_the_nearest_directory() {
        let text = "# hardtack origins 1\n# a comment\na\tshare/\nb\tshare/b/\nc\tshare/b/c\n";
        let found = FoundOrigins::read(text).unwrap();
        for (path, origin) in [
            ("share/x/y", Some("a")),
            ("share/b/x", Some("b")),
            ("share/b/c", Some("c")),
            ("share/bc", Some("a")),
            ("share", None),
            ("bin/sh", None),
        ] {
            assert_eq!(found.of(path), origin, "{path}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for bad in ["", "a\tb\n", "# hardtack origins 2\n"] {
            assert!(FoundOrigins::read(bad).is_err(), "{bad}");
        }
        let read = |line: &str| FoundOrigins::read(&format!("# hardtack origins 1\n{line}\n"));
        for bad in ["no tab", "a\tb\\x", "a\tb\nc\tb", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("a\tb\\n\\t\\\\\r").unwrap().of("b\n\t\\\r"), Some("a"));
    }
}
