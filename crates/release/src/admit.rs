//! Whether a channel takes a version.

use std::cmp::Ordering;

use anyhow::{Result, bail, ensure};

use crate::channel::{Channel, KERNELS, Version};
use crate::forecast::forecast;
use crate::order;

/// What becomes of a version that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new; what people should know first.
    New {
        /// In words.
        warnings: Vec<String>,
    },
    /// The channel has the very same bytes already.
    Known,
}

/// Asks whether `channel` takes the version `new` of a product for an architecture. The sizes and
/// digests of the contents of its parts must be known; its files need not be written yet.
///
/// # Errors
/// It must not be published here, and why.
pub fn admit(
    channel: &Channel,
    product: &str,
    architecture: &str,
    new: &Version,
) -> Result<Admission> {
    let name = &new.version;
    for (what, here, there) in [
        ("of product", channel.product.as_str(), product),
        ("for architecture", channel.architecture.as_str(), architecture),
    ] {
        ensure!(
            here == there,
            "channel `{}` is {what} `{here}`, the release is {what} `{there}`: give it a feed or a \
             channel of its own",
            channel.channel
        );
    }
    if let Some(floor) = &channel.floor {
        ensure!(
            order::compare(name, floor).is_ge(),
            "version `{name}` is older than the channel's floor `{floor}`: no host would take it"
        );
    }
    for known in &channel.versions {
        if known.version == *name {
            if is_same(known, new) {
                return Ok(Admission::Known);
            }
            bail!(
                "version `{name}` is published with other bytes ({}): hosts that have it would \
                 never get these; give the image another version",
                difference(known, new)
            );
        }
        ensure!(
            order::compare(&known.version, name).is_ne(),
            "version `{name}` is neither newer nor older than `{}`: the client cannot tell them \
             apart; give the image another version",
            known.version
        );
        ensure!(
            known.root_hash != new.root_hash,
            "version `{name}` has the root hash of `{}`, {}: in two slots of one disk they would \
             be partitions with one UUID; bake it with its own version",
            known.version,
            known.root_hash
        );
        check_fit(known, new)?;
    }
    check_transfers(channel, new)?;
    Ok(Admission::New { warnings: warnings(channel, new) })
}

/// The same content for every part, for the same slots.
fn is_same(known: &Version, new: &Version) -> bool {
    let contents = |version: &Version| -> Vec<(String, u64, String)> {
        let parts = version.parts.iter();
        parts.map(|(n, p)| (n.clone(), p.content_size, p.content_sha256.clone())).collect()
    };
    known.layout == new.layout && contents(known) == contents(new)
}

/// What differs, for people.
fn difference(known: &Version, new: &Version) -> String {
    let parts = new.parts.iter().filter(|(name, part)| {
        known.parts.get(*name).is_none_or(|old| old.content_sha256 != part.content_sha256)
    });
    let names: Vec<&str> = parts.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { "another layout".to_owned() } else { names.join(", ") }
}

/// A host keeps the slots that it was installed with.
fn check_fit(known: &Version, new: &Version) -> Result<()> {
    let slots = known.layout;
    for (part, slot) in
        [("usr", slots.usr), ("usr-verity", slots.verity), ("uki", slots.esp / KERNELS)]
    {
        let size = new.parts.get(part).map_or(0, |part| part.content_size);
        ensure!(
            size <= slot,
            "part `{part}` of version `{}` has {size} bytes, and a host that was installed with \
             `{}` has {slot} for it: ship less, or start a new channel",
            new.version,
            known.version
        );
    }
    ensure!(
        slots.signature == new.layout.signature,
        "version `{}` has a signature partition of {} bytes and `{}` one of {}: what is written \
         must fill the slot; keep `layout.signature` as it was",
        new.version,
        new.layout.signature,
        known.version,
        slots.signature
    );
    Ok(())
}

