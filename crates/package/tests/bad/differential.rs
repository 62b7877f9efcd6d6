//! What we take is what GNU tar and the family's own tool take: the same entries, or we refuse.

use judge::forge::{Tar, field, put};
use package::{Entry, Kind};

use super::{package, read, tar};

/// Random numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn number(numbers: &mut Numbers) -> Vec<u8> {
    const ODD: [&[u8]; 9] = [
        b"0000004",
        b"4      ",
        b"     4 ",
        b"-000004",
        b"+000004",
        b"0\x004    ",
        b"\x80\0\0\0\0\0\0\x04",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"00008",
    ];
    ODD[numbers.below(ODD.len())].to_vec()
}

/// An archive of a few entries, each of which may have one thing wrong.
fn any(numbers: &mut Numbers) -> Tar {
    const PATHS: [&str; 10] =
        ["./a", "./b", "c", "./d/e", "d", "./d/", "/f", "../g", "./a/h", "i/."];
    let mut payload = tar();
    for _ in 0..=numbers.below(4) {
        let path = PATHS[numbers.below(PATHS.len())];
        let kind = b"0000512\x007xLS"[numbers.below(12)];
        let content: &[u8] = if kind == b'0' { b"1234" } else { b"" };
        let spoilt = [field::MODE, field::USER, field::SIZE][numbers.below(3)].clone();
        let bytes = number(numbers);
        payload = match (kind, numbers.below(6)) {
            (b'L', _) => payload.long(b'L', path.as_bytes()),
            (b'x', 0) => payload.pax(b'x', &[("path", path.as_bytes())]),
            (b'x', 1) => payload.pax(b'x', &[("size", b"4")]),
            (b'x', _) => payload.pax(b'x', &[("mtime", b"1"), ("uname", b"root")]),
            (kind, how) => payload.with(kind, path.as_bytes(), content, |header| {
                put(header, 157..257, if kind == b'1' { b"./a" } else { b"tgt" });
                if how == 0 {
                    header[spoilt.clone()].fill(0);
                    put(header, spoilt, &bytes);
                }
            }),
        };
    }
    payload
}

/// One line per entry: kind, mode, user and group, size, path, target.
fn ours(entries: &[Entry]) -> Vec<String> {
    let line = |entry: &Entry| {
        let (kind, size, tail) = match &entry.kind {
            Kind::Directory => ('d', 0, String::new()),
            Kind::File(size) => ('-', *size, String::new()),
            Kind::Symlink(target) => ('l', 0, format!(" -> {target}")),
            Kind::Hardlink(target) => ('h', 0, format!(" link to {target}")),
        };
        format!("{kind} {size} {}{tail}", entry.path)
    };
    entries.iter().map(line).collect()
}

/// The same lines of `tar -tv`.
fn theirs(listing: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = &words[0][..1];
        let rest = words[5..].join(" ").replace("link to ./", "link to ");
        let rest = rest.strip_prefix("./").unwrap_or(&rest).trim_end_matches('/');
        format!("{kind} {} {rest}", words[2])
    };
    listing.lines().map(line).collect()
}

#[test]
fn what_we_take_gnu_tar_and_the_familys_tool_list_alike() {
    let scratch = judge::scratch("differential");
    let mut numbers = Numbers(0x4841_5244_5441_434b);
    let mut taken = 0;
    for round in 0..400 {
        let payload = any(&mut numbers);
        let archive = package(payload.clone());
        let mut entries = Vec::new();
        let result = package::open(package::Family::Deb, &archive[..], &mut |entry, _| {
            entries.push(entry.clone());
            Ok(())
        });
        if result.is_err() {
            continue;
        }
        taken += 1;
        let file = scratch.join("payload.tar");
        std::fs::write(&file, payload.end()).unwrap();
        let tar = judge::run(judge::tool("tar").args(["--numeric-owner", "-tvf"]).arg(&file));
        assert!(tar.ok, "round {round}: tar refuses: {} {entries:?}", tar.text);
        assert_eq!(ours(&entries), theirs(&tar.text), "round {round}");
        let file = scratch.join("package");
        std::fs::write(&file, &archive).unwrap();
        let family = judge::run(judge::tool("dpkg-deb").arg("-c").arg(&file));
        assert!(family.ok, "round {round}: {}", family.text);
        assert_eq!(ours(&entries), theirs(&family.text), "round {round}");
    }
    assert!((40..360).contains(&taken), "{taken} of 400: the generator lost its point");
}

#[test]
fn the_judges_refuse_a_container_that_we_refuse() {
    let scratch = judge::scratch("differential-container");
    let whole = package(tar().file("./a", "1"));
    let verdict = |name: &str, bytes: &[u8]| {
        let file = scratch.join(name);
        std::fs::write(&file, bytes).unwrap();
        judge::run(judge::tool("dpkg-deb").arg("-c").arg(&file)).ok
    };
    assert!(verdict("whole", &whole) && read(&whole).is_ok());
    let mut order = whole.clone();
    order[8..24].copy_from_slice(b"data.tar        ");
    let mut size = whole.clone();
    size[8 + 48..8 + 58].copy_from_slice(b"-4        ");
    for (attack, bad) in [("cut", &whole[..200]), ("order", &order), ("size", &size)] {
        assert!(!verdict(attack, bad), "{attack}: the judge takes it");
        assert!(read(bad).is_err(), "{attack}");
    }
}
