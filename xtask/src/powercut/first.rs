//! What a power cut during a first boot leaves of the files that are made once per host: after
//! every flush, as the file system's own checker replays its journal.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{boundaries, checker};
use crate::disk::copy;
use crate::run::{list, read, tool};

/// Where the upper layer of `/etc` lies on the root partition.
const UPPER: &str = "/.hardtack/etc/upper";
/// `systemd-fsck` gives up at this bit of the checker's status (e2fsck(8)).
const UNCORRECTED: i32 = 4;

/// How often a file was met in which state.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    absent: u32,
    empty: u32,
    whole: u32,
}

/// Looks at the root partition, `number`, after every flush that ends a change of it. Returns the
/// counts in words; an error at a file that is neither whole nor absent, or a file system that a
/// person would have to mend.
pub(super) fn files(base: &Path, writes: &Path, number: u32, folder: &Path) -> Result<String> {
    let boundaries = boundaries(base, writes, number)?;
    let number = number.to_string();
    let state = folder.join("root.img");
    let _ = std::fs::remove_file(&state);
    let (mut machine_id, mut key) = (Counts::default(), Counts::default());
    let (mut without, mut from): (u32, Option<String>) = (0, None);
    for until in boundaries.iter().map(usize::to_string) {
        let mut cut = checker()?;
        cut.arg("cut").args([base, writes, &state]).args(["--partition", &number]);
        if let Some(from) = &from {
            cut.args(["--from", from]);
        }
        read(cut.args(["--entries", &until]))?;
        from = Some(until.clone());
        let at = || format!("after entry {until} of `{}`", writes.display());
        match etc(&state, folder).with_context(at)? {
            None => without += 1,
            Some(upper) => {
                machine_id.count(machine_id_is(&upper).with_context(at)?);
                key.count(key_is(&upper).with_context(at)?);
            }
        }
    }
    if machine_id.whole == 0 || boundaries.is_empty() {
        bail!("no machine-id was ever made: the log is of no first boot");
    }
    let _ = std::fs::remove_file(&state);
    Ok(format!(
        "{} flushes of root: {without} before its file system, machine-id {}, host key {}",
        boundaries.len(),
        machine_id.words(),
        key.words()
    ))
}

impl Counts {
    fn count(&mut self, state: State) {
        match state {
            State::Absent => self.absent += 1,
            State::Empty => self.empty += 1,
            State::Whole => self.whole += 1,
        }
    }

    fn words(&self) -> String {
        let Counts { absent, empty, whole } = self;
        format!("{absent} times absent, {empty} empty, {whole} whole")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Empty,
    Whole,
}

/// The upper layer of `/etc` after the journal was replayed as a boot does it; `None` before there
/// is a file system.
fn etc(state: &Path, folder: &Path) -> Result<Option<PathBuf>> {
    let replayed = folder.join("replayed.img");
    copy(state, &replayed)?;
    if read(tool("debugfs")?.args(["-R", "stats -h"]).arg(&replayed))?.is_empty() {
        return Ok(None);
    }
    let mut preen = tool("e2fsck")?;
    let said = preen.arg("-p").arg(&replayed).output().context("start e2fsck")?;
    let code = said.status.code().unwrap_or(said.status.into_raw());
    if code & !3 != 0 || code & UNCORRECTED != 0 {
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        bail!("the file system needs a person: e2fsck -p ends with {code}: {}", said.trim());
    }
    let upper = folder.join("upper");
    let _ = std::fs::remove_dir_all(&upper);
    std::fs::create_dir_all(&upper).context("make a folder for /etc")?;
    read(
        tool("debugfs")?.arg("-R").arg(format!("rdump {UPPER} {}", upper.display())).arg(&replayed),
    )?;
    std::fs::remove_file(&replayed).context("remove the replayed copy")?;
    Ok(Some(upper.join("upper")))
}

/// machine-id(5): 32 lower-case digits and a newline; empty and `uninitialized` mean a first boot.
fn machine_id_is(upper: &Path) -> Result<State> {
    let Ok(bytes) = std::fs::read(upper.join("machine-id")) else { return Ok(State::Absent) };
    let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    match bytes.as_slice() {
        b"" | b"uninitialized\n" => Ok(State::Empty),
        [digits @ .., b'\n'] if digits.len() == 32 && digits.iter().all(digit) => Ok(State::Whole),
        other => bail!("machine-id is {:?}", String::from_utf8_lossy(other)),
    }
}

/// Every key of the host under its own name; one that is there must be whole.
fn key_is(upper: &Path) -> Result<State> {
    let ssh = upper.join("ssh");
    let mut state = State::Absent;
    if !ssh.is_dir() {
        return Ok(state);
    }
    for path in list(&ssh)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with("ssh_host_") || !(name.ends_with("_key") || name.ends_with("_key.pub"))
        {
            continue;
        }
        let text = std::fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        let (head, tail): (&[u8], &[u8]) = match name.ends_with(".pub") {
            true => (b"ssh-", b"\n"),
            false => {
                (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"-----END OPENSSH PRIVATE KEY-----\n")
            }
        };
        if !text.starts_with(head) || !text.ends_with(tail) {
            bail!("the host key `{name}` is cut short, {} bytes", text.len());
        }
        if name.ends_with("_key") {
            state = State::Whole;
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use crate::run::target;

    use super::*;

    fn upper(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = target().join("scratch").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("ssh")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_machine_id_is_whole_empty_or_absent() {
        let id = "0123456789abcdef0123456789abcdef\n";
        for (text, state) in
            [(id, State::Whole), ("", State::Empty), ("uninitialized\n", State::Empty)]
        {
            let folder = upper("xtask-machine-id", &[("machine-id", text)]);
            assert_eq!(machine_id_is(&folder).unwrap(), state);
        }
        assert_eq!(machine_id_is(&upper("xtask-machine-id", &[])).unwrap(), State::Absent);
        for torn in [&id[..20], &id[..32], &id.to_uppercase(), "\0\0\0"] {
            let folder = upper("xtask-machine-id", &[("machine-id", torn)]);
            assert!(machine_id_is(&folder).is_err(), "{torn:?}");
        }
    }

    #[test]
    fn an_empty_host_key_is_found_and_its_temporary_name_is_none() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n";
        let name = "ssh/ssh_host_ed25519_key";
        let is = |files: &[(&str, &str)]| key_is(&upper("xtask-host-key", files));
        assert_eq!(is(&[(name, key)]).unwrap(), State::Whole);
        assert_eq!(is(&[("ssh/ssh_host_ed25519_key.new", "")]).unwrap(), State::Absent);
        assert!(is(&[(name, "")]).is_err());
        assert!(is(&[(name, &key[..50])]).is_err());
        assert!(is(&[(name, key), ("ssh/ssh_host_ed25519_key.pub", "")]).is_err());
    }
}