/// The client counts a version as installed when it has all that its transfer files name; with
/// another set in the next version, the running one looks incomplete and may be overwritten.
fn check_transfers(channel: &Channel, new: &Version) -> Result<()> {
    let other = |known: &&Version| known.transfers != new.transfers;
    if let Some(known) = channel.versions.iter().rev().find(other) {
        let floor = channel.floor.as_deref().unwrap_or_default();
        ensure!(
            order::compare(floor, &new.version) == Ordering::Equal,
            "version `{0}` has the transfer files {1:?}, `{2}` has {3:?}: another set leaves the \
             running version without protection; set `updates.floor: \"{0}\"` so that every host \
             goes through it",
            new.version,
            new.transfers,
            known.version,
            known.transfers
        );
    }
    Ok(())
}

fn warnings(channel: &Channel, new: &Version) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(newest) = channel.versions.last() {
        if order::compare(&new.version, &newest.version).is_lt() {
            warnings.push(format!(
                "version `{}` is older than `{}` of the same channel: no host takes it",
                new.version, newest.version
            ));
        }
        if newest.loader_sha256 != new.loader_sha256 {
            warnings.push(format!(
                "the boot loader is not that of version `{}`: the update client never renews it, \
                 so installed hosts keep theirs until their disks are written anew",
                newest.version
            ));
        }
    }
    let mut all = channel.versions.clone();
    all.push(new.clone());
    all.sort_by(|a, b| order::compare(&a.version, &b.version));
    warnings.extend(forecast(&all).iter().map(ToString::to_string));
    warnings
}

impl Channel {
    /// Adds a version in its place.
    pub fn insert(&mut self, new: Version) {
        self.versions.push(new);
        self.versions.sort_by(|a, b| order::compare(&a.version, &b.version));
    }

    /// Raises the floor, never lowers it, and takes out the versions below it; gives their names.
    pub fn raise_floor(&mut self, floor: &str) -> Vec<String> {
        let known = self.floor.as_deref();
        if known.is_some_and(|known| order::compare(known, floor).is_ge()) {
            return Vec::new();
        }
        self.floor = Some(floor.to_owned());
        let below = |version: &Version| order::compare(&version.version, floor).is_lt();
        self.versions.extract_if(.., |version| below(version)).map(|old| old.version).collect()
    }

