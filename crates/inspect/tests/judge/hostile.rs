//! Changed and cut bytes: a reader may refuse them or not, and never panics.

use std::ops::Range;

/// Gives `read` about a thousand copies of `whole` with bytes changed in `range`, and some that
/// end early.
pub(crate) fn flip(whole: &[u8], range: Range<usize>, read: impl Fn(&[u8])) {
    let mut bytes = whole.to_vec();
    let step = (range.len() / 250).max(1);
    for at in range.clone().step_by(step) {
        for change in [0x01, 0x80, 0xff] {
            bytes[at] ^= change;
            read(&bytes);
            bytes[at] ^= change;
        }
    }
    // Whole fields at their extremes.
    for at in range.clone().step_by(step.next_multiple_of(4)) {
        for value in [[0; 4], [0xff; 4], [0xff, 0xff, 0xff, 0x7f]] {
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&value[..end - at]);
            read(&bytes);
            bytes[at..end].copy_from_slice(&whole[at..end]);
        }
    }
    for end in range.step_by(step * 8) {
        read(&whole[..end]);
    }
}

#[test]
fn changed_bytes_of_a_program_never_panic() {
    let file = crate::program::kernel("usrhash=0");
    flip(&file, 0..1024, |bytes| {
        if let Ok(found) = inspect::pe::read(bytes) {
            let _ = found.check_placement();
        }
        let _ = inspect::uki::read(bytes);
    });
}
