//! What a script would do when its package is installed for the first time.

mod expand;
mod nodes;
mod truth;

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use crate::Moment;
use expand::assignment;
use nodes::{calls, leaves_a_loop, locals, mentions, text, texts};
use truth::{matches, unquoted};
pub(crate) use truth::{only_asks, silent};

/// More commands than this are not followed, each counted as often as it is come by.
const VISITS_MAX: usize = 20_000;
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
            visits: 0,
            makes,
            made: BTreeMap::new(),
        };
        walk.all(nodes, &When::Always)?;
        Some(walk)
    };
    // Twice: a question for a user is one for a missing one where the script makes that user.
    let makes = walk(BTreeSet::new())?.made.into_keys().collect();
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
    visits: usize,
    /// Users and groups (`passwd x`, `group x`) that the script makes somewhere.
    makes: BTreeSet<String>,
    /// Those that it has made so far, and whether that is certain.
    made: BTreeMap<String, bool>,
}

impl Walk {
    fn all(&mut self, nodes: &[Node], when: &When) -> Option<()> {
        nodes.iter().try_for_each(|node| self.node(node, when))
    }

    fn node(&mut self, node: &Node, when: &When) -> Option<()> {
        self.visits += 1;
        if self.visits > VISITS_MAX {
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
            "exit" if *when != When::Always && words.get(1).is_some_and(|code| fails(code)) => {
                return Some(());
            }
            "exit" | "return" => {
                self.end(when.clone());
                return Some(());
            }
            "exec" => self.end(both(when, When::Perhaps("`exec` comes back".to_owned()))),
            // What it sets holds for every file that follows.
            "umask" => self.end(both(when, When::Perhaps("the mask is the usual one".to_owned()))),
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
        self.note_account(&words, when);
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
    fn note_account(&mut self, words: &[String], when: &When) {
        let Some((name, rest)) = words.split_first() else { return };
        let Some(last) = rest.last() else { return };
        let when = both(&self.over, when.clone());
        if when.is_never() || !rest.iter().any(|word| word == "--system" || word == "-r") {
            return;
        }
        let own = |option: &String| option == "--group" || option == "-U";
        let (user, group) = match name.as_str() {
            "adduser" => (true, rest.iter().any(own)),
            "useradd" => (true, !rest.iter().any(|option| option == "-g" || option == "-N")),
            "addgroup" | "groupadd" => (false, true),
            _ => return,
        };
        let kinds = [("passwd", user), ("group", group)];
        for (kind, _) in kinds.into_iter().filter(|(_, makes)| *makes) {
            let certain = self.made.entry(format!("{kind} {last}")).or_insert(false);
            *certain |= when == When::Always;
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
}

/// Whether an exit code is certain to say that something failed.
fn fails(code: &str) -> bool {
    code.parse::<u8>().is_ok_and(|code| code != 0)
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
