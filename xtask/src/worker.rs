//! `cargo xtask worker`: the program that runs one stage, as one static file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, read, run, target};

/// Where the tests look for it.
pub(crate) fn place() -> PathBuf {
    target().join("static/worker")
}

/// The verb.
pub(crate) fn worker() -> Result<()> {
    let words = ["rustc", "--quiet", "-p", "worker", "--bin", "worker", "--"];
    run(cargo().args(words).args(["-C", "target-feature=+crt-static"]))?;
    let place = place();
    let folder = place.parent().context("name the folder of the worker")?;
    std::fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
    std::fs::copy(target().join("debug/worker"), &place)
        .with_context(|| format!("write `{}`", place.display()))?;
    let headers =
        read(crate::run::tool("readelf")?.args(["--wide", "--program-headers"]).arg(&place))?;
    let headers = String::from_utf8_lossy(&headers);
    if headers.contains("INTERP") || !headers.contains("LOAD") {
        bail!("`{}` is started by a dynamic linker: it is not one static file", place.display());
    }
    println!("wrote {}", place.display());
    Ok(())
}
