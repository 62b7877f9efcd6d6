//! The power-cut checker (`examples/powercut`) on logs of updates made by mtools and sgdisk: right
//! ones pass, and each kind of wrong one is found.

#[path = "../../examples/powercut/cuts.rs"]
mod cuts;
#[path = "../../examples/powercut/disk.rs"]
mod disk;
#[path = "../../examples/powercut/log.rs"]
mod log;
#[path = "../../examples/powercut/order.rs"]
mod order;
#[path = "../../examples/powercut/report.rs"]
mod report;
#[path = "../../examples/powercut/start.rs"]
mod start;

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use judge::{run, tool};

use self::cuts::Kind;
use self::log::{Entry, head, header};
use self::report::{Report, check};
use crate::{MIB, look, program, volume};

const V1: &str = "EFI/Linux/mini_1.0.efi";
const SECTOR: usize = 512;
/// The second slot of the disk: data and tree, numbers and first bytes.
const DATA_B: (u32, u64) = (6, 46 * MIB);
const TREE_B: (u32, u64) = (7, 47 * MIB);

/// A disk with version 1.0 in its first slot, and what is needed for 2.0 in the second.
struct Host {
    folder: PathBuf,
    disk: PathBuf,
    base: PathBuf,
    /// What the recorded writes made of the disk.
    now: Vec<u8>,
    log: Vec<u8>,
    entries: u64,
    data: Vec<u8>,
    tree: Vec<u8>,
    hash: [u8; 32],
    kernel: PathBuf,
}

fn signed(folder: &Path, name: &str, program: &[u8]) -> Vec<u8> {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    look::signed(&folder, program)
}

/// The kernel of version 2.0.
fn second(hash: &[u8; 32]) -> Vec<u8> {
    let mut kernel = program::kernel(&crate::command_line(hash));
    let version = b"IMAGE_VERSION=\"1.0\"";
    let at = kernel.windows(version.len()).position(|text| text == version).unwrap();
    kernel[at + 15] = b'2';
    kernel
}

fn host(name: &str) -> Host {
    let folder = judge::scratch(name);
    let old = crate::data();
    let (tree, hash) = volume::protected(&folder, &old);
    let kernel = signed(&folder, "one", &program::kernel(&crate::command_line(&hash)));
    let disk = crate::disk(&folder, &old, &tree, &hash, &kernel);
    let mut sgdisk = tool("sgdisk");
    for (number, start, kind) in [(DATA_B.0, 46, crate::USR), (TREE_B.0, 47, crate::VERITY)] {
        sgdisk.arg(format!("--new={number}:{}:{}", start * 2048, start * 2048 + 1999));
        sgdisk.arg(format!("--typecode={number}:{kind}"));
        sgdisk.arg(format!("--change-name={number}:_empty"));
    }
    said(sgdisk.arg(&disk));
    let loader = folder.join("loader.efi");
    fs::write(&loader, signed(&folder, "loader", &program::image(&[(".text", &[1; 600])])))
        .unwrap();
    said(esp("mmd", &disk).arg("::/EFI/BOOT"));
    said(esp("mcopy", &disk).arg(loader).arg("::/EFI/BOOT/BOOTX64.EFI"));

    let data = vec![9; 256 * 4096 - 65_536];
    let (tree, hash) = volume::protected(&folder, &data);
    let kernel = folder.join("two.efi");
    fs::write(&kernel, signed(&folder, "two", &second(&hash))).unwrap();
    let base = folder.join("base");
    fs::copy(&disk, &base).unwrap();
    let now = fs::read(&disk).unwrap();
    Host { folder, disk, base, now, log: Vec::new(), entries: 0, data, tree, hash, kernel }
}

fn esp(name: &str, disk: &Path) -> Command {
    let mut command = tool(name);
    command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!("{}@@{MIB}", disk.display()));
    command
}

fn said(command: &mut Command) {
    let ran = run(command);
    assert!(ran.ok, "{command:?}: {}", ran.text);
}

