//! What a script would do when its package is installed for the first time.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use crate::Moment;

/// More commands than this are not followed.
const STEPS_MAX: usize = 5_000;
/// Functions that call one another, and loops, are not followed deeper than this.
const CALLS_MAX: usize = 12;

/// One command, and whether it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its words, variables of known value replaced; a word that depends on more stays as written.
    pub(crate) words: Vec<String>,
    /// Whether every word is known.
    pub(crate) known: bool,
    /// Its redirections.
    pub(crate) redirects: Vec<String>,
    /// Whether it runs.
    pub(crate) when: When,
}

/// Whether a command runs in a first installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// It does.
    Always,
    /// It does not: the condition that is not met.
    Never(String),
    /// It depends on this.
    Perhaps(String),
}

/// The commands in order; `None` when there are too many.
///
/// A script that runs after unpacking runs again when other packages touch what its own watches:
/// what it would do only then comes last.
pub(crate) fn steps(nodes: &[Node], moment: Moment) -> Option<Vec<Step>> {
    let (verb, other) = match moment {
        Moment::BeforeUnpack => ("install", "install"),
        Moment::AfterUnpack | Moment::Triggered => ("configure", "triggered"),
    };
    let mut found = walk(nodes, verb, Some(String::new()))?;
    if verb != other && mentions(nodes, other) {
        let mut only = Vec::new();
        for mut step in walk(nodes, other, None)?.into_iter().filter(|step| !step.when.is_never()) {
            let mut same = found.iter_mut().filter(|old| old.words == step.words);
            step.when = When::Perhaps("other packages change what it watches".to_owned());
            match same.next() {
                Some(old) if old.when.is_never() => old.when = step.when,
                Some(_) => {}
                None => only.push(step),
            }
        }
        found.extend(only);
    }
    Some(found)
}

fn walk(nodes: &[Node], verb: &str, version: Option<String>) -> Option<Vec<Step>> {
    let walk = |makes: BTreeSet<String>| {
        let empty = [("DPKG_ROOT".to_owned(), Some(String::new()))];
        let mut walk = Walk {
            steps: Vec::new(),
            values: empty.into(),
            arguments: vec![Some(verb.to_owned()), version.clone()],
            functions: BTreeMap::new(),
            over: When::Always,
            calls: 0,
            makes,
            made: BTreeSet::new(),
        };
        walk.all(nodes, &When::Always)?;
        Some(walk)
    };
    // Twice: a question for a user is one for a missing one where the script makes that user.
    let makes = walk(BTreeSet::new())?.made;
    Some(walk(makes)?.steps)
}

impl When {
    pub(crate) fn is_never(&self) -> bool {
        matches!(self, Self::Never(_))
    }
}

struct Walk {
    steps: Vec<Step>,
    /// Variables by value; `None` when it is not known.
    values: BTreeMap<String, Option<String>>,
    /// `$1` and so on.
    arguments: Vec<Option<String>>,
    /// `None` for one that is there or not, or has several forms.
    functions: BTreeMap<String, Option<Vec<Node>>>,
    /// What every further command depends on, since the script or function may have ended.
    over: When,
    calls: usize,
    /// Users and groups (`passwd x`, `group x`) that the script makes somewhere.
    makes: BTreeSet<String>,
    /// Those that it has made so far.
    made: BTreeSet<String>,
}

impl Walk {
    fn all(&mut self, nodes: &[Node], when: &When) -> Option<()> {
        nodes.iter().try_for_each(|node| self.node(node, when))
    }

