//! Properties of linked images and grafts that no foreign program is needed for.

use crate::fixture::{Bench, HEADERS, PAGE, section, stub, u32_at};
use boot::{ADDON, AddonPlan, COMMAND_LINE_MAX, DIGEST, GRAFT, INITRD, LINK};
use store::{Digest, Entry, erased};

#[test]
fn the_kernel_lies_in_the_image_byte_for_byte() {
    let bench = Bench::new("exact");
    let linux: Vec<u8> = (0..70_001u32).map(|i| (i % 251) as u8).collect();
    let image = bench.link(&bench.plan(&stub(), &linux, b"initrd")).unwrap();
    let [offset, raw, _, size] = section(&image, ".linux").unwrap();
    assert_eq!(size, linux.len());
    assert_eq!(image[offset..offset + size], linux);
    assert!(image[offset + size..offset + raw].iter().all(|byte| *byte == 0));
}

#[test]
fn the_image_claims_whole_pages_and_no_time() {
    let bench = Bench::new("headers");
    let image = bench.link(&bench.plan(&stub(), &[1; 4097], &[2; 513])).unwrap();
    let [.., address, size] = section(&image, ".initrd").unwrap();
    let page = PAGE as usize;
    assert_eq!(u32_at(&image, 0x90), (address + size).next_multiple_of(page));
    assert_eq!(u32_at(&image, 0x48), 0);
    assert_eq!(image.len() % 8, 0);
}

#[test]
fn an_sbat_that_outgrows_its_place_moves_what_follows() {
    let bench = Bench::new("sbat");
    let mut plan = bench.plan(&stub(), b"linux", b"initrd");
    plan.sbat = (0..40).map(|i| format!("part{i},1,a,b,1,https://example.invalid/\n")).collect();
    let image = bench.link(&plan).unwrap();
    let [offset, raw, _, size] = section(&image, ".sbat").unwrap();
    assert!(size > 0x200 && raw >= size);
    let text = String::from_utf8(image[offset..offset + size].to_vec()).unwrap();
    assert!(text.starts_with("sbat,1,") && text.contains("\nstub,1,") && text.ends_with("/\n\0"));
    let [magic, ..] = section(&image, ".sdmagic").unwrap();
    assert_eq!(magic, offset + raw);
    assert_eq!(image[magic..magic + 4], *b"####");
    boot::authenticode_digest(&image).unwrap();

    plan.sbat = (0..120).map(|i| format!("part{i},1,a,b,1,https://example.invalid/\n")).collect();
    let error = bench.link(&plan).err().unwrap();
    assert!(error.contains("`.sbat` grows into `.sdmagic`"), "{error}");
}

#[test]
fn symbols_behind_the_last_section_of_a_stub_are_dropped() {
    let bench = Bench::new("symbols");
    let clean = bench.link(&bench.plan(&stub(), b"linux", b"initrd")).unwrap();
    let mut with_symbols = stub();
    let end = with_symbols.len() as u32;
    with_symbols[0x4c..0x50].copy_from_slice(&end.to_le_bytes());
    with_symbols[0x50..0x54].copy_from_slice(&3u32.to_le_bytes());
    with_symbols.extend_from_slice(&[0xee; 61]);
    let image = bench.link(&bench.plan(&with_symbols, b"linux", b"initrd")).unwrap();
    assert_eq!(image, clean);
}

#[test]
fn a_kernel_that_does_not_promise_it_takes_the_promise_of_the_stub_away() {
    let bench = Bench::new("nx");
    let promise = |linux: &[u8]| {
        let image = bench.link(&bench.plan(&stub(), linux, b"initrd")).unwrap();
        u32_at(&image, 0x9e) & 0x0100
    };
    let mut kernel = stub();
    assert_eq!(promise(&kernel), 0x0100);
    kernel[0x9f] = 0;
    assert_eq!(promise(&kernel), 0);
}

#[test]
fn a_command_line_that_linux_would_cut_off_is_refused_with_its_length() {
    let bench = Bench::new("cmdline");
    let mut plan = bench.plan(&stub(), b"linux", b"initrd");
    plan.cmdline = "x".repeat(COMMAND_LINE_MAX);
    bench.link(&plan).unwrap();
    plan.cmdline.push('x');
    assert!(bench.link(&plan).err().unwrap().contains("2048 bytes"));
    for bad in ["a\nb", "a\0b", "caf\u{e9}"] {
        plan.cmdline = bad.into();
        assert!(bench.link(&plan).err().unwrap().contains("printable ASCII"), "{bad:?}");
    }
}

#[test]
fn an_os_release_that_the_boot_menu_cannot_show_is_refused() {
    let bench = Bench::new("osrel");
    let mut plan = bench.plan(&stub(), b"linux", b"initrd");
    plan.osrel = plan.osrel.replace("VERSION_ID=\"13\"", "VERSION_ID=\"\"");
    assert!(bench.link(&plan).err().unwrap().contains("`VERSION_ID`"));
    plan.osrel = plan.osrel.replace("VERSION_ID=\"\"\n", "");
    assert!(bench.link(&plan).err().unwrap().contains("`VERSION_ID`"));
}

#[test]
fn a_kernel_of_another_release_is_refused() {
    let bench = Bench::new("release");
    let mut linux = vec![0; 0x400];
    linux[0x202..0x206].copy_from_slice(b"HdrS");
    linux[0x20e] = 0x80;
    linux[0x280..0x28e].copy_from_slice(b"6.12.1 (a@b) #");
    let mut plan = bench.plan(&stub(), &linux, b"initrd");
    assert!(bench.link(&plan).err().unwrap().contains("`6.12.1`, not `6.12.0`"));
    plan.uname = "6.12.1".into();
    bench.link(&plan).unwrap();
}

