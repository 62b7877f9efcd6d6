//! passwd(5), group(5), shadow(5) and gshadow(5).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::lines::{Order, UserLine};

/// The day of the last password change, in days since 1970-01-01: never 0, which would ask for a
/// new password at once.
const DAY: u32 = 1;

const NOLOGIN: &str = "/usr/sbin/nologin";

/// One entry of passwd(5), and its line of shadow(5).
pub(super) struct User {
    pub(super) name: String,
    pub(super) id: u32,
    line: String,
}

/// One entry of group(5).
pub(super) struct Group {
    pub(super) name: String,
    pub(super) id: u32,
    password: String,
    members: Vec<String>,
    /// Password, administrators and members of gshadow(5).
    hidden: (String, String, Vec<String>),
}

/// All four files, entries in the order of their lines.
pub(super) struct Database {
    pub(super) users: Vec<User>,
    pub(super) groups: Vec<Group>,
    shadow: Vec<(String, String)>,
}

/// How many users and groups were there before lines added theirs.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    users: usize,
    groups: usize,
}

impl Database {
    /// Reads the texts of passwd, group, shadow and gshadow. Users and groups without a line in
    /// the latter two get one, as pwconv(8) makes it.
    pub(super) fn parse([passwd, group, shadow, gshadow]: &[String; 4]) -> Result<Self> {
        let mut users = Vec::new();
        for line in entries(passwd) {
            let (name, id) = name_and_id(line).with_context(|| format!("passwd: `{line}`"))?;
            users.push(User { name, id, line: line.to_owned() });
        }
        let mut hidden = BTreeMap::new();
        for line in entries(gshadow) {
            let mut fields = line.split(':');
            let mut next = || fields.next().unwrap_or_default().to_owned();
            let (name, password, administrators, members) = (next(), next(), next(), next());
            hidden.insert(name, (password, administrators, list(&members)));
        }
        let mut groups = Vec::new();
        for line in entries(group) {
            let (name, id) = name_and_id(line).with_context(|| format!("group: `{line}`"))?;
            let mut fields = line.split(':').skip(1);
            let password = fields.next().unwrap_or_default().to_owned();
            let members = list(fields.nth(1).unwrap_or_default());
            let hidden =
                hidden.remove(&name).unwrap_or(("*".to_owned(), String::new(), members.clone()));
            groups.push(Group { name, id, password, members, hidden });
        }
        let mut known: Vec<(String, String)> = Vec::new();
        for line in entries(shadow) {
            let name = line.split(':').next().unwrap_or_default();
            known.push((name.to_owned(), line.to_owned()));
        }
        let named: BTreeSet<String> = known.iter().map(|(name, _)| name.clone()).collect();
        for user in users.iter().filter(|user| !named.contains(&user.name)) {
            known.push((user.name.clone(), format!("{}:*:{DAY}:0:99999:7:::", user.name)));
        }
        Ok(Self { users, groups, shadow: known })
    }

    /// Adds a group that nobody is in.
    pub(super) fn add_group(&mut self, name: &str, id: u32) {
        let hidden = ("!*".to_owned(), String::new(), Vec::new());
        let (name, password) = (name.to_owned(), "x".to_owned());
        self.groups.push(Group { name, id, password, members: Vec::new(), hidden });
    }

    /// Adds a user without a password.
    pub(super) fn add_user(&mut self, user: &UserLine, id: u32, group: u32) {
        let home = user.home.as_deref().unwrap_or("/");
        let shell = user.shell.as_deref().unwrap_or(if id == 0 { "/bin/bash" } else { NOLOGIN });
        let UserLine { name, description, .. } = user;
        let line = format!("{name}:x:{id}:{group}:{description}:{home}:{shell}");
        self.users.push(User { name: name.clone(), id, line });
        // `!unprovisioned` lets a later first boot set a password; `!*` never does.
        let password = if name == "root" { "!unprovisioned" } else { "!*" };
        let expires = if user.locked { "1" } else { "" };
        self.shadow.retain(|(other, _)| other != name);
        self.shadow.push((name.clone(), format!("{name}:{password}:{DAY}:::::{expires}:")));
    }

    /// Makes users members of groups; a group that changes has its members sorted.
    pub(super) fn join(&mut self, members: &BTreeMap<String, Vec<String>>) {
        for group in &mut self.groups {
            for user in members.get(&group.name).into_iter().flatten() {
                for list in [&mut group.members, &mut group.hidden.2] {
                    if !list.contains(user) {
                        list.push(user.clone());
                        list.sort();
                    }
                }
            }
        }
    }

    /// Puts what stands behind the first `kept` users and groups in the order of `users` and
    /// `groups`.
    pub(super) fn arrange(&mut self, kept: Kept, users: &Order, groups: &Order) {
        self.users[kept.users..].sort_by_key(|user| users.place(&user.name));
        self.groups[kept.groups..].sort_by_key(|group| groups.place(&group.name));
        let new: BTreeSet<&str> = self.users[kept.users..].iter().map(|u| &*u.name).collect();
        self.shadow.sort_by_key(|(name, _)| new.contains(&**name).then(|| users.place(name)));
    }

    /// How much there is.
    pub(super) fn kept(&self) -> Kept {
        Kept { users: self.users.len(), groups: self.groups.len() }
    }

    /// The texts of passwd, group, shadow and gshadow.
    pub(super) fn texts(&self) -> [String; 4] {
        let lines = |lines: Vec<String>| lines.into_iter().map(|l| l + "\n").collect::<String>();
        let group =
            |g: &Group| format!("{}:{}:{}:{}", g.name, g.password, g.id, g.members.join(","));
        let hidden = |g: &Group| {
            let (password, administrators, members) = &g.hidden;
            format!("{}:{password}:{administrators}:{}", g.name, members.join(","))
        };
        [
            lines(self.users.iter().map(|user| user.line.clone()).collect()),
            lines(self.groups.iter().map(group).collect()),
            lines(self.shadow.iter().map(|(_, line)| line.clone()).collect()),
            lines(self.groups.iter().map(hidden).collect()),
        ]
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn name_and_id(line: &str) -> Result<(String, u32)> {
    let mut fields = line.split(':');
    let name = fields.next().unwrap_or_default().to_owned();
    let id = fields.nth(1).context("too few fields")?;
    Ok((name, id.parse().with_context(|| format!("`{id}` is no id"))?))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
