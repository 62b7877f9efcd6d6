//! What was found at every cut, and the least that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use inspect::gpt;
use inspect::gpt::FoundPartition;

use super::cuts::{Cut, Kind, Numbers, play};
use super::disk::{Disk, Layer};
use super::log::{Entry, Log, SECTOR};
use super::start::Machine;

/// What was found.
pub(crate) struct Report {
    /// Flushes, writes and bytes of the log.
    log: (u64, u64, u64),
    looks: BTreeMap<Kind, u64>,
    /// How often each kernel came up, and how often after others had failed.
    boots: BTreeMap<String, (u64, u64)>,
    /// How often the loader passed over a kernel's name.
    passed: BTreeMap<String, u64>,
    /// How many cuts nothing comes up from, by the like of the reason.
    violations: BTreeMap<String, Violation>,
}

struct Violation {
    count: u64,
    /// The first reason of its like.
    why: String,
    /// The first cut, in words, and a log that shows it on the base.
    first: String,
    cut: Cut,
    excerpt: Option<(PathBuf, usize)>,
}

/// Reasons of which a log is written, and how many tries making one small may take.
const EXCERPTS: usize = 4;
const TRIES: usize = 300;

/// Tries every cut of `log` on `base`. Excerpts are written beside the log.
pub(crate) fn check(
    base: &Path,
    log: &Path,
    trusted: BTreeSet<String>,
    seed: u64,
) -> Result<Report> {
    let path = log;
    let (mut disk, log) = (Disk::open(base)?, Log::open(log)?);
    let parts = gpt::survey(&mut disk).map(|(table, _)| table.partitions).unwrap_or_default();
    let mut report = Report::of(&log);
    let mut machine = Machine::new(trusted.clone());
    play(&mut disk, &log, &mut Numbers(seed), &mut |disk, cut| {
        *report.looks.entry(cut.kind).or_default() += 1;
        let start = machine.start(disk);
        if let Some(kernel) = start.boots {
            let (boots, after) = report.boots.entry(kernel).or_default();
            *boots += 1;
            *after += u64::from(!start.fallen.is_empty());
        }
        for name in start.passed {
            *report.passed.entry(name).or_default() += 1;
        }
        if let Some(why) = start.violation {
            let found = report.violations.entry(like(&why)).or_insert_with(|| {
                let first = words(&log, cut, &parts);
                Violation { count: 0, why, first, cut: cut.clone(), excerpt: None }
            });
            found.count += 1;
        }
        Ok(())
    })?;
    for (number, (why, violation)) in report.violations.iter_mut().take(EXCERPTS).enumerate() {
        let kept = least(base, &log, &trusted, &violation.cut, why)?;
        // Appended: an excerpt may be looked at in its turn.
        let mut excerpt = path.as_os_str().to_owned();
        excerpt.push(format!(".violation-{}", number + 1));
        let excerpt = PathBuf::from(excerpt);
        log.excerpt(&kept, &excerpt)?;
        violation.excerpt = Some((excerpt, kept.len()));
    }
    Ok(report)
}

impl Report {
    fn of(log: &Log) -> Report {
        let mut counts = (0, 0, 0);
        for entry in &log.entries {
            match entry.range() {
                None => counts.0 += 1,
                Some((_, sectors)) => {
                    counts.1 += 1;
                    counts.2 += sectors * SECTOR;
                }
            }
        }
        let (looks, boots) = (BTreeMap::new(), BTreeMap::new());
        let (passed, violations) = (BTreeMap::new(), BTreeMap::new());
        Report { log: counts, looks, boots, passed, violations }
    }