/// One damage to a stub: where, what, and what the refusal says.
type Damage = (usize, &'static [u8], &'static str);

#[test]
fn damaged_stubs_are_refused() {
    let bench = Bench::new("stubs");
    let damages: [Damage; 12] = [
        (0, b"ZM", "`MZ`"),
        (0x3c, &[0xf0, 0xff, 0xff, 0xff], "PE"),
        (0x40, b"NE", "PE signature"),
        (0x46, &[0xff, 0xff], "PE section"),
        (0x58, &[0x0b, 0x01], "PE32+"),
        (0x78, &[0x00, 0x00], "alignment of 0"),
        (0x7c, &[0x01, 0x02], "alignment of 513"),
        (0x94, &[0xf0, 0x01, 0, 0], "room for"),
        (0x94, &[0, 0, 0xff, 0], "headers"),
        (0xc4, &[4], "data directories"),
        (0xe8, &[0, 8, 0, 0, 8], "signed"),
        (0x15c, &[0, 4, 0, 0xff], "outside the file"),
    ];
    for (at, bytes, want) in damages {
        let mut damaged = stub();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        let error = bench.link(&bench.plan(&damaged, b"linux", b"initrd")).err().unwrap();
        assert!(error.contains(want), "{at:#x}: {error}");
    }
    for length in [0, 1, 0x3f, 0x47, 0x100, HEADERS, HEADERS + 1] {
        assert!(bench.link(&bench.plan(&stub()[..length], b"l", b"i")).is_err(), "{length}");
    }
}

#[test]
fn an_image_with_a_gap_between_sections_is_not_signed() {
    let mut gap = stub();
    let row = 0x148 + 40;
    gap[row + 20..row + 24].copy_from_slice(&0x700u32.to_le_bytes());
    let error = format!("{:#}", boot::authenticode_digest(&gap).err().unwrap());
    assert!(error.contains("`.sbat` begins at 1792 instead of 1536"), "{error}");
}

#[test]
fn an_image_is_signed_once_and_its_digest_stays() {
    let bench = Bench::new("once");
    let mut odd = stub();
    odd.extend_from_slice(&[1, 2, 3]);
    let digest = boot::authenticode_digest(&odd).unwrap();
    let signed = bench.graft(&odd, &[0x30; 21]).unwrap();
    assert_eq!(boot::authenticode_digest(&signed).unwrap(), digest);
    assert_eq!(signed.len() % 8, 0);
    assert!(bench.graft(&signed, &[0x30; 21]).err().unwrap().contains("signed already"));
    assert!(bench.graft(&odd, &[]).err().unwrap().contains("empty"));
    let mut longer = signed;
    longer.push(0);
    assert!(boot::authenticode_digest(&longer).is_err());
}

/// A change of these bytes needs a new revision of the stage.
#[test]
fn golden_digests_stand_beside_their_revisions() {
    let bench = Bench::new("golden");
    let file = Entry::file(bench.put(b"content"), 0o755, "p");
    let initrd = bench.pack(&bench.tree(&[("etc/file", file)])).unwrap();
    let uki = bench.link(&bench.plan(&stub(), b"linux", b"initrd")).unwrap();
    let plan = AddonPlan {
        stub: bench.put(&crate::fixture::stub_without_sbat()),
        cmdline: "a=b".into(),
        uname: "6.12.0".into(),
        sbat: String::new(),
    };
    let addon = bench.store.realize(&ADDON, &plan).unwrap();
    let signed = bench.graft(&uki, b"signature").unwrap();
    let found = [
        (INITRD.revision, Digest::of(&initrd)),
        (LINK.revision, Digest::of(&uki)),
        (ADDON.revision, addon.image.digest),
        (boot::DIGEST.revision, Digest(boot::authenticode_digest(&uki).unwrap())),
        (boot::GRAFT.revision, Digest::of(&signed)),
    ];
    let wanted = GOLDEN.map(|(revision, digest)| (revision, digest.parse().unwrap()));
    assert_eq!(found, wanted);
}

const GOLDEN: [(u32, &str); 5] = [
    (1, "ef36802e8736f5563ff7308a4af5a01a664e9e9d7d4995619bd8bb32a614641c"),
    (2, "257f5156ff98d1d01cfe1794f86015e0f8cd3d49057238881f4c75776a154cd0"),
    (1, "1b902e52686164006ffdf8b86f7364d6d0c6d759a74a081d66808a4cf2821c49"),
    (1, "1b22869806d7522a1b57e42519ea16f65ea8670b1d29998024fd998ea0674732"),
    (1, "a11d8d0fbc02374e716c65034b9cd92431e6ec3ec9b6847674d8de5ebb38d630"),
];

#[test]
fn every_stage_reads_back_what_it_wrote() {
    let bench = Bench::new("recode");
    let plan = bench.plan(&stub(), b"linux", b"initrd");
    let inputs = [
        store::encode(&bench.tree(&[])).unwrap(),
        store::encode(&plan).unwrap(),
        store::encode(&AddonPlan {
            stub: plan.stub,
            cmdline: "a".into(),
            uname: "b".into(),
            sbat: "c".into(),
        })
        .unwrap(),
        store::encode(&plan.stub).unwrap(),
        store::encode(&boot::Graft { pe: plan.stub, pkcs7: plan.linux }).unwrap(),
    ];
    let stages = [erased!(INITRD), erased!(LINK), erased!(ADDON), erased!(DIGEST), erased!(GRAFT)];
    assert_eq!(stages.len(), inputs.len());
    for (stage, input) in stages.iter().zip(inputs) {
        assert_eq!((stage.recode)(&input).unwrap(), input, "{}", stage.name);
    }
}
