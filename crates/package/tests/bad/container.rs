//! The container and its packing: X7, X12, X13 of the catalogue of faults.

use judge::forge::{self, Tar, ar, control, field, put};
use package::Family;

use super::{read, tar};

const BINARY: (&str, &[u8]) = ("debian-binary", b"2.0\n");

fn refusal(attack: &str, archive: &[u8]) -> String {
    match read(archive) {
        Ok(found) => panic!("{attack}: {} entries are taken", found.len()),
        Err(error) => error,
    }
}

#[test]
fn members_in_another_order_number_or_form_are_refused() {
    let payload = tar().file("./a", "1").end();
    let control = control().end();
    let (c, d): ((&str, &[u8]), _) = (("control.tar", &control), ("data.tar", &payload[..]));
    let place = "in a place where it must not be";
    for (attack, members, says) in [
        ("control first", vec![c, BINARY, d], place),
        ("payload before control", vec![BINARY, d, c], place),
        ("two control parts", vec![BINARY, c, c, d], place),
        ("two payloads", vec![BINARY, c, d, d], place),
        ("two payloads, packed apart", vec![BINARY, c, d, ("data.tar.xz", b"")], place),
        ("control after payload", vec![BINARY, c, d, c], place),
        ("a stranger before", vec![BINARY, ("extra", b"x"), c, d], place),
        ("no payload", vec![BINARY, c], "read an archive member's header"),
        ("no control", vec![BINARY, d], place),
        ("format 3", vec![("debian-binary", b"3.0\n"), c, d], "is not 2"),
        ("unknown packing", vec![BINARY, c, ("data.tar.bz2", b"")], "packing `.bz2`"),
        ("GNU name table", vec![BINARY, ("//", b"x/\n"), c, d], "no name of an archive member"),
        ("BSD long name", vec![BINARY, ("#1/20", b"x"), c, d], "no name of an archive member"),
        ("a climbing name", vec![BINARY, ("../x", b"x"), c, d], "no name of an archive member"),
    ] {
        let error = refusal(attack, &ar(&members));
        assert!(error.contains(says), "{attack}: {error}");
    }
    for good in [vec![BINARY, ("_extra", b"x"), c, d], vec![BINARY, c, d, ("_gpgorigin", b"x")]] {
        assert_eq!(read(&ar(&good)).unwrap().len(), 1);
    }
}

#[test]
fn a_member_that_lies_about_its_size_is_refused() {
    let whole = forge::package(control(), tar().file("./a", "1"));
    let size = 8 + 48..8 + 58;
    for (attack, text) in [
        ("beyond 32 bits", "4294967300"),
        ("beyond the file", "9999999999"),
        ("signed", "-4        "),
        ("octal", "0x4       "),
        ("empty", "          "),
        ("blank inside", "4 4       "),
        ("one less", "3         "),
        ("one more", "5         "),
    ] {
        let mut bad = whole.clone();
        bad[size.clone()].copy_from_slice(text.as_bytes());
        refusal(attack, &bad);
        assert!(package::control(Family::Deb, &bad[..]).is_err(), "{attack}");
    }
    let mut magic = whole.clone();
    magic[8 + 58] = b'x';
    assert!(refusal("magic", &magic).contains("does not end as ar(5) says"));
    let odd = ar(&[BINARY, ("_odd", b"x"), ("control.tar", &control().end())]);
    assert!(package::control(Family::Deb, &odd[..]).is_ok());
    let cut: Vec<u8> = [&odd[..8 + 60 + 4 + 60 + 1], &odd[8 + 60 + 4 + 60 + 2..]].concat();
    assert!(package::control(Family::Deb, &cut[..]).is_err(), "no padding");
}

