//! Programs that udev rules run (udev(7)).

use store::Tree;

use super::unrunnable;
use crate::lines::{joined, words};

/// Where udev looks for a program that is named without its directory.
const HOME: &str = "/usr/lib/udev";

/// Whether `path` is a file of rules.
pub(super) fn is_rules(path: &str) -> bool {
    path.ends_with(".rules")
        && ["usr/lib/udev/rules.d/", "etc/udev/rules.d/"]
            .iter()
            .any(|place| path.starts_with(place))
}

/// What the rules of `text` run and the tree lacks.
pub(super) fn problems(tree: &Tree, text: &str) -> Vec<String> {
    let lines = joined(text);
    let runs = lines
        .iter()
        .flat_map(|line| tokens(line))
        .filter(|(key, _)| matches!(*key, "RUN" | "RUN{program}" | "PROGRAM" | "IMPORT{program}"));
    let lacking = runs.filter_map(|(key, value)| {
        let first = words(value).ok()?.into_iter().next()?;
        if first.contains(['%', '$']) {
            return None;
        }
        let path = if first.contains('/') { first } else { format!("{HOME}/{first}") };
        unrunnable(tree, &path).map(|what| format!("{key} runs {what}"))
    });
    lacking.collect()
}

/// Keys and values of one rule, whatever stands between them.
fn tokens(line: &str) -> Vec<(&str, &str)> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(open) = rest.find('"') {
        let (before, value) = (&rest[..open], &rest[open + 1..]);
        let Some(close) = closing(value) else { break };
        // `KEY{attribute}` and an operator; `e` or `i` before the quote changes the value's form.
        let key = before.trim_start_matches([',', ' ', '\t']).trim_end_matches(['e', 'i']);
        let key = key.trim_end_matches(['=', '+', '-', ':', '!', ' ', '\t']);
        tokens.push((key, &value[..close]));
        rest = &value[close + 1..];
    }
    tokens
}

/// The first quote that no backslash stands before.
fn closing(value: &str) -> Option<usize> {
    let quotes = value.match_indices('"').map(|(at, _)| at);
    quotes.into_iter().find(|at| !value[..*at].ends_with('\\'))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    #[test]
    fn keys_and_values_are_told_apart() {
        let line =
            r#"KERNEL=="sd*", ENV{a}!="b", IMPORT{program}=="x --y $name", RUN+=e"/z \"q\"""#;
        let expect = [
            ("KERNEL", "sd*"),
            ("ENV{a}", "b"),
            ("IMPORT{program}", "x --y $name"),
            ("RUN", r#"/z \"q\""#),
        ];
        assert_eq!(tokens(line), expect);
    }

    #[test]
    fn what_a_rule_runs_is_there_by_path_or_among_its_own_programs() {
        let rules = "usr/lib/udev/rules.d/60-x.rules";
        let mut sample = Sample::new("udev");
        sample.file("usr/lib/udev/ata_id", "x", 0o755);
        sample.file("usr/bin/true", "x", 0o755);
        let good = "# RUN+=\"/gone\"\nA==\"b\", IMPORT{program}=\"ata_id $name\", \\\n  \
            RUN{builtin}+=\"kmod load\", PROGRAM=\"/bin/true '/a b'\", RUN+=\"/run/x $env{Y}\"\n";
        sample.file(rules, good, 0o644);
        assert_eq!(sample.findings(), []);
        sample.file(rules, "RUN+=\"/usr/bin/gone %k\"\nPROGRAM==\"scsi_id\"\n", 0o644);
        sample.says("exec", rules, "RUN runs `/usr/bin/gone`");
        sample.says("exec", rules, "PROGRAM runs `/usr/lib/udev/scsi_id`");
    }

    #[test]
    fn broken_rules_are_read_as_far_as_they_go() {
        for line in ["", "\"", "RUN+=\"", "=\"\"", "RUN=\"'\"", "é=\"\\\""] {
            let _ = tokens(line);
        }
    }
}
