//! What an image holds so that its own update client finds, verifies and tries the next version.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use profile::{Health, Profile, Reboot, Updates};
use release::{Source, order};

use crate::plan::Later;

/// Looks for a version and installs it.
const CLIENT_TIMER: &str = "systemd-sysupdate.timer";
/// Restarts into a version that has tries left; never the client's own, which ignores them.
const REBOOT_TIMER: &str = "hardtack-update-reboot.timer";
/// What a version on trial has to reach.
const HEALTH: &str = "hardtack-health.target";
/// Ends a trial in which health's own limit is gone.
const TRIAL_TIMER: &str = "hardtack-trial.timer";
/// By how many seconds a trial outlasts health's limit: it counts from the kernel's start, health
/// from that of user space, and the initrd between has 10 min for itself and 10 for handing over.
const AFTER_HEALTH: u32 = 20 * 60;
const NETWORK: &str = "network-online.target";
const UNITS: &str = "usr/lib/systemd/system";
/// After the presets of rules and of the profile's `units`, which may say otherwise.
const PRESET: &str = "usr/lib/systemd/system-preset/20-updates.preset";
/// So many checks begin at one moment: they are spread over this time.
const SPREAD: &str = "30min";

/// Where older and newer clients look for the keys that may sign a list.
/// The first is a file of its package.
const KEYRINGS: [&str; 2] =
    ["usr/lib/systemd/import-pubring.gpg", "usr/lib/systemd/import-pubring.pgp"];
const WHY_KEYRING: &str = "lists of versions are signed with the release key, and by nobody else";

/// Every file, `key` being the release key's public half, binary OpenPGP.
pub(crate) fn files(profile: &Profile, architecture: &str, key: &[u8]) -> Vec<Later> {
    let mut files: Vec<Later> = KEYRINGS
        .iter()
        .map(|path| Later {
            path: (*path).to_owned(),
            bytes: key.to_vec(),
            replaces: Some(WHY_KEYRING),
        })
        .collect();
    if profile.health != Health::default() {
        files.push(drop_in(HEALTH, "50-profile", health(&profile.health)));
    }
    if profile.health.time != Health::default().time {
        files.push(drop_in(TRIAL_TIMER, "50-profile", trial(profile.health.time)));
    }
    let Some((updates, feed)) = source(profile) else { return files };
    let source = Source { feed, channel: &updates.channel, floor: updates.floor.as_deref() };
    let transfers = release::transfers(&profile.id, architecture, &source);
    files.extend(transfers.into_iter().map(|(path, text)| Later::new(path, text)));
    let spread = format!("RandomizedDelaySec={SPREAD}\n");
    files.push(drop_in(CLIENT_TIMER, "50-profile", window(&updates.window) + &spread));
    files.push(drop_in(REBOOT_TIMER, "50-profile", window(&updates.window)));
    if updates.reboot == Reboot::Immediate {
        let service = REBOOT_TIMER.replace(".timer", ".service");
        let text = format!("[Unit]\nOnSuccess={service}\n");
        files.push(drop_in("systemd-sysupdate.service", "50-reboot", text));
    }
    let presets: String =
        timers(updates).into_iter().map(|unit| format!("enable {unit}\n")).collect();
    if !presets.is_empty() {
        files.push(Later::new(PRESET.to_owned(), presets));
    }
    files
}

/// Units of the image that what the profile says of updates and health comes to nothing without.
pub(crate) fn wanted(profile: &Profile) -> Vec<&str> {
    let mut units: Vec<&str> = profile.health.units.iter().map(String::as_str).collect();
    if profile.health != Health::default() {
        units.push(HEALTH);
    }
    if let Some((updates, _)) = source(profile) {
        units.extend(timers(updates));
    }
    units
}

/// What updates came to, in one line for people.
pub(crate) fn told(profile: &Profile) -> String {
    let Some((updates, feed)) = source(profile) else {
        return "none: the profile names no feed".to_owned();
    };
    let Updates { channel, window, auto, reboot, floor, .. } = updates;
    let looks = if *auto { format!("looked for at `{window}`") } else { "by hand".to_owned() };
    let starts = match reboot {
        Reboot::Never => "started by whoever restarts the host".to_owned(),
        Reboot::Window => format!("started at `{window}`"),
        Reboot::Immediate => "started at once".to_owned(),
    };
    let floor = floor.iter().map(|floor| format!(", none below {floor}")).collect::<String>();
    format!("from {feed}/{channel}/, {looks}, {starts}{floor}")
}

