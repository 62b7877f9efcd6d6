//! Plain commands of scripts, read as facts: what is not exactly understood is none.

mod accounts;

use accounts::{adduser, group, useradd};

use crate::shell::{Step, When, only_asks, silent};
use crate::{CapabilitySets, Fact, words};

/// What one command comes to.
pub(crate) enum Meaning {
    /// Nothing that an image would keep, or that a first installation reaches.
    Nothing,
    /// These facts.
    Facts(Vec<Fact>),
    /// Something for a person.
    Unknown,
}

/// What a command of a script comes to when its package is installed for the first time.
pub(crate) fn meaning(step: &Step) -> Meaning {
    let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
    let quiet = step.redirects.iter().all(|redirect| silent(redirect));
    let hidden = !step.words.iter().all(|word| only_asks(word));
    if step.when.is_never() || (quiet && !hidden && is_idle(&words)) {
        return Meaning::Nothing;
    }
    if step.when != When::Always || !step.known || !quiet {
        return Meaning::Unknown;
    }
    let facts = match words.as_slice() {
        ["adduser", rest @ ..] => adduser(rest),
        ["useradd", rest @ ..] => useradd(rest),
        ["addgroup" | "groupadd", rest @ ..] => group(rest),
        ["chown", rest @ ..] => owner(rest),
        ["chgrp", rest @ ..] => changed(rest, |group, path| {
            let group = Some(group.to_owned());
            Some(Fact::Mode { path: path.to_owned(), mode: None, owner: None, group })
        }),
        ["chmod", rest @ ..] => changed(rest, |mode, path| {
            let mode = Some(octal(mode)?);
            Some(Fact::Mode { path: path.to_owned(), mode, owner: None, group: None })
        }),
        ["mkdir", rest @ ..] => mkdir(rest),
        ["install", rest @ ..] => install(rest),
        ["setcap", text, path] if is_path(path) => capabilities(text, path),
        ["dpkg-divert", rest @ ..] => divert(rest),
        ["ucf", rest @ ..] => ucf(rest),
        ["ldconfig"] => Some(vec![Fact::Refresh("ldconfig".to_owned())]),
        _ => None,
    };
    facts.map_or(Meaning::Unknown, Meaning::Facts)
}

/// Commands that leave nothing in an image: those that only print, ask, or reach out to a running
/// system.
fn is_idle(words: &[&str]) -> bool {
    match words {
        [words::FACT, ..] | ["echo" | "printf" | "true" | ":" | "false" | "test" | "[", ..] => true,
        ["set", options @ ..] => options.iter().all(|word| word.starts_with(['-', '+'])),
        // No dialogue is held: questions have no answers that an image could keep.
        [".", "/usr/share/debconf/confmodule"] => true,
        [
            "db_version" | "db_stop" | "db_go" | "db_get" | "db_capb" | "db_input" | "db_title",
            ..,
        ] => true,
        // Files of an older version, of which a fresh system has none.
        ["dpkg-maintscript-helper", verb, ..] => {
            matches!(*verb, "rm_conffile" | "mv_conffile" | "symlink_to_dir" | "dir_to_symlink")
        }
        ["ucfr", ..] => true,
        ["invoke-rc.d" | "deb-systemd-invoke" | "service", ..] => true,
        // System V scripts, which no image runs.
        ["update-rc.d", ..] => true,
        ["systemctl", rest @ ..] => {
            let verbs: Vec<&&str> = rest.iter().filter(|word| !word.starts_with('-')).collect();
            matches!(
                verbs.first(),
                Some(
                    &&("daemon-reload"
                        | "daemon-reexec"
                        | "start"
                        | "restart"
                        | "try-restart"
                        | "reload"
                        | "stop"
                        | "reload-or-restart"
                        | "try-reload-or-restart")
                )
            )
        }
        ["udevadm", "control" | "trigger" | "settle", ..] => true,
        _ => false,
    }
}

/// An absolute path without anything that a shell or a tree would read as more.
fn is_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-@:".contains(c);
    path.starts_with('/')
        && path.len() > 1
        && path.chars().all(plain)
        && !path.split('/').any(|part| part == ".." || part == ".")
}

/// A name that sysusers.d(5) takes.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.len() <= 31
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(plain)
}

fn octal(mode: &str) -> Option<u16> {
    let digits = (3..=5).contains(&mode.len()) && mode.chars().all(|c| c.is_digit(8));
    u16::from_str_radix(mode, 8).ok().filter(|mode| digits && *mode <= 0o7777)
}

/// Options with their values, empty for those that take none.
type Options<'a> = Vec<(&'a str, &'a str)>;

