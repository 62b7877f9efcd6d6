//! Whole files as people meet them: a disk of the usual tools, its text known to the letter.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use inspect::{Form, look};
use judge::{run, tool};

use crate::{MIB, program, volume};

const GOLDEN: &str = include_str!("../golden/usual-tools.txt");

/// A `/usr` as mkfs.erofs makes it, 4 MiB at most.
fn usr(directory: &Path, options: &[&str]) -> Vec<u8> {
    let from = directory.join("usr");
    let _ = fs::remove_dir_all(&from);
    fs::create_dir_all(from.join("lib/hardtack")).unwrap();
    let release = "ID=debian\nPRETTY_NAME=\"A Debian\"\nIMAGE_ID=mini\nIMAGE_VERSION=1.0\n";
    fs::write(from.join("lib/os-release"), release).unwrap();
    let packages = r#"{"format":1,"packages":[
        {"name":"base","version":"1:2~x","architecture":"all","source":"base","source-version":"1:2","licence":null}]}"#;
    fs::write(from.join("lib/hardtack/packages.json"), packages).unwrap();
    fs::write(from.join("text"), "the same line again\n".repeat(20_000)).unwrap();
    let image = directory.join("usr.erofs");
    let ran = run(tool("mkfs.erofs")
        .args(["-T", "1000000000", "-U", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "-L", "usr"])
        .args(["--all-root"])
        .args(options)
        .arg(&image)
        .arg(&from));
    assert!(ran.ok, "{}", ran.text);
    fs::read(image).unwrap()
}

/// A kernel signed by sbsign with a fresh key.
pub(crate) fn signed(directory: &Path, kernel: &[u8]) -> Vec<u8> {
    program::keys(directory);
    let (plain, signed) = (directory.join("plain.efi"), directory.join("signed.efi"));
    fs::write(&plain, kernel).unwrap();
    let ran = run(tool("sbsign")
        .arg("--key")
        .arg(directory.join("key"))
        .arg("--cert")
        .arg(directory.join("certificate"))
        .arg("--output")
        .arg(&signed)
        .arg(&plain));
    assert!(ran.ok, "{}", ran.text);
    fs::read(signed).unwrap()
}

/// A disk as somebody makes it by hand, and in its second slot a compressed file system.
fn usual(directory: &Path) -> PathBuf {
    let data = usr(directory, &["-Enoinline_data"]);
    let (tree, hash) = volume::protected(directory, &data);
    let kernel = signed(directory, &program::kernel(&crate::command_line(&hash)));
    let path = crate::disk(directory, &data, &tree, &hash, &kernel);
    let mut command = tool("sgdisk");
    command.args(["--disk-guid=01234567-89ab-cdef-0123-456789abcdef"]);
    for (number, first, last, kind, label, uuid) in [
        (3, 46, 46, crate::USR, "squeezed", "11111111-2222-3333-4444-000000000003"),
        (4, 47, 47, "8300", "spare", "11111111-2222-3333-4444-000000000004"),
    ] {
        command.arg(format!("--new={number}:{}:{}", first * 2048, (last + 1) * 2048 - 1 - 33));
        command.arg(format!("--typecode={number}:{kind}"));
        command.arg(format!("--partition-guid={number}:{uuid}"));
        command.arg(format!("--change-name={number}:{label}"));
    }
    let ran = run(command.arg(&path));
    assert!(ran.ok, "{}", ran.text);
    let file = File::options().write(true).open(&path).unwrap();
    let small = usr(directory, &["-zlz4hc", "-Enoinline_data"]);
    file.write_all_at(&small, 46 * MIB).unwrap();
    path
}

#[test]
fn a_disk_of_the_usual_tools_is_shown_as_it_is() {
    let directory = judge::scratch("inspect-look");
    let path = usual(&directory);
    let found = look(&mut File::open(&path).unwrap()).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    let text = found.to_string();
    assert!(text == GOLDEN, "it is now\n{text}");

    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["format"], 1);
    let disk = &json["disk"];
    assert_eq!(disk["table"]["partitions"][1]["length-bytes"], 4 * MIB);
    assert_eq!(disk["holds"]["2"]["packages"][0]["source-version"], "1:2");
    assert_eq!(disk["ukis"][0]["uki"]["signatures"][0]["holds"], true);
    assert_eq!(disk["slots"][0]["named-by-uuids"], true);
}