    fn node(&mut self, node: &Node, when: &When) -> Option<()> {
        if self.steps.len() > STEPS_MAX {
            return None;
        }
        match node {
            Node::Simple(words, redirects) => self.simple(words, redirects, when),
            Node::Not(inner) => self.condition(inner, when).map(|_| ()),
            Node::And(left, right) => {
                let holds = self.condition(left, when)?;
                self.node(right, &both(when, met(holds, &text(left))))
            }
            Node::Or(left, right) => {
                let holds = self.condition(left, when)?;
                let negated = format!("! {}", text(left));
                self.node(right, &both(when, met(holds.map(|holds| !holds), &negated)))
            }
            Node::Pipe(parts) => {
                let words = vec![parts.iter().map(text).collect::<Vec<_>>().join(" | ")];
                self.push(words, Vec::new(), when, Known::No);
                Some(())
            }
            Node::If(branches, otherwise) => self.branches(branches, otherwise, when),
            Node::Case(subject, arms) => self.case(subject, arms, when),
            Node::For(name, items, body) => self.each(name, items, body, when),
            Node::While(condition, body) => {
                let perhaps = When::Perhaps("as long as a loop goes on".to_owned());
                self.forget(when);
                self.all(condition, &both(when, perhaps.clone()))?;
                self.all(body, &both(when, perhaps))
            }
            Node::Function(name, body) => {
                let certain = both(&self.over, when.clone()) == When::Always;
                let first = !self.functions.contains_key(name);
                let body = (certain && first).then(|| body.clone());
                self.functions.insert(name.clone(), body);
                Some(())
            }
            Node::Group(nodes, redirects) if redirects.iter().all(|to| silent(to)) => {
                self.all(nodes, when)
            }
            Node::Group(nodes, redirects) => {
                let words = vec![format!("{{ {} }}", texts(nodes))];
                self.push(words, redirects.clone(), when, Known::No);
                self.forget(when);
                if calls(nodes, &["exit", "return", "exec"]) {
                    self.end(When::Perhaps(text(node)));
                }
                Some(())
            }
        }
    }

    fn branches(
        &mut self,
        branches: &[(Vec<Node>, Vec<Node>)],
        otherwise: &[Node],
        when: &When,
    ) -> Option<()> {
        let mut rest = when.clone();
        for (conditions, body) in branches {
            let (last, before) = conditions.split_last()?;
            self.all(before, &rest)?;
            let holds = self.condition(last, &rest)?;
            let about = text(last);
            self.all(body, &both(&rest, met(holds, &about)))?;
            let negated = format!("! {about}");
            rest = both(&rest, met(holds.map(|holds| !holds), &negated));
        }
        self.all(otherwise, &rest)
    }

    fn case(
        &mut self,
        subject: &str,
        arms: &[(Vec<String>, Vec<Node>)],
        when: &When,
    ) -> Option<()> {
        let value = self.value(subject);
        let mut rest = when.clone();
        for (patterns, body) in arms {
            let about = format!("{subject} is {}", patterns.join(" or "));
            let matches = value.as_ref().and_then(|value| {
                let each = patterns.iter().map(|pattern| matches(&unquoted(pattern)?, value));
                let each: Vec<Option<bool>> = each.collect();
                if each.contains(&Some(true)) {
                    Some(true)
                } else {
                    each.iter().all(|one| *one == Some(false)).then_some(false)
                }
            });
            // The branch's own words say more than that an earlier one was taken.
            let taken = rest.is_never() && !when.is_never();
            let matches = if taken { Some(false) } else { matches };
            let outer = if taken { when } else { &rest };
            self.all(body, &both(outer, met(matches, &about)))?;
            rest = both(&rest, met(matches.map(|matches| !matches), &format!("not {about}")));
        }
        Some(())
    }

    fn each(&mut self, name: &str, items: &[String], body: &[Node], when: &When) -> Option<()> {
        let plain = |item: &String| !item.contains(['*', '?', '[', '$', '`']);
        let values: Option<Vec<String>> =
            items.iter().map(|item| self.word(item).filter(|_| plain(item))).collect();
        match values {
            Some(values) if self.calls < CALLS_MAX && !leaves_a_loop(body) => {
                self.calls += 1;
                for value in values {
                    self.assign(name, Some(value), when);
                    self.all(body, when)?;
                }
                self.calls -= 1;
                Some(())
            }
            _ => {
                self.forget(when);
                let about = format!("for each of {}", items.join(" "));
                self.all(body, &both(when, When::Perhaps(about)))
            }
        }
    }

