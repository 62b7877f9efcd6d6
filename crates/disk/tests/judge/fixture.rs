//! A small disk and the store that it lies in.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use disk::{Disk, FORMATS, LAY_OUT, Plan, Sizes};
use store::{Epoch, Seed, Store};

/// A directory with a store of its own.
pub(crate) struct Place {
    /// Where images go.
    pub(crate) directory: PathBuf,
    /// Holds the plan's blobs.
    pub(crate) store: Store,
}

pub(crate) fn place(name: &str) -> Place {
    let directory = judge::scratch(name);
    let store = Store::open(&directory.join("store"), None).unwrap();
    Place { directory, store }
}

pub(crate) fn small() -> Sizes {
    Sizes {
        esp: 40 << 20,
        usr: 4 << 20,
        verity: 1 << 20,
        signature: 1 << 20,
        root: 10 << 20,
        sector: 512,
    }
}

/// Bytes that do not repeat: what a compressed kernel looks like.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(step).collect()
}

/// What lies on the fixture's ESP.
pub(crate) fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let mut kernel = noise(1_500_000);
    // A hole inside of a file.
    kernel[300_000..900_000].fill(0);
    BTreeMap::from([
        ("EFI/BOOT/BOOTX64.EFI", noise(100_001)),
        ("EFI/Linux/mini_202611.25.0+3.efi", kernel),
        ("EFI/systemd/systemd-bootx64.efi", noise(100_001)),
        ("loader/empty", Vec::new()),
        ("loader/keys/auto/größe.auth", noise(3000)),
        ("loader/loader.conf", b"timeout 0\n".to_vec()),
    ])
}

pub(crate) fn plan(store: &Store, sizes: Sizes) -> Plan {
    let put = |bytes: &[u8]| store.put(bytes).unwrap();
    let mut usr = noise(3 << 20);
    usr[1 << 20..2 << 20].fill(0);
    Plan {
        layout: "dps-ab".into(),
        sizes,
        seed: Seed::of("mini"),
        epoch: Epoch(1_795_645_404),
        id: "mini".into(),
        version: "202611.25.0".into(),
        usr: put(&usr),
        verity: put(&noise(65_536)),
        signature: put(&noise(1 << 20)),
        root_hash: std::array::from_fn(|i| i as u8 + 0x10),
        esp: files().iter().map(|(path, bytes)| ((*path).to_owned(), put(bytes))).collect(),
    }
}

pub(crate) fn lay_out(place: &Place, plan: &Plan) -> Disk {
    place.store.realize(&LAY_OUT, plan).unwrap()
}

/// Writes the disk in the format `name`.
pub(crate) fn write(place: &Place, disk: &Disk, name: &str) -> PathBuf {
    let format = FORMATS.iter().find(|format| format.name == name).unwrap();
    let path = place.directory.join(format!("disk.{}", format.extension));
    let mut file = File::create(&path).unwrap();
    (format.write)(disk, &|blob| place.store.open_blob(blob), &mut file).unwrap();
    path
}

/// The bytes of one region of the written disk.
pub(crate) fn region(disk: &Disk, path: &Path, name: &str) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let region = disk.regions.iter().find(|region| region.name == name).unwrap();
    let mut bytes = vec![0; region.length as usize];
    File::open(path).unwrap().read_exact_at(&mut bytes, region.offset).unwrap();
    bytes
}
