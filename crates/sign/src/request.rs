//! What is asked of a signer, and the kinds of signers.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use store::Epoch;

use crate::Directory;

/// Which key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// PK: owns a machine's firmware.
    Platform,
    /// KEK: may change what the firmware starts.
    Exchange,
    /// db: signs what the firmware starts.
    Boot,
    /// Signs root hashes of dm-verity.
    Verity,
    /// Signs releases, with OpenPGP.
    Release,
}

/// One signature that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The artifact, for people.
    pub name: String,
    /// Who signs.
    pub role: Role,
    /// What is signed, and the form of the signature.
    pub form: Form,
}

/// What is signed, and the form of the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Form {
    /// An EFI program: PKCS#7 over `SpcIndirectDataContent`, the certificate inside, no time
    /// (Windows Authenticode Portable Executable Signature Format).
    Authenticode {
        /// The program's Authenticode digest.
        digest: [u8; 32],
    },
    /// A root hash: detached PKCS#7 without certificates and attributes, as Linux reads it.
    RootHash {
        /// The hash in lower-case hexadecimal digits, which is what is signed.
        text: String,
    },
    /// A change of a firmware variable: bare `SignedData`, detached, the certificate inside, no
    /// attributes (UEFI 2.10, 8.2.2).
    Variable {
        /// Name, vendor, attributes, time and new content of the variable.
        bytes: Vec<u8>,
    },
    /// A file: detached OpenPGP signature, binary (RFC 9580, version 4).
    OpenPgp {
        /// The file.
        bytes: Vec<u8>,
        /// When the signature says that it was made; 32 bits.
        created: Epoch,
        /// Seconds after `created` until it no longer holds (RFC 9580, 5.2.3.18), at least one;
        /// `None`: it holds for ever.
        expires: Option<u32>,
    },
}

/// A signature: DER of PKCS#7, or a binary OpenPGP packet, as its request's form says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(pub Vec<u8>);

/// Who can sign: keys in files, a token, another machine.
pub trait Signer: Send + Sync {
    /// The certificate of a role in DER; for [`Role::Release`] the OpenPGP public key, binary.
    fn certificate(&self, role: Role) -> Result<Vec<u8>>;

    /// One signature for each request, in their order. The same request and key give the same
    /// bytes.
    fn sign(&self, requests: &[Request]) -> Result<Vec<Signature>>;

    /// Whether any key is for development only, and nothing that it signed may be published.
    fn development(&self) -> bool;

    /// The GUID that owns our entries in firmware variables, in UEFI byte order.
    fn owner(&self) -> Result<[u8; 16]>;
}

/// A kind of signer.
pub struct SignerKind {
    /// The name that the command line gives it.
    pub name: &'static str,
    /// What its argument is.
    pub argument: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Opens one by its argument.
    pub open: fn(&str) -> Result<Box<dyn Signer>>,
}

/// Every kind of signer.
pub const SIGNERS: &[SignerKind] = &[SignerKind {
    name: "directory",
    argument: "DIR",
    help: "private keys and certificates in a directory",
    open: |argument| Ok(Box::new(Directory::open(Path::new(argument))?)),
}];

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::Platform, Self::Exchange, Self::Boot, Self::Verity, Self::Release];

    /// The role's short name: `PK`, `KEK`, `db`, `verity`, `release`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "PK",
            Self::Exchange => "KEK",
            Self::Boot => "db",
            Self::Verity => "verity",
            Self::Release => "release",
        }
    }
}
