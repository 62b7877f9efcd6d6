//! nsswitch.conf(5): the distribution's default with the services that packages bring.

use anyhow::{Context, Result, bail};
use store::{Scratch, Tree};

use super::files::{fact, put, text};
use crate::{Change, Generator, Patterns, Point, Purpose};

const FACT: &str = ".facts/nss.json";
const FILE: &str = "etc/nsswitch.conf";
const DEFAULT: &str = "usr/share/*/nsswitch.conf";
const ORIGIN: &str = "generator:nsswitch";

pub(crate) const ROW: Generator = Generator {
    name: "nsswitch",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Installed,
    reads: &[FACT, FILE, DEFAULT],
    writes: &[FACT, FILE],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    let wishes: Option<Vec<String>> = fact(tree, scratch, FACT)?;
    if wishes.is_some() {
        change.remove.push(FACT.to_owned());
    }
    let defaults = Patterns::of(&[DEFAULT]);
    let default = tree.0.keys().find(|path| defaults.matches(path));
    let source = if tree.get(FILE).is_some() { Some(FILE) } else { default.map(String::as_str) };
    let Some(source) = source else { return Ok(change) };
    let mut conf = text(tree, scratch, source)?.with_context(|| format!("`{source}` dangles"))?;
    // Sorted, so that the order in which packages were read does not show.
    let mut wishes = wishes.unwrap_or_default();
    wishes.sort();
    wishes.dedup();
    for wish in &wishes {
        conf = granted(&conf, wish)?;
    }
    put(&mut change, scratch, FILE, conf.as_bytes(), ORIGIN)?;
    Ok(change)
}

/// `conf` with one wish `database position service` granted. A service that is there already, and
/// a neighbour that is not, change nothing: that is how packages ask for it.
fn granted(conf: &str, wish: &str) -> Result<String> {
    let mut words = wish.splitn(3, char::is_whitespace);
    let (Some(database), Some(position), Some(service)) =
        (words.next(), words.next(), words.next().map(str::trim))
    else {
        bail!("`{wish}` is not `database position service`");
    };
    // A service and its reaction are two words in the file: `resolve [!UNAVAIL=return]`.
    let service = match service.split_once('[') {
        Some((name, reaction)) => format!("{} [{reaction}", name.trim_end()),
        None => service.to_owned(),
    };
    let name = service.split_whitespace().next().unwrap_or_default();
    let mut new = String::new();
    for line in conf.split_inclusive('\n') {
        match line.split_once(':') {
            Some((key, rest)) if key == database => {
                let (services, comment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
                let placed = placed(services, position, name, &service)
                    .with_context(|| format!("place the name service `{wish}`"))?;
                new.extend([key, ":", &placed, comment]);
            }
            _ => new.push_str(line),
        }
    }
    Ok(new)
}

/// The services of one line with `service` added, the white space around the others kept.
fn placed(services: &str, position: &str, name: &str, service: &str) -> Result<String> {
    if services.split_whitespace().any(|word| word == name) {
        return Ok(services.to_owned());
    }
    let head = &services[..services.len() - services.trim_start().len()];
    let tail = &services[services.trim_end().len()..];
    let list = services.trim();
    let list = match position.split_once('=') {
        None if position == "first" => format!("{service} {list}"),
        None if position == "last" => format!("{list} {service}"),
        Some(("before", neighbour)) => match place_of(list, neighbour) {
            Some((at, _)) => format!("{}{service} {}", &list[..at], &list[at..]),
            None => list.to_owned(),
        },
        Some(("after", neighbour)) => match place_of(list, neighbour) {
            Some((_, end)) => format!("{} {service}{}", &list[..end], &list[end..]),
            None => list.to_owned(),
        },
        _ => bail!("`{position}` is no position: first, last, before=, after="),
    };
    Ok(format!("{head}{}{tail}", list.trim()))
}

/// Where the word `name` begins, and where it and its reaction in brackets end.
fn place_of(list: &str, name: &str) -> Option<(usize, usize)> {
    let at = list.match_indices(name).map(|(at, _)| at).find(|at| {
        let bounded = |c: Option<char>| c.is_none_or(char::is_whitespace);
        bounded(list[..*at].chars().next_back()) && bounded(list[at + name.len()..].chars().next())
    })?;
    let after = &list[at + name.len()..];
    let reaction = after.trim_start();
    let end = match reaction.strip_prefix('[').and_then(|r| r.find(']')) {
        Some(close) => list.len() - reaction.len() + close + 2,
        None => at + name.len(),
    };
    Some((at, end))
}

#[cfg(any(test, feature = "fuzz"))]
/// Reads a file nsswitch.conf(5) and a wish.
pub(crate) fn fuzz(text: &str) {
    let (conf, wish) = text.split_once("\n\n").unwrap_or((text, text));
    let _ = granted(conf, wish);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    const CONF: &str =
        "# c\npasswd:         files\ngroup: files # note\nhosts:          files dns\n";

    #[test]
    fn services_take_the_place_that_their_packages_ask_for() {
        let sample = Sample::new().file("usr/share/libc-bin/nsswitch.conf", CONF.as_bytes()).file(
            FACT,
            br#"["passwd last systemd","group last systemd","hosts before=dns resolve[!UNAVAIL=return]",
                 "hosts after=files myhostname","hosts after=files myhostname"]"#,
        );
        let tree = sample.run(&ROW).unwrap();
        let expected = "# c\npasswd:         files systemd\ngroup: files systemd # note\n\
            hosts:          files myhostname resolve [!UNAVAIL=return] dns\n";
        assert_eq!(sample.text(&tree, FILE), expected);
    }

    #[test]
    fn a_profiles_own_file_is_the_base_and_its_services_are_not_repeated() {
        let sample = Sample::new()
            .file("usr/share/libc-bin/nsswitch.conf", CONF.as_bytes())
            .file(FILE, b"passwd: systemd files\nhosts: files [NOTFOUND=return] dns\n")
            .file(FACT, br#"["passwd last systemd","hosts after=files a","hosts before=nis b"]"#);
        let tree = sample.run(&ROW).unwrap();
        let expected = "passwd: systemd files\nhosts: files [NOTFOUND=return] a dns\n";
        assert_eq!(sample.text(&tree, FILE), expected);
    }

    #[test]
    fn an_unknown_position_is_an_error() {
        let base = || Sample::new().file(FILE, CONF.as_bytes());
        for wish in [r#"["hosts beside=dns x"]"#, r#"["hosts last"]"#] {
            assert!(base().file(FACT, wish.as_bytes()).run(&ROW).is_err(), "{wish}");
        }
    }
}
