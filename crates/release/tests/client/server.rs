//! A feed on the loopback that keeps what it was asked for.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Serves one folder until the test ends.
pub(crate) struct Server {
    /// Its address, without a `/` at the end.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers 403 for the file named `denied`, 404 for what is not there.
    pub(crate) fn start(root: PathBuf, denied: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
                let name = path.rsplit('/').next().unwrap_or_default();
                log.lock().unwrap().push(name.to_owned());
                let (status, body) = match fs::read(root.join(path)) {
                    Ok(_) if denied == Some(name) => ("403 Forbidden", Vec::new()),
                    Ok(bytes) => ("200 OK", bytes),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let size = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
                );
                // A client may go away as soon as it has read enough.
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { url, asked }
    }

    /// Names of files asked for since the last question, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}
