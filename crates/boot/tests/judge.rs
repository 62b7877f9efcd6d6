//! Initrds, unified kernel images and grafted signatures before foreign programs.

mod fixture;
mod link;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use boot::{ADDON, AddonPlan, DIGEST};
use fixture::{Bench, OS_RELEASE, section, stub, u32_at};
use judge::{Ran, run, tool};
use store::{Entry, Node, Owner};

fn entries(bench: &Bench) -> Vec<(&'static str, Entry)> {
    let data = bench.put(b"five!");
    let linked = |mode| Entry { link: Some("usr/bin/a".into()), ..Entry::file(data, mode, "p") };
    let owned = Entry { owner: Owner::Id(7), group: Owner::Id(9), ..Entry::directory("p") };
    vec![
        ("init", Entry::symlink("usr/lib/systemd/systemd", "p")),
        ("usr/bin/a", linked(0o4755)),
        ("usr/bin/b", linked(0o4755)),
        ("usr/bin/c", Entry::file(bench.put(b"five?"), 0o644, "p")),
        ("usr/bin/empty", Entry::file(bench.put(b""), 0o600, "p")),
        ("var/seven", Entry { mode: 0o1770, ..owned }),
    ]
}

fn cpio(directory: &Path, arguments: &[&str], archive: &Path) -> Ran {
    let file = fs::File::open(archive).unwrap();
    run(tool("cpio")
        .args(arguments)
        .current_dir(directory)
        .env("TZ", "UTC")
        .stdin(Stdio::from(file)))
}

#[test]
fn cpio_lists_and_extracts_what_the_tree_holds() {
    let bench = Bench::new("cpio");
    let archive = bench.pack(&bench.tree(&entries(&bench))).unwrap();
    let path = bench.file("initrd", &archive);
    let listed = cpio(&bench.directory, &["-itvn", "--quiet"], &path);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = listed.text.lines().map(words).collect();
    let day = "Nov 13 2025";
    assert_eq!(
        lines,
        [
            format!("lrwxrwxrwx 1 0 0 23 {day} init -> usr/lib/systemd/systemd"),
            format!("drwxr-xr-x 2 0 0 0 {day} usr"),
            format!("drwxr-xr-x 2 0 0 0 {day} usr/bin"),
            format!("-rwsr-xr-x 2 0 0 0 {day} usr/bin/a"),
            format!("-rwsr-xr-x 2 0 0 5 {day} usr/bin/b"),
            format!("-rw-r--r-- 1 0 0 5 {day} usr/bin/c"),
            format!("-rw------- 1 0 0 0 {day} usr/bin/empty"),
            format!("drwxr-xr-x 2 0 0 0 {day} var"),
            format!("drwxrwx--T 2 7 9 0 {day} var/seven"),
        ]
    );

    let root = bench.directory.join("root");
    fs::create_dir(&root).unwrap();
    let ran = cpio(&root, &["-im", "--quiet", "--no-preserve-owner"], &path);
    assert!(ran.ok, "{}", ran.text);
    assert_eq!(fs::read(root.join("usr/bin/a")).unwrap(), b"five!");
    assert_eq!(fs::read(root.join("usr/bin/c")).unwrap(), b"five?");
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("usr/bin/a"), inode("usr/bin/b"));
    assert_ne!(inode("usr/bin/a"), inode("usr/bin/c"));
    let c = fs::metadata(root.join("usr/bin/c")).unwrap();
    assert_eq!((c.permissions().mode() & 0o7777, c.mtime()), (0o644, 1_763_000_000));

    let cut = bench.file("cut", &archive[..archive.len() / 2 - 40]);
    assert!(!cpio(&root, &["-it"], &cut).ok, "an archive that is cut off is refused");
    let mut damaged = archive;
    damaged[1] ^= 1;
    let damaged = cpio(&root, &["-it"], &bench.file("damaged", &damaged));
    assert!(damaged.text.contains("junk"), "{}", damaged.text);
}

