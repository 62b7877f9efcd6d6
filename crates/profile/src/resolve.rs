//! From files to one profile: the fold over the ancestors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::check::{
    bytes, check_argument, check_beside, check_id, check_package, check_pattern, check_reason,
    check_sbat, check_unit,
};
use crate::draft::{self, Change, Draft};
use crate::updates::{fold_health, fold_updates};
use crate::{
    Acknowledgement, Arch, Archive, Credentials, Health, Layout, Profile, UnitState, check_version,
    label, yaml,
};

/// How many ancestors a profile may have.
const MOST_ANCESTORS: usize = 16;
/// A version as long as the default one, for checking labels before the lock is known.
const USUAL_VERSION: &str = "20260101.0";
const DEFAULT_LAYOUT: &str = "dps-ab";
const NO_CREDENTIALS: &str = "systemd.import_credentials=no";

/// Loads the profile in the file `path`, folded over its ancestors; `read` gives a file's text.
///
/// `extends: mini` means `mini.yaml` beside the file that says so. What a file names is taken
/// relative to that file. Unknown keys, contradictions, cycles and dropping what no ancestor
/// added are errors that name the file.
pub fn load(path: &Path, read: &dyn Fn(&Path) -> Result<String>) -> Result<Profile> {
    let mut line: Vec<(PathBuf, Draft)> = Vec::new();
    let mut next = path.to_owned();
    loop {
        let name = next.display().to_string();
        if line.iter().any(|(known, _)| *known == next) {
            let chain: Vec<_> = line.iter().map(|(path, _)| path.display().to_string()).collect();
            bail!("{name}: extends itself: {} → {name}", chain.join(" → "));
        }
        if line.len() > MOST_ANCESTORS {
            bail!("{name}: more than {MOST_ANCESTORS} ancestors");
        }
        let text = read(&next).with_context(|| format!("read profile `{name}`"))?;
        let draft: Draft = yaml(&text, &name)?;
        let parent = draft.extends.as_deref().map(|parent| beside(&next, parent)).transpose();
        let parent = parent.with_context(|| format!("{name}: key `extends`"))?;
        line.push((next, draft));
        match parent {
            Some(parent) => next = parent,
            None => break,
        }
    }
    let mut profile = empty(path)?;
    for (path, draft) in line.into_iter().rev() {
        fold(&mut profile, &path, draft).with_context(|| path.display().to_string())?;
    }
    finish(&mut profile).with_context(|| path.display().to_string())?;
    Ok(profile)
}

/// Reads a profile that extends nothing from its text; `file` names it in errors and, without
/// its ending, the image.
pub fn parse(text: &str, file: &str) -> Result<Profile> {
    load(Path::new(file), &|path| {
        if path != Path::new(file) {
            bail!("a text alone has no parent `{}`", path.display());
        }
        Ok(text.to_owned())
    })
}

/// The profile `name` beside the file `path`; `name` may lead through other directories.
fn beside(path: &Path, name: &str) -> Result<PathBuf> {
    let name = name.strip_suffix(".yaml").unwrap_or(name);
    if name.is_empty() || name.ends_with('/') || name.chars().any(char::is_control) {
        bail!("`{name}` names no profile");
    }
    Ok(relative(path, &format!("{name}.yaml")))
}

/// `name` as seen from the file `path`, with `.` and `..` folded where the text allows it.
fn relative(path: &Path, name: &str) -> PathBuf {
    let mut folded = PathBuf::new();
    for part in path.parent().unwrap_or(Path::new("")).join(name).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(folded.components().next_back(), Some(Component::Normal(_))) =>
            {
                folded.pop();
            }
            part => folded.push(part),
        }
    }
    folded
}

fn empty(path: &Path) -> Result<Profile> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let id = stem.with_context(|| format!("`{}` is no name for a profile", path.display()))?;
    Ok(Profile {
        id: id.to_owned(),
        about: String::new(),
        arch: Arch::default(),
        archives: BTreeMap::new(),
        packages: BTreeMap::new(),
        files: Vec::new(),
        units: BTreeMap::new(),
        users: Vec::new(),
        kernel_args: Vec::new(),
        sbat: Vec::new(),
        layout: Layout {
            name: DEFAULT_LAYOUT.to_owned(),
            esp: None,
            usr: None,
            verity: None,
            signature: None,
            root: None,
            sector: None,
        },
        outputs: Vec::new(),
        version: None,
        updates: None,
        health: Health::default(),
        credentials: Credentials::default(),
        scripts: BTreeMap::new(),
        setid: BTreeMap::new(),
        drop: BTreeMap::new(),
        initrd: None,
        keep: Vec::new(),
        modules: Vec::new(),
        without: BTreeMap::new(),
        lints: BTreeMap::new(),
    })
}

