//! The rules of the house that no compiler knows: arrows between crates, doors, words, names.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{cargo, list, read, top};

/// A crate, and the crates of ours that it may use. A spine crate stands on the ground floor.
const ARROWS: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("package", &["store"]),
    ("fetch", &["store", "package"]),
    ("pool", &["store"]),
    ("profile", GROUND),
    ("lock", GROUND),
    ("rootfs", GROUND),
    ("filesystem", GROUND),
    ("verity", GROUND),
    ("boot", GROUND),
    ("sign", GROUND),
    ("disk", GROUND),
    ("release", &["store", "package", "fetch", "inspect"]),
    ("inspect", &[]),
    ("judge", &[]),
    ("fixture", &["store"]),
    ("worker", &["store", "rootfs", "filesystem", "verity", "boot", "disk"]),
    ("hardtack", EVERY),
    ("xtask", &[]),
];

const GROUND: &[&str] = &["store", "package", "fetch"];

const EVERY: &[&str] = &[
    "store",
    "package",
    "fetch",
    "pool",
    "profile",
    "lock",
    "rootfs",
    "filesystem",
    "verity",
    "boot",
    "sign",
    "disk",
    "release",
    "inspect",
    "worker",
];

/// Crates that any crate's tests may use.
const FOR_TESTS: &[&str] = &["judge", "fixture", "inspect"];

/// A dependency with a door, and who stands in it. `xtask` is outside the house.
const DOORS: &[(&str, &[&str])] = &[
    // Making signatures and checking them in finished images are two doors.
    ("aws-lc-rs", &["sign", "inspect"]),
    ("clap", &["hardtack", "xtask"]),
    ("cms", &["sign"]),
    ("der", &["sign"]),
    ("fatfs", &["disk"]),
    ("flate2", &["package", "fetch", "release"]),
    ("gpt", &["disk"]),
    ("indicatif", &["fetch", "hardtack"]),
    ("liblzma", &["package", "fetch", "rootfs"]),
    ("object", &["rootfs", "boot"]),
    ("ostree", &["pool"]),
    // Verifying and making are two doors.
    ("pgp", &["fetch", "sign"]),
    ("rcgen", &["sign"]),
    ("resolvo", &["lock"]),
    ("rustls", &["fetch"]),
    ("serde-saphyr", &["profile"]),
    ("tar", &["package", "xtask"]),
    ("ureq", &["fetch"]),
    ("x509-cert", &["sign"]),
    ("zstd", &["store"]),
];

/// One distribution's words; another distribution must cost one row of a table.
const WORDS: &[&str] = &["deb", "dpkg", "conffile", "conffiles", "essential"];

/// Where these words are at home.
const AT_HOME: &[&str] = &["crates/package/", "crates/lock/src/source", "crates/fixture/"];

/// What a person sees first.
const NAMES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "docs",
    "profiles",
    "xtask",
];

const LINES: usize = 400;
const LINES_AT_MOST: usize = 800;

/// Hosts that sources may name: of specifications and of examples. Never a mirror's.
const HOSTS: &[&str] = &[
    "cyclonedx.org",
    "github.com",
    "in-toto.io",
    "json-schema.org",
    "learn.microsoft.com",
    "slsa.dev",
    "spdx.org",
    "systemd.io",
    "uapi-group.org",
    "www.freedesktop.org",
];

/// Reserved for examples and tests (RFC 2606, RFC 6761).
const RESERVED: &[&str] =
    &["test", "example", "invalid", "localhost", "example.org", "example.com"];

/// A text file of the repository.
struct Source {
    /// Relative to the top, with slashes.
    path: String,
    text: String,
}

