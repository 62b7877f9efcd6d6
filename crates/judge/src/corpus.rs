//! Replays what fuzzing found, and a little beyond it, as an ordinary test.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// A parser of foreign bytes: the folder of its corpus, how many changed inputs an ordinary test
/// gives it, and the parser. It may refuse what it gets or not; it must return.
pub type Target = (&'static str, usize, fn(&[u8]));

/// Longest input that a change may make, in bytes.
const LONGEST: usize = 64 << 10;

/// Gives every target each file of `tests/corpus/<target>` of the crate in `directory`, then
/// changed copies of them, the same in every run.
///
/// # Panics
/// When a target does, or has no corpus. The input is kept, and its path named.
pub fn replay(directory: &str, targets: &[Target]) {
    for (name, changes, run) in targets {
        let seeds = seeds(&Path::new(directory).join("tests/corpus").join(name));
        assert!(!seeds.is_empty(), "target `{name}` has no corpus");
        for (path, seed) in &seeds {
            give(name, *run, seed, &path.display().to_string());
        }
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for turn in 0..*changes {
            let (path, seed) = &seeds[turn % seeds.len()];
            let other = &seeds[numbers.below(seeds.len())].1;
            let input = changed(seed, other, &mut numbers);
            give(name, *run, &input, &format!("change {turn} of {}", path.display()));
        }
    }
}

fn give(name: &str, run: fn(&[u8]), input: &[u8], what: &str) {
    if catch_unwind(|| run(input)).is_err() {
        let kept = crate::scratch(&format!("fault-{name}")).join("input");
        let wrote = std::fs::write(&kept, input);
        panic!("target `{name}` fails at {what}: see `{}` ({wrote:?})", kept.display());
    }
}

/// Files of a folder in the order of their names.
#[expect(clippy::disallowed_methods, reason = "sorted below; this crate has no dependency")]
fn seeds(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| Some((path.clone(), std::fs::read(path).ok()?));
    paths.into_iter().filter_map(read).collect()
}

/// Random numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }
}

/// A copy of `seed` with one to four things wrong.
fn changed(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const EXTREMES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];
    const SIGNS: &[u8] = b"\0\n\r\t \"'{}[]()<>:;,./\\-+=~^*&#%|!@0789aZ\x7f\x80\xff";
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let length = numbers.below(64).min(bytes.len() - at);
        match numbers.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => bytes[at] = SIGNS[numbers.below(SIGNS.len())],
            2 => bytes.insert(at, SIGNS[numbers.below(SIGNS.len())]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].repeat(1 + numbers.below(8));
                bytes.splice(at..at, piece);
            }
            5 => {
                let value = EXTREMES[numbers.below(EXTREMES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][numbers.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            6 => bytes.truncate(at),
            _ => {
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_many_and_the_same_in_every_run() {
        let all = || -> Vec<Vec<u8>> {
            let mut numbers = Numbers(7);
            (0..100).map(|_| changed(b"a seed: 12\n", b"other\n", &mut numbers)).collect()
        };
        let mut one = all();
        assert_eq!(one, all());
        one.sort();
        one.dedup();
        assert!(one.len() > 80, "{}", one.len());
    }

    #[test]
    #[should_panic(expected = "target `none` has no corpus")]
    fn a_target_without_a_corpus_is_an_error() {
        replay(env!("CARGO_MANIFEST_DIR"), &[("none", 1, |_| {})]);
    }
}