/// Lays one file over what its ancestors said.
fn fold(profile: &mut Profile, path: &Path, draft: Draft) -> Result<()> {
    if let Some(id) = draft.id {
        profile.id = id;
    }
    if let Some(about) = draft.about {
        profile.about = about;
    }
    if let Some(arch) = draft.arch {
        profile.arch = arch;
    }
    if let Some(version) = draft.version {
        check_version(&version)?;
        profile.version = Some(version);
    }
    if let Some(credentials) = draft.credentials {
        profile.credentials = credentials;
    }
    if let Some(initrd) = draft.initrd {
        profile.initrd = Some(beside(path, &initrd).context("key `initrd`")?);
    }
    for (name, archive) in draft.archives {
        profile.archives.insert(name, fold_archive(path, archive));
    }
    fold_packages(&mut profile.packages, draft.packages).context("key `packages`")?;
    fold_files(&mut profile.files, path, draft.files).context("key `files`")?;
    fold_units(&mut profile.units, draft.units).context("key `units`")?;
    fold_set(&mut profile.users, draft.users, check_line).context("key `users`")?;
    fold_set(&mut profile.kernel_args, draft.kernel.args, check_argument)
        .context("key `kernel.args`")?;
    fold_set(&mut profile.sbat, draft.kernel.sbat, check_sbat).context("key `kernel.sbat`")?;
    fold_set(&mut profile.outputs, draft.outputs, check_id).context("key `outputs`")?;
    fold_set(&mut profile.keep, draft.keep, check_pattern).context("key `keep`")?;
    fold_set(&mut profile.modules, draft.modules, check_package).context("key `modules`")?;
    fold_layout(&mut profile.layout, draft.layout).context("key `layout`")?;
    if let Some(updates) = draft.updates {
        fold_updates(&mut profile.updates, updates).context("key `updates`")?;
    }
    fold_health(&mut profile.health, draft.health).context("key `health`")?;
    for (package, lines) in draft.scripts {
        check_package(&package).context("key `scripts`")?;
        let read = lines.0.iter().map(|line| acknowledgement(line));
        let read = read.collect::<Result<Vec<_>>>();
        let read = read.with_context(|| format!("key `scripts`: package `{package}`"))?;
        profile.scripts.entry(package).or_default().extend(read);
    }
    fold_reasons(&mut profile.setid, draft.setid).context("key `setid`")?;
    fold_reasons(&mut profile.drop, draft.drop).context("key `drop`")?;
    fold_reasons(&mut profile.without, draft.without).context("key `without`")?;
    for (lint, waivers) in draft.lints {
        let known = profile.lints.entry(lint.clone()).or_default();
        fold_reasons(known, waivers).with_context(|| format!("key `lints`: lint `{lint}`"))?;
    }
    Ok(())
}

/// What can be judged only when all is said.
fn finish(profile: &mut Profile) -> Result<()> {
    label(&profile.id, profile.version.as_deref().unwrap_or(USUAL_VERSION))?;
    if profile.credentials == Credentials::None {
        if profile.kernel_args.iter().any(|arg| arg == NO_CREDENTIALS) {
            bail!("`credentials: none` and kernel argument `{NO_CREDENTIALS}` say the same twice");
        }
        profile.kernel_args.push(NO_CREDENTIALS.to_owned());
    }
    if profile.keep.is_empty() && !profile.modules.is_empty() {
        bail!("key `modules` chooses among what `keep` keeps, and that is nothing");
    }
    for unit in &profile.health.units {
        if let Some(UnitState::Masked(_)) = profile.units.get(unit) {
            bail!("key `health.units` waits for `{unit}`, which is masked");
        }
    }
    let mut components = BTreeSet::new();
    let component = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
    if let Some(twice) = profile.sbat.iter().find(|line| !components.insert(component(line))) {
        bail!("key `kernel.sbat` names the component `{}` twice: `drop` one", component(twice));
    }
    Ok(())
}

fn fold_archive(path: &Path, archive: draft::Archive) -> Archive {
    Archive {
        source: archive.source,
        path: archive.path,
        url: archive.url,
        keyring: relative(path, &archive.keyring),
        suites: archive.suites,
        components: archive.components,
    }
}

fn fold_packages(
    known: &mut BTreeMap<String, Option<String>>,
    change: Change<draft::Packages>,
) -> Result<()> {
    let names: Vec<String> = change.add.0.iter().map(|(name, _)| name.clone()).collect();
    no_contradiction(&names, &change.drop)?;
    for name in &change.drop {
        if known.remove(name).is_none() {
            bail!("drops `{name}`, which nobody added");
        }
    }
    for (name, pin) in change.add.0 {
        check_package(&name)?;
        if let Some(pin) = pin.as_deref().filter(|pin| !is_word(pin)) {
            bail!("`{name}` is pinned to `{}`, which is no version", pin.escape_debug());
        }
        let old = known.entry(name).or_default();
        *old = pin.or(old.take());
    }
    Ok(())
}

