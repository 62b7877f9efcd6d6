//! Words with their variables replaced (POSIX.1-2017, 2.6 "Word Expansions").

use super::Walk;

impl Walk {
    /// The one word that a word becomes; `None` when it depends on more than a first
    /// installation, or becomes several or none.
    pub(super) fn word(&self, word: &str) -> Option<String> {
        let (value, split) = self.expand(word)?;
        (!split && (!value.is_empty() || word.contains(['"', '\'']))).then_some(value)
    }

    /// The value of a word where none is split.
    pub(super) fn value(&self, word: &str) -> Option<String> {
        self.expand(word).map(|(value, _)| value)
    }

    /// What a word becomes, and whether a variable without quotes could split it.
    fn expand(&self, word: &str) -> Option<(String, bool)> {
        let (mut out, mut split, mut double) = (String::new(), false, false);
        let mut chars = word.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' => double = !double,
                '\'' if !double => loop {
                    match chars.next()? {
                        '\'' => break,
                        c => out.push(c),
                    }
                },
                '\\' => match chars.next()? {
                    c if double && !"$`\"\\".contains(c) => out.extend(['\\', c]),
                    c => out.push(c),
                },
                '`' => return None,
                '$' => {
                    let mut inner = String::new();
                    match chars.peek()? {
                        '(' => return None,
                        '{' => {
                            chars.next();
                            while let c = chars.next()?
                                && c != '}'
                            {
                                inner.push(c);
                            }
                        }
                        c if c.is_ascii_digit() => inner.push(chars.next()?),
                        _ => {
                            let name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                            while let Some(c) = chars.next_if(name) {
                                inner.push(c);
                            }
                        }
                    }
                    let value = self.parameter(&inner)?;
                    split |= !double && value.contains([' ', '\t', '\n', '*', '?', '[']);
                    out.push_str(&value);
                }
                c => out.push(c),
            }
        }
        Some((out, split))
    }

    /// `NAME`, `NAME:-text` and `NAME:+text`.
    fn parameter(&self, inner: &str) -> Option<String> {
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = inner.split_at(end.unwrap_or(inner.len()));
        let value = match name.parse::<usize>() {
            Ok(0) => return None,
            Ok(number) => self.arguments.get(number - 1).cloned().flatten()?,
            Err(_) => self.values.get(name).cloned().flatten()?,
        };
        let plain = |text: &str| (!text.contains(['$', '`', '"', '\''])).then(|| text.to_owned());
        match (rest, rest.get(..2)) {
            ("", _) => Some(value),
            (_, Some(":-")) if value.is_empty() => plain(&rest[2..]),
            (_, Some(":-")) => Some(value),
            (_, Some(":+")) if value.is_empty() => Some(value),
            ("-", _) => Some(value),
            _ => None,
        }
    }
}

/// `NAME=value`.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (good && name.chars().all(plain)).then_some((name, value))
}