#[test]
fn damage_is_named_and_everything_else_still_shown() {
    let directory = judge::scratch("inspect-damage");
    let path = usual(&directory);
    let whole = fs::read(&path).unwrap();
    let kernel = whole.windows(11).position(|bytes| bytes == b"6.12.0-test").unwrap();
    let last = whole.len() - 512;
    for (name, at, said, shown) in [
        ("first table", 512 + 60, "does not match its checksum", "from the backup table"),
        ("first table's name", 512, "no partition table", "from the backup table"),
        ("backup table", last + 60, "read backup table", "named by"),
        ("kernel", kernel, "it is over the digest", "BAD"),
        ("data", 41 * MIB as usize + 9000, "hash tree differs", "partition 2: EROFS"),
        ("superblock", 41 * MIB as usize + 1024 + 40, "checksum", "unified kernel image"),
        ("ESP", MIB as usize + 32 * 512 + 8, "the two tables differ", "partition 2: EROFS"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let found = look(&mut Cursor::new(bytes)).unwrap();
        let text = found.to_string();
        let problems = found.problems.join("\n");
        assert!(problems.contains(said), "{name}: {problems}");
        let shown = if shown == "named by" { "partition 5: dm-verity" } else { shown };
        assert!(text.contains(shown), "{name}: {text}");
        assert!(text.contains("partition 5: dm-verity hash tree"), "{name}: {text}");
    }
}

#[test]
fn a_file_system_a_kernel_and_an_archive_are_known_without_a_disk() {
    let directory = judge::scratch("inspect-alone");
    let shown = |bytes: &[u8]| look(&mut Cursor::new(bytes)).unwrap();
    let erofs = shown(&usr(&directory, &["-Enoinline_data"]));
    assert!(erofs.to_string().contains("EROFS"), "{erofs}");
    let squeezed = shown(&usr(&directory, &["-zlz4hc", "-Enoinline_data"])).to_string();
    assert!(squeezed.contains("1 files, compressed or in chunks: not read"), "{squeezed}");
    let kernel = shown(&program::kernel("quiet"));
    assert!(matches!(kernel.form, Form::Kernel(_)));
    assert!(kernel.to_string().contains("signed by") || kernel.to_string().contains("no"));
    let fat = fs::read(volume::volume(&directory, MIB, &["-F", "12"], &[("a", b"b")])).unwrap();
    assert!(shown(&fat).to_string().contains("FAT12"));
    let program = shown(&program::image(&[(".text", &[0xc3; 64])]));
    assert!(matches!(program.form, Form::Program(_)));

    let mut archive = b"07070100000001000081a40000000000000000000000010000000000000004\
        00000000000000000000000000000000000000020000000\x30a\0"
        .to_vec();
    archive.resize(112, 0);
    archive.extend(b"abcd");
    archive.extend(format!("070701{}0000000b00000000TRAILER!!!\0", "00000000".repeat(11)).bytes());
    match shown(&archive).form {
        Form::Archive(found) => assert_eq!((found.names, found.content), (1, 4)),
        other => panic!("{other:?}"),
    }
    let error = look(&mut Cursor::new(vec![7; 4096])).unwrap_err();
    assert!(error.to_string().contains("known here"), "{error:#}");
    assert!(look(&mut Cursor::new(Vec::new())).is_err());
}

#[test]
fn changed_bytes_of_a_signature_never_panic_and_never_hold() {
    let directory = judge::scratch("inspect-signature");
    let kernel = signed(&directory, &program::kernel("quiet"));
    let whole = inspect::pe::read(&kernel).unwrap();
    let (at, size) = (whole.certificates[0].offset as usize, whole.certificates[0].size as usize);
    assert_eq!(whole.signatures(&kernel).unwrap()[0].holds, Some(true));
    assert_eq!(whole.signatures(&kernel).unwrap()[0].signer, "CN=test");
    let mut refused = 0;
    crate::hostile::flip(&kernel[at..at + size], 0..size, |bytes| {
        // A byte that nobody signs (an algorithm's parameters, say) may change.
        let _ = inspect::signature::authenticode(bytes, &whole.digest);
    });
    // Every byte of the signature itself, which is the last that the structure holds.
    for byte in at + size - 200..at + size - 100 {
        let mut bytes = kernel.clone();
        bytes[byte] ^= 1;
        let found = inspect::pe::read(&bytes).unwrap().signatures(&bytes).unwrap();
        refused += usize::from(found[0].holds == Some(false));
    }
    assert_eq!(refused, 100);
}
