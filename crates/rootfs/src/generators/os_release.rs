//! os-release(5): the image's id and version beside the distribution's fields.

use anyhow::{Context, Result, bail};
use store::{Entry, Scratch, Tree};

use super::Image;
use super::files::{fact, put, text};
use crate::{Change, Generator, Point, Purpose};

const FACT: &str = ".facts/image.json";
const FILE: &str = "usr/lib/os-release";
const LINK: &str = "etc/os-release";
const INITRD_LINK: &str = "etc/initrd-release";
const TARGET: &str = "../usr/lib/os-release";
const ORIGIN: &str = "generator:os-release";

pub(crate) const ROW: Generator = Generator {
    name: "os-release",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Image,
    reads: &[FACT, FILE, LINK],
    writes: &[FACT, FILE, LINK],
    run,
};

/// The same for an initrd, which systemd knows by `etc/initrd-release` (os-release(5)).
pub(crate) const INITRD_ROW: Generator = Generator {
    name: "initrd-release",
    revision: 1,
    purposes: &[Purpose::Initrd],
    point: Point::Image,
    reads: &[FACT, FILE, LINK, INITRD_LINK],
    writes: &[FACT, FILE, LINK, INITRD_LINK],
    run: run_initrd,
};

fn run_initrd(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = run(tree, scratch)?;
    change.add.insert(INITRD_LINK, Entry::symlink(TARGET, ORIGIN))?;
    Ok(change)
}

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    let Some(image) = fact::<Image>(tree, scratch, FACT)? else { return Ok(change) };
    let old = text(tree, scratch, FILE)?.with_context(|| format!("the tree has no `{FILE}`"))?;
    put(&mut change, scratch, FILE, release(&old, &image)?.as_bytes(), ORIGIN)?;
    change.add.insert(LINK, Entry::symlink(TARGET, ORIGIN))?;
    change.remove.push(FACT.to_owned());
    Ok(change)
}

/// The distribution's lines, the image's own fields last. Whatever the distribution leaves out,
/// a loader finds `ID`, `VERSION_ID`, `PRETTY_NAME`, `IMAGE_ID` and `IMAGE_VERSION`.
fn release(old: &str, image: &Image) -> Result<String> {
    let ours = |key: &str| {
        matches!(key, "IMAGE_ID" | "IMAGE_VERSION") || key == "PRETTY_NAME" && image.name.is_some()
    };
    let mut new = String::new();
    for line in old.lines() {
        if !line.split_once('=').is_some_and(|(key, _)| ours(key.trim())) {
            new.extend([line, "\n"]);
        }
    }
    let has = |key: &str| old.lines().any(|line| line.split('=').next() == Some(key));
    if !has("ID") {
        new += "ID=linux\n";
    }
    if !has("VERSION_ID") {
        new += &format!("VERSION_ID={}\n", quoted("version", &image.version)?);
    }
    match &image.name {
        Some(name) => new += &format!("PRETTY_NAME={}\n", quoted("name", name)?),
        None if !has("PRETTY_NAME") => {
            new += &format!("PRETTY_NAME={}\n", quoted("id", &image.id)?);
        }
        None => {}
    }
    new += &format!("IMAGE_ID={}\n", quoted("id", &image.id)?);
    new += &format!("IMAGE_VERSION={}\n", quoted("version", &image.version)?);
    Ok(new)
}

/// A value as a shell reads it back: plain where it may be, else in double quotes.
fn quoted(what: &str, value: &str) -> Result<String> {
    if value.chars().any(|c| c.is_control()) {
        bail!("the image's {what} `{}` holds a control character", value.escape_debug());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ',');
    if !value.is_empty() && value.chars().all(plain) {
        return Ok(value.to_owned());
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    Ok(quoted + "\"")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Sample, link_at};
    use super::*;

    fn sample(release: &str, image: &str) -> Sample {
        Sample::new().file(FILE, release.as_bytes()).file(FACT, image.as_bytes())
    }

    #[test]
    fn the_image_is_named_once_and_the_rest_is_kept() {
        let sample = sample(
            "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=\"13\"\nIMAGE_ID=x\n",
            r#"{"id":"mini","version":"20261125.00.0"}"#,
        );
        let tree = sample.run(&ROW).unwrap();
        let expected = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=\"13\"\n\
            IMAGE_ID=mini\nIMAGE_VERSION=20261125.00.0\n";
        assert_eq!(sample.text(&tree, FILE), expected);
        assert_eq!(link_at(&tree, "etc/os-release"), "../usr/lib/os-release");
        assert!(tree.get(FACT).is_none());
    }

    #[test]
    fn a_testing_release_without_version_id_gets_one() {
        let sample = sample("ID=debian\n", r#"{"id":"m","version":"7","name":"A \"$B\""}"#);
        let tree = sample.run(&ROW).unwrap();
        let expected = "ID=debian\nVERSION_ID=7\nPRETTY_NAME=\"A \\\"\\$B\\\"\"\nIMAGE_ID=m\n\
            IMAGE_VERSION=7\n";
        assert_eq!(sample.text(&tree, FILE), expected);
    }

    #[test]
    fn an_initrd_is_marked_as_one() {
        let sample = sample("ID=debian\n", r#"{"id":"m","version":"7"}"#);
        let tree = sample.run(&INITRD_ROW).unwrap();
        assert_eq!(tree.resolve(INITRD_LINK).as_deref(), Some(FILE));
        assert!(sample.run(&ROW).unwrap().get(INITRD_LINK).is_none());
    }

    #[test]
    fn a_line_break_in_a_name_cannot_add_a_field() {
        let sample = sample("ID=debian\n", r#"{"id":"m","version":"7","name":"A\nID=evil"}"#);
        assert!(sample.run(&ROW).is_err());
    }
}
