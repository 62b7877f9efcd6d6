//! The scripts of the host that rename UKIs and decide on a restart, run here on folders.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{list, read, run, target, tool, top};

/// A folder that stands for the machine, and the script of the profile made to look at it.
struct Host {
    folder: PathBuf,
    script: PathBuf,
}

/// What systemctl is to the scripts: it notes a restart, and knows whether the boot was kept.
const SYSTEMCTL: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $* in\n\
    *is-active*) exec test -e kept ;;\n*reboot*) : >restarted ;;\nesac\n";

impl Host {
    fn new(name: &str, script: &str) -> Host {
        let folder = target().join("scratch/xtask-health").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("boot/EFI/Linux")).unwrap();
        for name in ["tries", script] {
            let shipped = top().join("profiles/mini.d/usr/lib/hardtack").join(name);
            let mut text = std::fs::read_to_string(shipped).unwrap();
            for (place, stand_in) in [
                ("/sys/firmware/efi/efivars/LoaderBootCountPath-", "LoaderBootCountPath-"),
                ("/usr/lib/os-release", "os-release"),
                ("/boot/", "boot/"),
            ] {
                text = text.replace(place, &format!("{}/{stand_in}", folder.display()));
            }
            text = text.replace("started=/boot$", &format!("started={}/boot$", folder.display()));
            std::fs::write(folder.join(name), text).unwrap();
            run(Command::new("chmod").arg("0755").arg(folder.join(name))).unwrap();
        }
        let file = folder.join(script);
        std::fs::write(folder.join("systemctl"), SYSTEMCTL).unwrap();
        run(Command::new("chmod").arg("0755").arg(folder.join("systemctl"))).unwrap();
        Host { folder, script: file }
    }

    fn with(self, ukis: &[&str]) -> Host {
        for uki in ukis {
            std::fs::write(self.folder.join("boot/EFI/Linux").join(uki), *uki).unwrap();
        }
        self
    }

    /// The version that runs.
    fn runs_version(self, version: &str) -> Host {
        let release = format!("IMAGE_ID=a\nIMAGE_VERSION={version}\n");
        std::fs::write(self.folder.join("os-release"), release).unwrap();
        self
    }

    /// The loader says that it counted: attributes, then UTF-16.
    fn started(self, uki: &str) -> Host {
        let mut bytes = vec![6, 0, 0, 0];
        let path = format!("\\EFI\\Linux\\{uki}\0");
        bytes.extend(path.encode_utf16().flat_map(u16::to_le_bytes));
        let name = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
        std::fs::write(self.folder.join(name), bytes).unwrap();
        self
    }

    /// Whether the script ends well.
    fn runs(&self, words: &[&str]) -> bool {
        let path = format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        read(shell.arg(&self.script).args(words).env("PATH", path)).is_ok()
    }

    fn ukis(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        list(&self.folder.join("boot/EFI/Linux")).unwrap().iter().map(name).collect()
    }
}

#[test]
fn a_started_version_is_lent_tries_once_and_kept_in_one_step() {
    const OLD: &str = "a_1.efi";
    for (number, (started, verb, before, after)) in [
        ("a_2+0-1.efi", "lend", "a_2+0-1.efi", Some("a_2+2-1.efi")),
        ("a_2+0-1.efi", "lend", "a_2+2-1.efi", Some("a_2+2-1.efi")),
        ("a_2+1-2.efi", "lend", "a_2+1-2.efi", Some("a_2+1-2.efi")),
        ("a_2+0-3.efi", "lend", "a_2+0-3.efi", Some("a_2+0-3.efi")),
        ("a_2+0-1.efi", "keep", "a_2+2-1.efi", Some("a_2.efi")),
        // Not lent, or a later try: systemd-bless-boot finds the name that it knows.
        ("a_2+0-1.efi", "keep", "a_2+0-1.efi", Some("a_2+0-1.efi")),
        ("a_2+1-2.efi", "keep", "a_2+1-2.efi", Some("a_2+1-2.efi")),
        ("a_2+0-1.efi", "kept", "a_2.efi", Some("a_2.efi")),
        ("a_2+0-1.efi", "kept", "a_2+2-1.efi", None),
        ("a_2+1-2.efi", "kept", "a_2+1-2.efi", None),
        ("a_2+0-1.efi", "kept", "a_3.efi", None),
        ("a_2.efi", "lend", "a_2.efi", None),
        ("a_2+0-1.efi", "other", "a_2+0-1.efi", None),
    ]
    .into_iter()
    .enumerate()
    {
        let host = Host::new(&format!("tries-{number}"), "tries").with(&[OLD, before]);
        let host = host.started(started).runs_version("2");
        assert_eq!(host.runs(&[verb]), after.is_some(), "{number}: {verb} of {before}");
        assert_eq!(host.ukis(), [OLD, after.unwrap_or(before)], "{number}: {verb} of {before}");
    }
}

