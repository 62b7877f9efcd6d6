//! `hardtack why`: where a path comes from, who wants a package, which rules had a say.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lock::{Locked, Trust};
use package::Id;
use profile::{Profile, UnitState};
use release::{MANIFEST, Manifest};
use rootfs::{IMPORT, Inventory, Item, Patterns, Rule};
use store::Store;

use crate::args::Why;
use crate::assemble::{HOST, INITRD};
use crate::fault::{Fault, Or as _};
use crate::plan::Plan;
use crate::wants::{self, Chain};
use crate::{assemble, hand_over, inputs, print};

/// Where an image keeps what `/etc` shows.
const FACTORY_ETC: &str = "usr/share/factory/etc/";

/// Everything that an answer is read from.
struct Asked {
    plan: Plan,
    store: Store,
    inventory: Option<Inventory>,
    /// Where the inventory was looked for.
    output: PathBuf,
}

/// Answers on standard output.
pub(crate) fn why(arguments: &Why) -> Result<()> {
    let of = &arguments.of;
    let (root, locks) = hand_over::places(&of.places)?;
    let plan = inputs::settled(of, &locks)?;
    let store = Store::open(&root, hand_over::development_salt()?).fault(Fault::Output)?;
    let output = arguments.output.clone().unwrap_or_else(|| PathBuf::from(&plan.host.id));
    let inventory = inventory(&output).fault(Fault::Output)?;
    let asked = Asked { plan, store, inventory, output };
    let what = arguments.what.as_str();
    let named = asked.locked(what).is_some() || asked.plan.rules.packages.contains_key(what);
    let answer = if named || !what.contains('/') {
        asked.package(what)
    } else {
        asked.path(what.trim_start_matches('/').trim_end_matches('/'))
    };
    print(answer.fault(Fault::Profile)?.trim_end());
    Ok(())
}

/// The inventory that a build left in `output`, where there was one.
fn inventory(output: &Path) -> Result<Option<Inventory>> {
    let manifest = output.join(MANIFEST);
    if !manifest.exists() {
        return Ok(None);
    }
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))
    };
    let manifest = Manifest::parse(&read(&manifest)?)?;
    let mut names = manifest.artifacts.keys();
    let name = names.find(|name| name.ends_with(".inventory.json"));
    let path = output.join(name.context("find the inventory among the artifacts")?);
    let text = read(&path)?;
    let inventory = store::decode(text.as_bytes());
    Ok(Some(inventory.with_context(|| format!("read `{}`", path.display()))?))
}

impl Asked {
    fn locked(&self, name: &str) -> Option<&Locked> {
        self.plan.lock.packages.iter().find(|locked| locked.id.name == name)
    }

    /// Which package, why it is there, and what it brings.
    fn package(&self, name: &str) -> Result<String> {
        let Some(locked) = self.locked(name) else {
            if let Some(rule) = self.plan.rules.for_package(name).filter(|rule| rule.assume) {
                return Ok(format!(
                    "{name} is not in the image: a rule says that it is assumed and ships nothing\n  \
                     {}",
                    rule.about
                ));
            }
            bail!(
                "no package `{name}` is in the image of `{}`; a path begins with `/`",
                self.plan.host.id
            );
        };
        let Id { name, version, architecture } = &locked.id;
        let mut text = format!("{name} {version} {architecture}\n");
        line(&mut text, "source", &format!("{} {}", locked.source, locked.source_version));
        line(&mut text, "licence", locked.licence.as_deref().unwrap_or("the index does not say"));
        let vouches = match locked.trust {
            Trust::Index => "the signed index",
            Trust::Package => "its own signature",
            Trust::Both => "the signed index and its own signature",
        };
        let trust = format!("{vouches} of `{}`, by {}", locked.repository, locked.signer);
        line(&mut text, "trust", &trust);
        line(&mut text, "sha256", &locked.blob.digest.to_string());
        line(&mut text, "brings", &self.brings(name));
        if let Some(rule) = self.plan.rules.for_package(name) {
            line(&mut text, "rule", &rule.about);
        }
        text += &self.wanted(locked)?;
        Ok(text)
    }

    fn brings(&self, name: &str) -> String {
        let Some(inventory) = &self.inventory else { return self.no_inventory() };
        let own: Vec<&Item> = inventory.0.iter().filter(|item| item.origin == name).collect();
        let bytes: u64 = own.iter().filter_map(|item| item.size).sum();
        let files = own.iter().filter(|item| item.size.is_some()).count();
        format!("{} paths of the host, {files} of them files of {bytes} bytes", own.len())
    }

    fn no_inventory(&self) -> String {
        format!("unknown: `{}` holds no image; name its place with --output", self.output.display())
    }

