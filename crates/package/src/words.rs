//! What a script would have done, in sentences.

use crate::Moment;
use crate::shell::{Step, When, parse, silent, steps};

/// A sentence is not longer than this, in characters.
const SENTENCE_MAX: usize = 160;

/// What the remaining text of a script would do, one sentence each, in its order; what a first
/// installation does not reach comes last and is said to be so. `text` may hold the placeholders
/// of a [`crate::Remainder`]. Lines that are not understood are quoted as they are.
pub fn in_words(text: &str, moment: Moment, package: &str) -> Vec<String> {
    if moment == Moment::Triggered {
        return text.lines().map(|line| format!("says `{line}`")).collect();
    }
    let plain = without_placeholders(text, package);
    let Some(found) = parse(&plain).and_then(|nodes| steps(&nodes, moment)) else {
        let says = |line: &&str| line.contains(' ') && !line.starts_with('#');
        let lines = plain.lines().map(str::trim).filter(says);
        return lines.map(|line| cut(format!("has the line `{line}`"))).collect();
    };
    let (mut reached, mut not) = (Vec::new(), Vec::new());
    for step in &found {
        let Some(sentence) = sentence(step) else { continue };
        let (list, sentence) = match &step.when {
            When::Always => (&mut reached, cut(sentence)),
            When::Perhaps(condition) => {
                (&mut reached, format!("{} (if {})", cut(sentence), cut(condition.clone())))
            }
            When::Never(condition) if condition.contains("$2") || condition.contains("upgrade") => {
                (&mut not, format!("only on upgrade: {}", cut(sentence)))
            }
            When::Never(_) => (&mut not, format!("not in a first installation: {}", cut(sentence))),
        };
        if !list.contains(&sentence) {
            list.push(sentence);
        }
    }
    if reached.is_empty() && not.is_empty() {
        reached.push("does nothing but set options or print".to_owned());
    }
    reached.extend(not);
    reached
}

