//! `cargo xtask image`: builds the program, bakes a profile with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Build;
use crate::doctor::{self, Consent, Need};
use crate::run::{cargo, list, run, target, top};

/// A profile, found.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

impl Profile {
    /// `word` is a name in `profiles/` or the path of a profile.
    pub(crate) fn find(word: &str) -> Result<Profile> {
        let named = top().join("profiles").join(format!("{word}.yaml"));
        let file = if named.is_file() { named } else { PathBuf::from(word) };
        if !file.is_file() {
            let known = list(&top().join("profiles")).unwrap_or_default();
            let yaml = known.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml"));
            let names: Vec<_> = yaml.filter_map(|path| path.file_stem()?.to_str()).collect();
            bail!("find the profile `{word}`: neither a file nor one of {}", names.join(", "));
        }
        let name = file.file_stem().and_then(|stem| stem.to_str());
        let name = name.with_context(|| format!("name the profile `{word}`"))?.to_owned();
        Ok(Profile { name, file })
    }

    /// Where its image lies.
    pub(crate) fn output(&self) -> PathBuf {
        target().join("images").join(&self.name)
    }
}

/// The program that everything here is about.
pub(crate) fn hardtack() -> Command {
    let mut command = Command::new(target().join("debug/hardtack"));
    command.current_dir(top());
    command
}

/// Compiles the workspace. Always the same selection: another would compile much of it again.
pub(crate) fn compile() -> Result<()> {
    run(cargo().args(["build", "--workspace"])).context("build the workspace")
}

/// The verb.
pub(crate) fn image(build: &Build, consent: Consent) -> Result<()> {
    let profile = Profile::find(&build.profile)?;
    doctor::ready(Need::Build, consent)?;
    compile()?;
    bake(&profile, build)
}

/// Bakes with the program as it is compiled.
pub(crate) fn bake(profile: &Profile, build: &Build) -> Result<()> {
    let mut command = hardtack();
    command.arg("image").arg(&profile.file);
    for (option, folder) in [("--store", "store"), ("--keys", "keys"), ("--locks", "locks")] {
        command.arg(option).arg(target().join(folder));
    }
    command.arg("--output").arg(profile.output());
    for (option, value) in [("--mirror", &build.mirror), ("--version", &build.version)] {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    for (option, given) in [
        ("--update", build.update),
        ("--locked", build.locked),
        ("--allow-stale", build.allow_stale),
    ] {
        if given {
            command.arg(option);
        }
    }
    run(command.args(&build.rest)).with_context(|| format!("bake `{}`", profile.name))
}

/// The scripts that nobody has reviewed, as `result.json` names them.
pub(crate) fn unreviewed(folder: &Path) -> Result<Vec<String>> {
    let file = folder.join("result.json");
    let text = std::fs::read(&file).with_context(|| format!("read `{}`", file.display()))?;
    let result: Value =
        serde_json::from_slice(&text).with_context(|| format!("parse `{}`", file.display()))?;
    let scripts = result.get("unreviewed-scripts").and_then(Value::as_array);
    let scripts =
        scripts.with_context(|| format!("find `unreviewed-scripts` in `{}`", file.display()))?;
    Ok(scripts.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What `result.json` says of an image, as far as booting it needs; of a disk that came without one
/// nothing is known.
#[derive(Clone, Debug)]
pub(crate) struct Baked {
    pub(crate) disk: PathBuf,
    pub(crate) root_hash: Option<String>,
    pub(crate) version: Option<String>,
    /// The list of every path.
    pub(crate) inventory: Option<PathBuf>,
}

impl Baked {
    /// Reads the result beside the image.
    pub(crate) fn of(folder: &Path) -> Result<Baked> {
        let file = folder.join("result.json");
        let text = std::fs::read(&file).with_context(|| format!("read `{}`", file.display()))?;
        let result: Value =
            serde_json::from_slice(&text).with_context(|| format!("parse `{}`", file.display()))?;
        let artifacts = result.get("artifacts").and_then(Value::as_object);
        let artifact = |end: &str| {
            let mut names = artifacts.into_iter().flatten().map(|(name, _)| name);
            let name = names.find(|name| name.ends_with(end));
            let name = name.with_context(|| format!("find a `{end}` in `{}`", file.display()))?;
            Ok::<_, anyhow::Error>(folder.join(name))
        };
        let disk = artifact(".raw")?;
        if !disk.is_file() {
            bail!("`{}` names `{}`, which is gone", file.display(), disk.display());
        }
        let word = |name: &str| {
            let found = result.get(name).and_then(Value::as_str).map(str::to_owned);
            found.with_context(|| format!("find `{name}` in `{}`", file.display()))
        };
        Ok(Baked {
            disk,
            root_hash: Some(word("root-hash")?),
            version: Some(word("version")?),
            inventory: Some(artifact(".inventory.json")?),
        })
    }
}