#[test]
fn a_cut_archive_is_refused_at_every_length_and_so_are_bytes_behind_it() {
    let whole = forge::package(control(), tar().file("./a", "content"));
    assert!(read(&whole).is_ok());
    for cut in 0..whole.len() {
        assert!(read(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
    }
    for tail in [&b"x"[..], b"\n", &[0; 60], &[b' '; 61]] {
        refusal("tail", &[&whole, tail].concat());
    }
    let mut hidden = tar().file("./a", "").end();
    hidden.extend(tar().file("./b", "").end());
    let archive = ar(&[BINARY, ("control.tar", &control().end()), ("data.tar", &hidden)]);
    assert!(refusal("hidden", &archive).contains("goes on behind its end"));
}

/// Packs with the system's own programs.
fn pack(program: &str, arguments: &[&str], plain: &[u8]) -> Vec<u8> {
    let scratch = judge::scratch(&format!("pack-{program}"));
    let file = scratch.join("plain");
    std::fs::write(&file, plain).unwrap();
    let ran = judge::run(judge::tool(program).args(arguments).arg("-k").arg("-f").arg(&file));
    assert!(ran.ok, "{}", ran.text);
    let ending = match program {
        "gzip" => "gz",
        program => program,
    };
    std::fs::read(file.with_extension(ending)).unwrap()
}

#[test]
fn a_packed_part_with_bytes_behind_its_stream_is_refused() {
    let payload = tar().file("./a", "1").end();
    let control = control().end();
    for (name, program) in [("data.tar.gz", "gzip"), ("data.tar.xz", "xz")] {
        let packed = pack(program, &[], &payload);
        let archive = |data: &[u8]| ar(&[BINARY, ("control.tar", &control), (name, data)]);
        assert!(read(&archive(&packed)).is_ok(), "{name}");
        for tail in [&b"x"[..], &[0; 4], &packed] {
            let error = refusal(name, &archive(&[&packed[..], tail].concat()));
            assert!(error.contains("bytes follow its end"), "{name}: {error}");
        }
        for flip in [packed.len() / 2, packed.len() - 6] {
            let mut bad = packed.clone();
            bad[flip] ^= 0x20;
            refusal(name, &archive(&bad));
        }
    }
}

/// Zeros that count themselves: what a bomb unpacks to is never held.
fn bomb(packing: &str, packed: &[u8]) -> (String, u64) {
    let name = format!("data.tar.{packing}");
    let archive = ar(&[BINARY, ("control.tar", &control().end()), (&name, packed)]);
    let mut taken = 0;
    let result = package::open(Family::Deb, &archive[..], &mut |_, content| {
        let mut piece = [0; 8192];
        loop {
            match content.read(&mut piece)? {
                0 => return Ok(()),
                read => taken += read as u64,
            }
        }
    });
    (format!("{:#}", result.unwrap_err()), taken)
}

#[test]
fn a_bomb_stops_at_the_ratio_and_its_content_is_never_held() {
    let header = |size: u64| {
        let octal = format!("{size:011o}");
        tar().with(b'0', b"./zeros", b"", |header| put(header, field::SIZE, octal.as_bytes()))
    };
    // Thirty times 64 MiB of zeros in frames of their own: some 200 KiB packed.
    let frame = store::compress(&vec![0; 64 << 20], 3).unwrap();
    let head = store::compress(&header(30 * (64 << 20)).open_end(), 3).unwrap();
    let frames: Vec<u8> = head.into_iter().chain(frame.repeat(30)).collect();
    let limit = (64 << 20) + 1000 * frames.len() as u64;
    let (error, taken) = bomb("zst", &frames);
    assert!(error.contains(&format!("more than the {limit} bytes")), "{error}");
    assert!(taken <= limit, "{taken}");
}

#[test]
fn a_packing_that_wants_more_memory_than_any_package_needs_is_refused() {
    // RFC 8878, 3.1.1.1: magic, descriptor, window 2^31 and 2^41; then an empty raw block.
    for window in [0xa8, 0xf8] {
        let (error, taken) = bomb("zst", &[0x28, 0xb5, 0x2f, 0xfd, 0, window, 1, 0, 0]);
        assert!(error.contains("data.tar.zst"), "{error}");
        assert_eq!(taken, 0);
    }
    // The .xz file format, 3.1 and 5.3.1: one LZMA2 filter with the dictionary size 40, 4 GiB.
    let mut head = vec![2, 0, 0x21, 1, 40, 0, 0, 0];
    head.extend(crc32(&head).to_le_bytes());
    let flags = [0, 0];
    let stream = [&b"\xfd7zXZ\0"[..], &flags, &crc32(&flags).to_le_bytes(), &head, &[0; 64]];
    let (error, taken) = bomb("xz", &stream.concat());
    assert!(error.contains("data.tar.xz"), "{error}");
    assert_eq!(taken, 0);
}

/// The checksum of `.xz` headers (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}

#[test]
fn many_empty_frames_are_read_once_and_mean_nothing() {
    let empty = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 1, 0, 0].repeat(50_000);
    let payload = store::compress(&tar().file("./a", "1").end(), 3).unwrap();
    let data = [&empty[..], &payload].concat();
    let archive = ar(&[BINARY, ("control.tar", &control().end()), ("data.tar.zst", &data)]);
    assert_eq!(read(&archive).unwrap().len(), 1);
}

#[test]
fn control_data_that_lies_is_refused_by_field() {
    let read = |files: Tar| {
        let archive = forge::package(files, tar().file("./etc/a", "1"));
        package::control(Family::Deb, &archive[..])
    };
    let text = |text: &str| tar().file("./control", text);
    for (attack, files, says) in [
        ("no control file", tar().file("./x", ""), "has no file `control`"),
        ("control is a link", tar().symlink("./control", "/etc/passwd"), "has no file `control`"),
        ("no name", text("Version: 1\nArchitecture: all\n"), "field `Package`"),
        ("no version", text("Package: a\nArchitecture: all\n"), "field `Version`"),
        ("version of no order", text("Package: a\nVersion: a b\nArchitecture: all\n"), "version"),
        ("name that climbs", text("Package: ../a\nVersion: 1\nArchitecture: all\n"), "../a"),
        ("said twice", text("Package: a\nPackage: b\n"), "is there twice"),
        ("relative", control().file("./conffiles", "etc/a\n"), "is not an absolute path"),
        ("climbs", control().file("./conffiles", "/../etc/shadow\n"), "not a path inside"),
        ("not UTF-8", control().with(b'0', b"./conffiles", b"/\xff\n", |_| {}), "is not UTF-8"),
        ("climbing file", control().file("../../x", ""), "not a path inside a package"),
    ] {
        let error = format!("{:#}", read(files).expect_err(attack));
        assert!(error.contains(says), "{attack}: {error}");
    }
    let good = control()
        .file("./conffiles", "/etc/a\nremove-on-upgrade /etc/b\n")
        // The archive's own digest is signed: sums inside it say nothing more, and are not read.
        .file("./md5sums", "00000000000000000000000000000000  etc/a\n");
    assert_eq!(read(good).unwrap().config, ["etc/a"]);
}
