//! Sections of scripts that packaging tools generated, and plain commands, read as facts.

use crate::{Alternative, Fact};

/// What a known line of a generated section says.
#[derive(Clone, Copy)]
enum Says {
    /// Nothing that a fresh system needs.
    Nothing,
    /// The section deals with a unit that the package does not want enabled.
    NotEnabled,
    /// The units that `*` names are wanted.
    Enable,
    /// The same for user managers.
    EnableForUsers,
    /// Names of `sysusers.d` files.
    Sysusers,
    /// Names of `tmpfiles.d` files.
    Tmpfiles,
}

use Says::{Enable, EnableForUsers, NotEnabled, Nothing, Sysusers, Tmpfiles};

/// Lines that any generated section may hold, blanks squeezed. `*` is plain words.
const LINES: &[(&str, Says)] = &[
    (
        "if [ \"$1\" = \"configure\" ] || [ \"$1\" = \"abort-upgrade\" ] || [ \"$1\" = \"abort-deconfigure\" ] || [ \"$1\" = \"abort-remove\" ]; then",
        Nothing,
    ),
    (
        "if [ \"$1\" = \"configure\" ] || [ \"$1\" = \"abort-upgrade\" ] || [ \"$1\" = \"abort-deconfigure\" ] || [ \"$1\" = \"abort-remove\" ] ; then",
        Nothing,
    ),
    ("if [ \"$1\" = \"configure\" ]; then", Nothing),
    ("if [ -z \"$DPKG_ROOT\" ] ; then", Nothing),
    ("if [ -d /run/systemd/system ]; then", Nothing),
    ("if [ -z \"${DPKG_ROOT:-}\" ] && [ -d /run/systemd/system ]; then", Nothing),
    ("if [ -z \"$DPKG_ROOT\" ] && [ -d /run/systemd/system ]; then", Nothing),
    (
        "if [ -z \"$DPKG_ROOT\" ] && [ \"$1\" = upgrade ] && [ -d /run/systemd/system ] ; then",
        Nothing,
    ),
    ("if [ -n \"$2\" ]; then", Nothing),
    ("else", Nothing),
    ("fi", Nothing),
    // Units.
    ("deb-systemd-helper unmask * >/dev/null || true", Nothing),
    ("deb-systemd-helper --user unmask * >/dev/null || true", Nothing),
    ("if deb-systemd-helper debian-installed *; then", NotEnabled),
    ("if deb-systemd-helper --user debian-installed *; then", NotEnabled),
    ("if deb-systemd-helper --quiet was-enabled *; then", Nothing),
    ("if deb-systemd-helper --quiet --user was-enabled * ; then", Nothing),
    ("deb-systemd-helper enable * >/dev/null || true", Enable),
    ("deb-systemd-helper --user enable * >/dev/null || true", EnableForUsers),
    ("deb-systemd-helper update-state * >/dev/null || true", Nothing),
    ("deb-systemd-helper --user update-state * >/dev/null || true", Nothing),
    ("systemctl --system daemon-reload >/dev/null || true", Nothing),
    ("_dh_action=*", Nothing),
    ("deb-systemd-invoke $_dh_action * >/dev/null || true", Nothing),
    ("deb-systemd-invoke start * >/dev/null || true", Nothing),
    ("deb-systemd-invoke restart * >/dev/null || true", Nothing),
    ("deb-systemd-invoke stop * >/dev/null || true", Nothing),
    ("deb-systemd-invoke try-restart * >/dev/null || true", Nothing),
    // System V scripts, which no image runs.
    ("if [ -z \"$DPKG_ROOT\" ] && [ -x \"/etc/init.d/*\" ]; then", Nothing),
    ("if [ -x \"/etc/init.d/*\" ]; then", Nothing),
    ("if [ \"$1\" = \"install\" ] && [ -n \"$2\" ] && [ -e \"/etc/init.d/*\" ] ; then", Nothing),
    ("chmod +x \"/etc/init.d/*\" >/dev/null || true", Nothing),
    ("update-rc.d * >/dev/null", Nothing),
    ("update-rc.d * >/dev/null || exit 1", Nothing),
    ("invoke-rc.d --skip-systemd-native * $_dh_action || exit 1", Nothing),
    ("invoke-rc.d --skip-systemd-native * || exit 1", Nothing),
    // tmpfiles.d and sysusers.d.
    ("if [ -x \"$(command -v systemd-tmpfiles)\" ]; then", Nothing),
    ("systemd-tmpfiles ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} --create * || true", Tmpfiles),
    ("systemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} *", Sysusers),
    // Upgrades from an older version.
    ("dpkg-maintscript-helper rm_conffile * -- \"$@\"", Nothing),
    ("dpkg-maintscript-helper mv_conffile * -- \"$@\"", Nothing),
    ("dpkg-maintscript-helper dir_to_symlink * -- \"$@\"", Nothing),
    ("dpkg-maintscript-helper symlink_to_dir * -- \"$@\"", Nothing),
    // Menus.
    (
        "if [ \"$1\" = \"configure\" ] && [ -x \"`command -v update-menus`\" ] && [ -x \"$DPKG_ROOT`command -v update-menus`\" ]; then",
        Nothing,
    ),
    ("update-menus", Nothing),
    // AppArmor: an empty file for local additions, and loading.
    ("APP_PROFILE=\"/etc/apparmor.d/*\"", Nothing),
    ("if [ -f \"$APP_PROFILE\" ]; then", Nothing),
    ("LOCAL_APP_PROFILE=\"/etc/apparmor.d/local/*\"", Nothing),
    ("test -e \"$LOCAL_APP_PROFILE\" || {", Nothing),
    ("mkdir -p `dirname \"$LOCAL_APP_PROFILE\"`", Nothing),
    ("install --mode 644 /dev/null \"$LOCAL_APP_PROFILE\"", Nothing),
    ("}", Nothing),
    ("if aa-enabled --quiet 2>/dev/null; then", Nothing),
    ("if aa-status --enabled 2>/dev/null; then", Nothing),
    ("apparmor_parser -r -T -W \"$APP_PROFILE\" || true", Nothing),
    // runit, which no image has.
    ("if [ ! -e /usr/lib/runit-helper/runit-helper ]; then", Nothing),
    ("echo \"warning: can't find runit-helper, postinst action skipped!\"", Nothing),
    ("echo \"warning: runit-helper: please report this bug\"", Nothing),
    ("if [ -z \"${DPKG_ROOT:-}\" ] && [ -x /usr/lib/runit-helper/runit-helper ]; then", Nothing),
    (
        "NAME='*' ENABLE='*' ONUPGRADE='*' /usr/lib/runit-helper/runit-helper postinst \"$@\"",
        Nothing,
    ),
    // The name service switch: the comments carry the facts, and `sed` is looked at apart.
    ("if [ \"$1\" = install ]; then", Nothing),
    (
        "touch \"${DPKG_ROOT}/etc/nsswitch.conf.nss.${DPKG_MAINTSCRIPT_PACKAGE}-will-install\"",
        Nothing,
    ),
    (
        "if [ \"$1\" = \"configure\" ] && [ -f \"${DPKG_ROOT}/etc/nsswitch.conf.nss.${DPKG_MAINTSCRIPT_PACKAGE}-will-install\" ] && [ -e \"${DPKG_ROOT}/etc/nsswitch.conf\" ] ; then",
        Nothing,
    ),
    ("rm \"${DPKG_ROOT}/etc/nsswitch.conf.nss.${DPKG_MAINTSCRIPT_PACKAGE}-will-install\"", Nothing),
];