/// Refuses a floor above the image's own version (UAPI.10): no host would install the image.
pub(crate) fn check_floor(profile: &Profile, version: &str) -> Result<()> {
    let floor = profile.updates.as_ref().and_then(|updates| updates.floor.as_deref());
    let Some(floor) = floor else { return Ok(()) };
    ensure!(
        order::compare(floor, version).is_le(),
        "key `updates.floor`: `{floor}` is newer than the image's own version `{version}`, so that \
         no host would take it: set the floor to `{version}` at most, or give the image a newer \
         version"
    );
    Ok(())
}

fn source(profile: &Profile) -> Option<(&Updates, &str)> {
    let updates = profile.updates.as_ref()?;
    Some((updates, updates.feed.as_deref()?))
}

fn timers(updates: &Updates) -> Vec<&'static str> {
    let client = updates.auto.then_some(CLIENT_TIMER);
    let reboot = (updates.reboot == Reboot::Window).then_some(REBOOT_TIMER);
    client.into_iter().chain(reboot).collect()
}

/// An empty value takes back every moment that the unit itself names (`systemd.timer(5)`).
fn window(window: &str) -> String {
    format!("[Timer]\nOnCalendar=\nOnCalendar={window}\n")
}

/// The gate: its units, and how long it may wait for them.
fn health(health: &Health) -> String {
    let network = health.network.then_some(NETWORK);
    let units: Vec<&str> = health.units.iter().map(String::as_str).chain(network).collect();
    let mut text = String::from("[Unit]\n");
    if !units.is_empty() {
        let units = units.join(" ");
        let _ = write!(text, "Requires={units}\nAfter={units}\n");
    }
    let _ = writeln!(text, "JobTimeoutSec={}", health.time);
    text
}

/// When a trial ends at the latest, where health may take `time` seconds. The empty value takes back
/// the shipped moment, which comes first otherwise.
fn trial(time: u32) -> String {
    format!("[Timer]\nOnBootSec=\nOnBootSec={}\n", time.saturating_add(AFTER_HEALTH))
}

