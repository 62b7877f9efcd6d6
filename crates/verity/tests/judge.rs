//! `veritysetup` judges: the same bytes, accepted as they are and refused when damaged.

use std::io::Write;
use std::path::{Path, PathBuf};

use judge::Ran;
use store::Store;
use verity::{BLOCK, PROTECT, Plan, Protected};

const SALT: [u8; 32] = [0xa5; 32];
const UUID: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\x8d\xef\x81\x23\x45\x67\x89\xab\xcd\xef";

struct Sample {
    data: PathBuf,
    hash_tree: PathBuf,
    made: Protected,
}

/// Blocks that differ from each other and from their own halves.
fn image(blocks: u64) -> Vec<u8> {
    let word = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7).to_le_bytes();
    (0..blocks * BLOCK as u64 / 8).flat_map(word).collect()
}

fn sample(name: &str, blocks: u64) -> Sample {
    let root = judge::scratch(name);
    let store = Store::open(&root.join("store"), None).unwrap();
    let mut sink = store.create().unwrap();
    sink.write_all(&image(blocks)).unwrap();
    let data = sink.finish().unwrap();
    let made = store.realize(&PROTECT, &Plan { data, salt: SALT, uuid: UUID }).unwrap();
    let copy = |blob, name: &str| {
        let to = root.join(name);
        std::fs::copy(store.blob_path(blob), &to).unwrap();
        to
    };
    Sample { data: copy(&data, "data"), hash_tree: copy(&made.hash_tree, "tree"), made }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verify(sample: &Sample) -> Ran {
    let mut command = judge::tool("veritysetup");
    command.arg("verify").arg(&sample.data).arg(&sample.hash_tree);
    judge::run(command.arg(sample.made.root.to_string()))
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_byte_is_veritysetups() {
    // One block has no level at all; 128 hashes fill a hash block; 128 * 128 fill two levels.
    for blocks in [1, 2, 127, 128, 129, 4096, 128 * 128, 128 * 128 + 1] {
        let sample = sample(&format!("verity-{blocks}"), blocks);
        let theirs = sample.data.with_file_name("theirs");
        let mut format = judge::tool("veritysetup");
        format.arg("format").arg(&sample.data).arg(&theirs);
        format.arg(format!("--salt={}", hex(&SALT)));
        format.arg("--uuid=01234567-89ab-8def-8123-456789abcdef");
        let said = judge::run(&mut format);
        assert!(said.ok, "{}", said.text);
        let line = said.text.lines().find(|line| line.starts_with("Root hash:")).unwrap();
        assert!(line.ends_with(&sample.made.root.to_string()), "{blocks} blocks: {line}");
        assert_eq!(sample.made.data_blocks, blocks);
        let (ours, theirs) = (std::fs::read(&sample.hash_tree), std::fs::read(theirs));
        assert!(ours.unwrap() == theirs.unwrap(), "{blocks} blocks: the hash trees differ");
    }
}

#[test]
fn a_whole_image_is_accepted_and_a_flipped_bit_of_data_or_tree_is_not() {
    let blocks = 128 * 3 + 5;
    let sample = sample("verity-flip", blocks);
    let said = verify(&sample);
    assert!(said.ok, "{}", said.text);
    let open = |path| std::fs::File::open(path).unwrap();
    let (mut data, mut tree) = (open(&sample.data), open(&sample.hash_tree));
    let found = inspect::verity::verify(&mut data, &mut tree, &sample.made.root.0).unwrap();
    assert_eq!(found.length, sample.made.hash_tree.size);
    let last = blocks * BLOCK as u64 - 1;
    // Of the tree: the magic, the salt, a hash of the top level and one of the lowest.
    let tree = [0, 88, 4096, 2 * 4096 + 40];
    let data = [0, 4096 * 77 + 13, last].map(|at| (&sample.data, at));
    for (path, at) in data.into_iter().chain(tree.map(|at| (&sample.hash_tree, at))) {
        flip(path, at);
        let said = verify(&sample);
        assert!(!said.ok, "byte {at} of `{}` flipped: {}", path.display(), said.text);
        flip(path, at);
    }
    assert!(verify(&sample).ok, "the sample is whole again");
}
