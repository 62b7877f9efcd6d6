//! Shell scripts (POSIX.1-2017, 2 "Shell Command Language"), read as far as maintainer scripts
//! use the language. Nothing here runs anything, and what is not understood is said to be so.

mod first;
mod tokens;

pub(crate) use first::{Step, When, only_asks, silent, steps};

use tokens::{Token, tokens};

/// Words that end a part of a block, and no command has for a name.
const RESERVED: &[&str] = &["then", "elif", "else", "fi", "do", "done", "esac", "}"];
/// Blocks within blocks are not read deeper than this.
const DEPTH_MAX: usize = 40;
/// Longer scripts, in bytes, are not read.
const TEXT_MAX: usize = 256 << 10;
/// Chains of `&&` and `||` are not read further than this.
const CHAIN_MAX: usize = 100;

/// A command or a block of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Words and redirections, as they are written.
    Simple(Vec<String>, Vec<String>),
    /// `&&`.
    And(Box<Node>, Box<Node>),
    /// `||`.
    Or(Box<Node>, Box<Node>),
    /// `!`.
    Not(Box<Node>),
    /// Commands that feed one another, subshells, and jobs in the background.
    Pipe(Vec<Node>),
    /// Conditions with what follows from each, and what follows from none.
    If(Vec<(Vec<Node>, Vec<Node>)>, Vec<Node>),
    /// A word, and for each branch its patterns.
    Case(String, Vec<(Vec<String>, Vec<Node>)>),
    /// A variable, the words that it takes one after the other, and what is done with each.
    For(String, Vec<String>, Vec<Node>),
    /// `while` and `until`: condition and body.
    While(Vec<Node>, Vec<Node>),
    /// A function by its name.
    Function(String, Vec<Node>),
    /// `{ }`.
    Group(Vec<Node>, Vec<String>),
}

