//! A disk of which QEMU records every write and flush, in the format of dm-log-writes (kernel
//! documentation, "dm-log-writes").

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::copy;
use crate::qemu::{Drive, escape};

/// The format of a [`Drive`] that is recorded: QEMU's name of the block driver.
pub(crate) const RECORDED: &str = "blklogwrites";

impl Drive {
    /// A raw disk that boots, written to, and every write recorded in `raw` with the ending
    /// `writes`. The log names no base: keep one, as [`recording`] does.
    pub(crate) fn recorded(raw: &Path, serial: &'static str) -> Drive {
        Drive { file: raw.to_owned(), format: RECORDED, serial, boots: true }
    }
}

/// Makes the raw copy of `base` that the guest writes to, in `folder`, and an empty log beside it.
pub(crate) fn recording(base: &Path, folder: &Path, serial: &'static str) -> Result<Drive> {
    std::fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
    let raw = folder.join("recorded.raw");
    copy(base, &raw).with_context(|| format!("copy the disk `{}`", base.display()))?;
    Ok(Drive::recorded(&raw, serial))
}

/// Where the writes of a recorded disk are logged. A new start of QEMU begins the log anew.
pub(crate) fn log(raw: &Path) -> PathBuf {
    raw.with_extension("writes")
}

/// Removes a log and the disk that it was recorded of.
pub(crate) fn discard(log: &Path) {
    for file in [log.to_owned(), log.with_extension("raw")] {
        let _ = std::fs::remove_file(file);
    }
}

/// The block node of a recorded disk. Flushes are logged and not carried out on the host: a
/// machine that loses power is played from the log, never by the host.
pub(crate) fn node(raw: &Path, name: &str) -> Result<String> {
    let log = log(raw);
    std::fs::write(&log, "").with_context(|| format!("empty `{}`", log.display()))?;
    let leaf = |at: &str, file: &Path| {
        format!(
            "{at}.driver=raw,{at}.file.driver=file,{at}.file.cache.no-flush=on,\
             {at}.file.filename={}",
            escape(file)
        )
    };
    Ok(format!(
        "driver={RECORDED},node-name={name},log-sector-size=512,{},{}",
        leaf("file", raw),
        leaf("log", &log)
    ))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::run::{read, run, target, tool};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = target().join("scratch").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn writes_and_flushes_are_recorded_in_their_order() {
        let folder = scratch("xtask-recorded,comma");
        let raw = folder.join("disk.raw");
        std::fs::write(&raw, vec![0; 1 << 20]).unwrap();
        let node = node(&raw, "disk0").unwrap();
        let mut io = tool("qemu-io").unwrap();
        io.args(["--image-opts", &node.replace("node-name=disk0,", "")]);
        run(io.args(["-c", "write -P 7 4096 1024", "-c", "flush", "-c", "write -P 8 512 512"]))
            .unwrap();
        let log = std::fs::read(log(&raw)).unwrap();
        let number = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
        assert_eq!(&log[..8], b"rhswfsj\0");
        // Write, its two sectors; flush; write: each entry has a sector of its own.
        assert_eq!((number(512), number(520), number(528)), (8, 2, 0));
        assert_eq!(log[1024..2048], [7; 1024]);
        assert_eq!((number(2056), number(2064)), (0, 1));
        assert_eq!((number(2560), number(2568), number(2576)), (1, 1, 0));
        assert_eq!(std::fs::read(&raw).unwrap()[512..1024], [8; 512]);
    }

    #[test]
    fn a_recorded_disk_is_a_copy_and_its_base_stays() {
        let folder = scratch("xtask-recording");
        let base = folder.join("base.raw");
        std::fs::write(&base, b"base").unwrap();
        let drive = recording(&base, &folder.join("machine"), "a").unwrap();
        assert_ne!(drive.file, base);
        assert_eq!(std::fs::read(&drive.file).unwrap(), b"base");
        let same = read(Command::new("cmp").args([&drive.file, &base]));
        assert!(same.is_ok());
    }
}
