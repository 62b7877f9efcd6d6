//! Versions that are bad, and that the host is on the old one afterwards with nobody's help.
//!
//! Each is properly listed and signed with the release key: what stops it is the host.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::console::plain;
use crate::disk::{self, Extent};
use crate::run::{read, run, target, tool};
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, B, committed, finish, install};
use crate::update::versions::{Feed, Kind, Signer, UNREAD_PATH};

/// How a published version is made bad, in a folder for files.
type Damage = fn(&Feed, &Path) -> Result<()>;

/// Who finds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Firmware or loader: no kernel of that version ever runs.
    Firmware,
    /// The version's own kernel, initrd or health gate, by a reset.
    Reset,
}

/// One by the update, two that are lent to what was started.
const MOST_TRIES: usize = 3;

/// How far a case goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Until the next version lies in the bad one's slot.
    Short,
    /// Another boot after the fall back, and one into the next version.
    Whole,
}

/// A kind of bad version.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    found: Found,
    kind: Kind,
    damage: Damage,
}

const fn damaged(name: &'static str, found: Found, damage: Damage) -> Bad {
    Bad { name, found, kind: Kind::Good, damage }
}

/// Every kind, the cheapest first.
pub(crate) const BAD: &[Bad] = &[
    damaged("uki-unsigned", Found::Firmware, unsigned),
    damaged("kernel-panics-early", Found::Reset, |feed, _| {
        on_command_line(feed, "systemd.crash_action=reboot", "rdinit=/none")
    }),
    damaged("uki-of-unknown-key", Found::Firmware, unknown_key),
    damaged("usr-data", Found::Reset, |feed, work| usr(feed, work, "/lib/systemd/systemd")),
    damaged("usr-data-that-nothing-reads", Found::Reset, |feed, work| {
        usr(feed, work, &format!("/{UNREAD_PATH}"))
    }),
    damaged("hash-tree", Found::Reset, hash_tree),
    damaged("wrong-root-hash", Found::Reset, wrong_root_hash),
    damaged("usr-never-found", Found::Reset, |feed, _| {
        on_command_line(feed, "mount.usr=/dev/mapper/usr", "mount.usr=/dev/mapper/xxx")
    }),
    Bad { name: "health-fails", found: Found::Reset, kind: Kind::Failing, damage: |_, _| Ok(()) },
    Bad { name: "health-hangs", found: Found::Reset, kind: Kind::Hanging, damage: |_, _| Ok(()) },
];

/// Version 1 takes the bad version 2, is back by itself, leaves that alone, and takes version 3 in
/// its place.
pub(crate) fn show(bad: &Bad, ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let (one, two, three) = (
        ground.version("1", Kind::Good)?,
        ground.version("2", bad.kind)?,
        ground.version("3", Kind::Good)?,
    );
    let work = target().join("update").join(id).join("bad").join(bad.name);
    let name = |rest: &str| format!("{}-{rest}", bad.name);
    // The version after it must not be offered yet, so there are two feeds with the same damage.
    let mut feeds = Vec::new();
    for (rest, versions) in [("alone", vec![&two]), ("followed", vec![&two, &three])] {
        let feed = Feed::of(id, &name(rest), &versions)?;
        std::fs::create_dir_all(&work).with_context(|| format!("make `{}`", work.display()))?;
        (bad.damage)(&feed, &work).with_context(|| format!("make version 2 bad: {}", bad.name))?;
        if bad.kind == Kind::Good {
            feed.sign(&Signer::release())?;
        }
        feeds.push(feed);
    }
    let [alone, followed] = feeds.as_slice() else { bail!("make two feeds") };
    let mut host = Host::start(bad.name, &one.baked.disk, &alone.folder)?;
    let seen = tried(bad, &mut host, id, followed, two.baked.root_hash.as_deref(), ground.depth);
    let feeds = [&alone.folder, &followed.folder].map(std::fs::remove_dir_all);
    let _ = (feeds, std::fs::remove_dir_all(&work));
    finish(host);
    seen
}

