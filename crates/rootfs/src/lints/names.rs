//! A path is what it looks like, and every program can open it.

use anyhow::Result;
use store::{Node, Tree};

use super::{Finding, Lint, Lookup, finding, paths};

pub(super) const ROW: Lint = Lint {
    name: "path-name",
    about: "a name with control characters, or one that Linux cannot open",
    way_out: "leave it out with `drop`, or move it in a rule (`copy`)",
    run,
};

/// The longest name and path that Linux opens, in bytes (limits.h: NAME_MAX, PATH_MAX with `/`
/// before and NUL behind).
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096 - 2;

fn run(tree: &Tree, _: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, entry) in paths(tree) {
        found.extend(problem(path).map(|problem| finding(path, entry, problem)));
        if let Node::Symlink(target) = &entry.node
            && let Some(problem) = problem(target)
        {
            found.push(finding(path, entry, format!("its target {problem}")));
        }
    }
    Ok(found)
}

fn problem(path: &str) -> Option<String> {
    if let Some(c) = path.chars().find(|c| c.is_control() || turns(*c)) {
        return Some(format!("holds the character {}", c.escape_unicode()));
    }
    if let Some(name) = path.split('/').find(|name| name.len() > NAME_MAX) {
        return Some(format!("holds a name of {} bytes, more than {NAME_MAX}", name.len()));
    }
    (path.len() > PATH_MAX).then(|| format!("has {} bytes, more than {PATH_MAX}", path.len()))
}

/// Whether a character changes the direction of others or is not seen (UAX #9, 2).
fn turns(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;

    #[test]
    fn names_that_deceive_or_cannot_be_opened_are_found() {
        let mut sample = Sample::new("names");
        sample.file("usr/share/F\u{151} \\x2d.crt", "x", 0o644);
        assert_eq!(sample.findings(), []);
        let long = vec!["x".repeat(250); 17].join("/");
        for (path, part) in
            [("usr/a\nb", "u{a}"), ("usr/a\u{202e}b", "u{202e}"), (long.as_str(), "more than 4094")]
        {
            sample.file(path, "x", 0o644);
            sample.says("path-name", path, part);
        }
        sample.link("usr/l", &format!("/run/{}", "y".repeat(256)));
        sample.says("path-name", "usr/l", "its target holds a name of 256 bytes");
    }
}
