//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[("profile", 4000, profile)];

/// A profile: what is taken has a label that a partition can bear.
pub fn profile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(profile) = crate::parse(&text, "fuzz.yaml") {
        assert!(crate::label(&profile.id, profile.version.as_deref().unwrap_or("1")).is_ok());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
