//! Disks before programs that we did not write.

mod fixture;
mod round_trip;

use std::fs;
use std::path::Path;

use disk::Sizes;
use fixture::{files, lay_out, place, plan, region, small, write};
use judge::{Ran, run, tool};

/// Its text, not its exit code; and not "No problems found" alone, which it also says of a disk
/// whose one table is broken, after a warning.
fn sgdisk(path: &Path) -> Ran {
    let mut ran = run(tool("sgdisk").arg("-v").arg(path));
    let complaints = ["Warning", "Caution", "ERROR", "Problem:"];
    ran.ok = ran.text.contains("No problems found")
        && !complaints.iter().any(|complaint| ran.text.contains(complaint));
    ran
}

fn fsck(path: &Path) -> Ran {
    run(tool("fsck.fat").args(["-n", "-v"]).arg(path))
}

#[test]
fn sgdisk_finds_no_problem_and_reads_every_partition() {
    let place = place("disk-sgdisk");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let raw = write(&place, &disk, "raw");
    let ran = sgdisk(&raw);
    assert!(ran.ok, "{}", ran.text);
    for partition in disk.regions.iter().filter_map(|region| region.partition.as_ref()) {
        let ran = run(tool("sgdisk").arg(format!("-i={}", partition.number)).arg(&raw));
        for said in [
            format!("GUID code: {}", partition.kind.to_uppercase()),
            format!("unique GUID: {}", partition.uuid.to_uppercase()),
            format!("Attribute flags: {:016X}", partition.attributes),
            format!("Partition name: '{}'", partition.label),
        ] {
            assert!(ran.text.contains(&said), "{said}: {}", ran.text);
        }
    }
}

#[test]
fn sgdisk_refuses_a_flipped_byte_in_either_table() {
    let place = place("disk-sgdisk-damaged");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let raw = write(&place, &disk, "raw");
    let whole = fs::read(&raw).unwrap();
    for at in [520, 1024 + 128 + 32, whole.len() - 500, whole.len() - 33 * 512 + 16] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&raw, &bytes).unwrap();
        let ran = sgdisk(&raw);
        assert!(!ran.ok, "byte {at}: {}", ran.text);
        assert!(inspect::read(&mut std::io::Cursor::new(bytes)).is_err(), "byte {at}");
    }
}

#[test]
fn fsck_is_content_with_the_esp_for_both_sector_sizes() {
    for (name, sizes) in [
        ("512", small()),
        ("512-page-clusters", Sizes { esp: 512 << 20, ..small() }),
        ("4096", Sizes { esp: 300 << 20, sector: 4096, ..small() }),
    ] {
        let place = place(&format!("disk-fsck-{name}"));
        let disk = lay_out(&place, &plan(&place.store, sizes));
        let raw = write(&place, &disk, "raw");
        let esp = place.directory.join("esp");
        fs::write(&esp, region(&disk, &raw, "esp")).unwrap();
        let ran = fsck(&esp);
        assert!(ran.ok && !ran.text.contains("differ"), "{name}: {}", ran.text);
        assert!(ran.text.contains("32 bit entries"), "{name}: {}", ran.text);
        fs::remove_dir_all(&place.directory).unwrap();
    }
}

#[test]
fn fsck_refuses_a_damaged_esp() {
    let place = place("disk-fsck-damaged");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let raw = write(&place, &disk, "raw");
    let mut bytes = region(&disk, &raw, "esp");
    // The second table begins behind eight reserved sectors and the first.
    let table = u32::from_le_bytes(bytes[36..40].try_into().unwrap()) as usize;
    bytes[(8 + table) * 512 + 4 * 20] ^= 1;
    let esp = place.directory.join("esp");
    fs::write(&esp, &bytes).unwrap();
    let ran = fsck(&esp);
    assert!(!ran.ok, "{}", ran.text);
    assert!(inspect::fat::read(&mut std::io::Cursor::new(bytes)).is_err());
}

