//! `hardtack publish`: a release becomes a version of a feed's channel.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use release::{
    Admission, CHANNEL_MANIFEST, CHANNEL_SIGNATURE, Candidate, Channel, FEEDS, Held, Next, Offer,
    PARTS, PartFile, Version, admit, gzip,
};
use sign::{Directory, Form, Request, Role, Signer};
use store::{Blob, Epoch, Hasher};

use crate::args::Publish;
use crate::fault::{Fault, Or as _};
use crate::{hand_over, offered, print, say};

/// The channel, and for how long a list is signed, where neither command line nor release says.
const CHANNEL: &str = "stable";
const VALID: u32 = 30 * 24 * 60 * 60;

/// Publishes, signs again, or takes out.
pub(crate) fn publish(arguments: &Publish) -> Result<()> {
    let at = moment(arguments.at.as_deref()).fault(Fault::Profile)?;
    let keys = open_keys(arguments).fault(Fault::Sign)?;
    match (&arguments.what.release, &arguments.what.retire) {
        (Some(release), _) => add(arguments, release, at, &keys),
        (None, Some(version)) => {
            let channel = arguments.channel.as_deref().unwrap_or(CHANNEL);
            change(arguments, channel, at, &keys, &mut |channel| channel.retire(version))
        }
        (None, None) => {
            let all = match &arguments.channel {
                Some(channel) => vec![channel.clone()],
                None => offered::channels(&arguments.feed).fault(Fault::Feed)?,
            };
            if all.is_empty() {
                let place = arguments.feed.display();
                return Err(anyhow::anyhow!("feed `{place}` has no channel")).fault(Fault::Feed);
            }
            all.iter().try_for_each(|one| change(arguments, one, at, &keys, &mut |_| Ok(())))
        }
    }
}

fn add(arguments: &Publish, release: &Path, at: Epoch, keys: &Directory) -> Result<()> {
    let candidate = Candidate::read(release)
        .with_context(|| format!("look at release `{}`", release.display()))
        .fault(Fault::Image)?;
    check(&candidate, keys, arguments).fault(Fault::Feed)?;
    let Candidate { manifest, version, .. } = &candidate;
    let offer = manifest.offer.clone();
    let said = offer.as_ref().map(|offer| offer.channel.as_str());
    let name = arguments.channel.as_deref().or(said).unwrap_or(CHANNEL);
    let held = Held::open(&arguments.feed, name).fault(Fault::Output)?;
    let present = present(&held, keys).fault(Fault::Feed)?;
    let new = || Channel::new(&manifest.id, &manifest.architecture, name);
    let mut channel = present.unwrap_or_else(new);
    let floor = offer.as_ref().and_then(|offer| offer.floor.clone());
    for below in floor.map(|floor| channel.raise_floor(&floor)).unwrap_or_default() {
        say(&format!("note: version `{below}` is below the floor and no longer offered"));
    }
    let admitted = admit(&channel, &manifest.id, &manifest.architecture, version);
    match admitted.fault(Fault::Feed)? {
        Admission::Known => {
            print(&format!(
                "version {} is in `{}` already",
                version.version,
                held.path().display()
            ));
            return Ok(());
        }
        Admission::New { warnings } => {
            warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        }
    }
    let valid = valid(arguments, offer.as_ref(), None).fault(Fault::Profile)?;
    let next = held.begin().fault(Fault::Output)?;
    keep(&channel, &next).fault(Fault::Feed)?;
    channel.insert(write_version(&candidate, &next).fault(Fault::Output)?);
    sign_and_finish(channel, at, valid, keys, &held, next)
}

/// Signs the channel again, changed by `edit`; no file of a version is written.
fn change(
    arguments: &Publish,
    name: &str,
    at: Epoch,
    keys: &Directory,
    edit: &mut dyn FnMut(&mut Channel) -> Result<()>,
) -> Result<()> {
    if !arguments.feed.join(name).is_dir() {
        let place = arguments.feed.display();
        return Err(anyhow::anyhow!("feed `{place}` has no channel `{name}`")).fault(Fault::Feed);
    }
    let held = Held::open(&arguments.feed, name).fault(Fault::Output)?;
    let known = present(&held, keys).fault(Fault::Feed)?;
    let mut channel = known.context("the channel is gone").fault(Fault::Feed)?;
    edit(&mut channel).fault(Fault::Feed)?;
    let valid = valid(arguments, None, Some(&channel)).fault(Fault::Profile)?;
    let next = held.begin().fault(Fault::Output)?;
    keep(&channel, &next).fault(Fault::Feed)?;
    sign_and_finish(channel, at, valid, keys, &held, next)
}