fn tried(
    bad: &Bad,
    host: &mut Host,
    id: &str,
    followed: &Feed,
    root_hash: Option<&str>,
    depth: Depth,
) -> Result<String> {
    committed(&host.up()?, id, "1", &A)?;
    let update = host.ask("update; table")?;
    if update.get("result") != "success" || !update.all("uki").contains(&format!("{id}_2+1-0.efi"))
    {
        bail!("the host refused what was to be found later: {update:?}");
    }
    host.server.served();
    let before = host.console().len();
    let start = std::time::Instant::now();
    host.order("systemctl --no-block reboot");
    let mut back = host.up()?;
    // A version that is up before its gate fails tells of itself too.
    for _ in 0..MOST_TRIES {
        if back.get("version") != "2" {
            break;
        }
        back = host.up()?;
    }
    let seconds = start.elapsed().as_secs();
    committed(&back, id, "1", &A).context("after the bad version")?;
    let console = host.console();
    let said = console.get(before..).unwrap_or_default();
    let tries = tries(bad.found, said, root_hash)?;
    let ukis = back.all("uki");
    if ukis.contains(&format!("{id}_2.efi")) {
        bail!("the bad version was blessed: {ukis:?}");
    }
    let left = ukis.iter().find(|name| name.starts_with(&format!("{id}_2+0-")));
    let left = left.with_context(|| format!("the bad version has tries left: {ukis:?}"))?.clone();

    // It is not tried again, and not fetched again.
    if depth == Depth::Whole {
        host.order("systemctl --no-block reboot");
        let again = host.up()?;
        committed(&again, id, "1", &A).context("at the boot after that")?;
        if !again.all("uki").contains(&left) {
            bail!("the bad version was tried again: {:?}", again.all("uki"));
        }
    }
    let update = host.ask("systemctl start hardtack-update-reboot.service; update; table")?;
    let served = host.server.served();
    let fetched: Vec<&String> = served
        .iter()
        .filter(|(name, size)| name.starts_with(id) && **size > 0)
        .map(|(n, _)| n)
        .collect();
    if !fetched.is_empty() || update.get("result") != "success" {
        bail!("the bad version was fetched again: {fetched:?}, {update:?}");
    }

    host.server.serve(&followed.folder);
    let installed = install(host, followed, id, "3", &B)?;
    let fell = format!("back on 1 after {tries} in {seconds} s ({left}), {installed} in its place");
    if depth == Depth::Short {
        return Ok(fell);
    }
    host.order("systemctl --no-block reboot");
    let next = host.up()?;
    committed(&next, id, "3", &B)?;
    if next.all("uki").iter().any(|name| name.starts_with(&format!("{id}_2"))) {
        bail!("the bad version's kernel image is still there: {:?}", next.all("uki"));
    }
    Ok(format!("{fell}, blessed"))
}

/// What the console tells of the tries.
fn tries(found: Found, console: &str, root_hash: Option<&str>) -> Result<String> {
    let console = plain(console);
    let kernels = console.matches("Linux version").count();
    let denied = console.to_lowercase().matches("access denied").count();
    let ours = root_hash.map_or(0, |hash| console.matches(&format!("usrhash={hash}")).count());
    match found {
        Found::Firmware if denied == 0 => bail!("no refusal was said"),
        Found::Firmware if kernels != 1 => bail!("{kernels} kernels were started, not one"),
        Found::Firmware => Ok(format!("{denied} refusals in the same power cycle")),
        // The last kernel is the old version's.
        Found::Reset if kernels < 2 => bail!("the bad version was never started"),
        Found::Reset => Ok(format!("{} tries ({ours} lines name its root hash)", kernels - 1)),
    }
}

/// Changes the kernel image of version 2.
fn uki(feed: &Feed, change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let file = feed.file("2", ".efi")?;
    let work = file.with_extension("changed");
    std::fs::copy(&file, &work).context("copy the kernel image")?;
    change(&work)?;
    std::fs::rename(&work, &file).context("put the kernel image back")
}

fn unsigned(feed: &Feed, _: &Path) -> Result<()> {
    uki(feed, |file| run(tool("sbattach")?.arg("--remove").arg(file)))
}