/// Options and operands; `None` for an option that is neither in `flags` nor
/// in `valued`.
fn split<'a>(
    words: &[&'a str],
    flags: &[&str],
    valued: &[&str],
) -> Option<(Options<'a>, Vec<&'a str>)> {
    let (mut options, mut operands) = (Vec::new(), Vec::new());
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            operands.push(word);
        } else if flags.contains(&word) {
            options.push((word, ""));
        } else if let Some((name, value)) = word.split_once('=') {
            valued.contains(&name).then_some(())?;
            options.push((name, value));
        } else {
            valued.contains(&word).then_some(())?;
            options.push((word, words.next()?));
        }
    }
    Some((options, operands))
}

fn option<'a>(options: &[(&'a str, &'a str)], names: &[&str]) -> Option<&'a str> {
    options.iter().rev().find(|(name, _)| names.contains(name)).map(|(_, value)| *value)
}

/// What `change` makes of the first operand and each path behind it.
fn changed(words: &[&str], change: impl Fn(&str, &str) -> Option<Fact>) -> Option<Vec<Fact>> {
    let quiet = ["-f", "-c", "-v", "--quiet", "--silent", "--verbose", "--changes"];
    let (_, operands) = split(words, &quiet, &[])?;
    let (what, paths) = operands.split_first()?;
    let each = paths.iter().map(|path| is_path(path).then(|| change(what, path))?);
    each.collect::<Option<Vec<Fact>>>().filter(|facts| !facts.is_empty())
}

/// chown(1).
fn owner(words: &[&str]) -> Option<Vec<Fact>> {
    changed(words, |what, path| {
        let (user, group) = match what.split_once(':') {
            // The group of the user's own, which a system user may have or not.
            Some((_, "")) => return None,
            Some((user, group)) => (user, Some(group)),
            None => (what, None),
        };
        let good = |name: &str| is_name(name) || name == "0";
        let named = |name: &str| if name == "0" { "root".to_owned() } else { name.to_owned() };
        let valid = (user.is_empty() || good(user)) && group.is_none_or(good);
        valid.then(|| Fact::Mode {
            path: path.to_owned(),
            mode: None,
            owner: (!user.is_empty()).then(|| named(user)),
            group: group.map(named),
        })
    })
}

/// mkdir(1).
fn mkdir(words: &[&str]) -> Option<Vec<Fact>> {
    let (options, paths) = split(words, &["-p", "--parents", "-v"], &["-m", "--mode"])?;
    let mode = match option(&options, &["-m", "--mode"]) {
        Some(mode) => octal(mode)?,
        None => 0o755,
    };
    directories(&paths, mode, "root", "root")
}

fn directories(paths: &[&str], mode: u16, owner: &str, group: &str) -> Option<Vec<Fact>> {
    let good = !paths.is_empty() && paths.iter().all(|path| is_path(path));
    let one = |path: &&str| Fact::Directory {
        path: path.trim_end_matches('/').to_owned(),
        mode,
        owner: owner.to_owned(),
        group: group.to_owned(),
    };
    (good && is_name(owner) && is_name(group)).then(|| paths.iter().map(one).collect())
}

/// install(1), `-d` alone. It sets mode and owner of a directory that is there already, too.
fn install(words: &[&str]) -> Option<Vec<Fact>> {
    // `-oroot` is `-o root`.
    let apart = |word: &str| ["-o", "-g", "-m"].iter().any(|o| word.starts_with(o) && word != *o);
    let mut apart_words = Vec::new();
    for word in words {
        if apart(word) {
            apart_words.extend([&word[..2], &word[2..]]);
        } else {
            apart_words.push(*word);
        }
    }
    let valued = ["-o", "--owner", "-g", "--group", "-m", "--mode"];
    let (options, paths) = split(&apart_words, &["-d", "--directory", "-v"], &valued)?;
    option(&options, &["-d", "--directory"])?;
    let mode = option(&options, &["-m", "--mode"]);
    let (owner, group) =
        (option(&options, &["-o", "--owner"]), option(&options, &["-g", "--group"]));
    let bits = match mode {
        Some(mode) => octal(mode)?,
        None => 0o755,
    };
    let mut facts = directories(&paths, bits, owner.unwrap_or("root"), group.unwrap_or("root"))?;
    let set = (mode.map(|_| bits), owner.map(str::to_owned), group.map(str::to_owned));
    facts.extend(paths.iter().map(|path| Fact::Mode {
        path: path.trim_end_matches('/').to_owned(),
        mode: set.0.or(Some(bits)),
        owner: set.1.clone(),
        group: set.2.clone(),
    }));
    Some(facts)
}

