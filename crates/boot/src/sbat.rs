//! Revocation by generation: the `.sbat` section (shim, SBAT.md).

use anyhow::{Context, Result, bail};

/// The line that begins every `.sbat`.
const FIRST: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md";

/// The component that every UKI is.
pub(crate) const UKI: &str =
    "uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/";

/// The component that every addon is.
pub(crate) const ADDON: &str = "uki-addon,1,UKI Addon,addon,1,\
     https://www.freedesktop.org/software/systemd/man/latest/systemd-stub.html";

/// One `.sbat` out of several: the first line once, then every component in order. Ends in a
/// line break and a NUL, as `ukify` writes it.
///
/// # Errors
/// A part that is no SBAT.
pub(crate) fn merge(parts: &[&str]) -> Result<Vec<u8>> {
    let mut text = format!("{FIRST}\n");
    for part in parts {
        for line in part.lines().filter(|line| !line.starts_with("sbat,")) {
            if line.split(',').count() < 6 || !line.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                bail!("`{}` is no line of an SBAT", line.escape_debug());
            }
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push('\0');
    Ok(text.into_bytes())
}

/// The text of a `.sbat` section.
pub(crate) fn read(section: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(section).context("read the section `.sbat`")?;
    let text = text.trim_end_matches('\0');
    if !text.starts_with("sbat,") {
        bail!("the section `.sbat` does not begin with `sbat,`");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_comes_once_and_components_keep_their_order() {
        let stub = format!("{FIRST}\nstub,1,a,b,1,u\n");
        let merged = merge(&[&stub, "kernel,1,a,b,1,u", UKI]).unwrap();
        let want = format!("{FIRST}\nstub,1,a,b,1,u\nkernel,1,a,b,1,u\n{UKI}\n\0");
        assert_eq!(String::from_utf8(merged).unwrap(), want);
    }

    #[test]
    fn a_line_without_its_six_columns_is_refused() {
        assert!(merge(&["stub,1"]).is_err());
        assert!(read(b"stub,1,a,b,1,u").is_err());
    }
}
