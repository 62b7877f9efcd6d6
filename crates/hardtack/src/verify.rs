//! `hardtack verify`: whether a feed is what its hosts may take.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use fetch::{Keyring, read_machine};
use release::{Origin, Trust};

use crate::args::Verify;
use crate::fault::{Fault, Or as _};
use crate::print;
use crate::publish::{keys, moment};

/// The most bytes of a keyring or a certificate.
const FILE_LIMIT: u64 = 16 << 20;

/// Names of the public halves in a directory of keys.
const KEYRING: &str = "release.pub.pgp";
const CERTIFICATE: &str = "db.crt";

/// Verifies a channel; everything that is wrong is shown before it fails.
pub(crate) fn verify(arguments: &Verify) -> Result<()> {
    let Verify { feed, channel, .. } = arguments;
    let now = moment(arguments.at.as_deref()).fault(Fault::Profile)?;
    let trust = trust(arguments).fault(Fault::Sign)?;
    let machine = read_machine(Path::new("/")).fault(Fault::Fetch)?;
    let origin =
        Origin::of(feed, channel, machine).context("option --feed").fault(Fault::Profile)?;
    let found = release::verify(&origin, channel, &trust, now, &mut print);
    for fault in &found.faults {
        print(&format!("fault: {fault}"));
    }
    let about = || format!("verify channel `{channel}` of `{}`", shown(feed));
    match found.faults.as_slice() {
        [] => {
            print(&format!("verified: {}", found.about));
            Ok(())
        }
        [fault] => Err(anyhow!("{fault}")),
        [fault, rest @ ..] => Err(anyhow!("{fault}; and {} more", rest.len())),
    }
    .with_context(about)
    .fault(Fault::Image)
}

fn trust(arguments: &Verify) -> Result<Trust> {
    let place = |given: &Option<PathBuf>, name: &str| match given {
        Some(path) => Ok(path.clone()),
        None => keys(arguments.keys.as_deref()).map(|keys| keys.join(name)),
    };
    let path = place(&arguments.keyring, KEYRING)?;
    let about = |path: &Path| format!("read `{}`", path.display());
    let keyring = Keyring::read(&store::bounded(&path, FILE_LIMIT)?)
        .with_context(|| about(&path))
        .context("whom lists are believed: name the release key with --keyring")?;
    let path = place(&arguments.certificate, CERTIFICATE)?;
    let certificate = sign::certificate_der(&store::bounded(&path, FILE_LIMIT)?)
        .with_context(|| about(&path))
        .context("whom the firmware trusts: name the db certificate with --certificate")?;
    Ok(Trust { keyring, certificate })
}

/// A feed without the login that its address may carry.
fn shown(feed: &str) -> String {
    match fetch::Address::parse(feed) {
        Ok(address) => address.to_string(),
        Err(_) => feed.to_owned(),
    }
}
