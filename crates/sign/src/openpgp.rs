//! OpenPGP keys and detached signatures (RFC 9580; version 4, which GnuPG 2.2 reads too).

use anyhow::{Context, Result, ensure};
use pgp::composed::{Deserializable, SignedKeyDetails, SignedSecretKey};
use pgp::crypto::ed25519::{self, Mode};
use pgp::crypto::eddsa_legacy;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    KeyFlags, PubKeyInner, PublicKey, SecretKey, Signature, SignatureConfig, SignatureType,
    Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{
    Duration, EddsaLegacyPublicParams, KeyDetails, KeyVersion, Password, PlainSecretParams,
    PublicParams, SecretParams, Tag, Timestamp,
};
use store::Epoch;

/// A secret key that signs releases.
pub(crate) struct ReleaseKey(SignedSecretKey);

impl ReleaseKey {
    /// A key (EdDSA over Ed25519, the form of GnuPG) out of 32 secret bytes, its user id and the
    /// moment that it says it was made.
    pub(crate) fn new(secret: [u8; 32], user: &str, created: Epoch) -> Result<Self> {
        let created = timestamp(created)?;
        let secret = ed25519::SecretKey::try_from_bytes(secret, Mode::EdDSALegacy)
            .context("make an OpenPGP key")?;
        let public = PublicParams::EdDSALegacy(EddsaLegacyPublicParams::from(&secret));
        let secret = eddsa_legacy::SecretKey::Ed25519(secret);
        let secret = SecretParams::Plain(PlainSecretParams::EdDSALegacy(secret));
        let algorithm = PublicKeyAlgorithm::EdDSALegacy;
        let inner = PubKeyInner::new(KeyVersion::V4, algorithm, created, None, public);
        let public = inner.and_then(PublicKey::from_inner).context("make an OpenPGP key")?;
        let key = SecretKey::new(public.clone(), secret).context("make an OpenPGP key")?;

        let user = UserId::from_str(Default::default(), user).context("make an OpenPGP user")?;
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(true);
        let mut config = config(&key, SignatureType::CertPositive, created)?;
        config.hashed_subpackets.push(regular(SubpacketData::KeyFlags(flags))?);
        config.hashed_subpackets.push(regular(SubpacketData::IsPrimary(true))?);
        let binding = config
            .sign_certification(&key, &public, &Password::empty(), Tag::UserId, &user)
            .context("sign an OpenPGP user")?;
        let details =
            SignedKeyDetails::new(vec![], vec![], vec![user.into_signed(binding)], vec![]);
        Ok(Self(SignedSecretKey::new(key, details, vec![], vec![])))
    }

    /// Reads a secret key without a passphrase, binary or armoured.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let key = if bytes.starts_with(b"-----BEGIN") {
            SignedSecretKey::from_armor_single(bytes).map(|(key, _)| key)
        } else {
            SignedSecretKey::from_bytes(bytes)
        };
        let key = key.context("read the OpenPGP secret key")?;
        key.verify_bindings().context("check the OpenPGP secret key")?;
        Ok(Self(key))
    }

    /// The secret key, binary.
    pub(crate) fn secret(&self) -> Result<Vec<u8>> {
        self.0.to_bytes().context("write the OpenPGP secret key")
    }

    /// The public key, binary: what a key ring holds.
    pub(crate) fn public(&self) -> Result<Vec<u8>> {
        self.0.to_public_key().to_bytes().context("write the OpenPGP public key")
    }

    /// Every user id.
    pub(crate) fn users(&self) -> impl Iterator<Item = &str> {
        self.0.details.users.iter().filter_map(|user| user.id.as_str())
    }

    /// A detached binary signature of `bytes` that says it was made at `created` and holds for
    /// `expires` seconds from then.
    pub(crate) fn sign(
        &self,
        bytes: &[u8],
        created: Epoch,
        expires: Option<u32>,
    ) -> Result<Vec<u8>> {
        let key = &self.0.primary_key;
        let created = timestamp(created)?;
        let mut config = config(key, SignatureType::Binary, created)?;
        if let Some(seconds) = expires {
            // In the format 0 means that it never expires: the opposite of what was asked.
            ensure!(seconds > 0, "a signature that holds for no time is not made");
            let end = created.as_secs().checked_add(seconds);
            end.context("the signature's end does not fit in OpenPGP's 32 bits")?;
            let data = SubpacketData::SignatureExpirationTime(Duration::from_secs(seconds));
            config.hashed_subpackets.push(regular(data)?);
        }
        let signature =
            config.sign(key, &Password::empty(), bytes).context("sign with the OpenPGP key")?;
        packet(&signature)
    }
}

/// Everything in a signature that is not its content; nothing is left to the library, which would
/// take the time from the clock.
fn config(key: &SecretKey, kind: SignatureType, created: Timestamp) -> Result<SignatureConfig> {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = vec![
        regular(SubpacketData::SignatureCreationTime(created))?,
        regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    config.unhashed_subpackets = vec![regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    Ok(config)
}

fn regular(data: SubpacketData) -> Result<Subpacket> {
    Subpacket::regular(data).context("write an OpenPGP signature")
}

fn packet(signature: &Signature) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pgp::packet::PacketTrait::to_writer_with_header(signature, &mut bytes)
        .context("write an OpenPGP signature")?;
    Ok(bytes)
}

fn timestamp(epoch: Epoch) -> Result<Timestamp> {
    let seconds = u32::try_from(epoch.0).context("the time does not fit in OpenPGP's 32 bits")?;
    Ok(Timestamp::from_secs(seconds))
}
