//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use crate::{Family, Id, Moment, Script, Version};

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    ("archive", 4000, archive),
    ("control", 2000, control),
    ("index", 2000, index),
    ("dependency", 4000, dependency),
    ("version", 4000, version),
    ("script", 2000, script),
];

/// The payload of a package: what is taken is well-formed, and no more than was declared.
pub fn archive(bytes: &[u8]) {
    let mut tree = store::Tree::default();
    let _ = crate::open(Family::Deb, bytes, &mut |entry, content| {
        let read = std::io::copy(content, &mut std::io::sink())?;
        if let crate::Kind::File(size) = entry.kind {
            assert!(read <= size);
        }
        let taken = tree.insert(&entry.path, store::Entry::directory("fuzz"));
        assert!(taken.is_ok(), "{}", entry.path);
        Ok(())
    });
}

/// The control part of a package.
pub fn control(bytes: &[u8]) {
    let _ = crate::control(Family::Deb, bytes);
}

/// An index of packages.
pub fn index(bytes: &[u8]) {
    let _ = crate::read_index(Family::Deb, bytes, "amd64");
}

/// A field of dependencies.
pub fn dependency(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = crate::read_clauses(&text);
    let _ = crate::read_capabilities(&text);
}

/// Two versions, one a line: their order does not depend on which comes first.
pub fn version(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (a, b) = text.split_once('\n').unwrap_or((&text, "1"));
    if let (Ok(a), Ok(b)) = (Family::Deb.version(a), Family::Deb.version(b)) {
        assert_eq!(Family::Deb.compare(&a, &b), Family::Deb.compare(&b, &a).reverse());
    }
}

/// A maintainer script.
pub fn script(bytes: &[u8]) {
    let body = String::from_utf8_lossy(bytes).into_owned();
    let interpreter = vec!["/bin/sh".to_owned()];
    let own =
        Id { name: "foo".into(), version: Version("1-1".into()), architecture: "amd64".into() };
    for moment in [Moment::AfterUnpack, Moment::Triggered] {
        let script = Script { moment, interpreter: interpreter.clone(), body: body.clone() };
        let _ = crate::read_script(&script, &own);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
