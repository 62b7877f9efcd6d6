//! Lines of configuration files, as systemd's and their kin read them.

use anyhow::{Context, Result, bail};

/// Words between blanks; quotes keep blanks, a backslash the next character.
pub(crate) fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match (quote, c) {
                (_, '\\') => word.push(chars.next().context("a backslash ends the line")?),
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (_, c) => word.push(c),
            }
        }
        if quote.is_some() {
            bail!("a quote is not closed");
        }
        words.push(word);
    }
}

/// Lines without comments; one that ends with a backslash goes on in the next.
pub(crate) fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| open) {
            Some(last) => last.extend([" ", line]),
            None => lines.push(line.to_owned()),
        }
        open = more;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_and_must_close() {
        assert_eq!(words(r#"u a - "A B" '/x y'"#).unwrap(), ["u", "a", "-", "A B", "/x y"]);
        assert!(words("u a - \"A").is_err());
    }

    #[test]
    fn a_comment_between_continued_lines_does_not_end_them() {
        assert_eq!(joined("a \\\n# c\n b\nc\n"), ["a   b", "c"]);
    }
}
