//! Requests in, signatures out; knows no file format of ours.
//!
//! A [`Signer`] holds keys, or reaches them: [`SIGNERS`] is the table of kinds. Around it lies what
//! firmware, kernel and clients read of keys and signatures: PKCS#7, X.509, OpenPGP, signature
//! lists and variables of UEFI, the signature partition. This crate does not know what an image
//! is, nor where a signature ends up.

mod directory;
mod enrol;
mod firmware;
mod make;
mod openpgp;
mod pair;
mod pkcs7;
mod request;
mod verity;

pub use directory::Directory;
pub use enrol::{Enrolment, enrolment, signature_list};
pub use firmware::ovmf_variables;
pub use pair::{certificate_der, certificate_pem};
pub use request::{Form, Request, Role, SIGNERS, Signature, Signer, SignerKind};
pub use verity::{pad_verity_signature, verity_signature_json};
