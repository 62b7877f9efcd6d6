//! Users and groups from `sysusers.d(5)`, as systemd-sysusers(8) makes them.
//!
//! Two things differ, on purpose. Lines are put in a canonical order before ids are given, so
//! that shuffled lines give the same ids; and an id that any line pins is never given to a
//! line that lets the machine choose. The day of the last password change is a constant.
//! The order of entries is systemd's: that of the lines, and groups of users behind the others.

mod database;
mod lines;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use store::{Entry, Owner, Scratch, Tree};

use self::database::Database;
use self::lines::{GroupLine, Id, Lines, Order, Said, UserGroup, UserLine};
use super::BOTH;
use super::files::{drop_ins, put, text};
use crate::{Change, Generator, Patterns, Point};

const ORIGIN: &str = "generator:users";
const DIRECTORIES: [&str; 3] = ["etc/sysusers.d", "run/sysusers.d", "usr/lib/sysusers.d"];
const FILES: [&str; 4] = ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"];

/// Ids that are given where no line pins one, the highest first (`SYS_UID_MAX` down).
const CHOSEN: std::ops::RangeInclusive<u32> = 1..=999;

pub(crate) const ROW: Generator = Generator {
    name: "users",
    revision: 3,
    purposes: BOTH,
    point: Point::Installed,
    reads: &[
        "etc/sysusers.d/*",
        "usr/lib/sysusers.d/*",
        "usr/share/*/passwd.master",
        "usr/share/*/group.master",
        "etc/passwd",
        "etc/group",
        "etc/shadow",
        "etc/gshadow",
    ],
    writes: &[
        "etc/passwd",
        "etc/passwd-",
        "etc/group",
        "etc/group-",
        "etc/shadow",
        "etc/shadow-",
        "etc/gshadow",
        "etc/gshadow-",
    ],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut lines = Lines::default();
    for file in drop_ins(tree, &DIRECTORIES, ".conf") {
        let text = text(tree, scratch, &file)?.unwrap_or_default();
        lines.read(&text).with_context(|| format!("read users from `{file}`"))?;
    }
    let mut database = Database::parse(&base(tree, scratch)?)?;
    if lines.is_empty() && database.users.is_empty() && database.groups.is_empty() {
        return Ok(Change::default());
    }
    allocate(lines, &mut database)?;
    let mut change = Change::default();
    let shadow = database.groups.iter().find(|group| group.name == "shadow");
    let shadow = shadow.map_or(Owner::ROOT, |group| Owner::Id(group.id));
    for (path, text) in FILES.iter().zip(database.texts()) {
        put(&mut change, scratch, path, text.as_bytes(), ORIGIN)?;
        if let Some(entry) = change.add.0.get_mut(*path)
            && path.ends_with("shadow")
        {
            *entry = Entry { mode: 0o640, group: shadow.clone(), ..entry.clone() };
        }
    }
    Ok(change)
}

/// The four files to begin with: those of the tree, else the distribution's masters, where `*`
/// stands for a password that is kept elsewhere.
fn base(tree: &Tree, scratch: &Scratch<'_>) -> Result<[String; 4]> {
    let mut files = <[String; 4]>::default();
    for (text_of, path) in files.iter_mut().zip(FILES) {
        if let Some(found) = text(tree, scratch, path)? {
            *text_of = found;
            continue;
        }
        let pattern = Patterns::of(&[&format!("usr/share/*/{}.master", &path["etc/".len()..])]);
        if let Some(master) = tree.0.keys().find(|path| pattern.matches(path)) {
            let master = text(tree, scratch, master)?.unwrap_or_default();
            *text_of = master.lines().map(|line| line.replacen(":*:", ":x:", 1) + "\n").collect();
        }
    }
    Ok(files)
}

/// Ids given while lines become entries.
struct Ids {
    /// User ids in use, by whom.
    users: BTreeMap<u32, String>,
    /// Group ids in use, by whom.
    groups: BTreeMap<u32, String>,
    /// Ids that some line pins.
    pinned: BTreeSet<u32>,
    /// Where ids that nobody pins come from, the highest last.
    free: Vec<u32>,
}

impl Ids {
    /// Whether a new user `name` may have `id`; with `strict` no group of another name may.
    fn user_may(&self, id: u32, name: &str, strict: bool) -> bool {
        !self.users.contains_key(&id)
            && (!strict || self.groups.get(&id).is_none_or(|other| other == name))
    }

    fn group_may(&self, id: u32, name: &str, strict: bool) -> bool {
        !self.groups.contains_key(&id)
            && (!strict || self.users.get(&id).is_none_or(|other| other == name))
    }

    /// The next id that neither a user nor a group of another name has, and no line pins.
    fn next(&mut self, name: &str, may: fn(&Self, u32, &str, bool) -> bool) -> Result<u32> {
        while let Some(id) = self.free.pop() {
            if !self.pinned.contains(&id) && may(self, id, name, true) {
                return Ok(id);
            }
        }
        bail!("no system id is left for `{name}`")
    }
}

