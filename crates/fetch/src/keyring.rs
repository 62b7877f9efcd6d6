//! OpenPGP (RFC 9580): which keys are trusted, and whether one of them signed a text.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{RevocationCode, Signature, SignatureType, SubpacketData, SubpacketType};
use pgp::types::{KeyDetails, Timestamp};
use store::Epoch;

use crate::cleartext::read_cleartext;

/// Keys whose signature is believed.
#[derive(Clone, Debug)]
pub struct Keyring(Vec<SignedPublicKey>);

/// A text that a trusted key signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signed text and nothing else: lines end with LF, trailing blanks are gone.
    pub text: String,
    /// Fingerprints of the primary keys behind the good signatures: upper-case hexadecimal,
    /// sorted, at least one.
    pub signers: Vec<String>,
}

/// Largest keyring and largest signed text, in bytes.
const LARGEST: usize = 16 << 20;

/// Most signatures on one text.
const MOST_SIGNATURES: usize = 32;

impl Keyring {
    /// Reads a keyring: binary, or armoured with any line end, told apart by content alone.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LARGEST {
            bail!("a keyring of more than {LARGEST} bytes");
        }
        if bytes.get(8..12) == Some(b"KBXf") {
            bail!(
                "the keyring is a GnuPG keybox, which holds more than keys: export the keys from \
                 it with `gpg --no-default-keyring --keyring FILE --export > NEW`"
            );
        }
        let mut keys = Vec::new();
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            let packets = SignedPublicKey::from_bytes_many(bytes).context("read keyring")?;
            for key in packets {
                keys.push(key.context("read keyring")?);
            }
        } else {
            let text = std::str::from_utf8(bytes).context("read keyring as text")?;
            let text = text.replace('\r', "");
            for block in text.split_inclusive("-----END PGP PUBLIC KEY BLOCK-----") {
                if block.contains("-----BEGIN PGP") {
                    let (packets, _) = SignedPublicKey::from_armor_many(block.as_bytes())
                        .context("read armoured keyring")?;
                    for key in packets {
                        keys.push(key.context("read armoured keyring")?);
                    }
                }
            }
        }
        if keys.is_empty() {
            bail!("the keyring holds no key");
        }
        Ok(Self(keys))
    }

    /// Fingerprints of the primary keys: upper-case hexadecimal, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        let all: BTreeSet<_> = self.0.iter().map(fingerprint).collect();
        all.into_iter().collect()
    }

    /// Opens a text in the cleartext signature framework.
    ///
    /// One good signature of a trusted key suffices; those of unknown keys are ignored; a bad one
    /// of a trusted key is an error. Whether a key was good is asked of the moment that the
    /// signature names; whether the signature itself has expired, of `now`.
    pub fn open(&self, message: &[u8], now: Epoch) -> Result<Signed> {
        if message.len() > LARGEST {
            bail!("a signed text of more than {LARGEST} bytes");
        }
        let message = std::str::from_utf8(message).context("read signed text as UTF-8")?;
        let cleartext = read_cleartext(message)?;
        let signatures = read_armoured(&cleartext.signatures)?;
        let Vouched { signers, .. } =
            self.vouched(&signatures, cleartext.canonical.as_bytes(), now)?;
        let mut text = cleartext.canonical.replace("\r\n", "\n");
        text.push('\n');
        Ok(Signed { text, signers })
    }

    /// Checks signatures on `content` as [`Keyring::open`] does.
    pub(crate) fn vouched(
        &self,
        signatures: &[Signature],
        content: &[u8],
        now: Epoch,
    ) -> Result<Vouched> {
        let mut signers = BTreeSet::new();
        let mut refused = BTreeSet::new();
        let mut expires: Option<u64> = Some(0);
        for signature in signatures {
            for key in &self.0 {
                match self::judge(key, signature, content, now)? {
                    Verdict::Stranger => {}
                    Verdict::Good => {
                        signers.insert(fingerprint(key));
                        // Any good one suffices: the last to end counts.
                        expires = expires.zip(end(signature)).map(|(one, other)| one.max(other));
                    }
                    Verdict::Refused(why) => {
                        refused.insert(format!("key {} {why}", fingerprint(key)));
                    }
                }
            }
        }
        if signers.is_empty() {
            let refused: Vec<_> = refused.into_iter().collect();
            match refused.is_empty() {
                true => bail!("no key of the keyring signed the text"),
                false => bail!("no signature counts: {}", refused.join("; ")),
            }
        }
        Ok(Vouched { signers: signers.into_iter().collect(), expires: expires.map(Epoch) })
    }
}

