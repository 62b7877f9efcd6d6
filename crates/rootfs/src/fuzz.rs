//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use crate::generators::fuzz as generators;
use crate::select::elf::{Needs, section};
use crate::{Distribution, Rule};

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    ("elf", 4000, elf),
    ("module", 4000, module),
    ("users", 4000, users),
    ("presets", 4000, presets),
    ("pam", 2000, pam),
    ("nsswitch", 2000, nsswitch),
    ("pattern", 2000, pattern),
    ("rule", 2000, rule),
];

/// A program or library, as SELECT reads it.
pub fn elf(bytes: &[u8]) {
    let _ = Needs::read(bytes);
    let _ = section(bytes, ".note.dlopen");
}

/// A kernel module, packed or not, as depmod(8) reads it.
pub fn module(bytes: &[u8]) {
    for path in ["fuzz.ko", "fuzz.ko.xz", "fuzz.ko.zst"] {
        if let Ok(plain) = crate::module_file::unpack(path, bytes.to_vec()) {
            generators::module(&plain);
        }
    }
}

/// Lines of sysusers.d(5) and files of users and groups.
pub fn users(bytes: &[u8]) {
    generators::users(&String::from_utf8_lossy(bytes));
}

/// A preset file and a unit file.
pub fn presets(bytes: &[u8]) {
    generators::presets(&String::from_utf8_lossy(bytes));
}

/// A profile and a template of PAM.
pub fn pam(bytes: &[u8]) {
    generators::pam(&String::from_utf8_lossy(bytes));
}

/// A file nsswitch.conf(5) and a wish.
pub fn nsswitch(bytes: &[u8]) {
    generators::nsswitch(&String::from_utf8_lossy(bytes));
}

/// A pattern and a path, one a line.
pub fn pattern(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, path) = text.split_once('\n').unwrap_or((&text, "usr/bin/x"));
    let _ = crate::pattern::matches(pattern, path);
}

/// A rule and a distribution's rule, in canonical form.
pub fn rule(bytes: &[u8]) {
    let _ = store::decode::<Rule>(bytes);
    let _ = store::decode::<Distribution>(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