/// Turns lines into entries of `database`.
fn allocate(lines: Lines, database: &mut Database) -> Result<()> {
    let Lines { users, groups, members, ranges, said } = lines;
    let by_id = |entries: Vec<(u32, String)>| entries.into_iter().collect::<BTreeMap<_, _>>();
    let pinned = users.values().filter_map(|user| user.id.number());
    let pinned = pinned.chain(groups.values().filter_map(|group| group.id.number())).collect();
    let free: BTreeSet<u32> =
        if ranges.is_empty() { CHOSEN.collect() } else { ranges.into_iter().flatten().collect() };
    let mut ids = Ids {
        users: by_id(database.users.iter().map(|user| (user.id, user.name.clone())).collect()),
        groups: by_id(database.groups.iter().map(|group| (group.id, group.name.clone())).collect()),
        pinned,
        free: free.into_iter().collect(),
    };
    let made: BTreeSet<String> = users.keys().chain(groups.keys()).cloned().collect();
    let mut queued: BTreeMap<String, u32> = BTreeMap::new();
    let implied_groups = members.keys().filter(|group| !made.contains(*group));
    let implied_groups: Vec<GroupLine> =
        implied_groups.map(|name| GroupLine { name: name.clone(), id: Id::Any }).collect();
    let all: BTreeSet<&String> = members.values().flatten().collect();
    let implied_users = all.into_iter().filter(|user| !users.contains_key(*user));
    let implied_users: Vec<UserLine> = implied_users.map(|name| UserLine::implied(name)).collect();

    let (users_in_order, groups_in_order) = order(said, &members, &made);
    let kept = database.kept();
    for group in canonical(groups.into_values().chain(implied_groups), |g| (&g.id, &g.name)) {
        add_group(&group.name, &group.id, None, &mut ids, database, &mut queued)?;
    }
    for user in canonical(users.into_values().chain(implied_users), |u| (&u.id, &u.name)) {
        add_user(&user, &mut ids, database, &mut queued)
            .with_context(|| format!("make the user `{}`", user.name))?;
    }
    database.arrange(kept, &users_in_order, &groups_in_order);
    database.join(&members);
    Ok(())
}

/// The order in which systemd-sysusers (257, `add_implicit` and `process_item`) writes users and
/// groups: lines come first, then what only `m` lines name, then the users' own groups.
fn order(
    said: Said,
    members: &BTreeMap<String, Vec<String>>,
    made: &BTreeSet<String>,
) -> (Order, Order) {
    let Said { mut users, mut groups, joined } = said;
    for group in joined.names() {
        members.get(group).into_iter().flatten().for_each(|user| users.say(user));
        if !made.contains(group) {
            groups.say(group);
        }
    }
    users.names().iter().for_each(|user| groups.say(user));
    (users, groups)
}

/// Lines with an id first, by id, then the others; of equals by name.
fn canonical<T>(lines: impl Iterator<Item = T>, key: fn(&T) -> (&Id, &String)) -> Vec<T> {
    let mut lines: Vec<T> = lines.collect();
    lines.sort_by(|a, b| key(a).cmp(&key(b)));
    lines
}

/// The id of the group `name`, which is made unless it is there. `like` is the id of the user
/// that it belongs to.
fn add_group(
    name: &str,
    wanted: &Id,
    like: Option<u32>,
    ids: &mut Ids,
    database: &mut Database,
    queued: &mut BTreeMap<String, u32>,
) -> Result<u32> {
    if let Some(group) = database.groups.iter().find(|group| group.name == name) {
        return Ok(group.id);
    }
    let wished = wanted.number().filter(|id| ids.group_may(*id, name, false));
    let wished = wished.or_else(|| like.filter(|id| ids.group_may(*id, name, true)));
    let id = match wished {
        Some(id) => id,
        None => ids.next(name, Ids::group_may)?,
    };
    ids.groups.insert(id, name.to_owned());
    queued.insert(name.to_owned(), id);
    database.add_group(name, id);
    Ok(id)
}

fn add_user(
    user: &UserLine,
    ids: &mut Ids,
    database: &mut Database,
    queued: &mut BTreeMap<String, u32>,
) -> Result<()> {
    let pinned = user.id.number();
    // A user whose group is somebody else's need not keep clear of a group with its number.
    let (group, strict) = match &user.group {
        UserGroup::Id(id) => match ids.groups.contains_key(id) {
            true => (*id, false),
            false => bail!("its group {id} does not exist"),
        },
        UserGroup::Name(name) => match queued.get(name) {
            Some(id) => (*id, false),
            None => match database.groups.iter().find(|group| group.name == *name) {
                Some(group) => (group.id, false),
                None => bail!("its group `{name}` does not exist"),
            },
        },
        UserGroup::Own => match queued.get(&user.name) {
            Some(id) => (*id, false),
            None => (add_group(&user.name, &Id::Any, pinned, ids, database, queued)?, true),
        },
    };
    if database.users.iter().any(|other| other.name == user.name) {
        return Ok(());
    }
    let wished = pinned.filter(|id| ids.user_may(*id, &user.name, strict));
    let id = match wished.or_else(|| Some(group).filter(|id| ids.user_may(*id, &user.name, true))) {
        Some(id) => id,
        None => ids.next(&user.name, Ids::user_may)?,
    };
    ids.users.insert(id, user.name.clone());
    database.add_user(user, id, group);
    Ok(())
}

