//! From a request to a lock, and from a lock to what is to be fetched.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use fetch::{Client, Machine, Mirror, Place, Progress, Wanted, mirror, read_machine};
use store::{Epoch, Seed};

use crate::resolve::{Wish, resolve};
use crate::source::{Ask, source};
use crate::universe::{Offer, Universe};
use crate::{
    ArchiveRequest, Lock, Locked, LockedArchive, LockedSuite, Options, Request, Snapshot, Source,
};

/// Resolves a request against its archives as they are now.
pub fn lock(request: &Request, options: &Options, progress: Progress) -> Result<Lock> {
    let row = row(request)?;
    let architecture = (row.architecture)(&request.architecture).with_context(|| {
        format!("find architecture `{}` in source `{}`", request.architecture, row.name)
    })?;
    let mut archives: Vec<&ArchiveRequest> = request.archives.iter().collect();
    archives.sort_by(|a, b| a.name.cmp(&b.name));
    let machine = read_machine(&options.apt_root)?;
    let client = Client::new(machine);
    let paths: Vec<&str> = archives.iter().map(|archive| archive.path.as_str()).collect();
    let mut snapshots = Vec::new();
    for &archive in &archives {
        let mirror = place(archive, &paths, options, client.machine())?;
        let ask = Ask {
            client: &client,
            mirror: &mirror,
            archive,
            architecture,
            now: options.now,
            allow_stale: options.allow_stale,
            progress,
        };
        snapshots.push((row.read)(&ask)?);
    }
    assemble(request, row, &archives, snapshots)
}

/// What is to be fetched for a lock, by this machine's way to its archives.
pub fn wanted(lock: &Lock, options: &Options) -> Result<Vec<Wanted>> {
    let machine = read_machine(&options.apt_root)?;
    let client = Client::new(machine);
    let paths: Vec<&str> = lock.archives.iter().map(|archive| archive.path.as_str()).collect();
    let mut mirrors: BTreeMap<&str, Mirror> = BTreeMap::new();
    for archive in &lock.archives {
        let place = Place {
            name: &archive.name,
            path: &archive.path,
            beside: &paths,
            url: archive.url.as_deref(),
            explicit: options.mirror.as_deref(),
        };
        mirrors.insert(&archive.name, mirror(&place, client.machine())?);
    }
    lock.packages
        .iter()
        .map(|one| {
            let mirror = mirrors.get(one.repository.as_str()).with_context(|| {
                format!("find archive `{}` of package `{}`", one.repository, one.id.name)
            })?;
            Ok(Wanted {
                what: format!("package `{} {}`", one.id.name, one.id.version),
                blob: one.blob,
                address: mirror.root.join(&one.location),
                named_by: mirror.named_by.clone(),
                client: client.clone(),
            })
        })
        .collect()
}

/// The one row of all archives.
fn row(request: &Request) -> Result<&'static Source> {
    let names: BTreeSet<&str> = request.archives.iter().map(|one| one.source.as_str()).collect();
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(name), None) => source(name),
        (None, _) => bail!("the profile names no archive"),
        (Some(one), Some(other)) => {
            bail!("one image cannot mix packages of `{one}` and of `{other}`")
        }
    }
}

fn place(
    archive: &ArchiveRequest,
    paths: &[&str],
    options: &Options,
    machine: &Machine,
) -> Result<Mirror> {
    let place = Place {
        name: &archive.name,
        path: &archive.path,
        beside: paths,
        url: archive.url.as_deref(),
        explicit: options.mirror.as_deref(),
    };
    mirror(&place, machine)
}

