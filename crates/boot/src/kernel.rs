//! The header of an x86 kernel (Linux, arch/x86/boot.rst, "The Real-Mode Kernel Header").

use anyhow::{Context, Result, bail};

const MAGIC_AT: usize = 0x202;
const MAGIC: &[u8] = b"HdrS";
const VERSION_AT: usize = 0x20e;
/// The version's offset counts from here.
const SETUP: usize = 0x200;
/// `__NEW_UTS_LEN` of Linux.
const RELEASE_MAX: usize = 64;

/// The release that a bzImage calls itself, as `uname -r` says it.
///
/// # Errors
/// When the bytes are no bzImage, or their release is no word of the usual letters.
pub fn uname(vmlinuz: &[u8]) -> Result<String> {
    if !is_bzimage(vmlinuz) {
        bail!("the kernel has no `HdrS` header: it is no bzImage");
    }
    let low = vmlinuz.get(VERSION_AT..VERSION_AT + 2).context("kernel header is cut off")?;
    let at = SETUP + usize::from(u16::from_le_bytes([low[0], low[1]]));
    let text = vmlinuz.get(at..).context("the kernel's version lies outside the file")?;
    let release: Vec<u8> = text.iter().copied().take(RELEASE_MAX + 1).take_while(is_word).collect();
    if release.is_empty() || text.get(release.len()) != Some(&b' ') {
        bail!("the kernel's version does not begin with a release");
    }
    String::from_utf8(release).context("read the kernel's release")
}

/// Whether the bytes begin like an x86 kernel.
pub(crate) fn is_bzimage(bytes: &[u8]) -> bool {
    bytes.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) == Some(MAGIC)
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._+-~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(version: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        bytes[VERSION_AT..VERSION_AT + 2].copy_from_slice(&0x80u16.to_le_bytes());
        bytes[0x280..0x280 + version.len()].copy_from_slice(version);
        bytes
    }

    #[test]
    fn the_release_is_the_first_word() {
        let text = b"6.12.118+deb13-cloud-amd64 (a@b) #1 SMP";
        assert_eq!(uname(&kernel(text)).unwrap(), "6.12.118+deb13-cloud-amd64");
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let mut far = kernel(b"6.1 ");
        far[VERSION_AT..VERSION_AT + 2].copy_from_slice(&[0xff, 0xff]);
        let cases =
            [kernel(b""), kernel(&[b'6'; 90]), kernel(b"6.1/x ("), far, vec![], vec![0; 99]];
        for bytes in cases {
            assert!(uname(&bytes).is_err());
        }
    }
}
