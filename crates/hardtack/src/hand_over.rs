//! `hardtack image`: build, write the artifacts, say what they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use disk::FORMATS;
use lock::Options;
use pool::Pool;
use release::{Artifact, MANIFEST, Manifest};
use sign::{Directory, Signer as _};
use store::{Digest, Store};

use crate::args::Image;
use crate::fault::{Fault, Or as _};
use crate::output::Written;
use crate::pipeline::{self, Built};
use crate::plan::Plan;
use crate::{inputs, keep, print, progress, report, say};

/// Plain contents, objects and images take about this many times the packages' own size.
const EXPANSION: u64 = 8;

/// Bakes a profile.
pub(crate) fn image(arguments: &Image) -> Result<()> {
    let root = match &arguments.store {
        Some(root) => root.clone(),
        None => cache_directory().fault(Fault::Output)?,
    };
    let beside = |given: &Option<PathBuf>, name| given.clone().unwrap_or_else(|| root.join(name));
    let (plan, options) = inputs::plan(arguments, &beside(&arguments.locks, "locks"))?;
    let output = arguments.output.clone().unwrap_or_else(|| PathBuf::from(&plan.host.id));
    for directory in [&root, &output] {
        fs::create_dir_all(directory)
            .with_context(|| format!("make `{}`", directory.display()))
            .fault(Fault::Output)?;
    }
    let keys = Directory::open_or_make(&beside(&arguments.keys, "keys")).fault(Fault::Sign)?;
    let store = Store::open(&root, development_salt()?).fault(Fault::Output)?;

    let work = || bake(&plan, &options, &keys, &store, &output);
    let disks = match work() {
        Err(error) if keep::is_damage(&error) => {
            say(&format!("warning: {error:#}\nwarning: checking the whole store, then once more"));
            keep::mend(&store).fault(Fault::Output)?;
            work()?
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
fn bake(
    plan: &Plan,
    options: &Options,
    keys: &Directory,
    store: &Store,
    output: &Path,
) -> Result<Vec<String>> {
    let wanted = lock::wanted(&plan.lock, options).fault(Fault::Fetch)?;
    let missing: u64 = wanted.iter().filter(|w| !store.has(&w.blob)).map(|w| w.blob.size).sum();
    check_space(store.root(), missing.saturating_mul(EXPANSION)).fault(Fault::Output)?;
    fetch::all(&wanted, store, progress()).fault(Fault::Fetch)?;
    let pool = Pool::open(store).fault(Fault::Output)?;

    let built = pipeline::build(plan, keys, store, &pool)?;
    for warning in built.warnings() {
        say(&format!("warning: {warning}"));
    }
    for script in built.unreviewed() {
        say(&report::unreviewed(script));
    }
    let disks = write(plan, &built, keys, store, output).fault(Fault::Output)?;
    print(&report::report(&built, store).fault(Fault::Output)?);
    Ok(disks)
}

/// Writes every artifact and the manifest last; gives the names of the disks.
fn write(
    plan: &Plan,
    built: &Built,
    keys: &Directory,
    store: &Store,
    output: &Path,
) -> Result<Vec<String>> {
    let name = plan.name();
    // Two builds may write to one directory: one after the other.
    let lock =
        fs::File::create(output.join(".lock")).context("make the output directory's lock")?;
    lock.lock().context("wait for the output directory's lock")?;
    let mut written = Written::of(output);
    let mut artifacts = std::collections::BTreeMap::new();
    let mut disks = Vec::new();
    let model = Digest::of(&store::encode(&built.disk)?);
    for wanted in &plan.host.outputs {
        let Some(format) = FORMATS.iter().find(|format| format.name == wanted) else {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
            bail!("no output format `{wanted}`; there are {}", names.join(", "));
        };
        let file = format!("{name}.{}", format.extension);
        let blob = written.file(output, &file, model, &|file| {
            (format.write)(&built.disk, &|blob| store.open_blob(blob), file)
        })?;
        artifacts.insert(file.clone(), Artifact::new(format.about, blob));
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
        commit: built.commit.to_string(),
        artifacts,
        packages: inputs::packages(&plan.lock),
        unreviewed_scripts: built
            .unreviewed()
            .iter()
            .map(|script| format!("{}: {:?} {}", script.package, script.moment, script.digest))
            .collect(),
        warnings,
    };
    let manifest = store.put(manifest.text()?.as_bytes())?;
    written.blob(output, MANIFEST, "this file", &manifest, store)?;
    written.keep(output)?;
    Ok(disks)
}

/// A development build mixes its own program's digest into every key: code that is being changed
/// must not meet results of its yesterday.
fn development_salt() -> Result<Option<Digest>> {
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

pub(crate) fn cache_directory() -> Result<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the user keeps caches (XDG Base Directory); reaches no byte"
    )]
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    Ok(cache.context("find a place for the store: name one with --store")?.join("hardtack"))
}