    fn simple(&mut self, words: &[String], redirects: &[String], when: &When) -> Option<()> {
        if self.assignments(words, redirects, when) {
            return Some(());
        }
        let Some(name) = words.first().map(|word| self.word(word).unwrap_or(word.clone())) else {
            // Redirections alone make or empty a file.
            self.push(vec![":".to_owned()], redirects.to_vec(), when, Known::Yes);
            return Some(());
        };
        match name.as_str() {
            // An installation that fails here makes no system at all.
            "exit" if words.get(1).is_some_and(|code| code != "0") && *when != When::Always => {
                return Some(());
            }
            "exit" | "return" => {
                self.end(when.clone());
                return Some(());
            }
            "exec" => self.end(both(when, When::Perhaps("`exec` comes back".to_owned()))),
            "shift" => self.arguments.clear(),
            "set" if words.iter().any(|word| word == "--") => self.arguments.clear(),
            "db_get" | "db_metaget" | "db_input" | "db_fget" => {
                self.values.insert("RET".to_owned(), None);
            }
            "." | "source" if !words.get(1).is_some_and(|file| file.ends_with("/confmodule")) => {
                self.forget(when);
            }
            "eval" | "read" | "unset" | "getopts" | "trap" | "alias" => {
                self.forget(when);
            }
            _ => {}
        }
        let own = self.functions.get(&name).cloned();
        if let Some(Some(body)) = &own
            && self.calls < CALLS_MAX
        {
            return self.call(body, words, when);
        }
        let expanded: Vec<Option<String>> = words.iter().map(|word| self.word(word)).collect();
        let known = own.is_none() && expanded.iter().all(Option::is_some);
        let known = if known { Known::Yes } else { Known::No };
        let words: Vec<String> = expanded
            .into_iter()
            .zip(words)
            .map(|(value, word)| value.unwrap_or_else(|| word.clone()))
            .collect();
        self.note_account(&words);
        self.push(words, redirects.to_vec(), when, known);
        Some(())
    }

    /// Whether the words assign variables and do nothing else; if so it is done.
    fn assignments(&mut self, words: &[String], redirects: &[String], when: &When) -> bool {
        let first = words.first().map(String::as_str);
        let declares = matches!(first, Some("local" | "export" | "readonly"));
        let assigned = &words[usize::from(declares)..];
        let all = assigned.iter().all(|word| assignment(word).is_some());
        if words.is_empty() || !(declares || all) {
            return false;
        }
        for word in assigned {
            let Some((name, value)) = assignment(word) else {
                if first == Some("local") {
                    self.values.insert(word.clone(), None);
                }
                continue;
            };
            if !only_asks(value) {
                self.push(vec![word.clone()], redirects.to_vec(), when, Known::No);
            }
            let value = self.value(value);
            self.assign(name, value, when);
        }
        true
    }

    /// Keeps in mind which users and groups a command makes.
    fn note_account(&mut self, words: &[String]) {
        let Some((name, rest)) = words.split_first() else { return };
        let Some(last) = rest.last() else { return };
        let own = |option: &String| option == "--group" || option == "-U";
        let (user, group) = match name.as_str() {
            "adduser" => (true, rest.iter().any(own)),
            "useradd" => (true, !rest.iter().any(|option| option == "-g" || option == "-N")),
            "addgroup" | "groupadd" => (false, true),
            _ => return,
        };
        let kinds = [("passwd", user), ("group", group)];
        for (kind, _) in kinds.into_iter().filter(|(_, makes)| *makes) {
            self.made.insert(format!("{kind} {last}"));
        }
    }

    /// The script, or the function that is followed, ends here when `when` says so.
    fn end(&mut self, when: When) {
        self.over = match both(&self.over, when) {
            When::Always => When::Never("the script has ended before".to_owned()),
            When::Perhaps(_) => When::Perhaps("the script has not ended before".to_owned()),
            When::Never(_) => self.over.clone(),
        };
    }