/// Who signed a content, and for how long.
pub(crate) struct Vouched {
    /// As in [`Signed`].
    pub(crate) signers: Vec<String>,
    /// When the last of the good signatures ends; `None`: never.
    pub(crate) expires: Option<Epoch>,
}

enum Verdict {
    /// The signature names another key.
    Stranger,
    Good,
    /// The signature is the key's, but it does not count.
    Refused(&'static str),
}

fn read_armoured(text: &str) -> Result<Vec<Signature>> {
    let (found, _) = DetachedSignature::from_armor_many(text.as_bytes())
        .context("read the signatures' armour")?;
    collect(found)
}

/// Reads detached signatures, in binary form or armoured.
pub(crate) fn read_signatures(bytes: &[u8]) -> Result<Vec<Signature>> {
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return collect(DetachedSignature::from_bytes_many(bytes).context("read signatures")?);
    }
    read_armoured(std::str::from_utf8(bytes).context("read signatures as text")?)
}

fn collect(
    found: impl Iterator<Item = pgp::errors::Result<DetachedSignature>>,
) -> Result<Vec<Signature>> {
    let mut signatures = Vec::new();
    for one in found {
        if signatures.len() == MOST_SIGNATURES {
            bail!("more than {MOST_SIGNATURES} signatures on one text");
        }
        signatures.push(one.context("read a signature")?.signature);
    }
    Ok(signatures)
}

/// What `signature` on `content` is worth, as far as `key` and its subkeys go. A bad signature is an
/// error.
fn judge(
    key: &SignedPublicKey,
    signature: &Signature,
    content: &[u8],
    now: Epoch,
) -> Result<Verdict> {
    let subkey = key.public_subkeys.iter().find(|subkey| named(signature, &subkey.key));
    let checked = if named(signature, &key.primary_key) {
        signature.verify(&key.primary_key, content)
    } else if let Some(subkey) = subkey {
        signature.verify(&subkey.key, content)
    } else {
        return Ok(Verdict::Stranger);
    };
    // The library's own words are of its insides.
    if checked.is_err() {
        bail!("check the signature of key {}: bad", fingerprint(key));
    }

    let Some(at) = signature.created() else { return Ok(Verdict::Refused("gave no time")) };
    let why = if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        Some("signed something other than a text")
    } else if weak(signature) {
        Some("used a digest that is broken")
    } else if has_unknown_critical(signature) {
        Some("set a condition that is not understood")
    } else if end(signature).is_some_and(|end| end <= now.0) {
        Some("set an end to its signature, which has passed")
    } else if named(signature, &key.primary_key) {
        primary_refused(key, at).or_else(|| primary_cannot_sign(key, at))
    } else {
        let bound = subkey.map(|subkey| subkey_refused(key, subkey, at));
        primary_refused(key, at).or(bound.unwrap_or_default())
    };
    Ok(why.map_or(Verdict::Good, Verdict::Refused))
}

/// Whether the signature names this very key.
fn named(signature: &Signature, key: &impl KeyDetails) -> bool {
    let prints = signature.issuer_fingerprint();
    if prints.is_empty() {
        signature.issuer_key_id().iter().any(|id| **id == key.legacy_key_id())
    } else {
        prints.iter().any(|print| **print == key.fingerprint())
    }
}

fn weak(signature: &Signature) -> bool {
    !matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn has_unknown_critical(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| {
            packet.is_critical
                && matches!(packet.typ(), SubpacketType::Experimental(_) | SubpacketType::Other(_))
        })
    })
}

