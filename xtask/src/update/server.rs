//! The static web server of a feed, and what can go wrong with one.
//!
//! One thread a connection, one answer a connection (RFC 9112), on a free port of the loopback. A
//! guest reaches it under one fixed address, whatever the port is: see `network` in `qemu.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What profiles name as the feed's address. QEMU's network hands it over to a program.
pub(crate) const FEED: &str = "http://10.0.2.100/feed";

/// Where the guest asks what to do next; no file of a feed is named like it.
const QUESTION: &str = "/.next";

/// Longer than any client waits.
const STALL: Duration = Duration::from_secs(900);

/// Bytes of a file that are sent at once.
const PIECE: usize = 64 << 10;

/// What happens to a file on its way; sizes count bytes that are sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answered with 404.
    Missing,
    /// The connection ends after so many bytes, in order.
    Truncated(u64),
    /// The byte at this place has another value.
    Wrong(u64),
    /// Nothing more comes, and the connection stays.
    Stalled(u64),
    /// The connection is reset after so many bytes.
    Reset(u64),
}

#[derive(Default)]
struct State {
    folder: PathBuf,
    /// By the file's name.
    faults: BTreeMap<String, Fault>,
    /// Bytes of content sent, by the file's name; asked for in vain is 0.
    served: BTreeMap<String, u64>,
    /// What the guest shall do next.
    next: Option<String>,
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Serves the feed in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on loopback")?;
        let address = listener.local_addr().context("ask for the server's port")?;
        let state = State { folder: folder.to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, ends) = (Arc::clone(&state), Arc::clone(&over));
        spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (state, ends) = (Arc::clone(&shared), Arc::clone(&ends));
                // A client that goes away is no fault of the server.
                spawn(move || answer(stream, &state, &ends));
            }
        });
        Ok(Server { address, state, over })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves another feed from now on, without faults.
    pub(crate) fn serve(&self, folder: &Path) {
        let mut state = locked(&self.state);
        state.folder = folder.to_owned();
        state.faults.clear();
    }

    /// From now on every file whose name ends with `end` meets `fault`.
    pub(crate) fn fault(&self, end: &str, fault: Fault) {
        locked(&self.state).faults.insert(end.to_owned(), fault);
    }

    /// What was served since it was last asked: name and bytes.
    pub(crate) fn served(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut locked(&self.state).served)
    }

    /// Leaves the script that the guest fetches next.
    pub(crate) fn tell(&self, script: String) {
        locked(&self.state).next = Some(script);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, over: &AtomicBool) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone().context("read a request")?).take(64 << 10);
    let mut request = String::new();
    lines.read_line(&mut request).context("read a request")?;
    let mut header = String::new();
    while lines.read_line(&mut header).context("read a request")? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path == QUESTION {
        let script = locked(state).next.take().unwrap_or_default();
        return head(&mut stream, "200 OK", script.len() as u64)
            .and_then(|()| stream.write_all(script.as_bytes()).context("send a script"));
    }
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let (file, fault) = {
        let mut state = locked(state);
        state.served.entry(name.clone()).or_default();
        let fault = state.faults.iter().find(|(end, _)| name.ends_with(end.as_str()));
        (inside(&state.folder, path), fault.map(|(_, fault)| *fault))
    };
    let open = file.and_then(|file| Ok((file.metadata()?.len(), file)));
    match (open, fault) {
        (Err(_), _) | (_, Some(Fault::Missing)) => head(&mut stream, "404 Not Found", 0),
        (Ok((size, file)), fault) => {
            head(&mut stream, "200 OK", size)?;
            let outcome = send(&mut stream, file, fault, &mut |count| {
                *locked(state).served.entry(name.clone()).or_default() += count;
            });
            match fault {
                Some(Fault::Stalled(_)) => {
                    let mut waited = Duration::ZERO;
                    while waited < STALL && !over.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(200));
                        waited += Duration::from_millis(200);
                    }
                }
                // What the client still sends is unread: closing then resets.
                Some(Fault::Reset(_)) => {}
                _ => {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            outcome
        }
    }
}

