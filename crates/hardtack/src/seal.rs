//! Requests out, signatures in: the one round of signing.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use boot::{DIGEST, GRAFT, Graft};
use pool::{Commit, Pool};
use sign::{Form, Request, Role, Signer};
use store::{Blob, Digest, Store};
use verity::RootHash;

use crate::assemble::Host;
use crate::plan::Plan;

/// What waits for signatures.
pub struct Unsigned {
    /// The unified kernel image.
    pub uki: Blob,
    /// The boot loader.
    pub loader: Blob,
    /// The root hash of `/usr`.
    pub root: RootHash,
}

/// The same, signed.
pub struct Sealed {
    /// The unified kernel image.
    pub uki: Blob,
    /// The boot loader.
    pub loader: Blob,
    /// The content of the signature partition, as large as the partition.
    pub root_hash: Blob,
    /// Files that enrol the keys in firmware in setup mode: `PK`, `KEK`, `db`.
    pub enrolment: BTreeMap<String, Vec<u8>>,
}

/// Has everything signed at once, and grafts the signatures in. `room` is the size of the
/// signature partition in bytes.
pub fn seal(unsigned: &Unsigned, room: u64, signer: &dyn Signer, store: &Store) -> Result<Sealed> {
    let image = |name: &str, blob: &Blob| -> Result<Request> {
        let digest = store.realize(&DIGEST, blob)?.0;
        Ok(Request { name: name.to_owned(), role: Role::Boot, form: Form::Authenticode { digest } })
    };
    let root = unsigned.root.to_string();
    let requests = [
        image("unified kernel image", &unsigned.uki)?,
        image("boot loader", &unsigned.loader)?,
        Request {
            name: "root hash".to_owned(),
            role: Role::Verity,
            form: Form::RootHash { text: root.clone() },
        },
    ];
    let signatures = signer.sign(&requests)?;
    let [uki, loader, root_hash] = signatures.as_slice() else {
        anyhow::bail!("{} signatures came back for {} requests", signatures.len(), requests.len());
    };
    let graft = |pe: Blob, signature: &sign::Signature| -> Result<Blob> {
        store.realize(&GRAFT, &Graft { pe, pkcs7: store.put(&signature.0)? })
    };
    let certificate = signer.certificate(Role::Verity)?;
    let json = sign::verity_signature_json(&root, &certificate, &root_hash.0)?;
    let sign::Enrolment { platform, exchange, boot } = sign::enrolment(signer)?;
    let enrolment = [("PK", platform), ("KEK", exchange), ("db", boot)];
    Ok(Sealed {
        uki: graft(unsigned.uki, uki)?,
        loader: graft(unsigned.loader, loader)?,
        root_hash: store.put(&sign::pad_verity_signature(&json, room)?)?,
        enrolment: enrolment.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
    })
}

/// Commits the host's tree to the pool, signed with the release key.
pub fn commit(plan: &Plan, host: &Host, signer: &dyn Signer, pool: &Pool) -> Result<Digest> {
    let name = Commit {
        id: &plan.host.id,
        version: &plan.version,
        epoch: plan.lock.epoch,
        signer: &signer.certificate(Role::Release)?,
    };
    let sign = |bytes: &[u8]| -> Result<Vec<u8>> {
        let form = Form::OpenPgp { bytes: bytes.to_vec(), created: plan.lock.epoch, expires: None };
        let request = Request { name: "commit".to_owned(), role: Role::Release, form };
        let signature = signer.sign(std::slice::from_ref(&request))?;
        Ok(signature.into_iter().next().context("no signature came back for the commit")?.0)
    };
    pool.commit(&host.tree, &name, &sign)
}