#[test]
fn mtools_reads_back_every_file_and_the_label() {
    let place = place("disk-mtools");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let raw = write(&place, &disk, "raw");
    let esp = place.directory.join("esp");
    fs::write(&esp, region(&disk, &raw, "esp")).unwrap();
    let listed = run(tool("mdir").args(["-/", "-i"]).arg(&esp));
    assert!(listed.ok && listed.text.contains("is ESP"), "{}", listed.text);
    assert!(listed.text.contains("2026-11-25  22:23"), "{}", listed.text);
    for (path, content) in files() {
        if !path.is_ascii() {
            // mtools in the C locale cannot name it; `inspect` reads it below.
            continue;
        }
        let out = place.directory.join("out");
        let _ = fs::remove_file(&out);
        let ran = run(tool("mcopy").arg("-i").arg(&esp).arg(format!("::{path}")).arg(&out));
        assert!(ran.ok, "{path}: {}", ran.text);
        assert!(fs::read(&out).unwrap() == content, "{path}");
    }
}

#[test]
fn qemu_reads_the_vhd_as_the_same_disk() {
    let place = place("disk-qemu");
    for root in [10, 11, 1031] {
        let disk = lay_out(&place, &plan(&place.store, Sizes { root: root << 20, ..small() }));
        let (raw, vhd) = (write(&place, &disk, "raw"), write(&place, &disk, "vhd"));
        assert_eq!(fs::metadata(&vhd).unwrap().len(), disk.size + 512);
        let info = run(tool("qemu-img").args(["info", "-f", "vpc"]).arg(&vhd));
        assert!(info.text.contains(&format!("({} bytes)", disk.size)), "{}", info.text);
        let mut compare = tool("qemu-img");
        let compared = run(compare.args(["compare", "-f", "raw", "-F", "vpc"]).arg(&raw).arg(&vhd));
        assert!(compared.text.contains("Images are identical"), "{}", compared.text);
    }
}

#[test]
fn qemu_refuses_a_vhd_with_a_damaged_footer() {
    let place = place("disk-qemu-damaged");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let vhd = write(&place, &disk, "vhd");
    let whole = fs::read(&vhd).unwrap();
    for at in [whole.len() - 512, whole.len() - 512 + 60] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&vhd, &bytes).unwrap();
        let ran = run(tool("qemu-img").args(["info", "-f", "vpc"]).arg(&vhd));
        assert!(!ran.ok, "byte {at}: {}", ran.text);
    }
}

#[test]
fn repart_grows_root_to_the_end_of_a_larger_disk_and_touches_nothing_else() {
    let place = place("disk-repart");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let definitions = place.directory.join("repart.d");
    fs::create_dir(&definitions).unwrap();
    let text = disk::repart_definition(disk::layout("dps-ab").unwrap());
    fs::write(definitions.join("50-root.conf"), text).unwrap();
    let repart = |raw: &Path| {
        let mut command = tool("systemd-repart");
        command.arg(format!("--definitions={}", definitions.display()));
        run(command.args(["--dry-run=no", "--discard=no"]).arg(raw))
    };
    for more in [7 * 512, 5 << 30] {
        let raw = write(&place, &disk, "raw");
        let before = inspect::gpt::read(&mut fs::File::open(&raw).unwrap()).unwrap().partitions;
        let file = fs::File::options().write(true).open(&raw).unwrap();
        file.set_len(disk.size + more).unwrap();
        let ran = repart(&raw);
        assert!(ran.ok, "{}", ran.text);
        let checked = run(tool("sgdisk").arg("-v").arg(&raw));
        assert!(checked.text.contains("No problems found"), "{}", checked.text);
        let after = inspect::gpt::read(&mut fs::File::open(&raw).unwrap()).unwrap().partitions;
        let (root, rest) = after.split_last().unwrap();
        assert_eq!(rest, &before[..7]);
        assert_eq!((&root.uuid, root.offset), (&before[7].uuid, before[7].offset));
        // All but the backup table and less than a page before it.
        assert!(root.offset + root.length + 33 * 512 + 4096 > disk.size + more, "{root:?}");
        assert_eq!(root.attributes, before[7].attributes);
    }
    let raw = write(&place, &disk, "raw");
    let mut bytes = fs::read(&raw).unwrap();
    let end = bytes.len() - 512;
    bytes[512..1024].fill(0);
    bytes[end..].fill(0);
    fs::write(&raw, bytes).unwrap();
    assert!(!repart(&raw).ok);
}
