//! Whether list, manifest and directory say the same, and a channel keeps its rules.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use store::{Digest, Epoch};

use super::{COPY, FeedFault, List, Origin, PUBLISH, REFRESH, label, noted};
use crate::{
    CHANNEL_MANIFEST, CHANNEL_SIGNATURE, Channel, Feed, PARTS, Version, check_labels, order,
};

/// Everything that is said about one channel.
pub(super) struct Claims<'a> {
    pub(super) origin: &'a Origin,
    pub(super) feed: &'a Feed,
    pub(super) list: &'a List,
    pub(super) channel: &'a Channel,
    /// The channel that was asked for.
    pub(super) name: &'a str,
}

/// What to do about a file that nobody vouches for.
const REMOVE: &str = "remove it, and look for who put it there";

/// Adds what does not agree to `faults`.
pub(super) fn check(claims: &Claims<'_>, faults: &mut Vec<FeedFault>) {
    let Claims { channel, list, .. } = claims;
    noted(faults, CHANNEL_MANIFEST, REFRESH, names_itself(claims));
    noted(faults, CHANNEL_MANIFEST, REFRESH, times(channel, list.expires));
    for version in &channel.versions {
        let object = label(channel, version);
        noted(faults, &object, PUBLISH, takes(channel, version));
    }
    for pair in channel.versions.windows(2) {
        if let [old, new] = pair {
            let object = label(channel, new);
            noted(faults, &object, PUBLISH, follows(old, new));
        }
    }
    noted(faults, CHANNEL_MANIFEST, PUBLISH, root_hashes(channel));
    listed(claims, faults);
    if let Some(names) = noted(faults, &channel.channel, COPY, claims.origin.names()) {
        present(claims, &names, faults);
    }
}

fn names_itself(claims: &Claims<'_>) -> Result<()> {
    let (said, name) = (&claims.channel.channel, claims.name);
    ensure!(said == name, "it is of channel `{said}`, and lies in `{name}`");
    Ok(())
}

fn times(channel: &Channel, end: Epoch) -> Result<()> {
    let published = Epoch::from_rfc3339(&channel.published).context("its field `published`")?;
    let expires = Epoch::from_rfc3339(&channel.expires).context("its field `expires`")?;
    ensure!(
        published < expires && expires == end,
        "it is of {} and says that it expires at {}, the list's signature ends at {}",
        channel.published,
        channel.expires,
        end.rfc3339()
    );
    Ok(())
}

/// What the channel asks of each version.
fn takes(channel: &Channel, version: &Version) -> Result<()> {
    let name = &version.version;
    check_labels(&channel.product, name)?;
    if let Some(floor) = &channel.floor {
        ensure!(
            order::compare(name, floor).is_ge(),
            "it is below the channel's floor, {floor}, and offered all the same"
        );
    }
    // A client counts a version as there when it has every part.
    let parts: Vec<&str> = version.parts.keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = PARTS.iter().map(|part| part.name).collect();
    ensure!(
        parts.iter().copied().eq(wanted.iter().copied()),
        "it has the parts {}, and a version is {}",
        parts.join(", "),
        wanted.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

fn follows(old: &Version, new: &Version) -> Result<()> {
    ensure!(
        order::compare(&old.version, &new.version).is_lt(),
        "it is not newer (UAPI.10) than {}, which stands before it",
        old.version
    );
    ensure!(
        old.transfers == new.transfers,
        "its transfer files are {}, those of {} are {}: the running version would look incomplete \
         and lose its protection",
        new.transfers.join(", "),
        old.version,
        old.transfers.join(", ")
    );
    Ok(())
}

/// A root hash names partitions: with two versions of one, a disk has a UUID twice.
fn root_hashes(channel: &Channel) -> Result<()> {
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    for version in &channel.versions {
        if let Some(other) = known.insert(&version.root_hash, &version.version) {
            bail!("versions {other} and {} have one root hash", version.version);
        }
    }
    Ok(())
}

/// The list names the manifest's files, the manifest, the markers, and nothing else.
fn listed(claims: &Claims<'_>, faults: &mut Vec<FeedFault>) {
    let Claims { feed, list, channel, .. } = claims;
    let mut left = list.files.clone();
    left.remove(CHANNEL_MANIFEST);
    for file in channel.files() {
        let checked = match left.remove(&file.file) {
            Some(digest) if digest.to_string() == file.sha256 => Ok(()),
            Some(digest) => Err(format!("the list says {digest}, the manifest {}", file.sha256)),
            None if list.files.contains_key(&file.file) => {
                Err("two versions name it as theirs".to_owned())
            }
            None => Err(format!("`{}` does not list it, so no host fetches it", feed.list)),
        };
        noted(faults, &file.file, PUBLISH, checked.map_err(anyhow::Error::msg));
    }
    let empty = Digest::of(b"");
    for marker in (feed.markers)(list.expires) {
        let good = left.remove(&marker) == Some(empty);
        let why = || format!("`{}` does not list it as an empty file", feed.list);
        noted(faults, &marker, REFRESH, good.then_some(()).with_context(why));
    }
    for name in left.keys() {
        let why = match owner(channel, name) {
            Some(version) => format!("a second file for a part of version {version} is listed"),
            None => format!("`{}` lists it, and it is no version's", feed.list),
        };
        noted::<()>(faults, name, PUBLISH, Err(anyhow::Error::msg(why)));
    }
}

/// The version that a client would take a file for.
fn owner<'a>(channel: &'a Channel, name: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(&channel.product)?.strip_prefix('_')?;
    let mut versions = channel.versions.iter().map(|version| version.version.as_str());
    versions.find(|version| {
        rest.strip_prefix(*version).is_some_and(|rest| rest.starts_with(['_', '.', '+']))
    })
}

/// In a directory, every file is listed or a signature.
fn present(claims: &Claims<'_>, names: &[String], faults: &mut Vec<FeedFault>) {
    let Claims { feed, list, .. } = claims;
    for name in names {
        let known = list.files.contains_key(name)
            || name == feed.list
            || name == CHANNEL_SIGNATURE
            || feed.signatures.contains(&name.as_str());
        let why = "it lies in the channel's directory, and nothing signed names it";
        noted(faults, &name.escape_debug().to_string(), REMOVE, known.then_some(()).context(why));
    }
}
