//! PKCS#7 signatures (RFC 2315) read back: who signed, what, and whether it holds.
//!
//! Whether a signer is trusted is not asked: the certificate that a signature carries (or the one
//! found inside the image) says only that its key made it.

use anyhow::{Context, Result, bail};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bytes::{hex, slice, u8_at};
use crate::der::{
    BIT_STRING, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, SET, Value, Values, context,
};

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundSignature {
    /// The subject of the signer's certificate; where that is not at hand, issuer and serial
    /// number.
    pub signer: String,
    /// The issuer of the signer's certificate.
    pub issuer: String,
    /// SHA-256 of the certificate in DER, where it is at hand.
    pub certificate_sha256: Option<String>,
    /// The digest that an Authenticode signature names.
    pub digest: Option<String>,
    /// Whether the certificate's key made the signature over exactly this content; `None` where
    /// that could not be tried.
    pub holds: Option<bool>,
    /// Why it does not hold, or could not be tried.
    pub why: Option<String>,
}

impl FoundSignature {
    /// What is wrong with it, where it was tried and does not hold.
    pub(crate) fn fault(&self) -> Option<String> {
        let why = self.why.as_deref().unwrap_or("it does not hold");
        (self.holds == Some(false)).then(|| format!("the signature of {}: {why}", self.signer))
    }
}

/// `1.2.840.113549.1.7.2`: signed data.
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
/// `1.2.840.113549.1.9.4`: message digest.
const MESSAGE_DIGEST: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
/// `2.16.840.1.101.3.4.2.1`: SHA-256.
const SHA_256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
/// `1.2.840.113549.1.1.1` and `.11`: RSA, alone and with SHA-256.
const RSA: [&[u8]; 2] =
    [b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"];

/// The most certificates that are read.
const CERTIFICATES_LIMIT: usize = 32;

/// An X.509 certificate (RFC 5280, 4.1), as far as a signature needs it.
struct Certificate<'a> {
    serial: &'a [u8],
    issuer: Value<'a>,
    subject: Value<'a>,
    key: &'a [u8],
    whole: &'a [u8],
}

/// The parts of signed data with one signer.
struct Parts<'a> {
    /// Type and content of what is signed; the content is missing from a detached signature.
    content: Option<Value<'a>>,
    certificates: Vec<Certificate<'a>>,
    issuer: Value<'a>,
    serial: &'a [u8],
    digest_algorithm: &'a [u8],
    attributes: Option<Value<'a>>,
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Reads an Authenticode signature; `digest` is the recomputed digest of the program that carries
/// it. A signature over another digest does not hold.
pub fn authenticode(pkcs7: &[u8], digest: &str) -> Result<FoundSignature> {
    let parts = parts(pkcs7).context("read a PKCS#7 signature")?;
    let content = parts.content.context("the signature holds no content")?;
    // SpcIndirectDataContent: data, then DigestInfo: algorithm, digest.
    let mut inside = content.inside();
    inside.take(SEQUENCE)?;
    let mut info = inside.take(SEQUENCE)?.inside();
    info.take(SEQUENCE)?;
    let signed = hex(info.take(OCTET_STRING)?.body);
    let mut found = judged(&parts, content.body, &[])?;
    if signed != digest {
        found.holds = Some(false);
        found.why = Some(format!("it is over the digest {signed}"));
    }
    found.digest = Some(signed);
    Ok(found)
}

/// Reads a detached signature over `message`; `more` are certificates (DER) that are at hand apart
/// from those that it carries.
pub fn detached(pkcs7: &[u8], message: &[u8], more: &[Vec<u8>]) -> Result<FoundSignature> {
    let parts = parts(pkcs7).context("read a PKCS#7 signature")?;
    let more: Vec<Certificate> = more.iter().filter_map(|der| certificate(der).ok()).collect();
    judged(&parts, message, &more)
}

fn judged(parts: &Parts, message: &[u8], more: &[Certificate]) -> Result<FoundSignature> {
    let issuer = name(parts.issuer)?;
    let mut found = FoundSignature {
        signer: format!("the certificate {} of {issuer}", hex(parts.serial)),
        issuer,
        certificate_sha256: None,
        digest: None,
        holds: None,
        why: None,
    };
    let mut all = parts.certificates.iter().chain(more);
    let named =
        |one: &&Certificate| one.serial == parts.serial && one.issuer.whole == parts.issuer.whole;
    let Some(own) = all.find(named) else {
        found.why = Some("its certificate is not at hand".to_owned());
        return Ok(found);
    };
    found.signer = name(own.subject)?;
    found.certificate_sha256 = Some(hex(&Sha256::digest(own.whole)));
    if parts.digest_algorithm != SHA_256 || !RSA.contains(&parts.signature_algorithm) {
        found.why = Some("only RSA with SHA-256 is tried".to_owned());
        return Ok(found);
    }
    let why = fails(parts, message, own.key)?;
    found.holds = Some(why.is_none());
    found.why = why;
    Ok(found)
}

