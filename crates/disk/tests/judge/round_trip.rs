//! Disks read back by a reader that shares no code with the writer, and the golden map.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::fixture::{Place, files, lay_out, place, plan, region, small, write};
use disk::{FORMATS, LAY_OUT, Plan, Sizes};
use store::{Blob, Digest, encode};

/// The error of laying out a plan.
fn refused(place: &Place, plan: &Plan) -> String {
    format!("{:#}", place.store.realize(&LAY_OUT, plan).unwrap_err())
}

#[test]
fn every_format_holds_the_table_and_the_files_for_both_sector_sizes() {
    for (name, sizes) in
        [("512", small()), ("4096", Sizes { esp: 300 << 20, sector: 4096, ..small() })]
    {
        let place = place(&format!("disk-round-trip-{name}"));
        let disk = lay_out(&place, &plan(&place.store, sizes));
        for format in FORMATS {
            let path = write(&place, &disk, format.name);
            let found = inspect::summary(&path).unwrap();
            assert_eq!(found.vhd.is_some(), format.name == "vhd");
            assert_eq!((found.table.sector, found.table.size), (disk.sector, disk.size));
            assert_eq!(found.table.disk, disk.uuid);
            let told: Vec<_> = disk
                .regions
                .iter()
                .filter_map(|region| {
                    let partition = region.partition.as_ref()?;
                    Some(inspect::gpt::FoundPartition {
                        number: partition.number,
                        label: partition.label.clone(),
                        kind: partition.kind.clone(),
                        uuid: partition.uuid.clone(),
                        attributes: partition.attributes,
                        offset: region.offset,
                        length: region.length,
                    })
                })
                .collect();
            assert_eq!(found.table.partitions, told);
            let wrong: Vec<_> =
                found.faults.iter().filter(|fault| !fault.contains("no DOS header")).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
            assert!(found.notes.is_empty(), "{:?}", found.notes);
            assert_eq!(found.esp.len(), files().len());
            for (path, content) in files() {
                let file = &found.esp[path];
                assert_eq!(file.sha256, Digest::of(&content).to_string(), "{path}");
                assert_eq!(file.attributes & 1, 0, "{path} is read-only");
                assert_eq!(file.modified, "2026-11-25T22:23:24", "{path}");
            }
        }
        fs::remove_dir_all(&place.directory).unwrap();
    }
}

#[test]
fn the_free_bytes_of_the_esp_are_those_that_the_volume_has() {
    let place = place("disk-free");
    let disk = lay_out(&place, &plan(&place.store, small()));
    let raw = write(&place, &disk, "raw");
    let esp = disk.regions.iter().find(|region| region.name == "esp").unwrap();
    let volume = inspect::fat::read(&mut Cursor::new(region(&disk, &raw, "esp"))).unwrap();
    let free = u64::from(volume.free) * u64::from(volume.cluster);
    assert_eq!(esp.partition.as_ref().unwrap().free, free);
    assert_eq!(volume.label, "ESP");
    assert_eq!(u64::from(volume.hidden) * 512, esp.offset);
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_holes_stay_holes() {
    let (one, two) = (place("disk-same-1"), place("disk-same-2"));
    let paths = [&one, &two].map(|place| {
        let disk = lay_out(place, &plan(&place.store, Sizes::default()));
        write(place, &disk, "raw")
    });
    let sums = paths.each_ref().map(|path| same(path));
    assert_eq!(sums[0], sums[1]);
    for path in &paths {
        let metadata = File::open(path).unwrap().metadata().unwrap();
        assert_eq!(metadata.len(), 4644 << 20);
        assert!(metadata.blocks() * 512 < 16 << 20, "{} blocks", metadata.blocks());
        fs::remove_file(path).unwrap();
    }
}

/// The digest of the disk's used head: ESP and slot A.
fn same(path: &Path) -> Digest {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path).unwrap().take(600 << 20).read_to_end(&mut bytes).unwrap();
    Digest::of(&bytes)
}

#[test]
fn what_does_not_fit_names_image_bytes_slot_and_hint() {
    let place = place("disk-too-large");
    let mut plan = plan(&place.store, small());
    plan.usr = place.store.put(&crate::fixture::noise((4 << 20) + 1)).unwrap();
    let error = refused(&place, &plan);
    for said in ["`usr`", "4194305", "4194304", "`layout.usr` by 1 MiB"] {
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn files_that_overfill_the_esp_are_refused_before_they_are_written() {
    let place = place("disk-esp-full");
    let mut plan = plan(&place.store, small());
    for i in 0..30 {
        let kernel = plan.esp["EFI/Linux/mini_202611.25.0+3.efi"];
        plan.esp.insert(format!("EFI/Linux/{i}.efi"), kernel);
    }
    let error = refused(&place, &plan);
    assert!(error.contains("raise `layout.esp` by"), "{error}");
}

#[test]
fn a_label_over_36_units_is_refused() {
    let place = place("disk-label");
    let mut plan = plan(&place.store, small());
    plan.id = "a".repeat(17);
    lay_out(&place, &plan);
    plan.id = "a".repeat(18);
    let error = refused(&place, &plan);
    assert!(error.contains("37 UTF-16 units") && error.contains("by 1"), "{error}");
}

#[test]
fn an_esp_that_would_be_fat16_is_refused() {
    let place = place("disk-fat16");
    let sizes = Sizes { esp: 256 << 20, sector: 4096, ..small() };
    let error = refused(&place, &plan(&place.store, sizes));
    assert!(error.contains("at least 257 MiB"), "{error}");
}

#[test]
fn an_unknown_layout_is_refused_with_the_known_ones() {
    let place = place("disk-layout");
    let mut plan = plan(&place.store, small());
    plan.layout = "dps".into();
    assert!(refused(&place, &plan).contains("dps-ab"));
}

#[test]
fn the_map_and_the_table_are_the_golden_ones() {
    let place = place("disk-golden");
    let disk = lay_out(&place, &plan(&place.store, Sizes::default()));
    let raw = write(&place, &disk, "raw");
    let mut file = File::open(&raw).unwrap();
    let table = inspect::gpt::read(&mut file).unwrap();
    let mut text = format!("What people see:\n\n{disk}\nWhat the disk says, in bytes:\n");
    for partition in &table.partitions {
        text += &format!(
            "\n{} {}\n  type   {}\n  uuid   {}\n  bits   {:#018x}\n  start  {}\n  length {}\n",
            partition.number,
            partition.label,
            partition.kind,
            partition.uuid,
            partition.attributes,
            partition.offset,
            partition.length
        );
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dps-ab.txt");
    assert_eq!(text, fs::read_to_string(&golden).unwrap());
    fs::remove_file(raw).unwrap();
}

#[test]
fn a_new_result_needs_a_new_revision() {
    let place = place("disk-revision");
    let plan = plan(&place.store, small());
    let plan_bytes = encode(&plan).unwrap();
    assert_eq!(encode(&store::decode::<Plan>(&plan_bytes).unwrap()).unwrap(), plan_bytes);
    let disk = Blob::of(&encode(&lay_out(&place, &plan)).unwrap());
    assert_eq!(
        (LAY_OUT.revision, disk.digest.to_string().as_str()),
        (2, "865ba08ab09e2066292fc88d1fc69644455bc8a3e884dc7b702427e98d8d37e8")
    );
}
