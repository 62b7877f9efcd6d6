//! The container of a package: ar(5) members, packed as their names say (deb(5)).

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result, bail, ensure};

/// Most memory that reading xz may take, in bytes: the largest preset (`-9`) needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Bytes unpacked at a time.
const PIECE: usize = 64 << 10;
/// How many times its packed size a part may have when unpacked, beyond [`ALLOWANCE`].
const RATIO: u64 = 1000;
/// Bytes that a part of any size may have when unpacked.
const ALLOWANCE: u64 = 64 << 20;

/// Walks the ar(5) members as deb(5) orders them and hands the unpacked `wanted` to `work`.
pub(crate) fn deb_member<T>(
    mut archive: impl Read,
    wanted: &str,
    limit: u64,
    work: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let mut magic = [0; 8];
    archive.read_exact(&mut magic).context("read the archive's magic")?;
    ensure!(&magic == b"!<arch>\n", "the archive does not begin with the magic of ar(5)");
    let mut seen: Vec<&str> = Vec::new();
    loop {
        let (name, size) = member_header(&mut archive)?;
        let mut body = (&mut archive).take(size);
        let (kind, packing) = match name.split_once(".tar") {
            Some(("control", packing)) => ("control.tar", packing),
            Some(("data", packing)) => ("data.tar", packing),
            _ => (name.as_str(), ""),
        };
        match (seen.as_slice(), kind) {
            ([], "debian-binary") => {
                seen.push("debian-binary");
                let mut version = String::new();
                body.by_ref()
                    .take(64)
                    .read_to_string(&mut version)
                    .context("read `debian-binary`")?;
                let good = version.starts_with("2.") && version.contains('\n');
                ensure!(good, "archive format `{}` is not 2", version.trim().escape_debug());
            }
            ([_], "control.tar") => seen.push("control.tar"),
            ([_, _], "data.tar") => {}
            ([_, ..], other) if other.starts_with('_') => {}
            (_, other) => bail!("archive member `{other}` in a place where it must not be"),
        }
        if kind == wanted {
            let limit = limit.min(size.saturating_mul(RATIO).saturating_add(ALLOWANCE));
            let about = || format!("archive member `{name}`");
            let mut packed = BufReader::with_capacity(PIECE, &mut body);
            let plain = unpacker(packing, &mut packed)
                .with_context(|| format!("read archive member `{name}`"))?;
            let mut plain =
                Capped { inner: BufReader::with_capacity(PIECE, plain), left: limit, limit };
            let result = work(&mut plain).with_context(about)?;
            // To the end, so that the packing's own checksum is verified.
            std::io::copy(&mut plain, &mut std::io::sink())
                .with_context(|| format!("read archive member `{name}` to its end"))?;
            drop(plain);
            let whole = packed.fill_buf().with_context(about)?.is_empty() && body.limit() == 0;
            ensure!(whole, "archive member `{name}` is cut, or bytes follow its end");
            if kind == "data.tar" {
                skip_padding(&mut archive, size)?;
                check_tail(&mut archive)?;
            }
            return Ok(result);
        }
        ensure!(kind != "data.tar", "the archive has no `{wanted}`");
        skip(&mut body, &name)?;
        skip_padding(&mut archive, size)?;
    }
}

/// What follows the payload is nobody's, unless it claims to be a part again (deb(5)).
fn check_tail(archive: &mut impl Read) -> Result<()> {
    loop {
        let mut first = [0];
        if archive.read(&mut first).context("read behind the payload")? == 0 {
            return Ok(());
        }
        let (name, size) = member_header(&mut first.chain(&mut *archive))?;
        let part = ["debian-binary", "control.tar", "data.tar"];
        ensure!(
            !part.iter().any(|part| name.starts_with(part)),
            "archive member `{name}` in a place where it must not be"
        );
        skip(&mut (&mut *archive).take(size), &name)?;
        skip_padding(archive, size)?;
    }
}

fn skip<R: Read>(body: &mut std::io::Take<R>, name: &str) -> Result<()> {
    std::io::copy(body, &mut std::io::sink())
        .with_context(|| format!("skip archive member `{name}`"))?;
    ensure!(body.limit() == 0, "archive member `{name}` lacks {} bytes", body.limit());
    Ok(())
}

/// Members begin at even places.
fn skip_padding(archive: &mut impl Read, size: u64) -> Result<()> {
    if size % 2 == 1 {
        archive.read_exact(&mut [0]).context("read the padding of an archive member")?;
    }
    Ok(())
}

/// Name and size of the next member.
fn member_header(archive: &mut impl Read) -> Result<(String, u64)> {
    let mut header = [0; 60];
    archive.read_exact(&mut header).context("read an archive member's header")?;
    ensure!(header[58..] == *b"`\n", "an archive member's header does not end as ar(5) says");
    let text = |range: std::ops::Range<usize>| -> Result<&str> {
        let field =
            std::str::from_utf8(&header[range]).context("read an archive member's header")?;
        Ok(field.trim_end_matches(' '))
    };
    let name = text(0..16)?;
    let name = name.strip_suffix('/').unwrap_or(name);
    let size = text(48..58)?;
    ensure!(
        !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit()),
        "archive member `{}` has the size `{}`",
        name.escape_debug(),
        size.escape_debug()
    );
    let odd = |c: char| c.is_control() || matches!(c, '/' | '#');
    ensure!(
        !name.is_empty() && !name.contains(odd),
        "`{}` is no name of an archive member",
        name.escape_debug()
    );
    Ok((name.to_owned(), size.parse()?))
}

/// A reader of the plain bytes of a member whose name ends in `packing`.
fn unpacker<'a>(packing: &str, body: &'a mut (dyn BufRead + 'a)) -> Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        "" => Box::new(body),
        ".gz" => Box::new(flate2::bufread::GzDecoder::new(body)),
        ".xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)
                .context("start reading xz")?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(body, stream))
        }
        ".zst" => Box::new(store::decompressor(body)?),
        other => bail!("packing `{other}` is not known"),
    })
}

/// Fails where a plain `take` would end quietly.
struct Capped<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let limit = self.limit;
            std::io::Error::other(format!(
                "more than the {limit} bytes that a part of its packed size may unpack to"
            ))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_stream_ends_at_its_limit() {
        let packed = store::compress(&vec![0; 1 << 20], 3).unwrap();
        let mut archive = b"!<arch>\n".to_vec();
        for (name, body) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.zst", &packed)] {
            let size = body.len();
            archive.extend(format!("{name:<16}{0:<12}{0:<6}{0:<6}{0:<8}{size:<10}`\n", 0).bytes());
            archive.extend_from_slice(body);
            archive.resize(archive.len().next_multiple_of(2), b'\n');
        }
        let read = |limit| {
            deb_member(&archive[..], "control.tar", limit, |part| {
                Ok(std::io::copy(part, &mut std::io::sink())?)
            })
        };
        assert_eq!(read(1 << 20).unwrap(), 1 << 20);
        assert!(
            format!("{:#}", read((1 << 20) - 1).unwrap_err()).contains("more than the 1048575")
        );
    }
}
