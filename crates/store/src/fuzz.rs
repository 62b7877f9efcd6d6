//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use crate::{Tree, decode, encode, reached};

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[("tree", 6000, tree), ("zstd", 2000, zstd)];

/// A tree in canonical form: what is taken comes back the same.
pub fn tree(bytes: &[u8]) {
    let _ = reached(bytes);
    if let Ok(tree) = decode::<Tree>(bytes) {
        let again = encode(&tree).and_then(|bytes| decode::<Tree>(&bytes));
        assert_eq!(again.ok(), Some(tree));
    }
}

/// A zstd stream: never more than was allowed.
pub fn zstd(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    if let Ok(plain) = crate::decompress(bytes, LIMIT) {
        assert!(plain.len() as u64 <= LIMIT);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
