//! Maintainer scripts, read as data.

use serde::{Deserialize, Serialize};
use store::Digest;

use crate::plain::Meaning;
use crate::{Id, marked, plain, shell, words};

/// A maintainer script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// When it would run.
    pub moment: Moment,
    /// The interpreter of its first line, split at blanks.
    pub interpreter: Vec<String>,
    /// The whole text.
    pub body: String,
}

/// When a script would run. Removal scripts never concern an image and are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the files are unpacked.
    BeforeUnpack,
    /// After.
    AfterUnpack,
    /// When another package touches what this one watches.
    Triggered,
}

impl std::fmt::Display for Moment {
    /// The word that rules use.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BeforeUnpack => "before-unpack",
            Self::AfterUnpack => "after-unpack",
            Self::Triggered => "triggered",
        })
    }
}

/// What a script says that needs no script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// Units that the package wants enabled.
    Enable(Vec<String>),
    /// Units of user managers that the package wants enabled.
    EnableForUsers(Vec<String>),
    /// `sysusers.d` files to be processed (names below `usr/lib/sysusers.d`).
    Sysusers(Vec<String>),
    /// `tmpfiles.d` files to be processed (names below `usr/lib/tmpfiles.d`).
    Tmpfiles(Vec<String>),
    /// One alternative.
    Alternative(Alternative),
    /// Mode and owner of a path; what is missing stays as it is.
    Mode {
        /// Absolute path.
        path: String,
        /// Permission bits (07777).
        mode: Option<u16>,
        /// User name.
        owner: Option<String>,
        /// Group name.
        group: Option<String>,
    },
    /// Lines of sysusers.d(5).
    Users(Vec<String>),
    /// A directory that is made where there is none.
    Directory {
        /// Absolute path.
        path: String,
        /// Permission bits (07777).
        mode: u16,
        /// User name.
        owner: String,
        /// Group name.
        group: String,
    },
    /// A file of the package, copied where there is none.
    Copy {
        /// Absolute path of the original.
        from: String,
        /// Absolute path of the copy.
        to: String,
    },
    /// Where other packages' file of this path goes.
    Divert {
        /// Absolute path.
        path: String,
        /// Absolute path of its new place.
        to: String,
    },
    /// File capabilities (capabilities(7)), bit by number.
    Capabilities {
        /// Absolute path.
        path: String,
        /// The permitted set.
        permitted: u64,
        /// The inheritable set.
        inheritable: u64,
        /// Whether a process has the permitted ones in effect from its start.
        effective: bool,
    },
    /// Services of `nsswitch.conf`, each `database position service` as the package's own section
    /// asks for them.
    NameService(Vec<String>),
    /// A cache that is made anew: the `ld` cache, `hwdb`, `catalog` and the like.
    Refresh(String),
}

/// One provider of an alternative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alternative {
    /// Name in the alternatives directory.
    pub name: String,
    /// Absolute path of the generic name.
    pub link: String,
    /// Absolute path of this provider.
    pub path: String,
    /// Higher wins.
    pub priority: i32,
    /// Followers: name, generic path, this provider's path.
    pub followers: Vec<(String, String, String)>,
}

/// What is left of a script once its facts are taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remainder {
    /// The text that is left, the package's own name and version replaced by placeholders.
    pub text: String,
    /// SHA-256 of the text: what a rule names. `None` when nothing is left.
    pub digest: Option<Digest>,
}

/// Lines that do nothing when nothing else is left beside them.
const BOILERPLATE: &[&str] = &[
    "set -e",
    "set -eu",
    "set -u",
    "set -x",
    "exit 0",
    "exit 1",
    "true",
    ":",
    ";;",
    ";;*)",
    "esac",
    "fi",
    "else",
    "case \"$1\" in",
    "case $1 in",
    "*)",
    "(*)",
    "configure)",
    "(configure)",
    "install)",
    "upgrade)",
    "install|upgrade)",
    "triggered)",
    "abort-upgrade)",
    "configure|abort-upgrade|abort-remove|abort-deconfigure)",
    "abort-upgrade|abort-remove|abort-deconfigure)",
    "abort-upgrade|abort-deconfigure|abort-remove)",
    "(abort-upgrade|abort-remove|abort-deconfigure)",
    "install|abort-upgrade)",
    "if [ \"$1\" = \"configure\" ]; then",
    "if [ \"$1\" = configure ]; then",
    "if [ \"$1\" = \"configure\" ] || [ \"$1\" = \"abort-upgrade\" ]; then",
    "echo \"postinst called with unknown argument \\`$1'\" >&2",
    "echo \"preinst called with unknown argument \\`$1'\" >&2",
];

