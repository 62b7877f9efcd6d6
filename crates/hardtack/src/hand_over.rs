//! `hardtack image`: build, write the artifacts, say what they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use disk::FORMATS;
use lock::Options;
use pool::Pool;
use release::{MANIFEST, Manifest, Offer};
use sign::{Directory, Signer as _};
use store::{Digest, Store};

use crate::args::{Image, Places};
use crate::fault::{Fault, Or as _};
use crate::output::{Checksums, Written};
use crate::pipeline::{self, Built};
use crate::plan::Plan;
use crate::{explain, inputs, keep, previous, print, progress, report, say, scripts};

/// Plain contents, objects and images take about this many times the packages' own size.
const EXPANSION: u64 = 8;

/// What is known before anything is written or fetched.
pub(crate) struct Begun {
    root: PathBuf,
    plan: Plan,
    options: Options,
}

/// All that a build works with.
pub(crate) struct Ready {
    pub(crate) plan: Plan,
    pub(crate) keys: Directory,
    pub(crate) store: Store,
    options: Options,
    /// The digest of this program, in a development build.
    program: Option<Digest>,
}

/// Reads the wishes; a lock is made where there is none.
pub(crate) fn begin(arguments: &Image) -> Result<Begun> {
    let (root, locks) = places(&arguments.places)?;
    let (plan, options) = inputs::plan(arguments, &locks)?;
    Ok(Begun { root, plan, options })
}

/// Opens keys and store.
pub(crate) fn ready(begun: Begun, arguments: &Image) -> Result<Ready> {
    let Begun { root, plan, options } = begun;
    make(&root).fault(Fault::Output)?;
    let keys = arguments.keys.clone().unwrap_or_else(|| root.join("keys"));
    let keys = Directory::open_or_make(&keys).fault(Fault::Sign)?;
    let program = development_salt()?;
    let store = Store::open(&root, program).fault(Fault::Output)?;
    Ok(Ready { plan, keys, store, options, program })
}

impl Ready {
    /// Fetches the locked packages that are missing, and opens the pool.
    pub(crate) fn fetch(&self) -> Result<Pool> {
        let store = &self.store;
        let wanted = lock::wanted(&self.plan.lock, &self.options).fault(Fault::Fetch)?;
        let missing: u64 = wanted.iter().filter(|w| !store.has(&w.blob)).map(|w| w.blob.size).sum();
        check_space(store.root(), missing.saturating_mul(EXPANSION)).fault(Fault::Output)?;
        fetch::all(&wanted, store, progress()).fault(Fault::Fetch)?;
        Pool::open(store).fault(Fault::Output)
    }
}

/// Bakes a profile.
pub(crate) fn image(arguments: &Image) -> Result<()> {
    let mut begun = begin(arguments)?;
    let output = arguments.output.clone();
    let output = output.unwrap_or_else(|| PathBuf::from(&begun.plan.host.id));
    make(&output).fault(Fault::Output)?;
    begun.plan.previous = match &arguments.previous {
        Some(earlier) => Some(previous::named(earlier).fault(Fault::Image)?),
        None => previous::found(&output, &begun.plan.version),
    };
    let ready = ready(begun, arguments)?;
    let checksums = match arguments.checksums {
        true => Checksums::Whole,
        false => Checksums::Ranges,
    };
    let disks = match bake(&ready, &output, checksums) {
        Err(error) if keep::is_damage(&error) => {
            say(&format!("warning: {error:#}\nwarning: checking the whole store, then once more"));
            keep::mend(&ready.store).fault(Fault::Output)?;
            bake(&ready, &output, checksums)?
        }
        done => done?,
    };
    for disk in disks {
        print(&format!("wrote {}", output.join(disk).display()));
    }
    print(&format!("next: cargo xtask boot {}", arguments.profile.display()));
    Ok(())
}

/// Fetches, builds, writes and reports; gives the names of the disks.
fn bake(ready: &Ready, output: &Path, checksums: Checksums) -> Result<Vec<String>> {
    let pool = ready.fetch()?;
    let Ready { plan, keys, store, .. } = ready;
    let (built, commit) = pipeline::build(plan, keys, store, &pool)?;
    for warning in built.warnings() {
        say(&format!("warning: {warning}"));
    }
    for slot in &built.outgrown {
        say(&format!("warning: {slot}"));
    }
    for line in &built.stale {
        say(&format!("note: {line}"));
    }
    for (path, why) in &built.host.merged.replaced {
        say(&format!("note: `{path}` replaces that of {why}"));
    }
    for script in &built.unreviewed {
        say(&format!("warning: {}", scripts::told(script, plan).trim_end()));
    }
    let disks = write(plan, &built, commit, keys, store, output, checksums).fault(Fault::Output)?;
    explain::remember(store, &plan.host.id, ready.program).fault(Fault::Output)?;
    print(&report::report(plan, &built, store).fault(Fault::Output)?);
    Ok(disks)
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make `{}`", directory.display()))
}

