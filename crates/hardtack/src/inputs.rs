//! From a command line to a [`Plan`]: profile, rules and lock are read, the lock made where there
//! is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use lock::{ArchiveRequest, Lock, Options, Request};
use profile::{Arch, Profile};
use rootfs::{Distribution, Rule, Rules};
use store::Epoch;

use crate::args::{self, Origin};
use crate::assemble::{HOST, INITRD};
use crate::fault::{Fault, Or as _};
use crate::plan::{self, Plan};
use crate::scripts::OnUnreviewed;
use crate::{lint, progress, say, updates};

/// A file of profiles, rules or locks is not larger than this, in bytes.
const TEXT_MAX: u64 = 16 << 20;
/// The rules of the distribution as a whole.
const DISTRIBUTION: &str = "_distribution";

/// Profile, initrd profile and rules: what can be read without a network.
pub(crate) struct Wishes {
    host: Profile,
    initrd: Profile,
    rules: Rules,
    request: Request,
}

impl Wishes {
    /// The rules of the profile's distribution.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// Reads a profile and all that it names. Rules may still be drafts: see [`Rules::check`].
pub(crate) fn wishes(profile: &Path, rules: Option<&Path>) -> Result<Wishes> {
    if profile.to_str().is_none() {
        bail!(
            "the path `{}` is not UTF-8, and the files beside a profile are found by its text: \
             give the folder another name",
            profile.display()
        );
    }
    let host = profile::load(profile, &text)?;
    if host.arch != Arch::X86_64 {
        bail!("profile `{}`: only `x86-64` can be built so far", profile.display());
    }
    let Some(initrd) = &host.initrd else {
        bail!("profile `{}` names no `initrd`, and an image needs one", profile.display());
    };
    let initrd = profile::load(initrd, &text)?;
    lint::check(profile, &host.lints)?;
    if !initrd.lints.is_empty() {
        bail!(
            "profile `{}`: an initrd is not linted, so it has no `lints` to waive: SELECT checks \
             what it needs",
            host.initrd.as_deref().unwrap_or(profile).display()
        );
    }
    let rules = match rules {
        Some(rules) => rules.to_owned(),
        None => profile.parent().unwrap_or(Path::new("")).join("rules"),
    };
    let sources: BTreeSet<&str> =
        host.archives.values().map(|archive| archive.source.as_str()).collect();
    let mut found = Rules::default();
    for source in sources {
        let directory = rules.join(source);
        read_rules(&directory, &mut found)
            .with_context(|| format!("read rules `{}`", directory.display()))?;
    }
    let request = request(&host, &initrd, &found)?;
    Ok(Wishes { host, initrd, rules: found, request })
}

/// The plan of `hardtack image`, its lock obeyed, reused or made.
pub(crate) fn plan(arguments: &args::Image, locks: &Path) -> Result<(Plan, Options)> {
    let wishes =
        wishes(&arguments.profile, arguments.places.rules.as_deref()).fault(Fault::Profile)?;
    wishes.rules.check().fault(Fault::Profile)?;
    let options = options(&arguments.origin);
    let lock = lock(arguments, &wishes, &options, locks).fault(Fault::Lock)?;
    for warning in &lock.warnings {
        say(&format!("warning: {warning}"));
    }
    let Wishes { host, initrd, rules, .. } = wishes;
    let version = version(arguments.version.as_deref(), &host, &lock).fault(Fault::Profile)?;
    let on_unreviewed = arguments.unreviewed_scripts;
    let plan = Plan { host, initrd, lock, rules, version, on_unreviewed, previous: None };
    Ok((plan, options))
}

/// `hardtack lock`.
pub(crate) fn write_lock(arguments: &args::Lock) -> Result<()> {
    let wishes = wishes(&arguments.profile, arguments.rules.as_deref()).fault(Fault::Profile)?;
    wishes.rules.check().fault(Fault::Profile)?;
    let path = arguments.output.clone().unwrap_or_else(|| beside(&arguments.profile));
    let options = options(&arguments.origin);
    renew(&path, &wishes, &options, &arguments.origin).fault(Fault::Lock)?;
    Ok(())
}

/// A lock that names `package`: the profile's when it does, else one of the package alone, which
/// is not kept.
pub(crate) fn lock_with(
    package: &str,
    profile: &Path,
    wishes: &Wishes,
    options: &Options,
    locks: &Path,
) -> Result<Lock> {
    let own = beside(profile);
    let name = own.file_name().context("read the profile's name")?;
    let kept = [own.clone(), locks.join(name)];
    if let Some(path) = kept.iter().find(|path| path.exists()) {
        let lock = read_lock(path)?;
        if lock.packages.iter().any(|locked| locked.id.name == package) {
            return Ok(lock);
        }
    }
    let alone = BTreeMap::from([(package.to_owned(), None)]);
    let roles = BTreeMap::from([(HOST.to_owned(), alone)]);
    let request = Request { roles, ..wishes.request.clone() };
    lock::lock(&request, options, progress())
}

/// The plan of an image that is only asked about: its lock must be there and fit the profile, and
/// nothing is written.
pub(crate) fn settled(arguments: &args::Settled, locks: &Path) -> Result<Plan> {
    let profile = &arguments.profile;
    let wishes = wishes(profile, arguments.places.rules.as_deref()).fault(Fault::Profile)?;
    let own = beside(profile);
    let kept = || Ok::<_, anyhow::Error>(locks.join(own.file_name().context("name the lock")?));
    let path = if own.exists() { own.clone() } else { kept().fault(Fault::Lock)? };
    let lock = read_lock(&path).context("`hardtack image` makes it").fault(Fault::Lock)?;
    if lock.request != wishes.request.digest()? {
        let path = path.display();
        let error = anyhow::anyhow!("`{path}` was made for another wish: lock the profile again");
        return Err(error).fault(Fault::Lock);
    }
    let Wishes { host, initrd, rules, .. } = wishes;
    let version = version(arguments.version.as_deref(), &host, &lock).fault(Fault::Profile)?;
    let on_unreviewed = OnUnreviewed::Warn;
    Ok(Plan { host, initrd, lock, rules, version, on_unreviewed, previous: None })
}

/// The image's version: what the command line says, else the profile, else the lock's date.
fn version(said: Option<&str>, host: &Profile, lock: &Lock) -> Result<String> {
    let version = said.or(host.version.as_deref()).map(str::to_owned);
    let version = version.unwrap_or_else(|| plan::default_version(lock));
    profile::label(&host.id, &version)?;
    updates::check_floor(host, &version)?;
    Ok(version)
}

/// The lock of a profile that ships its own.
fn beside(profile: &Path) -> PathBuf {
    profile.with_extension("lock")
}

/// A lock beside the profile is obeyed to the letter. Else one is kept in `locks`, made when it is
/// missing, when `--update` asks for it, and when the profile asks for something else than it.
fn lock(arguments: &args::Image, wishes: &Wishes, options: &Options, locks: &Path) -> Result<Lock> {
    let own = beside(&arguments.profile);
    let obeyed = own.exists();
    let path = if obeyed {
        own
    } else {
        let name = own.file_name().context("read the profile's name")?;
        locks.join(name)
    };
    if arguments.update || (!path.exists() && !arguments.locked) {
        return renew(&path, wishes, options, &arguments.origin);
    }
    let lock = read_lock(&path)?;
    if lock.request == wishes.request.digest()? {
        return Ok(lock);
    }
    if obeyed || arguments.locked {
        bail!(
            "`{}` was made for another wish than the profile's of today: `hardtack lock` makes a \
             new one",
            path.display()
        );
    }
    say("the profile asks for something else than its lock: locking again");
    renew(&path, wishes, options, &arguments.origin)
}

fn read_lock(path: &Path) -> Result<Lock> {
    Lock::parse(&text(path)?).with_context(|| format!("read lock `{}`", path.display()))
}

/// Locks anew, says what changed, and puts the lock in place.
fn renew(path: &Path, wishes: &Wishes, options: &Options, origin: &Origin) -> Result<Lock> {
    let old = match fs::exists(path).with_context(|| format!("look for `{}`", path.display()))? {
        true => Some(read_lock(path).with_context(|| {
            format!(
                "`{}` says which state of the archive was seen last, and cannot be read: bring it \
                 back, or remove it to lock without that knowledge",
                path.display()
            )
        })?),
        false => None,
    };
    let mut lock = lock::lock(&wishes.request, options, progress())?;
    if let Some(old) = old {
        let back = old.rolled_back(&lock);
        match &origin.allow_rollback {
            Some(reason) => {
                let noted = back.iter().map(|line| format!("rolled back: {line}: {reason}"));
                lock.warnings.extend(noted);
            }
            None if back.is_empty() => {}
            None => bail!(
                "the archive is in an older state than `{}` has seen, as a mirror that lags or \
                 an attacker who replays old indexes would show it:\n{}\n\
                 `--allow-rollback REASON` locks it all the same",
                path.display(),
                back.join("\n")
            ),
        }
        for line in old.diff(&lock) {
            say(&line);
        }
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    if !directory.as_os_str().is_empty() {
        fs::create_dir_all(directory).with_context(|| format!("make `{}`", directory.display()))?;
    }
    let temporary = path.with_extension(format!("lock.{}", std::process::id()));
    fs::write(&temporary, lock.text())
        .with_context(|| format!("write `{}`", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("put `{}` in place", path.display()))?;
    Ok(lock)
}

fn request(host: &Profile, initrd: &Profile, rules: &Rules) -> Result<Request> {
    let archives = host.archives.iter().map(|(name, archive)| {
        let keyring = fs::read(&archive.keyring)
            .with_context(|| format!("read keyring `{}`", archive.keyring.display()))?;
        Ok(ArchiveRequest {
            name: name.clone(),
            source: archive.source.clone(),
            path: archive.path.clone(),
            url: archive.url.clone(),
            keyring,
            suites: archive.suites.clone(),
            components: archive.components.clone(),
        })
    });
    let roles = [(HOST, &host.packages), (INITRD, &initrd.packages)];
    Ok(Request {
        id: host.id.clone(),
        architecture: "x86-64".to_owned(),
        archives: archives.collect::<Result<_>>()?,
        roles: roles.map(|(role, packages)| (role.to_owned(), packages.clone())).into(),
        assume: rules.assumed(),
    })
}

pub(crate) fn options(origin: &Origin) -> Options {
    #[expect(
        clippy::disallowed_methods,
        reason = "whether an index has expired is a question to the clock"
    )]
    let now = SystemTime::now();
    Options {
        mirror: origin.mirror.clone(),
        allow_stale: origin.allow_stale,
        now: Epoch(now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
        apt_root: PathBuf::from("/"),
    }
}

/// Adds every rule file of a directory.
fn read_rules(directory: &Path, rules: &mut Rules) -> Result<()> {
    for path in store::list(directory)? {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = path.display().to_string();
        if stem == DISTRIBUTION {
            rules.distribution = profile::yaml::<Distribution>(&text(&path)?, &file)?;
        } else {
            let rule = profile::yaml::<Rule>(&text(&path)?, &file)?;
            rules.packages.insert(stem.to_owned(), rule);
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    profile::text(path, TEXT_MAX)
}

/// Packages by name, for the manifest.
pub(crate) fn packages(lock: &Lock) -> BTreeMap<String, String> {
    let host = lock.packages.iter().filter(|locked| locked.roles.iter().any(|role| role == HOST));
    host.map(|locked| (locked.id.name.clone(), locked.id.version.0.clone())).collect()
}
