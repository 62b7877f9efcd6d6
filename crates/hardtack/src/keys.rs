//! `hardtack keys`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sign::{Directory, Role, Signer as _};

use crate::args::Keys;
use crate::fault::{Fault, Or as _};

/// Makes keys, or a variable store in which they are enrolled.
pub(crate) fn run(verb: &Keys) -> Result<()> {
    match verb {
        Keys::Make { directory } => {
            Directory::open_or_make(directory).map(|_| ()).fault(Fault::Sign)
        }
        Keys::Ovmf { keys, template, output } => ovmf(keys, template, output).fault(Fault::Sign),
    }
}

fn ovmf(keys: &Path, template: &Path, output: &Path) -> Result<()> {
    let keys = Directory::open(keys)?;
    let template = fs::read(template).with_context(|| format!("read `{}`", template.display()))?;
    let variables = sign::ovmf_variables(
        &template,
        &keys.certificate(Role::Platform)?,
        &keys.certificate(Role::Exchange)?,
        &[&keys.certificate(Role::Boot)?],
        keys.owner()?,
    )?;
    fs::write(output, variables).with_context(|| format!("write `{}`", output.display()))
}
