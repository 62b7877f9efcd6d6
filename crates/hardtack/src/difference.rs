//! In which parts two inputs of a stage differ, in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use store::{Store, Tree, TreeId};

/// Below this depth a value is only said to have changed.
const DEPTH: usize = 4;
/// The most paths of a tree, or members of a list, that are named.
const NAMED: usize = 6;

/// The parts of two canonical inputs that differ, one line each.
pub(crate) fn differences(old: &[u8], new: &[u8], store: &Store) -> Vec<String> {
    let read = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    let (Some(old), Some(new)) = (read(old), read(new)) else {
        return vec!["the input cannot be read".to_owned()];
    };
    let mut found = Vec::new();
    walk("", &old, &new, 0, store, &mut found);
    found
}

fn walk(at: &str, old: &Value, new: &Value, depth: usize, store: &Store, found: &mut Vec<String>) {
    if old == new {
        return;
    }
    let name = if at.is_empty() { "input" } else { at };
    if let (Some(old), Some(new)) = (tree(old), tree(new)) {
        found.push(format!("{name}: {}", paths(&old, &new, store)));
        return;
    }
    match (old, new) {
        (Value::Object(_), Value::Object(_)) if is_blob(old) || is_blob(new) => {
            found.push(format!("{name}: new digest"));
        }
        (Value::Object(old), Value::Object(new)) if depth < DEPTH => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let below = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => walk(&below, old, new, depth + 1, store, found),
                    (None, _) => found.push(format!("{below}: new")),
                    (_, None) => found.push(format!("{below}: gone")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => found.push(format!("{name}: {}", list(old, new))),
        (Value::String(old), Value::String(new)) if old.len() + new.len() < 100 => {
            found.push(format!("{name}: `{old}` became `{new}`"));
        }
        (Value::Number(old), Value::Number(new)) => {
            found.push(format!("{name}: {old} became {new}"));
        }
        _ => found.push(format!("{name}: changed")),
    }
}

fn is_blob(value: &Value) -> bool {
    value.get("$blob").is_some()
}

fn tree(value: &Value) -> Option<TreeId> {
    value.get("$tree")?;
    serde_json::from_value(value.clone()).ok()
}

/// Members by what they are called; those without a name by their text.
fn list(old: &[Value], new: &[Value]) -> String {
    let named = |all: &[Value]| -> BTreeMap<String, Value> {
        let all = all.iter().enumerate();
        all.map(|(index, one)| {
            let name = one.get("id").and_then(|id| id.get("name")).or(one.get("origin"));
            let name = name.or(Some(one)).and_then(Value::as_str);
            (name.map_or(format!("member {}", index + 1), str::to_owned), one.clone())
        })
        .collect()
    };
    let (old, new) = (named(old), named(new));
    changes(&old, &new)
}

/// The paths of two trees that differ.
fn paths(old: &TreeId, new: &TreeId, store: &Store) -> String {
    match (store.tree(old), store.tree(new)) {
        (Ok(Tree(old)), Ok(Tree(new))) => changes(&old, &new),
        _ => "another tree".to_owned(),
    }
}

fn changes<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> String {
    let changed = new.iter().filter(|(name, one)| old.get(*name).is_some_and(|was| was != *one));
    let mut parts = Vec::new();
    for (word, names) in [
        ("changed", changed.map(|(name, _)| name.as_str()).collect::<Vec<_>>()),
        ("new", new.keys().filter(|name| !old.contains_key(*name)).map(String::as_str).collect()),
        ("gone", old.keys().filter(|name| !new.contains_key(*name)).map(String::as_str).collect()),
    ] {
        if !names.is_empty() {
            let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED { ", …" } else { "" };
            parts.push(format!("{} {word} ({shown}{more})", names.len()));
        }
    }
    if parts.is_empty() { "another order".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use store::{Blob, Entry};

    use super::*;

    #[test]
    fn each_part_that_differs_is_named_and_no_other() {
        let store = Store::look(&std::path::PathBuf::from("nowhere"), None);
        let tree = |text: &[u8]| {
            let mut tree = Tree::default();
            tree.insert("a", Entry::file(Blob::of(text), 0o644, "p")).unwrap();
            tree.insert("b", Entry::directory("p")).unwrap();
            serde_json::to_value(store.put_tree(&tree).unwrap()).unwrap()
        };
        let input = |version: &str, text: &[u8], names: &[&str]| {
            let imported: Vec<Value> =
                names.iter().map(|name| serde_json::json!({"id": {"name": name}})).collect();
            serde_json::to_vec(&serde_json::json!({
                "version": version, "tree": tree(text), "imported": imported, "same": [1, 2],
                "blob": Blob::of(text), "rules": {"packages": {"x": {"modes": {}}}},
            }))
            .unwrap()
        };
        let same = input("1", b"1", &["p", "q"]);
        assert_eq!(differences(&same, &same, &store), Vec::<String>::new());
        let found = differences(&same, &input("2", b"2", &["p", "r"]), &store);
        assert_eq!(
            found,
            [
                "blob: new digest",
                "imported: 1 new (r), 1 gone (q)",
                "tree: 1 changed (a)",
                "version: `1` became `2`",
            ]
        );
    }
}
