//! Files that people wrote, read once and whole.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};

/// The text of the file `path` (UTF-8, at most `limit` bytes).
///
/// # Errors
/// Anything but a regular file, or a link to one; a file that is larger, that changes while it is
/// read or is not UTF-8.
pub fn text(path: &Path, limit: u64) -> Result<String> {
    let (bytes, _) = contents(path, limit, OFlags::empty())?;
    let text = String::from_utf8(bytes).ok();
    text.with_context(|| format!("`{}` is not UTF-8: save it as UTF-8", path.display()))
}

/// The bytes of a regular file and what it was when they were read, from one open file.
pub(crate) fn contents(path: &Path, limit: u64, flags: OFlags) -> Result<(Vec<u8>, Metadata)> {
    let about = || format!("read `{}`", path.display());
    // Without waiting: opening a pipe would hang until somebody writes to it.
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).with_context(about)?);
    let before = file.metadata().with_context(about)?;
    ensure!(before.is_file(), "`{}` is no file", path.display());
    let size = before.len();
    ensure!(size <= limit, "`{}` has {size} bytes, more than the {limit} allowed", path.display());
    let mut bytes = Vec::with_capacity(usize::try_from(size)?);
    (&mut file).take(size + 1).read_to_end(&mut bytes).with_context(about)?;
    let after = file.metadata().with_context(about)?;
    let times = before.modified().ok() == after.modified().ok();
    ensure!(
        bytes.len() as u64 == size && after.len() == size && times,
        "`{}` changed while it was read: try again when nothing writes to it",
        path.display()
    );
    Ok((bytes, after))
}
