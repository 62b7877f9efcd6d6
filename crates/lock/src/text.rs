//! A lock as text: header lines, then a line for each package, made for `git diff`.
//!
//! Every line is a word and its columns, separated by two blanks; `-` stands for nothing.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use package::{Id, Version};
use store::{Blob, Epoch, Seed};

use crate::{Lock, Locked, LockedArchive, LockedSuite, Trust};

const TITLE: &str =
    "# hardtack lock, made by `hardtack lock`: every package by digest. Do not edit.";
const COLUMNS: &str = "# package  name  version  architecture  size  sha256  archive  location  \
                       source  source-version  licence  built  trust  signer  roles  asked";

/// The form of the text; another one is not read.
const FORM: &str = "1";

/// Largest lock that is read, in bytes.
const LARGEST: usize = 64 << 20;

impl Lock {
    /// The lock's text; equal locks have equal texts.
    pub fn text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        let mut line = |columns: &[&str]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", columns.join("  "));
        };
        line(&["lock", FORM]);
        line(&["architecture", &self.architecture]);
        line(&["epoch", &self.epoch.0.to_string(), &self.epoch.rfc3339()]);
        line(&["seed", &self.seed.0.to_string()]);
        line(&["request", &self.request.to_string()]);
        for warning in &self.warnings {
            line(&["warning", &warning.split_whitespace().collect::<Vec<_>>().join(" ")]);
        }
        for archive in &self.archives {
            let LockedArchive { name, source, path, url, .. } = archive;
            line(&["archive", name, source, path, url.as_deref().unwrap_or("-")]);
            for suite in &archive.suites {
                let date = suite.date.0.to_string();
                line(&["suite", name, &suite.name, &date, &suite.signers.join(",")]);
            }
        }
        line(&[COLUMNS]);
        let mut packages: Vec<_> = self.packages.iter().collect();
        packages.sort_by(|a, b| a.id.cmp(&b.id));
        for one in packages {
            line(&[
                "package",
                &one.id.name,
                &one.id.version.0,
                &one.id.architecture,
                &one.blob.size.to_string(),
                &one.blob.digest.to_string(),
                &one.repository,
                &one.location,
                &one.source,
                &one.source_version.0,
                one.licence.as_deref().unwrap_or("-"),
                &one.built.map_or("-".to_owned(), |built| built.0.to_string()),
                one.trust.word(),
                &one.signer,
                &one.roles.join(","),
                if one.asked { "asked" } else { "-" },
            ]);
        }
        text
    }

    /// Reads a lock's text.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > LARGEST {
            bail!("a lock of more than {LARGEST} bytes");
        }
        let mut read = Read::default();
        for (i, line) in text.lines().enumerate() {
            if !line.starts_with('#') && !line.is_empty() {
                let columns: Vec<&str> = line.split("  ").collect();
                read.line(&columns).with_context(|| format!("read lock, line {}", i + 1))?;
            }
        }
        read.finish()
    }
}

impl Trust {
    fn word(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Package => "package",
            Self::Both => "both",
        }
    }
}

#[derive(Default)]
struct Read {
    form: bool,
    architecture: Option<String>,
    epoch: Option<Epoch>,
    seed: Option<Seed>,
    request: Option<store::Digest>,
    warnings: Vec<String>,
    archives: Vec<LockedArchive>,
    packages: Vec<Locked>,
}

impl Read {
    fn line(&mut self, columns: &[&str]) -> Result<()> {
        if columns.iter().any(|column| column.is_empty()) {
            bail!("a column is empty");
        }
        if !self.form && !matches!(columns, ["lock", FORM]) {
            bail!("this is no lock of form {FORM}: it must begin with `lock  {FORM}`");
        }
        match columns {
            ["lock", _] if !self.form => self.form = true,
            ["architecture", name] => once(&mut self.architecture, (*name).to_owned())?,
            ["epoch", seconds, _] => once(&mut self.epoch, epoch(seconds)?)?,
            ["seed", digest] => once(&mut self.seed, Seed(digest.parse()?))?,
            ["request", digest] => once(&mut self.request, digest.parse()?)?,
            ["warning", text] => self.warnings.push((*text).to_owned()),
            ["archive", name, source, path, url] => {
                if self.archives.iter().any(|archive| archive.name == *name) {
                    bail!("archive `{name}` is there twice");
                }
                self.archives.push(LockedArchive {
                    name: (*name).to_owned(),
                    source: (*source).to_owned(),
                    path: (*path).to_owned(),
                    url: optional(url).map(str::to_owned),
                    suites: Vec::new(),
                });
            }
            ["suite", archive, name, date, signers] => {
                let mut archives = self.archives.iter_mut();
                let archive = archives.find(|one| one.name == *archive);
                let archive = archive.with_context(|| format!("find archive of suite `{name}`"))?;
                archive.suites.push(LockedSuite {
                    name: (*name).to_owned(),
                    date: epoch(date)?,
                    signers: signers.split(',').map(str::to_owned).collect(),
                });
            }
            ["package", columns @ ..] => self.package(columns)?,
            _ => bail!("`{}` is no line of a lock", columns.join("  ").escape_debug()),
        }
        Ok(())
    }

