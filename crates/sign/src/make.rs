//! Making keys for development.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use store::Epoch;

use crate::Role;
use crate::enrol::{guid_text, owner_of};
use crate::openpgp::ReleaseKey;

/// In the name of every certificate and user id that is made here.
pub(crate) const MARK: &str = "DEVELOPMENT";

/// Certificates hold from 2020 to the last year that a UTCTime can say (RFC 5280, 4.1.2.5): no
/// clock decides, and a machine whose clock stands at its build date still starts.
const BEGIN: (i32, u8, u8) = (2020, 1, 1);
const END: (i32, u8, u8) = (2049, 12, 31);

/// [`BEGIN`] in seconds.
const BEGIN_SECONDS: Epoch = Epoch(1_577_836_800);

/// Fills the directory `path`, which must not exist, with a key for every role.
pub(crate) fn fill(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the key directory `{}`", path.display()))?;
    for role in [Role::Platform, Role::Exchange, Role::Boot, Role::Verity] {
        let name = role.name();
        let (key, certificate) = pair(role).with_context(|| format!("make the {name} key"))?;
        write(&path.join(format!("{name}.key")), key.as_bytes(), 0o600)?;
        write(&path.join(format!("{name}.crt")), certificate.pem().as_bytes(), 0o644)?;
        if role == Role::Platform {
            let owner = format!("{}\n", guid_text(&owner_of(certificate.der())));
            write(&path.join("owner.guid"), owner.as_bytes(), 0o644)?;
        }
    }
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).ok().context("draw random bytes for a key")?;
    let release = ReleaseKey::new(secret, &name_of(Role::Release), BEGIN_SECONDS)?;
    write(&path.join("release.pgp"), &release.secret()?, 0o600)?;
    write(&path.join("release.pub.pgp"), &release.public()?, 0o644)?;
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("sync the key directory `{}`", path.display()))
}

/// A new private key (PKCS#8, PEM) and a certificate signed by itself.
fn pair(role: Role) -> Result<(String, Certificate)> {
    // 2048 bits: many firmwares take nothing else.
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
        .context("make an RSA key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name_of(role));
    params.not_before = date_time_ymd(BEGIN.0, BEGIN.1, BEGIN.2);
    params.not_after = date_time_ymd(END.0, END.1, END.2);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if role == Role::Boot {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    }
    let certificate = params.self_signed(&key).context("make a certificate")?;
    Ok((key.serialize_pem(), certificate))
}

fn name_of(role: Role) -> String {
    format!("Hardtack {MARK} {} key", role.name())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .with_context(|| format!("write `{}`", path.display()))
}
