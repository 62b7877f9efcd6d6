//! Alternatives (update-alternatives(1)): the best provider behind each generic name, by a link
//! that leads straight to it. Nothing is left in `etc/alternatives`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use package::Alternative;
use store::{Entry, Node, Scratch, Tree};

use super::files::{fact, merged, relative};
use super::{Alternatives, BOTH};
use crate::{Change, Generator, Point};

const FACT: &str = ".facts/alternatives.json";
const OLD: &str = "etc/alternatives";
const ORIGIN: &str = "generator:alternatives";

pub(crate) const ROW: Generator = Generator {
    name: "alternatives",
    revision: 1,
    purposes: BOTH,
    point: Point::Installed,
    reads: &[FACT, "etc/alternatives/**", "usr/**"],
    writes: &[FACT, "etc/alternatives/**", "usr/**"],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    change.remove.extend(
        [FACT, OLD].iter().filter(|path| tree.resolve(path).is_some()).map(|p| (*p).to_owned()),
    );
    let Some(Alternatives { offers, chosen }) = fact(tree, scratch, FACT)? else {
        return Ok(change);
    };
    let mut by_name: BTreeMap<&str, Vec<&Alternative>> = BTreeMap::new();
    for offer in &offers {
        by_name.entry(&offer.name).or_default().push(offer);
    }
    if let Some(name) = chosen.keys().find(|name| !by_name.contains_key(name.as_str())) {
        bail!("a profile chooses the alternative `{name}`, which no package offers");
    }
    for (name, offers) in by_name {
        let Some(best) = choose(tree, name, &offers, chosen.get(name))? else { continue };
        link(tree, &mut change, &best.link, &best.path)?;
        for (_, generic, path) in &best.followers {
            link(tree, &mut change, generic, path)?;
        }
    }
    Ok(change)
}

/// The chosen provider, else the one of the highest priority (of equals the first by path) whose
/// program the image has.
fn choose<'a>(
    tree: &Tree,
    name: &str,
    offers: &[&'a Alternative],
    chosen: Option<&String>,
) -> Result<Option<&'a Alternative>> {
    let present = |offer: &&&Alternative| tree.resolve(&merged(&offer.path)).is_some();
    if let Some(chosen) = chosen {
        let same = |offer: &&&Alternative| merged(&offer.path) == merged(chosen);
        let Some(found) = offers.iter().filter(present).find(same) else {
            bail!(
                "a profile chooses `{chosen}` for the alternative `{name}`, which the image lacks"
            );
        };
        return Ok(Some(found));
    }
    let best = offers.iter().filter(present);
    Ok(best.min_by_key(|offer| (-i64::from(offer.priority), &offer.path)).copied())
}

/// Makes `generic` lead to `provider`, unless the provider is missing (a follower, often a manual
/// page) or a package ships a file of its own there.
fn link(tree: &Tree, change: &mut Change, generic: &str, provider: &str) -> Result<()> {
    let (from, to) = (merged(generic), merged(provider));
    let occupied =
        matches!(tree.get(&from), Some(Entry { node: Node::File(_) | Node::Directory, .. }));
    if from == to || occupied || tree.resolve(&to).is_none() {
        return Ok(());
    }
    // The follower of an earlier provider must not stay where this one has none, so links are
    // made only here, never kept from the tree.
    change.add.insert(&from, Entry::symlink(relative(&from, &to), ORIGIN))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Sample, link_at};
    use super::*;

    const OFFERS: &str = r#"{"offers":[
        {"name":"awk","link":"/usr/bin/awk","path":"/usr/bin/mawk","priority":5,
         "followers":[["nawk","/usr/bin/nawk","/usr/bin/mawk"],
                      ["awk.1.gz","/usr/share/man/man1/awk.1.gz","/usr/share/man/man1/mawk.1.gz"]]},
        {"name":"awk","link":"/usr/bin/awk","path":"/usr/bin/gawk","priority":10,"followers":[]},
        {"name":"awk","link":"/usr/bin/awk","path":"/usr/bin/gone","priority":99,"followers":[]},
        {"name":"iptables","link":"/sbin/iptables","path":"/usr/sbin/iptables-nft","priority":20,
         "followers":[]}],"chosen":CHOSEN}"#;

    fn sample(chosen: &str) -> Sample {
        Sample::new()
            .file(FACT, OFFERS.replace("CHOSEN", chosen).as_bytes())
            .file("usr/bin/mawk", b"m")
            .file("usr/bin/gawk", b"g")
            .file("usr/sbin/iptables-nft", b"i")
            .link("etc/alternatives/awk", "/usr/bin/mawk")
    }

    #[test]
    fn the_highest_priority_that_is_there_wins_and_links_are_direct() {
        let tree = sample("{}").run(&ROW).unwrap();
        assert_eq!(link_at(&tree, "usr/bin/awk"), "gawk");
        assert_eq!(link_at(&tree, "usr/sbin/iptables"), "iptables-nft");
        assert!(tree.get("usr/bin/nawk").is_none());
        assert!(tree.resolve("etc/alternatives").is_none() && tree.resolve(".facts").is_none());
    }

    #[test]
    fn a_choice_brings_its_followers_but_no_dangling_ones() {
        let tree = sample(r#"{"awk":"/usr/bin/mawk"}"#).run(&ROW).unwrap();
        assert_eq!(link_at(&tree, "usr/bin/awk"), "mawk");
        assert_eq!(link_at(&tree, "usr/bin/nawk"), "mawk");
        assert!(tree.get("usr/share/man/man1/awk.1.gz").is_none());
    }

    #[test]
    fn a_choice_that_nobody_offers_is_an_error() {
        for chosen in [r#"{"awk":"/usr/bin/original-awk"}"#, r#"{"editor":"/usr/bin/vi"}"#] {
            assert!(sample(chosen).run(&ROW).is_err(), "{chosen}");
        }
    }

    #[test]
    fn a_file_that_a_package_ships_is_kept() {
        let tree = sample("{}").file("usr/bin/awk", b"own").run(&ROW).unwrap();
        assert!(tree.get("usr/bin/awk").unwrap().blob().is_some());
    }
}
