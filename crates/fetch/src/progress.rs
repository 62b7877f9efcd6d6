//! Progress for people: bars on a terminal, lines elsewhere; always on standard error.

use std::io::Write;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A bar that moves: for a terminal.
    Bars,
    /// A line for each tenth: for a log.
    Lines,
    /// Not at all.
    Silent,
}

/// One piece of work whose progress is shown.
pub(crate) struct Shown {
    how: Progress,
    what: String,
    total: u64,
    bar: ProgressBar,
    done: Mutex<(u64, u64)>,
}

impl Progress {
    /// Says that something is being done that has no measure.
    pub fn say(self, what: &str) {
        if self != Self::Silent {
            // Nobody is served by failing because the log cannot be written.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    }

    pub(crate) fn start(self, what: String, total: u64) -> Shown {
        let bar = match self {
            Self::Bars => ProgressBar::new(total),
            Self::Lines | Self::Silent => ProgressBar::hidden(),
        };
        let style = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.clone());
        Shown { how: self, what, total, bar, done: Mutex::new((0, 0)) }
    }
}

impl Shown {
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        let Ok(mut done) = self.done.lock() else { return };
        done.0 += bytes;
        let tenth = (done.0 * 10).checked_div(self.total).unwrap_or(10);
        if self.how == Progress::Lines && tenth > done.1 {
            done.1 = tenth;
            self.how.say(&format!("{}: {} of {} MB", self.what, done.0 >> 20, self.total >> 20));
        }
    }

    /// Takes back what turned out to be worthless.
    pub(crate) fn sub(&self, bytes: u64) {
        self.bar.set_position(self.bar.position().saturating_sub(bytes));
        if let Ok(mut done) = self.done.lock() {
            done.0 = done.0.saturating_sub(bytes);
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