/// How many lines the section at the beginning of `lines` has, if one begins there.
pub(crate) fn end_of_section(lines: &[&str]) -> Option<usize> {
    lines.first()?.trim().strip_prefix("# Automatically added by dh")?;
    let is_end = |line: &&str| line.trim() == "# End automatically added section";
    lines.iter().position(is_end).map(|end| end + 1)
}

/// Takes the facts of one section; `false`, and no fact, when a line has no known form.
pub(crate) fn read_section(lines: &[&str], facts: &mut Vec<Fact>) -> bool {
    let mut found = Vec::new();
    let mut services = Vec::new();
    let mut enabled = true;
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let end = lines[at..].iter().position(|line| !line.trim_end().ends_with('\\'));
        let end = end.map_or(lines.len(), |end| at + end + 1);
        let whole = joined(&lines[at..end]);
        at = end;
        if line.trim().starts_with('#') || line.trim().is_empty() {
            services.extend(name_service(line.trim()));
            continue;
        }
        if let Some(fact) = read_command(&whole) {
            found.push(fact);
            continue;
        }
        if edits_name_service(&whole) {
            continue;
        }
        let known = LINES.iter().find_map(|(form, says)| Some((says, words(form, &whole)?)));
        let Some((says, words)) = known else { return false };
        match says {
            Nothing => {}
            NotEnabled => enabled = false,
            Enable => found.push(Fact::Enable(words)),
            EnableForUsers => found.push(Fact::EnableForUsers(words)),
            Sysusers => found.push(Fact::Sysusers(words)),
            Tmpfiles => found.push(Fact::Tmpfiles(words)),
        }
    }
    let wanted =
        |fact: &Fact| enabled || !matches!(fact, Fact::Enable(_) | Fact::EnableForUsers(_));
    facts.extend(found.into_iter().filter(wanted));
    if !services.is_empty() {
        facts.push(Fact::NameService(services));
    }
    true
}

