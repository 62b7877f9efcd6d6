//! The common PAM stacks from the profiles that packages ship, as pam-auth-update(8) builds them
//! on a machine that nobody has configured.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use store::{Scratch, Tree};

use super::files::{put, text};
use crate::{Change, Generator, Point, Purpose};

const PROFILES: &str = "usr/share/pam-configs";
const TEMPLATES: &str = "usr/share/pam";
const ENVIRONMENT: &str = "etc/environment";
const ORIGIN: &str = "generator:pam";

/// Name of the stack, and of the management group that its lines name (pam.conf(5)).
const STACKS: [(&str, &str); 5] = [
    ("auth", "auth"),
    ("account", "account"),
    ("password", "password"),
    ("session", "session"),
    ("session-noninteractive", "session"),
];

const PRIMARY: &str = "# here are the per-package modules (the \"Primary\" block)";
const FALLBACK: &str = "# here's the fallback if no module succeeds";
const ADDITIONAL: &str = "# and here are more per-package modules (the \"Additional\" block)";
const END: &str = "# end of pam-auth-update config";

pub(crate) const ROW: Generator = Generator {
    name: "pam",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Installed,
    reads: &["usr/share/pam-configs/*", "usr/share/pam/*", "etc/pam.d/*", ENVIRONMENT],
    writes: &["etc/pam.d/*", ENVIRONMENT],
    run,
};

/// Field name to value; values of several lines keep them.
type Profile = BTreeMap<String, String>;

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    if tree.get(ENVIRONMENT).is_none() {
        put(&mut change, scratch, ENVIRONMENT, b"", ORIGIN)?;
    }
    let profiles = enabled(tree, scratch)?;
    for (stack, group) in STACKS {
        let (file, template) =
            (format!("etc/pam.d/common-{stack}"), format!("{TEMPLATES}/common-{stack}"));
        // What a profile or package ships under the final name is meant to be the stack.
        if tree.get(&file).is_some() {
            continue;
        }
        let Some(template) = text(tree, scratch, &template)? else { continue };
        let filled = fill(&template, stack, group, &profiles)
            .with_context(|| format!("fill in the PAM stack `{stack}`"))?;
        put(&mut change, scratch, &file, filled.as_bytes(), ORIGIN)?;
    }
    Ok(change)
}

/// The profiles that are on by default, the highest priority first; of two that exclude each
/// other the lower goes.
fn enabled(tree: &Tree, scratch: &Scratch<'_>) -> Result<Vec<Profile>> {
    let mut found: Vec<(i64, String, Profile)> = Vec::new();
    for (path, _) in tree.below(PROFILES) {
        let Some(name) = path.strip_prefix(PROFILES).and_then(|name| name.strip_prefix('/')) else {
            continue;
        };
        if name.ends_with('~') || name.starts_with('#') && name.ends_with('#') {
            continue;
        }
        let profile = parse(&text(tree, scratch, path)?.unwrap_or_default());
        let priority = profile.get("Priority").map_or("0", String::as_str);
        let priority =
            priority.parse().with_context(|| format!("read the priority in `{path}`"))?;
        if profile.get("Default").is_some_and(|default| default == "yes") {
            found.push((priority, name.to_owned(), profile));
        }
    }
    found.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
    let mut kept: Vec<(i64, String, Profile)> = Vec::new();
    let mut excluded = BTreeSet::new();
    for (priority, name, profile) in found {
        let conflicts = profile.get("Conflicts").map_or("", String::as_str);
        let conflicts: Vec<&str> = conflicts.split(',').map(str::trim).collect();
        if excluded.contains(&name) || kept.iter().any(|(_, k, _)| conflicts.contains(&k.as_str()))
        {
            continue;
        }
        excluded.extend(conflicts.into_iter().map(str::to_owned));
        kept.push((priority, name, profile));
    }
    Ok(kept.into_iter().map(|(_, _, profile)| profile).collect())
}

/// Reads a profile: `Field: value` lines, and lines that belong to the field before them.
fn parse(text: &str) -> Profile {
    let mut profile = Profile::new();
    let mut field = String::new();
    for line in text.lines() {
        let head = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
        if let Some((name, value)) = head {
            field = name.strip_suffix("-Final").unwrap_or(name).to_owned();
            profile.insert(field.clone(), value.trim().to_owned());
        } else if !line.trim().is_empty() {
            let value = profile.entry(field.clone()).or_default();
            if !value.is_empty() {
                value.push('\n');
            }
            value.push_str(line.trim());
        }
    }
    if profile.get("Session-Interactive-Only").is_none_or(|only| only != "yes") {
        for part in ["-Type", "", "-Initial"] {
            if let Some(value) = profile.get(&format!("Session{part}")).cloned() {
                profile.insert(format!("Session-noninteractive{part}"), value);
            }
        }
    }
    profile
}

/// The template with both blocks replaced by the profiles' lines.
fn fill(template: &str, stack: &str, group: &str, profiles: &[Profile]) -> Result<String> {
    let mut filled = String::new();
    let mut lines = template.lines();
    for (begin, kind, end) in [(PRIMARY, "Primary", FALLBACK), (ADDITIONAL, "Additional", END)] {
        loop {
            let Some(line) = lines.next() else { bail!("the template lacks the line `{begin}`") };
            filled.extend([line, "\n"]);
            if line.starts_with(begin) {
                break;
            }
        }
        filled.push_str(&block(stack, group, kind, profiles)?);
        let Some(line) = lines.find(|line| line.starts_with(end)) else {
            bail!("the template lacks the line `{end}`");
        };
        filled.extend([line, "\n"]);
    }
    lines.for_each(|line| filled.extend([line, "\n"]));
    Ok(filled)
}

