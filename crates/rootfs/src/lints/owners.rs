//! Whoever owns a path, is named by a line of tmpfiles.d(5) or runs a service, is in the image's
//! own `passwd` and `group`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use store::{Owner, Tree};

use super::{Finding, Lint, Lookup, finding, paths, unit_file};
use crate::generators::{files::drop_ins, owners};
use crate::tmpfiles;

pub(super) const ROW: Lint = Lint {
    name: "owner",
    about: "a path, tmpfiles.d line or service of a user or group that the image does not have",
    way_out: "make the user with a line of sysusers.d (`users`), or name another owner",
    run,
};

/// Where a manager of the system reads tmpfiles.d.
pub(super) const TMPFILES: [&str; 2] = ["etc/tmpfiles.d", "usr/lib/tmpfiles.d"];

/// Users and groups by name.
struct Tables {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

fn run(tree: &Tree, lookup: &Lookup<'_, '_>) -> Result<Vec<Finding>> {
    let tables = Tables {
        users: owners::ids(tree, lookup.scratch, "passwd")?,
        groups: owners::ids(tree, lookup.scratch, "group")?,
    };
    let mut found = of_paths(tree, &tables);
    for file in drop_ins(tree, &TMPFILES, ".conf") {
        let Some(entry) = tree.get(&file) else { continue };
        for line in tmpfiles::read(lookup.text(tree, &file)) {
            let strangers = tables.strangers(line.user.as_deref(), line.group.as_deref());
            let problem = |who: String| format!("gives `/{}` to the {who}", line.path);
            found.extend(strangers.into_iter().map(|who| finding(&file, entry, problem(who))));
        }
    }
    found.extend(of_services(tree, lookup, &tables));
    Ok(found)
}

fn of_paths(tree: &Tree, tables: &Tables) -> Vec<Finding> {
    let (users, groups) = (known(&tables.users), known(&tables.groups));
    let mut found = Vec::new();
    for (path, entry) in paths(tree) {
        for (owner, known, names, what) in [
            (&entry.owner, &users, &tables.users, "user"),
            (&entry.group, &groups, &tables.groups, "group"),
        ] {
            let stranger = match owner {
                Owner::Id(id) => (!known.contains(id)).then(|| id.to_string()),
                Owner::Name(name) => (!names.contains_key(name)).then(|| name.clone()),
            };
            let problem =
                |who| format!("belongs to the {what} `{who}`, which the image does not have");
            found.extend(stranger.map(|who| finding(path, entry, problem(who))));
        }
    }
    found
}

fn of_services(tree: &Tree, lookup: &Lookup<'_, '_>, tables: &Tables) -> Vec<Finding> {
    let mut found = Vec::new();
    let places = &unit_file::MANAGERS[0];
    for name in unit_file::names(tree, places) {
        let file = unit_file::file(tree, places, name);
        let Some(file) = file.filter(|_| !unit_file::masked(tree, places, name)) else { continue };
        let settings = unit_file::settings(tree, lookup, places, name, &file);
        // systemd makes such a user when the service starts.
        let dynamic = |key: &str, value: &str| {
            key == "DynamicUser" && matches!(value, "yes" | "true" | "1" | "on")
        };
        if settings.iter().any(|setting| dynamic(&setting.key, &setting.value)) {
            continue;
        }
        for setting in &settings {
            let value = Some(setting.value.as_str()).filter(|value| !value.is_empty());
            let strangers = match setting.key.as_str() {
                "User" | "SocketUser" => tables.strangers(value, None),
                "Group" | "SocketGroup" => tables.strangers(None, value),
                _ => continue,
            };
            let Some(entry) = tree.get(&setting.file) else { continue };
            let problem = |who: String| format!("{}= names the {who}", setting.key);
            found.extend(strangers.into_iter().map(|w| finding(&setting.file, entry, problem(w))));
        }
    }
    found
}

impl Tables {
    /// Which of the two the image does not have; specifiers (`%`) are known to managers alone.
    fn strangers(&self, user: Option<&str>, group: Option<&str>) -> Vec<String> {
        let sides = [("user", user, &self.users), ("group", group, &self.groups)];
        let strangers = sides.into_iter().filter_map(|(what, who, names)| {
            let who = who.filter(|who| !who.contains('%'))?;
            let is_known = match who.parse::<u32>() {
                Ok(id) => known(names).contains(&id),
                Err(_) => names.contains_key(who),
            };
            (!is_known).then(|| format!("{what} `{who}`, which the image does not have"))
        });
        strangers.collect()
    }
}

fn known(names: &BTreeMap<String, u32>) -> BTreeSet<u32> {
    names.values().copied().collect()
}

#[cfg(test)]
mod tests {
    use store::Owner;

    use super::super::testing::Sample;

    #[test]
    fn owners_are_in_the_users_tables_of_the_image() {
        let mut sample = Sample::new("owner");
        sample.file("usr/share/factory/etc/passwd", "root:x:0:0::/:/x\na:x:900:901::/:/x\n", 0o644);
        sample.file("usr/share/factory/etc/group", "root:x:0:\na:x:901:\n", 0o644);
        sample.file("usr/lib/x", "x", 0o644);
        let tmpfiles = "usr/lib/tmpfiles.d/a.conf";
        let service = "usr/lib/systemd/system/a.service";
        let dynamic = "usr/lib/systemd/system/b.service";
        sample.file(tmpfiles, "d /run/a 0755 a 901\nd /run/b - - -\nd /run/c - %u - -\n", 0o644);
        sample.file(service, "[Service]\nUser=a\nGroup=901\n", 0o644);
        sample.file(dynamic, "[Service]\nUser=made\nDynamicUser=yes\n", 0o644);
        let entry = sample.tree.0.get_mut("usr/lib/x").unwrap();
        (entry.owner, entry.group) = (Owner::Id(900), Owner::Id(901));
        assert_eq!(sample.findings(), []);
        let entry = sample.tree.0.get_mut("usr/lib/x").unwrap();
        (entry.owner, entry.group) = (Owner::Id(901), Owner::Name("b".to_owned()));
        sample.file(tmpfiles, "d /run/a 0755 a b\nd /run/b - 7 -\n", 0o644);
        sample.file(service, "[Service]\nUser=c\n", 0o644);
        sample.says("owner", "usr/lib/x", "the user `901`");
        sample.says("owner", "usr/lib/x", "the group `b`");
        sample.says("owner", tmpfiles, "gives `/run/a` to the group `b`");
        sample.says("owner", tmpfiles, "gives `/run/b` to the user `7`");
        sample.says("owner", service, "User= names the user `c`");
        assert_eq!(sample.findings().len(), 5);
    }
}
