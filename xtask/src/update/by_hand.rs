//! What a host's owner changed by hand, and an update to a version that brings something of the same
//! kind.

use anyhow::{Context, Result, bail};

use crate::guest::Facts;
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, B, committed, finish, install};
use crate::update::versions::{Feed, Kind, MUST, NEWCOMER};

/// A user of the host's own: from then on `/etc/passwd` hides that of every later version.
const ADD: &str = "\
echo 'byhand:x:4000:4000:By hand:/:/usr/sbin/nologin' >> /etc/passwd
echo 'byhand:x:4000:' >> /etc/group
echo 'kept' > /etc/by-hand";

/// Version 1 gets a user by hand; version 2 brings a service user, and a unit that is its health.
/// Kept, that unit is broken in `/etc`: the host stays up. Then version 3.
pub(crate) fn show(ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let versions = (
        ground.version("1", Kind::Good)?,
        ground.version("2", Kind::Newcomer)?,
        ground.version("3", Kind::Good)?,
    );
    let (one, two, three) = versions;
    let feed = Feed::of(id, "by-hand", &[&two])?;
    let mut host = Host::start("by-hand", &one.baked.disk, &feed.folder)?;
    committed(&host.up()?, id, "1", &A)?;
    host.ask(ADD)?;
    let begins = there(&mut host)?;
    if begins != ["byhand:x:4000", "file"] {
        bail!("version 1 is not what this begins with: {begins:?}");
    }

    let mut seen = vec![install(&mut host, &feed, id, "2", &B)?];
    host.order("systemctl --no-block reboot");
    committed(&host.up()?, id, "2", &B)?;
    both(&mut host).context("in version 2")?;

    host.ask(&format!(
        "mkdir -p /etc/systemd/system/{MUST}.d
         printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/false\\n' > /etc/systemd/system/{MUST}.d/by-hand.conf"
    ))?;
    let before = host.kernels();
    host.order("systemctl --no-block reboot");
    let broken = host.up()?;
    stays(&broken)?;
    // Longer than any restart that a gate would ask for takes.
    let later = host.ask("sleep 150; tell up \"$(systemctl is-system-running)\"")?;
    if later.get("up") != "degraded" || host.kernels() != before + 1 {
        bail!("a kept version was restarted: {} kernels, {later:?}", host.kernels() - before);
    }
    seen.push(format!("both users there, with {MUST} broken by hand 2 stays up, degraded"));

    feed.add(&three)?;
    seen.push(install(&mut host, &feed, id, "3", &A)?);
    host.order("systemctl --no-block reboot");
    committed(&host.up()?, id, "3", &A)?;
    both(&mut host).context("in version 3")?;
    finish(host);
    let _ = std::fs::remove_dir_all(&feed.folder);
    Ok(format!("{}, blessed", seen.join(", ")))
}

fn stays(facts: &Facts) -> Result<()> {
    let as_wanted = facts.get("version") == "2"
        && facts.get("state") == "degraded"
        && facts.all("failed") == [MUST]
        && facts.get("target") == "active";
    if !as_wanted {
        bail!("version 2 with a unit broken by hand is not up and degraded: {facts:?}");
    }
    Ok(())
}

/// Both users, each with its id, and the file.
fn both(host: &mut Host) -> Result<()> {
    let (name, id) = NEWCOMER;
    let told = there(host)?;
    if told != ["byhand:x:4000".to_owned(), format!("{name}:x:{id}"), "file".to_owned()] {
        bail!("the host has {told:?}");
    }
    Ok(())
}

/// Names and ids of the two users, on which passwd and group agree, and the file: what there is.
fn there(host: &mut Host) -> Result<Vec<String>> {
    let name = NEWCOMER.0;
    let told = host.ask(&format!(
        "grep -hE '^(byhand|{name}):' /etc/passwd | while IFS=: read -r name x id rest; do
             grep -q \"^$name:x:$id:\" /etc/group && tell there \"$name:x:$id\"
         done
         grep -qx kept /etc/by-hand && tell there file"
    ))?;
    Ok(told.all("there").to_vec())
}
