//! Readers before what others wrote: sgdisk, mkfs.fat, mtools, mkfs.erofs, veritysetup, sbsign.

mod hostile;
mod look;
mod powercut;
mod program;
mod tree;
mod volume;

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use inspect::gpt;
use judge::{run, tool};

const MIB: u64 = 1 << 20;
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const USR: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
const VERITY: &str = "77ff5f63-e7b6-4633-acf4-1565b864c0e6";

/// A disk of one ESP, a data and a hash partition, each part made by a program of others.
fn disk(directory: &Path, data: &[u8], tree: &[u8], hash: &[u8; 32], kernel: &[u8]) -> PathBuf {
    let half = |from: usize| {
        let hex: String = hash[from..from + 16].iter().map(|b| format!("{b:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    };
    let path = directory.join("disk");
    let file = File::options().create(true).truncate(true).write(true).open(&path).unwrap();
    file.set_len(48 * MIB).unwrap();
    let mut command = tool("sgdisk");
    for (number, start, length, kind, uuid, label) in [
        (1, 1, 40, ESP, "99999999-2222-3333-4444-555555555555".to_owned(), "esp"),
        (2, 41, 4, USR, half(0), "mini_1.0"),
        (5, 45, 1, VERITY, half(16), "mini_1.0_verity"),
    ] {
        let (first, last) = (start * 2048, (start + length) * 2048 - 1);
        command.arg(format!("--new={number}:{first}:{last}"));
        command.arg(format!("--typecode={number}:{kind}"));
        command.arg(format!("--partition-guid={number}:{uuid}"));
        command.arg(format!("--change-name={number}:{label}"));
    }
    let ran = run(command.arg("--attributes=2:set:60").arg(&path));
    assert!(ran.ok, "{}", ran.text);
    let esp = volume::volume(
        directory,
        40 * MIB,
        &["-F", "32", "-s", "1", "-h", "2048"],
        &[("EFI/Linux/mini_1.0.efi", kernel), ("loader/loader.conf", b"timeout 0\n")],
    );
    file.write_all_at(&fs::read(esp).unwrap(), MIB).unwrap();
    file.write_all_at(data, 41 * MIB).unwrap();
    file.write_all_at(tree, 45 * MIB).unwrap();
    path
}

fn data() -> Vec<u8> {
    (0..2 * MIB).map(|i| (i / 61 % 249) as u8).collect()
}

fn command_line(hash: &[u8; 32]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("usrhash={hex} panic=5")
}

#[test]
fn a_disk_made_by_others_is_understood() {
    let directory = judge::scratch("inspect-image");
    let (tree, hash) = volume::protected(&directory, &data());
    let kernel = program::kernel(&command_line(&hash));
    let path = disk(&directory, &data(), &tree, &hash, &kernel);
    let found = inspect::summary(&path).unwrap();
    assert_eq!(found.faults, Vec::<String>::new());
    assert_eq!(found.vhd, None);
    let numbers: Vec<_> = found.table.partitions.iter().map(|p| (p.number, p.attributes)).collect();
    assert_eq!(numbers, [(1, 0), (2, 1 << 60), (5, 0)]);
    assert_eq!(found.esp.len(), 2);
    assert_eq!(found.ukis[0].path, "EFI/Linux/mini_1.0.efi");
    let slot = &found.slots[0];
    assert_eq!((slot.label.as_str(), slot.data, slot.tree), ("mini_1.0", 2, 5));
    assert_eq!(slot.verity.data_blocks, 512);
    serde_json::to_string(&found).unwrap();
}

#[test]
fn a_flipped_byte_of_data_a_read_only_kernel_and_a_wrong_version_are_faults() {
    let directory = judge::scratch("inspect-faults");
    let (tree, hash) = volume::protected(&directory, &data());
    let mut flipped = data();
    flipped[1_000_000] ^= 1;
    let kernel = program::kernel(&command_line(&hash));
    let path = disk(&directory, &flipped, &tree, &hash, &kernel);
    let found = inspect::summary(&path).unwrap();
    assert!(found.slots.is_empty());
    assert!(found.faults[0].contains("hash tree differs"), "{:?}", found.faults);

    let path = disk(&directory, &data(), &tree, &hash, &kernel);
    let target = format!("{}@@1M", path.display());
    let ran = run(tool("mattrib").arg("+r").arg("-i").arg(target).arg("::EFI/Linux/mini_1.0.efi"));
    assert!(ran.ok, "{}", ran.text);
    let ran = run(tool("sgdisk").arg("--change-name=2:mini_1.1").arg(&path));
    assert!(ran.ok, "{}", ran.text);
    let faults = inspect::summary(&path).unwrap().faults;
    assert!(faults.iter().any(|fault| fault.contains("read-only")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("its slot `mini_1.1`")), "{faults:?}");
}

#[test]
fn a_version_under_two_names_and_one_that_is_pinned_are_faults() {
    let directory = judge::scratch("inspect-names");
    let (tree, hash) = volume::protected(&directory, &data());
    let kernel = program::kernel(&command_line(&hash));
    let path = disk(&directory, &data(), &tree, &hash, &kernel);
    let target = format!("{}@@1M", path.display());
    let configuration = directory.join("loader.conf");
    fs::write(&configuration, "timeout 0\ndefault mini_1.0.efi\n").unwrap();
    let (uki, counted) = ("::EFI/Linux/mini_1.0.efi", "::EFI/Linux/mini_1.0+1-0.efi");
    let pinned = [configuration.to_str().unwrap(), "::loader/loader.conf"];
    let kernel = directory.join("kernel.efi");
    let taken = run(tool("mcopy").args(["-i", &target, uki]).arg(&kernel));
    let second = run(tool("mcopy").args(["-i", &target]).arg(&kernel).arg(counted));
    let pinned = run(tool("mcopy").args(["-o", "-i", &target]).args(pinned));
    for ran in [taken, second, pinned] {
        assert!(ran.ok, "{}", ran.text);
    }
    let faults = inspect::summary(&path).unwrap().faults;
    for wanted in ["under several names", "a `default` entry"] {
        let told = faults.iter().filter(|fault| fault.contains(wanted)).count();
        assert_eq!(told, 1, "{wanted}: {faults:?}");
    }
}

#[test]
fn changed_bytes_of_a_table_are_refused_or_harmless() {
    let path = judge::scratch("inspect-gpt").join("disk");
    File::create(&path).unwrap().set_len(MIB / 4).unwrap();
    let mut command = tool("sgdisk");
    command.args(["--set-alignment=8", "--new=1:40:200", "--new=9:208:300"]);
    let ran = run(command.arg(&path));
    assert!(ran.ok, "{}", ran.text);
    let whole = fs::read(&path).unwrap();
    let table = gpt::read(&mut Cursor::new(&whole)).unwrap();
    assert_eq!(table.partitions.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 9]);
    for range in [512..604, 1024..1280, whole.len() - 512..whole.len() - 420] {
        for at in range {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(gpt::read(&mut Cursor::new(bytes)).is_err(), "byte {at}");
        }
    }
    hostile::flip(&whole, 440..2048, |bytes| {
        let _ = gpt::read(&mut Cursor::new(bytes));
    });
    // A header whose checksum was made right again.
    for at in (24..92).filter(|at| !(16..20).contains(at)) {
        let mut bytes = whole.clone();
        bytes[512 + at] ^= 0xff;
        bytes[528..532].fill(0);
        let sum = crc32(&bytes[512..604]);
        bytes[528..532].copy_from_slice(&sum.to_le_bytes());
        assert!(gpt::read(&mut Cursor::new(bytes)).is_err(), "byte {at}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}
