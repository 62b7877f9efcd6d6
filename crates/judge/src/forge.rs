//! Archives of any bytes: what an honest packer would refuse to write.

/// Offsets in a header of tar (POSIX.1-2017, pax, "ustar Interchange Format").
pub mod field {
    use std::ops::Range;

    /// The permission bits, octal.
    pub const MODE: Range<usize> = 100..108;
    /// The user's number, octal.
    pub const USER: Range<usize> = 108..116;
    /// The group's number, octal.
    pub const GROUP: Range<usize> = 116..124;
    /// The bytes of content, octal.
    pub const SIZE: Range<usize> = 124..136;
    /// The time of the last change, octal seconds.
    pub const TIME: Range<usize> = 136..148;
    /// The user's name.
    pub const USER_NAME: Range<usize> = 265..297;
    /// GNU: an old sparse map begins here.
    pub const SPARSE: Range<usize> = 386..482;
}

/// A tar archive, header by header.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Adds an entry of kind `kind` (the type flag) whose header `change` may spoil; the checksum
    /// is made afterwards.
    #[must_use]
    pub fn with(
        mut self,
        kind: u8,
        path: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = [0; 512];
        let path = &path[..path.len().min(100)];
        header[..path.len()].copy_from_slice(path);
        put(&mut header, field::MODE, b"0000644");
        put(&mut header, field::USER, b"0000000");
        put(&mut header, field::GROUP, b"0000000");
        put(&mut header, field::SIZE, format!("{:011o}", content.len()).as_bytes());
        put(&mut header, field::TIME, b"00000000000");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut header);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148..156, format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Self {
        self.with(b'0', path.as_bytes(), content.as_bytes(), |_| {})
    }

    /// Adds a directory, 0755.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        self.with(b'5', path.as_bytes(), b"", |header| put(header, field::MODE, b"0000755"))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.with(b'2', path.as_bytes(), b"", |header| put(header, 157..257, target.as_bytes()))
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.with(b'1', path.as_bytes(), b"", |header| put(header, 157..257, target.as_bytes()))
    }

    /// Adds GNU's long path (`L`) or long link target (`K`) of the next entry.
    #[must_use]
    pub fn long(self, kind: u8, name: &[u8]) -> Self {
        let name = [name, b"\0"].concat();
        self.with(kind, b"././@LongLink", &name, |_| {})
    }

    /// Adds records of pax: for the next entry (`x`) or for all (`g`).
    #[must_use]
    pub fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let plain = key.len() + value.len() + 3;
            let digits = (1..).find(|digits| (plain + digits).to_string().len() == *digits);
            let length = plain + digits.unwrap_or_default();
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.with(kind, b"PaxHeaders/x", &content, |_| {})
    }

    /// The archive so far, without the zeros of its end.
    pub fn open_end(self) -> Vec<u8> {
        self.0
    }

    /// The archive with the zeros of its end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Puts `bytes` at the beginning of a field.
pub fn put(header: &mut [u8; 512], field: std::ops::Range<usize>, bytes: &[u8]) {
    header[field][..bytes.len()].copy_from_slice(bytes);
}

/// An ar(5) archive of members in the order given.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, body) in members {
        let size = body.len();
        out.extend(format!("{name:<16}{0:<12}{0:<6}{0:<6}{0:<8}{size:<10}`\n", 0).bytes());
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// A package of these control files and this payload, neither packed.
pub fn package(control: Tar, payload: Tar) -> Vec<u8> {
    let (control, payload) = (control.end(), payload.end());
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &payload)])
}

/// The control part of a package `foo 1-1 all`.
pub fn control() -> Tar {
    Tar::default().file(
        "./control",
        "Package: foo\nVersion: 1-1\nArchitecture: all\nMaintainer: A <a@example.org>\n\
         Description: test\n",
    )
}