#[test]
fn objdump_sees_every_section_on_a_page_and_in_the_order_of_ukify() {
    let bench = Bench::new("objdump");
    let sizes = [4096 + 1, 2 * 4096 + 512, 3 * 4096 - 1];
    for size in sizes {
        let plan = bench.plan(&stub(), &vec![1; size], &vec![2; size + 1]);
        let image = bench.file("uki.efi", &bench.link(&plan).unwrap());
        let ran = run(tool("objdump").arg("-h").arg(&image));
        assert!(ran.ok, "{}", ran.text);
        let rows: Vec<Vec<&str>> = ran
            .text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|columns| columns.len() == 7 && columns[1].starts_with('.'))
            .collect();
        let names: Vec<&str> = rows.iter().map(|columns| columns[1]).collect();
        let wanted = [".text", ".sbat", ".sdmagic", ".osrel", ".cmdline", ".uname", ".linux"];
        assert_eq!(names, [&wanted[..], &[".initrd"]].concat());
        for columns in &rows {
            assert!(columns[3].ends_with("000"), "{} is on no page", columns[1]);
        }
        assert_eq!(usize::from_str_radix(rows[6][2], 16).unwrap(), size);
    }
    let cut = bench.file("cut.efi", &stub()[..0x148]);
    assert!(!run(tool("objdump").arg("-h").arg(cut)).ok, "headers that are cut off are refused");
}

#[test]
fn ukify_makes_the_same_image_but_for_the_time_stamp_and_reads_ours() {
    let bench = Bench::new("ukify");
    let mut plan = bench.plan(&stub(), &[1; 5000], &[2; 70_001]);
    let inspect =
        |image: &[u8]| run(tool("ukify").arg("inspect").arg(bench.file("inspected.efi", image)));
    let mut ours = Vec::new();
    // A generation of our own stands beside the lines that a UKI has anyway.
    for own in ["", "mini,2,The maker,mini,1.2,https://example.invalid/\n"] {
        own.clone_into(&mut plan.sbat);
        ours = bench.link(&plan).unwrap();
        let theirs = bench.directory.join("theirs.efi");
        let mut ukify = tool("ukify");
        ukify.arg("build").args(["--efi-arch", "x64", "--cmdline", &plan.cmdline]);
        ukify.arg("--stub").arg(bench.file("stub", &stub()));
        ukify.arg("--linux").arg(bench.file("linux", &[1; 5000]));
        ukify.arg("--initrd").arg(bench.file("initrd", &[2; 70_001]));
        ukify.arg("--os-release").arg(OS_RELEASE).arg("--uname").arg(&plan.uname);
        if !own.is_empty() {
            // What it adds by itself where nobody says anything.
            const STANDARD: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n\
                uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/\n";
            ukify.arg("--sbat").arg(format!("{STANDARD}{own}"));
        }
        let ran = run(ukify.arg("--output").arg(&theirs));
        assert!(ran.ok, "{}", ran.text);
        let mut theirs = fs::read(theirs).unwrap();
        theirs[0x48..0x4c].fill(0);
        assert!(ours == theirs, "the bytes differ with {own:?}");
        let good = inspect(&ours);
        let says = [plan.cmdline.as_str(), "uki,1,UKI,", own.trim_end()];
        assert!(good.ok && says.iter().all(|text| good.text.contains(text)), "{}", good.text);
    }
    assert!(!inspect(&ours[1..]).ok, "an image without its first byte is refused");
}

#[test]
fn ukify_makes_the_same_addon_but_for_the_time_stamp() {
    let bench = Bench::new("addon");
    let plain = fixture::stub_without_sbat();
    let plan = AddonPlan {
        stub: bench.put(&plain),
        cmdline: "a=b c".into(),
        uname: String::new(),
        sbat: String::new(),
    };
    let made = bench.store.realize(&ADDON, &plan).unwrap();
    let theirs = bench.directory.join("theirs.efi");
    let mut ukify = tool("ukify");
    ukify.arg("build").args(["--efi-arch", "x64", "--cmdline", &plan.cmdline]);
    ukify.arg("--stub").arg(bench.file("stub", &plain));
    let ran = run(ukify.arg("--output").arg(&theirs));
    assert!(ran.ok, "{}", ran.text);
    let mut theirs = fs::read(theirs).unwrap();
    theirs[0x48..0x4c].fill(0);
    assert!(bench.store.read(&made.image).unwrap() == theirs, "the bytes differ");
}

