//! A device in memory that stores no zeros.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};

/// The device is kept in pieces of this many bytes.
pub(crate) const CHUNK: usize = 64 << 10;

/// A device of a fixed size, all zero at first.
#[derive(Debug)]
pub(crate) struct Sparse {
    size: u64,
    at: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl Sparse {
    pub(crate) fn new(size: u64) -> Self {
        Self { size, at: 0, chunks: BTreeMap::new() }
    }

    /// Fills `bytes` from `offset`.
    pub(crate) fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.at = offset;
        self.read_exact(bytes)
    }

    /// Writes `bytes` at `offset`.
    pub(crate) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.at = offset;
        self.write_all(bytes)
    }

    /// Neighbouring chunks that are not all zero, joined: the offset of each run and its pieces.
    pub(crate) fn runs(&self) -> Vec<(u64, Vec<&[u8]>)> {
        let mut runs: Vec<(u64, Vec<&[u8]>)> = Vec::new();
        let mut next = None;
        for (index, chunk) in &self.chunks {
            if chunk.iter().all(|byte| *byte == 0) {
                continue;
            }
            match runs.last_mut() {
                Some((_, pieces)) if next == Some(*index) => pieces.push(chunk),
                _ => runs.push((index * CHUNK as u64, vec![chunk])),
            }
            next = Some(index + 1);
        }
        runs
    }

    /// The chunk at the position, the offset in it, and how many of `wanted` bytes lie in it.
    fn here(&self, wanted: usize) -> (u64, usize, usize) {
        let inside = (self.at % CHUNK as u64) as usize;
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        (self.at / CHUNK as u64, inside, wanted.min(CHUNK - inside).min(left))
    }
}

impl Read for Sparse {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let (index, inside, n) = self.here(bytes.len());
        match self.chunks.get(&index) {
            Some(chunk) => bytes[..n].copy_from_slice(&chunk[inside..inside + n]),
            None => bytes[..n].fill(0),
        }
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let (index, inside, n) = self.here(bytes.len());
        let zero = bytes[..n].iter().all(|byte| *byte == 0);
        if !zero || self.chunks.contains_key(&index) {
            let chunk = self.chunks.entry(index).or_insert_with(|| vec![0; CHUNK].into());
            chunk[inside..inside + n].copy_from_slice(&bytes[..n]);
        }
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_not_stored_and_neighbours_are_one_run() {
        let mut device = Sparse::new(1 << 40);
        device.write_at(3, &[0; 2 * CHUNK]).unwrap();
        assert!(device.chunks.is_empty());
        device.write_at(5 * CHUNK as u64 - 1, b"ab").unwrap();
        device.write_at(9 * CHUNK as u64, b"c").unwrap();
        device.write_at(9 * CHUNK as u64, b"\0").unwrap();
        device.write_at((1 << 40) - 1, b"d").unwrap();
        let runs = device.runs();
        let found: Vec<_> = runs.iter().map(|(at, pieces)| (*at, pieces.len())).collect();
        assert_eq!(found, [(4 * CHUNK as u64, 2), ((1 << 40) - CHUNK as u64, 1)]);
        let mut back = [9; 4];
        device.read_at(5 * CHUNK as u64 - 2, &mut back).unwrap();
        assert_eq!(&back, b"\0ab\0");
    }

    #[test]
    fn nothing_is_written_or_read_beyond_the_end() {
        let mut device = Sparse::new(100);
        assert!(device.write_at(99, b"ab").is_err());
        assert!(device.read_at(99, &mut [0; 2]).is_err());
    }
}