    /// A chain for each part of the image that holds the package.
    fn wanted(&self, locked: &Locked) -> Result<String> {
        let name = &locked.id.name;
        let mut text = String::new();
        for role in &locked.roles {
            let asked = match role.as_str() {
                HOST => &self.plan.host.packages,
                INITRD => &self.plan.initrd.packages,
                other => bail!("`{other}` is no part of an image"),
            };
            let profile = if role == HOST { &self.plan.host } else { &self.plan.initrd };
            let asked: BTreeSet<&str> = asked.keys().map(String::as_str).collect();
            let wants = wants::wants(&self.plan.lock, role, &self.store)?;
            if let Some(chain) = wants.chain(name, &asked) {
                let _ = writeln!(text, "in {role}");
                text += &self.chain(&chain, &profile.id);
            }
            let direct = wants.directly(name);
            if !direct.is_empty() {
                let by: BTreeSet<&str> = direct.iter().map(|step| step.by.as_str()).collect();
                let by: Vec<&str> = by.into_iter().collect();
                line(&mut text, "needed by", &by.join(", "));
            }
        }
        Ok(text)
    }

    fn chain(&self, chain: &Chain, profile: &str) -> String {
        let mut text = String::new();
        let why = match chain.asked {
            true => format!("asked for by profile `{profile}`"),
            false => "nobody asks for it: the distribution implies it".to_owned(),
        };
        line(&mut text, &chain.root, &why);
        for step in &chain.steps {
            let version = self.locked(&step.package).map_or("-", |one| one.id.version.0.as_str());
            let met = format!("which {} {version} meets", step.package);
            line(&mut text, &step.by, &format!("needs `{}`, {met}", step.clause));
        }
        text
    }

    /// Where a path comes from; of one that is not there, who ships it and what took it away.
    fn path(&self, path: &str) -> Result<String> {
        let Some(inventory) = &self.inventory else { bail!("{}", self.no_inventory()) };
        let factory = path.strip_prefix("etc/").map(|below| format!("{FACTORY_ETC}{below}"));
        let found = inventory
            .0
            .iter()
            .find(|item| item.path == path || Some(&item.path) == factory.as_ref());
        let Some(item) = found else { return self.missing(path) };
        let mut text = format!("/{}\n", item.path);
        let Item { kind, mode, owner, group, .. } = item;
        let size = item.size.map(|size| format!(", {size} bytes")).unwrap_or_default();
        line(&mut text, kind, &format!("{mode}, {owner}:{group}{size}"));
        if let Some(digest) = &item.digest {
            line(&mut text, "sha256", &digest.to_string());
        }
        if let Some(target) = &item.target {
            line(&mut text, "to", target);
        }
        line(&mut text, "from", &self.origin(item, path));
        for (who, what) in self.rules(path).into_iter().chain(self.rules_beside(item, path)) {
            line(&mut text, &who, &what);
        }
        if let Some(locked) = self.locked(&item.origin) {
            text += &self.wanted(locked)?;
        }
        Ok(text)
    }

    /// An origin in words.
    fn origin(&self, item: &Item, path: &str) -> String {
        let origin = &item.origin;
        if let Some(generator) = origin.strip_prefix("generator:") {
            return format!("generator `{generator}`, which computes it from other files");
        }
        if let Some(name) = origin.strip_prefix("profile:") {
            let all = self.plan.host.files.iter();
            let of_name =
                |directory: &&PathBuf| directory.file_name().is_some_and(|own| own == name);
            let files = all.filter(of_name).map(|directory| directory.join(path));
            let files: Vec<String> = files
                .filter(|file| file.symlink_metadata().is_ok())
                .map(|file| format!("`{}`", file.display()))
                .collect();
            return format!("the profile's directory `{name}` {}", files.join(", "));
        }
        match (origin.as_str(), &item.version) {
            (name, Some(version)) => format!("package {name} {version}"),
            ("profile", _) => "the profile's own keys (units, users)".to_owned(),
            ("layout", _) => "this program, for later stages and for scanners".to_owned(),
            ("distribution", _) => "the distribution's rules".to_owned(),
            ("merge" | "image", _) => "this program, as the parent of other paths".to_owned(),
            (other, _) => other.to_owned(),
        }
    }

