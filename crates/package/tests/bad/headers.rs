//! Headers that lie: X4, X6, X8, X14, X15 of the catalogue of faults.

use std::io::Read;

use judge::forge::{Tar, field, put};
use package::{Family, Kind};
use store::Owner;

use super::{package, read, refuse, tar};

/// A file `./x` of four bytes whose header has `bytes` in `field`.
fn with(field: std::ops::Range<usize>, bytes: &[u8]) -> Tar {
    tar().with(b'0', b"./x", b"1234", |header| {
        header[field.clone()].fill(0);
        put(header, field, bytes);
    })
}

#[test]
fn a_size_that_readers_could_take_in_two_ways_is_refused() {
    // Ours, or the tar reader's where it looks first.
    let number = "number";
    let wide = |high: u8| [&[0x80, 0, 0, high][..], &[0; 7], &[4]].concat();
    refuse(vec![
        ("pax says more", tar().pax(b'x', &[("size", b"8")]).file("./x", "1234"), "8 by what"),
        ("pax says less", tar().pax(b'x', &[("size", b"0")]).file("./x", "1234"), "0 by what"),
        ("pax says nonsense", tar().pax(b'x', &[("size", b"-1")]).file("./x", "1"), "no number"),
        ("twice", tar().pax(b'x', &[("size", b"1"), ("size", b"1")]).file("./x", "1"), "twice"),
        ("for all", tar().pax(b'g', &[("size", b"0")]).file("./x", "1234"), "for all entries"),
        ("signed", with(field::SIZE, b"-0000000004"), number),
        ("plus", with(field::SIZE, b"+0000000004"), number),
        ("decimal", with(field::SIZE, b"00000000009"), number),
        ("negative in base 256", with(field::SIZE, &[0xff; 12]), "size overflow"),
        ("beyond 64 bits", with(field::SIZE, &wide(1)), number),
        ("huge", with(field::SIZE, b"77777777777"), "more than the 2147483648 allowed"),
        ("of a directory", tar().with(b'5', b"./d", b"1", |_| {}), "no file and has 1 bytes"),
        ("of a link", tar().with(b'2', b"./l", b"1", |h| put(h, 157..257, b"a")), "no file and"),
        ("signed mode", with(field::MODE, b"-000644"), number),
        ("signed owner", with(field::USER, b"-000001"), number),
    ]);
    let found = read(&package(with(field::SIZE, &wide(0)))).unwrap();
    assert_eq!(found["x"].0.kind, Kind::File(4));
    let same = tar().pax(b'x', &[("size", b"4"), ("mtime", b"1.5")]).file("./x", "1234");
    assert_eq!(read(&package(same)).unwrap()["x"].1, b"1234");
}

#[test]
fn a_header_that_extends_nothing_or_too_much_is_refused() {
    let huge = tar().with(b'L', b"x", b"", |header| put(header, field::SIZE, b"00400000000"));
    let broken = |records: &[u8]| tar().with(b'x', b"x", records, |_| {}).file("./x", "");
    refuse(vec![
        ("long name of nothing", tar().file("./a", "").long(b'L', b"x"), "one more entry"),
        ("long target of nothing", tar().long(b'K', b"x"), "one more entry"),
        ("records of nothing", tar().pax(b'x', &[("path", b"x")]), "one more entry"),
        ("two long names", tar().long(b'L', b"x").long(b'L', b"y").file("z", ""), "said twice"),
        ("64 MiB long name", huge, "67108864 bytes, more than 1048576"),
        ("long name and record", tar().long(b'L', b"a").pax(b'x', &[("path", b"b")]), "twice"),
        ("record that climbs", tar().pax(b'x', &[("path", b"../x")]).file("x", ""), "not a path"),
        ("record of no length", broken(b" path=x\n"), "malformed"),
        ("record beyond the end", broken(b"99 path=x\n"), "malformed"),
        ("record that ends in itself", broken(b"2 path=x\n"), "malformed"),
        ("record of no end", broken(b"9 path=xy"), "malformed"),
        ("record of a huge length", broken(b"99999999999999999999 path=x\n"), "malformed"),
        ("record without `=`", broken(b"7 path\n"), "has no `=`"),
        ("unknown record", tar().pax(b'x', &[("SCHILY.acl.access", b"")]), "would be lost"),
    ]);
    let renamed = tar().pax(b'x', &[("path", b"./long"), ("uname", b"_a"), ("uid", b"900")]);
    let found = read(&package(renamed.file("./short", "1").file("./next", ""))).unwrap();
    assert_eq!(found["long"].0.owner, Owner::Name("_a".into()));
    assert_eq!(found["next"].0.owner, Owner::ROOT);
}

