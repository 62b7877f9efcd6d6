//! Files of kernel modules: their names, and their plain bytes.

use std::io::Read as _;

use anyhow::{Context, Result, bail};
use liblzma::read::XzDecoder;

/// The largest module, unpacked; debug information included the largest of Debian has 60 MB.
const MOST: u64 = 256 << 20;

/// The path without the endings of a module; `None` when it is not the name of one.
pub(crate) fn stem(path: &str) -> Option<&str> {
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|ending| path.strip_suffix(ending))
}

/// A module's name: the file's up to the first dot, `-` written `_`.
pub(crate) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    plain_name(file.split('.').next().unwrap_or(file))
}

/// A module's name as the kernel writes it.
pub(crate) fn plain_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The bytes of the module at `path`, unpacked as its name says.
pub(crate) fn unpack(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let plain = match path.rsplit('.').next() {
        Some("xz") => {
            let mut plain = Vec::new();
            let mut limited = XzDecoder::new(bytes.as_slice()).take(MOST + 1);
            limited.read_to_end(&mut plain).context("unpack it")?;
            plain
        }
        Some("zst") => store::decompress(&bytes, MOST)?,
        Some("ko") => bytes,
        _ => bail!("its compression is not known here"),
    };
    if plain.len() as u64 > MOST {
        bail!("it has more than {MOST} bytes");
    }
    Ok(plain)
}