/// Resolves every role over the snapshots of the archives, which are in the order of `archives`.
fn assemble(
    request: &Request,
    row: &'static Source,
    archives: &[&ArchiveRequest],
    snapshots: Vec<Snapshot>,
) -> Result<Lock> {
    let mut offers = Vec::new();
    let mut warnings = Vec::new();
    let mut suites: Vec<Vec<LockedSuite>> = Vec::new();
    for (archive, snapshot) in snapshots.into_iter().enumerate() {
        offers.extend(snapshot.records.into_iter().map(|(record, suite)| Offer {
            record,
            archive,
            suite,
            ambiguous: false,
        }));
        warnings.extend(snapshot.warnings);
        suites.push(snapshot.suites);
    }
    let universe = Universe::new(row.family, offers, &pins(request)?)?;
    let roles = choose(request, row, &universe)?;
    let packages = roles
        .into_iter()
        .map(|(offer, roles)| {
            let offer = &universe.offers[offer];
            check_origin(archives, &universe, offer)?;
            locked(request, row, archives, &suites, offer, roles)
        })
        .collect::<Result<_>>()?;
    let epoch = suites.iter().flatten().map(|suite| suite.date).max();
    Ok(Lock {
        architecture: request.architecture.clone(),
        request: request.digest()?,
        epoch: epoch.unwrap_or(Epoch(0)),
        seed: Seed::of(&request.id),
        warnings,
        archives: archives
            .iter()
            .zip(suites)
            .map(|(archive, suites)| LockedArchive {
                name: archive.name.clone(),
                source: archive.source.clone(),
                path: archive.path.clone(),
                url: archive.url.clone(),
                suites,
            })
            .collect(),
        packages,
    })
}

/// The pins of all roles.
fn pins(request: &Request) -> Result<BTreeMap<String, String>> {
    let mut pins: BTreeMap<String, String> = BTreeMap::new();
    for (name, pin) in request.roles.values().flatten() {
        let Some(pin) = pin else { continue };
        if let Some(other) = pins.insert(name.clone(), pin.clone())
            && other != *pin
        {
            bail!("`{name}` is pinned to {other} and to {pin}");
        }
    }
    Ok(pins)
}

/// The chosen offers, each with its roles. Roles are resolved one by one, those that imply
/// packages first; what one has chosen, the next ones use.
fn choose(
    request: &Request,
    row: &Source,
    universe: &Universe,
) -> Result<BTreeMap<usize, Vec<String>>> {
    let implying = |role: &str| row.implying_roles.contains(&role);
    let mut order: Vec<&String> = request.roles.keys().collect();
    order.sort_by_key(|role| !implying(role));
    let mut roles: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    for role in order {
        let names: BTreeSet<&str> = request.roles[role].keys().map(String::as_str).collect();
        let assume = request.assume.iter().map(String::as_str);
        let wish = Wish {
            assume: assume.filter(|name| !names.contains(name)).collect(),
            names,
            implied: implying(role),
            chosen: &chosen,
        };
        let found = resolve(universe, &wish).with_context(|| format!("resolve role `{role}`"))?;
        for offer in &found {
            roles.entry(*offer).or_default().push(role.clone());
        }
        chosen.extend(found);
    }
    roles.values_mut().for_each(|roles| roles.sort());
    Ok(roles)
}

/// Whoever signs an archive may offer its packages in a higher version, under another key nobody
/// may, unless the profile says which version is meant.
fn check_origin(archives: &[&ArchiveRequest], universe: &Universe, offer: &Offer) -> Result<()> {
    let own = archives[offer.archive];
    let others = universe.named(&offer.record.id.name).iter().map(|i| &universe.offers[*i]);
    let mut strange = others.filter(|other| archives[other.archive].keyring != own.keyring);
    if let Some(other) = strange.next() {
        bail!(
            "`{}` is on offer as {} in archive `{}` and, under other keys, as {} in archive `{}`: \
             pin the version that is meant in the profile, or drop an archive",
            offer.record.id.name,
            offer.record.id.version,
            own.name,
            other.record.id.version,
            archives[other.archive].name
        );
    }
    Ok(())
}

fn locked(
    request: &Request,
    row: &Source,
    archives: &[&ArchiveRequest],
    suites: &[Vec<LockedSuite>],
    offer: &Offer,
    roles: Vec<String>,
) -> Result<Locked> {
    let record = &offer.record;
    if offer.ambiguous {
        bail!(
            "two different files are on offer as `{} {}`: pin another version, or drop an archive",
            record.id.name,
            record.id.version
        );
    }
    let signer = suites[offer.archive][offer.suite].signers.first();
    Ok(Locked {
        id: record.id.clone(),
        repository: archives[offer.archive].name.clone(),
        location: record.location.clone(),
        blob: record.blob,
        source: record.source.clone(),
        source_version: record.source_version.clone(),
        licence: None,
        built: None,
        trust: row.trust,
        signer: signer.with_context(|| format!("find who signed `{}`", record.id.name))?.clone(),
        asked: roles.iter().any(|role| request.roles[role].contains_key(&record.id.name)),
        roles,
    })
}