/// The verb.
pub(crate) fn tidy() -> Result<()> {
    let metadata =
        read(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let metadata = serde_json::from_slice(&metadata).context("parse `cargo metadata`")?;
    let sources = sources()?;
    let mut wrong = arrows(&metadata);
    wrong.extend(names(&list(&top())?));
    for source in &sources {
        wrong.extend(lints(source));
        wrong.extend(words(source));
        wrong.extend(size(source));
        wrong.extend(addresses(source));
        wrong.extend(places(source, &top()));
        wrong.extend(links(source, &top()));
    }
    for line in &wrong {
        println!("tidy: {line}");
    }
    if !wrong.is_empty() {
        bail!("{} rules of the house are broken", wrong.len());
    }
    println!("tidy: {} files in order", sources.len());
    Ok(())
}

/// Arrows and doors, from what Cargo says of the workspace.
fn arrows(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let nothing = Vec::new();
    let members = metadata["packages"].as_array().unwrap_or(&nothing);
    let ours: Vec<&str> = members.iter().filter_map(|member| member["name"].as_str()).collect();
    for member in members {
        let name = member["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("the crate `{name}` has no row in the table of arrows"));
            continue;
        };
        for dependency in member["dependencies"].as_array().unwrap_or(&nothing) {
            let other = dependency["name"].as_str().unwrap_or_default();
            let testing = dependency["kind"].as_str() == Some("dev");
            let inside = ours.contains(&other);
            if inside && !allowed.contains(&other) && !(testing && FOR_TESTS.contains(&other)) {
                wrong.push(format!("`{name}` may not use `{other}`"));
            }
            let door = DOORS.iter().find(|(behind, _)| *behind == other);
            if let Some((_, keepers)) = door
                && !testing
                && !keepers.contains(&name)
            {
                wrong.push(format!("`{other}` is used by {keepers:?} alone, not by `{name}`"));
            }
        }
    }
    wrong
}

fn names(visible: &[PathBuf]) -> Vec<String> {
    let names = visible.iter().filter_map(|path| path.file_name()?.to_str());
    let names: Vec<&str> = names.filter(|name| !name.starts_with('.')).collect();
    let strangers = names.iter().filter(|name| !NAMES.contains(name) && **name != "target");
    let missing = NAMES.iter().filter(|name| !names.contains(name));
    strangers
        .map(|name| format!("`{name}` has no place at the top level"))
        .chain(missing.map(|name| format!("`{name}` is missing at the top level")))
        .collect()
}

fn lints(source: &Source) -> Option<String> {
    let manifest = source.path.ends_with("/Cargo.toml");
    let bad = manifest && !source.text.contains("[lints]\nworkspace = true");
    bad.then(|| format!("{}: lacks `[lints] workspace = true`", source.path))
}

fn words(source: &Source) -> Vec<String> {
    let code = source.path.starts_with("crates/") && source.path.ends_with(".rs");
    let home = AT_HOME.iter().any(|place| source.path.starts_with(place));
    if !code || home || source.path.contains("/tests/") {
        return Vec::new();
    }
    // Unit tests are at the bottom of a file; samples may be of any distribution.
    let mut wrong = Vec::new();
    let mut before = "";
    for (number, line) in source.text.lines().enumerate() {
        if before == "#[cfg(test)]" && line.contains("mod ") {
            break;
        }
        before = line;
        let mut found = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        if let Some(word) = found.find(|word| WORDS.contains(word)) {
            wrong.push(format!("{}:{}: the word `{word}`", source.path, number + 1));
        }
    }
    wrong
}

fn size(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    if !source.path.ends_with(".rs") || lines <= LINES {
        return None;
    }
    if lines <= LINES_AT_MOST {
        println!("note: {} has {lines} lines (by habit at most {LINES})", source.path);
        return None;
    }
    Some(format!("{} has {lines} lines, more than {LINES_AT_MOST}", source.path))
}

fn addresses(source: &Source) -> Vec<String> {
    // A lock of Cargo names its registry, a licence its publisher.
    if source.path == "Cargo.lock" || source.path.starts_with("LICENSE") {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let starts = line
            .match_indices("://")
            .filter(|(at, _)| line[..*at].ends_with("http") || line[..*at].ends_with("https"));
        for (at, _) in starts {
            let rest = &line[at + 3..];
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && !".-".contains(letter));
            let host = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            let reserved =
                RESERVED.iter().any(|name| host == *name || host.ends_with(&format!(".{name}")));
            let number_of_this_machine = host.starts_with("127.") || host.starts_with("10.0.2.");
            // A name without a dot is nobody's mirror.
            if host.contains('.') && !reserved && !number_of_this_machine && !HOSTS.contains(&host)
            {
                wrong.push(format!("{}:{}: the host `{host}`", source.path, number + 1));
            }
        }
    }
    wrong
}

/// Paths of the machine that this was written on.
fn places(source: &Source, top: &Path) -> Option<String> {
    let here = top.display().to_string();
    let temporary = ["/", "tmp/"].concat();
    let bad = source.text.contains(&format!("{here}/"))
        || (source.path.ends_with(".rs") && source.text.contains(&temporary));
    bad.then(|| format!("{}: names a path of one machine", source.path))
}

