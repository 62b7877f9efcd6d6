//! Generators before the programs whose work they do, on small samples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use store::{Node, Tree};

use super::modules::Ko;
use super::testing::Sample;
use super::{hwdb, modules, presets, users};

impl Sample {
    /// Writes `tree` below an empty directory, as a judge wants it.
    fn on_disk(&self, tree: &Tree, name: &str) -> PathBuf {
        let root = judge::scratch(name);
        for (path, entry) in &tree.0 {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match &entry.node {
                Node::Directory => fs::create_dir_all(path).unwrap(),
                Node::Symlink(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                Node::File(blob) => fs::write(path, self.store.read(blob).unwrap()).unwrap(),
            }
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            let link = root.join(name);
            if !link.exists() {
                std::os::unix::fs::symlink(format!("usr/{name}"), link).unwrap();
            }
        }
        root
    }

    fn bytes(&self, tree: &Tree, path: &str) -> Vec<u8> {
        let entry = tree.get(path).unwrap_or_else(|| panic!("no `{path}`"));
        self.store.read(&entry.blob().unwrap()).unwrap()
    }
}

fn accepts(command: &mut Command) -> bool {
    let ran = judge::run(command);
    println!("{}", ran.text);
    ran.ok
}

/// Whether a judge complains with these words. Some of systemd's exit with 0 all the same.
fn complains(command: &mut Command, words: &str) -> bool {
    let ran = judge::run(command);
    println!("{}", ran.text);
    ran.text.contains(words)
}

/// A file of ours and the judge's, shown as text where they differ.
fn same(name: &str, ours: &[u8], judges: &[u8]) {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(shown(ours), shown(judges), "{name}");
    assert_eq!(ours, judges, "{name}");
}

// depmod

const KERNEL: &str = "usr/lib/modules/6.12";

fn kernel() -> Sample {
    let core = Ko::new().exports("core_add").exports("core_del").info("alias=pci:v0-[0-9]d*");
    let bus = Ko::new().exports("bus_go").needs("core_add").needs("printk");
    let disk = Ko::new().needs("bus_go").needs("core_del").info("softdep=pre: helper");
    let disk = disk.info("alias=devname:disk").info("alias=block-major-8-1").info("weakdep=net");
    let net =
        Ko::new().needs("core_add").needs("bus_go").info("alias=pci:v0-1d*").info("license=GPL");
    let helper = Ko::new().info("alias=pci:v0-1d*").info("alias=char-major-10-*");
    let late = Ko::new().exports("late").info("alias=usb:v*");
    let later = Ko::new().needs("late").info("alias=usb:v1");
    Sample::new()
        .file(&format!("{KERNEL}/kernel/core.ko"), &core.bytes())
        .file(&format!("{KERNEL}/kernel/bus/bus-one.ko"), &bus.bytes())
        .file(&format!("{KERNEL}/kernel/disk.ko"), &disk.bytes())
        .file(&format!("{KERNEL}/kernel/net.ko"), &net.bytes())
        .file(&format!("{KERNEL}/kernel/helper.ko"), &helper.bytes())
        .file(&format!("{KERNEL}/updates/late.ko"), &late.bytes())
        .file(&format!("{KERNEL}/updates/later.ko"), &later.bytes())
        .file(
            &format!("{KERNEL}/modules.order"),
            b"kernel/net.ko\nkernel/core.ko\nkernel/disk.ko\nkernel/bus/bus-one.ko\nkernel/helper.ko\n",
        )
        .file(&format!("{KERNEL}/modules.builtin"), b"kernel/fs/ext4.ko\nkernel/lib/crc-t10dif.ko\n")
        .file(
            &format!("{KERNEL}/modules.builtin.modinfo"),
            b"ext4.alias=fs-ext4\0ext4.license=GPL\0ext4.alias=fs-ext3\0crc_t10dif.alias=crc-[a-z]\0",
        )
}

fn depmod(root: &Path) -> Command {
    let mut depmod = judge::tool("depmod");
    depmod.arg("-b").arg(root).arg("6.12");
    depmod
}

#[test]
fn module_indexes_are_depmods_byte_for_byte() {
    for order in [true, false] {
        let mut sample = kernel();
        if !order {
            sample.tree.remove_all(&format!("{KERNEL}/modules.order"));
        }
        let root = sample.on_disk(&sample.tree, &format!("depmod-{order}"));
        assert!(accepts(&mut depmod(&root)));
        let tree = sample.run(&modules::ROW).unwrap();
        let made: Vec<&String> =
            tree.0.keys().filter(|path| sample.tree.get(path).is_none()).collect();
        assert_eq!(made.len(), 11);
        for path in made {
            same(path, &sample.bytes(&tree, path), &fs::read(root.join(path)).unwrap());
        }
    }
}

#[test]
fn modules_in_a_circle_are_refused_by_depmod_and_by_us() {
    let sample = kernel().file(
        &format!("{KERNEL}/kernel/core.ko"),
        &Ko::new().exports("core_add").needs("bus_go").bytes(),
    );
    assert!(!accepts(&mut depmod(&sample.on_disk(&sample.tree, "depmod-circle"))));
    assert!(sample.run(&modules::ROW).is_err());
}

// systemd-hwdb

/// A sample whose files have the names that the judge, which writes the path with its root into
/// the database, gives them.
fn hwdb_judge(texts: &[(&str, &str)], name: &str) -> (Command, PathBuf) {
    let mut sample = Sample::new();
    for (file, text) in texts {
        sample = sample.file(&format!("usr/lib/udev/hwdb.d/{file}"), text.as_bytes());
    }
    let root = sample.on_disk(&sample.tree, name);
    let mut hwdb = judge::tool("systemd-hwdb");
    hwdb.args(["--usr", "--strict", "update", "--root"]).arg(&root);
    (hwdb, root)
}

#[test]
fn the_hardware_database_is_systemds_byte_for_byte() {
    let texts = [
        (
            "20-usb.hwdb",
            "# usb\nusb:v1234*\n ID_VENDOR=Acme # inc\n\nusb:v1234p0001*\nusb:v12*\n  ID_MODEL=One\n ID_VENDOR=Acme\n",
        ),
        (
            "60-key.hwdb",
            "evdev:name:Acme*\n KEY_A=board\n KEY_B=keyboard\n KEY_EMPTY=\n\n\nusb:v1234*\n ID_VENDOR=Other\n",
        ),
        ("70-é.hwdb", "evdev:name:Ac\u{e9}*\n KEY_A=\u{e9}\n"),
    ];
    let (mut judge, root) = hwdb_judge(&texts, "hwdb");
    assert!(accepts(&mut judge));
    let prefix = root.to_str().unwrap().trim_start_matches('/').to_owned();
    let named: Vec<(String, &str)> = texts
        .iter()
        .map(|(file, text)| (format!("{prefix}/usr/lib/udev/hwdb.d/{file}"), *text))
        .collect();
    let ours = hwdb::database(&named).unwrap();
    assert_eq!(ours, fs::read(root.join("usr/lib/udev/hwdb.bin")).unwrap());
}

#[test]
fn a_record_without_properties_is_refused_by_systemd_and_by_us() {
    let texts = [("20-evil.hwdb", "usb:v1*\n\nusb:v2*\n A=b\n")];
    assert!(complains(&mut hwdb_judge(&texts, "hwdb-evil").0, "Property expected"));
    assert!(hwdb::database(&[("x".to_owned(), texts[0].1)]).is_err());
}

// systemd-sysusers

const CONF: &str = "usr/lib/sysusers.d/all.conf";

/// In canonical order, so that systemd, which goes by lines, and we agree on chosen ids.
const USERS: &[&str] = &[
    "g lp 7",
    "g input 905",
    "g kvm -",
    "g render -",
    "u root 0 \"Super User\" /root /bin/bash",
    // The number of another's group, as Debian gives them below 100.
    "u play 7:65534 - /usr/games",
    "u! net 900 \"Net Work\"",
    "u sync 904:65534 - /bin /bin/sync",
    "u sshd 906:nogroup \"sshd user\" /run/sshd",
    "u bus - \"Message Bus\" /nonexistent",
    "u! cache -",
    "u tss -:input - /dev/null",
    "m bus kvm",
    "m net input",
    "m bus audio",
    "m zed wheel",
];

fn people(lines: &str) -> Sample {
    Sample::new()
        .file(CONF, lines.as_bytes())
        .file("etc/passwd", b"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n")
        .file("etc/group", b"daemon:x:1:\nlp:x:7:\naudio:x:29:zoe,abe\nnogroup:x:65534:\n")
        .file("etc/shadow", b"daemon:*:1:0:99999:7:::\n")
        .file("etc/gshadow", b"daemon:*::\nlp:*::\naudio:*::zoe,abe\nnogroup:*::\n")
}

fn sysusers(root: &Path) -> Command {
    let mut sysusers = judge::tool("systemd-sysusers");
    sysusers.arg(format!("--root={}", root.display()));
    sysusers
}

#[test]
fn users_and_groups_are_systemds_byte_for_byte() {
    let sample = people(&USERS.join("\n"));
    let root = sample.on_disk(&sample.tree, "sysusers");
    assert!(accepts(&mut sysusers(&root)));
    let tree = sample.run(&users::ROW).unwrap();
    for path in ["etc/passwd", "etc/group", "etc/gshadow", "etc/shadow"] {
        let mut judges = fs::read_to_string(root.join(path)).unwrap();
        if path == "etc/shadow" {
            judges = judges.lines().map(without_day).collect();
            let ours: String = sample.text(&tree, path).lines().map(without_day).collect();
            same(path, ours.as_bytes(), judges.as_bytes());
        } else {
            same(path, &sample.bytes(&tree, path), judges.as_bytes());
        }
    }
}

fn without_day(line: &str) -> String {
    let mut fields: Vec<&str> = line.split(':').collect();
    fields[2] = "DAY";
    fields.join(":") + "\n"
}

#[test]
fn a_user_of_no_group_is_refused_by_systemd_and_by_us() {
    let lines = [
        ("u x 900:4242", "please create GID 4242"),
        ("u x 900:nope", "Group nope not found"),
        ("u x:y 900", "not a valid user or group name"),
    ];
    for (line, words) in lines {
        let sample = people(line);
        let root = sample.on_disk(&sample.tree, "sysusers-evil");
        assert!(complains(&mut sysusers(&root), words), "{line}");
        assert!(sample.run(&users::ROW).is_err(), "{line}");
    }
}

// systemctl preset-all

fn units() -> Sample {
    let install = |lines: &str| {
        format!("[Unit]\nDescription=x\n[Service]\nExecStart=/x\n[Install]\n{lines}\n")
    };
    let units = [
        ("a.service", "WantedBy=multi-user.target\nAlias=alias-a.service\nAlso=also.socket"),
        ("also.socket", "WantedBy=sockets.target"),
        ("b.service", "WantedBy=multi-user.target\nRequiredBy=x.service y.service"),
        ("off.service", "WantedBy=multi-user.target"),
        ("masked.service", "WantedBy=multi-user.target"),
        ("getty@.service", "WantedBy=getty.target\nDefaultInstance=tty1"),
        ("many@.service", "WantedBy=multi-user.target\nUpheldBy=%i-up.target"),
        ("lone@.service", "WantedBy=multi-user.target lone@.target"),
        ("static.service", ""),
        ("up.timer", "UpheldBy=timers.target"),
        ("dropin.service", ""),
    ];
    let mut sample = Sample::new();
    for (name, lines) in units {
        sample = sample.file(&format!("usr/lib/systemd/system/{name}"), install(lines).as_bytes());
    }
    sample
        .file("usr/lib/systemd/system/x.service", b"[Service]\nExecStart=/x\n")
        .file(
            "usr/lib/systemd/system/dropin.service.d/10.conf",
            b"[Install]\nWantedBy=dropin.target\n",
        )
        .link("usr/lib/systemd/system/other.service", "b.service")
        .link("etc/systemd/system/masked.service", "/dev/null")
        .link(
            "etc/systemd/system/multi-user.target.wants/off.service",
            "/usr/lib/systemd/system/off.service",
        )
        .file("etc/systemd/system/local.service", install("WantedBy=local.target").as_bytes())
        .file("usr/lib/systemd/user/u.service", install("WantedBy=default.target").as_bytes())
        .file("usr/lib/systemd/user/v.service", install("WantedBy=default.target").as_bytes())
        .file("usr/lib/systemd/user-preset/99.preset", b"enable u.*\ndisable *\n")
        .file(
            "usr/lib/systemd/system-preset/90.preset",
            b"# c\ndisable a.service\nenable a.service\nenable b.service\nenable masked.service\n",
        )
        .file(
            "etc/systemd/system-preset/10.preset",
            b"enable a.service\nenable getty@.service\nenable many@.service one two\n\
              enable lone@.service\nenable static.service\nenable up.timer\n\
              enable dropin.service\nenable local.service\n",
        )
        .file("usr/lib/systemd/system-preset/99.preset", b"disable *\n")
}

/// Every link below `etc/systemd`, with its target.
fn links(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.join("etc/systemd")];
    while let Some(path) = left.pop() {
        if path.is_symlink() {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_link(&path).unwrap().to_str().unwrap().to_owned());
        } else if path.is_dir() {
            left.extend(store::list(&path).unwrap());
        }
    }
    found
}

