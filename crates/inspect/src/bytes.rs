//! Numbers and ranges out of bytes that nobody vouches for.

use std::io::{Error, ErrorKind, Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The bytes `at..at + length`.
pub(crate) fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    at.checked_add(length)
        .and_then(|end| bytes.get(at..end))
        .with_context(|| format!("bytes {at} to {at}+{length} lie beyond {}", bytes.len()))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    Ok(slice(bytes, at, N)?.try_into()?)
}

/// One byte.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Result<u8> {
    Ok(array::<1>(bytes, at)?[0])
}

/// Two bytes, little endian.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array(bytes, at)?))
}

/// Four bytes, little endian.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array(bytes, at)?))
}

/// Eight bytes, little endian.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(array(bytes, at)?))
}

/// How many bytes the device has.
pub(crate) fn size(device: &mut impl Seek) -> Result<u64> {
    device.seek(SeekFrom::End(0)).context("measure the device")
}

/// `length` bytes from `offset`; refused before memory is taken when the device lacks them.
pub(crate) fn read_at<D: Read + Seek>(device: &mut D, offset: u64, length: u64) -> Result<Vec<u8>> {
    let size = size(device)?;
    if offset.checked_add(length).is_none_or(|end| end > size) {
        bail!("{length} bytes at {offset} lie beyond the end, {size}");
    }
    device.seek(SeekFrom::Start(offset)).with_context(|| format!("go to byte {offset}"))?;
    let mut bytes = vec![0; usize::try_from(length)?];
    device.read_exact(&mut bytes).with_context(|| format!("read {length} bytes at {offset}"))?;
    Ok(bytes)
}

/// A UUID in RFC 9562 byte order as text.
pub(crate) fn uuid(bytes: &[u8]) -> String {
    let mut text = hex(bytes);
    for at in [20, 16, 12, 8] {
        if at < text.len() {
            text.insert(at, '-');
        }
    }
    text
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 as hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A reflected CRC-32 of `bytes`, begun with all ones and not inverted at the end.
pub(crate) fn crc(polynomial: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { polynomial } else { 0 }
        })
    })
}

/// A range of a device as a device of its own.
pub struct Window<'a, D> {
    inner: &'a mut D,
    start: u64,
    length: u64,
    at: u64,
}

impl<'a, D: Read + Seek> Window<'a, D> {
    /// The `length` bytes of `inner` from `start`.
    pub fn new(inner: &'a mut D, start: u64, length: u64) -> Self {
        Self { inner, start, length, at: 0 }
    }
}

impl<D: Read + Seek> Read for Window<'_, D> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = bytes.len().min(left);
        let at = self.start.checked_add(self.at).ok_or(ErrorKind::InvalidInput)?;
        self.inner.seek(SeekFrom::Start(at))?;
        let n = self.inner.read(&mut bytes[..want])?;
        self.at += n as u64;
        Ok(n)
    }
}

impl<D: Read + Seek> Seek for Window<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
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
    fn checksums_agree_with_published_values() {
        // CRC-32/ISO-HDLC and CRC-32/ISCSI of "123456789".
        assert_eq!(!crc(0xedb8_8320, b"123456789"), 0xcbf4_3926);
        assert_eq!(!crc(0x82f6_3b78, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_range_beyond_the_end_is_refused_before_memory_is_taken() {
        let mut device = std::io::Cursor::new(vec![0; 10]);
        assert!(read_at(&mut device, 0, u64::MAX).is_err());
        assert!(read_at(&mut device, u64::MAX, 2).is_err());
        assert_eq!(read_at(&mut device, 8, 2).unwrap().len(), 2);
    }
}
