//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use crate::{kernel, pe, sbat};

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[("pe", 6000, pe), ("kernel", 2000, kernel), ("sbat", 2000, sbat)];

/// A program for the firmware: its table of sections, its digest for a signature.
pub fn pe(bytes: &[u8]) {
    if let Ok(found) = pe::Pe::parse(bytes) {
        for name in [".linux", ".sbat", ".cmdline"] {
            if let Some(section) = found.section(name) {
                let _ = (section.raw(bytes), section.content(bytes), section.label());
            }
        }
    }
    let _ = crate::authenticode_digest(bytes);
}

/// A kernel's release.
pub fn kernel(bytes: &[u8]) {
    let _ = kernel::is_bzimage(bytes);
    let _ = crate::uname(bytes);
}

/// Two tables of generations (SBAT), divided by an empty line.
pub fn sbat(bytes: &[u8]) {
    if let Ok(text) = sbat::read(bytes) {
        let (one, other) = text.split_once("\n\n").unwrap_or((text, ""));
        let _ = sbat::merge(&[one, other]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