/// Takes the facts out of a script; what is left must be covered by a rule.
///
/// Sections that the packaging tools generated become facts or nothing, if each of their lines
/// has a known form; so do plain `update-alternatives --install` and `dpkg-statoverride --add`
/// lines without a variable. Comments and blank lines go. Of what the package watches and sets
/// off (`Moment::Triggered`) the caches that it sets off are facts; what it watches fires the
/// script after unpacking, which is read anyway.
pub fn read_script(script: &Script, own: &Id) -> (Vec<Fact>, Remainder) {
    let mut facts = Vec::new();
    let left = match script.moment {
        Moment::Triggered => read_triggers(&script.body, &mut facts),
        Moment::BeforeUnpack | Moment::AfterUnpack => read_body(&script.body, &mut facts),
    };
    let idle = |line: &String| {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        line.starts_with("<fact ") || BOILERPLATE.contains(&line.as_str())
    };
    let whole = left.iter().all(idle) || read_plain(&left, script, &mut facts);
    let mut seen = std::collections::BTreeSet::new();
    facts.retain(|fact| seen.insert(fact.clone()));
    if whole {
        return (facts, Remainder { text: String::new(), digest: None });
    }
    let mut text = String::new();
    for line in left {
        text.push_str(&line);
        text.push('\n');
    }
    let text = without_own(&text, own);
    let digest = Some(Digest::of(text.as_bytes()));
    (facts, Remainder { text, digest })
}

/// Takes the facts of plain commands; whether nothing but them is left.
///
/// They are taken where a first installation is certain to come by. The remainder keeps their
/// lines, so that a review outlasts what is understood later.
fn read_plain(left: &[String], script: &Script, facts: &mut Vec<Fact>) -> bool {
    let shell = matches!(
        script.interpreter.first().map(String::as_str),
        Some("/bin/sh" | "/bin/bash" | "/usr/bin/sh" | "/usr/bin/bash")
    );
    if !shell || script.moment == Moment::Triggered {
        return false;
    }
    let text = words::without_placeholders(&left.join("\n"), "");
    let Some(steps) = shell::parse(&text).and_then(|nodes| shell::steps(&nodes, script.moment))
    else {
        return false;
    };
    let mut whole = true;
    for step in &steps {
        match plain::meaning(step) {
            Meaning::Nothing => {}
            Meaning::Facts(found) => facts.extend(found),
            Meaning::Unknown => whole = false,
        }
    }
    facts.sort_by_key(|fact| !matches!(fact, Fact::Directory { .. }));
    whole
}

/// deb-triggers(5): `activate*` sets something off, `interest*` watches.
fn read_triggers(body: &str, facts: &mut Vec<Fact>) -> Vec<String> {
    let mut left = Vec::new();
    for line in body.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [verb, cache] if verb.starts_with("activate") => {
                facts.push(Fact::Refresh((*cache).to_owned()));
            }
            [verb, _] if verb.starts_with("interest") => {}
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            _ => left.push(line.to_owned()),
        }
    }
    left
}

fn read_body(body: &str, facts: &mut Vec<Fact>) -> Vec<String> {
    let lines: Vec<&str> = body.lines().collect();
    let mut left = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let trimmed = line.trim();
        if let Some(end) = marked::end_of_section(&lines[at..]) {
            let section = &lines[at..at + end];
            if !marked::read_section(section, facts) {
                left.extend(section.iter().map(|line| (*line).to_owned()));
            }
            at += end;
        } else if let Some(word) = here_document(trimmed) {
            let end = lines[at + 1..].iter().position(|line| line.trim_start_matches('\t') == word);
            let end = end.map_or(lines.len(), |end| at + 2 + end);
            left.extend(lines[at..end].iter().map(|line| (*line).to_owned()));
            at = end;
        } else if trimmed.is_empty() || trimmed.starts_with('#') {
            at += 1;
        } else {
            let end = lines[at..].iter().position(|line| !line.trim_end().ends_with('\\'));
            let end = end.map_or(lines.len(), |end| at + end + 1);
            match marked::read_command(&marked::joined(&lines[at..end])) {
                Some(fact) => {
                    left.push(format!("<fact {}>", fact_name(&fact)));
                    facts.push(fact);
                }
                None => left.extend(lines[at..end].iter().map(|line| line.trim_end().to_owned())),
            }
            at = end;
        }
    }
    left
}

