//! A kernel that hangs for good, on a machine with a hardware watchdog.

use anyhow::{Result, bail};

use crate::boot::Stage;
use crate::qemu::Console;
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, committed, finish};
use crate::update::versions::{Feed, Kind};

/// The watchdog of QEMU's and of many real machines: it resets them.
const DEVICE: &[&str] = &["i6300esb"];

/// A panic that restarts nothing is a hang: only the watchdog is left.
const HANG: &str = "echo 0 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger";

/// The kernel is made to hang; the machine comes back by the watchdog alone.
pub(crate) fn show(ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let one = ground.version("1", Kind::Good)?;
    let feed = Feed::of(id, "watchdog", &[])?;
    let stage = Stage::set("update-watchdog", &one.baked.disk, None)?;
    let mut machine = stage.machine(Console::Log);
    machine.devices = DEVICE;
    let mut host = Host::lead(stage, machine, &feed.folder)?;
    committed(&host.up()?, id, "1", &A)?;
    let armed = host.ask(
        "tell driver \"$(cat /sys/class/watchdog/watchdog0/identity)\"
         tell state \"$(cat /sys/class/watchdog/watchdog0/state)\"
         tell seconds \"$(cat /sys/class/watchdog/watchdog0/timeout)\"",
    )?;
    if !armed.get("driver").contains("6300ESB") || armed.get("state") != "active" {
        bail!("the watchdog is not armed: {armed:?}");
    }
    let start = std::time::Instant::now();
    host.order(HANG);
    committed(&host.up()?, id, "1", &A)?;
    let seconds = start.elapsed().as_secs();
    let console = host.console();
    if console.contains("Rebooting in") || !console.contains("sysrq triggered crash") {
        bail!("the kernel did not hang, or restarted by itself");
    }
    finish(host);
    Ok(format!(
        "{} armed for {} s; up again {seconds} s after the kernel hung",
        armed.get("driver"),
        armed.get("seconds")
    ))
}
