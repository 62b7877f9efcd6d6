//! `hardtack`: bakes immutable container hosts.

use std::process::ExitCode;

use clap::Parser as _;
use hardtack::{Arguments, fault};

fn main() -> ExitCode {
    match hardtack::run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hardtack::say(&fault::text(&error));
            ExitCode::from(fault::code(&error))
        }
    }
}