/// The commands of a script; `None` when anything in it is not understood.
pub(crate) fn parse(text: &str) -> Option<Vec<Node>> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let nodes = parser.list(&[])?;
    (parser.at == tokens.len()).then_some(nodes)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn operator(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Operator(operator)) => Some(operator),
            _ => None,
        }
    }

    fn take_word(&mut self, wanted: &str) -> Option<()> {
        (self.word() == Some(wanted)).then(|| self.at += 1)
    }

    fn take_operator(&mut self, wanted: &str) -> Option<()> {
        (self.operator() == Some(wanted)).then(|| self.at += 1)
    }

    fn skip_ends(&mut self) {
        while matches!(self.operator(), Some("\n" | ";")) {
            self.at += 1;
        }
    }

    /// Commands up to one of `ends`, which stays; without `ends` up to the end of the script.
    fn list(&mut self, ends: &[&str]) -> Option<Vec<Node>> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let mut nodes = Vec::new();
        loop {
            self.skip_ends();
            let here = self.word().or(self.operator());
            let Some(here) = here else {
                let redirect = self.peek().is_some();
                if redirect {
                    nodes.push(self.and_or()?);
                    continue;
                }
                self.depth -= 1;
                return ends.is_empty().then_some(nodes);
            };
            if ends.contains(&here) {
                self.depth -= 1;
                return Some(nodes);
            }
            nodes.push(self.and_or()?);
            match self.operator() {
                Some("\n" | ";") | None => {}
                Some("&") => {
                    self.at += 1;
                    let last = nodes.pop()?;
                    nodes.push(Node::Pipe(vec![last]));
                }
                Some(operator) if ends.contains(&operator) => {}
                Some(_) => return None,
            }
        }
    }

    fn and_or(&mut self) -> Option<Node> {
        let mut left = self.pipe()?;
        for _ in 0..CHAIN_MAX {
            let join: fn(Box<Node>, Box<Node>) -> Node = match self.operator() {
                Some("&&") => Node::And,
                Some("||") => Node::Or,
                _ => return Some(left),
            };
            self.at += 1;
            while self.operator() == Some("\n") {
                self.at += 1;
            }
            left = join(Box::new(left), Box::new(self.pipe()?));
        }
        None
    }

    fn pipe(&mut self) -> Option<Node> {
        let mut negated = false;
        while self.take_word("!").is_some() {
            negated = !negated;
        }
        let mut parts = vec![self.command()?];
        while self.take_operator("|").is_some() {
            while self.operator() == Some("\n") {
                self.at += 1;
            }
            parts.push(self.command()?);
        }
        let node = if parts.len() == 1 { parts.pop()? } else { Node::Pipe(parts) };
        Some(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn command(&mut self) -> Option<Node> {
        let block = match (self.word(), self.operator()) {
            (Some("if"), _) => self.branches()?,
            (Some("case"), _) => self.case()?,
            (Some("for"), _) => self.each()?,
            (Some("while" | "until"), _) => {
                self.at += 1;
                let condition = self.list(&["do"])?;
                Node::While(condition, self.body("do", "done")?)
            }
            (Some("{"), _) => Node::Group(self.body("{", "}")?, Vec::new()),
            (_, Some("(")) => {
                self.at += 1;
                let nodes = self.list(&[")"])?;
                self.take_operator(")")?;
                // What ends or changes in a subshell does so for itself alone.
                Node::Pipe(vec![Node::Group(nodes, Vec::new())])
            }
            _ => return self.simple(),
        };
        let redirects = self.redirects();
        Some(match block {
            Node::Group(nodes, _) => Node::Group(nodes, redirects),
            block if redirects.is_empty() => block,
            block => Node::Group(vec![block], redirects),
        })
    }

    fn redirects(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(Token::Redirect(text)) = self.peek() {
            found.push(text.clone());
            self.at += 1;
        }
        found
    }

    /// What stands between two reserved words.
    fn body(&mut self, from: &str, to: &str) -> Option<Vec<Node>> {
        self.take_word(from)?;
        let nodes = self.list(&[to])?;
        self.take_word(to)?;
        Some(nodes)
    }

    fn branches(&mut self) -> Option<Node> {
        let mut branches = Vec::new();
        self.take_word("if")?;
        loop {
            let condition = self.list(&["then"])?;
            self.take_word("then")?;
            branches.push((condition, self.list(&["elif", "else", "fi"])?));
            if self.take_word("elif").is_none() {
                break;
            }
        }
        let otherwise = match self.take_word("else") {
            Some(()) => self.list(&["fi"])?,
            None => Vec::new(),
        };
        self.take_word("fi")?;
        Some(Node::If(branches, otherwise))
    }

    fn case(&mut self) -> Option<Node> {
        self.at += 1;
        let subject = self.word()?.to_owned();
        self.at += 1;
        self.skip_ends();
        self.take_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip_ends();
            if self.take_word("esac").is_some() {
                return Some(Node::Case(subject, arms));
            }
            let _ = self.take_operator("(");
            let mut patterns = Vec::new();
            loop {
                patterns.push(self.word()?.to_owned());
                self.at += 1;
                if self.take_operator("|").is_none() {
                    break;
                }
            }
            self.take_operator(")")?;
            arms.push((patterns, self.list(&[";;", "esac"])?));
            let _ = self.take_operator(";;");
        }
    }

    fn each(&mut self) -> Option<Node> {
        self.at += 1;
        let name = self.word()?.to_owned();
        self.at += 1;
        self.skip_ends();
        let mut words = Vec::new();
        if self.take_word("in").is_some() {
            while let Some(word) = self.word() {
                words.push(word.to_owned());
                self.at += 1;
            }
        } else {
            words.push("\"$@\"".to_owned());
        }
        self.skip_ends();
        Some(Node::For(name, words, self.body("do", "done")?))
    }

    fn simple(&mut self) -> Option<Node> {
        if self.word().is_some_and(|word| RESERVED.contains(&word)) {
            return None;
        }
        let (mut words, mut redirects) = (Vec::new(), Vec::new());
        loop {
            match self.peek() {
                Some(Token::Word(word)) => words.push(word.clone()),
                Some(Token::Redirect(text)) => redirects.push(text.clone()),
                Some(Token::Operator("(")) if words.len() == 1 && redirects.is_empty() => {
                    self.at += 1;
                    self.take_operator(")")?;
                    self.skip_ends();
                    let Node::Group(body, _) = self.command()? else { return None };
                    return Some(Node::Function(words.pop()?, body));
                }
                _ if words.is_empty() && redirects.is_empty() => return None,
                _ => return Some(Node::Simple(words, redirects)),
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lists_and_functions_are_told_apart() {
        let nodes = parse(
            "f () {\n a b\n}\nif [ -n \"$2\" ] && x; then a; elif b; then c; else d; fi\n\
             case \"$1\" in\n (a|b) x;;\n *) y\nesac\nfor i in 1 2; do z $i; done >/dev/null 2>&1\n\
             a | b || true\n( cd / && x ) &\nwhile read x; do :; done < /f\n! x\n",
        )
        .unwrap();
        assert_eq!(nodes.len(), 8);
        assert!(matches!(&nodes[0], Node::Function(name, body) if name == "f" && body.len() == 1));
        assert!(
            matches!(&nodes[1], Node::If(found, otherwise) if found.len() == 2 && otherwise.len() == 1)
        );
        assert!(matches!(&nodes[2], Node::Case(_, arms) if arms[0].0 == ["a", "b"]));
        assert!(matches!(&nodes[3], Node::Group(inner, to) if inner.len() == 1 && to.len() == 2));
        assert!(matches!(&nodes[4], Node::Or(..)));
        assert!(matches!(&nodes[7], Node::Not(_)));
    }

    #[test]
    fn what_is_cut_off_or_nested_without_end_is_not_understood() {
        for text in ["if x; then y", "case x in", "a &&", "x \"y", "$(a", "fi", "a ;; b", "f() x y"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        let deep = "{ ".repeat(100_000);
        assert_eq!(parse(&deep), None);
        assert_eq!(parse(&"$(".repeat(100_000)), None);
        assert_eq!(parse(&"! ".repeat(100_000)), None);
        assert_eq!(parse(&"x && ".repeat(100_000)), None);
    }
}
