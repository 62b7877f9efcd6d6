//! Watching a running guest: what it says, and whether it still says anything.

use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::qemu::{Running, text};

/// How watching ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What was waited for was said.
    Said,
    /// QEMU ended first.
    Ended(ExitStatus),
    /// Neither port said anything for this long.
    Silent(Duration),
    /// The guest went on talking beyond this time.
    TooLong(Duration),
}

/// How long to be patient: emulated, on a busy machine.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) silence: Duration,
    pub(crate) whole: Duration,
}

impl Patience {
    pub(crate) const BOOT: Patience =
        Patience { silence: Duration::from_secs(300), whole: Duration::from_secs(1500) };

    /// Several boots, and time limits that hold with nothing said.
    pub(crate) const TRIAL: Patience =
        Patience { silence: Duration::from_secs(600), whole: Duration::from_secs(3000) };
}

/// Watches until `done` (given the console, then the facts) is content.
pub(crate) fn watch(
    running: &mut Running,
    patience: Patience,
    done: &mut dyn FnMut(&str, &str) -> bool,
) -> Result<Ending> {
    let start = Instant::now();
    let mut last = (start, 0);
    loop {
        // Asked before the logs are read: what was said until the end is then seen.
        let ended = running.ended()?;
        let (console, facts) = (text(&running.console), text(&running.facts));
        if done(&console, &facts) {
            return Ok(Ending::Said);
        }
        if let Some(status) = ended {
            return Ok(Ending::Ended(status));
        }
        let said = console.len() + facts.len();
        if said != last.1 {
            last = (Instant::now(), said);
        }
        if last.0.elapsed() > patience.silence {
            return Ok(Ending::Silent(patience.silence));
        }
        if start.elapsed() > patience.whole {
            return Ok(Ending::TooLong(patience.whole));
        }
        sleep(Duration::from_millis(250));
    }
}

/// The last lines of a console, for a person; without the terminal's control codes.
pub(crate) fn tail(console: &str, lines: usize) -> String {
    let plain = plain(console);
    let all: Vec<&str> = plain.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().iter().map(|line| format!("    {line}\n")).collect()
}

/// A console's text without escape sequences (ECMA-48) and carriage returns.
pub(crate) fn plain(console: &str) -> String {
    let mut out = String::new();
    let mut letters = console.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.next() {
                Some('[') => while letters.next_if(|l| !('@'..='~').contains(l)).is_some() {},
                Some(']') => while letters.next_if(|l| !matches!(l, '\u{7}' | '\\')).is_some() {},
                _ => continue,
            },
            '\r' => continue,
            '\n' | '\t' => {
                out.push(letter);
                continue;
            }
            letter if letter.is_control() => continue,
            letter => {
                out.push(letter);
                continue;
            }
        }
        letters.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_codes_do_not_hide_what_was_said() {
        let said = "\u{1b}[2J\u{1b}[01;01HError: \u{1b}[0;31mAccess denied\u{1b}[0m\r\n";
        assert_eq!(plain(said), "Error: Access denied\n");
        assert_eq!(plain("\u{1b}]0;title\u{7}x"), "x");
        assert_eq!(tail("a\n\nb\nc\n", 2), "    b\n    c\n");
    }
}