impl Host {
    /// Records what changed on the disk since the last time, as writes of a few sectors.
    fn write(&mut self) {
        let disk = fs::read(&self.disk).unwrap();
        let sectors = disk.chunks(SECTOR).zip(self.now.chunks(SECTOR));
        let changed: Vec<usize> = sectors
            .enumerate()
            .filter_map(|(number, (new, old))| (new != old).then_some(number))
            .collect();
        for run in changed.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(64)) {
            let entry = Entry::Write {
                at: run[0] as u64,
                sectors: run.len() as u64,
                data: 0,
                through: false,
            };
            self.log.extend(head(&entry, run.len() as u64));
            self.log.extend(&disk[run[0] * SECTOR..(run[0] + run.len()) * SECTOR]);
            self.entries += 1;
        }
        self.now = disk;
    }

    fn flush(&mut self) {
        self.write();
        self.log.extend(head(&Entry::Flush, 0));
        self.entries += 1;
    }

    /// Overwrites bytes of the disk.
    fn put(&self, at: u64, bytes: &[u8]) {
        let mut disk = fs::read(&self.disk).unwrap();
        disk[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        fs::write(&self.disk, disk).unwrap();
    }

    fn slot(&self) {
        self.put(DATA_B.1, &self.data);
        self.put(TREE_B.1, &self.tree);
    }

    /// Names the second slot in both copies of the table: the one at the end, a flush, then the
    /// other.
    fn table(&mut self) {
        self.rename_slot();
        let new = fs::read(&self.disk).unwrap();
        self.put(0, &self.now[..MIB as usize]);
        self.flush();
        self.put(0, &new[..MIB as usize]);
        self.flush();
    }

    fn rename_slot(&self) {
        let half = |from: usize| -> String {
            let hex: String =
                self.hash[from..from + 16].iter().map(|byte| format!("{byte:02x}")).collect();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        };
        let mut sgdisk = tool("sgdisk");
        for (number, uuid, label) in
            [(DATA_B.0, half(0), "mini_2.0"), (TREE_B.0, half(16), "mini_2.0_verity")]
        {
            sgdisk.arg(format!("--partition-guid={number}:{uuid}"));
            sgdisk.arg(format!("--change-name={number}:{label}"));
        }
        said(sgdisk.arg(&self.disk));
    }

    fn install(&self, name: &str) {
        let to = format!("::/EFI/Linux/{name}");
        said(esp("mcopy", &self.disk).arg(&self.kernel).arg(to));
    }

    fn rename(&self, from: &str, to: &str) {
        let from = format!("::/EFI/Linux/{from}");
        said(esp("mren", &self.disk).arg(from).arg(to));
    }

    fn checked(&self, trusted: &[&str]) -> Report {
        let path = self.folder.join("log");
        let mut bytes = header(self.entries);
        bytes.extend(&self.log);
        fs::write(&path, bytes).unwrap();
        let trusted: BTreeSet<String> = trusted.iter().map(|one| (*one).to_owned()).collect();
        check(&self.base, &path, trusted, 1).unwrap()
    }

    /// The update in the order of the client: data, table, kernel under another name, its name.
    fn updated(mut self) -> Host {
        self.slot();
        self.flush();
        self.table();
        self.install(".#new.efi");
        self.flush();
        self.rename(".#new.efi", "mini_2.0+1-0.efi");
        self.flush();
        self
    }
}

#[test]
fn an_update_in_the_right_order_comes_up_after_every_cut() {
    let mut host = host("powercut-right").updated();
    // The loader counts, and the system commits.
    host.rename("mini_2.0+1-0.efi", "mini_2.0+0-1.efi");
    host.flush();
    host.rename("mini_2.0+0-1.efi", "mini_2.0.efi");
    host.flush();
    let report = host.checked(&[]);
    assert!(report.is_good(), "{report}");
    assert_eq!(report.of_kind(Kind::Flush), 7);
    for kind in [Kind::Write, Kind::Torn, Kind::Reordered] {
        assert!(report.of_kind(kind) > 20, "{report}");
    }
    let second = ["mini_2.0+1-0.efi", "mini_2.0+0-1.efi", "mini_2.0.efi"];
    let second = second.map(|name| report.boots(&format!("EFI/Linux/{name}")));
    assert!(report.boots(V1).0 > 100 && second[0].0 > 0 && second[2].0 > 0, "{report}");
    assert_eq!(second.map(|(_, after)| after), [0; 3], "no trial fails: {report}");
    // The same cuts in every run.
    assert_eq!(host.checked(&[]).to_string(), report.to_string());
}

#[test]
fn a_name_without_content_is_counted_and_the_old_version_comes_up() {
    let mut host = host("powercut-empty").updated();
    // What a rename on vfat leaves between its two flushes.
    said(esp("mdel", &host.disk).arg("::/EFI/Linux/mini_2.0+1-0.efi"));
    host.kernel = host.folder.join("empty.efi");
    fs::write(&host.kernel, b"").unwrap();
    host.install("mini_2.0.efi");
    host.flush();
    let report = host.checked(&[]);
    assert!(report.passed("EFI/Linux/mini_2.0.efi") > 0, "{report}");
    assert!(report.reasons().iter().all(|(why, ..)| !why.contains("mini_2.0.efi`")), "{report}");
}

/// Frees the clusters of version 1.0 behind this many in both allocation tables; its name stays.
fn freed(host: &Host, kept: usize) {
    let disk = fs::read(&host.disk).unwrap();
    let volume = &disk[MIB as usize..41 * MIB as usize];
    let reserved = usize::from(u16::from_le_bytes(volume[14..16].try_into().unwrap()));
    let table = u32::from_le_bytes(volume[36..40].try_into().unwrap()) as usize;
    let data = reserved + 2 * table;
    let (found, _) = inspect::fat::survey(&mut Cursor::new(volume)).unwrap();
    let extents = found.extents(V1).unwrap();
    assert_eq!(extents.len(), 1, "its clusters are neighbours");
    let first = extents[0].0 as usize / SECTOR - data + 2;
    let count = extents[0].1 as usize / SECTOR;
    for number in [0, 1] {
        let at = (reserved + number * table) * SECTOR + 4 * (first + kept - 1);
        host.put(MIB + at as u64, &vec![0; 4 * (count + 1 - kept)]);
    }
}

