//! Why no set of packages fits: the solver's graph of conflicts as a tree of sentences.

use std::collections::{BTreeMap, BTreeSet};

use resolvo::conflict::{Conflict, ConflictCause, ConflictEdge, ConflictNode};
use resolvo::{DenseIndex, Requirement, SolvableId, Solver};

use super::terms::Terms;
use crate::universe::Universe;

/// Most lines of a tree; what is asked for by name comes first.
const MOST_LINES: usize = 60;

/// Deepest branch.
const DEEPEST: usize = 24;

/// Most names or versions in one line.
const MOST_NAMES: usize = 6;

/// One line a reason; what follows from it is indented below it.
pub(super) fn tree(conflict: &Conflict, solver: &Solver<Terms<'_>>) -> String {
    let graph = conflict.graph(solver);
    let nodes = graph.graph.raw_nodes().iter().map(|node| node.weight).collect();
    let mut edges: BTreeMap<usize, Vec<(ConflictEdge, usize)>> = BTreeMap::new();
    let mut against: BTreeMap<usize, Vec<(usize, ConflictCause)>> = BTreeMap::new();
    for edge in graph.graph.raw_edges() {
        let (from, to) = (edge.source().index(), edge.target().index());
        edges.entry(from).or_default().push((edge.weight, to));
        if let ConflictEdge::Conflict(cause) = edge.weight {
            against.entry(to).or_default().push((from, cause));
        }
    }
    let root = graph.root_node.index();
    let mut tree = Tree {
        terms: solver.provider(),
        nodes,
        edges,
        against,
        told: BTreeSet::new(),
        lines: Vec::new(),
        left_out: 0,
    };
    tree.wishes(root);
    let mut text = tree.lines.join("\n");
    if tree.left_out > 0 {
        text.push_str(&format!("\n… and {} more reasons", tree.left_out));
    }
    text
}