/// setcap(8).
fn capabilities(text: &str, path: &str) -> Option<Vec<Fact>> {
    let CapabilitySets { permitted, inheritable, effective } = CapabilitySets::parse(text).ok()?;
    let path = path.to_owned();
    Some(vec![Fact::Capabilities { path, permitted, inheritable, effective }])
}

/// dpkg-divert(1), `--add --rename`: another package's file is put aside.
fn divert(words: &[&str]) -> Option<Vec<Fact>> {
    let flags = ["--add", "--rename", "--quiet"];
    let (options, operands) = split(words, &flags, &["--package", "--divert"])?;
    let [path] = operands.as_slice() else { return None };
    option(&options, &["--add"])?;
    option(&options, &["--rename"])?;
    let to =
        option(&options, &["--divert"]).map_or_else(|| format!("{path}.distrib"), str::to_owned);
    (is_path(path) && is_path(&to)).then(|| vec![Fact::Divert { path: (*path).to_owned(), to }])
}

/// ucf(1): a configuration file that is a copy as long as nobody edits it.
fn ucf(words: &[&str]) -> Option<Vec<Fact>> {
    let (_, operands) = split(words, &["--three-way", "--debconf-ok"], &[])?;
    let [from, to] = operands.as_slice() else { return None };
    (is_path(from) && is_path(to))
        .then(|| vec![Fact::Copy { from: (*from).to_owned(), to: (*to).to_owned() }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, Moment, Script, Version, read_script};

    /// Facts of a script of `foo`, and whether nothing else is left.
    fn read(body: &str) -> (Vec<Fact>, bool) {
        let interpreter = vec!["/bin/sh".to_owned()];
        let script = Script { moment: Moment::AfterUnpack, interpreter, body: body.to_owned() };
        let version = Version("1".to_owned());
        let id = Id { name: "foo".to_owned(), version, architecture: "all".to_owned() };
        let (facts, left) = read_script(&script, &id);
        (facts, left.digest.is_none())
    }

    fn users(lines: &[&str]) -> Fact {
        Fact::Users(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    fn owned(path: &str, user: &str, group: &str) -> Fact {
        let (owner, group) = (Some(user.to_owned()), Some(group.to_owned()));
        Fact::Mode { path: path.to_owned(), mode: None, owner, group }
    }

    #[test]
    fn a_user_that_is_made_where_it_is_missing_is_a_fact() {
        let forms = [
            "adduser --system --group --no-create-home --home /var/lib/x _x",
            "if ! getent passwd _x >/dev/null 2>&1; then\n adduser --quiet --system --group \\\n \
             --home /var/lib/x --no-create-home _x\nfi",
            "U=_x\ncase \"$1\" in\nconfigure)\n getent passwd $U > /dev/null || adduser --system \
             --group --home=/var/lib/x --no-create-home \"$U\"\n;;\nabort-upgrade) rm /;;\nesac",
            "id -u _x >/dev/null 2>&1 || adduser --system --group --no-create-home --home /var/lib/x _x",
        ];
        for form in forms {
            let wanted = users(&["u _x - - /var/lib/x /usr/sbin/nologin"]);
            assert_eq!(read(form), (vec![wanted], true), "{form}");
        }
        let (facts, whole) =
            read("adduser --system --ingroup g --gecos 'A, b' --shell /bin/sh x\n");
        assert_eq!(facts, [users(&["u x -:g \"A, b\" /nonexistent /bin/sh"])]);
        assert!(whole);
        let (facts, _) = read("addgroup --system g\nuseradd -r -g g -d /var/x x\nadduser x adm\n");
        let lines = ["g g -", "u x -:g - /var/x /usr/sbin/nologin", "m x adm"];
        assert_eq!(facts, lines.map(|line| users(&[line])));
    }

    #[test]
    fn what_may_not_be_reached_or_is_not_known_is_no_fact() {
        for body in [
            "if [ -e /etc/x ]; then addgroup --system g; fi\n",
            "frob && addgroup --system g\n",
            "addgroup --system $G\n",
            "addgroup --system \"$(frob)\"\n",
            "if [ -e /x ]; then exit 0; fi\naddgroup --system g\n",
            "f() { [ -e /x ] && return 0\n addgroup --system g\n}\nf\n",
            "addgroup() { rm \"$@\"; }\naddgroup --system g\n",
            "eval x\nif [ \"$y\" = 1 ]; then addgroup --system g; fi\n",
            "addgroup --system g >/etc/passwd\n",
            "adduser --system --uid 5 x\n",
            "adduser person\n",
            "chown -R x:x /var/x\n",
            "chmod u+s /usr/bin/x\n",
            "chmod 755 /usr/bin/*\n",
            "chown x: /var/x\n",
            "mkdir /var/../etc/x\n",
            "setcap cap_unheard_of=ep /usr/bin/x\n",
            "dpkg-divert --add --no-rename --divert /y /x\n",
            "(addgroup --system g)\n",
            "[ -z \"$(frob | grep x)\" ] || true\n",
            "echo `frob`\n",
            "echo g | addgroup --system g\n",
            "while frob; do addgroup --system g; done\n",
            "exec 3>&1\naddgroup --system g\n",
        ] {
            assert_eq!(read(body), (vec![], false), "{body}");
        }
    }

    #[test]
    fn what_only_upgrades_failures_and_running_systems_reach_leaves_nothing() {
        for body in [
            "if [ -n \"$2\" ]; then rm -rf /var/x; fi\n",
            "if dpkg --compare-versions \"$2\" lt-nl 1.0; then frob; fi\n",
            "[ \"$1\" = configure ] || exit 0\necho done >&2\n",
            "case \"$1\" in abort-*) frob;; configure) ;; *) exit 1;; esac\n",
            "if [ -d /run/systemd/system ]; then systemctl frob; fi\n",
            "systemctl daemon-reload || true\ninvoke-rc.d x restart\n",
            "dpkg-maintscript-helper rm_conffile /etc/x 1~ foo -- \"$@\"\n",
        ] {
            assert_eq!(read(body), (vec![], true), "{body}");
        }
        for body in [
            "if dpkg --compare-versions \"$2\" lt 1.0; then frob; fi\n",
            "case \"$1\" in configure) ;; triggered) frob;; esac\n",
            "systemctl enable x\n",
            "echo x >/etc/x\n",
        ] {
            assert_eq!(read(body), (vec![], false), "{body}");
        }
    }

    #[test]
    fn directories_owners_capabilities_copies_and_diversions_are_facts() {
        let body = "install -d -o_x -g adm -m 2750 /var/log/x\nmkdir -p /var/lib/x\n\
                    chown _x:_x /var/lib/x\nchmod 0750 /var/lib/x\n\
                    setcap cap_net_raw,cap_net_admin=ep /usr/bin/x\n\
                    ucf --three-way /usr/share/foo/x.conf /etc/x.conf\n\
                    dpkg-divert --package foo --add --rename --divert /usr/bin/y.real /usr/bin/y\n";
        let (facts, whole) = read(body);
        assert!(whole);
        let directory = |path: &str, mode, owner: &str, group: &str| Fact::Directory {
            path: path.to_owned(),
            mode,
            owner: owner.to_owned(),
            group: group.to_owned(),
        };
        let mode = |path: &str, mode| Fact::Mode {
            path: path.to_owned(),
            mode: Some(mode),
            owner: None,
            group: None,
        };
        let mut log = owned("/var/log/x", "_x", "adm");
        if let Fact::Mode { mode, .. } = &mut log {
            *mode = Some(0o2750);
        }
        let wanted = [
            directory("/var/log/x", 0o2750, "_x", "adm"),
            directory("/var/lib/x", 0o755, "root", "root"),
            log,
            owned("/var/lib/x", "_x", "_x"),
            mode("/var/lib/x", 0o750),
            Fact::Capabilities {
                path: "/usr/bin/x".to_owned(),
                permitted: 1 << 13 | 1 << 12,
                inheritable: 0,
                effective: true,
            },
            Fact::Copy { from: "/usr/share/foo/x.conf".to_owned(), to: "/etc/x.conf".to_owned() },
            Fact::Divert { path: "/usr/bin/y".to_owned(), to: "/usr/bin/y.real".to_owned() },
        ];
        assert_eq!(facts, wanted);
    }

    #[test]
    fn a_plain_command_stays_in_a_remainder_so_that_its_digest_stays() {
        let interpreter = vec!["/bin/sh".to_owned()];
        let body = "addgroup --system g\nfrob\n".to_owned();
        let script = Script { moment: Moment::AfterUnpack, interpreter, body: body.clone() };
        let version = Version("1".to_owned());
        let id = Id { name: "foo".to_owned(), version, architecture: "all".to_owned() };
        let (facts, left) = read_script(&script, &id);
        assert_eq!((facts, left.text), (vec![users(&["g g -"])], body));
    }

    #[test]
    fn another_interpreter_is_not_read_as_a_shell() {
        let interpreter = vec!["/usr/bin/perl".to_owned()];
        let body = "true;\n".to_owned();
        let script = Script { moment: Moment::AfterUnpack, interpreter, body };
        let version = Version("1".to_owned());
        let id = Id { name: "foo".to_owned(), version, architecture: "all".to_owned() };
        assert!(read_script(&script, &id).1.digest.is_some());
    }
}