/// Relative links of the documentation.
fn links(source: &Source, top: &Path) -> Vec<String> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let folder = Path::new(&source.path).parent().unwrap_or(Path::new(""));
    let mut wrong = Vec::new();
    for piece in source.text.split("](").skip(1) {
        let link = piece.split(')').next().unwrap_or_default();
        let path = link.split('#').next().unwrap_or_default();
        let outside = link.contains("://") || link.starts_with("mailto:");
        if !outside && !path.is_empty() && !top.join(folder).join(path).exists() {
            wrong.push(format!("{}: the link `{link}` leads nowhere", source.path));
        }
    }
    wrong
}

/// Every text of the repository, in order of its path.
fn sources() -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![top()];
    while let Some(folder) = folders.pop() {
        for path in list(&folder)? {
            let relative = path.strip_prefix(top()).unwrap_or(&path).display().to_string();
            if [".git", "target"].contains(&relative.as_str()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push(Source { path: relative, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn workspace(user: &str, used: &str, kind: Option<&str>) -> Vec<String> {
        arrows(&json!({ "packages": [
            { "name": user, "dependencies": [{ "name": used, "kind": kind }] },
            { "name": "verity", "dependencies": [] },
            { "name": "store", "dependencies": [] },
            { "name": "inspect", "dependencies": [] },
        ]}))
    }

    #[test]
    fn neighbours_do_not_know_each_other() {
        assert_eq!(workspace("boot", "store", None).len(), 0);
        assert_eq!(workspace("boot", "verity", None).len(), 1);
        assert_eq!(workspace("boot", "inspect", None).len(), 1);
        assert_eq!(workspace("boot", "inspect", Some("dev")).len(), 0);
        assert_eq!(workspace("boot", "verity", Some("dev")).len(), 1);
        assert_eq!(workspace("store", "package", None).len(), 0, "`package` is not in this sample");
        assert_eq!(workspace("cellar", "store", None).len(), 1);
    }

    #[test]
    fn a_dependency_is_used_through_its_door() {
        assert_eq!(workspace("pool", "ostree", None).len(), 0);
        assert_eq!(workspace("disk", "ostree", None).len(), 1);
    }

    #[test]
    fn a_distribution_s_words_stay_at_home() {
        let text = "let deb = 1;\n#[cfg(test)]\nmod tests { let dpkg = 1; }";
        assert_eq!(words(&source("crates/boot/src/a.rs", text)).len(), 1);
        assert_eq!(words(&source("crates/package/src/a.rs", text)).len(), 0);
        assert_eq!(words(&source("crates/lock/src/source/a.rs", text)).len(), 0);
        assert_eq!(words(&source("crates/boot/src/a.rs", "debug, debian")).len(), 0);
    }

    #[test]
    fn a_mirror_is_no_specification() {
        let bad = ["url: http:", "//mirror.somewhere.net/debian"].concat();
        let bad = source("profiles/a.yaml", &bad);
        assert_eq!(addresses(&bad).len(), 1);
        let good = "see https://systemd.io/X and http://a.test/x, http://127.0.0.1:80";
        assert_eq!(addresses(&source("a.rs", good)).len(), 0);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "[a](Cargo.toml) [b](gone.md#x) [c](#here) [d](https://systemd.io)";
        assert_eq!(links(&source("README.md", text), &top()).len(), 1);
    }

    #[test]
    fn long_files_and_missing_lints_are_found() {
        assert!(size(&source("a.rs", &"\n".repeat(801))).is_some());
        assert!(size(&source("a.rs", &"\n".repeat(700))).is_none());
        assert!(lints(&source("crates/a/Cargo.toml", "[package]")).is_some());
        assert!(lints(&source("crates/a/Cargo.toml", "[lints]\nworkspace = true\n")).is_none());
    }

    #[test]
    fn strangers_at_the_top_level_are_found() {
        let mut visible: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).collect();
        visible.extend([".git".into(), "target".into()]);
        assert_eq!(names(&visible).len(), 0);
        visible.push("notes".into());
        assert_eq!(names(&visible).len(), 1);
        assert_eq!(names(&[]).len(), NAMES.len());
    }
}
