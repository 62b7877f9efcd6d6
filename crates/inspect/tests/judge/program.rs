//! A small PE32+ image, and what sbsign makes of it.

use std::fs;
use std::path::Path;

use inspect::{pe, uki};
use judge::{run, tool};

const HEADERS: usize = 1024;
const FILE_ALIGNMENT: usize = 512;
const PAGE: usize = 4096;

/// A PE32+ image for EFI with these sections, each on a page of its own.
pub(crate) fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; HEADERS];
    file[..2].copy_from_slice(b"MZ");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(60, &128u32.to_le_bytes());
    put(128, b"PE\0\0");
    put(132, &0x8664u16.to_le_bytes());
    put(134, &(sections.len() as u16).to_le_bytes());
    put(148, &240u16.to_le_bytes()); // bytes of the optional header
    put(150, &0x0206u16.to_le_bytes());
    put(152, &0x20bu16.to_le_bytes());
    put(168, &(PAGE as u32).to_le_bytes()); // entry point
    put(152 + 32, &(PAGE as u32).to_le_bytes());
    put(152 + 36, &(FILE_ALIGNMENT as u32).to_le_bytes());
    put(152 + 60, &(HEADERS as u32).to_le_bytes());
    put(152 + 68, &10u16.to_le_bytes()); // EFI application
    put(152 + 108, &16u32.to_le_bytes()); // data directories
    let (mut address, mut offset) = (PAGE, HEADERS);
    for (index, (name, content)) in sections.iter().enumerate() {
        let at = 152 + 240 + 40 * index;
        let size = content.len().next_multiple_of(FILE_ALIGNMENT);
        put(at, name.as_bytes());
        for (field, value) in [(8, content.len()), (12, address), (16, size), (20, offset)] {
            put(at + field, &(value as u32).to_le_bytes());
        }
        put(at + 36, &0x4000_0040u32.to_le_bytes());
        address += size.next_multiple_of(PAGE);
        offset += size;
    }
    put(152 + 56, &(address as u32).to_le_bytes());
    for (_, content) in sections {
        file.extend_from_slice(content);
        file.resize(file.len().next_multiple_of(FILE_ALIGNMENT), 0);
    }
    file
}

/// A unified kernel image of the image `mini 1.0` with this command line.
pub(crate) fn kernel(command_line: &str) -> Vec<u8> {
    image(&[
        (".text", &[0xc3; 700]),
        (".osrel", b"ID=debian\nIMAGE_ID=mini\nIMAGE_VERSION=\"1.0\"\n"),
        (".cmdline", command_line.as_bytes()),
        (".uname", b"6.12.0-test"),
        (".sbat", b"sbat,1\n"),
        // Sizes of the field report: one byte and half a page beyond whole pages.
        (".linux", &[1; 3 * 4096 + 1]),
        (".initrd", &[2; 5 * 4096 + 512]),
    ])
}

/// A key and its certificate, of `CN=test`.
pub(crate) fn keys(directory: &Path) {
    let ran = run(tool("openssl")
        .args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"])
        .args(["-days", "2", "-keyout"])
        .arg(directory.join("key"))
        .arg("-out")
        .arg(directory.join("certificate")));
    assert!(ran.ok, "{}", ran.text);
}

#[test]
fn the_authenticode_digest_is_the_one_that_sbsign_signs() {
    let directory = judge::scratch("inspect-sbsign");
    keys(&directory);
    for odd in [0, 3] {
        let mut file = kernel("quiet");
        file.extend_from_slice(&[7; 3][..odd]);
        let plain = directory.join("plain.efi");
        let signed = directory.join("signed.efi");
        fs::write(&plain, &file).unwrap();
        let mut sign = tool("sbsign");
        sign.arg("--key").arg(directory.join("key"));
        sign.arg("--cert").arg(directory.join("certificate"));
        let ran = run(sign.arg("--output").arg(&signed).arg(&plain));
        assert!(ran.ok, "{}", ran.text);
        let signed = fs::read(signed).unwrap();
        let (before, after) = (pe::read(&file).unwrap(), pe::read(&signed).unwrap());
        assert_eq!(before.digest, after.digest);
        assert_eq!((before.certificates.len(), after.certificates.len()), (0, 1));
        let found = &after.certificates[0];
        let pkcs7 = &signed[found.offset as usize..(found.offset + found.size) as usize];
        let digest: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(&after.digest[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let holds = |bytes: &[u8]| bytes.windows(32).any(|window| window == digest);
        assert!(holds(pkcs7), "the signature is over another digest");

        let mut flipped = signed.clone();
        flipped[HEADERS + 5] ^= 1;
        assert_ne!(pe::read(&flipped).unwrap().digest, after.digest);
    }
}

#[test]
fn a_kernel_image_is_understood() {
    let hash = "ab".repeat(32);
    let found = uki::read(&kernel(&format!("root=x usrhash={hash} quiet"))).unwrap();
    assert_eq!(found.root_hash(), Some([0xab; 32]));
    assert_eq!(found.os_release["IMAGE_VERSION"], "1.0");
    assert_eq!(found.kernel.as_deref(), Some("6.12.0-test"));
    assert_eq!(found.sections[".linux"].size, 3 * 4096 + 1);
    assert_eq!(uki::read(&kernel("usrhash=ab")).unwrap().root_hash(), None);
    assert!(uki::read(&image(&[(".text", &[0; 16])])).is_err());
}

#[test]
fn sections_that_share_a_page_are_refused() {
    let file = kernel("quiet");
    pe::read(&file).unwrap().check_placement().unwrap();
    let linux = 152 + 240 + 40 * 5 + 12;
    let mut moved = file.clone();
    moved[linux + 1] ^= 2; // 512 bytes on
    let error = pe::read(&moved).unwrap().check_placement().unwrap_err().to_string();
    assert!(error.contains(".linux"), "{error}");
    let mut short = file;
    short[152 + 57] ^= 0x10;
    assert!(pe::read(&short).unwrap().check_placement().is_err());
}
