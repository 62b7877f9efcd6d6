//! A feed on the loopback that keeps what it was asked for.

use std::fs;
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
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let url = fixture::serve(move |path| {
            let path = path.trim_start_matches('/');
            let name = path.rsplit('/').next().unwrap_or_default();
            log.lock().unwrap().push(name.to_owned());
            match fs::read(root.join(path)) {
                Ok(_) if denied == Some(name) => ("403 Forbidden", Vec::new()),
                file => fixture::found(file.ok()),
            }
        });
        Self { url, asked }
    }

    /// Names of files asked for since the last question, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}
