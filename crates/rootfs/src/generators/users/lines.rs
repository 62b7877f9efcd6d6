//! The lines of sysusers.d(5).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail};

use crate::lines::words;

/// The highest id that is a user's: the next two have meanings of their own (user-group ids are
/// 32 bits, and 65535 and 4294967295 stand for "none").
const HIGHEST: u32 = u32::MAX - 1;

/// An id as a line gives it. Pinned ids sort first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    /// This number.
    Pinned(u32),
    /// Whatever is free.
    Any,
}

impl Id {
    pub(super) fn number(&self) -> Option<u32> {
        match self {
            Self::Pinned(id) => Some(*id),
            Self::Any => None,
        }
    }
}

/// The primary group of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UserGroup {
    /// One of the user's name.
    Own,
    /// This one, which must exist.
    Id(u32),
    /// This one, which must exist or be made by another line.
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserLine {
    pub(super) name: String,
    pub(super) id: Id,
    pub(super) group: UserGroup,
    pub(super) description: String,
    pub(super) home: Option<String>,
    pub(super) shell: Option<String>,
    /// `u!`: the account is locked, not only without a password.
    pub(super) locked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupLine {
    pub(super) name: String,
    pub(super) id: Id,
}

/// Names in the order in which lines first say them.
#[derive(Clone, Debug, Default)]
pub(super) struct Order(BTreeMap<String, usize>);

impl Order {
    pub(super) fn say(&mut self, name: &str) {
        let place = self.0.len();
        self.0.entry(name.to_owned()).or_insert(place);
    }

    /// The names.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<(usize, &str)> = self.0.iter().map(|(n, at)| (*at, &**n)).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// Where a name stands; nothing of a name that nobody said.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }
}

/// All lines; of two files that name one user or group the first wins.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    pub(super) users: BTreeMap<String, UserLine>,
    pub(super) groups: BTreeMap<String, GroupLine>,
    /// Group to its members.
    pub(super) members: BTreeMap<String, Vec<String>>,
    pub(super) ranges: Vec<RangeInclusive<u32>>,
    pub(super) said: Said,
}

/// In which order lines say what they say.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) users: Order,
    pub(super) groups: Order,
    /// Groups that get members.
    pub(super) joined: Order,
}