#[test]
fn an_old_kernel_whose_clusters_are_freed_before_its_name_keeps_nothing_from_starting() {
    // `.osrel` lies in the fifth cluster.
    for (kept, passed) in [(1, true), (4, true), (5, false), (20, false)] {
        let mut host = host("powercut-freed").updated();
        host.rename("mini_2.0+1-0.efi", "mini_2.0.efi");
        host.flush();
        freed(&host, kept);
        host.flush();
        let report = host.checked(&[]);
        assert!(report.is_good(), "{report}");
        assert_eq!(report.passed(V1) > 0, passed, "{kept} {report}");
    }
    let mut host = host("powercut-freed-only");
    freed(&host, 5);
    host.flush();
    assert!(host.checked(&[]).reasons()[0].0.contains("ends in free space"));
}

#[test]
fn a_kernel_before_its_data_is_a_trial_that_fails_or_a_violation() {
    for (name, violated) in [("mini_2.0+1-0.efi", false), ("mini_2.0.efi", true)] {
        let mut host = host("powercut-early");
        host.table();
        host.install(name);
        host.flush();
        host.slot();
        host.flush();
        let report = host.checked(&[]);
        assert_eq!(!report.is_good(), violated, "{report}");
        let (_, after_a_trial) = report.boots(V1);
        assert_eq!(after_a_trial > 0, !violated, "{report}");
        if violated {
            let (why, count, first) = report.reasons()[0];
            assert!(why.contains("`EFI/Linux/mini_2.0.efi` is tried for ever"), "{why}");
            assert!(count > 5 && first.contains("partition 1"), "{first}");
        }
    }
}

#[test]
fn a_missing_flush_is_found_by_reordering_and_a_small_log_shows_it() {
    let mut host = host("powercut-unflushed");
    host.table();
    host.flush();
    host.slot();
    // No flush here: the disk may keep the kernel's name and lose the data.
    host.install("mini_2.0.efi");
    host.flush();
    let report = host.checked(&[]);
    let reasons = report.reasons();
    assert!(reasons.iter().any(|(_, _, first)| first.contains("some writes")), "{report}");
    let excerpts = report.excerpts();
    let (excerpt, entries) = excerpts.last().unwrap();
    assert!((1..40).contains(entries) && *entries < host.entries as usize / 2, "{report}");
    let again = check(&host.base, excerpt, BTreeSet::new(), 1).unwrap();
    assert!(!again.is_good(), "{again}");
}

#[test]
fn one_copy_of_the_table_is_enough_and_none_is_a_violation() {
    let mut host = host("powercut-table");
    host.put(SECTOR as u64, &[0; SECTOR]);
    host.flush();
    let report = host.checked(&[]);
    assert!(report.is_good() && report.boots(V1).0 > 0, "{report}");
    host.put(48 * MIB - SECTOR as u64, &[0; SECTOR]);
    host.flush();
    let report = host.checked(&[]);
    assert!(report.reasons()[0].0.contains("no copy of the partition table"), "{report}");
}

#[test]
fn two_copies_of_the_table_without_a_flush_between_are_a_violation() {
    let mut host = host("powercut-table-at-once");
    host.rename_slot();
    host.flush();
    let report = host.checked(&[]);
    assert!(report.reasons()[0].0.contains("no copy of the partition table"), "{report}");
    assert_eq!(report.of_kind(Kind::Flush), 1);
}

#[test]
fn a_volume_a_loader_and_the_only_kernel_that_are_gone_are_violations() {
    for (case, name, reason) in [
        ("volume", "", "the ESP cannot be read"),
        ("loader", "EFI/BOOT/BOOTX64.EFI", "the loader does not start"),
        ("kernel", V1, "no kernel is good"),
    ] {
        let mut host = host(&format!("powercut-gone-{case}"));
        match name {
            "" => host.put(MIB, &[0; SECTOR]),
            name => said(esp("mdel", &host.disk).arg(format!("::/{name}"))),
        }
        host.flush();
        let report = host.checked(&[]);
        assert!(report.reasons().iter().any(|(why, ..)| why.contains(reason)), "{report}");
    }
}

#[test]
fn a_kernel_that_the_firmware_refuses_needs_fewer_tries_than_passes() {
    for (name, violated) in [("mini_2.0+1-0.efi", false), ("mini_2.0+2-0.efi", true)] {
        let mut host = host("powercut-refused");
        host.slot();
        host.table();
        host.kernel = host.folder.join("unsigned.efi");
        fs::write(&host.kernel, second(&host.hash)).unwrap();
        host.install(name);
        host.flush();
        let report = host.checked(&[]);
        assert_eq!(!report.is_good(), violated, "{report}");
    }
    let host = host("powercut-stranger").updated();
    let report = host.checked(&["00"]);
    assert!(report.reasons()[0].0.contains("the loader does not start"), "{report}");
}
