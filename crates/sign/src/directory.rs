//! Keys in a directory of this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::enrol::{owner_of, parse_guid};
use crate::make::{self, MARK};
use crate::openpgp::ReleaseKey;
use crate::pair::Pair;
use crate::verity::check_root_hash;
use crate::{Form, Request, Role, Signature, Signer, pkcs7};

/// Private keys and certificates in files: for each of `PK`, `KEK`, `db` and `verity` a `.key`
/// (PKCS#8) and a `.crt` (X.509), both in PEM; `release.pgp`, an OpenPGP secret key without a
/// passphrase; `owner.guid`, the owner of our firmware variables (optional).
///
/// A role without files is missed when it is asked for.
pub struct Directory {
    path: String,
    pairs: BTreeMap<Role, Pair>,
    release: Option<ReleaseKey>,
    owner: Option<[u8; 16]>,
}

/// No key or certificate file is larger.
const FILE_MAX: u64 = 1 << 20;

impl Directory {
    /// Reads the keys in `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let what = || format!("keys in `{}`", path.display());
        if !path.is_dir() {
            bail!("there is no key directory `{}`", path.display());
        }
        let mut pairs = BTreeMap::new();
        for role in [Role::Platform, Role::Exchange, Role::Boot, Role::Verity] {
            let file = |end| read(&path.join(format!("{}.{end}", role.name())));
            if let (Some(key), Some(certificate)) = (file("key")?, file("crt")?) {
                let pair = Pair::parse(&key, &certificate);
                pairs.insert(
                    role,
                    pair.with_context(|| format!("read the {} key", role.name()))
                        .with_context(what)?,
                );
            }
        }
        let release = read(&path.join("release.pgp"))?;
        let release =
            release.map(|bytes| ReleaseKey::parse(&bytes)).transpose().with_context(what)?;
        let owner = read(&path.join("owner.guid"))?;
        let owner = owner.map(|bytes| parse_guid(&bytes)).transpose().with_context(what)?;
        if pairs.is_empty() && release.is_none() {
            bail!("there are no keys in `{}`", path.display());
        }
        Ok(Self { path: path.display().to_string(), pairs, release, owner })
    }

    /// Makes keys for development in `path`, which must not exist or be empty, and opens them.
    ///
    /// The directory appears whole or not at all; when another process was faster, its keys are
    /// opened.
    pub fn make(path: &Path) -> Result<Self> {
        let name = path.file_name().with_context(|| format!("`{}` has no name", path.display()))?;
        let mut temporary = name.to_owned();
        temporary.push(format!(".new-{}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make `{}`", parent.display()))?;
        }
        // What a killed process with our number left behind.
        let _ = fs::remove_dir_all(&temporary);
        make::fill(&temporary)?;
        let renamed = fs::rename(&temporary, path);
        if renamed.is_err() {
            let _ = fs::remove_dir_all(&temporary);
            return Self::open(path).with_context(|| format!("make keys in `{}`", path.display()));
        }
        Self::open(path)
    }

    /// Opens the keys in `path`; makes them for development where there is no such directory, or an
    /// empty one.
    pub fn open_or_make(path: &Path) -> Result<Self> {
        let filled = path.exists() && !store::list(path)?.is_empty();
        if filled { Self::open(path) } else { Self::make(path) }
    }

    fn pair(&self, role: Role) -> Result<&Pair> {
        self.pairs.get(&role).with_context(|| {
            format!("there is no {0} key: `{0}.key` and `{0}.crt` in `{1}`", role.name(), self.path)
        })
    }

    fn release(&self) -> Result<&ReleaseKey> {
        self.release
            .as_ref()
            .with_context(|| format!("there is no release key: `release.pgp` in `{}`", self.path))
    }

    fn sign_one(&self, request: &Request) -> Result<Vec<u8>> {
        match &request.form {
            Form::Authenticode { digest } => pkcs7::authenticode(self.pair(request.role)?, digest),
            Form::RootHash { text } => {
                check_root_hash(text)?;
                pkcs7::detached(self.pair(request.role)?, text.as_bytes())
            }
            Form::Variable { bytes } => pkcs7::variable(self.pair(request.role)?, bytes),
            Form::OpenPgp { bytes, created, expires } if request.role == Role::Release => {
                self.release()?.sign(bytes, *created, *expires)
            }
            Form::OpenPgp { .. } => bail!("the {} key makes no OpenPGP", request.role.name()),
        }
    }
}

impl Signer for Directory {
    fn certificate(&self, role: Role) -> Result<Vec<u8>> {
        match role {
            Role::Release => self.release()?.public(),
            _ => self.pair(role)?.der(),
        }
    }

    fn sign(&self, requests: &[Request]) -> Result<Vec<Signature>> {
        let sign = |request: &Request| {
            let signature = self.sign_one(request);
            signature.map(Signature).with_context(|| format!("sign `{}`", request.name))
        };
        requests.iter().map(sign).collect()
    }

    fn development(&self) -> bool {
        let named = |pair: &Pair| pair.certificate.tbs_certificate.subject.to_string();
        self.pairs.values().any(|pair| named(pair).contains(MARK))
            || self.release.iter().flat_map(ReleaseKey::users).any(|user| user.contains(MARK))
    }

    fn owner(&self) -> Result<[u8; 16]> {
        match self.owner {
            Some(owner) => Ok(owner),
            None => Ok(owner_of(&self.certificate(Role::Platform)?)),
        }
    }
}

/// A small file, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open `{}`", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read `{}`", path.display()))?;
    if bytes.len() as u64 > FILE_MAX {
        bail!("`{}` is too large for a key", path.display());
    }
    Ok(Some(bytes))
}