/// What stands in a remainder where a fact was taken out.
fn fact_name(fact: &Fact) -> &str {
    match fact {
        Fact::Alternative(alternative) => &alternative.name,
        Fact::Mode { path, .. } => path,
        _ => "",
    }
}

/// The word that ends the here-document which the line begins.
fn here_document(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return None;
    }
    let word = line.split_once("<<")?.1.trim_start_matches('-').trim_start();
    let word = word.trim_start_matches(['\'', '"', '\\']);
    let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
    (end > 0).then_some(&word[..end])
}

/// Replaces the package's own name, version and release by placeholders.
fn without_own(text: &str, own: &Id) -> String {
    let version = own.version.0.as_str();
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = upstream.rsplit_once('-').map_or(upstream, |(upstream, _)| upstream);
    // A kernel is named after its release: `linux-image-6.12.1+deb13-amd64`.
    let release = own.name.match_indices('-').map(|(i, _)| &own.name[i + 1..]);
    let release = release.into_iter().find(|tail| {
        tail.starts_with(|c: char| c.is_ascii_digit())
            && tail.split('-').next().is_some_and(|v| v.contains('.'))
    });
    let mut text = text.to_owned();
    let parts = [
        (own.name.as_str(), "<name>"),
        (release.unwrap_or_default(), "<release>"),
        (version, "<version>"),
        (if upstream.contains('.') { upstream } else { "" }, "<upstream>"),
    ];
    for (part, placeholder) in parts {
        text = replace_words(&text, part, placeholder);
    }
    text
}

/// Replaces `word` where it is not part of a longer one.
fn replace_words(text: &str, word: &str, by: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '_' | '~');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word).filter(|_| !word.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let before_ok = !before.chars().next_back().or(out.chars().next_back()).is_some_and(inner);
        out.push_str(before);
        out.push_str(if before_ok && !after.chars().next().is_some_and(inner) { by } else { word });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    fn own(name: &str, version: &str) -> Id {
        let version = Version(version.to_owned());
        Id { name: name.to_owned(), version, architecture: "amd64".to_owned() }
    }

    fn read(body: &str) -> (Vec<Fact>, Remainder) {
        let interpreter = vec!["/bin/sh".to_owned()];
        let script = Script { moment: Moment::AfterUnpack, interpreter, body: body.to_owned() };
        read_script(&script, &own("foo", "1.2-3"))
    }

    const ENABLED: &str = r#"#!/bin/sh
set -e
# Automatically added by dh_installsystemd/13.24.2
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] || [ "$1" = "abort-remove" ] ; then
	deb-systemd-helper unmask 'foo.service' >/dev/null || true
	if deb-systemd-helper --quiet was-enabled 'foo.service'; then
		deb-systemd-helper enable 'foo.service' >/dev/null || true
	else
		deb-systemd-helper update-state 'foo.service' >/dev/null || true
	fi
