//! What firmware reads: signature lists, signed variable updates, variable stores.

use std::fs;

use judge::{run, tool};
use sign::{Role, Signer, enrolment, ovmf_variables, signature_list};

use crate::Bench;

const OWNER: &str = "11111111-2222-3333-4455-66778899aabb";
const OWNER_BYTES: [u8; 16] = [
    0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
];

#[test]
fn a_signature_list_is_sbsiglists_byte_for_byte() {
    let bench = Bench::new("list");
    let list = bench.path.join("theirs");
    let mut sbsiglist = tool("sbsiglist");
    sbsiglist.args(["--owner", OWNER, "--type", "x509", "--output"]).arg(&list);
    let certificate = bench.keys.certificate(Role::Boot).unwrap();
    let ran = run(sbsiglist.arg(bench.file("der", &certificate)));
    assert!(ran.ok, "{}", ran.text);
    assert_eq!(signature_list(OWNER_BYTES, &certificate).unwrap(), fs::read(list).unwrap());
}

/// Name as in the variable, vendor GUID, signer.
const UPDATES: [(Role, &str, Role); 3] = [
    (Role::Platform, "61dfe48bca93d211aa0d00e098032b8c", Role::Platform),
    (Role::Exchange, "61dfe48bca93d211aa0d00e098032b8c", Role::Platform),
    (Role::Boot, "cbb219d73a3d9645a3bcdad00e67656f", Role::Exchange),
];

#[test]
fn openssl_takes_the_signatures_of_our_enrolment_and_sbvarsign_has_its_shape() {
    let bench = Bench::new("enrolment");
    let made = enrolment(&bench.keys).unwrap();
    for ((role, vendor, by), update) in
        UPDATES.iter().zip([&made.platform, &made.exchange, &made.boot])
    {
        let list =
            signature_list(bench.keys.owner().unwrap(), &bench.keys.certificate(*role).unwrap())
                .unwrap();
        let (head, rest) = update.split_at(40);
        let (signature, payload) = rest.split_at(rest.len() - list.len());
        assert_eq!(payload, list);
        assert_eq!(head[..16], [0xe4, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(head[16..20], (24 + signature.len() as u32).to_le_bytes());
        let theirs = sbvarsign(&bench, role.name(), by.name(), &list);
        assert_eq!(head[20..], theirs[20..40]);
        // Both are bare: version 1 and SHA-256 follow the outer SEQUENCE at once.
        assert_eq!(signature[4..24], theirs[44..64]);

        let mut signed: Vec<u8> = role.name().encode_utf16().flat_map(u16::to_le_bytes).collect();
        signed.extend((0..16).map(|i| u8::from_str_radix(&vendor[2 * i..][..2], 16).unwrap()));
        signed.extend([0x27, 0, 0, 0]);
        signed.extend(&head[..16]);
        signed.extend(&list);
        assert!(verifies(&bench, *by, signature, &signed));
        signed[0] ^= 1;
        assert!(!verifies(&bench, *by, signature, &signed), "another variable is refused");
    }
}

fn sbvarsign(bench: &Bench, name: &str, by: &str, list: &[u8]) -> Vec<u8> {
    let list = bench.file("list", list);
    let out = bench.path.join("theirs.auth");
    let mut sbvarsign = tool("sbvarsign");
    sbvarsign.arg("--key").arg(bench.key(&format!("{by}.key")));
    sbvarsign.arg("--cert").arg(bench.key(&format!("{by}.crt")));
    let ran = run(sbvarsign.arg("--output").arg(&out).arg(name).arg(list));
    assert!(ran.ok, "{}", ran.text);
    fs::read(out).unwrap()
}

/// Whether openssl takes bare `SignedData` (a `ContentInfo` is put around it) over `content`.
fn verifies(bench: &Bench, by: Role, signature: &[u8], content: &[u8]) -> bool {
    let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    let size = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let mut wrapped = vec![0x30, 0x82];
    wrapped.extend(size(oid.len() + 4 + signature.len()));
    wrapped.extend(oid);
    wrapped.extend([0xa0, 0x82]);
    wrapped.extend(size(signature.len()));
    wrapped.extend(signature);
    let signature = bench.file("wrapped", &wrapped);
    let content = bench.file("content", content);
    let certificate = bench.key(&format!("{}.crt", by.name()));
    bench.verify(&signature, &content, &certificate).ok
}

/// An empty variable store of 4 KiB in a volume of 8.
fn template() -> Vec<u8> {
    let mut image = vec![0xff; 0x2000];
    image[..0x64].fill(0);
    let mut at = |offset: usize, field: &[u8]| {
        image[offset..offset + field.len()].copy_from_slice(field);
    };
    at(0x10, &[0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c]);
    at(0x18, &[0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]);
    at(0x28, b"_FVH");
    at(0x30, &[0x48]);
    at(0x48, &[0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43]);
    at(0x50, &[0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92]);
    at(0x58, &[0, 0x10, 0, 0, 0x5a, 0xfe]);
    image
}

#[test]
fn a_variable_store_enrols_all_three_and_switches_secure_boot_on() {
    let bench = Bench::new("variables");
    let der = |role| bench.keys.certificate(role).unwrap();
    let [platform, exchange, boot] = [Role::Platform, Role::Exchange, Role::Boot].map(der);
    let make =
        |template: &[u8]| ovmf_variables(template, &platform, &exchange, &[&boot], OWNER_BYTES);
    let image = make(&template()).unwrap();
    assert_eq!(image.len(), template().len());
    let list = signature_list(OWNER_BYTES, &boot).unwrap();
    let db = image.windows(list.len()).position(|window| window == list).unwrap();
    // Header, vendor and name come right before: 60 bytes, of them 16 the vendor, and `db\0`.
    assert_eq!(image[db - 6..db], *b"d\0b\0\0\0");
    assert_eq!(image[db - 66..db - 63], [0xaa, 0x55, 0x3f]);
    assert_eq!(image[db - 62..db - 58], [0x27, 0, 0, 0]);
    let name: Vec<u8> = "SecureBootEnable\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let on = image.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    assert_eq!(image[on], 1);
    assert_eq!(make(&image).unwrap(), image, "what it wrote it reads and replaces");
}

#[test]
fn templates_that_are_none_are_refused() {
    let bench = Bench::new("template");
    let der = bench.keys.certificate(Role::Boot).unwrap();
    let mut long = template();
    long[0x58..0x5c].copy_from_slice(&[0xff; 4]);
    let mut small = template();
    small[0x58..0x5c].copy_from_slice(&[0, 2, 0, 0]);
    let mut unsigned = template();
    unsigned[0x48] = 0x16;
    let mut wild = template();
    wild[0x64..0x67].copy_from_slice(&[0xaa, 0x55, 0x3f]);
    for (what, image) in [
        ("a size beyond the file", long),
        ("no room", small),
        ("variables without authentication", unsigned),
        ("a variable longer than the store", wild),
        ("nothing", vec![]),
        ("a disk", vec![0; 0x2000]),
    ] {
        assert!(ovmf_variables(&image, &der, &der, &[&der], OWNER_BYTES).is_err(), "{what}");
    }
}
