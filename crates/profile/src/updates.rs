//! Where a host's next version comes from, and what a version has to prove before it stays.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::check::{check_unit, check_version};
use crate::draft;
use crate::resolve::fold_set;

/// Where a host's next version comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updates {
    /// Address of the feed, without a `/` at its end: each channel is a directory below it.
    /// Without one the image has no transfer files and no timer is on.
    pub feed: Option<String>,
    /// Name of the channel: lower-case letters, digits, `.` and `-`.
    pub channel: String,
    /// Whether the host looks for a version by itself.
    pub auto: bool,
    /// When it looks, and when it restarts for [`Reboot::Window`]: an event of
    /// `systemd.time(7)`.
    pub window: String,
    /// What becomes of an installed version.
    pub reboot: Reboot,
    /// How long the signature of a channel's list holds, in seconds.
    pub valid: u32,
    /// Versions below it are not offered, and an older host goes through it.
    pub floor: Option<String>,
}

/// When a host starts the version that it has installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// When somebody restarts it.
    #[default]
    Never,
    /// In the next window.
    Window,
    /// At once.
    Immediate,
}

/// What a version on trial has to prove before it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Units that must be active.
    pub units: Vec<String>,
    /// Whether the network must be there.
    pub network: bool,
    /// How long all of it may take, in seconds; two hours at most.
    pub time: u32,
}

/// What holds where a profile says nothing of the key.
impl Default for Updates {
    fn default() -> Self {
        Self {
            feed: None,
            channel: "stable".to_owned(),
            auto: true,
            window: "daily".to_owned(),
            reboot: Reboot::default(),
            valid: 30 * DAY,
            floor: None,
        }
    }
}

/// What holds where a profile says nothing of the key.
impl Default for Health {
    fn default() -> Self {
        Self { units: Vec::new(), network: false, time: 10 * MINUTE }
    }
}

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;

/// The longest that health may take, in seconds: so long a host with a bad version is away.
const LONGEST_HEALTH: u32 = 2 * HOUR;

/// Names of channels and addresses of feeds stay shorter than this, in bytes.
const LONGEST_CHANNEL: usize = 64;
const LONGEST_FEED: usize = 1024;
const LONGEST_WINDOW: usize = 256;

/// Seconds of a time such as `30d`: a number with `s`, `min`, `h` or `d`.
///
/// # Errors
/// Another form, zero, or more than 32 bits hold: OpenPGP keeps how long a signature holds in as
/// many (RFC 9580, 5.2.3.18).
pub fn seconds(time: &str) -> Result<u32> {
    let shown = || time.chars().take(40).collect::<String>().escape_debug().to_string();
    let digits = time.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = time.split_at(digits);
    let factor = match unit {
        "s" => 1,
        "min" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => bail!("time `{}` is not a number with s, min, h or d, as `30d`", shown()),
    };
    let number: u64 = number.parse().ok().filter(|_| digits <= 10).with_context(|| {
        format!("time `{}` is not a number of at most ten digits with s, min, h or d", shown())
    })?;
    let seconds = number.checked_mul(u64::from(factor)).and_then(|all| u32::try_from(all).ok());
    seconds
        .filter(|seconds| *seconds > 0)
        .with_context(|| format!("time `{}` is zero or more than {} days", shown(), u32::MAX / DAY))
}

/// Lays what one file says of updates over what its ancestors said.
pub(crate) fn fold_updates(known: &mut Option<Updates>, said: draft::Updates) -> Result<()> {
    let known = known.get_or_insert_default();
    if let Some(feed) = said.feed {
        check_feed(&feed).context("key `feed`")?;
        known.feed = Some(feed.trim_end_matches('/').to_owned());
    }
    if let Some(channel) = said.channel {
        check_channel(&channel).context("key `channel`")?;
        known.channel = channel;
    }
    if let Some(window) = said.window {
        check_window(&window).context("key `window`")?;
        known.window = window;
    }
    if let Some(valid) = said.valid {
        known.valid = seconds(&valid).context("key `valid`")?;
    }
    if let Some(floor) = said.floor {
        check_version(&floor).context("key `floor`")?;
        known.floor = Some(floor);
    }
    known.auto = said.auto.unwrap_or(known.auto);
    known.reboot = said.reboot.unwrap_or(known.reboot);
    Ok(())
}