/// One block's lines. `end` in a control field becomes the number of lines to jump over.
fn block(stack: &str, group: &str, kind: &str, profiles: &[Profile]) -> Result<String> {
    let mut field = stack.to_owned();
    field.get_mut(..1).map(str::make_ascii_uppercase).context("a PAM stack without a name")?;
    let mut modules: Vec<&str> = Vec::new();
    let mut first = true;
    for profile in profiles {
        if profile.get(&format!("{field}-Type")).is_none_or(|t| t != kind) {
            continue;
        }
        let initial = profile.get(&format!("{field}-Initial")).filter(|_| first);
        let lines = initial.or_else(|| profile.get(&field)).map_or("", String::as_str);
        modules.extend(lines.lines().filter(|line| !line.is_empty()));
        first = false;
    }
    let primary = kind == "Primary";
    if modules.is_empty() && primary {
        return Ok(format!("{group}\t[default=1]\t\t\tpam_permit.so\n"));
    }
    let mut text = String::new();
    for (i, line) in modules.iter().enumerate() {
        // A jump from the last line of the second block would leave the stack.
        let left = modules.len() - i - usize::from(!primary);
        let (control, rest) = match line.strip_prefix('[').and_then(|l| l.split_once(']')) {
            Some((inner, rest)) => (format!("[{inner}]"), rest),
            None => {
                let end = line.find(char::is_whitespace).unwrap_or(line.len());
                (line[..end].to_owned(), &line[end..])
            }
        };
        let space = &rest[..rest.len() - rest.trim_start().len()];
        let mut words = rest.split_whitespace();
        let module = words.next().with_context(|| format!("`{line}` names no module"))?;
        let options: Vec<&str> = words.collect();
        let head = format!("{control}{space}{module}").replace("end", &left.to_string());
        text += &format!("{group}\t{head} {}\n", options.join(" "));
    }
    Ok(text)
}

#[cfg(any(test, feature = "fuzz"))]
/// Reads a profile of pam-auth-update(8) and a template.
pub(crate) fn fuzz(text: &str) {
    let (first, second) = text.split_once("\n\n").unwrap_or((text, text));
    let _ = fill(first, "auth", "primary", &[parse(second)]);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    const UNIX: &str = "Name: Unix authentication\nDefault: yes\nPriority: 256\n\
        Auth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\n\
        Auth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\n\
        Session-Type: Additional\nSession:\n\trequired\tpam_unix.so\n";
    const SYSTEMD: &str = "Name: x\nDefault: yes\nPriority: 0\nSession-Interactive-Only: yes\n\
        Session-Type: Additional\nSession:\n\toptional\tpam_systemd.so\n";
    const OTHER: &str = "Name: x\nDefault: yes\nPriority: 128\nConflicts: unix\n\
        Auth-Type: Primary\nAuth:\n\trequired\tpam_other.so\n";
    const FIRST: &str = "Name: x\nDefault: yes\nPriority: 512\n\
        Auth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_first.so\n";
    const OFF: &str = "Name: x\nDefault: no\nPriority: 999\nAuth-Type: Primary\nAuth:\n\tx\ty.so\n";

    fn template() -> String {
        format!("# head\n{PRIMARY}\n$auth_primary\n{FALLBACK}\nx\n{ADDITIONAL}\n$more\n{END}\n")
    }

    fn sample(profiles: &[(&str, &str)]) -> Sample {
        let mut sample = Sample::new();
        for (stack, _) in STACKS {
            sample = sample.file(&format!("usr/share/pam/common-{stack}"), template().as_bytes());
        }
        for (name, text) in profiles {
            sample = sample.file(&format!("usr/share/pam-configs/{name}"), text.as_bytes());
        }
        sample
    }

    fn stack(sample: &Sample, stack: &str) -> String {
        let tree = sample.run(&ROW).unwrap();
        let text = sample.text(&tree, &format!("etc/pam.d/common-{stack}"));
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn stacks_follow_priority_and_count_their_jumps() {
        let all = sample(&[("unix", UNIX), ("systemd", SYSTEMD), ("first", FIRST), ("off", OFF)]);
        assert_eq!(
            stack(&all, "auth"),
            "auth\t[success=2 default=ignore]\tpam_first.so \n\
             auth\t[success=1 default=ignore]\tpam_unix.so nullok try_first_pass\nx\n"
        );
        assert_eq!(
            stack(&all, "session"),
            "session\t[default=1]\t\t\tpam_permit.so\nx\n\
             session\trequired\tpam_unix.so \nsession\toptional\tpam_systemd.so \n"
        );
        assert_eq!(
            stack(&all, "session-noninteractive"),
            "session\t[default=1]\t\t\tpam_permit.so\nx\nsession\trequired\tpam_unix.so \n"
        );
    }

    #[test]
    fn the_first_of_a_stack_uses_its_initial_lines_and_conflicts_drop_the_lower() {
        let two = sample(&[("unix", UNIX), ("other", OTHER)]);
        assert_eq!(
            stack(&two, "auth"),
            "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nx\n"
        );
    }

    #[test]
    fn a_template_without_its_marks_is_an_error() {
        let sample = Sample::new().file("usr/share/pam/common-auth", b"auth required x.so\n");
        assert!(sample.run(&ROW).is_err());
    }
}
