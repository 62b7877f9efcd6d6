//! The command: profile and lock in, image out. Thin; [`pipeline`] is the table of contents.

mod args;
pub mod assemble;
mod diff;
mod difference;
mod explain;
pub mod fault;
mod hand_over;
mod inputs;
mod inspect;
mod keep;
mod keys;
mod ledger;
pub mod lint;
mod offered;
mod origins;
mod output;
pub mod pipeline;
pub mod plan;
pub mod previous;
mod publish;
mod report;
mod rules;
pub mod scripts;
pub mod seal;
mod tar;
mod tree;
mod updates;
mod verify;
mod wants;
mod why;

pub use args::Arguments;
pub use worker::STAGES;

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use args::Verb;

/// Does what the command line asks for.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.verb {
        Verb::Image(image) => hand_over::image(&image),
        Verb::Lock(lock) => inputs::write_lock(&lock),
        Verb::Keys(verb) => keys::run(&verb),
        Verb::Store(verb) => keep::run(&verb),
        Verb::Tree(tree) => tree::run(tree),
        Verb::Rules(args::Rules::New(new)) => rules::new(&new),
        Verb::Inspect(image) => inspect::inspect(&image),
        Verb::Why(why) => why::why(&why),
        Verb::Explain(explain) => explain::explain(&explain),
        Verb::Publish(arguments) => publish::publish(&arguments),
        Verb::Verify(arguments) => verify::verify(&arguments),
        Verb::Diff(sides) => diff::diff(&sides),
    }
}

/// A line for people, on standard error; a closed pipe is no failure.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// How progress is shown here.
pub(crate) fn progress() -> fetch::Progress {
    if std::io::stderr().is_terminal() { fetch::Progress::Bars } else { fetch::Progress::Lines }
}

/// Data, on standard output; a closed pipe is no failure.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