#[test]
fn extended_attributes_are_on_the_list_or_refused_never_dropped() {
    let one = |name: &str, value: &[u8]| {
        tar().pax(b'x', &[(&format!("SCHILY.xattr.{name}"), value)]).file("./x", "1")
    };
    let capability = [1, 0, 0, 2, 0, 0x20, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let says = "`security.capability` (well-formed) and `user.*` alone";
    refuse(vec![
        ("hides layers", one("trusted.overlay.opaque", b"y"), says),
        ("redirects layers", one("user.", b"/"), says),
        ("SELinux", one("security.selinux", b"system_u:object_r:shadow_t:s0\0"), says),
        ("IMA", one("security.ima", b"\x03"), says),
        ("ACL", one("system.posix_acl_access", b"\x02\0\0\0"), says),
        ("capability of another size", one("security.capability", &capability[..12]), says),
        ("capability of revision 3", one("security.capability", &[3; 24]), says),
        ("name with a new line", one("user.a\nb", b"1"), says),
        ("64 KiB and one", one("user.a", &vec![0; (64 << 10) + 1]), "more than 65536"),
    ]);
    let found = read(&package(one("security.capability", &capability))).unwrap();
    assert_eq!(found["x"].0.xattrs["security.capability"], capability, "a new line is a byte");
    assert_eq!(read(&package(one("user.a", b"1\n2"))).unwrap()["x"].0.xattrs["user.a"], b"1\n2");
}

#[test]
fn set_id_and_sticky_bits_reach_the_lints_that_judge_them() {
    for mode in ["0004755", "0002755", "0001777", "0000000", "0000500"] {
        let found = read(&package(with(field::MODE, mode.as_bytes()))).unwrap();
        assert_eq!(found["x"].0.mode, u16::from_str_radix(mode, 8).unwrap());
    }
}

#[test]
fn a_sparse_entry_is_refused_whatever_its_map_says() {
    let old = |offset: &[u8], length: &[u8]| {
        tar().with(b'S', b"./x", b"", |header| {
            header[257..265].copy_from_slice(b"ustar  \0");
            header[field::SPARSE][..offset.len()].copy_from_slice(offset);
            header[field::SPARSE][12..12 + length.len()].copy_from_slice(length);
            header[483..494].copy_from_slice(b"77777777777");
        })
    };
    let record = |key: &str, value: &str| {
        tar().pax(b'x', &[("GNU.sparse.major", b"1"), (key, value.as_bytes())]).file("./x", "")
    };
    let segments = "0,1,".repeat(100_000);
    for (attack, payload) in [
        ("8 EiB hole", old(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff], b"0")),
        ("map that overlaps", old(b"00000000000", b"77777777777")),
        ("real size", record("GNU.sparse.realsize", "9223372036854775807")),
        ("map of 10^5 segments", record("GNU.sparse.map", &segments)),
    ] {
        let error = read(&package(payload)).expect_err(attack);
        let says = ["sparse", "a device, pipe or another thing", "would be lost"];
        assert!(says.iter().any(|says| error.contains(says)), "{attack}: {error}");
    }
}

#[test]
fn times_of_every_kind_change_nothing_and_owners_are_exact() {
    let plain = read(&package(tar().file("./x", "1234"))).unwrap();
    let times: [&[u8]; 5] =
        [b"-0000000001", b"20000000000", b"37777777777", &[0xff; 12], b"99999999999"];
    for time in times {
        assert_eq!(read(&package(with(field::TIME, time))).unwrap(), plain);
    }
    let far = tar().pax(b'x', &[("mtime", b"1000000000000000000")]).file("./x", "1234");
    assert_eq!(read(&package(far)).unwrap(), plain);
    let owner = |field, bytes: &[u8]| read(&package(with(field, bytes)));
    let high = [0x80, 0, 0, 0, 0x80, 0, 0, 0];
    assert_eq!(owner(field::USER, &high).unwrap()["x"].0.owner, Owner::Id(1 << 31));
    assert_eq!(owner(field::GROUP, &high).unwrap()["x"].0.group, Owner::Id(1 << 31));
    for none in [[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x80, 0, 0, 1, 0, 0, 0, 0]] {
        let error = owner(field::USER, &none).unwrap_err();
        assert!(error.contains("owner of `x`") && error.contains("below 2^32-1"), "{error}");
    }
    let named = tar().with(b'0', b"./x", b"", |header| {
        put(header, field::USER, b"0001604");
        put(header, field::USER_NAME, b"../root");
    });
    assert!(read(&package(named)).unwrap_err().contains("is no name of a user"));
}

/// Counts what is asked of it.
struct Counted<'a>(&'a [u8], u64);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += read as u64;
        Ok(read)
    }
}

#[test]
fn many_entries_and_links_are_each_read_once() {
    let mut payload = tar().file("./f", "1");
    for i in 0..20_000 {
        payload = payload.hard_link(&format!("./link{i}"), "./f");
    }
    let archive = package(payload);
    let mut counted = Counted(&archive, 0);
    let mut visits = 0;
    package::open(Family::Deb, &mut counted, &mut |_, _| {
        visits += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((visits, counted.1), (20_001, archive.len() as u64));
}