fn drop_in(unit: &str, name: &str, text: String) -> Later {
    Later::new(format!("{UNITS}/{unit}.d/{name}.conf"), text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FEED: &str = "feed: http://host.example/f/, window: '*-*-* 03:00'";

    fn profile(text: &str) -> Profile {
        profile::parse(text, "mini.yaml").unwrap()
    }

    /// Text by path, and whether it may replace a package's file.
    fn made(text: &str) -> BTreeMap<String, (String, bool)> {
        let files = files(&profile(text), "x86-64", b"key");
        let text =
            |later: Later| (String::from_utf8(later.bytes).unwrap(), later.replaces.is_some());
        files.into_iter().map(|later| (later.path.clone(), text(later))).collect()
    }

    #[test]
    fn without_a_feed_there_are_keys_but_neither_transfer_files_nor_timers() {
        for text in ["{}", "updates: {auto: true, reboot: window}"] {
            let made = made(text);
            assert_eq!(made.keys().collect::<Vec<_>>(), KEYRINGS.iter().collect::<Vec<_>>());
            assert!(made.values().all(|(text, replaces)| text == "key" && *replaces));
            assert_eq!(wanted(&profile(text)), [""; 0]);
        }
        assert_eq!(told(&profile("{}")), "none: the profile names no feed");
    }

    #[test]
    fn a_profile_that_opts_out_or_in_changes_timers_and_never_the_set_of_transfer_files() {
        let transfers = |made: &BTreeMap<String, (String, bool)>| -> Vec<String> {
            made.keys().filter(|path| path.ends_with(".transfer")).cloned().collect()
        };
        let enabled = |more: &str| {
            let made = made(&format!("updates: {{{FEED}{more}}}"));
            let all: String = made.values().map(|(text, _)| text.as_str()).collect();
            assert!(!all.contains("systemd-sysupdate-reboot"), "{all}");
            assert_eq!(transfers(&made).len(), release::PARTS.len());
            made.get(PRESET).map(|(text, _)| text.clone()).unwrap_or_default()
        };
        let client = "enable systemd-sysupdate.timer\n";
        let reboot = "enable hardtack-update-reboot.timer\n";
        assert_eq!(enabled(""), client);
        assert_eq!(enabled(", auto: false"), "");
        assert_eq!(enabled(", reboot: window"), format!("{client}{reboot}"));
        assert_eq!(enabled(", reboot: immediate, auto: false, channel: beta, floor: 1.0"), "");
    }

    #[test]
    fn window_reboot_and_health_become_drop_ins_of_the_units_that_they_are_about() {
        let made = made(&format!(
            "updates: {{{FEED}, reboot: immediate}}\n\
             health: {{units: [a.service, b@1.service], network: true, time: 90s}}"
        ));
        let text = |path: &str| made[&format!("{UNITS}/{path}")].0.as_str();
        assert_eq!(
            text("systemd-sysupdate.timer.d/50-profile.conf"),
            "[Timer]\nOnCalendar=\nOnCalendar=*-*-* 03:00\nRandomizedDelaySec=30min\n"
        );
        assert_eq!(
            text("hardtack-update-reboot.timer.d/50-profile.conf"),
            "[Timer]\nOnCalendar=\nOnCalendar=*-*-* 03:00\n"
        );
        assert_eq!(
            text("systemd-sysupdate.service.d/50-reboot.conf"),
            "[Unit]\nOnSuccess=hardtack-update-reboot.service\n"
        );
        assert_eq!(
            text("hardtack-health.target.d/50-profile.conf"),
            "[Unit]\nRequires=a.service b@1.service network-online.target\n\
             After=a.service b@1.service network-online.target\nJobTimeoutSec=90\n"
        );
        assert_eq!(
            text("hardtack-trial.timer.d/50-profile.conf"),
            "[Timer]\nOnBootSec=\nOnBootSec=1290\n"
        );
    }

    /// What a profile of this repository ships as a unit.
    fn shipped(unit: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/mini.d/");
        std::fs::read_to_string(format!("{folder}{UNITS}/{unit}")).unwrap()
    }

    #[test]
    fn a_trial_outlasts_health_by_the_same_time_whether_a_profile_sets_it_or_not() {
        let default = Health::default().time;
        assert!(shipped(HEALTH).contains(&format!("JobTimeoutSec={}min\n", default / 60)));
        let end = format!("OnBootSec={}min\n", (default + AFTER_HEALTH) / 60);
        assert!(shipped(TRIAL_TIMER).contains(&end));
        let path = format!("{UNITS}/{TRIAL_TIMER}.d/50-profile.conf");
        assert!(!made("health: {units: [a.service], time: 600s}").contains_key(&path));
        let made = made("health: {time: 2h}");
        assert_eq!(made[&path].0, "[Timer]\nOnBootSec=\nOnBootSec=8400\n");
    }

    #[test]
    fn the_manager_takes_the_later_end_of_a_trial_and_no_end_at_all_it_refuses() {
        let root = judge::scratch("trial");
        let units = root.join(UNITS);
        let service = "[Service]\nExecStart=/usr/bin/true\n";
        let verified = |drop_in: &str| {
            for (path, text) in [
                (format!("{TRIAL_TIMER}.d/50-profile.conf"), drop_in),
                (TRIAL_TIMER.to_owned(), &shipped(TRIAL_TIMER)),
                (TRIAL_TIMER.replace(".timer", ".service"), service),
            ] {
                let path = units.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let mut manager = judge::tool("systemd-analyze");
            manager.args(["verify", "--man=no", "--recursive-errors=no"]);
            judge::run(manager.arg(format!("--root={}", root.display())).arg(TRIAL_TIMER))
        };
        let program = root.join("usr/bin/true");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let taken = verified(&trial(7200));
        assert!(taken.ok && taken.text.is_empty(), "{}", taken.text);
        let refused = verified("[Timer]\nOnBootSec=\n");
        assert!(refused.text.contains("lacks value setting"), "{}", refused.text);
    }

    #[test]
    fn a_floor_is_at_most_the_image_s_own_version_in_the_order_of_the_client() {
        let ask = |floor: &str, version: &str| {
            check_floor(&profile(&format!("updates: {{floor: \"{floor}\"}}")), version)
        };
        for (floor, version) in [("1.10", "1.10"), ("1.9", "1.10"), ("1", "1-rc1"), ("1.0", "1.00")]
        {
            ask(floor, version).unwrap();
        }
        for (floor, version) in [("1.10", "1.9"), ("2", "1.99"), ("1-rc1", "1")] {
            let error = ask(floor, version).unwrap_err().to_string();
            let words = format!("`{floor}` is newer than the image's own version `{version}`");
            assert!(error.contains(&words), "{error}");
        }
        check_floor(&profile("{}"), "0").unwrap();
    }

    #[test]
    fn what_updates_came_to_is_one_line() {
        let profile = profile(&format!("updates: {{{FEED}, floor: 1.0, reboot: window}}"));
        assert_eq!(
            told(&profile),
            "from http://host.example/f/stable/, looked for at `*-*-* 03:00`, started at \
             `*-*-* 03:00`, none below 1.0"
        );
        assert_eq!(wanted(&profile), [CLIENT_TIMER, REBOOT_TIMER]);
    }
}
