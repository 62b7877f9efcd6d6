//! Every script that may be executed finds its interpreter.

use anyhow::Result;
use store::Tree;

use super::{Finding, Lint, Lookup, finding, paths, unrunnable};

pub(super) const ROW: Lint = Lint {
    name: "interpreter",
    about: "a script that may be executed and whose `#!` names what is not there",
    way_out: "add the interpreter's package, or leave the script out with `drop`",
    run,
};

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in paths(tree) {
        // A file that may not be executed is read by a program that knows what it is.
        let line = entry.blob().and_then(|blob| lookup.contents.interpreter(&blob));
        let Some(line) = line.filter(|_| entry.mode & 0o111 != 0) else { continue };
        found.extend(problem(tree, line).map(|problem| finding(path, entry, problem)));
    }
    Ok(found)
}

/// What is wrong with the line behind `#!` (execve(2), "Interpreter scripts").
fn problem(tree: &Tree, line: &str) -> Option<String> {
    if line.ends_with('\r') {
        return Some("its first line ends with a carriage return".to_owned());
    }
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else {
        return Some("its first line names no interpreter".to_owned());
    };
    if !program.starts_with('/') {
        return Some(format!("is run by `{program}`, which is no absolute path"));
    }
    if let Some(what) = unrunnable(tree, program) {
        return Some(format!("is run by {what}"));
    }
    let name = program.rsplit('/').next().filter(|name| *name == "env")?;
    // env(1): options and settings stand before the program.
    let program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    unrunnable(tree, program).map(|what| format!("is run through `{name}` by {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn a_script_names_an_interpreter_that_is_there() {
        let mut sample = Sample::new("interpreter");
        sample.file("usr/bin/sh", "x", 0o755);
        sample.file("usr/bin/env", "x", 0o755);
        sample.file("usr/bin/good", "#!/bin/sh -e\n", 0o755);
        sample.file("usr/bin/good-env", "#! /usr/bin/env -S A=b sh -x\n", 0o755);
        sample.file("usr/lib/example", "#!/usr/bin/perl\n", 0o644);
        sample.file("usr/bin/text", "# !/usr/bin/perl\n", 0o755);
        assert_eq!(sample.findings(), []);
        for (name, text, part) in [
            ("by-perl", "#!/usr/bin/perl -w\n", "`/usr/bin/perl`, which is not there"),
            ("by-python", "#!/usr/bin/env python3", "through `env` by `python3`"),
            ("dos", "#!/bin/sh\r\n", "carriage return"),
            ("near", "#!sh\n", "no absolute path"),
            ("none", "#!\n", "no interpreter"),
        ] {
            sample.file(&format!("usr/bin/{name}"), text, 0o755);
            sample.says("interpreter", &format!("usr/bin/{name}"), part);
        }
        assert_eq!(sample.findings().len(), 5);
    }
}
