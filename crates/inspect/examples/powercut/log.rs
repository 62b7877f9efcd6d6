//! Logs of every write to a disk, in the format of dm-log-writes (kernel documentation,
//! "dm-log-writes"; `drivers/md/dm-log-writes.c`).
//!
//! A header, then entries, each at the start of a sector; the data of a write follows its entry.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes per sector, on the disk and in the log.
pub(crate) const SECTOR: u64 = 512;
/// `rhswfsj\0`.
pub(crate) const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// The most entries that are read, and the most bytes of one write.
const ENTRIES_LIMIT: u64 = 4_000_000;
const WRITE_LIMIT: u64 = 64 << 20;

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// All earlier writes are on the medium from here on.
    Flush,
    /// `sectors` sectors from `at`; their bytes are at `data` in the log.
    Write { at: u64, sectors: u64, data: u64, through: bool },
    /// These sectors need not be kept; they read as zeros.
    Discard { at: u64, sectors: u64 },
}

/// A log, its entries in order. Data is read when it is asked for.
pub(crate) struct Log {
    file: File,
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    /// Opens the log in the file `path`.
    pub(crate) fn open(path: &Path) -> Result<Log> {
        let file = File::open(path).with_context(|| format!("open log `{}`", path.display()))?;
        let entries = entries(&file).with_context(|| format!("read log `{}`", path.display()))?;
        Ok(Log { file, entries })
    }

    /// The first `bytes` bytes that an entry writes; `None` for zeros.
    pub(crate) fn data(&self, entry: &Entry, bytes: u64) -> Result<Option<Vec<u8>>> {
        let Entry::Write { data, .. } = entry else { return Ok(None) };
        let mut content = vec![0; usize::try_from(bytes)?];
        self.file
            .read_exact_at(&mut content, *data)
            .with_context(|| format!("read {bytes} bytes of the log at {data}"))?;
        Ok(Some(content))
    }

    /// Writes a log of these entries of this one, each cut after its first sectors.
    pub(crate) fn excerpt(&self, kept: &[(usize, u64)], path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("make log `{}`", path.display()))?;
        let mut out = std::io::BufWriter::new(file);
        out.write_all(&header(kept.len() as u64)).context("write a log")?;
        for (index, sectors) in kept {
            let entry = self.entries.get(*index).context("find an entry")?;
            let bytes = self.data(entry, sectors * SECTOR)?;
            out.write_all(&head(entry, *sectors)).context("write a log")?;
            out.write_all(bytes.as_deref().unwrap_or_default()).context("write a log")?;
        }
        out.flush().context("write a log")
    }
}

impl Entry {
    /// First sector and number of sectors; none for a flush.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Entry::Flush => None,
            Entry::Write { at, sectors, .. } | Entry::Discard { at, sectors } => {
                Some((at, sectors))
            }
        }
    }
}

/// The header of a log of `count` entries, in a sector of its own.
pub(crate) fn header(count: u64) -> Vec<u8> {
    let mut sector = Vec::new();
    for number in [MAGIC, VERSION, count, SECTOR] {
        sector.extend(number.to_le_bytes());
    }
    sector.resize(SECTOR as usize, 0);
    sector
}

/// The head of an entry, in a sector of its own.
pub(crate) fn head(entry: &Entry, sectors: u64) -> Vec<u8> {
    let (at, flags) = match *entry {
        Entry::Flush => (0, FLUSH),
        Entry::Write { at, through, .. } => (at, if through { FUA } else { 0 }),
        Entry::Discard { at, .. } => (at, DISCARD),
    };
    let mut sector = Vec::new();
    for number in [at, sectors, flags, 0] {
        sector.extend(number.to_le_bytes());
    }
    sector.resize(SECTOR as usize, 0);
    sector
}

fn entries(file: &File) -> Result<Vec<Entry>> {
    let length = file.metadata().context("measure it")?.len();
    let numbers = |at: u64| -> Result<[u64; 4]> {
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, at).with_context(|| format!("read 32 bytes at {at}"))?;
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into()?);
        }
        Ok(numbers)
    };
    let [magic, version, count, sector] = numbers(0)?;
    // The sector size has 32 bits; what follows it is not used.
    let sector = sector & u64::from(u32::MAX);
    if (magic, version) != (MAGIC, VERSION) {
        bail!("it is no log of writes of version {VERSION}");
    }
    if sector != SECTOR || count > ENTRIES_LIMIT {
        bail!("it has {count} entries, sectors of {sector} bytes");
    }
    let mut entries = Vec::new();
    let mut at = SECTOR;
    for number in 0..count {
        let [start, sectors, flags, data] =
            numbers(at).with_context(|| format!("read entry {number}"))?;
        at += SECTOR;
        let bytes = sectors.checked_mul(SECTOR).filter(|bytes| start.checked_add(*bytes).is_some());
        let bytes = bytes.with_context(|| format!("measure entry {number}"))?;
        if flags & MARK != 0 {
            // A mark's text shares the sector of its entry.
            if data > SECTOR - 32 {
                bail!("entry {number} is a mark of {data} bytes");
            }
            continue;
        }
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
        if sectors == 0 {
            continue;
        }
        if flags & DISCARD != 0 {
            entries.push(Entry::Discard { at: start, sectors });
            continue;
        }
        if bytes > WRITE_LIMIT || at.checked_add(bytes).is_none_or(|end| end > length) {
            bail!("entry {number} writes {bytes} bytes, which the log does not hold");
        }
        let through = flags & FUA != 0;
        entries.push(Entry::Write { at: start, sectors, data: at, through });
        at += bytes;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use judge::scratch;

    use super::*;

    fn log(name: &str, bytes: &[u8]) -> Result<Log> {
        let path = scratch(name).join("log");
        std::fs::write(&path, bytes).unwrap();
        Log::open(&path)
    }

    fn small() -> Vec<u8> {
        let mut bytes = header(4);
        bytes.extend(head(&Entry::Write { at: 8, sectors: 2, data: 0, through: true }, 2));
        bytes.extend([7; 1024]);
        bytes.extend(head(&Entry::Flush, 0));
        bytes.extend(head(&Entry::Discard { at: 3, sectors: 5 }, 5));
        let mut mark = head(&Entry::Flush, 0);
        mark[16] = 8;
        mark[24] = 4;
        bytes.extend(mark);
        bytes
    }

    #[test]
    fn entries_are_read_in_their_order_and_marks_are_passed_over() {
        let log = log("log-small", &small()).unwrap();
        let [write, flush, discard] = log.entries[..] else { panic!("{:?}", log.entries) };
        assert_eq!(write, Entry::Write { at: 8, sectors: 2, data: 1024, through: true });
        assert_eq!((flush, discard), (Entry::Flush, Entry::Discard { at: 3, sectors: 5 }));
        assert_eq!(log.data(&write, 512).unwrap(), Some(vec![7; 512]));
    }

    #[test]
    fn a_count_a_size_and_a_place_beyond_the_log_are_refused() {
        for (name, at, value) in [
            ("log-more-entries", 16, 5),
            ("log-millions", 16, u64::MAX),
            ("log-other-sectors", 24, 4096),
            ("log-long-write", 512 + 8, 1 << 40),
            ("log-endless-write", 512 + 8, u64::MAX),
            ("log-long-mark", 512 * 6 + 24, 4096),
            ("log-other-magic", 0, 1),
        ] {
            let mut bytes = small();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            assert!(log(name, &bytes).is_err(), "{name}");
        }
        assert!(log("log-cut", &small()[..700]).is_err());
    }
}