/// Why the signature does not hold.
fn fails(parts: &Parts, message: &[u8], key: &[u8]) -> Result<Option<String>> {
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
    let Some(attributes) = parts.attributes else {
        let good = key.verify(message, parts.signature).is_ok();
        return Ok((!good).then(|| "it is not over this content, or of another key".to_owned()));
    };
    let mut values = attributes.inside();
    let mut named = None;
    while let Some(attribute) = values.next()? {
        let mut inside = attribute.inside();
        if inside.take(OBJECT)?.body == MESSAGE_DIGEST {
            named = Some(inside.take(SET)?.inside().take(OCTET_STRING)?.body);
        }
    }
    if named.context("the signed attributes name no digest")? != &Sha256::digest(message)[..] {
        return Ok(Some("its content was changed".to_owned()));
    }
    // They are signed with the tag of a set (RFC 5652, 5.4).
    let mut signed = attributes.whole.to_vec();
    signed[0] = SET;
    let good = key.verify(&signed, parts.signature).is_ok();
    Ok((!good).then(|| "it is of another key than its certificate's".to_owned()))
}

fn parts(pkcs7: &[u8]) -> Result<Parts<'_>> {
    let mut outer = Values::of(pkcs7).take(SEQUENCE)?.inside();
    if outer.take(OBJECT)?.body != SIGNED_DATA {
        bail!("no signed data");
    }
    let mut data = outer.take(context(0))?.inside().take(SEQUENCE)?.inside();
    data.take(INTEGER)?;
    data.take(SET)?;
    let mut encapsulated = data.take(SEQUENCE)?.inside();
    encapsulated.take(OBJECT)?;
    let content = match encapsulated.maybe(context(0))? {
        Some(content) => content.inside().next()?,
        None => None,
    };
    let mut certificates = Vec::new();
    if let Some(set) = data.maybe(context(0))? {
        let mut values = set.inside();
        while let Some(value) = values.next()? {
            if certificates.len() >= CERTIFICATES_LIMIT {
                bail!("more than {CERTIFICATES_LIMIT} certificates");
            }
            certificates.push(certificate(value.whole)?);
        }
    }
    data.maybe(context(1))?;
    let mut signer = data.take(SET)?.inside().take(SEQUENCE)?.inside();
    signer.take(INTEGER)?;
    let mut who = signer.take(SEQUENCE)?.inside();
    let (issuer, serial) = (who.take(SEQUENCE)?, who.take(INTEGER)?.body);
    let digest_algorithm = algorithm(signer.take(SEQUENCE)?)?;
    let attributes = signer.maybe(context(0))?;
    let signature_algorithm = algorithm(signer.take(SEQUENCE)?)?;
    let signature = signer.take(OCTET_STRING)?.body;
    Ok(Parts {
        content,
        certificates,
        issuer,
        serial,
        digest_algorithm,
        attributes,
        signature_algorithm,
        signature,
    })
}

fn algorithm(value: Value<'_>) -> Result<&[u8]> {
    Ok(value.inside().take(OBJECT)?.body)
}

fn certificate(der: &[u8]) -> Result<Certificate<'_>> {
    let whole = Values::of(der).take(SEQUENCE).context("read a certificate")?;
    let mut fields = whole.inside().take(SEQUENCE)?.inside();
    fields.maybe(context(0))?;
    let serial = fields.take(INTEGER)?.body;
    fields.take(SEQUENCE)?;
    let issuer = fields.take(SEQUENCE)?;
    fields.take(SEQUENCE)?;
    let subject = fields.take(SEQUENCE)?;
    let mut info = fields.take(SEQUENCE)?.inside();
    info.take(SEQUENCE)?;
    let key = info.take(BIT_STRING)?.body;
    if u8_at(key, 0)? != 0 {
        bail!("a public key has a broken byte");
    }
    let key = slice(key, 1, key.len() - 1)?;
    Ok(Certificate { serial, issuer, subject, key, whole: whole.whole })
}

/// A distinguished name as text (RFC 4514, in the order of the certificate).
fn name(value: Value<'_>) -> Result<String> {
    let mut parts = Vec::new();
    let mut sets = value.inside();
    while let Some(set) = sets.next()? {
        let mut pair = set.inside().take(SEQUENCE)?.inside();
        let kind = match pair.take(OBJECT)?.body {
            b"\x55\x04\x03" => "CN".to_owned(),
            b"\x55\x04\x06" => "C".to_owned(),
            b"\x55\x04\x07" => "L".to_owned(),
            b"\x55\x04\x08" => "ST".to_owned(),
            b"\x55\x04\x0a" => "O".to_owned(),
            b"\x55\x04\x0b" => "OU".to_owned(),
            other => format!("#{}", hex(other)),
        };
        let text = pair.next()?.context("a name without a value")?;
        let text = String::from_utf8_lossy(text.body).escape_debug().to_string();
        parts.push(format!("{kind}={text}"));
    }
    Ok(parts.join(", "))
}
