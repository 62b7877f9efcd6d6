//! Debian's archives: a signed `InRelease` for each suite, and the `Packages` that it names
//! (Debian wiki, DebianRepository/Format; deb-control(5)).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use fetch::Keyring;
use package::{Family, read_index, stanzas, unpack_index};
use store::{Blob, Epoch};

use super::{Ask, Snapshot, Source};
use crate::{LockedSuite, Trust};

pub(super) const SOURCE: Source = Source {
    name: "debian",
    family: Family::Deb,
    trust: Trust::Index,
    architecture: |uapi| match uapi {
        "x86-64" => Some("amd64"),
        "arm64" => Some("arm64"),
        "riscv64" => Some("riscv64"),
        _ => None,
    },
    // The packages marked `Essential` make a system; an initrd or a boot part is none.
    implying_roles: &["host"],
    read,
};

/// How far ahead of this machine's clock an index may be dated, in seconds: apt's own tolerance.
const AHEAD: u64 = 10 * 60 * 60;

/// What an `InRelease` says.
#[derive(Debug)]
struct Release {
    date: Epoch,
    valid_until: Option<Epoch>,
    by_hash: bool,
    files: BTreeMap<String, Blob>,
}

fn read(ask: &Ask) -> Result<Snapshot> {
    let keyring = Keyring::read(&ask.archive.keyring)
        .with_context(|| format!("read the keyring of archive `{}`", ask.archive.name))?;
    let mut suites = ask.archive.suites.clone();
    suites.sort();
    suites.dedup();
    let mut snapshot = Snapshot::default();
    for (i, suite) in suites.iter().enumerate() {
        let what = || format!("read suite `{suite}` of archive `{}`", ask.archive.name);
        read_suite(ask, &keyring, suite, i, &mut snapshot).with_context(what)?;
    }
    Ok(snapshot)
}

fn read_suite(
    ask: &Ask,
    keyring: &Keyring,
    suite: &str,
    position: usize,
    snapshot: &mut Snapshot,
) -> Result<()> {
    check_name(suite)?;
    let place = format!("dists/{suite}");
    let location = format!("{place}/InRelease");
    let signed = fetch::signed(ask.client, ask.mirror, &location, keyring, ask.now)?;
    let release = read_release(&signed.text, suite)?;
    if let Some(stale) = stale(&release, ask.now) {
        if ask.mirror.checks_dates && !ask.allow_stale {
            bail!("{stale}; `--allow-stale` uses it all the same");
        }
        snapshot.warnings.push(format!("suite {suite}: {stale}"));
    }
    for component in &ask.archive.components {
        check_name(component)?;
        let folder = format!("{component}/binary-{}", ask.architecture);
        let listed = ["Packages.xz", "Packages.gz", "Packages"]
            .map(|file| format!("{folder}/{file}"))
            .into_iter()
            .find_map(|name| Some((release.files.get(&name).copied()?, name)));
        let (blob, name) =
            listed.with_context(|| format!("find the index of `{folder}` in `InRelease`"))?;
        ask.progress.say(&format!("fetch index {suite}/{name} ({} kB)", blob.size.div_ceil(1000)));
        let location = match release.by_hash {
            true => format!("{place}/{folder}/by-hash/SHA256/{}", blob.digest),
            false => format!("{place}/{name}"),
        };
        let bytes = fetch::verified(ask.client, ask.mirror, &location, &blob)?;
        let plain = unpack_index(&name, &bytes)?;
        let records = read_index(Family::Deb, &plain, ask.architecture)
            .with_context(|| format!("read index `{name}`"))?;
        snapshot.records.extend(records.into_iter().map(|record| (record, position)));
    }
    snapshot.suites.push(LockedSuite {
        name: suite.to_owned(),
        date: release.date,
        signers: signed.signers,
    });
    Ok(())
}

/// Suites and components become parts of URLs.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
    let bad = |part: &str| part.is_empty() || part.starts_with('.') || !part.chars().all(plain);
    if name.split('/').any(bad) {
        bail!("`{}` is no name of a suite or component", name.escape_debug());
    }
    Ok(())
}

/// Reads the signed text. Its identity is the codename: `Suite` changes on release day.
fn read_release(text: &str, suite: &str) -> Result<Release> {
    let stanza = stanzas(text).next().context("find a stanza in `InRelease`")??;
    let codename = stanza.need("Codename")?;
    if codename != suite {
        bail!("the archive calls this suite `{codename}`: name it so in the profile");
    }
    let date = |field: &str| -> Result<Option<Epoch>> {
        let text = stanza.get(field);
        text.map(|text| read_date(text).with_context(|| format!("read `{field}`"))).transpose()
    };
    let mut files = BTreeMap::new();
    for line in stanza.need("SHA256")?.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [digest, size, name] = words[..] else {
            bail!("`{}` is no line of a list of digests", line.escape_debug());
        };
        let size = size.parse().with_context(|| format!("read the size of `{name}`"))?;
        let blob = Blob { digest: digest.parse()?, size };
        if size > package::LARGEST_INDEX && name.contains("/Packages") {
            bail!("index `{name}` has {size} bytes, more than {}", package::LARGEST_INDEX);
        }
        if files.insert(name.to_owned(), blob).is_some_and(|other| other != blob) {
            bail!("`{name}` is listed twice with two digests");
        }
    }
    Ok(Release {
        date: date("Date")?.context("find field `Date`")?,
        valid_until: date("Valid-Until")?,
        by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
        files,
    })
}