fn fold_files(known: &mut Vec<PathBuf>, path: &Path, change: Change<Vec<String>>) -> Result<()> {
    change.add.iter().chain(&change.drop).try_for_each(|name| check_beside(name))?;
    let from_here = |names: &[String]| -> Vec<String> {
        names.iter().map(|name| relative(path, name).display().to_string()).collect()
    };
    let change = Change { add: from_here(&change.add), drop: from_here(&change.drop) };
    let mut names: Vec<String> = known.iter().map(|path| path.display().to_string()).collect();
    fold_set(&mut names, change, |_| Ok(()))?;
    *known = names.into_iter().map(PathBuf::from).collect();
    Ok(())
}

/// Drops and adds; what is there already stays where it is.
pub(crate) fn fold_set(
    known: &mut Vec<String>,
    change: Change<Vec<String>>,
    check: fn(&str) -> Result<()>,
) -> Result<()> {
    no_contradiction(&change.add, &change.drop)?;
    for name in &change.drop {
        let Some(at) = known.iter().position(|item| item == name) else {
            bail!("drops `{name}`, which nobody added");
        };
        known.remove(at);
    }
    for name in change.add {
        check(&name)?;
        if !known.contains(&name) {
            known.push(name);
        }
    }
    Ok(())
}

/// One file may name a thing once.
fn no_contradiction(add: &[String], drop: &[String]) -> Result<()> {
    let mut said: BTreeMap<&str, &str> = BTreeMap::new();
    let all = add.iter().map(|n| (n, "add")).chain(drop.iter().map(|n| (n, "drop")));
    for (name, how) in all {
        match said.insert(name, how) {
            None => {}
            Some(before) if before == how => bail!("`{how}` names `{name}` twice"),
            Some(_) => bail!("`{name}` is both added and dropped"),
        }
    }
    Ok(())
}

fn fold_units(known: &mut BTreeMap<String, UnitState>, units: draft::Units) -> Result<()> {
    let mut said: BTreeMap<String, UnitState> = BTreeMap::new();
    let enable = units.enable.into_iter().map(|unit| (unit, UnitState::Enabled));
    let disable = units.disable.into_iter().map(|unit| (unit, UnitState::Disabled));
    let mask = units.mask.into_iter().map(|(unit, reason)| (unit, UnitState::Masked(reason)));
    for (unit, state) in enable.chain(disable).chain(mask) {
        check_unit(&unit)?;
        if let UnitState::Masked(reason) = &state {
            check_reason(&format!("the mask of `{unit}`"), reason)?;
        }
        if let Some(before) = said.get(&unit) {
            bail!("`{unit}` is to be {} and {}", word(before), word(&state));
        }
        said.insert(unit, state);
    }
    no_contradiction(&[], &units.drop)?;
    for unit in &units.drop {
        if known.remove(unit).is_none() {
            bail!("drops `{unit}`, of which nobody said anything");
        }
    }
    for (unit, state) in said {
        let masked = |state: &UnitState| matches!(state, UnitState::Masked(_));
        if known.get(&unit).is_some_and(|before| masked(before) && !masked(&state)) {
            bail!("`{unit}` is to be {} but an ancestor masks it: `drop` it first", word(&state));
        }
        known.insert(unit, state);
    }
    Ok(())
}

fn word(state: &UnitState) -> &'static str {
    match state {
        UnitState::Enabled => "enabled",
        UnitState::Disabled => "disabled",
        UnitState::Masked(_) => "masked",
    }
}

fn fold_layout(known: &mut Layout, layout: draft::Layout) -> Result<()> {
    if let Some(name) = layout.name {
        check_id(&name)?;
        known.name = name;
    }
    let sizes = [
        (&mut known.esp, layout.esp, "esp"),
        (&mut known.usr, layout.usr, "usr"),
        (&mut known.verity, layout.verity, "verity"),
        (&mut known.signature, layout.signature, "signature"),
        (&mut known.root, layout.root, "root"),
    ];
    for (known, size, name) in sizes {
        if let Some(size) = size {
            *known = Some(bytes(&size).with_context(|| format!("key `{name}`"))?);
        }
    }
    match layout.sector {
        None => {}
        Some(512 | 4096) => known.sector = layout.sector,
        Some(other) => bail!("a sector has 512 or 4096 bytes, not {other}"),
    }
    Ok(())
}

fn fold_reasons(
    known: &mut BTreeMap<String, String>,
    reasons: BTreeMap<String, String>,
) -> Result<()> {
    for (path, reason) in reasons {
        check_pattern(&path)?;
        check_reason(&format!("`{path}`"), &reason)?;
        known.insert(path, reason);
    }
    Ok(())
}

fn acknowledgement(line: &str) -> Result<Acknowledgement> {
    let (sha256, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if sha256.len() != 64 || !sha256.chars().all(hex) {
        bail!("`{sha256}` is no SHA-256: 64 lower-case hexadecimal digits, a blank, the reason");
    }
    check_reason("the acknowledgement", reason)?;
    Ok(Acknowledgement { sha256: sha256.to_owned(), reason: reason.trim().to_owned() })
}

fn check_line(line: &str) -> Result<()> {
    if line.trim().is_empty() || line.chars().any(char::is_control) {
        bail!("`{}` is not one line", line.escape_debug());
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}
