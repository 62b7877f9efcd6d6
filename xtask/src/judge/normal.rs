//! Normal forms: what may differ between two installers that agree, taken out before comparing.

use std::collections::BTreeMap;

use super::walk::Walk;

/// Ids below are the distribution's own and the same everywhere; those from here on to `DYNAMIC_END`
/// an installer gives as they come (Debian Policy 9.2.2).
const DYNAMIC: u64 = 100;
const DYNAMIC_END: u64 = 999;

/// Path, and what of its text is compared.
type Row = (&'static str, fn(&str, &Names) -> String);

/// Files whose texts have a normal form. All others are compared by digest.
const FORMS: &[Row] = &[
    ("etc/passwd", passwd),
    ("etc/group", group),
    ("etc/shadow", shadow),
    ("etc/gshadow", gshadow),
    ("etc/ssl/certs/ca-certificates.crt", certificates),
];

/// Users and groups of one tree by number.
#[derive(Default)]
pub(super) struct Names {
    users: BTreeMap<u64, String>,
    groups: BTreeMap<u64, String>,
}

impl Names {
    pub(super) fn of(walk: &Walk) -> Names {
        Names { users: names(walk, "etc/passwd"), groups: names(walk, "etc/group") }
    }

    /// A user, by name where the tree has one.
    pub(super) fn user(&self, id: u64) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// A group, by name where the tree has one.
    pub(super) fn group(&self, id: u64) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

fn names(walk: &Walk, path: &str) -> BTreeMap<u64, String> {
    let text = String::from_utf8_lossy(walk.bytes(path).unwrap_or_default()).into_owned();
    let mut names = BTreeMap::from([(0, "root".to_owned())]);
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
        if let (Some(name), Some(id)) = (name, id) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// A link's absolute target by its one name in a merged `/usr`.
pub(super) fn target(target: &str) -> String {
    let merged = ["/bin/", "/lib/", "/lib64/", "/sbin/"].iter().any(|top| target.starts_with(top));
    if merged { format!("/usr{target}") } else { target.to_owned() }
}

/// The normal form of a file, when it has one.
pub(super) fn form(path: &str, bytes: &[u8], names: &Names) -> Option<String> {
    let (_, form) = FORMS.iter().find(|(known, _)| *known == path)?;
    Some(form(&String::from_utf8_lossy(bytes), names))
}

/// Lines sorted, each changed by `change`.
fn sorted(text: &str, change: impl Fn(Vec<&str>) -> String) -> String {
    let mut lines: Vec<String> =
        text.lines().map(|line| change(line.split(':').collect()) + "\n").collect();
    lines.sort();
    lines.concat()
}

fn id(text: &str) -> String {
    match text.parse() {
        Ok(id) if (DYNAMIC..=DYNAMIC_END).contains(&id) => "dynamic".to_owned(),
        _ => text.to_owned(),
    }
}

/// Order and dynamic ids apart; the group by name.
fn passwd(text: &str, names: &Names) -> String {
    sorted(text, |fields| match fields.as_slice() {
        [name, password, user, group, rest @ ..] => {
            let group = group.parse().map_or_else(|_| (*group).to_owned(), |id| names.group(id));
            format!("{name}:{password}:{}:{group}:{}", id(user), rest.join(":"))
        }
        _ => fields.join(":"),
    })
}

/// Order, dynamic ids and order of members apart.
fn group(text: &str, _: &Names) -> String {
    sorted(text, |fields| match fields.as_slice() {
        [name, password, group, members] => {
            format!("{name}:{password}:{}:{}", id(group), sorted_members(members))
        }
        _ => fields.join(":"),
    })
}

/// Order, and the day of the last change, apart.
fn shadow(text: &str, _: &Names) -> String {
    sorted(text, |fields| match fields.as_slice() {
        [name, password, _, rest @ ..] => {
            format!("{name}:{}:day:{}", locked(password), rest.join(":"))
        }
        _ => fields.join(":"),
    })
}

/// `!` (adduser) and `!*` (systemd-sysusers) both say that no password opens.
fn locked(password: &str) -> &str {
    if password == "!*" { "!" } else { password }
}

fn gshadow(text: &str, _: &Names) -> String {
    sorted(text, |fields| match fields.as_slice() {
        [name, password, administrators, members] => {
            format!("{name}:{}:{administrators}:{}", locked(password), sorted_members(members))
        }
        _ => fields.join(":"),
    })
}

fn sorted_members(members: &str) -> String {
    let mut members: Vec<&str> = members.split(',').collect();
    members.sort_unstable();
    members.join(",")
}

/// Order apart: a bundle is a set of certificates.
fn certificates(text: &str, _: &Names) -> String {
    let mut all: Vec<&str> = text.split_inclusive("-----END CERTIFICATE-----\n").collect();
    all.sort_unstable();
    all.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_dynamic_ids_do_not_count_and_all_else_does() {
        let names = |id, name: &str| Names {
            groups: BTreeMap::from([(id, name.to_owned())]),
            ..Names::default()
        };
        let ours = form("etc/passwd", b"b:x:901:901:B:/:/x\na:x:1:1::/:/x\n", &names(901, "b"));
        let judges = form("etc/passwd", b"a:x:1:1::/:/x\nb:x:998:998:B:/:/x\n", &names(998, "b"));
        assert_eq!(ours, judges);
        for other in ["a:x:2:1::/:/x", "a:x:1:1::/:/y", "a:x:1:1::/:/x\nc:x:1::"] {
            let other = format!("{other}\nb:x:998:998:B:/:/x\n");
            assert_ne!(form("etc/passwd", other.as_bytes(), &names(998, "b")), ours, "{other}");
        }
        assert_eq!(form("etc/hosts", b"", &Names::default()), None);
    }

    #[test]
    fn a_password_is_not_taken_for_a_lock() {
        let names = Names::default();
        let form = |text: &str| shadow(text, &names);
        assert_eq!(form("a:!:1::::::\n"), form("a:!*:2::::::\n"));
        assert_ne!(form("a:!:1::::::\n"), form("a::1::::::\n"));
        assert_ne!(form("a:!:1::::::\n"), form("a:*:1::::::\n"));
        assert_eq!(target("/lib/x"), target("/usr/lib/x"));
        assert_ne!(target("/library/x"), target("/usr/library/x"));
    }

    #[test]
    fn a_bundle_is_compared_as_a_set() {
        let pem = |name| format!("-----BEGIN\n{name}\n-----END CERTIFICATE-----\n");
        let form = |text: String| certificates(&text, &Names::default());
        assert_eq!(form(pem("a") + &pem("b")), form(pem("b") + &pem("a")));
        assert_ne!(form(pem("a") + &pem("b")), form(pem("a")));
    }
}
