//! The package manager's configuration syntax (apt.conf(5)), as far as fetching needs it.

use anyhow::{Result, bail};

/// Scalar settings in the order in which they are set: full name in lower case, value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// The last value that was set, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let last = self.0.iter().rev().find(|(n, _)| *n == name);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a setting is on; `default` when it is not set.
    pub(crate) fn switch(&self, name: &str, default: bool) -> bool {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on" | "with" | "enable" | "1") => true,
            Some("false" | "no" | "off" | "without" | "disable" | "0") => false,
            _ => default,
        }
    }

    /// Reads one file after those read before.
    pub(crate) fn read(&mut self, text: &str) -> Result<()> {
        let mut scopes: Vec<String> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        for token in tokens(text)? {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    let name = words.join("");
                    let scope = scopes.last().map_or(name.clone(), |outer| join(outer, &name));
                    scopes.push(scope);
                    words.clear();
                }
                Token::Close => {
                    if scopes.pop().is_none() {
                        bail!("a `}}` too many");
                    }
                    words.clear();
                }
                Token::End => {
                    match &words[..] {
                        [word, name] if word == "#clear" => {
                            let name = name.to_ascii_lowercase();
                            self.0.retain(|(n, _)| !n.starts_with(&name));
                        }
                        [name, value] => {
                            let scope = scopes.last();
                            let name = scope.map_or(name.clone(), |outer| join(outer, name));
                            self.0.push((name.to_ascii_lowercase(), value.clone()));
                        }
                        _ => {}
                    }
                    words.clear();
                }
            }
        }
        Ok(())
    }
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn join(outer: &str, inner: &str) -> String {
    if inner.is_empty() { outer.to_owned() } else { format!("{outer}::{inner}") }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
        } else if rest.starts_with("//") || (first == '#' && !rest.starts_with("#clear")) {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let Some((word, after)) = quoted.split_once('"') else { bail!("a quote without end") };
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        } else if "{};".contains(first) {
            tokens.push(match first {
                '{' => Token::Open,
                '}' => Token::Close,
                _ => Token::End,
            });
            rest = &rest[1..];
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c));
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Settings {
        let mut settings = Settings::default();
        texts.iter().for_each(|text| settings.read(text).unwrap());
        settings
    }

    #[test]
    fn nested_and_flat_names_are_the_same_and_the_last_wins() {
        let settings = read(&[
            "// a comment\nAcquire { http { Proxy \"http://one.test:1/\"; Proxy::a.test \"DIRECT\"; };\n\
             # another\n /* and { one */ Retries \"3\"; };",
            "acquire::HTTP::proxy \"http://two.test/\";\nAcquire::Check-Valid-Until \"false\";",
        ]);
        assert_eq!(settings.get("Acquire::http::Proxy"), Some("http://two.test/"));
        assert_eq!(settings.get("Acquire::http::Proxy::a.test"), Some("DIRECT"));
        assert_eq!(settings.get("Acquire::Retries"), Some("3"));
        assert!(!settings.switch("Acquire::Check-Valid-Until", true));
        assert!(settings.switch("Acquire::Check-Date", true));
    }

    #[test]
    fn lists_and_clears_do_no_harm() {
        let settings = read(&[
            "A::B { \"x\"; \"y\"; };\nAcquire::http::Proxy \"http://a.test\";",
            "#clear Acquire::http::Proxy;",
        ]);
        assert_eq!(settings.get("Acquire::http::Proxy"), None);
    }

    #[test]
    fn broken_files_are_errors() {
        assert!(Settings::default().read("A \"x").is_err());
        assert!(Settings::default().read("};").is_err());
    }
}
