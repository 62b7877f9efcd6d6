//! A disk as a cut leaves it: the base image, and what reached the medium over it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::log::{Entry, Log, SECTOR};

const PAGE: u64 = 4096;

/// Pages by number, each with the stamp of its last write.
type Pages = BTreeMap<u64, (u64, Box<[u8; PAGE as usize]>)>;

/// A disk that writes are applied to; the base stays as it is.
pub(crate) struct Disk {
    base: File,
    size: u64,
    /// Written in the log's order.
    settled: Pages,
    /// Written over that for one look, then forgotten.
    loose: Pages,
    /// How many writes were applied; each has a stamp of its own, so that equal stamps mean equal
    /// content.
    stamp: u64,
    at: u64,
}

/// Which of the two layers is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Settled,
    Loose,
}

impl Disk {
    /// The disk of the image `base`.
    pub(crate) fn open(base: &Path) -> Result<Disk> {
        let file = File::open(base).with_context(|| format!("open disk `{}`", base.display()))?;
        let size = file.metadata().context("measure the disk")?.len();
        let (settled, loose) = (Pages::new(), Pages::new());
        Ok(Disk { base: file, size, settled, loose, stamp: 0, at: 0 })
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Applies the first `sectors` sectors of an entry.
    pub(crate) fn apply(
        &mut self,
        log: &Log,
        entry: &Entry,
        sectors: u64,
        layer: Layer,
    ) -> Result<()> {
        let Some((at, all)) = entry.range() else { return Ok(()) };
        let bytes = sectors.min(all) * SECTOR;
        let start = at * SECTOR;
        if start.checked_add(bytes).is_none_or(|end| end > self.size) {
            bail!("a write of {bytes} bytes at {start} lies beyond the disk's {}", self.size);
        }
        self.stamp += 1;
        let data = log.data(entry, bytes)?;
        let mut done = 0;
        while done < bytes {
            let (page, inside) = ((start + done) / PAGE, (start + done) % PAGE);
            let piece = (PAGE - inside).min(bytes - done);
            let mut content = match piece {
                PAGE => Box::new([0; PAGE as usize]),
                _ => self.page(page)?,
            };
            let to = &mut content[inside as usize..(inside + piece) as usize];
            match &data {
                Some(data) => to.copy_from_slice(&data[done as usize..(done + piece) as usize]),
                None => to.fill(0),
            }
            let pages = match layer {
                Layer::Settled => &mut self.settled,
                Layer::Loose => &mut self.loose,
            };
            pages.insert(page, (self.stamp, content));
            done += piece;
        }
        Ok(())
    }

    /// Forgets the loose writes.
    pub(crate) fn forget(&mut self) {
        self.loose.clear();
    }

    /// What tells the content of `length` bytes from `start` from every other content that they
    /// had; 0 as in the base.
    pub(crate) fn generation(&self, start: u64, length: u64) -> u64 {
        let pages = start / PAGE..(start + length).div_ceil(PAGE);
        let layers = [&self.settled, &self.loose];
        let stamps = layers.iter().flat_map(|layer| layer.range(pages.clone()));
        stamps.map(|(_, (stamp, _))| *stamp).max().unwrap_or(0)
    }

    fn page(&self, page: u64) -> Result<Box<[u8; PAGE as usize]>> {
        if let Some((_, content)) = self.loose.get(&page).or_else(|| self.settled.get(&page)) {
            return Ok(content.clone());
        }
        let mut content = Box::new([0; PAGE as usize]);
        let bytes = (self.size - page * PAGE).min(PAGE);
        self.base
            .read_exact_at(&mut content[..bytes as usize], page * PAGE)
            .with_context(|| format!("read page {page} of the disk"))?;
        Ok(content)
    }
}

impl Read for Disk {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = bytes.len().min(left);
        let (start, end) = (self.at, self.at + want as u64);
        self.base.read_exact_at(&mut bytes[..want], start)?;
        for layer in [&self.settled, &self.loose] {
            for (page, (_, content)) in layer.range(start / PAGE..end.div_ceil(PAGE)) {
                let (from, to) = ((page * PAGE).max(start), ((page + 1) * PAGE).min(end));
                let source = &content[(from - page * PAGE) as usize..(to - page * PAGE) as usize];
                bytes[(from - start) as usize..(to - start) as usize].copy_from_slice(source);
            }
        }
        self.at = end;
        Ok(want)
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.at)
    }
}
