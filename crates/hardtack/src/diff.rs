//! `hardtack diff`: what changed between two releases, from their bytes alone.

mod compare;
mod feed;
mod html;
mod side;
mod text;
mod treemap;
mod usr;

use std::fs;

use anyhow::{Context, Result};

use crate::args;
use crate::fault::{Fault, Or as _};
use crate::print;

/// How much of a difference people are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Files are counted by package.
    Short,
    /// Every file.
    Full,
}

/// Compares and prints. Equal or not, the exit code is 0: the answer is what was printed.
pub(crate) fn diff(arguments: &args::Diff) -> Result<()> {
    let old = side::read(&arguments.old).fault(Fault::Image)?;
    let new = side::read(&arguments.new).fault(Fault::Image)?;
    let diff = compare::compare(old, new);
    if let Some(path) = &arguments.html {
        fs::write(path, html::page(&diff))
            .with_context(|| format!("write `{}`", path.display()))
            .fault(Fault::Output)?;
    }
    if arguments.json {
        print(&serde_json::to_string_pretty(&diff).context("write the difference")?);
    } else {
        let detail = if arguments.full { Detail::Full } else { Detail::Short };
        print(text::text(&diff, detail).trim_end());
    }
    Ok(())
}
