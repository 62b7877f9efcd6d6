//! Conditions: what holds in a first installation, and what only asks.

use super::nodes::calls;
use super::{Walk, When};
use crate::shell::Node;

impl Walk {
    /// Whether a condition holds. One that is a command with effects is a step, too.
    pub(super) fn condition(&mut self, node: &Node, when: &When) -> Option<Option<bool>> {
        let truth = self.truth(node);
        // A function may bear the name of a program that only asks.
        let own: Vec<&str> = self.functions.keys().map(String::as_str).collect();
        if !is_test(node) || calls(std::slice::from_ref(node), &own) {
            self.node(node, when)?;
        }
        Some(truth)
    }

    /// `None` when it depends on more than a first installation.
    fn truth(&self, node: &Node) -> Option<bool> {
        match node {
            Node::Not(inner) => self.truth(inner).map(|holds| !holds),
            Node::And(left, right) => match (self.truth(left), self.truth(right)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Node::Or(left, right) => match (self.truth(left), self.truth(right)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::Group(nodes, _) if nodes.len() == 1 => self.truth(nodes.first()?),
            Node::Simple(words, _) => self.simple_truth(words),
            _ => None,
        }
    }

    fn simple_truth(&self, words: &[String]) -> Option<bool> {
        if self.functions.contains_key(words.first()?) {
            return None;
        }
        let words: Vec<Option<String>> = words.iter().map(|word| self.word(word)).collect();
        let text: Vec<Option<&str>> = words.iter().map(Option::as_deref).collect();
        match text.as_slice() {
            [Some("["), inner @ .., Some("]")] | [Some("test"), inner @ ..] => test(inner),
            [Some("true" | ":")] => Some(true),
            [Some("false")] => Some(false),
            // deb-version(7) and dpkg(1): an empty version is earlier than any, or with `-nl`
            // later.
            [Some("dpkg"), Some("--compare-versions"), Some(""), Some(how), Some(other)]
                if !other.is_empty() =>
            {
                match *how {
                    "lt" | "le" | "ne" | "ge-nl" | "gt-nl" | "<<" | "<=" | "<" => Some(true),
                    "gt" | "ge" | "eq" | "lt-nl" | "le-nl" | ">>" | ">=" | ">" | "=" => Some(false),
                    _ => None,
                }
            }
            [Some("dpkg-maintscript-helper"), Some("supports"), Some(_)] => Some(true),
            [Some("dpkg-statoverride"), rest @ .., Some(_)]
                if rest.contains(&Some("--list")) && rest.len() <= 2 =>
            {
                Some(false)
            }
            [Some("getent"), Some(kind @ ("passwd" | "group")), Some(name)] => {
                self.exists(kind, name)
            }
            [Some("id"), options @ .., Some(name)]
                if options.iter().all(|o| o.is_some_and(|o| o.starts_with('-'))) =>
            {
                self.exists("passwd", name)
            }
            _ => None,
        }
    }

    /// Users of a fresh system are those that every system has (base-passwd) and those that the
    /// script has made; one that it makes elsewhere is missing so far. Of others nothing is known:
    /// they may be another package's.
    fn exists(&self, kind: &str, name: &str) -> Option<bool> {
        const STATIC: &[&str] = &[
            "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp",
            "proxy", "www-data", "backup", "list", "irc", "nobody", "adm", "tty", "disk", "kmem",
            "dialout", "fax", "voice", "cdrom", "floppy", "tape", "sudo", "audio", "dip",
            "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff", "users",
            "nogroup",
        ];
        let key = format!("{kind} {name}");
        match self.made.get(&key) {
            _ if STATIC.contains(&name) => Some(true),
            Some(true) => Some(true),
            Some(false) => None,
            None => self.makes.contains(&key).then_some(false),
        }
    }
}

/// test(1) over values, where it needs no file system.
fn test(words: &[Option<&str>]) -> Option<bool> {
    // `-o` binds weaker than `-a`.
    for (operator, decides) in [("-o", true), ("-a", false)] {
        if let Some(at) = words.iter().position(|word| *word == Some(operator))
            && at > 0
        {
            let (left, right) = (test(&words[..at]), test(&words[at + 1..]));
            if left == Some(decides) || right == Some(decides) {
                return Some(decides);
            }
            return left.and(right);
        }
    }
    match words {
        [Some("!"), rest @ ..] => test(rest).map(|holds| !holds),
        [Some("-n"), Some(value)] => Some(!value.is_empty()),
        [Some("-z"), Some(value)] => Some(value.is_empty()),
        // No system is running.
        [Some("-d"), Some("/run/systemd/system")] => Some(false),
        [Some(left), Some("=" | "=="), Some(right)] => Some(left == right),
        [Some(left), Some("!="), Some(right)] => Some(left != right),
        _ => None,
    }
}

/// Whether `value` has the form of a pattern; `None` when the pattern says more than `*`.
pub(super) fn matches(pattern: &str, value: &str) -> Option<bool> {
    if pattern.contains(['?', '[', '$', '`', '\\']) {
        return None;
    }
    match pattern.split_once('*') {
        None => Some(pattern == value),
        Some((_, rest)) if rest.contains('*') => None,
        Some((before, after)) => Some(
            value.len() >= before.len() + after.len()
                && value.starts_with(before)
                && value.ends_with(after),
        ),
    }
}

pub(super) fn unquoted(word: &str) -> Option<String> {
    (!word.contains(['$', '`'])).then(|| word.replace(['"', '\''], ""))
}

/// Whether a redirection only silences or goes to what a person reads.
pub(crate) fn silent(redirect: &str) -> bool {
    let target = redirect.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(target, ">/dev/null" | ">>/dev/null" | "&>/dev/null" | ">&1" | ">&2" | "</dev/null")
}

/// Whether a condition is a question without effect.
fn is_test(node: &Node) -> bool {
    match node {
        Node::Not(inner) => is_test(inner),
        Node::And(left, right) | Node::Or(left, right) => is_test(left) && is_test(right),
        Node::Group(nodes, to) => to.iter().all(|to| silent(to)) && nodes.iter().all(is_test),
        Node::Pipe(parts) => parts.iter().all(is_test),
        Node::Simple(words, redirects) => {
            let word = |at: usize| words.get(at).map(String::as_str);
            let quiet = redirects.iter().all(|to| silent(to) || to.starts_with('<'));
            let asks = match word(0) {
                Some("[" | "test" | "grep" | "egrep" | "fgrep" | "getent" | "id" | "which") => true,
                Some("true" | "false" | ":" | "cmp" | "dpkg-query" | "type" | "pidof") => true,
                Some("command") => word(1) == Some("-v"),
                Some("dpkg") => matches!(word(1), Some("--compare-versions" | "-l" | "-s" | "-L")),
                Some("dpkg-statoverride" | "dpkg-divert") => words.iter().any(|w| w == "--list"),
                Some("dpkg-maintscript-helper") => word(1) == Some("supports"),
                Some("systemctl") => word(1).is_some_and(|verb| verb.starts_with("is-")),
                _ => false,
            };
            asks && quiet && words.iter().all(|word| only_asks(word))
        }
        _ => false,
    }
}

/// Whether every command that a word is substituted from only finds something out.
pub(crate) fn only_asks(word: &str) -> bool {
    let mut rest = word;
    while let Some((_, after)) = rest.split_once("$(") {
        let Some((command, after)) = after.split_once(')') else { return false };
        let command = command.replace("2>/dev/null", "").replace("2> /dev/null", "");
        let words: Vec<&str> = command.split_whitespace().collect();
        let asks = match words.as_slice() {
            ["command", "-v", _] | ["readlink" | "stat" | "id" | "which" | "uname" | "cat", ..] => {
                true
            }
            ["dpkg-divert", "--truename" | "--listpackage", _] => true,
            ["dpkg", "--print-architecture"] | ["dpkg-query" | "getent" | "md5sum", ..] => true,
            ["find", rest @ ..] => {
                !rest.iter().any(|word| word.starts_with("-exec") || *word == "-delete")
            }
            _ => false,
        };
        if !asks || command.contains(['|', ';', '&', '<', '>', '`', '(']) {
            return false;
        }
        rest = after;
    }
    !word.contains('`')
}
