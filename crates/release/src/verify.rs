//! A channel of a feed, verified from outside: what a host would see, and what it would not.
//!
//! Nothing is written, and nothing is read before somebody vouched for it: the list by its
//! signature, then the manifest by its own and the list, then every file by both. What they hold
//! is read back with `inspect`, which shares no code with what made them.

mod agree;
mod content;
mod origin;
mod sums;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};
use fetch::{Keyring, Opened, Sealed};
use store::{Digest, Epoch};

use crate::{CHANNEL_LIMIT, CHANNEL_MANIFEST, CHANNEL_SIGNATURE, Channel, FEEDS, Feed, Version};

pub use origin::Origin;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use sums::read_sums;

/// Whom a verifier trusts.
pub struct Trust {
    /// Keys that sign lists.
    pub keyring: Keyring,
    /// The certificate (DER) by which the firmware of the channel's hosts starts a kernel.
    pub certificate: Vec<u8>,
}

/// What a channel holds, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Verified {
    /// The channel in one line; empty where its manifest is not to be trusted.
    pub about: String,
    /// Everything that is wrong; the channel is good when there is nothing.
    pub faults: Vec<FeedFault>,
}

/// One thing that is wrong with a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFault {
    /// The name of a file, or of a version.
    pub object: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub way_out: &'static str,
}

impl fmt::Display for FeedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.why, self.way_out)
    }
}

/// The most bytes of a list: what systemd's clients read of it (`pull-common.c`).
const LIST_LIMIT: u64 = 1 << 20;

/// What to do about what cannot be had at all.
const HAVE: &str = "look whether the feed's address and the channel's name are right, and whether \
                    the server has it whole";
/// What to do about a list or a manifest that is not what was signed.
const COPY: &str = "copy the channel's directory again from where it was published, and look for \
                    who changed it";
/// What to do about a signature that is too old, or has no end.
const REFRESH: &str = "sign the channel again with `hardtack publish FEED --refresh`";
/// What to do about what contradicts itself although it is signed.
const PUBLISH: &str = "take the version out with `hardtack publish FEED --retire VERSION`, and \
                       publish it from a release that is whole";

/// Verifies the channel `name` as of `now`. `seen` gets a line for each version, as it is ready.
pub fn verify(
    origin: &Origin,
    name: &str,
    trust: &Trust,
    now: Epoch,
    seen: &mut dyn FnMut(&str),
) -> Verified {
    let mut verified = Verified::default();
    for feed in FEEDS {
        let faults = &mut verified.faults;
        let Some(list) = list(origin, feed, trust, now, faults) else { continue };
        let read = manifest(origin, &list.files, trust);
        let Some(channel) = noted(faults, CHANNEL_MANIFEST, COPY, read) else { continue };
        agree::check(&agree::Claims { origin, feed, list: &list, channel: &channel, name }, faults);
        for version in &channel.versions {
            let found = content::check(origin, &channel, version, &trust.certificate);
            seen(&content::line(version, &found));
            faults.extend(found);
        }
        verified.about = format!(
            "{} for {}, channel {}, {} versions, signed until {}",
            channel.product,
            channel.architecture,
            channel.channel,
            channel.versions.len(),
            list.expires.rfc3339()
        );
    }
    verified
}

/// A list that is signed and has not expired.
struct List {
    files: BTreeMap<String, Digest>,
    expires: Epoch,
}

/// Reads the list under each name of its signature.
fn list(
    origin: &Origin,
    feed: &Feed,
    trust: &Trust,
    now: Epoch,
    faults: &mut Vec<FeedFault>,
) -> Option<List> {
    let mut first: Option<Opened> = None;
    for name in feed.signatures {
        let sealed = origin.sealed(feed.list, name, LIST_LIMIT);
        // Whether it has expired is asked below, and said in its own words.
        let open = |sealed: Sealed| {
            let about = || format!("check the signature `{name}`");
            sealed.open(&trust.keyring, Epoch(0)).with_context(about)
        };
        let Some(first) = &first else {
            let sealed = noted(faults, feed.list, HAVE, sealed)?;
            first = Some(noted(faults, feed.list, COPY, open(sealed))?);
            continue;
        };
        noted(faults, name, REFRESH, sealed.and_then(open).and_then(|other| same(first, &other)));
    }
    let Opened { content, expires, .. } = first?;
    let expires = noted(faults, feed.list, REFRESH, fresh(expires, now))?;
    let files = noted(faults, feed.list, COPY, sums::read_sums(&content))?;
    Some(List { files, expires })
}

/// Some clients ask for one name of the signature and some for another; all see one channel.
fn same(one: &Opened, other: &Opened) -> Result<()> {
    ensure!(
        one == other,
        "what it signs, who signs or until when differs from the first signature"
    );
    Ok(())
}

fn fresh(expires: Option<Epoch>, now: Epoch) -> Result<Epoch> {
    let expires = expires.context("its signature has no end: it could be played back for ever")?;
    ensure!(
        expires > now,
        "its signature expired at {}, and it is {}: every host refuses the channel",
        expires.rfc3339(),
        now.rfc3339()
    );
    Ok(expires)
}

/// Reads the manifest, which its own signature and the list vouch for.
fn manifest(origin: &Origin, listed: &BTreeMap<String, Digest>, trust: &Trust) -> Result<Channel> {
    let sealed = origin.sealed(CHANNEL_MANIFEST, CHANNEL_SIGNATURE, CHANNEL_LIMIT)?;
    let about = || format!("check the signature `{CHANNEL_SIGNATURE}`");
    let content = sealed.open(&trust.keyring, Epoch(0)).with_context(about)?.content;
    let digest = Digest::of(&content);
    ensure!(
        listed.get(CHANNEL_MANIFEST) == Some(&digest),
        "it is signed, but not the one that the list names: it is of another day"
    );
    Channel::parse(std::str::from_utf8(&content).context("read it as text")?)
}

/// What a version is called on a disk.
fn label(channel: &Channel, version: &Version) -> String {
    format!("{}_{}", channel.product, version.version)
}

/// The value, or nothing and a fault more.
fn noted<T>(
    faults: &mut Vec<FeedFault>,
    object: &str,
    way_out: &'static str,
    tried: Result<T>,
) -> Option<T> {
    match tried {
        Ok(value) => Some(value),
        Err(error) => {
            let fault =
                FeedFault { object: format!("`{object}`"), why: format!("{error:#}"), way_out };
            faults.push(fault);
            None
        }
    }
}