    /// Takes a version out.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn retire(&mut self, version: &str) -> Result<()> {
        let known: Vec<&str> = self.versions.iter().map(|known| known.version.as_str()).collect();
        ensure!(
            known.contains(&version),
            "channel `{}` has no version `{version}`; it has {}",
            self.channel,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        self.versions.retain(|known| known.version != version);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{PartFile, Slots};

    /// A version whose contents follow from `seed`.
    fn version(name: &str, seed: &str) -> Version {
        let part = |part: &str| {
            let file = PartFile {
                file: format!("{part}-{name}"),
                size: 0,
                sha256: String::new(),
                content_size: 10,
                content_sha256: format!("{part} {seed}"),
            };
            (part.to_owned(), file)
        };
        Version {
            version: name.to_owned(),
            epoch: String::new(),
            root_hash: format!("root {seed}"),
            tool: String::new(),
            loader_sha256: "loader".to_owned(),
            uki_sha256: seed.to_owned(),
            layout: Slots { esp: 1000, usr: 100, verity: 100, signature: 10 },
            transfers: vec!["50-a.transfer".to_owned()],
            parts: ["usr", "usr-verity", "usr-verity-sig", "uki"].map(part).into(),
            packages: Default::default(),
            bytes: Default::default(),
        }
    }

    fn channel(names: &[&str]) -> Channel {
        let mut channel = Channel::new("mini", "x86-64", "stable");
        names.iter().for_each(|name| channel.insert(version(name, name)));
        channel
    }

    fn ask(channel: &Channel, new: &Version) -> Result<Vec<String>> {
        match admit(channel, "mini", "x86-64", new)? {
            Admission::New { warnings } => Ok(warnings),
            Admission::Known => Ok(vec!["known".to_owned()]),
        }
    }

    fn refused(channel: &Channel, new: &Version, why: &str) {
        let error = ask(channel, new).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn versions_stand_in_their_order_and_a_new_one_is_taken() {
        let channel = channel(&["1.10", "1.9", "1.9~rc1"]);
        let names: Vec<&str> = channel.versions.iter().map(|one| one.version.as_str()).collect();
        assert_eq!(names, ["1.9~rc1", "1.9", "1.10"]);
        assert!(ask(&channel, &version("1.11", "x")).unwrap().is_empty());
    }

    #[test]
    fn the_same_bytes_again_are_known_and_other_bytes_of_a_version_are_refused() {
        let channel = channel(&["1", "2"]);
        assert_eq!(ask(&channel, &version("2", "2")).unwrap(), ["known"]);
        refused(&channel, &version("2", "x"), "published with other bytes (uki, usr,");
        let mut larger = version("2", "2");
        larger.layout.usr += 1;
        refused(&channel, &larger, "another layout");
    }

    #[test]
    fn v1_a_second_version_with_a_known_root_hash_is_refused() {
        let mut new = version("3", "x");
        new.root_hash = "root 1".to_owned();
        refused(&channel(&["1", "2"]), &new, "has the root hash of `1`");
    }

    #[test]
    fn a_version_that_the_client_cannot_tell_from_another_is_refused() {
        refused(&channel(&["1.0"]), &version("1.00", "x"), "neither newer nor older");
    }

    #[test]
    fn another_product_and_another_architecture_are_refused() {
        let channel = channel(&["1"]);
        let new = version("2", "x");
        for (product, architecture, why) in
            [("maxi", "x86-64", "of product `mini`"), ("mini", "arm64", "for architecture")]
        {
            let error = admit(&channel, product, architecture, &new).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_floor_refuses_what_is_below_it_and_is_never_lowered() {
        let mut channel = channel(&["1", "2", "3"]);
        assert_eq!(channel.raise_floor("2"), ["1"]);
        assert!(channel.raise_floor("1").is_empty());
        assert_eq!(channel.floor.as_deref(), Some("2"));
        refused(&channel, &version("1.5", "x"), "older than the channel's floor `2`");
        ask(&channel, &version("2.5", "x")).unwrap();
    }

    #[test]
    fn u6_another_set_of_transfer_files_needs_a_floor_at_that_version() {
        let mut channel = channel(&["1", "2"]);
        let mut new = version("3", "x");
        new.transfers.push("80-more.transfer".to_owned());
        refused(&channel, &new, "set `updates.floor: \"3\"`");
        channel.floor = Some("2".to_owned());
        refused(&channel, &new, "80-more");
        channel.floor = Some("3".to_owned());
        ask(&channel, &new).unwrap();
    }

    #[test]
    fn u5_a_signature_of_another_size_and_a_part_beyond_an_old_slot_are_refused() {
        let channel = channel(&["1"]);
        let mut new = version("2", "x");
        new.layout.signature = 20;
        refused(&channel, &new, "signature partition of 20 bytes");
        let mut new = version("2", "x");
        new.layout.usr = 200;
        if let Some(part) = new.parts.get_mut("usr") {
            part.content_size = 101;
        }
        refused(&channel, &new, "has 101 bytes, and a host that was installed with `1` has 100");
    }

    #[test]
    fn another_loader_an_old_version_and_growth_are_told() {
        let channel = channel(&["1", "2"]);
        let mut new = version("1.5", "x");
        new.loader_sha256 = "another".to_owned();
        let told = ask(&channel, &new).unwrap();
        assert!(told[0].contains("no host takes it") && told[1].contains("never renews it"));
        let mut new = version("3", "x");
        if let Some(part) = new.parts.get_mut("usr") {
            part.content_size = 60;
        }
        let told = ask(&channel, &new).unwrap();
        assert!(told[0].starts_with("part `usr` grows"), "{told:?}");
    }

    #[test]
    fn a_version_is_taken_out_by_its_name_alone() {
        let mut channel = channel(&["1", "2"]);
        let error = channel.retire("3").unwrap_err().to_string();
        assert!(error.ends_with("it has 1, 2"), "{error}");
        channel.retire("1").unwrap();
        assert!(channel.version("1").is_none() && channel.version("2").is_some());
    }
}
