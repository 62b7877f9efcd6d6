//! Archives that the family's own tool made, read by us and by it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use package::{Entry, Family, Kind, Moment};

/// A tree with every kind of entry, packed with `packing`.
fn build(name: &str, packing: &str) -> PathBuf {
    let scratch = judge::scratch(&format!("package-{name}-{packing}"));
    let root = scratch.join("root");
    let long = "a-directory-with-a-long-name/".repeat(6);
    fs::create_dir_all(root.join("usr/share").join(&long)).unwrap();
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    fs::write(root.join("usr/share").join(&long).join("Fő tanúsítvány.crt"), "x").unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/tool"), vec![7; 300_000]).unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/tool2")).unwrap();
    symlink("tool", root.join("usr/bin/link")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/foo.conf"), "key = 1\n").unwrap();
    let control = "Package: foo\nVersion: 1:2.0~rc1-3\nArchitecture: amd64\nMaintainer: A <a@example.org>\nReplaces: bar (<< 2)\nDescription: test\n";
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    fs::write(root.join("DEBIAN/conffiles"), "/etc/foo.conf\n").unwrap();
    fs::write(root.join("DEBIAN/triggers"), "activate-noawait ldconfig\n").unwrap();
    let script = root.join("DEBIAN/postinst");
    fs::write(&script, "#!/bin/sh -e\necho hello\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let archive = scratch.join("foo.deb");
    let mut tool = judge::tool("dpkg-deb");
    let ran =
        judge::run(tool.args(["--root-owner-group", "-Z", packing, "-b"]).arg(&root).arg(&archive));
    assert!(ran.ok, "{}", ran.text);
    archive
}

fn read(archive: &Path) -> anyhow::Result<BTreeMap<String, (Entry, Vec<u8>)>> {
    let mut entries = BTreeMap::new();
    package::open(Family::Deb, fs::File::open(archive)?, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        entries.insert(entry.path.clone(), (entry.clone(), bytes));
        Ok(())
    })?;
    Ok(entries)
}

/// One line per entry as `tar -tv` in `dpkg-deb -c` writes it, without date.
fn listing(entries: &BTreeMap<String, (Entry, Vec<u8>)>) -> Vec<String> {
    let line = |(path, (entry, _)): (&String, &(Entry, Vec<u8>))| {
        let (kind, size, tail) = match &entry.kind {
            Kind::Directory => ('d', 0, "/".to_owned()),
            Kind::File(size) => ('-', *size, String::new()),
            Kind::Symlink(target) => ('l', 0, format!(" -> {target}")),
            Kind::Hardlink(target) => ('h', 0, format!(" link to ./{target}")),
        };
        let bit = |bit: u16, on: char| if entry.mode & bit == 0 { '-' } else { on };
        let mut mode: String = [
            (0o400, 'r'),
            (0o200, 'w'),
            (0o100, 'x'),
            (0o40, 'r'),
            (0o20, 'w'),
            (0o10, 'x'),
            (4, 'r'),
            (2, 'w'),
            (1, 'x'),
        ]
        .into_iter()
        .map(|(mask, on)| bit(mask, on))
        .collect();
        if entry.mode & 0o4000 != 0 {
            mode.replace_range(2..3, "s");
        }
        format!("{kind}{mode} root/root {size} ./{path}{tail}")
    };
    entries.iter().map(line).collect()
}

#[test]
fn entries_and_contents_are_what_the_familys_tool_says_for_every_packing() {
    for packing in ["xz", "gzip", "zstd", "none"] {
        let archive = build("listing", packing);
        let entries = read(&archive).unwrap();
        let ran = judge::run(judge::tool("dpkg-deb").arg("-c").arg(&archive).env("TZ", "UTC"));
        assert!(ran.ok, "{}", ran.text);
        let mut theirs: Vec<(String, String)> = Vec::new();
        for line in ran.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let path = words[5..].join(" ");
            if path != "./" {
                // GNU tar escapes names that are not ASCII in the C locale.
                let line = format!("{} {} {} {}", words[0], words[1], words[2], path);
                let ascii: String = path.chars().filter(|c| *c != '\\').collect();
                theirs.push((ascii, line));
            }
        }
        let ours = listing(&entries);
        assert_eq!(ours.len(), theirs.len(), "{packing}");
        for line in ours.iter().filter(|line| line.is_ascii()) {
            assert!(theirs.iter().any(|(_, theirs)| theirs == line), "{packing}: {line}");
        }
        let unpacked = judge::scratch(&format!("package-unpacked-{packing}"));
        let ran = judge::run(judge::tool("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked));
        assert!(ran.ok, "{}", ran.text);
        for (path, (entry, bytes)) in &entries {
            match entry.kind {
                Kind::File(size) => {
                    assert_eq!(size, bytes.len() as u64);
                    assert!(fs::read(unpacked.join(path)).unwrap() == *bytes, "{packing}: {path}");
                }
                _ => assert!(unpacked.join(path).symlink_metadata().is_ok(), "{packing}: {path}"),
            }
        }
    }
}

#[test]
fn control_data_is_what_the_familys_tool_says() {
    for packing in ["xz", "gzip", "zstd", "none"] {
        let archive = build("control", packing);
        let control = package::control(Family::Deb, fs::File::open(&archive).unwrap()).unwrap();
        for (field, ours) in [
            ("Package", &control.id.name),
            ("Version", &control.id.version.0),
            ("Architecture", &control.id.architecture),
        ] {
            let ran = judge::run(judge::tool("dpkg-deb").arg("-f").arg(&archive).arg(field));
            assert!(ran.ok && ran.text.trim() == ours, "{field}: {} {ours}", ran.text);
        }
        assert_eq!(control.config, ["etc/foo.conf"]);
        assert_eq!(control.relations.replaces[0].name, "bar");
        let moments: Vec<Moment> = control.scripts.iter().map(|script| script.moment).collect();
        assert_eq!(moments, [Moment::AfterUnpack, Moment::Triggered]);
        assert_eq!(control.scripts[0].interpreter, ["/bin/sh", "-e"]);
    }
}

#[test]
fn a_damaged_payload_is_refused_by_us_and_by_the_familys_tool() {
    for packing in ["xz", "gzip", "zstd"] {
        let archive = build("damaged", packing);
        let mut bytes = fs::read(&archive).unwrap();
        let at = bytes.len() - 100;
        bytes[at] ^= 0x55;
        let damaged = archive.with_extension("damaged");
        fs::write(&damaged, &bytes).unwrap();
        let out = judge::scratch(&format!("package-damaged-out-{packing}"));
        let ran = judge::run(judge::tool("dpkg-deb").arg("-x").arg(&damaged).arg(&out));
        assert!(!ran.ok, "{packing}: the judge takes it: {}", ran.text);
        assert!(read(&damaged).is_err(), "{packing}");
    }
}