/// The name that was probably meant by one that nobody offers.
pub(super) fn meant(universe: &Universe, wrong: &str) -> String {
    let names = universe.names().map(|(name, _)| name);
    match store::nearest(wrong, names) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

struct Tree<'a, 'b> {
    terms: &'a Terms<'b>,
    nodes: Vec<ConflictNode>,
    edges: BTreeMap<usize, Vec<(ConflictEdge, usize)>>,
    /// What each node is in conflict with, by edges that lead to it.
    against: BTreeMap<usize, Vec<(usize, ConflictCause)>>,
    /// Nodes whose reasons have been told.
    told: BTreeSet<usize>,
    lines: Vec<String>,
    left_out: usize,
}

impl Tree<'_, '_> {
    fn wishes(&mut self, root: usize) {
        let mut wishes: Vec<(bool, String, Vec<usize>)> = Vec::new();
        for (requirement, targets) in self.requirements(root) {
            let name = self.terms.asked(requirement).remove(0).0;
            let implied = !self.terms.wish.names.contains(name.as_str());
            wishes.push((implied, name, targets));
        }
        wishes.sort();
        for (implied, name, targets) in wishes {
            let why = if implied { "belongs to every system" } else { "is asked for" };
            self.say(0, &format!("`{name}` {why}"));
            for target in targets {
                self.package(target, 1);
            }
        }
    }

    /// The reasons why one offer cannot be.
    fn package(&mut self, node: usize, depth: usize) {
        let shown = self.shown(node);
        if !self.told.insert(node) {
            self.say(depth, &format!("{shown}: see above"));
            return;
        }
        if depth > DEEPEST {
            self.say(depth, &format!("{shown}: …"));
            return;
        }
        let mut silent = true;
        for (requirement, targets) in self.requirements(node) {
            silent = false;
            let asked = self.terms.asked(requirement);
            let wanted = one_of(asked.iter().map(|(_, wanted)| wanted.clone()));
            if targets.iter().any(|target| self.id(*target).is_none()) {
                let first = asked.iter().take(MOST_NAMES);
                let offers: BTreeSet<_> = first.map(|(name, _)| self.offered(name)).collect();
                let offers = offers.into_iter().collect::<Vec<_>>().join(", ");
                self.say(depth, &format!("{shown} needs {wanted}, but {offers}"));
                continue;
            }
            self.say(depth, &format!("{shown} needs {wanted}"));
            for target in targets {
                self.package(target, depth + 1);
            }
        }
        for line in self.conflicts(node) {
            silent = false;
            self.say(depth, &format!("{shown} {line}"));
        }
        if silent {
            self.say(depth, &format!("{shown} does not fit in"));
        }
    }

    /// What is on offer under a name that is wanted in vain.
    fn offered(&self, name: &str) -> String {
        let universe = self.terms.universe;
        let offers = universe.named(name).iter().map(|i| &universe.offers[*i].record.id);
        let versions: Vec<_> = offers.map(|id| id.version.to_string()).collect();
        if versions.is_empty() {
            format!("no archive of the profile offers `{name}`{}", meant(universe, name))
        } else {
            format!("of `{name}` there is only {}", listed(&versions))
        }
    }

    /// The conflicts of an offer with others, told from its side.
    fn conflicts(&self, node: usize) -> Vec<String> {
        let own = self.name(node);
        let mut lines = Vec::new();
        for (edge, to) in self.edges.get(&node).into_iter().flatten() {
            match edge {
                ConflictEdge::Conflict(ConflictCause::Constrains(set)) => {
                    let unwanted = self.terms.words(*set).1;
                    let other = self.shown(*to);
                    lines.push(format!("cannot be beside {unwanted}, which {other} is"));
                }
                ConflictEdge::Conflict(ConflictCause::Excluded) => {
                    if let ConflictNode::Excluded(why) = self.nodes[*to] {
                        lines.push(format!("cannot be used: {}", self.terms.string(why)));
                    }
                }
                _ => {}
            }
        }
        for (from, cause) in self.against.get(&node).into_iter().flatten() {
            match cause {
                ConflictCause::Constrains(set) => {
                    let (other, unwanted) = (self.shown(*from), self.terms.words(*set).1);
                    lines.push(format!("is refused by {other}, which cannot be beside {unwanted}"));
                }
                ConflictCause::Locked(locked) => {
                    let version = &self.terms.universe.offers[locked.to_index()].record.id.version;
                    lines.push(format!("is not {version}, which another role has chosen"));
                }
                ConflictCause::ForbidMultipleInstances | ConflictCause::Excluded => {}
            }
        }
        let twins = self.edges.values().flatten();
        let only_one = ConflictEdge::Conflict(ConflictCause::ForbidMultipleInstances);
        let mut twins = twins.filter(|(edge, to)| *edge == only_one && self.name(*to) == own);
        if lines.is_empty() && twins.next().is_some() {
            lines.push("would be a second version of one package".to_owned());
        }
        let known: BTreeSet<String> = lines.into_iter().collect();
        known.into_iter().collect()
    }

    /// What a node needs, each with the nodes that would meet it, in the order of preference.
    fn requirements(&self, node: usize) -> Vec<(Requirement, Vec<usize>)> {
        let mut found: Vec<(Requirement, Vec<usize>)> = Vec::new();
        for (edge, to) in self.edges.get(&node).into_iter().flatten() {
            let ConflictEdge::Requires(requirement) = edge else { continue };
            match found.iter_mut().find(|(known, _)| known == requirement) {
                Some((_, targets)) => targets.push(*to),
                None => found.push((*requirement, vec![*to])),
            }
        }
        found.sort();
        found
    }

    fn say(&mut self, depth: usize, line: &str) {
        if self.lines.len() < MOST_LINES {
            self.lines.push(format!("{}{line}", "  ".repeat(depth)));
        } else {
            self.left_out += 1;
        }
    }

    fn id(&self, node: usize) -> Option<SolvableId> {
        match self.nodes[node] {
            ConflictNode::Solvable(id) => Some(id),
            _ => None,
        }
    }

    fn name(&self, node: usize) -> Option<&str> {
        let id = self.id(node)?;
        Some(&self.terms.universe.offers[id.to_index()].record.id.name)
    }

    fn shown(&self, node: usize) -> String {
        self.id(node).map_or_else(String::new, |id| {
            let id = &self.terms.universe.offers[id.to_index()].record.id;
            format!("{} {}", id.name, id.version)
        })
    }
}

/// Different words, joined by `or`.
fn one_of(words: impl Iterator<Item = String>) -> String {
    let (mut shown, mut more): (Vec<String>, usize) = (Vec::new(), 0);
    for word in words {
        if shown.contains(&word) {
            continue;
        }
        if shown.len() < MOST_NAMES {
            shown.push(word);
        } else {
            more += 1;
        }
    }
    with_rest(&shown.join(" or "), more)
}

fn listed(words: &[String]) -> String {
    let shown = &words[..words.len().min(MOST_NAMES)];
    with_rest(&shown.join(", "), words.len() - shown.len())
}

fn with_rest(shown: &str, more: usize) -> String {
    if more == 0 { shown.to_owned() } else { format!("{shown} and {more} more") }
}