impl UserLine {
    /// A user that only an `m` line names.
    pub(super) fn implied(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: Id::Any,
            group: UserGroup::Own,
            description: String::new(),
            home: None,
            shell: None,
            locked: false,
        }
    }
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.members.is_empty()
    }

    /// Reads one file. What earlier files say stands; two lines of this file that disagree are an
    /// error, since nothing but their order could decide.
    pub(super) fn read(&mut self, text: &str) -> Result<()> {
        let mut here = Self::default();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            here.line(line).with_context(|| format!("line {}: `{line}`", i + 1))?;
        }
        for (name, user) in here.users {
            self.users.entry(name).or_insert(user);
        }
        for (name, group) in here.groups {
            self.groups.entry(name).or_insert(group);
        }
        for (group, users) in here.members {
            self.members.entry(group).or_default().extend(users);
        }
        let Said { users, groups, joined } = &here.said;
        users.names().iter().for_each(|name| self.said.users.say(name));
        groups.names().iter().for_each(|name| self.said.groups.say(name));
        joined.names().iter().for_each(|name| self.said.joined.say(name));
        self.ranges.extend(here.ranges);
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let words = words(line)?;
        if words.len() > 6 {
            bail!("more than six fields");
        }
        let field =
            |i: usize| words.get(i).map(String::as_str).filter(|w| !w.is_empty() && *w != "-");
        let kind = field(0).context("no type")?;
        if words.iter().any(|word| word.contains('%')) {
            bail!("specifiers (`%`) are about the machine that runs, and are not known here");
        }
        match kind {
            "u" | "u!" => {
                let name = valid(field(1).context("no name")?)?;
                let (id, group) = user_id(field(2))?;
                let user = UserLine {
                    name: name.clone(),
                    id,
                    group,
                    description: field(3).unwrap_or_default().to_owned(),
                    home: field(4).map(str::to_owned),
                    shell: field(5).map(str::to_owned),
                    locked: kind == "u!",
                };
                if let Some(home) = &user.home
                    && !home.starts_with('/')
                {
                    bail!("the home `{home}` is not absolute");
                }
                if user.description.contains([':', '\n']) {
                    bail!("the description holds a colon");
                }
                self.said.users.say(&name);
                agree(&mut self.users, name, user)
            }
            "g" => {
                let name = valid(field(1).context("no name")?)?;
                let id = match field(2) {
                    None => Id::Any,
                    Some(path) if path.starts_with('/') => Id::Any,
                    Some(id) => Id::Pinned(number(id)?),
                };
                self.said.groups.say(&name);
                agree(&mut self.groups, name.clone(), GroupLine { name, id })
            }
            "m" => {
                let user = valid(field(1).context("no user")?)?;
                let group = valid(field(2).context("no group")?)?;
                self.said.joined.say(&group);
                self.members.entry(group).or_default().push(user);
                Ok(())
            }
            "r" => {
                let range = field(2).context("no range")?;
                let (low, high) = range.split_once('-').unwrap_or((range, range));
                let (low, high) = (number(low)?, number(high)?);
                if low > high || high - low > 65_536 {
                    bail!("`{range}` is no range");
                }
                self.ranges.push(low..=high);
                Ok(())
            }
            other => bail!("`{other}` is no type of line: u, u!, g, m, r"),
        }
    }
}

fn agree<T: PartialEq>(known: &mut BTreeMap<String, T>, name: String, new: T) -> Result<()> {
    match known.get(&name) {
        Some(old) if *old != new => bail!("an earlier line says otherwise of `{name}`"),
        _ => {
            known.insert(name, new);
            Ok(())
        }
    }
}

/// `-`, `id`, `id:gid`, `id:group`, `-:group`, `/path`. The owner of a path is known on a running
/// machine alone; it is as if nothing were said.
fn user_id(field: Option<&str>) -> Result<(Id, UserGroup)> {
    let Some(field) = field.filter(|field| !field.starts_with('/')) else {
        return Ok((Id::Any, UserGroup::Own));
    };
    let (id, group) = match field.split_once(':') {
        None => (field, UserGroup::Own),
        Some((id, group)) if group.bytes().all(|b| b.is_ascii_digit()) => {
            (id, UserGroup::Id(number(group)?))
        }
        Some((id, group)) => (id, UserGroup::Name(valid(group)?)),
    };
    Ok((if id == "-" { Id::Any } else { Id::Pinned(number(id)?) }, group))
}

fn number(text: &str) -> Result<u32> {
    let id = text.parse().with_context(|| format!("`{text}` is no id"))?;
    if id > HIGHEST || id == 65_535 {
        bail!("{id} stands for \"no user\"");
    }
    Ok(id)
}

/// A name as systemd takes it in its strict mode: letters, digits, `_` and `-`, 31 at most.
fn valid(name: &str) -> Result<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let first = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    if name.len() > 31 || !name.bytes().all(good) || !name.as_bytes().first().is_some_and(first) {
        bail!("`{name}` is no name of a user or group");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lines_are_refused_and_named() {
        let hostile = [
            "u a:b -",
            "u root 4294967295",
            "g x 65535",
            "q x",
            "u a - \"x:y\"",
            "u a - x relative/home",
            "u %m -",
            "r - 9-1",
            "u 0day -",
            "u a - b /c /d e",
        ];
        for line in hostile {
            let error = format!("{:#}", Lines::default().read(line).unwrap_err());
            assert!(error.contains("line 1"), "{line}: {error}");
        }
    }
}