fn unknown_key(feed: &Feed, work: &Path) -> Result<()> {
    let (key, certificate) = (work.join("nobody.key"), work.join("nobody.crt"));
    let mut make = tool("openssl")?;
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-keyout"]);
    read(make.arg(&key).arg("-out").arg(&certificate))?;
    uki(feed, |file| {
        run(tool("sbattach")?.arg("--remove").arg(file))?;
        sign(file, &key, &certificate)
    })
}

fn sign(file: &Path, key: &Path, certificate: &Path) -> Result<()> {
    let mut sign = tool("sbsign")?;
    sign.arg("--key").arg(key).arg("--cert").arg(certificate);
    run(sign.arg("--output").arg(file).arg(file))
}

/// Changes bytes of the command line in place and signs anew with the key that hosts trust.
fn command_line(feed: &Feed, change: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    uki(feed, |file| {
        run(tool("sbattach")?.arg("--remove").arg(file))?;
        let mut bytes = std::fs::read(file).context("read the kernel image")?;
        let Extent { start, size } = disk::section(&bytes, ".cmdline")?;
        let place = usize::try_from(start)?..usize::try_from(start + size)?;
        change(bytes.get_mut(place).context("find the command line")?)?;
        std::fs::write(file, bytes).context("write the kernel image")?;
        let keys = target().join("keys");
        sign(file, &keys.join("db.key"), &keys.join("db.crt"))
    })
}

/// Another word in a word's place on the command line, padded with blanks.
fn on_command_line(feed: &Feed, old: &str, new: &str) -> Result<()> {
    command_line(feed, |line| {
        let at = line.windows(old.len()).position(|word| word == old.as_bytes());
        let at = at.with_context(|| format!("find `{old}`"))?;
        let place = line.get_mut(at..at + old.len()).context("find the word")?;
        place.fill(b' ');
        place.get_mut(..new.len()).context("fit the word")?.copy_from_slice(new.as_bytes());
        Ok(())
    })
}

fn wrong_root_hash(feed: &Feed, _: &Path) -> Result<()> {
    const NAME: &[u8] = b"usrhash=";
    command_line(feed, |line| {
        let at = line.windows(NAME.len()).position(|word| word == NAME);
        let at = at.context("find `usrhash=`")? + NAME.len();
        let digit = line.get_mut(at).context("find the root hash")?;
        *digit = if *digit == b'0' { b'1' } else { b'0' };
        Ok(())
    })
}

/// Unpacks an artifact of version 2, changes it, packs it again.
fn unpacked(
    feed: &Feed,
    suffix: &str,
    work: &Path,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let file = feed.file("2", suffix)?;
    let raw = work.join("content");
    std::fs::write(&raw, read(Command::new("gzip").arg("-dc").arg(&file))?).context("unpack it")?;
    change(&raw)?;
    let packed = read(Command::new("gzip").args(["-1", "-n", "-c"]).arg(&raw))?;
    feed.replace(&file, &packed)
}

/// A bit of a file in `/usr`.
fn usr(feed: &Feed, work: &Path, path: &str) -> Result<()> {
    unpacked(feed, ".usr.raw.gz", work, |raw| {
        let size = std::fs::metadata(raw).context("measure /usr")?.len();
        let Extent { start, size } = disk::extent_of_file(raw, Extent { start: 0, size }, path)?;
        disk::flip(raw, start + size / 2)
    })
}

/// A bit of the topmost hash block, the one behind the superblock.
fn hash_tree(feed: &Feed, work: &Path) -> Result<()> {
    unpacked(feed, ".usr-verity.raw.gz", work, |raw| disk::flip(raw, 4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_version_must_have_been_tried() {
        let kernel = "[    0.0] Linux version 6.12\n";
        let denied = "Error loading mini_2+0-1.efi: Access denied\n";
        assert!(tries(Found::Firmware, &format!("{denied}{kernel}"), None).is_ok());
        assert!(tries(Found::Firmware, kernel, None).is_err());
        assert!(tries(Found::Firmware, &format!("{denied}{kernel}{kernel}"), None).is_err());
        assert!(tries(Found::Reset, &format!("{kernel}{kernel}"), None).is_ok());
        assert!(tries(Found::Reset, kernel, None).is_err());
    }
}
