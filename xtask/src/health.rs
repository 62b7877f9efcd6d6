//! A version on trial, without any update: the shipped disk with its UKI under a counted name.
//!
//! A healthy one is kept, a failing, hanging or handicapped one is not and the machine restarts by
//! itself; once kept, the same failure leaves the host up. What fails is given by credentials, or
//! written to `/etc` by the guest's own script; the image is the shipped one. With no second
//! version on the disk, the file's name says what the loader would do next.

#[cfg(test)]
mod scripts;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::boot::Stage;
use crate::console::{Ending, Patience, plain, tail, watch};
use crate::disk::{self, Esp};
use crate::guest::Facts;
use crate::qemu::{self, Console, text};

/// Tells how the boot went, breaks a unit and the users by hand, restarts, tells again.
const SCRIPT: &str = include_str!("health.sh");

const WITNESS: &str = "\
[Unit]
Description=Witness for cargo xtask
DefaultDependencies=no
After=multi-user.target
Conflicts=shutdown.target
Before=shutdown.target
[Service]
Type=exec
ImportCredential=hardtack.*
ExecStart=/usr/bin/bash ${CREDENTIALS_DIRECTORY}/hardtack.facts
";

const FAILS: &str = "[Service]\nType=oneshot\nExecStart=/bin/false\n";
const HANGS: &str = "[Service]\nType=oneshot\nExecStart=/usr/bin/sleep infinity\n";

/// The unit becomes part of what makes the host healthy, as a profile's would.
const GATED: &str = "[Unit]\nRequires=trouble.service\nAfter=trouble.service\n";

/// Health's limit, shorter than the shipped one: an emulated boot still comes well before it.
const GATED_SHORT: &str =
    "[Unit]\nRequires=trouble.service\nAfter=trouble.service\nJobTimeoutSec=4min\n";

/// The same for the initrd's whole.
const INITRD_SHORT: &str =
    "[Unit]\nRequires=trouble.service\nAfter=trouble.service\nJobTimeoutSec=90\n";

const HANGS_EARLY: &str = "\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/usr/bin/cat /dev/ttyS1
";

const READ_ONLY: &str = "[Mount]\nOptions=ro,umask=0077\n";

/// What a case waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The guest switches itself off.
    Off,
    /// So many kernels were started.
    Kernels(usize),
}

struct Case {
    name: &'static str,
    /// What is given to the guest.
    given: &'static [(&'static str, &'static str)],
    end: End,
    /// What stands behind the version in the UKI's name in the end.
    counter: &'static str,
    /// What the console must say, in this order.
    says: &'static [&'static str],
}

/// An update installs with this counter.
const INSTALLED: &str = "+1-0";

/// Lines of the console: of the script, the kernel and systemd.
const LENT: &str = "+2-1.efi";
const RESTARTS: &str = "reboot: Restarting system";
const TIMED_OUT: &str = "Forcibly rebooting: job timed out";

const CASES: &[Case] = &[
    Case {
        name: "kept-then-broken-by-hand",
        given: &[
            ("systemd.extra-unit.witness.service", WITNESS),
            ("systemd.unit-dropin.multi-user.target", "[Unit]\nWants=witness.service\n"),
            ("hardtack.facts", SCRIPT),
        ],
        end: End::Off,
        counter: "",
        says: &[LENT, RESTARTS, "reboot: Power down"],
    },
    Case {
        name: "failing-unit",
        given: &[
            ("systemd.extra-unit.trouble.service", FAILS),
            ("systemd.unit-dropin.hardtack-health.target", GATED),
        ],
        // Three tries; then this version alone is left to start, and the loader goes on counting.
        end: End::Kernels(4),
        counter: "+0-4",
        says: &[LENT, "trouble.service", RESTARTS, "trouble.service", RESTARTS, RESTARTS],
    },
    Case {
        name: "hanging-unit",
        given: &[
            ("systemd.extra-unit.trouble.service", HANGS),
            ("systemd.unit-dropin.hardtack-health.target", GATED_SHORT),
        ],
        end: End::Kernels(2),
        counter: "+1-2",
        // A getty holds the console by then, and systemd is silent there.
        says: &[LENT, "Starting trouble.service", RESTARTS],
    },
    Case {
        name: "hanging-initrd",
        given: &[
            ("systemd.extra-unit.trouble.service", HANGS_EARLY),
            ("systemd.unit-dropin.initrd.target", INITRD_SHORT),
        ],
        end: End::Kernels(2),
        counter: "+0-2",
        says: &[TIMED_OUT, RESTARTS],
    },
    Case {
        name: "esp-not-writable",
        given: &[("systemd.unit-dropin.boot.mount", READ_ONLY)],
        end: End::Kernels(2),
        counter: "+0-2",
        says: &["hardtack.tmp: Read-only file system", RESTARTS],
    },
];

/// The cases' names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Shows one case on a copy of `good`, which is not written; returns what was seen.
pub(crate) fn show(name: &str, good: &Path) -> Result<String> {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.with_context(|| format!("find the case `{name}`"))?;
    let folder = disk::folder(Stage::folder(&format!("health-{name}")))?;
    let trial = folder.join("trial.raw");
    disk::copy(good, &trial)?;
    let seen = trial_of(case, &trial);
    // Gigabytes a case; the logs stay.
    let _ = std::fs::remove_file(&trial);
    seen
}