/// The firmware refuses the counted version; the loader's word on it stays, and its second pass
/// starts the old one.
#[test]
fn a_version_that_was_refused_is_not_kept_by_the_one_that_runs_instead() {
    let ukis = ["a_1.efi", "a_2+0-1.efi"];
    for version in ["1", "20", "2.0"] {
        let host = Host::new("refused", "tries").with(&ukis).started("a_2+0-1.efi");
        let host = host.runs_version(version);
        for (verb, fine) in [("mine", false), ("lend", true), ("keep", false), ("kept", false)] {
            assert_eq!(host.runs(&[verb]), fine, "{verb} under {version}");
            assert_eq!(host.ukis(), ukis, "{verb} under {version}");
        }
    }
    let host = Host::new("refused", "tries").with(&ukis).started("a_2+0-1.efi").runs_version("2");
    assert!(host.runs(&["mine"]));
    assert_eq!(host.ukis(), ukis);
}

#[test]
fn a_second_name_of_the_kept_version_is_found() {
    let host = Host::new("tries-twice", "tries").with(&["a_2.efi", "a_2+0-1.efi", "a_20+3.efi"]);
    let host = host.started("a_2+0-1.efi").runs_version("2");
    assert!(!host.runs(&["kept"]));
    std::fs::remove_file(host.folder.join("boot/EFI/Linux/a_2+0-1.efi")).unwrap();
    assert!(host.runs(&["kept"]), "another version's counter is its own");
}

#[test]
fn the_machine_restarts_for_a_newer_version_with_tries_left_alone() {
    let analyze = tool("systemd-analyze").unwrap();
    let analyze = Path::new(analyze.get_program());
    for (number, (ukis, restarts)) in [
        (&["a_1.9.efi", "a_1.10+1-0.efi"][..], true),
        (&["a_1.9.efi", "a_1.10+2-1.efi"], true),
        (&["a_1.9.efi", "a_1.10+3.efi"], true),
        (&["a_1.9.efi", "a_1.10+0-1.efi"], false),
        (&["a_1.9.efi", "a_1.10+0-3.efi"], false),
        (&["a_1.9.efi", "a_1.10+0.efi"], false),
        (&["a_1.9.efi", "a_1.10.efi"], false),
        // The loader would not choose these: restarting for them would never end.
        (&["a_1.9.efi", "a_1.8+1-0.efi"], false),
        (&["a_1.9+1-0.efi"], false),
        (&["a_1.9.efi", "b_1.10+1-0.efi"], false),
        (&["a_1.9.efi", "a_1.10+x.efi"], false),
        (&["a_1.9.efi", "a_1.8+0-3.efi", "a_1.10+1-0.efi"], true),
        (&[], false),
    ]
    .into_iter()
    .enumerate()
    {
        let host = Host::new(&format!("restart-{number}"), "update-reboot").with(ukis);
        let host = host.runs_version("1.9");
        std::os::unix::fs::symlink(analyze, host.folder.join("systemd-analyze")).unwrap();
        let restarted = || host.folder.join("restarted").exists();
        assert!(host.runs(&[]), "{ukis:?}");
        assert_eq!(restarted(), restarts, "{ukis:?}");

        let _ = std::fs::remove_file(host.folder.join("restarted"));
        for uki in ukis {
            std::fs::write(host.folder.join("boot/EFI/Linux").join(uki), "").unwrap();
        }
        assert!(host.runs(&[]), "{ukis:?}");
        assert!(!restarted(), "for what a power cut left empty, {ukis:?}");
        let host = host.with(ukis).started("a_1.9+2-1.efi");
        assert!(host.runs(&[]), "{ukis:?}");
        assert!(!host.folder.join("restarted").exists(), "on trial itself, {ukis:?}");
        std::fs::write(host.folder.join("kept"), "").unwrap();
        assert!(host.runs(&[]), "{ukis:?}");
        assert_eq!(host.folder.join("restarted").exists(), restarts, "kept, {ukis:?}");
    }
}

#[test]
fn kernel_images_that_a_power_cut_left_empty_are_no_version() {
    let host = Host::new("empty", "empty-kernels").with(&["a_1.efi", "a_3.efi"]);
    let host = host.runs_version("1");
    for empty in ["a_2+1-0.efi", "a_2.efi", "b_2.efi", "other"] {
        std::fs::write(host.folder.join("boot/EFI/Linux").join(empty), "").unwrap();
    }
    assert!(host.runs(&[]));
    assert_eq!(host.ukis(), ["a_1.efi", "a_3.efi", "b_2.efi", "other"]);
    assert!(host.runs(&[]), "with nothing to do");
    assert_eq!(host.ukis(), ["a_1.efi", "a_3.efi", "b_2.efi", "other"]);
}
