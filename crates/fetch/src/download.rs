//! Many files by digest into the store: parallel, resumable, checked while they come.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use store::{Blob, Hasher, Store};
use ureq::Body;
use ureq::http::{Response, header};

use crate::client::Failure;
use crate::progress::Shown;
use crate::{Address, Client, Progress};

/// A file that the store shall have.
#[derive(Clone)]
pub struct Wanted {
    /// What it is, for messages.
    pub what: String,
    /// Its bytes, by digest and size.
    pub blob: Blob,
    /// Where it lies.
    pub address: Address,
    /// Who said where it lies, for messages.
    pub named_by: String,
    /// What fetches it.
    pub client: Client,
}

/// Connections at a time.
const CONNECTIONS: usize = 4;

/// Makes every wanted file present in `store`. What the store has is not asked for; what an
/// earlier run began (`partial/` in the store) is continued.
///
/// An error names the first file, in the order of `wanted`, that could not be had.
pub fn all(wanted: &[Wanted], store: &Store, progress: Progress) -> Result<()> {
    let missing: BTreeMap<Blob, &Wanted> =
        wanted.iter().filter(|one| !store.has(&one.blob)).map(|one| (one.blob, one)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let partial = store.root().join("partial");
    fs::create_dir_all(&partial).with_context(|| format!("make `{}`", partial.display()))?;
    let total = missing.keys().map(|blob| blob.size).sum();
    let shown = progress.start(format!("fetch {} files", missing.len()), total);
    // In the caller's order, so that a run that is cut leaves whole files.
    let queue: VecDeque<(usize, &Wanted)> = wanted
        .iter()
        .enumerate()
        .filter(|(_, one)| missing.get(&one.blob).is_some_and(|first| std::ptr::eq(*first, *one)))
        .collect();
    let queue = Mutex::new(queue);
    let failed: Mutex<Vec<(usize, anyhow::Error)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                while let Some((i, one)) = queue.lock().ok().and_then(|mut q| q.pop_front()) {
                    if let Err(error) = fetch(one, store, &partial, &shown)
                        && let (Ok(mut failed), Ok(mut queue)) = (failed.lock(), queue.lock())
                    {
                        failed.push((i, error));
                        queue.clear();
                    }
                }
            });
        }
    });
    shown.end();
    let failed = failed.into_inner().ok().context("a fetching thread panicked")?;
    match failed.into_iter().min_by_key(|(i, _)| *i) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn fetch(one: &Wanted, store: &Store, partial: &Path, shown: &Shown) -> Result<()> {
    let path = partial.join(one.blob.digest.to_string());
    let begun = File::options().create(true).read(true).append(true).open(&path);
    let mut file = begun.with_context(|| format!("open `{}`", path.display()))?;
    // Another build may be fetching the same file into the same store.
    file.lock().with_context(|| format!("wait for `{}`", path.display()))?;
    if store.has(&one.blob) {
        shown.add(one.blob.size);
        return Ok(());
    }
    one.client.again(|| attempt(one, &mut file, shown)).with_context(|| {
        let Wanted { what, address, named_by, .. } = one;
        format!("fetch {what} from {address} (archive named by {named_by})")
    })?;
    // The waiting build may hold a file that is gone from its name by now: it writes to nowhere.
    store.admit(&path, one.blob)?;
    Ok(())
}

/// One try to bring `file` to the wanted bytes.
fn attempt(one: &Wanted, file: &mut File, shown: &Shown) -> Result<(), Failure> {
    let size = one.blob.size;
    let (mut hasher, mut have) = begun(file, size).map_err(Failure::Lasting)?;
    let resumed = have > 0;
    let mut left = Counted { shown, bytes: 0 };
    left.add(have);
    if have < size {
        let response = one.client.get(&one.address, have, size - have)?;
        if resumed && !continues(&response, have) {
            // The server starts over, and so do we.
            left.take_back();
            (hasher, have) = restart(file).map_err(Failure::Lasting)?;
            if response.status() != 200 {
                return Err(Failure::Passing(anyhow!("the server cannot continue"), None));
            }
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    let cut = anyhow!("cut at {have} of {size} bytes: {error}");
                    return Err(Failure::Passing(cut, None));
                }
            };
            have += read as u64;
            if have > size {
                restart(file).map_err(Failure::Lasting)?;
                return Err(Failure::Lasting(anyhow!("there are more than {size} bytes")));
            }
            hasher.update(&buffer[..read]);
            let wrote = file.write_all(&buffer[..read]).context("write to the store");
            wrote.map_err(Failure::Lasting)?;
            left.add(read as u64);
        }
    }
    if have < size {
        return Err(Failure::Passing(anyhow!("cut at {have} of {size} bytes"), None));
    }
    let found = hasher.finish().digest;
    if found != one.blob.digest {
        restart(file).map_err(Failure::Lasting)?;
        let wrong = anyhow!("the digest is {found} instead of {}", one.blob.digest);
        // What an earlier run left may have been torn; what came in one piece is just wrong.
        return Err(if resumed { Failure::Passing(wrong, None) } else { Failure::Lasting(wrong) });
    }
    left.keep();
    Ok(())
}

/// Digest so far and size of what an earlier try left; nothing, when it left too much.
fn begun(file: &mut File, size: u64) -> Result<(Hasher, u64)> {
    file.seek(SeekFrom::Start(0)).context("read the store")?;
    let mut hasher = Hasher::new();
    let mut have = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).context("read the store")? {
            0 => return Ok((hasher, have)),
            read => {
                hasher.update(&buffer[..read]);
                have += read as u64;
            }
        }
        if have > size {
            return restart(file);
        }
    }
}

fn restart(file: &mut File) -> Result<(Hasher, u64)> {
    file.set_len(0).context("empty a file of the store")?;
    Ok((Hasher::new(), 0))
}

/// Whether the answer holds the bytes from `from` on (RFC 9110, 14.4).
fn continues(response: &Response<Body>, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
    response.status() == 206 && range.starts_with(&format!("bytes {from}-"))
}

/// Counts into the progress, and back out when the try fails.
struct Counted<'a> {
    shown: &'a Shown,
    bytes: u64,
}

impl Counted<'_> {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.shown.add(bytes);
    }

    fn take_back(&mut self) {
        self.shown.sub(self.bytes);
        self.bytes = 0;
    }

    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}