fn head(stream: &mut TcpStream, status: &str, size: u64) -> Result<()> {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {size}\r\nContent-Type: application/octet-stream\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).context("answer a request")
}

/// The file that a request's path names, below `folder` and nowhere else.
fn inside(folder: &Path, path: &str) -> Result<File> {
    let path = path.trim_start_matches("/feed").trim_start_matches('/');
    let path = Path::new(path);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        bail!("`{}` leads out of the feed", path.display());
    }
    let file = folder.join(path);
    File::open(&file).with_context(|| format!("open `{}`", file.display()))
}

fn send(
    stream: &mut TcpStream,
    mut file: File,
    fault: Option<Fault>,
    sent: &mut dyn FnMut(u64),
) -> Result<()> {
    let end = match fault {
        Some(Fault::Truncated(end) | Fault::Stalled(end) | Fault::Reset(end)) => end,
        _ => u64::MAX,
    };
    let mut piece = vec![0; PIECE];
    let mut at: u64 = 0;
    while at < end {
        let most = usize::try_from((end - at).min(PIECE as u64)).unwrap_or(PIECE);
        let count = file.read(&mut piece[..most]).context("read a file of the feed")?;
        if count == 0 {
            break;
        }
        if let Some(Fault::Wrong(place)) = fault
            && let Some(byte) = place.checked_sub(at).and_then(|p| usize::try_from(p).ok())
            && byte < count
        {
            piece[byte] ^= 1;
        }
        stream.write_all(&piece[..count]).context("send a file of the feed")?;
        at += count as u64;
        sent(count as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::run::target;

    use super::*;

    fn ask(server: &Server, path: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: feed\r\n\r\n").unwrap();
        let mut said = Vec::new();
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream.read_to_end(&mut said);
        let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&said).lines().next().unwrap().to_owned();
        (status, said[end + 4..].to_vec())
    }

    #[test]
    fn each_fault_is_what_its_name_says_and_bytes_are_counted() {
        let folder = target().join("scratch/xtask-server/stable");
        std::fs::create_dir_all(&folder).unwrap();
        let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        for name in ["a", "b", "c", "d", "e"] {
            std::fs::write(folder.join(name), &content).unwrap();
        }
        let server = Server::start(folder.parent().unwrap()).unwrap();
        assert_eq!(ask(&server, "/feed/stable/a"), ("HTTP/1.1 200 OK".into(), content.clone()));
        assert!(ask(&server, "/feed/stable/none").0.contains("404"));
        assert!(ask(&server, "/feed/../xtask-server/stable/a").0.contains("404"));
        for (name, fault) in [
            ("a", Fault::Missing),
            ("b", Fault::Truncated(70_000)),
            ("c", Fault::Wrong(100_000)),
            ("d", Fault::Stalled(70_000)),
        ] {
            server.fault(name, fault);
        }
        assert!(ask(&server, "/feed/stable/a").0.contains("404"));
        assert_eq!(ask(&server, "/feed/stable/b").1, content[..70_000]);
        let wrong = ask(&server, "/feed/stable/c").1;
        let differ: Vec<usize> = (0..wrong.len()).filter(|at| wrong[*at] != content[*at]).collect();
        assert_eq!(differ, [100_000]);
        assert_eq!(ask(&server, "/feed/stable/d").1, content[..70_000]);
        let served = server.served();
        assert_eq!((served["a"], served["b"], served["none"]), (200_000, 70_000, 0));
        server.serve(folder.parent().unwrap());
        assert_eq!(ask(&server, "/feed/stable/b").1, content);
    }

    #[test]
    fn a_script_is_fetched_once() {
        let server = Server::start(&target()).unwrap();
        server.tell("echo".into());
        assert_eq!(ask(&server, QUESTION).1, b"echo");
        assert_eq!(ask(&server, QUESTION).1, b"");
    }
}