/// What no channel takes.
fn check(candidate: &Candidate, keys: &Directory, arguments: &Publish) -> Result<()> {
    let manifest = &candidate.manifest;
    ensure!(
        !manifest.development || arguments.development_keys_are_fine_for_this_feed,
        "release `{} {}` is signed with development keys, which anybody may have: bake it with \
         keys of your own",
        manifest.id,
        manifest.version
    );
    if let Some(script) = manifest.unreviewed_scripts.first() {
        bail!(
            "release `{} {}` has {} maintainer scripts that nobody has reviewed, the first is \
             `{script}`: acknowledge them in the profile or write rules, and bake it without \
             `--unreviewed-scripts warn`",
            manifest.id,
            manifest.version,
            manifest.unreviewed_scripts.len()
        );
    }
    ensure!(
        candidate.is_signed_by(&keys.certificate(Role::Boot)?),
        "the kernel image of `{} {}` is signed by {}, which is not the db certificate of the keys \
         (--keys): no host of this channel would start it, and some would stop at a prompt",
        manifest.id,
        manifest.version,
        candidate.signers()
    );
    Ok(())
}

fn open_keys(arguments: &Publish) -> Result<Directory> {
    let keys = keys(arguments.keys.as_deref())?;
    let directory = Directory::open(&keys)?;
    ensure!(
        !directory.development() || arguments.development_keys_are_fine_for_this_feed,
        "`{}` holds development keys, and whoever has them can put any version into a feed: name \
         others with --keys (for a trial: --development-keys-are-fine-for-this-feed)",
        keys.display()
    );
    Ok(directory)
}

/// Where keys are when nobody works with a store.
pub(crate) fn keys(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(keys) => Ok(keys.to_owned()),
        None => Ok(hand_over::cache_directory()?.join("keys")),
    }
}

/// The present state of a channel, if it has one; what it lists was signed by these keys.
///
/// Otherwise publishing would vouch for whatever somebody else put there. A signature is made from
/// bytes and times alone, so that making it again shows whether it is ours.
fn present(held: &Held, keys: &dyn Signer) -> Result<Option<Channel>> {
    let place = held.path();
    let Some(bytes) = held.manifest()? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).context("read the channel's manifest as text")?;
    let channel = Channel::parse(text).with_context(|| format!("read `{}`", place.display()))?;
    let (published, expires) = times(&channel)?;
    let valid = expires.0.checked_sub(published.0).and_then(|valid| u32::try_from(valid).ok());
    let valid = valid.context("the channel's manifest expires before it was published")?;
    let signature = sign(keys, CHANNEL_MANIFEST, &bytes, published, valid)?;
    ensure!(
        held.file(CHANNEL_SIGNATURE)? == signature,
        "`{}` was not signed by the release key of these keys (--keys), or was changed since: \
         publishing would vouch for it",
        place.join(CHANNEL_MANIFEST).display()
    );
    Ok(Some(channel))
}

fn times(channel: &Channel) -> Result<(Epoch, Epoch)> {
    let read = |text: &str| Epoch::from_rfc3339(text).context("read the channel's manifest");
    Ok((read(&channel.published)?, read(&channel.expires)?))
}

/// Takes over the files of every version.
fn keep(channel: &Channel, next: &Next<'_>) -> Result<()> {
    channel.files().try_for_each(|file| next.keep(&file.file, file.size))
}