/// Why the index is not of this moment, if so.
fn stale(release: &Release, now: Epoch) -> Option<String> {
    if let Some(end) = release.valid_until.filter(|end| *end < now) {
        Some(format!("the index expired at {}", end.rfc3339()))
    } else if release.date.0 > now.0.saturating_add(AHEAD) {
        Some(format!(
            "the index is dated {}, in the future: look at this machine's clock, which says {}",
            release.date.rfc3339(),
            now.rfc3339()
        ))
    } else {
        None
    }
}

/// Reads `Sat, 09 Aug 2025 12:34:56 UTC` (RFC 5322, in UTC alone).
fn read_date(text: &str) -> Result<Epoch> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let bad =
        || format!("`{}` is no date such as `Sat, 09 Aug 2025 12:34:56 UTC`", text.escape_debug());
    let words: Vec<_> = text.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "+0000"] = words[..] else { bail!(bad()) };
    let number = |text: &str, least: u64, most: u64| -> Result<u64> {
        let number = text.parse().with_context(bad)?;
        if !(least..=most).contains(&number) {
            bail!(bad());
        }
        Ok(number)
    };
    let month = MONTHS.iter().position(|name| *name == month).with_context(bad)? as u64;
    let (day, year) = (number(day, 1, 31)?, number(year, 1970, 9999)?);
    let clock: Vec<_> = time.split(':').collect();
    let [hour, minute, second] = clock[..] else { bail!(bad()) };
    let seconds =
        number(hour, 0, 23)? * 3600 + number(minute, 0, 59)? * 60 + number(second, 0, 60)?;
    // Years begin in March, so that the leap day ends one.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Ok(Epoch((days - 719_468) * 86_400 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "Origin: x\nSuite: stable\nCodename: s\nAcquire-By-Hash: yes\n\
        Date: Sat, 09 Aug 2025 12:34:56 UTC\nValid-Until: Sat, 16 Aug 2025 12:34:56 UTC\nSHA256:\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad        3 main/x\n";

    #[test]
    fn dates_are_read_back_as_they_are_written() {
        for (text, is) in [
            ("Sat, 09 Aug 2025 12:34:56 UTC", "2025-08-09T12:34:56Z"),
            ("Thu, 01 Jan 1970 00:00:00 UTC", "1970-01-01T00:00:00Z"),
            ("Thu, 29 Feb 2024 23:59:59 +0000", "2024-02-29T23:59:59Z"),
            ("Sun,  1 Mar 2026  1:02:03 GMT", "2026-03-01T01:02:03Z"),
        ] {
            assert_eq!(read_date(text).unwrap().rfc3339(), is);
        }
        for bad in ["", "yesterday", "Sat, 09 Aug 2025 12:34:56 CET", "Sat, 00 Aug 2025 1:1:1 UTC"]
        {
            assert!(read_date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_codename_is_the_identity_and_the_suite_is_not() {
        let release = read_release(RELEASE, "s").unwrap();
        assert_eq!(release.files["main/x"], Blob::of(b"abc"));
        assert!(release.by_hash);
        assert!(read_release(&RELEASE.replace("stable", "oldstable"), "s").is_ok());
        let error = read_release(RELEASE, "stable").unwrap_err().to_string();
        assert!(error.contains("`s`"), "{error}");
    }

    #[test]
    fn an_index_past_its_end_or_from_the_future_is_stale() {
        let release = read_release(RELEASE, "s").unwrap();
        let at = |offset: i64| Epoch(release.date.0.saturating_add_signed(offset));
        assert_eq!(stale(&release, at(0)), None);
        assert!(stale(&release, at(8 * 86_400)).unwrap().contains("expired at 2025-08-16"));
        assert!(stale(&release, at(-86_400)).unwrap().contains("future"));
        let endless = Release { valid_until: None, ..release };
        assert_eq!(stale(&endless, at(900 * 86_400)), None);
    }

    #[test]
    fn a_broken_release_is_an_error() {
        for (from, to) in [
            ("        3 ", " -3 "),
            ("main/x", "main/x y"),
            ("ba78", "zz78"),
            ("Date:", "Dated:"),
            ("SHA256:", "MD5Sum:"),
            ("Codename: s", "Codename:"),
        ] {
            assert!(read_release(&RELEASE.replacen(from, to, 1), "s").is_err(), "{from} {to}");
        }
        assert!(check_name("../s").is_err() && check_name("s/updates").is_ok());
    }
}
