//! Asking the QEMU guest agent from the host's end of its port.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::guest::Check;

/// The port's name, which the agent's unit and udev rule wait for.
pub(crate) const PORT: &str = "org.qemu.guest_agent.0";

/// The fact that says that the agent runs.
const READY: &str = "agent=active";

/// How long an answer may take, emulated, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The host's end, asked once.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    answer: Option<Result<Value>>,
}

impl Agent {
    /// Its socket lies in `folder`.
    pub(crate) fn new(folder: &Path) -> Agent {
        Agent { socket: folder.join("agent.sock"), answer: None }
    }

    /// Asks as soon as the guest's facts say that the agent runs.
    pub(crate) fn ask(&mut self, facts: &str) {
        if self.answer.is_none() && facts.lines().any(|line| line.trim() == READY) {
            self.answer = Some(ping(&self.socket));
        }
    }

    /// What came of it.
    pub(crate) fn answered(self) -> Check {
        let (ok, fact) = match self.answer {
            // QEMU Guest Agent Protocol Reference, guest-ping: returns nothing on success.
            Some(Ok(answer)) => (answer == json!({ "return": {} }), answer.to_string()),
            Some(Err(error)) => (false, format!("{error:#}")),
            None => (false, "the guest never said that it runs".to_owned()),
        };
        Check { what: "the guest agent answers the host's ping", ok, fact }
    }
}

fn ping(socket: &Path) -> Result<Value> {
    let name = socket.display();
    let mut port = UnixStream::connect(socket).with_context(|| format!("connect to `{name}`"))?;
    port.set_read_timeout(Some(PATIENCE)).context("bound the wait for an answer")?;
    port.write_all(b"{\"execute\":\"guest-ping\"}\n")
        .with_context(|| format!("ask the agent at `{name}`"))?;
    let mut line = String::new();
    BufReader::new(port)
        .read_line(&mut line)
        .with_context(|| format!("read the agent's answer from `{name}`"))?;
    serde_json::from_str(&line).with_context(|| format!("parse the agent's answer `{line}`"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread::spawn;

    use crate::run::target;

    use super::*;

    fn asked(name: &str, says: &'static str) -> Check {
        let folder = target().join("scratch").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut agent = Agent::new(&folder);
        let _ = std::fs::remove_file(&agent.socket);
        let listener = UnixListener::bind(&agent.socket).unwrap();
        let guest = spawn(move || {
            let (mut port, _) = listener.accept().unwrap();
            let mut question = String::new();
            BufReader::new(&port).read_line(&mut question).unwrap();
            port.write_all(says.as_bytes()).unwrap();
            question
        });
        agent.ask("begin=1\r\nagent=inactive\r\n");
        assert!(agent.answer.is_none());
        agent.ask("begin=1\r\nagent=active\r\n");
        assert_eq!(guest.join().unwrap(), "{\"execute\":\"guest-ping\"}\n");
        agent.answered()
    }

    #[test]
    fn only_the_answer_of_the_protocol_counts() {
        assert!(asked("agent-good", "{\"return\": {}}\n").ok);
        assert!(!asked("agent-error", "{\"error\": {\"class\": \"GenericError\"}}\n").ok);
        assert!(!asked("agent-silent", "").ok);
        assert!(!Agent::new(Path::new("nowhere")).answered().ok);
    }
}
