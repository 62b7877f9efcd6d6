//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use store::Epoch;

use crate::{Address, Keyring, Sealed};

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    ("signed", 1000, signed),
    ("detached", 1000, detached),
    ("keyring", 300, keyring),
    ("machine", 4000, machine),
    ("address", 4000, address),
];

/// A signed index, with a keyring of no keys: taken apart, never trusted.
pub fn signed(bytes: &[u8]) {
    let _ = crate::cleartext::read_cleartext(&String::from_utf8_lossy(bytes));
    if let Ok(keyring) = Keyring::read(include_bytes!("../tests/corpus/keyring/armoured")) {
        assert!(keyring.open(bytes, Epoch(1_800_000_000)).is_err());
    }
}

/// A detached signature, armoured or not, of a key that is not known.
pub fn detached(bytes: &[u8]) {
    if let Ok(keyring) = Keyring::read(include_bytes!("../tests/corpus/keyring/armoured")) {
        let sealed = Sealed::new(b"SHA256SUMS".to_vec(), bytes.to_vec());
        assert!(sealed.open(&keyring, Epoch(1_800_000_000)).is_err());
    }
}

/// A keyring, armoured or not.
pub fn keyring(bytes: &[u8]) {
    if let Ok(keyring) = Keyring::read(bytes) {
        let _ = keyring.fingerprints();
        let _ = keyring.open(include_bytes!("../tests/corpus/signed/message"), Epoch(0));
    }
}

/// The machine's configuration: each kind of file.
pub fn machine(bytes: &[u8]) {
    crate::machine::fuzz(&String::from_utf8_lossy(bytes));
}

/// An address and where it is redirected: what is taken can be said and read again.
pub fn address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (first, next) = text.split_once('\n').unwrap_or((&text, "x"));
    if let Ok(address) = Address::parse(first) {
        let _ = (address.join(next), address.redirected(next));
        let _ = (address.host().len(), address.path().len(), address.authority().len());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