    fn call(&mut self, body: &[Node], words: &[String], when: &When) -> Option<()> {
        let mut arguments = Vec::new();
        for word in &words[1..] {
            match word.as_str() {
                "$@" | "\"$@\"" | "$*" => arguments.extend(self.arguments.iter().cloned()),
                _ => arguments.push(self.word(word)),
            }
        }
        let values = self.values.clone();
        let outer = std::mem::replace(&mut self.arguments, arguments);
        let over = self.over.clone();
        self.calls += 1;
        self.all(body, when)?;
        self.calls -= 1;
        self.arguments = outer;
        for name in locals(body) {
            self.values.insert(name.clone(), values.get(&name).cloned().flatten());
        }
        // `return` ends the function; an `exit` inside of one is left to the reader's doubt.
        self.over = if calls(body, &["exit", "exec"]) && self.over != over {
            both(&over, When::Perhaps(format!("`{}` comes back", words.join(" "))))
        } else {
            over
        };
        Some(())
    }

    /// Whether a condition holds. One that is a command with effects is a step, too.
    fn condition(&mut self, node: &Node, when: &When) -> Option<Option<bool>> {
        let truth = self.truth(node);
        if !is_test(node) {
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
        if STATIC.contains(&name) || self.made.contains(&key) {
            return Some(true);
        }
        self.makes.contains(&key).then_some(false)
    }

    fn assign(&mut self, name: &str, value: Option<String>, when: &When) {
        let certain = both(&self.over, when.clone());
        match certain {
            When::Always => self.values.insert(name.to_owned(), value),
            When::Perhaps(_) => self.values.insert(name.to_owned(), None),
            When::Never(_) => None,
        };
    }

    /// Forgets every variable: of what runs several times, or elsewhere, nothing is known.
    fn forget(&mut self, when: &When) {
        if both(&self.over, when.clone()).is_never() {
            return;
        }
        self.values.values_mut().for_each(|value| *value = None);
        self.arguments.iter_mut().for_each(|value| *value = None);
    }

    fn push(&mut self, words: Vec<String>, redirects: Vec<String>, when: &When, known: Known) {
        let when = both(&self.over, when.clone());
        let known = matches!(known, Known::Yes);
        let redirects = redirects
            .into_iter()
            .map(|redirect| {
                let at = redirect.find(|c: char| c.is_alphanumeric() || "/$\"'.".contains(c));
                let sign = redirect.find(['<', '>']).unwrap_or(0);
                let at = at.filter(|at| *at > sign).unwrap_or_else(|| {
                    redirect.rfind(['<', '>', '&', '|', '-']).map_or(0, |at| at + 1)
                });
                match self.word(&redirect[at..]) {
                    Some(target) => format!("{}{target}", &redirect[..at]),
                    None => redirect,
                }
            })
            .collect();
        self.steps.push(Step { words, known, redirects, when });
    }

    /// The one word that a word becomes; `None` when it depends on more than a first
    /// installation, or becomes several or none.
    fn word(&self, word: &str) -> Option<String> {
        let (value, split) = self.expand(word)?;
        (!split && (!value.is_empty() || word.contains(['"', '\'']))).then_some(value)
    }

    /// The value of a word where none is split.
    fn value(&self, word: &str) -> Option<String> {
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

enum Known {
    Yes,
    No,
}

/// When something runs whose own condition is `more`.
fn both(when: &When, more: When) -> When {
    match (when, more) {
        (When::Never(why), _) => When::Never(why.clone()),
        (_, When::Never(why)) => When::Never(why),
        (When::Always, more) => more,
        (when, When::Always) => when.clone(),
        (When::Perhaps(one), When::Perhaps(other)) if one.contains(&other) => {
            When::Perhaps(one.clone())
        }
        (When::Perhaps(one), When::Perhaps(other)) => When::Perhaps(format!("{one} and {other}")),
    }
}

fn met(holds: Option<bool>, about: &str) -> When {
    match holds {
        Some(true) => When::Always,
        Some(false) => When::Never(about.to_owned()),
        None => When::Perhaps(about.to_owned()),
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
fn matches(pattern: &str, value: &str) -> Option<bool> {
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

fn unquoted(word: &str) -> Option<String> {
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
fn only_asks(word: &str) -> bool {
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

/// `NAME=value`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (good && name.chars().all(plain)).then_some((name, value))
}

fn inner(node: &Node) -> Vec<&[Node]> {
    match node {
        Node::Simple(..) => Vec::new(),
        Node::And(left, right) | Node::Or(left, right) => {
            vec![std::slice::from_ref(&**left), std::slice::from_ref(&**right)]
        }
        Node::Not(one) => vec![std::slice::from_ref(&**one)],
        Node::Pipe(nodes) | Node::Group(nodes, _) | Node::For(_, _, nodes) => vec![nodes],
        Node::Function(_, nodes) => vec![nodes],
        Node::If(branches, otherwise) => {
            let both = branches.iter().flat_map(|(condition, body)| [&condition[..], &body[..]]);
            both.chain([&otherwise[..]]).collect()
        }
        Node::Case(_, arms) => arms.iter().map(|(_, body)| &body[..]).collect(),
        Node::While(condition, body) => vec![condition, body],
    }
}

/// The variables that a function keeps to itself.
fn locals(nodes: &[Node]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for node in nodes {
        if let Node::Simple(words, _) = node
            && words.first().is_some_and(|word| word == "local")
        {
            let name = |word: &String| word.split('=').next().map(str::to_owned);
            found.extend(words[1..].iter().filter_map(name));
        }
        inner(node).into_iter().for_each(|nodes| found.extend(locals(nodes)));
    }
    found
}

/// Whether any word of a script holds `word`.
fn mentions(nodes: &[Node], word: &str) -> bool {
    let holds = |text: &String| text.contains(word);
    nodes.iter().any(|node| match node {
        Node::Simple(words, _) => words.iter().any(holds),
        Node::Case(_, arms) => {
            let patterns = |(patterns, body): &(Vec<String>, Vec<Node>)| {
                patterns.iter().any(holds) || mentions(body, word)
            };
            arms.iter().any(patterns)
        }
        node => inner(node).into_iter().any(|nodes| mentions(nodes, word)),
    })
}

fn calls(nodes: &[Node], names: &[&str]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Simple(words, _) => words.first().is_some_and(|word| names.contains(&word.as_str())),
        node => inner(node).into_iter().any(|nodes| calls(nodes, names)),
    })
}

fn leaves_a_loop(nodes: &[Node]) -> bool {
    calls(nodes, &["break", "continue"])
}

fn texts(nodes: &[Node]) -> String {
    nodes.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// A command as a person would write it on one line.
pub(crate) fn text(node: &Node) -> String {
    match node {
        Node::Simple(words, redirects) => {
            let loud = redirects.iter().filter(|to| !silent(to));
            words.iter().chain(loud).cloned().collect::<Vec<_>>().join(" ")
        }
        Node::And(left, right) => format!("{} && {}", text(left), text(right)),
        Node::Or(left, right) => format!("{} || {}", text(left), text(right)),
        Node::Not(one) => format!("! {}", text(one)),
        Node::Pipe(parts) => parts.iter().map(text).collect::<Vec<_>>().join(" | "),
        Node::Group(nodes, _) => format!("{{ {}; }}", texts(nodes)),
        Node::If(branches, _) => match branches.first() {
            Some((condition, _)) => format!("if {} …", texts(condition)),
            None => String::new(),
        },
        Node::Case(subject, _) => format!("case {subject} …"),
        Node::For(name, items, _) => format!("for {name} in {} …", items.join(" ")),
        Node::While(condition, _) => format!("while {} …", texts(condition)),
        Node::Function(name, _) => format!("{name}() …"),
    }
}