/// Lines that `\` continues, as one, blanks squeezed.
pub(crate) fn joined(lines: &[&str]) -> String {
    let whole = lines.iter().map(|line| line.trim_end().trim_end_matches('\\'));
    let whole: Vec<&str> = whole.flat_map(str::split_whitespace).collect();
    whole.join(" ")
}

/// The fact that one command without variables states.
pub(crate) fn read_command(command: &str) -> Option<Fact> {
    let command = command.strip_suffix("|| true").unwrap_or(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    let plain =
        |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-@:~".contains(c));
    if !words.iter().all(plain) {
        return None;
    }
    match words.as_slice() {
        ["update-alternatives", rest @ ..] => alternative(rest),
        ["dpkg-statoverride", rest @ ..] => mode(rest),
        _ => None,
    }
}

/// update-alternatives(1), `--install` with any number of followers.
fn alternative(words: &[&str]) -> Option<Fact> {
    let words: Vec<&str> =
        words.iter().copied().filter(|w| !matches!(*w, "--quiet" | "--force")).collect();
    let ["--install", link, name, path, priority, followers @ ..] = words.as_slice() else {
        return None;
    };
    let followers = followers.chunks(4).map(|follower| match follower {
        ["--slave", link, name, path] => {
            Some(((*name).to_owned(), (*link).to_owned(), (*path).to_owned()))
        }
        _ => None,
    });
    Some(Fact::Alternative(Alternative {
        name: (*name).to_owned(),
        link: (*link).to_owned(),
        path: (*path).to_owned(),
        priority: priority.parse().ok()?,
        followers: followers.collect::<Option<_>>()?,
    }))
}

/// dpkg-statoverride(1), `--add`.
fn mode(words: &[&str]) -> Option<Fact> {
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|w| !matches!(*w, "--quiet" | "--update" | "--force-all"))
        .collect();
    let ["--add", owner, group, mode, path] = words.as_slice() else { return None };
    let mode = u16::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?;
    let (path, owner, group) = ((*path).to_owned(), (*owner).to_owned(), (*group).to_owned());
    Some(Fact::Mode { path, mode: Some(mode), owner: Some(owner), group: Some(group) })
}

/// `hosts after=files myhostname` from the comment that the section carries for it.
fn name_service(comment: &str) -> Option<String> {
    let rest = comment.strip_prefix("# Installing ")?;
    let (what, rest) = rest.split_once(" from ")?;
    let (_, position) = rest.split_once(" in position ")?;
    let (database, service) = what.split_once('/')?;
    Some(format!("{database} {position} {service}"))
}

/// The lines that carry out what [`name_service`] reads.
fn edits_name_service(line: &str) -> bool {
    let file = "\"${DPKG_ROOT}/etc/nsswitch.conf\"";
    let edit = line.starts_with(&format!("sed -E -i {file} -e '")) && line.ends_with('\'');
    let test =
        line.starts_with("if ! grep -q -E -e '") && line.ends_with(&format!("' {file} ; then"));
    (edit || test) && !line.contains("$(") && !line.contains('`')
}

/// The words that the stars of `form` stand for, if `line` has that form.
fn words(form: &str, line: &str) -> Option<Vec<String>> {
    let mut parts = form.split('*');
    let mut rest = line.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let at = if parts.peek().is_none() {
            rest.len().checked_sub(part.len())?
        } else {
            rest.find(part)?
        };
        if !rest.is_char_boundary(at) || &rest[at..at + part.len()] != part {
            return None;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || " '/._+-@:~\\".contains(c);
        if !rest[..at].chars().all(plain) {
            return None;
        }
        let words = rest[..at].split_whitespace().map(|word| word.trim_matches('\'').to_owned());
        found.extend(words);
        rest = &rest[at + part.len()..];
    }
    rest.is_empty().then_some(found)
}
