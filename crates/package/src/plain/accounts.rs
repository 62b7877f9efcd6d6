//! Commands that make users and groups, read as lines of sysusers.d(5).

use super::{is_name, is_path, option, split};
use crate::Fact;

/// adduser(8), `--system` alone: other users are people.
pub(super) fn adduser(words: &[&str]) -> Option<Vec<Fact>> {
    let flags = [
        "--system",
        "--group",
        "--quiet",
        "--no-create-home",
        "--disabled-login",
        "--disabled-password",
        "--force-badname",
        "--allow-bad-names",
        "--allow-badname",
        "--allow-all-names",
    ];
    let valued = ["--home", "--gecos", "--comment", "--shell", "--ingroup"];
    let (options, operands) = split(words, &flags, &valued)?;
    let is = |name: &str| option(&options, &[name]).is_some();
    match operands.as_slice() {
        [user, group] if options.iter().all(|(name, _)| *name == "--quiet") => {
            (is_name(user) && is_name(group)).then_some(())?;
            Some(vec![Fact::Users(vec![format!("m {user} {group}")])])
        }
        [name] if is("--system") => {
            let group = match option(&options, &["--ingroup"]) {
                Some(group) => group,
                None if is("--group") => "",
                // adduser.conf(5): USERS_GROUP of system users.
                None => "nogroup",
            };
            let home = option(&options, &["--home"]);
            let makes_home = !is("--no-create-home") && home.is_some_and(|h| h != "/nonexistent");
            account(
                name,
                group,
                option(&options, &["--gecos", "--comment"]),
                home.unwrap_or("/nonexistent"),
                option(&options, &["--shell"]),
                if makes_home { Home::Made } else { Home::Named },
            )
        }
        _ => None,
    }
}

/// useradd(8), `--system` alone.
pub(super) fn useradd(words: &[&str]) -> Option<Vec<Fact>> {
    let flags = ["--system", "-r", "--no-create-home", "-M", "--user-group", "-U"];
    let valued = ["--home-dir", "--home", "-d", "--shell", "-s", "--comment", "-c", "--gid", "-g"];
    let (options, operands) = split(words, &flags, &valued)?;
    let [name] = operands.as_slice() else { return None };
    option(&options, &["--system", "-r"])?;
    let group = option(&options, &["--gid", "-g"]).unwrap_or("");
    let home = option(&options, &["--home-dir", "--home", "-d"]);
    let home = home.map_or_else(|| format!("/home/{name}"), str::to_owned);
    let comment = option(&options, &["--comment", "-c"]);
    // login.defs(5): a system user's home is not made.
    account(name, group, comment, &home, option(&options, &["--shell", "-s"]), Home::Named)
}

enum Home {
    /// Only the account names it.
    Named,
    /// It is made, too.
    Made,
}

/// A line of sysusers.d(5); `group` empty for one of the user's name.
fn account(
    name: &str,
    group: &str,
    comment: Option<&str>,
    home: &str,
    shell: Option<&str>,
    makes: Home,
) -> Option<Vec<Fact>> {
    let comment = comment.unwrap_or("");
    let plain = |c: char| c.is_ascii_alphanumeric() || " .,_()/-+@'".contains(c);
    let shell = shell.unwrap_or("/usr/sbin/nologin");
    let valid = is_name(name)
        && (group.is_empty() || is_name(group))
        && is_path(home)
        && is_path(shell)
        && comment.chars().all(plain);
    valid.then_some(())?;
    let group_id = if group.is_empty() { "-".to_owned() } else { format!("-:{group}") };
    let comment = if comment.is_empty() { "-".to_owned() } else { format!("\"{comment}\"") };
    let mut facts =
        vec![Fact::Users(vec![format!("u {name} {group_id} {comment} {home} {shell}")])];
    if matches!(makes, Home::Made) {
        let group = if group.is_empty() { name } else { group };
        facts.push(Fact::Directory {
            path: home.to_owned(),
            mode: 0o755,
            owner: name.to_owned(),
            group: group.to_owned(),
        });
    }
    Some(facts)
}

/// addgroup(8) and groupadd(8), `--system`.
pub(super) fn group(words: &[&str]) -> Option<Vec<Fact>> {
    let flags =
        ["--system", "-r", "--quiet", "--force", "-f", "--force-badname", "--allow-bad-names"];
    let (options, operands) = split(words, &flags, &[])?;
    let [name] = operands.as_slice() else { return None };
    option(&options, &["--system", "-r"])?;
    is_name(name).then(|| vec![Fact::Users(vec![format!("g {name} -")])])
}