#[cfg(any(test, feature = "fuzz"))]
/// Reads lines of sysusers.d(5), and a database whose four files are `text`.
pub(crate) fn fuzz(text: &str) {
    let mut lines = Lines::default();
    if lines.read(text).is_ok()
        && let Ok(mut database) = Database::parse(&Default::default())
    {
        let _ = allocate(lines, &mut database);
    }
    let all = [text, text, text, text].map(str::to_owned);
    if let Ok(database) = Database::parse(&all) {
        let _ = database.texts();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    const MASTERS: [(&str, &str); 2] = [
        ("usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n"),
        ("usr/share/base-passwd/group.master", "root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n"),
    ];

    fn made(confs: &[(&str, &str)]) -> Result<Vec<String>> {
        let mut sample = Sample::new();
        for (path, text) in MASTERS.iter().chain(confs) {
            sample = sample.file(path, text.as_bytes());
        }
        let tree = sample.run(&ROW)?;
        Ok(FILES.iter().map(|path| sample.text(&tree, path)).collect())
    }

    const LINES: [&str; 6] =
        ["u zed -", "g aaa 998", "m zed render", "u bob 997:nogroup", "u! ann -", "g x -"];

    #[test]
    fn any_order_of_lines_gives_the_same_ids() {
        let forth = LINES.join("\n");
        let back: String = LINES.iter().rev().flat_map(|line| [*line, "\n"]).collect();
        let entries = |text: &str| {
            let files = made(&[("usr/lib/sysusers.d/a.conf", text)]).unwrap();
            let sorted = |file: String| {
                let lines: BTreeSet<&str> = file.lines().collect();
                lines.into_iter().collect::<Vec<_>>().join("\n")
            };
            files.into_iter().map(sorted).collect::<Vec<_>>()
        };
        let (a, b) = (entries(&forth), entries(&back));
        assert_eq!(a, b);
        assert!(a[1].contains("aaa:x:998:") && a[0].contains("bob:x:997:65534::/:/usr"), "{a:?}");
    }

    #[test]
    fn entries_stand_in_the_order_of_the_lines() {
        let (first, second) = ("u first 200\ng gfirst 201\n", LINES.join("\n"));
        let files = [("usr/lib/sysusers.d/b.conf", &*second), ("usr/lib/sysusers.d/a.conf", first)];
        let made = made(&files).unwrap();
        let names = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect()
        };
        let users = ["root", "first", "zed", "bob", "ann"];
        let groups =
            ["root", "shadow", "nogroup", "gfirst", "aaa", "x", "render", "first", "zed", "ann"];
        assert_eq!(names(&made[0]), users);
        assert_eq!(names(&made[1]), groups);
        assert_eq!(names(&made[2]), users);
        assert_eq!(names(&made[3]), groups);
    }

    #[test]
    fn a_pin_wins_over_the_packages_own_line_and_over_chosen_ids() {
        let files = made(&[
            ("usr/lib/sysusers.d/00-ids.conf", "u sshd 906:65534\ng input 999\n"),
            ("usr/lib/sysusers.d/openssh.conf", "u sshd -:nogroup \"sshd user\" /run/sshd\n"),
            ("usr/lib/sysusers.d/udev.conf", "g input -\ng aaa -\n"),
        ])
        .unwrap();
        assert!(files[0].contains("sshd:x:906:65534::/:/usr/sbin/nologin\n"), "{}", files[0]);
        assert!(files[1].contains("input:x:999:\n") && files[1].contains("aaa:x:998:\n"));
    }

    #[test]
    fn every_user_of_the_base_has_a_shadow_line_of_a_constant_day() {
        let files = made(&[]).unwrap();
        assert_eq!(files[2], "root:*:1:0:99999:7:::\n");
        assert_eq!(files[3], "root:*::\nshadow:*::\nnogroup:*::\n");
    }

    #[test]
    fn two_lines_of_one_file_that_disagree_are_an_error() {
        for lines in ["u a 900\nu a 901\n", "g a 900\ng a -\n", "u a 900:nope\n", "u a 900:4242\n"]
        {
            assert!(made(&[("usr/lib/sysusers.d/a.conf", lines)]).is_err(), "{lines}");
        }
    }

    #[test]
    fn shadow_files_are_for_the_group_shadow_alone() {
        let mut sample = Sample::new();
        for (path, text) in MASTERS {
            sample = sample.file(path, text.as_bytes());
        }
        let tree = sample.run(&ROW).unwrap();
        for path in ["etc/shadow", "etc/gshadow"] {
            let entry = tree.get(path).unwrap();
            assert_eq!((entry.mode, &entry.group), (0o640, &Owner::Id(42)), "{path}");
        }
    }
}
