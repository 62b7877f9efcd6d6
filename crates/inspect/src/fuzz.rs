//! Parsers of foreign bytes, each as one function: for fuzzing and for replaying what it found.

use std::io::Cursor;

use crate::{erofs, fat, gpt, pe, uki, verity, vhd};

/// Name of the corpus, changes in an ordinary test, parser.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Every parser of this crate.
pub const TARGETS: &[Target] = &[
    ("erofs", 2000, erofs),
    ("fat", 2000, fat),
    ("gpt", 3000, gpt),
    ("pe", 3000, pe),
    ("verity", 2000, verity),
    ("vhd", 3000, vhd),
];

/// An EROFS image.
pub fn erofs(bytes: &[u8]) {
    let mut device = Cursor::new(bytes);
    let _ = erofs::read_superblock(&mut device);
    let _ = erofs::read(&mut device);
}

/// A FAT volume.
pub fn fat(bytes: &[u8]) {
    let mut device = Cursor::new(bytes);
    let _ = fat::read(&mut device);
    if let Ok((volume, _)) = fat::survey(&mut device) {
        for path in volume.files.keys() {
            let _ = volume.content(&mut device, path);
            let _ = volume.beginning(&mut device, path);
        }
    }
}

/// A disk's partition tables.
pub fn gpt(bytes: &[u8]) {
    let _ = gpt::read(&mut Cursor::new(bytes));
}

/// A program for the firmware, and a UKI.
pub fn pe(bytes: &[u8]) {
    if let Ok(found) = pe::read(bytes) {
        let _ = found.check_placement();
        let _ = uki::is_uki(&found);
        let _ = found.content(bytes, ".linux");
    }
    let _ = uki::os_release(bytes);
    if let Ok(found) = uki::read(bytes) {
        let _ = found.root_hash();
    }
}

/// A hash tree with its superblock, over no data and over itself.
pub fn verity(bytes: &[u8]) {
    let _ = verity::measure(&mut Cursor::new([]), &mut Cursor::new(bytes));
    let _ = verity::measure(&mut Cursor::new(bytes), &mut Cursor::new(bytes));
}

/// A virtual hard disk's footer.
pub fn vhd(bytes: &[u8]) {
    let _ = vhd::read(&mut Cursor::new(bytes));
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_input_of_the_corpus_and_none_near_it_panics() {
        judge::corpus::replay(env!("CARGO_MANIFEST_DIR"), super::TARGETS);
    }
}
