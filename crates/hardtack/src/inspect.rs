//! `hardtack inspect`: what a file is, from its bytes alone.

use std::fs::File;

use anyhow::{Context, Result, anyhow};

use crate::args::Inspect;
use crate::fault::{Fault, Or as _};
use crate::print;

/// Shows a file; a problem inside of it fails after everything was shown.
pub(crate) fn inspect(arguments: &Inspect) -> Result<()> {
    let path = arguments.image.display();
    let look = || -> Result<inspect::Found> {
        let mut file = File::open(&arguments.image).with_context(|| format!("open `{path}`"))?;
        inspect::look(&mut file).with_context(|| format!("read `{path}`"))
    };
    let found = look().fault(Fault::Image)?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&found).context("write what was found")?);
    } else {
        print(found.to_string().trim_end());
    }
    let more = match found.problems.len() {
        0 => return Ok(()),
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    let first = found.problems.first().map_or("", String::as_str);
    Err(anyhow!("{first}{more}")).with_context(|| format!("inspect `{path}`")).fault(Fault::Image)
}