/// Writes every artifact and the manifest last; gives the names of the disks.
fn write(
    plan: &Plan,
    built: &Built,
    commit: Digest,
    keys: &Directory,
    store: &Store,
    output: &Path,
    checksums: Checksums,
) -> Result<Vec<String>> {
    let name = plan.name();
    // Two builds may write to one directory: one after the other.
    let lock =
        fs::File::create(output.join(".lock")).context("make the output directory's lock")?;
    lock.lock().context("wait for the output directory's lock")?;
    let mut written = Written::of(output);
    let mut artifacts = std::collections::BTreeMap::new();
    let mut disks = Vec::new();
    for wanted in &plan.host.outputs {
        let Some(format) = FORMATS.iter().find(|format| format.name == wanted) else {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
            bail!("no output format `{wanted}`; there are {}", names.join(", "));
        };
        let file = format!("{name}.{}", format.extension);
        let artifact = written.disk(output, &file, format, &built.disk, checksums, store)?;
        artifacts.insert(file.clone(), artifact);
        disks.push(file);
    }
    let inventory = store.put(&store::encode(&built.host.inventory)?)?;
    let lock = store.put(plan.lock.text().as_bytes())?;
    let parts = [
        (format!("{name}.efi"), "signed unified kernel image", built.sealed.uki),
        (
            format!("{name}.inventory.json"),
            "origin, digest, mode and owner of every path",
            inventory,
        ),
        (
            format!("{name}.extents.json"),
            "what every byte range of /usr holds",
            built.image.extents,
        ),
        (format!("{name}.lock"), "every package by digest", lock),
    ];
    for (file, purpose, blob) in parts {
        let artifact = written.blob(output, &file, purpose, &blob, store)?;
        artifacts.insert(file, artifact);
    }
    let mut warnings = plan.lock.warnings.clone();
    warnings.extend(built.warnings().into_iter().map(str::to_owned));
    let manifest = Manifest {
        format: 1,
        tool: concat!("hardtack ", env!("CARGO_PKG_VERSION")).to_owned(),
        id: plan.host.id.clone(),
        version: plan.version.clone(),
        architecture: plan.lock.architecture.clone(),
        epoch: plan.lock.epoch.rfc3339(),
        development: keys.development(),
        root_hash: built.protected.root.to_string(),
        command_line: built.command_line.clone(),
        esp: disk::esp_uuid(plan.lock.seed),
        commit: commit.to_string(),
        artifacts,
        packages: inputs::packages(&plan.lock),
        unreviewed_scripts: built
            .unreviewed
            .iter()
            .map(|script| format!("{}: {:?} {}", script.package, script.moment, script.digest))
            .collect(),
        warnings,
        offer: plan.host.updates.as_ref().map(|updates| Offer {
            channel: updates.channel.clone(),
            valid: updates.valid,
            floor: updates.floor.clone(),
        }),
    };
    let manifest = store.put(manifest.text()?.as_bytes())?;
    written.blob(output, MANIFEST, "this file", &manifest, store)?;
    written.keep(output)?;
    Ok(disks)
}

/// A development build mixes its own program's digest into every key: code that is being changed
/// must not meet results of its yesterday.
pub(crate) fn development_salt() -> Result<Option<Digest>> {
    if !cfg!(debug_assertions) {
        return Ok(None);
    }
    let program = std::env::current_exe().context("find this program")?;
    let bytes = fs::read(&program).with_context(|| format!("read `{}`", program.display()))?;
    Ok(Some(Digest::of(&bytes)))
}

fn check_space(directory: &Path, needed: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(directory)
        .with_context(|| format!("ask for free space of `{}`", directory.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        bail!(
            "`{}` has {} MiB free, and this build takes about {} MiB: make room, or name another \
             place with --store",
            directory.display(),
            free >> 20,
            needed >> 20
        );
    }
    Ok(())
}

/// Where the store is, and where locks of profiles without one are.
pub(crate) fn places(said: &Places) -> Result<(PathBuf, PathBuf)> {
    let root = root(said.store.as_deref())?;
    let locks = said.locks.clone().unwrap_or_else(|| root.join("locks"));
    Ok((root, locks))
}

/// Where the store is: what the command line says, else the user's own.
pub(crate) fn root(said: Option<&Path>) -> Result<PathBuf> {
    said.map_or_else(cache_directory, |said| Ok(said.to_path_buf())).fault(Fault::Output)
}

/// Where bytes and results are kept when the command line does not say.
pub(crate) fn cache_directory() -> Result<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the user keeps caches (XDG Base Directory); reaches no byte"
    )]
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    Ok(cache.context("find a place for the store: name one with --store")?.join("hardtack"))
}
