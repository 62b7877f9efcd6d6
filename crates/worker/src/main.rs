//! `worker STAGE [DIRECTORY]`: runs one stage. Its input stands on standard input, the blobs that
//! the input declares in the directory (`blobs`); the result goes to standard output.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// No input is larger, in bytes: contents are blobs beside it.
const INPUT_MAX: u64 = 1 << 30;

const BLOBS: &str = "blobs";

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (stage, blobs) = (arguments.next(), arguments.next());
    let Some(stage) = stage.filter(|_| arguments.next().is_none()) else {
        bail!("usage: worker STAGE [DIRECTORY]");
    };
    let blobs = blobs.map_or_else(|| Path::new(BLOBS).to_owned(), PathBuf::from);
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .take(INPUT_MAX + 1)
        .read_to_end(&mut input)
        .context("read the stage's input")?;
    if input.len() as u64 > INPUT_MAX {
        bail!("the stage's input has more than {INPUT_MAX} bytes");
    }
    let output = worker::run(&stage.to_string_lossy(), &input, &blobs)?;
    std::io::stdout().lock().write_all(&output).context("write the stage's result")
}
