//! A package archive, byte by byte, so that no tool's version reaches a golden digest.

/// `debian-binary`, `control.tar` and `data.tar`, none compressed (deb(5)).
pub(crate) fn deb(control: &[Member<'_>], data: &[Member<'_>]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar(control)),
        ("data.tar", tar(data)),
    ];
    for (name, bytes) in members {
        let size = bytes.len();
        archive.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100644).bytes(),
        );
        archive.extend(bytes);
        if size % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

/// Path, permission bits and what is there.
pub(crate) type Member<'a> = (&'a str, u32, Kind<'a>);

/// What is at a path.
pub(crate) enum Kind<'a> {
    File(&'a str),
    Hardlink(&'a str),
    Symlink(&'a str),
    Directory,
}

/// An archive in the `ustar` format (POSIX.1-2001, pax).
fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, mode, kind) in members {
        let (flag, link, content) = match kind {
            Kind::File(text) => (b'0', "", *text),
            Kind::Hardlink(target) => (b'1', *target, ""),
            Kind::Symlink(target) => (b'2', *target, ""),
            Kind::Directory => (b'5', "", ""),
        };
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar\x0000");
        put(265, "root");
        put(297, "root");
        header[156] = flag;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(content.bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