    /// Rules of other places than the package's own that name a path: who, and what.
    fn rules(&self, path: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (stem, rule) in &self.plan.rules.packages {
            found.extend(rule_says(rule, path).map(|what| (format!("rule {stem}"), what)));
        }
        let of = &self.plan.rules.distribution;
        let distribution = Rule {
            link: of.link.clone(),
            write: of.write.clone(),
            modes: of.modes.clone(),
            ..Rule::default()
        };
        let says = rule_says(&distribution, path);
        found.extend(says.map(|what| ("distribution".to_owned(), what)));
        let Profile { setid, units, .. } = &self.plan.host;
        if let Some(why) = setid.get(path) {
            found.push(("profile".to_owned(), format!("lets it be set-id: {why}")));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(UnitState::Masked(why)) = units.get(name) {
            found.push(("profile".to_owned(), format!("masks the unit: {why}")));
        }
        found
    }

    /// What an alias of the path says: rules name `/etc`, the inventory where it is kept.
    fn rules_beside(&self, item: &Item, path: &str) -> Vec<(String, String)> {
        match item.path.strip_prefix(FACTORY_ETC) {
            Some(below) if item.path == path => self.rules(&format!("etc/{below}")),
            _ => Vec::new(),
        }
    }

    /// Who ships a path that is not in the image, and which rules leave it out.
    fn missing(&self, path: &str) -> Result<String> {
        let mut text = format!("/{path} is not in the image\n");
        let mut shipped = false;
        for locked in &self.plan.lock.packages {
            if self.store.has(&locked.blob) && self.ships(locked, path)? {
                line(&mut text, "shipped by", &format!("{} {}", locked.id.name, locked.id.version));
                shipped = true;
                if let Some(rule) = self.plan.rules.for_package(&locked.id.name) {
                    drops(
                        &mut text,
                        &rule.drop,
                        path,
                        &format!("rule {}", locked.id.name),
                        &rule.about,
                    );
                }
            }
        }
        let of = &self.plan.rules.distribution;
        drops(&mut text, &of.drop, path, "distribution", &of.about);
        for (pattern, why) in &self.plan.host.drop {
            drops(&mut text, &Patterns(vec![pattern.clone()]), path, "profile", why);
        }
        for (who, what) in self.rules(path) {
            line(&mut text, &who, &what);
        }
        if !shipped {
            bail!("`/{path}` is not in the image, and no locked package ships it");
        }
        Ok(text)
    }

    /// Whether a package ships the path, under its name before or after aliases.
    fn ships(&self, locked: &Locked, path: &str) -> Result<bool> {
        let import = assemble::import_of(&self.plan.lock, locked)?;
        let tree = self.store.tree(&self.store.realize(&IMPORT, &import)?.tree)?;
        let aliases = self.plan.rules.distribution.aliases.iter();
        let mut names = aliases.filter_map(|(from, to)| {
            Some(format!("{from}/{}", path.strip_prefix(to.as_str())?.strip_prefix('/')?))
        });
        Ok(tree.get(path).is_some() || names.any(|name| tree.get(&name).is_some()))
    }
}

/// What one rule says of a path.
fn rule_says(rule: &Rule, path: &str) -> impl Iterator<Item = String> {
    let mode = rule.modes.get(path).map(|mode| {
        let bits = mode.mode.map(|bits| format!("mode {bits:04o}"));
        let owner = mode.owner.as_ref().map(|owner| format!("owner {owner}"));
        let group = mode.group.as_ref().map(|group| format!("group {group}"));
        let all: Vec<String> = [bits, owner, group].into_iter().flatten().collect();
        format!("sets {}", all.join(", "))
    });
    let copied = rule.copy.iter().find(|(_, to)| *to == path);
    let diverted = rule.divert.iter().find(|(_, to)| *to == path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let said = [
        mode,
        copied.map(|(from, _)| format!("copies it from `/{from}`")),
        diverted.map(|(from, _)| format!("diverts it from `/{from}`")),
        rule.divert.get(path).map(|to| format!("diverts another package's to `/{to}`")),
        rule.link.get(path).map(|to| format!("makes it a link to `{to}`")),
        rule.write.contains_key(path).then(|| "writes its text".to_owned()),
        rule.directories.contains(path).then(|| "makes the directory".to_owned()),
        rule.unmet.get(path).map(|why| format!("lets it lack a library: {why}")),
        rule.units.mask.get(name).map(|why| format!("masks the unit: {why}")),
    ];
    said.into_iter().flatten()
}

/// A line for each pattern that leaves the path out.
fn drops(text: &mut String, drop: &Patterns, path: &str, who: &str, why: &str) {
    for pattern in &drop.0 {
        if Patterns(vec![pattern.clone()]).matches(path) {
            line(text, "dropped by", &format!("{who}, `{pattern}`: {why}"));
        }
    }
}

fn line(text: &mut String, name: &str, what: &str) {
    let _ = writeln!(text, "  {name:<11} {what}");
}
