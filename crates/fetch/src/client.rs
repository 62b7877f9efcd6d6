//! HTTP: one request, its redirections, and when it is worth another try.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use store::{Blob, Epoch};
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::{Address, Keyring, Machine, Mirror, Signed};

/// What fetches, by the settings of one machine. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    machine: Machine,
    agent: Agent,
    patience: Patience,
}

/// How long a server is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest silence.
    pub silence: Duration,
    /// The slowest transfer, in bytes per second.
    pub slowest: u64,
    /// The pause after the first failed try; each later one is twice as long.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            slowest: 10 << 10,
            pause: Duration::from_millis(300),
        }
    }
}

/// Why a try failed.
pub(crate) enum Failure {
    /// Another try may succeed, not before this long.
    Passing(Error, Option<Duration>),
    /// It will not.
    Lasting(Error),
}

/// Tries before a passing failure is believed.
const TRIES: u32 = 5;

/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Most redirections of one request.
const MOST_REDIRECTIONS: usize = 5;

/// Largest signed text, in bytes; the largest of Debian 13 has 140 kB.
const LARGEST_SIGNED: u64 = 16 << 20;

/// Fetches the signed text at `location` of an archive, and opens it with `keyring`.
pub fn signed(
    client: &Client,
    mirror: &Mirror,
    location: &str,
    keyring: &Keyring,
    now: Epoch,
) -> Result<Signed> {
    let address = mirror.root.join(location);
    let bytes = client.small(&address, mirror, LARGEST_SIGNED)?;
    keyring.open(&bytes, now).with_context(|| format!("check the signature on {address}"))
}

/// Fetches the file at `location` of an archive whose digest and size are known.
pub fn verified(client: &Client, mirror: &Mirror, location: &str, blob: &Blob) -> Result<Vec<u8>> {
    let address = mirror.root.join(location);
    let bytes = client.small(&address, mirror, blob.size)?;
    if (bytes.len() as u64) < blob.size {
        bail!("fetch {address}: cut at {} of {} bytes", bytes.len(), blob.size);
    }
    if Blob::of(&bytes) != *blob {
        bail!("fetch {address}: the digest is not {}", blob.digest);
    }
    Ok(bytes)
}

impl Client {
    /// A client that follows `machine`'s proxies and logins.
    pub fn new(machine: Machine) -> Self {
        Self::patient(machine, Patience::default())
    }

    /// A client that waits as long as `patience` says.
    pub fn patient(machine: Machine, patience: Patience) -> Self {
        let silence = Some(patience.silence);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("hardtack/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence);
        Self(Arc::new(Inner { machine, agent: config.build().new_agent(), patience }))
    }

    /// The machine whose settings are followed.
    pub fn machine(&self) -> &Machine {
        &self.0.machine
    }

    /// A whole file of at most `limit` bytes; nothing is known of its content.
    pub(crate) fn small(&self, address: &Address, mirror: &Mirror, limit: u64) -> Result<Vec<u8>> {
        self.again(|| {
            let response = self.get(address, 0, limit)?;
            let body = response.into_body().into_with_config().limit(u64::MAX).reader();
            let mut bytes = Vec::new();
            match body.take(limit + 1).read_to_end(&mut bytes) {
                Err(error) => Err(Failure::Passing(error.into(), None)),
                Ok(_) if bytes.len() as u64 > limit => {
                    Err(Failure::Lasting(anyhow!("there are more than {limit} bytes")))
                }
                Ok(_) => Ok(bytes),
            }
        })
        .with_context(|| format!("fetch {address} (archive named by {})", mirror.named_by))
    }

    /// Asks for the bytes of a file from `from` on; about `expected` bytes are to come. The
    /// answer's status is 200 or, with `from`, possibly 206 or 416.
    pub(crate) fn get(
        &self,
        address: &Address,
        from: u64,
        expected: u64,
    ) -> Result<Response<Body>, Failure> {
        let mut at = address.clone();
        for _ in 0..=MOST_REDIRECTIONS {
            let response = self.once(&at, from, expected)?;
            let status = response.status();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let location = response.headers().get(header::LOCATION);
                let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
                if location.is_empty() {
                    let nowhere = anyhow!("{at} answers {status} and does not say where to go");
                    return Err(Failure::Lasting(nowhere));
                }
                at = at.redirected(location).map_err(Failure::Lasting)?;
                continue;
            }
            if status == StatusCode::OK || from > 0 && matches!(status.as_u16(), 206 | 416) {
                return Ok(response);
            }
            let what = anyhow!("{at} answers {status}");
            return Err(if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
                Failure::Passing(what, retry_after(&response))
            } else {
                Failure::Lasting(what)
            });
        }
        Err(Failure::Lasting(anyhow!("more than {MOST_REDIRECTIONS} redirections")))
    }

    fn once(&self, at: &Address, from: u64, expected: u64) -> Result<Response<Body>, Failure> {
        let Inner { machine, agent, patience } = &*self.0;
        let proxy = machine.proxy(at).map(Proxy::new).transpose();
        // The proxy's URL may hold a password, so it is not shown.
        let proxy = proxy.map_err(|_| {
            Failure::Lasting(anyhow!("the proxy configured for {} is no URL", at.host()))
        })?;
        let whole = patience.silence * 2 + Duration::from_secs(expected / patience.slowest.max(1));
        let mut request =
            agent.get(at.to_string()).config().proxy(proxy).timeout_recv_body(Some(whole)).build();
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some(login) = machine.login(at) {
            request = request.header(header::AUTHORIZATION, login.header());
        }
        request.call().map_err(|error| {
            let passing = matches!(
                error,
                ureq::Error::Io(_)
                    | ureq::Error::Timeout(_)
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::HostNotFound
                    | ureq::Error::Protocol(_)
            );
            let error = anyhow!("{error}").context(format!("ask {}", at.authority()));
            if passing { Failure::Passing(error, None) } else { Failure::Lasting(error) }
        })
    }

    /// Runs `once` until it succeeds, fails for good, or has passed [`TRIES`] times.
    pub(crate) fn again<T>(&self, mut once: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let mut pause = self.0.patience.pause;
        for attempt in 1.. {
            match once() {
                Ok(value) => return Ok(value),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error, _)) if attempt == TRIES => {
                    return Err(error.context(format!("gave up after {TRIES} tries")));
                }
                Err(Failure::Passing(_, asked)) => {
                    std::thread::sleep(asked.unwrap_or(pause).max(pause));
                    pause *= 2;
                }
            }
        }
        bail!("no try was made")
    }
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(value.trim().parse().ok()?).min(LONGEST_PAUSE))
}
