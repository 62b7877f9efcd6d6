//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[("lock", 4000, lock)];

/// A lock: what is taken is written again as the same lock.
pub fn lock(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(lock) = crate::Lock::parse(&text) {
        assert_eq!(crate::Lock::parse(&lock.text()).ok(), Some(lock));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
