//! The container of a package: ar(5) members, packed as their names say (deb(5)).

use std::io::{BufReader, Read};

use anyhow::{Context, Result, bail, ensure};

/// Most memory that reading xz may take, in bytes: the largest preset (`-9`) needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

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
                ensure!(version.starts_with("2."), "archive format `{}` is not 2", version.trim());
            }
            ([_], "control.tar") => seen.push("control.tar"),
            ([_, _], "data.tar") => {}
            ([_, ..], other) if other.starts_with('_') => {}
            (_, other) => bail!("archive member `{other}` in a place where it must not be"),
        }
        if kind == wanted {
            let plain = unpacker(packing, &mut body)
                .with_context(|| format!("read archive member `{name}`"))?;
            let mut plain = Capped { inner: BufReader::new(plain), left: limit };
            let result = work(&mut plain).with_context(|| format!("archive member `{name}`"))?;
            // To the end, so that the packing's own checksum is verified; zeros may follow.
            std::io::copy(&mut plain, &mut std::io::sink())
                .with_context(|| format!("read archive member `{name}` to its end"))?;
            drop(plain);
            ensure!(body.limit() == 0, "archive member `{name}` is cut, or bytes follow its end");
            return Ok(result);
        }
        ensure!(kind != "data.tar", "the archive has no `{wanted}`");
        std::io::copy(&mut body, &mut std::io::sink())
            .with_context(|| format!("skip archive member `{name}`"))?;
        ensure!(body.limit() == 0, "archive member `{name}` lacks {} bytes", body.limit());
        if size % 2 == 1 {
            archive.read_exact(&mut [0]).context("read the padding of an archive member")?;
        }
    }
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
    Ok((name.to_owned(), size.parse()?))
}

/// A reader of the plain bytes of a member whose name ends in `packing`.
fn unpacker<'a>(packing: &str, body: &'a mut (dyn Read + 'a)) -> Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        "" => Box::new(body),
        ".gz" => Box::new(flate2::read::GzDecoder::new(body)),
        ".xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)
                .context("start reading xz")?;
            Box::new(liblzma::read::XzDecoder::new_stream(body, stream))
        }
        ".zst" => Box::new(store::decompressor(body)?),
        other => bail!("packing `{other}` is not known"),
    })
}

/// Fails where a plain `take` would end quietly.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other("more bytes when unpacked than any package may hold")
        })?;
        Ok(read)
    }
}
