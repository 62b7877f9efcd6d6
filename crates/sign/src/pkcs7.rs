//! PKCS#7 signatures (RFC 2315, in the types of RFC 5652).

use anyhow::{Context, Result};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::{ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNED_DATA};
use const_oid::db::rfc5912::{ID_SHA_256, RSA_ENCRYPTION};
use der::asn1::{OctetString, SetOfVec};
use der::{Any, Encode, Tag};
use sha2::{Digest as _, Sha256};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::{Attribute, Attributes};

use crate::pair::Pair;

/// `SPC_INDIRECT_DATA_OBJID`.
const INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");

/// The `data` of every `SpcIndirectDataContent` of a PE image, in DER: `SPC_PE_IMAGE_DATAOBJ`, no
/// flags, and a file name that the format declares obsolete.
const PE_IMAGE_DATA: [u8; 53] = *b"\x30\x33\
    \x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0f\
    \x30\x25\x03\x01\x00\xa0\x20\xa2\x1e\x80\x1c\
    \0<\0<\0<\0O\0b\0s\0o\0l\0e\0t\0e\0>\0>\0>";

/// The beginning of a `DigestInfo` of SHA-256 (RFC 8017, 9.2, note 1).
const DIGEST_INFO: [u8; 19] = *b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\
    \x05\x00\x04\x20";

/// The signature of an EFI program with this Authenticode digest.
pub(crate) fn authenticode(pair: &Pair, digest: &[u8; 32]) -> Result<Vec<u8>> {
    let content = [&PE_IMAGE_DATA[..], &DIGEST_INFO, digest].concat();
    // The content is a SEQUENCE, not an OCTET STRING, and hashed without its tag and length.
    let attributes = attributes(INDIRECT_DATA, &content)?;
    let signature = pair.sign(&attributes.to_der().context("write signed attributes")?)?;
    let content = Any::new(Tag::Sequence, content).context("write a digest to be signed")?;
    let content = EncapsulatedContentInfo { econtent_type: INDIRECT_DATA, econtent: Some(content) };
    let data = signed_data(pair, content, Some(certificates(pair)?), Some(attributes), signature)?;
    wrap(&data)
}

/// A detached signature with neither certificates nor attributes.
pub(crate) fn detached(pair: &Pair, message: &[u8]) -> Result<Vec<u8>> {
    wrap(&signed_data(pair, elsewhere(), None, None, pair.sign(message)?)?)
}

/// A detached signature with the certificate and no attributes, as bare `SignedData`.
pub(crate) fn variable(pair: &Pair, message: &[u8]) -> Result<Vec<u8>> {
    let signature = pair.sign(message)?;
    signed_data(pair, elsewhere(), Some(certificates(pair)?), None, signature)?
        .to_der()
        .context("write a signature")
}

fn elsewhere() -> EncapsulatedContentInfo {
    EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None }
}

fn signed_data(
    pair: &Pair,
    encap_content_info: EncapsulatedContentInfo,
    certificates: Option<CertificateSet>,
    signed_attrs: Option<Attributes>,
    signature: Vec<u8>,
) -> Result<SignedData> {
    let subject = &pair.certificate.tbs_certificate;
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: subject.issuer.clone(),
            serial_number: subject.serial_number.clone(),
        }),
        digest_alg: algorithm(ID_SHA_256),
        signed_attrs,
        signature_algorithm: algorithm(RSA_ENCRYPTION),
        signature: OctetString::new(signature).context("write a signature")?,
        unsigned_attrs: None,
    };
    Ok(SignedData {
        version: CmsVersion::V1,
        digest_algorithms: set(vec![algorithm(ID_SHA_256)])?,
        encap_content_info,
        certificates,
        crls: None,
        signer_infos: SignerInfos(set(vec![signer])?),
    })
}

fn wrap(data: &SignedData) -> Result<Vec<u8>> {
    let content = Any::encode_from(data).context("write signed data")?;
    ContentInfo { content_type: ID_SIGNED_DATA, content }.to_der().context("write a signature")
}

fn certificates(pair: &Pair) -> Result<CertificateSet> {
    Ok(CertificateSet(set(vec![CertificateChoices::Certificate(pair.certificate.clone())])?))
}

/// What is signed instead of the content: its type and digest. There is no time, so that the same
/// content has the same signature.
fn attributes(kind: ObjectIdentifier, content: &[u8]) -> Result<Attributes> {
    let digest = OctetString::new(Sha256::digest(content).to_vec()).context("write a digest")?;
    set(vec![
        attribute(ID_CONTENT_TYPE, Any::from(kind))?,
        attribute(ID_MESSAGE_DIGEST, Any::encode_from(&digest).context("write a digest")?)?,
    ])
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute> {
    Ok(Attribute { oid, values: set(vec![value])? })
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}

fn set<T: der::DerOrd>(items: Vec<T>) -> Result<SetOfVec<T>> {
    SetOfVec::try_from(items).context("write a set in DER")
}