    /// How many cuts were looked at.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.values().sum()
    }

    /// No cut leaves a disk that does not start.
    pub(crate) fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// Reasons, each with how many cuts it has.
    #[cfg(test)]
    pub(crate) fn reasons(&self) -> Vec<(&str, u64, &str)> {
        let violations = self.violations.iter();
        violations.map(|(_, one)| (one.why.as_str(), one.count, one.first.as_str())).collect()
    }

    /// The excerpts that were written, and how many entries each has.
    #[cfg(test)]
    pub(crate) fn excerpts(&self) -> Vec<(PathBuf, usize)> {
        self.violations.values().filter_map(|found| found.excerpt.clone()).collect()
    }

    /// How many cuts of a kind were looked at.
    #[cfg(test)]
    pub(crate) fn of_kind(&self, kind: Kind) -> u64 {
        self.looks.get(&kind).copied().unwrap_or(0)
    }

    /// How often the loader passed over a kernel's name.
    #[cfg(test)]
    pub(crate) fn passed(&self, kernel: &str) -> u64 {
        self.passed.get(kernel).copied().unwrap_or_default()
    }

    /// How often a kernel came up, and how often after others had failed.
    #[cfg(test)]
    pub(crate) fn boots(&self, kernel: &str) -> (u64, u64) {
        self.boots.get(kernel).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flushes, writes, bytes) = self.log;
        writeln!(f, "log:        {writes} writes of {} MiB, {flushes} flushes", bytes >> 20)?;
        let count = |kind| self.looks.get(&kind).copied().unwrap_or(0);
        writeln!(
            f,
            "cuts:       {} ({} at flushes, {} after writes, {} in torn writes, {} reordered)",
            self.looks(),
            count(Kind::Flush),
            count(Kind::Write),
            count(Kind::Torn),
            count(Kind::Reordered)
        )?;
        for (kernel, (boots, after)) in &self.boots {
            writeln!(
                f,
                "comes up:   {boots} `{kernel}`, {after} of them after a trial that fails"
            )?;
        }
        for (name, count) in &self.passed {
            writeln!(f, "passed:     {count} times `{name}`, which says no version to the loader")?;
        }
        let violations: u64 = self.violations.values().map(|found| found.count).sum();
        write!(f, "violations: {violations}")?;
        for found in self.violations.values() {
            let Violation { count, why, first, .. } = found;
            write!(f, "\n  {count} times: {why}\n    first: {first}")?;
            if let Some((path, entries)) = &found.excerpt {
                write!(f, "\n    {entries} writes that show it: {}", path.display())?;
            }
        }
        Ok(())
    }
}

/// A cut in words: how it was chosen, and the last write on the medium.
fn words(log: &Log, cut: &Cut, parts: &[FoundPartition]) -> String {
    let kind = match cut.kind {
        Kind::Flush => "at a flush",
        Kind::Write => "after a write",
        Kind::Torn => "inside a write",
        Kind::Reordered => "some writes since the last flush",
    };
    let before = log.entries[..cut.until].iter().rposition(|entry| *entry != Entry::Flush);
    let last = cut.more.last().map(|(index, _)| *index).or(before);
    let range = last.and_then(|index| Some((index, log.entries[index].range()?)));
    let Some((index, (at, all))) = range else { return kind.to_owned() };
    let kept = cut.more.last().map_or(all, |(_, sectors)| *sectors);
    let byte = at.saturating_mul(SECTOR);
    let part = parts.iter().find(|part| (part.offset..part.offset + part.length).contains(&byte));
    let place = part.map_or("no partition".to_owned(), |part| {
        format!("partition {} (`{}`)", part.number, part.label)
    });
    format!("{kind}; entry {index}: {kept} of {all} sectors from {at}, in {place}")
}

/// A reason without the numbers in it: block 7 and block 8 are one fault.
fn like(why: &str) -> String {
    let mut like = String::new();
    for letter in why.chars() {
        match letter {
            '0'..='9' if like.ends_with('#') => {}
            '0'..='9' => like.push('#'),
            other => like.push(other),
        }
    }
    like
}

/// As few writes as still give the same reason: pieces are left out as long as that holds.
fn least(
    base: &Path,
    log: &Log,
    trusted: &BTreeSet<String>,
    cut: &Cut,
    why: &str,
) -> Result<Vec<(usize, u64)>> {
    let whole = log.entries[..cut.until].iter().enumerate();
    let mut kept: Vec<(usize, u64)> =
        whole.filter_map(|(index, entry)| Some((index, entry.range()?.1))).collect();
    kept.extend(&cut.more);
    let shows = |writes: &[(usize, u64)]| -> Result<bool> {
        let mut disk = Disk::open(base)?;
        for (index, sectors) in writes {
            disk.apply(log, &log.entries[*index], *sectors, Layer::Settled)?;
        }
        Ok(Machine::new(trusted.clone())
            .start(&mut disk)
            .violation
            .is_some_and(|found| like(&found) == why))
    };
    let (mut size, mut tries) = (kept.len().div_ceil(2), 0);
    while size > 0 && tries < TRIES {
        let mut at = 0;
        while at < kept.len() && tries < TRIES {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + size).min(kept.len()));
            tries += 1;
            if shows(&fewer)? {
                kept = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Ok(kept)
}
