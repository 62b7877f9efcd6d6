//! Gzip (RFC 1952) on all cores, in bytes that do not depend on their number.
//!
//! The input is cut into pieces of one fixed size. Each is compressed by itself and ends with a
//! sync flush (an empty stored block, RFC 1951, 3.2.4) on a byte boundary, so that the pieces
//! behind each other are one deflate stream and the file has one member: some readers stop after
//! the first. The header carries neither time nor name.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use rayon::prelude::*;

/// Bytes of a piece; part of the output's form.
const PIECE: u64 = 1 << 20;
/// Pieces held in memory at once.
const BATCH: usize = 32;
/// The level: see `docs/performance.md`.
const LEVEL: u32 = 6;

/// Magic, method "deflate", no flags, no time, no extra flags, operating system "unknown".
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Writes `from`, compressed, to `to`.
///
/// # Errors
/// Reading or writing fails.
pub fn gzip(from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    gzip_at(LEVEL, from, to)
}

fn gzip_at(level: u32, from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    to.write_all(&HEADER).context("write gzip")?;
    let mut sum = Crc::new();
    loop {
        let pieces = batch(from)?;
        let last = pieces.len() < BATCH;
        let deflated: Vec<Deflated> =
            pieces.par_iter().map(|piece| deflate(level, piece)).collect::<Result<_>>()?;
        for piece in deflated {
            to.write_all(&piece.bytes).context("write gzip")?;
            sum.combine(&piece.sum);
        }
        if last {
            break;
        }
    }
    to.write_all(&END).context("write gzip")?;
    to.write_all(&sum.sum().to_le_bytes()).context("write gzip")?;
    to.write_all(&sum.amount().to_le_bytes()).context("write gzip")
}

/// A last block that is empty: fixed codes, end of block.
const END: [u8; 2] = [3, 0];

/// The next pieces; fewer than [`BATCH`] at the end.
fn batch(from: &mut dyn Read) -> Result<Vec<Vec<u8>>> {
    let mut pieces = Vec::new();
    while pieces.len() < BATCH {
        let mut piece = Vec::new();
        from.take(PIECE).read_to_end(&mut piece).context("read what is compressed")?;
        if piece.is_empty() {
            break;
        }
        pieces.push(piece);
    }
    Ok(pieces)
}

struct Deflated {
    bytes: Vec<u8>,
    sum: Crc,
}

fn deflate(level: u32, piece: &[u8]) -> Result<Deflated> {
    let mut deflater = Compress::new(Compression::new(level), false);
    // Stored blocks take five bytes for every 64 KiB at the most.
    let mut bytes = Vec::with_capacity(piece.len() + piece.len() / 1024 + 64);
    let status = deflater
        .compress_vec(piece, &mut bytes, FlushCompress::Sync)
        .context("compress with deflate")?;
    let whole = deflater.total_in() == piece.len() as u64 && bytes.len() < bytes.capacity();
    ensure!(status == Status::Ok && whole, "deflate did not end where its piece does");
    let mut sum = Crc::new();
    sum.update(piece);
    Ok(Deflated { bytes, sum })
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Digest;

    /// Bytes that compress in places, of any length.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let byte = |at: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (at / 5000).is_multiple_of(2) { (at / 97) as u8 } else { (state >> 24) as u8 }
        };
        (0..length).map(byte).collect()
    }

    fn on(threads: usize, bytes: &[u8]) -> Vec<u8> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = Vec::new();
        pool.install(|| gzip(&mut &*bytes, &mut out)).unwrap();
        out
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let bytes = sample((BATCH + 3) * PIECE as usize + 4321);
        let one = on(1, &bytes);
        assert_eq!(one, on(2, &bytes));
        assert_eq!(one, on(7, &bytes));
    }

    #[test]
    fn gzip_reads_one_member_of_any_size_and_finds_a_changed_byte() {
        let folder = judge::scratch("gzip");
        let piece = PIECE as usize;
        for size in [0, 1, piece - 1, piece, piece + 1, BATCH * piece, BATCH * piece + 7] {
            let bytes = sample(size);
            let mut packed = on(2, &bytes);
            let path = folder.join("sample.gz");
            let judged = |packed: &[u8]| {
                std::fs::write(&path, packed).unwrap();
                judge::run(judge::tool("gzip").arg("-tv").arg(&path))
            };
            assert!(judged(&packed).ok, "{size} bytes");
            let sum = format!("gzip -dc '{}' | sha256sum", path.display());
            let sum = judge::run(judge::tool("sh").args(["-c", &sum]));
            assert!(sum.text.starts_with(&Digest::of(&bytes).to_string()), "{size}: {}", sum.text);
            // A second member would be a second header; readers that stop after the first lose it.
            let mut first = Vec::new();
            flate2::read::GzDecoder::new(&*packed).read_to_end(&mut first).unwrap();
            assert!(first == bytes, "{size} bytes are not one member");
            let middle = packed.len() / 2;
            packed[middle] ^= 0x10;
            assert!(!judged(&packed).ok, "{size} bytes, one changed");
            packed[middle] ^= 0x10;
            packed.truncate(packed.len() - 1);
            assert!(!judged(&packed).ok, "{size} bytes, cut");
        }
    }

    #[test]
    fn a_reader_that_gives_little_at_a_time_changes_no_byte() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                let most = to.len().min(4099);
                self.0.read(&mut to[..most])
            }
        }
        let bytes = sample(3 * PIECE as usize + 5);
        let mut slow = Vec::new();
        gzip(&mut Slow(&bytes), &mut slow).unwrap();
        assert_eq!(slow, on(2, &bytes));
    }
}
