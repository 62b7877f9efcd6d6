//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use crate::Channel;

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[("sums", 4000, sums), ("channel", 2000, channel)];

/// A list of files: whatever is taken has flat names.
pub fn sums(bytes: &[u8]) {
    for name in crate::verify::read_sums(bytes).unwrap_or_default().keys() {
        assert!(!name.contains('/') && name != "..");
    }
}

/// A channel's manifest: what is taken comes back the same, with flat names.
pub fn channel(bytes: &[u8]) {
    if let Ok(channel) = Channel::parse(&String::from_utf8_lossy(bytes)) {
        assert!(channel.files().all(|part| !part.file.contains('/')));
        let again = channel.text().and_then(|text| Channel::parse(&text));
        assert_eq!(again.ok(), Some(channel));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
