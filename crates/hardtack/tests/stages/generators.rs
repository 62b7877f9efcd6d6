//! One small tree for each generator: all run as the stage `generate`, each with its own revision.

use rootfs::{GENERATE, GENERATORS, Generate, Generator};
use store::{Entry, Owner, Store, Tree};

use crate::Made;
use crate::samples::{of, tree};

const OS_RELEASE: (&str, &str) =
    ("usr/lib/os-release", "ID=debian\nVERSION_ID=\"13\"\nIMAGE_ID=x\n");
const IMAGE: (&str, &str) = (".facts/image.json", r#"{"id":"sample","version":"7"}"#);
const UNIT: &str = "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n";
const OFFERS: &str = r#"{"offers":[
    {"name":"awk","link":"/usr/bin/awk","path":"/usr/bin/mawk","priority":5,
     "followers":[["nawk","/usr/bin/nawk","/usr/bin/mawk"]]}],"chosen":{}}"#;
const PAM: &str = "Name: Unix authentication\nDefault: yes\nPriority: 256\n\
    Auth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok\n";
const STACK: &str = "# here are the per-package modules (the \"Primary\" block)\n$auth_primary\n\
    # here's the fallback if no module succeeds\nx\n\
    # and here are more per-package modules (the \"Additional\" block)\n$auth_additional\n\
    # end of pam-auth-update config\n";

/// `module`, packed by xz(1).
const PACKED: &[u8] =
    b"\xfd7zXZ\x00\x00\x01i\x22\xde6\x02\x00!\x01\x0c\x00\x00\x00\x8f\x98A\x9c\x01\x00\x05\
    module\x00\x00\x00(&$\x0c\x00\x01\x1a\x06\xc5\xea\xc8y\x90B\x99\x0d\x01\x00\x00\x00\
    \x00\x01YZ";

/// The generator's name and what it sees.
const SAMPLES: &[(&str, &[(&str, &str)])] = &[
    ("alternatives", &[(".facts/alternatives.json", OFFERS), ("usr/bin/mawk", "m")]),
    (
        "users",
        &[
            ("usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n"),
            ("usr/share/base-passwd/group.master", "root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n"),
            ("usr/lib/sysusers.d/a.conf", "u zed -\ng aaa 998\nm zed render\nu bob 997:nogroup\n"),
        ],
    ),
    ("module-files", &[("usr/lib/modules/6.12/kernel/fs/b.ko", "plain")]),
    (
        "modules",
        &[
            ("usr/lib/modules/6.12/modules.order", "kernel/fs/a.ko\n"),
            ("usr/lib/modules/6.12/modules.builtin", "kernel/fs/ext4.ko\n"),
            ("usr/lib/modules/6.12/modules.builtin.modinfo", "ext4.alias=fs-ext4\0"),
        ],
    ),
    (
        "hwdb",
        &[(
            "usr/lib/udev/hwdb.d/20-a.hwdb",
            "# c\nusb:v1*\nusb:v2*\n ID_X=1\n\nusb:v1p2*\n ID_Y=2\n",
        )],
    ),
    (
        "certificates",
        &[
            ("usr/share/ca-certificates/mozilla/Zed.crt", PEM),
            ("etc/ssl/hardtack/own.crt", PEM),
            ("etc/ca-certificates.conf", "mozilla/Zed.crt\n"),
        ],
    ),
    (
        "pam",
        &[
            ("usr/share/pam/common-auth", STACK),
            ("usr/share/pam/common-account", STACK),
            ("usr/share/pam/common-password", STACK),
            ("usr/share/pam/common-session", STACK),
            ("usr/share/pam/common-session-noninteractive", STACK),
            ("usr/share/pam-configs/unix", PAM),
        ],
    ),
    (
        "nsswitch",
        &[
            ("usr/share/libc-bin/nsswitch.conf", "# c\npasswd:  files\nhosts:  files dns\n"),
            (".facts/nss.json", r#"["passwd last systemd","hosts before=dns resolve"]"#),
        ],
    ),
    (
        "presets",
        &[
            ("usr/lib/systemd/system-preset/50.preset", "enable a.service\ndisable *\n"),
            ("usr/lib/systemd/system/a.service", UNIT),
            ("usr/lib/systemd/system/b.service", UNIT),
            (".facts/enable.json", r#"["b.service"]"#),
        ],
    ),
    ("os-release", &[OS_RELEASE, IMAGE]),
    ("initrd-release", &[OS_RELEASE, IMAGE]),
    ("dynamic-linker", &[("etc/ld.so.cache", "stale")]),
    ("tmpfiles-var", &[("var/lib/a b%", "x"), ("root/.profile", "p"), ("srv/y", "y")]),
    (
        "factory-etc",
        &[("etc/hosts", "mine"), ("etc/machine-id", "0123456789abcdef\n"), ("usr/bin/bash", "b")],
    ),
    (
        "owners",
        &[
            ("usr/share/factory/etc/passwd", "root:x:0:0::/:/bin/sh\n_chrony:x:905:906::/:\n"),
            ("usr/share/factory/etc/group", "root:x:0:\n_chrony:x:906:\n"),
            ("usr/share/factory/etc/chrony.keys", ""),
        ],
    ),
];

/// Every generator on its sample.
pub(crate) fn all(store: &Store) -> Vec<Made> {
    let of = |row: &Generator| {
        let made = of(store, &GENERATE, &input(store, row));
        Made { name: format!("generate:{}", row.name), revision: row.revision, ..made }
    };
    GENERATORS.iter().map(of).collect()
}

/// The stage itself, on the last generator's sample.
pub(crate) fn stage(store: &Store) -> Made {
    of(store, &GENERATE, &input(store, GENERATORS.last().unwrap()))
}

fn input(store: &Store, row: &Generator) -> Generate {
    let sample = SAMPLES.iter().find(|(name, _)| *name == row.name);
    let (_, files) = sample.unwrap_or_else(|| panic!("generator `{}` has no sample", row.name));
    let mut sees: Tree = tree(store, "sample", files);
    if let Some(entry) = sees.0.get_mut("usr/share/factory/etc/chrony.keys") {
        entry.group = Owner::Name("_chrony".to_owned());
    }
    if row.name == "module-files" {
        let packed = Entry::file(store.put(PACKED).unwrap(), 0o644, "sample");
        sees.insert("usr/lib/modules/6.12/kernel/fs/a.ko.xz", packed).unwrap();
    }
    if row.name == "factory-etc" {
        sees.insert("bin", Entry::symlink("usr/bin", "sample")).unwrap();
    }
    Generate {
        generator: row.name.to_owned(),
        revision: row.revision,
        sees: store.put_tree(&sees).unwrap(),
    }
}
