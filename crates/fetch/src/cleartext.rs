//! The cleartext signature framework (RFC 9580, section 7).
//!
//! Read by hand, in one pass, because it is read before anything is verified. Nothing may stand
//! outside of the one signed block.

use anyhow::{Context, Result, bail};

/// A message taken apart; nothing is verified yet.
pub(crate) struct Cleartext {
    /// What is signed: lines without trailing blanks, joined by CR LF, no line end at the end.
    pub(crate) canonical: String,
    /// The armoured signatures.
    pub(crate) signatures: String,
}

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

pub(crate) fn read_cleartext(message: &str) -> Result<Cleartext> {
    let mut lines = message.lines().map(|line| line.trim_end_matches([' ', '\t', '\r']));
    if lines.next() != Some(BEGIN) {
        bail!("the text does not begin with `{BEGIN}`");
    }
    for header in lines.by_ref().take_while(|line| !line.is_empty()) {
        if !header.starts_with("Hash: ") {
            bail!("`{}` is no header of a signed message", header.escape_debug());
        }
    }
    let mut canonical = String::with_capacity(message.len());
    let mut first = true;
    loop {
        let line = lines.next().context("find the signature: the text is cut")?;
        if line == BEGIN_SIGNATURE {
            break;
        }
        let plain = match line.strip_prefix('-') {
            None => line,
            Some(rest) => rest.strip_prefix(' ').context("a line begins with a bare `-`")?,
        };
        if !first {
            canonical.push_str("\r\n");
        }
        first = false;
        canonical.push_str(plain);
    }
    let mut signatures = format!("{BEGIN_SIGNATURE}\n");
    loop {
        let line = lines.next().context("find the signature's end: the text is cut")?;
        signatures.push_str(line);
        signatures.push('\n');
        if line == END_SIGNATURE {
            break;
        }
    }
    if lines.any(|line| !line.is_empty()) {
        bail!("something follows the signature");
    }
    Ok(Cleartext { canonical, signatures })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        format!("{BEGIN}\nHash: SHA256\n\n{body}\n{BEGIN_SIGNATURE}\n\nxx\n{END_SIGNATURE}\n")
    }

    #[test]
    fn lines_are_unescaped_and_joined_as_they_were_signed() {
        let read = read_cleartext(&message("a \t\n- -b\n\nc")).unwrap();
        assert_eq!(read.canonical, "a\r\n-b\r\n\r\nc");
        let read = read_cleartext(&message("a\nb").replace('\n', "\r\n")).unwrap();
        assert_eq!(read.canonical, "a\r\nb");
    }

    #[test]
    fn what_stands_outside_of_the_block_is_refused() {
        let good = message("a");
        let twice = format!("{good}{good}");
        let before = format!("Origin: evil\n{good}");
        let after = format!("{good}Origin: evil\n");
        let header = good.replace("Hash: SHA256", "Origin: evil");
        let bare = message("-a");
        let cut = good.replace(END_SIGNATURE, "");
        let unsigned = good.replace(BEGIN_SIGNATURE, "");
        for text in [&twice, &before, &after, &header, &bare, &cut, &unsigned] {
            assert!(read_cleartext(text).is_err(), "{text}");
        }
    }
}