/// The text with the package's name again; `<…>` would be redirections.
pub(crate) fn without_placeholders(text: &str, package: &str) -> String {
    let mut out = text.replace("<name>", package);
    for (placeholder, word) in
        [("<version>", "VERSION"), ("<upstream>", "UPSTREAM"), ("<release>", "RELEASE")]
    {
        out = out.replace(placeholder, word);
    }
    let lines = out.lines().map(|line| match line.trim().strip_prefix("<fact ") {
        Some(rest) => format!("{FACT} {}", rest.trim_end_matches('>')),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The command that stands for a fact which was taken out.
pub(crate) const FACT: &str = "hardtack-fact";

fn cut(text: String) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SENTENCE_MAX) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}

/// `a`, `b`.
fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What one command does; nothing for what only sets options, prints or ends.
fn sentence(step: &Step) -> Option<String> {
    let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
    let (name, rest) = words.split_first()?;
    let name = name.rsplit('/').next().unwrap_or(name);
    let loud: Vec<&str> = step
        .redirects
        .iter()
        .map(String::as_str)
        .filter(|to| !silent(to) && to.contains('>'))
        .collect();
    let operands: Vec<&str> = rest.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let has = |option: &str| rest.contains(&option);
    let last = operands.last().copied().unwrap_or_default();
    let target = || loud.iter().map(|to| to.trim_start_matches(|c: char| !"/.$\"".contains(c)));
    let service = |verb: &str, of: &[&str]| {
        let verb = if verb.contains('$') { "steer" } else { verb };
        Some(format!("{verb}s the service {} of a running system", quoted(of)))
    };
    match name {
        FACT => Some(format!("states `{last}`, which is done without it")),
        "echo" | "printf" | "cat" | ":" | "true" if !loud.is_empty() => {
            Some(format!("writes {}", quoted(&target().collect::<Vec<_>>())))
        }
        "set" | "echo" | "printf" | "true" | "false" | ":" | "cd" | "umask" | "shift" | "local"
        | "export" | "break" | "continue" | "unset" | "readonly" | "trap" => None,
        "db_version" | "db_stop" | "db_go" | "db_capb" | "db_title" | "db_beginblock"
        | "db_endblock" => None,
        "." | "source" if last.ends_with("/confmodule") => None,
        "." | "source" => Some(format!("reads the shell file `{last}`")),
        name if name.starts_with("db_") => {
            Some(format!("asks for or sets an answer (`{}`)", words.join(" ")))
        }
        "adduser" | "useradd" => Some(match operands_of_user(rest).as_slice() {
            [user, group] => format!("adds the user `{user}` to the group `{group}`"),
            _ if has("--group") && !has("--system") => format!("makes the group `{last}`"),
            _ => format!("makes the system user `{last}` ({})", words.join(" ")),
        }),
        "addgroup" | "groupadd" => Some(format!("makes the group `{last}`")),
        "usermod" | "groupmod" | "gpasswd" | "chsh" => {
            Some(format!("changes the account `{last}` ({})", words.join(" ")))
        }
        "userdel" | "deluser" | "groupdel" | "delgroup" => {
            Some(format!("removes the account `{last}`"))
        }
        "chown" | "chgrp" | "chmod" => {
            let (what, paths) = operands.split_first()?;
            let of = if name == "chmod" { "mode" } else { "owner" };
            Some(format!("changes the {of} of {} to `{what}`", quoted(paths)))
        }
        "mkdir" => Some(format!("makes the directory {}", quoted(&operands))),
        "install" if rest.iter().any(|word| *word == "-d" || *word == "--directory") => {
            Some(format!("makes the directory `{last}` ({})", words.join(" ")))
        }
        "install" | "cp" | "ucf" => match operands.as_slice() {
            [.., from, to] => Some(format!("copies `{from}` to `{to}`")),
            _ => None,
        },
        "ucfr" => None,
        "ln" => match operands.as_slice() {
            [.., target, link] => Some(format!("links `{link}` to `{target}`")),
            _ => None,
        },
        "mv" => match operands.as_slice() {
            [.., from, to] => Some(format!("moves `{from}` to `{to}`")),
            _ => None,
        },
        "rm" | "rmdir" => Some(format!("removes {}", quoted(&operands))),
        "touch" => Some(format!("makes the file {}", quoted(&operands))),
        "sed" | "perl" if rest.iter().any(|word| word.starts_with("-i")) => {
            Some(format!("edits `{last}`"))
        }
        "setcap" => Some(format!("gives `{last}` the capabilities `{}`", operands.first()?)),
        "update-alternatives" => Some(format!("changes an alternative ({})", words.join(" "))),
        "dpkg-statoverride" => {
            Some(format!("sets mode and owner of `{last}` ({})", words.join(" ")))
        }
        "dpkg-divert" => Some(format!("diverts `{last}` ({})", words.join(" "))),
        "dpkg-maintscript-helper" => {
            Some(format!("takes over an older file ({})", words.join(" ")))
        }
        "invoke-rc.d" | "service" => match operands.as_slice() {
            [of, verb, ..] => service(verb, &[of]),
            _ => None,
        },
        "deb-systemd-invoke" => match operands.split_first() {
            Some((verb, of)) => service(verb, of),
            None => None,
        },
        "systemctl" | "deb-systemd-helper" => match operands.as_slice() {
            ["daemon-reload" | "daemon-reexec"] => {
                Some("reloads the service manager of a running system".to_owned())
            }
            [verb @ ("enable" | "disable" | "mask" | "unmask" | "preset"), of @ ..] => {
                Some(format!("{verb}s the unit {}", quoted(of)))
            }
            [verb @ ("start" | "stop" | "restart" | "reload" | "try-restart"), of @ ..] => {
                service(verb, of)
            }
            _ => Some(format!("runs `{}`", words.join(" "))),
        },
        "update-rc.d" => Some(format!("arranges the init script of `{}`", operands.first()?)),
        _ => {
            let onto: Vec<&str> = target().collect();
            let onto = match onto.as_slice() {
                [] => String::new(),
                files => format!(" and writes {}", quoted(files)),
            };
            Some(format!("runs `{}`{onto}", words.join(" ")))
        }
    }
}

/// The operands of adduser(8), whose options take values.
fn operands_of_user<'a>(words: &[&'a str]) -> Vec<&'a str> {
    const VALUED: &[&str] = &[
        "--home",
        "--gecos",
        "--comment",
        "--shell",
        "--ingroup",
        "--gid",
        "--uid",
        "-g",
        "-d",
        "-s",
        "-c",
        "-G",
        "-u",
        "-b",
        "-k",
    ];
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if word.starts_with('-') {
            at += usize::from(VALUED.contains(word));
        } else {
            found.push(*word);
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        in_words(text, Moment::AfterUnpack, "foo").join("\n")
    }

    #[test]
    fn each_command_of_a_first_installation_is_a_sentence_and_upgrades_are_said_to_be_such() {
        let text = "set -e\nUSER=_x\ncase \"$1\" in\n  configure)\n\
            if ! getent passwd $USER >/dev/null; then\n  adduser --system --home /var/lib/x $USER\nfi\n\
            chown $USER: /var/lib/<name>\nif [ -n \"$2\" ]; then invoke-rc.d <name> restart; fi\n\
            if [ -e /etc/x ]; then echo a > /etc/y; fi\nsed -i s/a/b/ /etc/z\nfrobnicate --now\n;;\n\
            abort-upgrade) rm /x;;\nesac\n<fact pager>\nexit 0\n";
        assert_eq!(
            said(text),
            "makes the system user `_x` (adduser --system --home /var/lib/x _x)\n\
             changes the owner of `/var/lib/foo` to `_x:`\n\
             writes `/etc/y` (if [ -e /etc/x ])\n\
             edits `/etc/z`\n\
             runs `frobnicate --now`\n\
             states `pager`, which is done without it\n\
             only on upgrade: restarts the service `foo` of a running system\n\
             only on upgrade: removes `/x`"
        );
    }

    #[test]
    fn an_empty_version_is_earlier_than_any_unless_nl_is_asked_for() {
        assert_eq!(said("if dpkg --compare-versions \"$2\" lt 1; then a; fi"), "runs `a`");
        let later = said("if dpkg --compare-versions \"$2\" lt-nl 1; then a; fi");
        assert_eq!(later, "only on upgrade: runs `a`");
    }

    #[test]
    fn a_script_that_is_not_understood_is_quoted_line_by_line() {
        assert_eq!(
            said("if true; then\n  rm -rf /x\n"),
            "has the line `if true; then`\nhas the line `rm -rf /x`"
        );
    }

    #[test]
    fn what_runs_when_others_change_is_said_with_its_condition() {
        let text = "case \"$1\" in\nconfigure) a;;\ntriggered) b;;\nesac\n";
        assert_eq!(said(text), "runs `a`\nruns `b` (if other packages change what it watches)");
    }
}
