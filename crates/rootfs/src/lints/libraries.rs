//! Programs find the libraries that they need, without a cache of the dynamic linker and through
//! every link, such as an alternative's.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use store::{Node, Tree};

use super::{Finding, Lint, Lookup, finding, paths};
use crate::select::elf::Needs;

pub(super) const ROW: Lint = Lint {
    name: "library",
    about: "a program or library that will not find one that it needs, or its loader",
    way_out: "add the package of what is missing, or leave the feature out under `without`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in paths(tree) {
        let needs = entry.blob().and_then(|blob| lookup.contents.needs(&blob));
        for problem in needs.iter().flat_map(|needs| problems(tree, lookup, path, needs)) {
            found.push(finding(path, entry, problem));
        }
    }
    Ok(found)
}

fn problems(tree: &Tree, lookup: &Lookup, path: &str, needs: &Needs) -> Vec<String> {
    let policy = lookup.policy;
    let mut problems = Vec::new();
    if let Some(interpreter) = &needs.interpreter {
        let end = tree.resolve(interpreter).and_then(|end| tree.get(&end));
        if !end.is_some_and(|entry| matches!(entry.node, Node::File(_))) {
            problems.push(format!("is started by `{interpreter}`, which is not there"));
        }
    }
    if !policy.unmet.contains_key(path) {
        for library in &needs.libraries {
            if needs.find(tree, path, library).is_none() {
                problems.push(format!("needs `{library}`, which it will not find"));
            }
        }
    }
    // A feature works when each of its wishes is met by one library at least.
    let mut features: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
    for wish in &needs.wishes {
        features.entry(&wish.feature).or_default().push(&wish.sonames);
    }
    for (feature, wishes) in features {
        let lacking: BTreeSet<&String> = wishes
            .iter()
            .filter(|names| !names.iter().any(|name| needs.find(tree, path, name).is_some()))
            .flat_map(|names| names.iter())
            .collect();
        let left_out = |name: &str| policy.optional.contains_key(name);
        if lacking.is_empty() || left_out(feature) || lacking.iter().all(|name| left_out(name)) {
            continue;
        }
        let lacking: Vec<&str> = lacking.into_iter().map(String::as_str).collect();
        problems.push(format!("loads `{}` for the feature `{feature}`", lacking.join("` or `")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use crate::select::elf::tests::Sample as Program;

    #[test]
    fn a_program_finds_its_libraries_without_a_cache() {
        let mut sample = Sample::new("library");
        // This test's own program: its needs are known to be there on the machine.
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        sample.bytes("usr/bin/program", &program, 0o755);
        sample.says("library", "usr/bin/program", "needs `libc.so.6`");
        sample.says("library", "usr/bin/program", "is started by");
        sample.policy.unmet.insert("usr/bin/program".to_owned(), "test".to_owned());
        let left = sample.findings();
        assert!(left.iter().all(|finding| finding.problem.contains("is started by")), "{left:?}");
    }

    #[test]
    fn a_library_that_is_an_alternative_is_found_through_its_links() {
        let program =
            Program { interpreter: None, needed: &["libblas.so.3"], runpath: None, notes: &[] };
        let mut sample = Sample::new("library-alternative");
        sample.bytes("usr/bin/solve", &program.bytes(), 0o755);
        sample.says("library", "usr/bin/solve", "libblas.so.3");
        let library = "usr/lib/x86_64-linux-gnu/libblas.so.3";
        sample.link(library, "/etc/alternatives/libblas.so.3");
        sample.link("etc/alternatives/libblas.so.3", "/usr/lib/blas/libblas.so.3");
        sample.says("library", "usr/bin/solve", "libblas.so.3");
        let program = Program { needed: &[], ..program };
        sample.bytes("usr/lib/blas/libblas.so.3", &program.bytes(), 0o644);
        assert_eq!(sample.findings(), []);
    }
}