/// Lays what one file says of health over what its ancestors said.
pub(crate) fn fold_health(known: &mut Health, said: draft::Health) -> Result<()> {
    fold_set(&mut known.units, said.units, check_instance).context("key `units`")?;
    if let Some(time) = said.time {
        let seconds = seconds(&time).context("key `time`")?;
        ensure!(
            seconds <= LONGEST_HEALTH,
            "key `time`: `{time}` is more than {}h: a host with a bad version would be away for as \
             long before it goes back",
            LONGEST_HEALTH / HOUR
        );
        known.time = seconds;
    }
    known.network = said.network.unwrap_or(known.network);
    Ok(())
}

/// A unit that can be started: a template alone cannot.
fn check_instance(unit: &str) -> Result<()> {
    check_unit(unit)?;
    ensure!(!unit.contains("@."), "`{unit}` is a template: name an instance, as `x@1.service`");
    Ok(())
}

/// Checks a feed's address: `http` or `https`, a host, a plain path.
///
/// The client appends names to it, so nothing can come behind the path; and what stands in an
/// image is no secret, so there is no password in it.
fn check_feed(feed: &str) -> Result<()> {
    let shown: String = feed.chars().take(200).collect();
    let shown = shown.escape_debug();
    let rest = feed.strip_prefix("http://").or_else(|| feed.strip_prefix("https://"));
    let Some(rest) = rest else {
        bail!("feed `{shown}` begins with neither `http://` nor `https://`");
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%+,".contains(c);
    if let Some(bad) = feed.chars().find(|c| !good(*c)) {
        bail!(
            "feed `{shown}`: `{}` cannot stand in it; letters, digits and `-._~:/[]%+,` can",
            bad.escape_debug()
        );
    }
    ensure!(
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['),
        "feed `{shown}` names no host"
    );
    ensure!(
        feed.len() <= LONGEST_FEED,
        "feed `{shown}…` has {} bytes, more than {LONGEST_FEED}",
        feed.len()
    );
    Ok(())
}

fn check_channel(channel: &str) -> Result<()> {
    let shown: String = channel.chars().take(100).collect();
    let shown = shown.escape_debug();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    ensure!(
        channel.starts_with(good) && channel.chars().all(|c| good(c) || ".-".contains(c)),
        "channel `{shown}` is no name of a channel: lower-case letters, digits, `.` and `-`, \
         beginning with a letter or digit"
    );
    ensure!(
        channel.len() <= LONGEST_CHANNEL,
        "channel `{shown}` has {} bytes, more than {LONGEST_CHANNEL}",
        channel.len()
    );
    Ok(())
}

/// The letters of `systemd.time(7)`, calendar events and time zones; what they mean, the client's
/// manager says.
fn check_window(window: &str) -> Result<()> {
    let shown: String = window.chars().take(100).collect();
    let shown = shown.escape_debug();
    let good = |c: char| c.is_ascii_alphanumeric() || "*-:.,/~ _+@".contains(c);
    if let Some(bad) = window.chars().find(|c| !good(*c)) {
        bail!(
            "window `{shown}`: `{}` cannot stand in a calendar event; letters, digits, blanks and \
             `*-:.,/~_+@` can, as in `*-*-* 03:00`",
            bad.escape_debug()
        );
    }
    ensure!(
        !window.trim().is_empty() && window.trim() == window && window.len() <= LONGEST_WINDOW,
        "window `{shown}` is no calendar event, as `*-*-* 03:00` is: it is empty, has blanks \
         around it or more than {LONGEST_WINDOW} bytes"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_one_of_four_units_and_fits_in_32_bits() {
        for (time, want) in [("30d", 2_592_000), ("12h", 43_200), ("10min", 600), ("1s", 1)] {
            assert_eq!(seconds(time).unwrap(), want);
        }
        assert_eq!(seconds("4294967295s").unwrap(), u32::MAX);
        for bad in [
            "",
            "d",
            "30",
            "30 d",
            "1.5h",
            "-1d",
            "0d",
            "1m",
            "1w",
            "1D",
            "4294967296s",
            "49711d",
            "99999999999999999999d",
            "00000000001s",
        ] {
            let error = seconds(bad).unwrap_err().to_string();
            assert!(error.starts_with("time `"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_manager_reads_every_window_of_the_documentation_and_refuses_a_wrong_hour() {
        let judged = |window: &str| {
            check_window(window).unwrap();
            judge::run(judge::tool("systemd-analyze").args(["calendar", window])).ok
        };
        for window in ["*-*-* 03:00", "Sat,Sun 02:30 Europe/Berlin", "daily", "Mon..Fri *~3 1:00"] {
            assert!(judged(window), "{window}");
        }
        assert!(!judged("*-*-* 25:00"));
    }
}