/// Why the whole key did not count at `at`, if so.
fn primary_refused(key: &SignedPublicKey, at: Timestamp) -> Option<&'static str> {
    let primary = &key.primary_key;
    let revocations = key.details.revocation_signatures.iter();
    if revocations.filter(|one| one.verify_key(primary).is_ok()).any(|one| revokes(one, at)) {
        return Some("is revoked");
    }
    let newest = newest_self_signature(key, at);
    let Some(newest) = newest else { return Some("had no valid self-signature") };
    expired(primary, newest, at).then_some("had expired")
}

/// Why the primary key may not sign texts, if so. Without any flags it may (RFC 9580, 5.2.3.29).
fn primary_cannot_sign(key: &SignedPublicKey, at: Timestamp) -> Option<&'static str> {
    let newest = newest_self_signature(key, at)?;
    (has_flags(newest) && !newest.key_flags().sign()).then_some("is not for signing")
}

/// The newest valid certification of the key by itself that was made by `at`.
fn newest_self_signature(key: &SignedPublicKey, at: Timestamp) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key
        .details
        .direct_signatures
        .iter()
        .filter(|one| one.typ() == Some(SignatureType::Key) && one.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let own = user.signatures.iter().filter(|one| {
            named(one, primary)
                && one.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
        });
        let (revocations, certifications): (Vec<_>, Vec<_>) =
            own.partition(|one| one.typ() == Some(SignatureType::CertRevocation));
        let revoked = revocations.iter().any(|one| one.created() <= Some(at));
        certifications.into_iter().filter(move |one| !revoked && one.is_certification())
    });
    let made = direct.chain(users).filter(|one| one.created().is_some_and(|made| made <= at));
    made.max_by_key(|one| one.created())
}

/// Why the subkey did not count at `at`, if so.
fn subkey_refused(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    at: Timestamp,
) -> Option<&'static str> {
    let primary = &key.primary_key;
    let own = subkey.signatures.iter();
    let valid = own.filter(|one| one.verify_subkey_binding(primary, &subkey.key).is_ok());
    let (revocations, bindings): (Vec<_>, Vec<_>) =
        valid.partition(|one| one.typ() == Some(SignatureType::SubkeyRevocation));
    if revocations.iter().any(|one| revokes(one, at)) {
        return Some("has revoked its subkey");
    }
    let made = bindings.into_iter().filter(|one| one.created().is_some_and(|made| made <= at));
    let Some(newest) = made.max_by_key(|one| one.created()) else {
        return Some("had not bound its subkey");
    };
    // The subkey must say that it belongs to the primary key, or anybody's could be adopted.
    let back = newest.embedded_signature();
    if back.is_none_or(|one| one.verify_primary_key_binding(&subkey.key, primary).is_err()) {
        return Some("has a subkey that does not confirm it");
    }
    if !newest.key_flags().sign() {
        return Some("has a subkey that is not for signing");
    }
    expired(&subkey.key, newest, at).then_some("had a subkey that had expired")
}

/// A compromised key never counts; one that was retired or replaced counts until then.
fn revokes(revocation: &Signature, at: Timestamp) -> bool {
    let soft = matches!(
        revocation.revocation_reason_code(),
        Some(
            RevocationCode::KeyRetired
                | RevocationCode::KeySuperseded
                | RevocationCode::CertUserIdInvalid
        )
    );
    !soft || revocation.created().is_none_or(|made| made <= at)
}

fn expired(key: &impl KeyDetails, by: &Signature, at: Timestamp) -> bool {
    let life = by.key_expiration_time().map_or(0, |life| life.as_secs());
    key.created_at() > at || lifetime_end(key.created_at(), life) <= u64::from(at.as_secs())
}

/// When a signature ends, in seconds of [`Epoch`].
fn end(signature: &Signature) -> Option<u64> {
    let life = signature.signature_expiration_time()?.as_secs();
    (life > 0).then(|| lifetime_end(signature.created().unwrap_or_default(), life))
}

/// A lifetime of zero has no end (RFC 9580, 5.2.3.13).
fn lifetime_end(from: Timestamp, life: u32) -> u64 {
    if life == 0 { u64::MAX } else { u64::from(from.as_secs()) + u64::from(life) }
}

fn has_flags(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    })
}

fn fingerprint(key: &SignedPublicKey) -> String {
    format!("{:X}", key.primary_key.fingerprint())
}