/// A key and a certificate that `openssl` made.
fn keys(bench: &Bench) -> (PathBuf, PathBuf) {
    let (key, certificate) = (bench.directory.join("key"), bench.directory.join("certificate"));
    let mut openssl = tool("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]);
    let ran = run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
    assert!(ran.ok, "{}", ran.text);
    (key, certificate)
}

#[test]
fn a_grafted_signature_is_where_sbsign_puts_it_and_sbverify_takes_it() {
    let bench = Bench::new("graft");
    let (key, certificate) = keys(&bench);
    for size in [100, 4096, 70_001] {
        let plan = bench.plan(&stub(), &vec![1; size], &vec![2; size + 1]);
        let image = bench.link(&plan).unwrap();
        let (unsigned, signed) = (bench.file("u.efi", &image), bench.directory.join("s.efi"));
        let mut sbsign = tool("sbsign");
        sbsign.arg("--key").arg(&key).arg("--cert").arg(&certificate);
        let ran = run(sbsign.arg("--output").arg(&signed).arg(&unsigned));
        assert!(ran.ok, "{}", ran.text);
        let pkcs7 = bench.directory.join("pkcs7");
        let _ = fs::remove_file(&pkcs7);
        let ran = run(tool("sbattach").arg("--detach").arg(&pkcs7).arg(&signed));
        assert!(ran.ok, "{}", ran.text);
        let pkcs7 = fs::read(&pkcs7).unwrap();

        let digest = bench.store.realize(&DIGEST, &bench.put(&image)).unwrap();
        assert!(pkcs7.windows(32).any(|window| window == digest.0), "sbsign signed another digest");
        let grafted = bench.graft(&image, &pkcs7).unwrap();
        assert!(grafted == fs::read(&signed).unwrap(), "sbsign wrote other bytes");
        assert_eq!(boot::authenticode_digest(&grafted).unwrap(), digest.0);

        let verify = |image: &[u8]| {
            let image = bench.file("v.efi", image);
            run(tool("sbverify").arg("--cert").arg(&certificate).arg(image))
        };
        let good = verify(&grafted);
        assert!(good.ok && !good.text.contains("warning"), "{}", good.text);
        for name in [".linux", ".initrd", ".cmdline"] {
            let mut damaged = grafted.clone();
            damaged[section(&grafted, name).unwrap()[0]] ^= 1;
            assert!(!verify(&damaged).ok, "a flipped byte in `{name}` is refused");
        }
    }
}

#[test]
fn the_checksum_is_what_objdump_prints_and_python_would_compute() {
    let bench = Bench::new("checksum");
    let signed = bench.graft(&bench.link(&bench.plan(&stub(), b"k", b"i")).unwrap(), &[7; 13]);
    let signed = signed.unwrap();
    // The sum of all words but the checksum's own, folded at the end, in another arithmetic.
    let sum: u64 = signed
        .chunks(2)
        .enumerate()
        .filter(|(i, _)| *i != 0x98 / 2 && *i != 0x9a / 2)
        .map(|(_, word)| u64::from(u16::from_le_bytes([word[0], word[1]])))
        .sum();
    let folded = (sum % 0xffff) as usize;
    assert_eq!(u32_at(&signed, 0x98), folded + signed.len());
    let ran = run(tool("objdump").arg("-p").arg(bench.file("signed.efi", &signed)));
    let printed = ran.text.lines().find_map(|line| line.strip_prefix("CheckSum"));
    let printed = usize::from_str_radix(printed.unwrap().trim(), 16).unwrap();
    assert_eq!(printed, folded + signed.len());
}

#[test]
fn what_an_initrd_cannot_hold_is_refused_by_name() {
    let bench = Bench::new("refused-files");
    let file = Entry::file(bench.put(b"x"), 0o755, "p");
    let mut capable = file.clone();
    capable.xattrs.insert("security.capability".into(), vec![1]);
    let named = Entry { owner: Owner::Name("chrony".into()), ..file.clone() };
    let long = Entry { node: Node::Symlink("x".repeat(4096)), ..Entry::symlink("", "p") };
    let (capability, name) = ("security.capability", "`chrony` is still a name");
    for (entry, want) in [(capable, capability), (named, name), (long, "target of 4096 bytes")] {
        let error = bench.pack(&bench.tree(&[("usr/bin/ping", entry)])).err().unwrap();
        assert!(error.contains("`usr/bin/ping`") && error.contains(want), "{error}");
    }
    let linked = |content| Entry { link: Some("l".into()), ..Entry::file(content, 0o644, "p") };
    let torn = [("a", linked(bench.put(b"1"))), ("b", linked(bench.put(b"2")))];
    let error = bench.pack(&bench.tree(&torn)).err().unwrap();
    assert!(error.contains("`b` is a hard link"), "{error}");
}
