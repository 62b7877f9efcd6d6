//! Feeds that a host refuses before it writes anything, and transfers that break off.
//!
//! One boot each: the server changes what it serves between attempts.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{list, read};
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::server::Fault;
use crate::update::story::{A, B, State, committed, finish, install};
use crate::update::versions::{Feed, Kind, Signer};

/// What the client makes of a feed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The update fails, and the journal has this word.
    Fails(&'static str),
    /// There is nothing new: that is a success.
    NothingNew,
}

type Make = fn(&Feed) -> Result<()>;

/// Name of the attack, what the client answers, how the copy of a good feed is made one.
const FEEDS: &[(&str, Answer, Make)] = &[
    ("list-changed-after-signing", Answer::Fails("BAD signature"), |feed| {
        let file = feed.channel().join("SHA256SUMS");
        let mut text = std::fs::read(&file).context("read the list")?;
        text.push(b'\n');
        feed.replace(&file, &text)
    }),
    ("list-signed-by-unknown-key", Answer::Fails("No public key"), |feed| {
        feed.sign(&Signer { key: None, at: None })
    }),
    ("list-whose-signature-expired", Answer::Fails("Expired signature"), |feed| {
        let past = read(Command::new("date").args(["-u", "-d", "3 days ago", "+%Y%m%dT%H%M%S"]))?;
        let past = String::from_utf8(past).context("read a date")?;
        feed.sign(&Signer { at: Some(past.trim()), ..Signer::release() })
    }),
    ("list-without-signature", Answer::Fails(""), |feed| {
        for file in list(&feed.channel())? {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("SHA256SUMS.") {
                std::fs::remove_file(&file).context("remove a signature")?;
            }
        }
        Ok(())
    }),
    ("other-product", Answer::NothingNew, |feed| renamed(feed, "", "other")),
    ("other-architecture", Answer::NothingNew, |feed| renamed(feed, ".x86-64.", ".arm64.")),
    ("older-version", Answer::NothingNew, |feed| renamed(feed, "_2", "_0.9")),
];

/// Every artifact has `new` where its name has `old` (in front of it when that is empty), and the
/// list is signed by the release key.
fn renamed(feed: &Feed, old: &str, new: &str) -> Result<()> {
    for file in list(&feed.channel())? {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.contains("x86-64") {
            let other = name.replacen(old, new, 1);
            std::fs::rename(&file, file.with_file_name(other)).context("rename an artifact")?;
        }
    }
    feed.sign(&Signer::release())
}

/// Name, end of the file's name that meets the fault, the fault.
const STREAMS: &[(&str, &str, Fault)] = &[
    ("usr-truncated", ".usr.raw.gz", Fault::Truncated(20 << 20)),
    ("usr-of-another-digest", ".usr.raw.gz", Fault::Wrong(10 << 20)),
    ("usr-missing", ".usr.raw.gz", Fault::Missing),
    ("usr-connection-reset", ".usr.raw.gz", Fault::Reset(5 << 20)),
    ("kernel-missing", ".efi", Fault::Missing),
    ("kernel-truncated", ".efi", Fault::Truncated(1 << 20)),
    ("usr-stalled", ".usr.raw.gz", Fault::Stalled(5 << 20)),
];

/// Refused before a byte is written: all of [`FEEDS`] in one boot.
pub(crate) fn feeds(ground: &Ground) -> Result<String> {
    let (id, good, mut host) = start(ground, "refused-feeds")?;
    let mut seen = Vec::new();
    for (name, answer, make) in FEEDS {
        let feed = good.copy(name)?;
        make(&feed).with_context(|| format!("make the feed `{name}`"))?;
        host.server.serve(&feed.folder);
        let before = host.ask("table; heads").map(|facts| whole(&facts))?;
        host.server.served();
        let told = host.ask("update; table; heads")?;
        let said = told.all("said").join("; ");
        let _ = std::fs::remove_dir_all(&feed.folder);
        let answered = match answer {
            Answer::Fails(word) => told.get("result") != "success" && said.contains(word),
            Answer::NothingNew => told.get("result") == "success",
        };
        if !answered {
            bail!("{name}: the update ended as {:?}: {said}", told.get("result"));
        }
        let after = whole(&told);
        if after != before || after.iter().any(|state| state.heads().len() != 3) {
            bail!("{name}: something was written: before {before:?}, after {after:?}");
        }
        let served = host.server.served();
        if !served.contains_key("SHA256SUMS") {
            bail!("{name}: the list was not asked for: {served:?}");
        }
        if let Some((file, _)) = served.iter().find(|(file, _)| file.contains("x86-64")) {
            bail!("{name}: `{file}` was fetched");
        }
        println!("        {name}: refused, nothing written");
        seen.push(*name);
    }
    accepted(&id, &good, host)
        .map(|last| format!("nothing written for {}; {last}", seen.join(", ")))
}

/// Found while it streams: all of [`STREAMS`] in one boot.
pub(crate) fn streams(ground: &Ground) -> Result<String> {
    let (id, good, mut host) = start(ground, "broken-streams")?;
    let mut seen = Vec::new();
    let running = State::of(&host.ask("heads")?, &A);
    for (name, end, fault) in STREAMS {
        host.server.serve(&good.folder);
        host.server.fault(end, *fault);
        let told = host.ask("update; table; heads")?;
        let said = told.all("said").join("; ");
        if told.get("result") == "success" {
            bail!("{name}: the update succeeded: {said}");
        }
        if let Some(uki) = told.all("uki").iter().find(|uki| uki.starts_with(&format!("{id}_2"))) {
            bail!("{name}: `{uki}` is on the ESP");
        }
        let rows = State::of(&told, &B).labels();
        let marked = |label: &String| label == "_empty" || label.starts_with("PRT#");
        if rows.len() != 3 || !rows.iter().all(marked) {
            bail!("{name}: slot B is labelled {rows:?}");
        }
        if State::of(&told, &A).heads() != running.heads() {
            bail!("{name}: the running slot was written to");
        }
        println!("        {name}: failed in {} s, slot B {rows:?}", told.get("seconds"));
        seen.push(format!("{name} ({} s)", told.get("seconds")));
    }
    host.server.serve(&good.folder);
    accepted(&id, &good, host).map(|last| format!("no version 2 after {}; {last}", seen.join(", ")))
}

fn start(ground: &Ground, name: &str) -> Result<(String, Feed, Host)> {
    let id = ground.profile.clone();
    let (one, two) = (ground.version("1", Kind::Good)?, ground.version("2", Kind::Good)?);
    let good = Feed::of(&id, name, &[&two])?;
    let mut host = Host::start(name, &one.baked.disk, &good.folder)?;
    committed(&host.up()?, &id, "1", &A)?;
    Ok((id, good, host))
}

/// The feed as it was: now the update succeeds, with nobody's help, and boots.
fn accepted(id: &str, good: &Feed, mut host: Host) -> Result<String> {
    host.server.serve(&good.folder);
    let installed = install(&mut host, good, id, "2", &B)?;
    host.order("systemctl --no-block reboot");
    committed(&host.up()?, id, "2", &B)?;
    finish(host);
    let _ = std::fs::remove_dir_all(Path::new(&good.folder));
    Ok(format!("then {installed}, blessed"))
}

/// Both slots and the ESP.
fn whole(facts: &crate::guest::Facts) -> [State; 2] {
    [State::of(facts, &A), State::of(facts, &B)]
}
