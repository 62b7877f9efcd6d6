//! An RSA key and its certificate.

use anyhow::{Context, Result, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use der::{Decode, Encode};
use x509_cert::Certificate;

/// A private key and the certificate that names it.
pub(crate) struct Pair {
    key: KeyPair,
    pub(crate) certificate: Certificate,
}

impl Pair {
    /// Reads a PKCS#8 key and an X.509 certificate, both in PEM (RFC 7468), that belong together.
    ///
    /// Only RSA is taken: firmware refuses other keys, whatever its tools say.
    pub(crate) fn parse(key: &[u8], certificate: &[u8]) -> Result<Self> {
        let key = pem(key, "PRIVATE KEY").context("read the private key")?;
        // What exactly is wrong with a key is nobody's business.
        let key = KeyPair::from_pkcs8(&key).ok().context(
            "the private key is no RSA key of 2048 bits or more in PKCS#8, and firmware takes no \
             other kind",
        )?;
        let der = pem(certificate, "CERTIFICATE").context("read the certificate")?;
        let certificate = parse_certificate(&der)?;
        let spki = &certificate.tbs_certificate.subject_public_key_info;
        if spki.subject_public_key.raw_bytes() != key.public_key().as_ref() {
            bail!("the certificate belongs to another key");
        }
        Ok(Self { key, certificate })
    }

    /// The certificate in DER.
    pub(crate) fn der(&self) -> Result<Vec<u8>> {
        self.certificate.to_der().context("write a certificate")
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2): deterministic, unlike PSS.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .ok()
            .context("sign with an RSA key")?;
        Ok(signature)
    }
}

/// Reads a certificate in DER.
pub(crate) fn parse_certificate(der: &[u8]) -> Result<Certificate> {
    let certificate = Certificate::from_der(der).context("read a certificate")?;
    // It is embedded as it is written back; firmware compares bytes.
    if certificate.to_der().context("write a certificate")? != der {
        bail!("the certificate is not in canonical DER");
    }
    Ok(certificate)
}

/// A certificate (DER) as text in PEM form.
pub fn certificate_pem(der: &[u8]) -> Result<String> {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der)
        .ok()
        .context("write a certificate in PEM form")
}

/// The DER of a certificate that a file holds in DER or in PEM form.
///
/// # Errors
/// It is neither.
pub fn certificate_der(file: &[u8]) -> Result<Vec<u8>> {
    let pem_form = file.trim_ascii_start().starts_with(b"-----BEGIN");
    let der = if pem_form { pem(file, "CERTIFICATE")? } else { file.to_vec() };
    parse_certificate(&der)?;
    Ok(der)
}

fn pem(text: &[u8], label: &str) -> Result<Vec<u8>> {
    let (found, der) = der::pem::decode_vec(text).ok().context("the file is not in PEM form")?;
    if found != label {
        bail!("the file holds `{}` where `{label}` is wanted", found.escape_debug());
    }
    Ok(der)
}
