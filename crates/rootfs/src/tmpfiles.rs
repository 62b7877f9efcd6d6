//! The lines of tmpfiles.d(5), as far as they say who makes which path.

use crate::lines::words;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What is done: `d`, `C`, `L`; modifiers are left out.
    pub(crate) kind: char,
    /// Where, without the `/` at both ends; a pattern for some kinds.
    pub(crate) path: String,
    /// Permission bits, where the line gives them.
    pub(crate) mode: Option<u16>,
    /// User, where the line gives one.
    pub(crate) user: Option<String>,
    /// Group, where the line gives one.
    pub(crate) group: Option<String>,
}

/// Every line that can be read; others are the reader's own to refuse at boot.
pub(crate) fn read(text: &str) -> Vec<Line> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(line).collect()
}

fn line(line: &str) -> Option<Line> {
    let words = words(line).ok()?;
    let field = |at: usize| {
        let word = words.get(at).map(|word| word.trim_start_matches(':'));
        word.filter(|word| !word.is_empty() && *word != "-")
    };
    let path = words.get(1)?.replace("%%", "%");
    Some(Line {
        kind: words.first()?.chars().next()?,
        path: path.trim_matches('/').to_owned(),
        mode: field(2).and_then(|m| u16::from_str_radix(m.trim_start_matches(['~', ':']), 8).ok()),
        user: field(3).map(str::to_owned),
        group: field(4).map(str::to_owned),
    })
}

impl Line {
    /// Whether the line makes its path, a directory or a file or a link.
    pub(crate) fn makes(&self) -> bool {
        matches!(self.kind, 'd' | 'D' | 'v' | 'q' | 'Q' | 'f' | 'F' | 'w' | 'C' | 'L' | 'p')
    }

    /// Whether the line sets mode and owner of what is there.
    pub(crate) fn adjusts(&self) -> bool {
        matches!(self.kind, 'z' | 'Z' | 'm' | 'e')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_may_what_where() {
        let text =
            "# c\nd!- \"/var/a b/\" 0750 x :y 10d\nL+ /var/l - - - - ../x\nz /v ~:0640\nd\n\n";
        let read = read(text);
        assert_eq!(read.len(), 3);
        let first = &read[0];
        assert_eq!((first.kind, first.path.as_str(), first.mode), ('d', "var/a b", Some(0o750)));
        assert_eq!((first.user.as_deref(), first.group.as_deref()), (Some("x"), Some("y")));
        assert_eq!((read[1].kind, &read[1].user), ('L', &None));
        assert!(read[1].makes() && read[2].adjusts());
        assert_eq!(read[2].mode, Some(0o640));
    }
}