fi
# End automatically added section
exit 0
"#;

    #[test]
    fn a_generated_section_is_a_fact_and_leaves_nothing() {
        let (facts, left) = read(ENABLED);
        assert_eq!(facts, [Fact::Enable(vec!["foo.service".to_owned()])]);
        assert_eq!((left.text.as_str(), left.digest), ("", None));
    }

    #[test]
    fn one_changed_character_makes_a_section_a_remainder_without_facts() {
        let (facts, left) = read(&ENABLED.replace("unmask 'foo", "unmask $(x) 'foo"));
        assert_eq!(facts, []);
        assert!(left.text.contains("$(x)") && left.digest.is_some());
    }

    #[test]
    fn a_unit_that_is_not_to_be_enabled_is_no_fact() {
        let body = ENABLED.replace("--quiet was-enabled", "debian-installed");
        let (facts, left) = read(&body);
        assert_eq!((facts, left.digest), (vec![], None));
    }

    #[test]
    fn a_remainder_survives_an_update_that_changes_the_version_alone() {
        let kernel = |release: &str| {
            let name = format!("linux-image-{release}-amd64");
            let body = format!("version={release}-amd64\ndepmod {release}-amd64 # {name}\n");
            let script = Script { moment: Moment::AfterUnpack, interpreter: vec![], body };
            read_script(&script, &own(&name, &format!("{release}-1"))).1
        };
        let (old, new) = (kernel("6.12.1+deb13"), kernel("6.12.22+deb13"));
        assert_eq!(old, new);
        assert_eq!(old.text, "version=<release>\ndepmod <release> # <name>\n");
        assert!(
            read("foo --since 1.2-3 foobar").1.text.contains("<name> --since <version> foobar")
        );
    }

    #[test]
    fn comments_go_but_not_those_inside_a_here_document() {
        let (_, left) = read("# gone\ncat > /etc/x <<-'EOF'\n# kept\n\n\tEOF\n# gone too\n");
        assert_eq!(left.text, "cat > /etc/x <<-'EOF'\n# kept\n\n\tEOF\n");
    }

    #[test]
    fn a_plain_alternative_is_a_fact_and_one_with_a_variable_is_not() {
        let (facts, left) = read(
            "update-alternatives --quiet --install /usr/bin/pager pager \\\n  /bin/more 50 \\\n  --slave /m/p p /m/more || true\n",
        );
        let [Fact::Alternative(found)] = facts.as_slice() else { panic!("{facts:?}") };
        assert_eq!(
            (found.name.as_str(), found.path.as_str(), found.priority),
            ("pager", "/bin/more", 50)
        );
        assert_eq!(found.followers, [("p".into(), "/m/p".into(), "/m/more".into())]);
        assert_eq!(left.digest, None);
        let (facts, left) = read("update-alternatives --install /usr/bin/pager pager $MORE 50\n");
        assert!(facts.is_empty() && left.digest.is_some());
    }

    #[test]
    fn modes_and_caches_are_facts() {
        let (facts, left) = read("dpkg-statoverride --update --add root _ssh 2755 /usr/bin/x\n");
        let (path, owner, group) = ("/usr/bin/x".into(), "root".into(), "_ssh".into());
        let (mode, owner, group) = (Some(0o2755), Some(owner), Some(group));
        assert_eq!(facts, [Fact::Mode { path, mode, owner, group }]);
        assert_eq!(left.digest, None);
        let body = "# x\nactivate-noawait ldconfig\ninterest-noawait /usr/lib/x\n".to_owned();
        let watched = Script { moment: Moment::Triggered, interpreter: vec![], body };
        let (facts, left) = read_script(&watched, &own("foo", "1"));
        assert_eq!((facts, left.digest), (vec![Fact::Refresh("ldconfig".into())], None));
    }

    #[test]
    fn name_services_are_facts_with_their_positions() {
        let (facts, left) = read(
            r#"# Automatically added by dh_installnss/1.7
if [ "$1" = "configure" ] && [ -f "${DPKG_ROOT}/etc/nsswitch.conf.nss.${DPKG_MAINTSCRIPT_PACKAGE}-will-install" ] && [ -e "${DPKG_ROOT}/etc/nsswitch.conf" ] ; then
	if ! grep -q -E  -e '^hosts:[^#]*\s(a)(\s|#|$)' "${DPKG_ROOT}/etc/nsswitch.conf" ; then
		# Installing hosts/a from libnss-a in position after=files
		sed -E -i "${DPKG_ROOT}/etc/nsswitch.conf" -e 's/ $//'
	fi
	rm "${DPKG_ROOT}/etc/nsswitch.conf.nss.${DPKG_MAINTSCRIPT_PACKAGE}-will-install"
fi
# End automatically added section
"#,
        );
        assert_eq!(facts, [Fact::NameService(vec!["hosts after=files a".to_owned()])]);
        assert_eq!(left.digest, None);
    }
}
