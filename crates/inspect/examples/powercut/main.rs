//! Looks at a disk as power cuts would leave it: a base image and a log of every write to it
//! (dm-log-writes) make the disk of any moment, and each is read as a machine would start it.
//!
//! It is an example of this crate and no verb of the product: it judges with the readers here, in
//! one process, thousands of disks a minute. `cargo xtask powercut` records logs and calls it. Its
//! tests are among the crate's judges (`tests/judge/powercut.rs`), beside what makes their disks.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

mod cuts;
mod disk;
mod log;
mod order;
mod report;
mod start;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base64ct::{Base64, Encoding};
use inspect::{Window, gpt};
use sha2::{Digest, Sha256};

use disk::{Disk, Layer};
use log::{Log, SECTOR};
use report::check;

const USAGE: &str = "\
powercut check BASE LOG [--trusted CERTIFICATE]... [--at-least COUNT] [--seed NUMBER]
    tries every cut; fails at a violation, and when there are fewer cuts than COUNT
powercut boundaries BASE LOG --partition NUMBER
    prints after how many entries a flush ended a change of the partition
powercut cut BASE LOG OUTPUT [--from COUNT] [--entries COUNT] [--partition NUMBER]
    writes the disk, or one partition, as it is after COUNT entries; with --from, OUTPUT holds it
    as it was after that many";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The command line, understood.
#[derive(Default)]
struct Arguments {
    places: Vec<PathBuf>,
    trusted: Vec<PathBuf>,
    at_least: u64,
    seed: u64,
    from: Option<usize>,
    entries: Option<usize>,
    partition: Option<u32>,
}

fn run(words: Vec<String>) -> Result<ExitCode> {
    let mut words = words.into_iter();
    let verb = words.next().unwrap_or_default();
    let mut given = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` needs a value\n{USAGE}"));
        match word.as_str() {
            "--trusted" => given.trusted.push(value()?.into()),
            "--at-least" => given.at_least = value()?.parse().context("read a count")?,
            "--seed" => given.seed = value()?.parse().context("read a seed")?,
            "--from" => given.from = Some(value()?.parse().context("read a count")?),
            "--entries" => given.entries = Some(value()?.parse().context("read a count")?),
            "--partition" => given.partition = Some(value()?.parse().context("read a number")?),
            place => given.places.push(place.into()),
        }
    }
    match (verb.as_str(), given.places.as_slice()) {
        ("check", [base, log]) => {
            let trusted = given.trusted.iter().map(|path| fingerprint(path));
            let trusted = trusted.collect::<Result<BTreeSet<_>>>()?;
            let report = check(base, log, trusted, given.seed)?;
            println!("{report}");
            if report.looks() < given.at_least {
                bail!("{} cuts are fewer than {}", report.looks(), given.at_least);
            }
            Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ("boundaries", [base, log]) => {
            boundaries(base, log, given.partition.context("--partition is missing")?)?;
            Ok(ExitCode::SUCCESS)
        }
        ("cut", [base, log, output]) => {
            cut(base, log, output, &given)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage:\n{USAGE}"),
    }
}

/// SHA-256 of the certificate in a file in PEM form (RFC 7468).
fn fingerprint(path: &Path) -> Result<String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("read `{shown}`"))?;
    let inner = text.split_once("-----BEGIN CERTIFICATE-----").map(|(_, rest)| rest);
    let inner = inner.and_then(|rest| Some(rest.split_once("-----END CERTIFICATE-----")?.0));
    let digits: String = inner
        .with_context(|| format!("find a certificate in `{shown}`"))?
        .split_whitespace()
        .collect();
    let Ok(der) = Base64::decode_vec(&digits) else { bail!("`{shown}` is not in base 64") };
    Ok(Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first byte and the length of a partition, as the last table says: the first boot grows one.
fn partition(base: &Path, log: &Log, number: u32) -> Result<(u64, u64)> {
    let mut disk = Disk::open(base)?;
    for entry in &log.entries {
        let table = entry.range().filter(|(at, _)| *at < TABLE_SECTORS);
        if let Some((_, sectors)) = table {
            disk.apply(log, entry, sectors, Layer::Settled)?;
        }
    }
    let (table, _) = gpt::survey(&mut disk).context("read the partition table")?;
    let mut partitions = table.partitions.iter();
    let found = partitions.find(|partition| partition.number == number);
    let found = found.with_context(|| format!("find partition {number}"))?;
    Ok((found.offset, found.length))
}

/// Where the first partition may begin.
const TABLE_SECTORS: u64 = 34;

fn boundaries(base: &Path, log: &Path, number: u32) -> Result<()> {
    let log = Log::open(log)?;
    let (start, length) = partition(base, &log, number)?;
    let mut changed = false;
    for (index, entry) in log.entries.iter().enumerate() {
        match entry.range() {
            Some((at, sectors)) => changed |= overlap(at, sectors, start, length).is_some(),
            None if changed => {
                println!("{}", index + 1);
                changed = false;
            }
            None => {}
        }
    }
    Ok(())
}

/// The bytes that a write of sectors and a partition share: first byte on the disk, length.
fn overlap(at: u64, sectors: u64, start: u64, length: u64) -> Option<(u64, u64)> {
    let (from, to) = (at.checked_mul(SECTOR)?, at.checked_add(sectors)?.checked_mul(SECTOR)?);
    let (from, to) = (from.max(start), to.min(start.checked_add(length)?));
    (from < to).then(|| (from, to - from))
}

/// Writes a partition, or the disk; what is at `output` already is its state after `from` entries.
fn cut(base: &Path, log: &Path, output: &Path, given: &Arguments) -> Result<()> {
    let (mut disk, log) = (Disk::open(base)?, Log::open(log)?);
    let (start, length) = match given.partition {
        Some(number) => partition(base, &log, number)?,
        None => (0, disk.size()),
    };
    let entries = log.entries.iter().take(given.entries.unwrap_or(log.entries.len()));
    let mut pieces = if given.from.is_none() { vec![(start, length)] } else { Vec::new() };
    for (index, entry) in entries.enumerate() {
        let Some((at, sectors)) = entry.range() else { continue };
        disk.apply(&log, entry, sectors, Layer::Settled)?;
        if given.from.is_some_and(|from| index >= from) {
            pieces.extend(overlap(at, sectors, start, length));
        }
    }
    let shown = output.display();
    let file = File::options().create(true).write(true).truncate(given.from.is_none()).open(output);
    let mut file = file.with_context(|| format!("open `{shown}`"))?;
    for (from, length) in pieces {
        let mut window = Window::new(&mut disk, from, length);
        file.seek(SeekFrom::Start(from - start)).with_context(|| format!("go in `{shown}`"))?;
        fill(&mut window, &mut file, given.from).with_context(|| format!("write `{shown}`"))?;
    }
    file.set_len(length).with_context(|| format!("size `{shown}`"))
}

/// Copies; on a fresh file holes stay holes.
fn fill(window: &mut impl Read, file: &mut File, from: Option<usize>) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = window.read(&mut buffer).context("read the disk")?;
        let piece = &buffer[..read];
        if read == 0 {
            return Ok(());
        }
        if from.is_none() && piece.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(read)?)).context("pass over a hole")?;
        } else {
            file.write_all(piece).context("write a piece")?;
        }
    }
}
