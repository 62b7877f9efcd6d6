//! Giving orders to a running QEMU, over its human monitor (QEMU documentation, "QEMU Monitor").

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::console::plain;

const PROMPT: &str = "(qemu) ";

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives one order; an error when QEMU answers with one.
pub(crate) fn order(socket: &Path, order: &str) -> Result<()> {
    give(socket, order).with_context(|| format!("tell QEMU `{order}`"))
}

fn give(socket: &Path, order: &str) -> Result<()> {
    let mut monitor = UnixStream::connect(socket)?;
    monitor.set_read_timeout(Some(Duration::from_secs(1)))?;
    until_prompt(&mut monitor)?;
    monitor.write_all(format!("{order}\n").as_bytes())?;
    let answer = until_prompt(&mut monitor)?;
    // Beside errors it says what it did, after the order's echo.
    let error = answer.lines().find(|line| line.starts_with("Error") || line.contains("unknown"));
    error.map_or(Ok(()), |error| bail!("{error}"))
}

/// What it says before it waits for an order.
fn until_prompt(monitor: &mut UnixStream) -> Result<String> {
    let start = Instant::now();
    let (mut said, mut piece) = (String::new(), [0; 4096]);
    while !said.ends_with(PROMPT) {
        if start.elapsed() > PATIENCE {
            bail!("it does not answer: {said:?}");
        }
        match monitor.read(&mut piece) {
            Ok(0) => bail!("it is gone: {said:?}"),
            Ok(count) => said.push_str(&String::from_utf8_lossy(&piece[..count])),
            // Nothing yet.
            Err(_) => {}
        }
    }
    Ok(plain(&said))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::qemu::escape;
    use crate::run::{target, tool};

    #[test]
    fn an_order_is_carried_out_and_a_wrong_one_is_an_error() {
        let folder = target().join("scratch/xtask-monitor");
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("monitor.sock");
        let _ = std::fs::remove_file(&socket);
        let mut qemu = tool("qemu-system-x86_64").unwrap();
        qemu.args(["-nodefaults", "-display", "none", "-machine", "none", "-chardev"]);
        qemu.arg(format!("socket,id=monitor,server=on,wait=off,path={}", escape(&socket)));
        let mut child =
            qemu.args(["-mon", "chardev=monitor"]).stdin(Stdio::null()).spawn().unwrap();
        for _ in 0..600 {
            if socket.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let wrong = ["device_add nonsense", "device_del nonsense", "nonsense"];
        let outcomes: Vec<_> = wrong.iter().map(|wrong| order(&socket, wrong)).collect();
        let right = order(&socket, "info status");
        let ended = order(&socket, "quit");
        let _ = child.kill();
        let _ = child.wait();
        right.unwrap();
        assert!(ended.is_err(), "nobody is there any more");
        for (wrong, outcome) in wrong.iter().zip(outcomes) {
            let error = format!("{:#}", outcome.unwrap_err());
            assert!(error.contains("nonsense") && !error.contains("answer"), "{wrong}: {error}");
        }
    }
}
