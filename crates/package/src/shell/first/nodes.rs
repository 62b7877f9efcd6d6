//! What commands hold, and their text.

use std::collections::BTreeSet;

use super::silent;
use crate::shell::Node;

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
pub(super) fn locals(nodes: &[Node]) -> BTreeSet<String> {
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
pub(super) fn mentions(nodes: &[Node], word: &str) -> bool {
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

pub(super) fn calls(nodes: &[Node], names: &[&str]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Simple(words, _) => words.first().is_some_and(|word| names.contains(&word.as_str())),
        node => inner(node).into_iter().any(|nodes| calls(nodes, names)),
    })
}

pub(super) fn leaves_a_loop(nodes: &[Node]) -> bool {
    calls(nodes, &["break", "continue"])
}

pub(super) fn texts(nodes: &[Node]) -> String {
    nodes.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// A command as a person would write it on one line.
pub(super) fn text(node: &Node) -> String {
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
