//! Words and operators of a script (POSIX.1-2017, 2.3 "Token Recognition").

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word with its quotes.
    Word(String),
    /// A redirection and where it leads.
    Redirect(String),
    /// What separates and joins commands.
    Operator(&'static str),
}

/// Operators, longer ones first.
const OPERATORS: &[&str] = &[";;", "&&", "||", "\n", ";", "&", "|", "(", ")"];

/// The parts of a script; `None` when a quote or a substitution has no end.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    // Words that end here-documents which begin at the next line.
    let mut documents: Vec<String> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        if let Some(next) = rest.strip_prefix("\\\n") {
            rest = next;
            continue;
        }
        if rest.is_empty() {
            return documents.is_empty().then_some(found);
        }
        if rest.starts_with('#') {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        if let Some((redirect, next)) = redirection(rest) {
            let (redirect, next) = redirect.zip(Some(next))?;
            if let Some(word) = redirect.strip_prefix("<<") {
                documents.push(word.trim_start_matches('-').replace(['\'', '"', '\\'], ""));
            }
            found.push(Token::Redirect(redirect));
            rest = next;
            continue;
        }
        if let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
            rest = &rest[operator.len()..];
            found.push(Token::Operator(operator));
            if *operator == "\n" {
                for word in documents.drain(..) {
                    rest = after_document(rest, &word)?;
                }
            }
            continue;
        }
        let end = word_end(rest)?;
        found.push(Token::Word(rest[..end].replace("\\\n", "")));
        rest = &rest[end..];
    }
}

/// A redirection with its target and what follows; `Some((None, _))` when it has no target.
fn redirection(text: &str) -> Option<(Option<String>, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let from = text[digits..].strip_prefix("&>").map_or(&text[digits..], |_| &text[digits + 1..]);
    let sign = ["<<-", "<<", ">>", ">&", "<&", ">|", "<>", ">", "<"];
    let sign = sign.iter().find(|sign| from.starts_with(**sign))?;
    let target = from[sign.len()..].trim_start_matches([' ', '\t']);
    // A process substitution is a word of another shell.
    let end = word_end(target).filter(|end| *end > 0 && !target.starts_with('('));
    let Some(end) = end else { return Some((None, text)) };
    let number = &text[..digits];
    let kept = if sign.starts_with("<<") { "" } else { number };
    Some((Some(format!("{kept}{sign}{}", &target[..end])), &target[end..]))
}

/// What follows the line that is `word` alone; tabs before it do not count.
fn after_document<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut rest = text;
    while !rest.is_empty() {
        let (line, next) = rest.split_once('\n').unwrap_or((rest, ""));
        if line.trim_start_matches('\t') == word {
            return Some(next);
        }
        rest = next;
    }
    None
}

/// Where the word at the beginning of `text` ends.
fn word_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    // What must come to close each thing that was opened.
    let mut open: Vec<u8> = Vec::new();
    while let Some(&byte) = bytes.get(at) {
        let quoted = open.last().copied();
        match (byte, quoted) {
            (b'\'', Some(b'\'')) => {
                open.pop();
            }
            (_, Some(b'\'')) => {}
            (b'\\', _) => at += 1,
            (_, Some(close)) if byte == close => {
                open.pop();
            }
            (b'$', _) if bytes.get(at + 1) == Some(&b'(') => {
                open.push(b')');
                at += 1;
            }
            (b'$', _) if bytes.get(at + 1) == Some(&b'{') => {
                open.push(b'}');
                at += 1;
            }
            (b'`', _) => open.push(b'`'),
            (b'"', _) => open.push(b'"'),
            (b'\'', None | Some(b')' | b'`')) => open.push(b'\''),
            // Brackets inside a substitution come in pairs, but for those of `case`.
            (b'(', Some(b')')) => open.push(b')'),
            (b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>', None) => break,
            _ => {}
        }
        at += 1;
    }
    open.is_empty().then_some(at.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let found = tokens(text).unwrap();
        let text = |token| match token {
            Token::Word(text) | Token::Redirect(text) => text,
            Token::Operator(text) => text.replace('\n', "NL"),
        };
        found.into_iter().map(text).collect()
    }

    #[test]
    fn quotes_and_substitutions_are_parts_of_words() {
        assert_eq!(
            words("a \"b c\"'d e'$(f `g h` \"i)\")${j:-k l};m\\ n # o"),
            ["a", "\"b c\"'d e'$(f `g h` \"i)\")${j:-k l}", ";", "m\\ n"]
        );
        assert_eq!(words("a \\\n  b\\\nc"), ["a", "bc"]);
    }

    #[test]
    fn redirections_and_documents_are_no_words() {
        assert_eq!(
            words("a>/b 2>&1 >> c <d\ncat <<-'E' > f\n a ' b\n\tE\ng&&h"),
            ["a", ">/b", "2>&1", ">>c", "<d", "NL", "cat", "<<-'E'", ">f", "NL", "g", "&&", "h"]
        );
        for text in ["a <<E\nb", "a >", "a <(b)", "a '", "a `b"] {
            assert_eq!(tokens(text), None, "{text}");
        }
    }
}