fn preset_all(root: &Path, more: &[&str]) -> Command {
    let mut systemctl = judge::tool("systemctl");
    systemctl.arg(format!("--root={}", root.display())).args(more).arg("preset-all");
    systemctl
}

#[test]
fn enabled_units_are_those_of_preset_all() {
    let sample = units();
    let root = sample.on_disk(&sample.tree, "presets");
    assert!(accepts(&mut preset_all(&root, &[])));
    assert!(accepts(&mut preset_all(&root, &["--global"])));
    let tree = sample.run(&presets::ROW).unwrap();
    let ours = links(&sample.on_disk(&tree, "presets-ours"));
    assert_eq!(ours, links(&root));
    let off = "etc/systemd/system/multi-user.target.wants/off.service".to_owned();
    let names: BTreeSet<&String> = ours.keys().collect();
    assert!(names.len() > 12 && !names.contains(&off), "{names:?}");
}

#[test]
fn an_alias_that_climbs_out_is_refused_by_systemctl_and_by_us() {
    let sample =
        units().file("usr/lib/systemd/system/up.timer", b"[Install]\nAlias=../evil.timer\n");
    let root = sample.on_disk(&sample.tree, "presets-evil");
    assert!(complains(&mut preset_all(&root, &[]), "Invalid unit reference ../evil.timer"));
    assert!(sample.run(&presets::ROW).is_err());
}
