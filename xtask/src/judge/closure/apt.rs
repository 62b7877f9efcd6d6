//! An apt of the judge's own: its indexes, its idea of what is installed, nothing of the machine's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Choice;
use crate::judges::{RELEASE, configure, keyring};
use crate::mirrors::Mirrors;
use crate::run::{read, run};

pub(crate) struct Apt {
    configuration: PathBuf,
    /// What is installed already.
    status: PathBuf,
    preferences: PathBuf,
}

/// What an empty system asks for by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Implied {
    Essential,
    Nothing,
}

impl Apt {
    /// Fetches the indexes as they are now.
    pub(crate) fn new(home: &Path, mirrors: &Mirrors) -> Result<Apt> {
        let configuration = configure(home, mirrors, &keyring()?)?;
        let apt = Apt {
            configuration,
            status: home.join("status"),
            preferences: home.join("preferences"),
        };
        apt.write(&apt.preferences, "")?;
        run(apt.program("apt-get").args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]))?;
        Ok(apt)
    }

    /// What apt would install for a wish.
    pub(crate) fn choose(
        &self,
        wish: &BTreeSet<String>,
        assumed: &BTreeSet<String>,
        implied: Implied,
    ) -> Result<Choice> {
        self.assume(assumed)?;
        let mut command = self.program("apt-get");
        command.args(["install", "--simulate", "--no-install-recommends", "--"]);
        if implied == Implied::Essential {
            // apt counts itself among them; no dependency asks for it.
            command.arg("?and(?essential,?not(?installed),?not(?exact-name(apt)))");
        }
        let said = read(command.args(wish)).context("ask apt for its choice")?;
        installed(&String::from_utf8_lossy(&said))
    }

    /// Makes packages count as installed that nothing was unpacked of: what their stanzas say of
    /// others is left out, and the archive's own files of these names are never chosen instead.
    fn assume(&self, names: &BTreeSet<String>) -> Result<()> {
        self.write(&self.status, "")?;
        self.write(&self.preferences, "")?;
        if names.is_empty() {
            return Ok(());
        }
        let mut command = self.program("apt-cache");
        let shown = read(command.args(["show", "--no-all-versions"]).args(names))
            .context("ask apt for the assumed packages")?;
        let status = status(&String::from_utf8_lossy(&shown));
        self.write(&self.status, &status)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pin = format!("Pin: release n={RELEASE}*\nPin-Priority: -1\n");
        self.write(&self.preferences, &format!("Package: {}\n{pin}", names.join(" ")))
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C");
        let preferences = format!("Dir::Etc::Preferences={}", self.preferences.display());
        command.args(["-o", &preferences]);
        command
    }
}

/// Stanzas of an index as stanzas of installed packages that need nothing.
fn status(index: &str) -> String {
    let kept = ["Package", "Version", "Architecture", "Multi-Arch", "Provides"];
    let mut status = String::new();
    for stanza in index.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
        status.push_str("Status: install ok installed\nMaintainer: x\nDescription: x\n");
        for line in stanza.lines() {
            if line.split_once(':').is_some_and(|(name, _)| kept.contains(&name)) {
                status.push_str(line);
                status.push('\n');
            }
        }
        status.push('\n');
    }
    status
}

/// Lines such as `Inst name [old] (version archive [arch])`.
fn installed(said: &str) -> Result<Choice> {
    let mut choice = Choice::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("Inst ")) {
        let name = line.split(' ').next().unwrap_or_default();
        let version = line.split_once('(').and_then(|(_, rest)| rest.split(' ').next());
        let version = version.with_context(|| format!("read `{line}` of apt"))?;
        choice.insert(name.to_owned(), version.to_owned());
    }
    if choice.is_empty() {
        bail!("apt would install nothing");
    }
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_says_is_read() {
        let said = "Reading…\nInst a (1:2-3 Debian:13/stable [amd64])\n\
                    Inst b [1] (2 Debian:13/stable [all]) []\nConf a (1:2-3 x)\n";
        let choice = installed(said).unwrap();
        assert_eq!(choice["a"], "1:2-3");
        assert_eq!((choice["b"].as_str(), choice.len()), ("2", 2));
        assert!(installed("nothing\n").is_err());
    }

    #[test]
    fn an_assumed_package_provides_and_needs_nothing() {
        let status = status("Package: a\nVersion: 1\nDepends: b\nProvides: c\n d\n\n\n");
        assert_eq!(status.matches("Status:").count(), 1);
        assert!(status.contains("Provides: c") && !status.contains("Depends"), "{status}");
    }
}
