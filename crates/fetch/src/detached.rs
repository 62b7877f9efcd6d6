//! Files whose signature lies beside them.

use anyhow::{Context, Result, ensure};
use store::Epoch;

use crate::keyring::{Vouched, read_signatures};
use crate::{Client, Keyring, Mirror};

/// A file and its detached signature (RFC 9580, section 10.4); closed until the signature is
/// checked.
pub struct Sealed {
    content: Vec<u8>,
    signature: Vec<u8>,
}

/// A file that a trusted key signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The file, as it was signed.
    pub content: Vec<u8>,
    /// Fingerprints of the primary keys behind the good signatures: upper-case hexadecimal,
    /// sorted, at least one.
    pub signers: Vec<String>,
    /// When the last of the good signatures ends; `None`: never.
    pub expires: Option<Epoch>,
}

/// The most bytes of a detached signature.
pub const LARGEST_SIGNATURE: u64 = 1 << 20;

/// Fetches the file at `location`, of at most `limit` bytes, and its signature at `signature`.
pub fn sealed(
    client: &Client,
    mirror: &Mirror,
    location: &str,
    signature: &str,
    limit: u64,
) -> Result<Sealed> {
    let get = |location, limit| client.small(&mirror.root.join(location), mirror, limit);
    Ok(Sealed::new(get(location, limit)?, get(signature, LARGEST_SIGNATURE)?))
}

impl Sealed {
    /// A file that lies on this machine, and its signature: binary, or armoured.
    pub fn new(content: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { content, signature }
    }

    /// Hands the file out if a key of `keyring` signed it, by the same rules as
    /// [`Keyring::open`].
    pub fn open(self, keyring: &Keyring, now: Epoch) -> Result<Opened> {
        let Self { content, signature } = self;
        ensure!(
            signature.len() as u64 <= LARGEST_SIGNATURE,
            "the signature has more than {LARGEST_SIGNATURE} bytes"
        );
        let signatures = read_signatures(&signature).context("read the detached signature")?;
        let Vouched { signers, expires } = keyring.vouched(&signatures, &content, now)?;
        Ok(Opened { content, signers, expires })
    }
}