fn trial_of(case: &Case, trial: &Path) -> Result<String> {
    let esp = Esp::of(trial)?;
    let uki = esp.uki()?;
    let version = uki.strip_suffix(".efi").context("take the UKI's name apart")?;
    esp.rename(&uki, &format!("{version}{INSTALLED}.efi"))?;
    let stage = Stage::set(&format!("health-{}", case.name), trial, None)?;
    let mut machine = stage.machine(Console::Log);
    machine.credentials =
        case.given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut running = machine.start()?;
    let start = Instant::now();
    let mut kernels = Vec::new();
    let ending = watch(&mut running, Patience::TRIAL, &mut |console, _| {
        while kernels.len() < console.matches(KERNEL).count() {
            kernels.push(start.elapsed().as_secs());
        }
        matches!(case.end, End::Kernels(wanted) if kernels.len() >= wanted)
    })?;
    let ended = start.elapsed().as_secs();
    let (console, facts) = (plain(&text(&running.console)), text(&running.facts));
    drop(running);
    let raw = qemu::flat(&stage.overlay)?;
    let found = Esp::of(&raw)?.uki();
    for file in [&raw, &stage.overlay] {
        let _ = std::fs::remove_file(file);
    }
    let times = format!("kernels started at {kernels:?} s, end at {ended} s");
    let seen =
        Seen { ending, kernels: kernels.len(), console, facts, uki: found?, uki_before: uki };
    seen.verdict(case)
        .map(|facts| format!("`{}` in the end; {times}{facts}", seen.uki))
        .with_context(|| format!("{times}, {:?}:\n{}", seen.ending, tail(&seen.console, 20)))
}

/// The kernel's first line.
const KERNEL: &str = "Linux version ";

struct Seen {
    ending: Ending,
    kernels: usize,
    console: String,
    facts: String,
    uki: String,
    uki_before: String,
}

impl Seen {
    fn verdict(&self, case: &Case) -> Result<String> {
        match (&self.ending, case.end) {
            (Ending::Said, End::Kernels(_)) => {}
            (Ending::Ended(status), End::Off) if status.success() => {}
            (ending, _) => bail!("the machine did not end as it should: {ending:?}"),
        }
        let mut rest = self.console.as_str();
        for line in case.says {
            let at = rest.find(line).with_context(|| format!("the console never said `{line}`"))?;
            rest = rest.get(at + line.len()..).unwrap_or_default();
        }
        let version = self.uki_before.strip_suffix(".efi").unwrap_or_default();
        let wanted = format!("{version}{}.efi", case.counter);
        if self.uki != wanted {
            bail!("the ESP holds `{}`, not `{wanted}`", self.uki);
        }
        if case.end == End::Off { told(&self.facts, self.kernels) } else { Ok(String::new()) }
    }
}

/// What must be told by the boot on trial, then by the next one, where a unit is broken by hand.
const TOLD: &[(usize, &str, &str)] = &[
    (0, "state", "running"),
    (0, "bless", "active"),
    (0, "complete", "active"),
    (0, "trial", "skipped"),
    (0, "reboot", "nothing newer"),
    (0, "pinned", "nothing"),
    (1, "state", "degraded"),
    (1, "failed", "trouble.service"),
    (1, "target", "active"),
    (1, "complete", "inactive"),
    (1, "trial", "skipped"),
    (1, "by_hand", "there"),
    (1, "new_in_version", "there"),
];

fn told(facts: &str, kernels: usize) -> Result<String> {
    let boots = Facts::boots(facts);
    if boots.len() != 2 || kernels != 2 {
        bail!("{} of 2 boots told their facts, {kernels} kernels were started", boots.len());
    }
    for (boot, key, wanted) in TOLD {
        let said = boots.get(*boot).map_or("", |boot| boot.get(key));
        if said != *wanted {
            bail!("boot {}: `{key}` is `{said}`, not `{wanted}`", boot + 1);
        }
    }
    let times = boots.first().map_or("", |boot| boot.get("times"));
    Ok(format!("; {times}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn case(name: &str) -> &'static Case {
        CASES.iter().find(|case| case.name == name).unwrap()
    }

    /// What a case must show.
    fn good(name: &str) -> Seen {
        let case = case(name);
        let mut facts = String::new();
        for boot in [0, 1] {
            facts += "begin=1\n";
            for (_, key, value) in TOLD.iter().filter(|(of, ..)| *of == boot) {
                facts += &format!("{key}={value}\n");
            }
            facts += "end=1\n";
        }
        let (ending, kernels) = match case.end {
            End::Off => (Ending::Ended(ExitStatus::from_raw(0)), 2),
            End::Kernels(count) => (Ending::Said, count),
        };
        let uki = format!("a_1{}.efi", case.counter);
        Seen {
            ending,
            kernels,
            console: case.says.join("\n"),
            facts,
            uki,
            uki_before: "a_1.efi".into(),
        }
    }

    #[test]
    fn each_case_is_judged_by_name_console_and_ending() {
        for name in names() {
            assert!(good(name).verdict(case(name)).is_ok(), "{name}");
            let other = Seen { uki: "a_1+1-0.efi".into(), ..good(name) };
            assert!(other.verdict(case(name)).is_err(), "{name}");
            let silent = Seen { console: String::new(), ..good(name) };
            assert!(silent.verdict(case(name)).is_err(), "{name}");
            let hung = Seen { ending: Ending::Silent(Patience::BOOT.silence), ..good(name) };
            assert!(hung.verdict(case(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn each_fact_gone_wrong_is_found() {
        let name = "kept-then-broken-by-hand";
        for (_, key, value) in TOLD {
            let seen = good(name);
            let facts = seen.facts.replace(&format!("{key}={value}\n"), &format!("{key}=other\n"));
            assert!(Seen { facts, ..seen }.verdict(case(name)).is_err(), "{key}");
            assert!(SCRIPT.contains(&format!("tell {key} ")), "{key}");
        }
        let reset = Seen { kernels: 3, ..good(name) };
        assert!(reset.verdict(case(name)).is_err(), "a reset between the two boots");
    }
}
