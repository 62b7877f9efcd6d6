//! A version of a feed as people name it: a channel's directory, or a feed's, and `#VERSION`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use release::{CHANNEL_LIMIT, CHANNEL_MANIFEST, Channel, Version, order};

/// A version that a channel offers. Nobody vouches for what its manifest says but who keeps the
/// feed: its signature is not looked at.
pub(crate) struct Offered {
    /// The channel's directory.
    pub(crate) directory: PathBuf,
    /// The images' id.
    pub(crate) product: String,
    /// What the channel says of the version.
    pub(crate) version: Version,
}

/// Divides `PATH#VERSION`. A path that exists is a path, whatever letters are in it.
pub(crate) fn divide(what: &Path) -> (&Path, Option<&str>) {
    let text = what.to_str().filter(|_| !what.exists());
    match text.and_then(|text| text.rsplit_once('#')) {
        Some((path, version)) => (Path::new(path), Some(version)),
        None => (what, None),
    }
}

/// The version of a channel, the newest where none is named. `directory` is the channel's, or that
/// of a feed with a channel that is meant; `None` where it is neither.
///
/// # Errors
/// The manifest is none, the version is not offered, or more than one channel could be meant.
pub(crate) fn find(directory: &Path, version: Option<&str>) -> Result<Option<Offered>> {
    if is_channel(directory) {
        return choose(directory, version).map(Some);
    }
    let names = channels(directory)?;
    match (names.as_slice(), version) {
        ([], _) => Ok(None),
        ([only], _) => choose(&directory.join(only), version).map(Some),
        (_, None) => bail!("it has the channels {}: name one, `DIR/CHANNEL`", names.join(", ")),
        (_, Some(wanted)) => among(directory, &names, wanted).map(Some),
    }
}

/// Names of the channels of a feed, sorted.
pub(crate) fn channels(feed: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in store::list(feed)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with('.') && is_channel(&path) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn is_channel(directory: &Path) -> bool {
    directory.join(CHANNEL_MANIFEST).is_file()
}

/// The one channel of several that offers a version.
fn among(feed: &Path, names: &[String], wanted: &str) -> Result<Offered> {
    let mut found: Vec<(&str, Offered)> = Vec::new();
    for name in names {
        let directory = feed.join(name);
        let mut channel = read(&directory)?;
        let at = channel.versions.iter().position(|one| one.version == wanted);
        if let Some(at) = at {
            let (version, product) = (channel.versions.swap_remove(at), channel.product);
            found.push((name, Offered { directory, product, version }));
        }
    }
    let offering: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let offering = offering.join(", ");
    match found.len() {
        0 => bail!("none of its channels ({}) offers version `{wanted}`", names.join(", ")),
        1 => found.pop().map(|(_, offered)| offered).context("find the channel"),
        _ => bail!(
            "its channels {offering} offer version `{wanted}`: name one, `DIR/CHANNEL#{wanted}`"
        ),
    }
}

fn choose(directory: &Path, version: Option<&str>) -> Result<Offered> {
    let Channel { product, channel, mut versions, .. } = read(directory)?;
    let names: Vec<&str> = versions.iter().map(|one| one.version.as_str()).collect();
    let at = match version {
        Some(wanted) => names.iter().position(|name| *name == wanted),
        None => (0..names.len()).max_by(|a, b| order::compare(names[*a], names[*b])),
    };
    let Some(at) = at else {
        let offers = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        match version {
            Some(wanted) => bail!("channel `{channel}` offers {offers}, not version `{wanted}`"),
            None => bail!("channel `{channel}` offers {offers}"),
        }
    };
    let version = versions.swap_remove(at);
    Ok(Offered { directory: directory.to_owned(), product, version })
}

fn read(directory: &Path) -> Result<Channel> {
    let path = directory.join(CHANNEL_MANIFEST);
    let bytes = store::bounded(&path, CHANNEL_LIMIT)?;
    let parse = || Channel::parse(std::str::from_utf8(&bytes).context("read it as text")?);
    parse().with_context(|| format!("read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use release::Slots;

    use super::*;

    fn publish(feed: &Path, name: &str, versions: &[&str]) {
        let mut channel = Channel::new("mini", "x86-64", name);
        channel.versions = versions.iter().map(|version| offer(version)).collect();
        fs::create_dir_all(feed.join(name)).unwrap();
        fs::write(feed.join(name).join(CHANNEL_MANIFEST), channel.text().unwrap()).unwrap();
    }

    fn offer(version: &str) -> Version {
        Version {
            version: version.to_owned(),
            epoch: String::new(),
            root_hash: String::new(),
            tool: String::new(),
            loader_sha256: String::new(),
            uki_sha256: String::new(),
            layout: Slots { esp: 1, usr: 1, verity: 1, signature: 1 },
            transfers: Vec::new(),
            parts: Default::default(),
            packages: Default::default(),
            bytes: Default::default(),
        }
    }

    #[test]
    fn a_version_is_found_in_its_channel_and_in_a_feed_where_one_channel_is_meant() {
        let feed = judge::scratch("offered");
        // Whatever the order in the manifest says.
        publish(&feed, "stable", &["1.10", "1.9"]);
        fs::create_dir_all(feed.join(".stable.next")).unwrap();
        let found = |what: &str| -> Result<Option<String>> {
            let what = feed.join(what);
            let (directory, version) = divide(&what);
            Ok(find(directory, version)?.map(|offered| offered.version.version))
        };
        let told = |what: &str| format!("{:#}", found(what).unwrap_err());
        for what in ["stable", "stable#1.10", "#1.10", ""] {
            assert_eq!(found(what).unwrap().as_deref(), Some("1.10"), "{what}");
        }
        assert_eq!(found("stable#1.9").unwrap().as_deref(), Some("1.9"));
        assert!(told("stable#2").contains("channel `stable` offers 1.10, 1.9, not version `2`"));

        publish(&feed, "testing", &["1.10", "2"]);
        publish(&feed, "empty", &[]);
        assert!(told("").contains("the channels empty, stable, testing: name one"));
        assert_eq!(found("#2").unwrap().as_deref(), Some("2"));
        assert!(told("#1.10").contains("channels stable, testing offer version `1.10`: name one"));
        assert!(told("#3").contains("none of its channels (empty, stable, testing) offers"));
        assert!(told("empty").contains("offers nothing"));
        assert!(found("empty#1").is_err() && found("nowhere#1").is_err());
        fs::create_dir_all(feed.join("plain#1")).unwrap();
        assert!(found("plain#1").unwrap().is_none(), "a directory of that name is meant");
        fs::write(feed.join("empty").join(CHANNEL_MANIFEST), "{}").unwrap();
        assert!(told("empty").contains("manifest.json`: read a channel's manifest"));
    }
}
