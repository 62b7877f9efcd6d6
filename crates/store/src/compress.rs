//! zstd, and nothing else: the house's only door to it.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

/// The level for bytes that end in an image; part of every key that depends on it.
pub const ZSTD_LEVEL: i32 = 9;

/// Compresses `bytes` into one zstd frame (RFC 8878) with a content checksum.
///
/// Always multithreaded: libzstd's single-threaded bytes differ from its multithreaded ones,
/// which in turn are equal for every number of workers.
pub fn compress(bytes: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), level).context("start zstd")?;
    encoder.multithread(2).context("start zstd workers")?;
    encoder.include_checksum(true).context("ask zstd for a checksum")?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64)).context("tell zstd the size")?;
    encoder.write_all(bytes).context("compress with zstd")?;
    encoder.finish().context("finish zstd")
}

/// A reader of the plain bytes of a zstd stream.
pub fn decompressor<'a, R: Read + 'a>(compressed: R) -> Result<impl Read + 'a> {
    zstd::Decoder::new(compressed).context("start reading zstd")
}

/// The plain bytes of a zstd stream; an error when there are more than `limit`.
pub fn decompress(compressed: &[u8], limit: u64) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    decompressor(compressed)?.take(limit + 1).read_to_end(&mut plain).context("read zstd")?;
    if plain.len() as u64 > limit {
        bail!("zstd stream holds more than the {limit} bytes allowed");
    }
    Ok(plain)
}