/// Writes the files of a version, and reads on the way what the client will write.
fn write_version(candidate: &Candidate, next: &Next<'_>) -> Result<Version> {
    let mut version = candidate.version.clone();
    for part in PARTS {
        let file = version.parts.get_mut(part.name).context("the release lacks a part")?;
        let mut from = Tally { from: candidate.open(part)?, hasher: Hasher::new() };
        let written = next.write(&file.file, &mut |to| match part.compressed {
            true => gzip(&mut from, to),
            false => io::copy(&mut from, to).map(drop).context("copy a part"),
        })?;
        let content = from.hasher.finish();
        let wanted = (file.content_size, &file.content_sha256);
        ensure!(
            (content.size, &content.digest.to_string()) == wanted,
            "the image changed while part `{}` was copied: is a build running?",
            part.name
        );
        (file.size, file.sha256) = (written.size, written.digest.to_string());
    }
    Ok(version)
}

/// Bytes that are hashed as they are read.
struct Tally<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Read for Tally<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Writes manifest, lists and signatures, and puts the channel's next state in place.
fn sign_and_finish(
    mut channel: Channel,
    at: Epoch,
    valid: u32,
    keys: &dyn Signer,
    held: &Held,
    next: Next<'_>,
) -> Result<()> {
    let expires = Epoch(at.0.saturating_add(u64::from(valid)));
    channel.published = at.rfc3339();
    channel.expires = expires.rfc3339();
    let text = channel.text()?;
    let signature = sign(keys, CHANNEL_MANIFEST, text.as_bytes(), at, valid).fault(Fault::Sign)?;
    let manifest = put(&next, CHANNEL_MANIFEST, text.as_bytes()).fault(Fault::Output)?;
    put(&next, CHANNEL_SIGNATURE, &signature).fault(Fault::Output)?;
    let named = |file: &PartFile| (file.file.clone(), file.sha256.clone());
    let mut files: BTreeMap<String, String> = channel.files().map(named).collect();
    files.insert(CHANNEL_MANIFEST.to_owned(), manifest.digest.to_string());
    for feed in FEEDS {
        for marker in (feed.markers)(expires) {
            put(&next, &marker, b"").fault(Fault::Output)?;
        }
        let list = (feed.text)(&feed.listed(&files, expires));
        put(&next, feed.list, list.as_bytes()).fault(Fault::Output)?;
        let signature = sign(keys, feed.list, list.as_bytes(), at, valid).fault(Fault::Sign)?;
        for name in feed.signatures {
            put(&next, name, &signature).fault(Fault::Output)?;
        }
    }
    next.finish().fault(Fault::Output)?;
    let versions: Vec<&str> = channel.versions.iter().map(|one| one.version.as_str()).collect();
    print(&format!(
        "`{}` offers {} {}, signed until {}",
        held.path().display(),
        channel.product,
        if versions.is_empty() { "nothing".to_owned() } else { versions.join(", ") },
        channel.expires
    ));
    Ok(())
}

fn put(next: &Next<'_>, name: &str, bytes: &[u8]) -> Result<Blob> {
    next.write(name, &mut |to: &mut dyn Write| to.write_all(bytes).context("write a small file"))
}

fn sign(keys: &dyn Signer, name: &str, bytes: &[u8], at: Epoch, valid: u32) -> Result<Vec<u8>> {
    let form = Form::OpenPgp { bytes: bytes.to_vec(), created: at, expires: Some(valid) };
    let request = Request { name: name.to_owned(), role: Role::Release, form };
    let signature = keys.sign(std::slice::from_ref(&request))?;
    Ok(signature.into_iter().next().context("no signature came back")?.0)
}

/// For how many seconds a list is signed: as the command line says, the release, or the channel
/// before.
fn valid(arguments: &Publish, offer: Option<&Offer>, channel: Option<&Channel>) -> Result<u32> {
    if let Some(text) = &arguments.valid {
        return profile::seconds(text).context("option --valid");
    }
    if let Some(offer) = offer {
        return Ok(offer.valid);
    }
    let Some(channel) = channel else { return Ok(VALID) };
    let (published, expires) = times(channel)?;
    u32::try_from(expires.0.saturating_sub(published.0)).context("measure the channel's time")
}

/// When signatures say that they were made, or are asked whether they hold.
pub(crate) fn moment(at: Option<&str>) -> Result<Epoch> {
    if let Some(text) = at {
        return Epoch::from_rfc3339(text).context("option --at");
    }
    #[expect(clippy::disallowed_methods, reason = "a signature's lifetime counts from now")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(Epoch(since.as_secs()))
}
