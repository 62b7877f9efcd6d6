//! A second disk on an older version beside the host's own: a copy as it was baked, or the same
//! host's from before an update. Whatever updates writes to the disk that the firmware started.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::guest::{self, SYSTEM};
use crate::monitor::order;
use crate::qemu::{self, Console, Drive, PLUG};
use crate::run::{read, tool};
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, B, committed, install};
use crate::update::versions::{Feed, Kind};

/// Its serial number.
const TWIN: &str = "hardtack-twin";

/// How the twin comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comes {
    /// As it was baked, before the host's own disk in the order of devices.
    Earlier,
    /// As it was baked, behind it.
    Later,
    /// This host's own from before the update, equal in every id, while it runs: at the start the
    /// initrd would refuse.
    Plugged,
}

pub(crate) const ALL: &[(&str, Comes)] = &[
    ("older-earlier", Comes::Earlier),
    ("older-later", Comes::Later),
    ("older-plugged-in", Comes::Plugged),
];

/// Version 1 updates to 2; with the twin, on version 1, attached, 2 starts and updates to 3.
pub(crate) fn show(name: &str, comes: Comes, ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let (one, two, three) = (
        ground.version("1", Kind::Good)?,
        ground.version("2", Kind::Good)?,
        ground.version("3", Kind::Good)?,
    );
    let name = format!("twin-{name}");
    let feed = Feed::of(id, &name, &[&two])?;
    let mut host = Host::start(&name, &one.baked.disk, &feed.folder)?;
    committed(&host.up()?, id, "1", &A)?;
    let mut snapshot = None;
    if comes == Comes::Plugged {
        let stage = host.off()?;
        let copy = stage.folder.join("before.qcow2");
        std::fs::copy(&stage.overlay, &copy).context("copy the disk before the update")?;
        snapshot = Some(copy);
        let machine = stage.machine(Console::Log);
        host = Host::lead(stage, machine, &feed.folder)?;
        committed(&host.up()?, id, "1", &A)?;
    }
    let mut seen = vec![install(&mut host, &feed, id, "2", &B)?];
    host.order("systemctl --no-block reboot");
    committed(&host.up()?, id, "2", &B)?;
    let stage = host.off()?;

    // What the twin is over is not written: a write would be in the overlay.
    let below = snapshot.as_deref().unwrap_or(&one.baked.disk);
    let twin = stage.folder.join("twin.qcow2");
    qemu::overlay(below, &twin, None)?;
    let (below, monitor) = (below.to_owned(), stage.folder.join("monitor.sock"));
    let mut machine = stage.machine(Console::Log);
    let drive = Drive { file: twin.clone(), format: "qcow2", serial: TWIN, boots: false };
    match comes {
        Comes::Earlier => machine.drives.insert(0, drive),
        Comes::Later => machine.drives.push(drive),
        Comes::Plugged => {
            machine.devices = &[PLUG];
            machine.monitor = Some(monitor.clone());
        }
    }
    let mut host = Host::lead(stage, machine, &feed.folder)?;
    committed(&host.up()?, id, "2", &B).context("beside the twin")?;
    if comes == Comes::Plugged {
        let file = twin.display();
        order(&monitor, &format!("drive_add 0 if=none,id=twin,format=qcow2,file={file}"))?;
        order(
            &monitor,
            &format!("device_add virtio-blk-pci,id=twin,drive=twin,bus=plug,serial={TWIN}"),
        )?;
    }
    both(&mut host).context("in version 2")?;
    feed.add(&three)?;
    seen.push(install(&mut host, &feed, id, "3", &A)?);
    both(&mut host).context("after the update")?;
    if comes == Comes::Plugged {
        order(&monitor, "device_del twin")?;
        gone(&mut host)?;
    }
    host.order("systemctl --no-block reboot");
    committed(&host.up()?, id, "3", &A).context("after the update beside the twin")?;
    if comes != Comes::Plugged {
        both(&mut host).context("in version 3")?;
    }
    let stage = host.off()?;
    untouched(&twin, &below)?;
    seen.push("the twin was not written to, 3 blessed".to_owned());
    for file in [Some(twin), snapshot, Some(stage.overlay.clone())].into_iter().flatten() {
        let _ = std::fs::remove_file(file);
    }
    let _ = std::fs::remove_dir_all(&feed.folder);
    Ok(seen.join(", "))
}

/// Both disks are there, and every part of the system lies on the host's own.
fn both(host: &mut Host) -> Result<()> {
    let told = host.ask(
        "udevadm settle
         for block in /sys/block/vd*; do tell disk \"$(cat $block/serial)\"; done
         lies_on",
    )?;
    let mut disks = told.all("disk").to_vec();
    disks.sort_unstable();
    if disks != [SYSTEM, TWIN] || !guest::one_disk(&told).ok {
        bail!("not two disks, or not everything on the host's own: {told:?}");
    }
    Ok(())
}

/// Waits until the guest gave the twin back.
fn gone(host: &mut Host) -> Result<()> {
    let told = host.ask(
        "for second in $(seq 60); do set -- /sys/block/vd*; [ $# = 1 ] && break; sleep 1; done
         tell disks $#",
    )?;
    if told.get("disks") != "1" {
        bail!("the twin was not given back: {told:?}");
    }
    Ok(())
}

/// An error when the overlay differs from what it lies over.
fn untouched(overlay: &Path, below: &Path) -> Result<()> {
    let format = if below.extension().is_some_and(|end| end == "qcow2") { "qcow2" } else { "raw" };
    let mut compare = tool("qemu-img")?;
    compare.args(["compare", "-f", "qcow2", "-F", format]).arg(overlay).arg(below);
    read(&mut compare).map(drop).context("compare the twin with what it was")
}