    fn package(&mut self, columns: &[&str]) -> Result<()> {
        let [
            name,
            version,
            architecture,
            size,
            digest,
            repository,
            location,
            source,
            source_version,
            licence,
            built,
            trust,
            signer,
            roles,
            asked,
        ] = *columns
        else {
            bail!("a package has 15 columns, not {}", columns.len());
        };
        let own = |text: &str| text.to_owned();
        if self.packages.last().is_some_and(|last| last.id.name.as_str() >= name) {
            bail!("package `{name}` is there twice, or out of order");
        }
        if !self.archives.iter().any(|archive| archive.name == repository) {
            bail!("package `{name}` is of an archive `{repository}` that the lock does not name");
        }
        self.packages.push(Locked {
            id: Id {
                name: own(name),
                version: Version(own(version)),
                architecture: own(architecture),
            },
            repository: own(repository),
            location: own(location),
            blob: Blob {
                digest: digest.parse()?,
                size: size.parse().with_context(|| format!("read size `{size}`"))?,
            },
            source: own(source),
            source_version: Version(own(source_version)),
            licence: optional(licence).map(own),
            built: optional(built).map(epoch).transpose()?,
            trust: match trust {
                "index" => Trust::Index,
                "package" => Trust::Package,
                "both" => Trust::Both,
                other => bail!("`{other}` is no trust"),
            },
            signer: own(signer),
            roles: roles.split(',').map(own).collect(),
            asked: optional(asked).is_some(),
        });
        Ok(())
    }

    fn finish(self) -> Result<Lock> {
        let missing = |what: &str| format!("find `{what}` in the lock");
        Ok(Lock {
            architecture: self.architecture.with_context(|| missing("architecture"))?,
            request: self.request.with_context(|| missing("request"))?,
            epoch: self.epoch.with_context(|| missing("epoch"))?,
            seed: self.seed.with_context(|| missing("seed"))?,
            warnings: self.warnings,
            archives: self.archives,
            packages: self.packages,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        bail!("the line is there twice");
    }
    Ok(())
}

fn epoch(seconds: &str) -> Result<Epoch> {
    Ok(Epoch(seconds.parse().with_context(|| format!("read time `{seconds}`"))?))
}

fn optional(column: &str) -> Option<&str> {
    (column != "-").then_some(column)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SAMPLE: &str = "\
lock  1
architecture  x86-64
epoch  1754742896  2025-08-09T12:34:56Z
seed  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
request  e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
warning  suite s: the index expired at 2025-08-16T12:34:56Z
archive  main  debian  debian  -
suite  main  s  1754742896  AA,BB
archive  other  debian  other  http://a.test/other
package  a  1  all  3  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  main  pool/a.deb  src  1  -  -  index  AA  host,initrd  asked
package  b  1:2~x  amd64  0  e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  other  pool/b.deb  b  1:2  MIT  5  both  BB  boot  -
";

    #[test]
    fn a_lock_is_read_back_as_it_was_written() {
        let lock = Lock::parse(SAMPLE).unwrap();
        let written = lock.text();
        let lines: Vec<_> = written.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, SAMPLE.lines().collect::<Vec<_>>());
        assert_eq!(Lock::parse(&written).unwrap(), lock);
        assert_eq!(lock.packages[0].roles, ["host", "initrd"]);
        assert_eq!((lock.packages[0].asked, lock.packages[1].asked), (true, false));
    }

    #[test]
    fn broken_locks_are_errors_with_the_line() {
        for (from, to, said) in [
            ("lock  1", "lock  2", "line 1: this is no lock"),
            ("architecture  x86-64", "architecture  x86-64  x", "line 2"),
            ("seed  ba", "seed  zz", "line 4"),
            ("package  b", "package  a", "line 11: package `a` is there twice"),
            ("  other  pool/b", "  elsewhere  pool/b", "does not name"),
            ("  asked", "", "15 columns, not 14"),
            ("  3  ba", "  -3  ba", "size"),
            ("  both", "  nobody", "no trust"),
            ("archive  other", "archive  main", "there twice"),
            ("epoch  1754742896", "epochs  1754742896", "no line of a lock"),
            ("  index  AA", "  index    AA", "empty"),
            ("request", "# request", "find `request`"),
        ] {
            let error = Lock::parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(said), "{from}: {error}");
        }
    }
}
