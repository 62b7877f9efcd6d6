//! The profiles that are shipped, as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use profile::{Profile, UnitState, overlays};
use store::{Node, Store, Tree};

fn profiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles")
}

fn load(name: &str) -> Profile {
    let path = profiles().join(format!("{name}.yaml"));
    profile::load(&path, &|path| Ok(std::fs::read_to_string(path)?)).unwrap()
}

/// Everything that a profile lays over its packages, and the text of each file.
fn laid(name: &str) -> (Tree, BTreeMap<String, String>) {
    let store = Store::open(&judge::scratch(&format!("shipped-{name}")), None).unwrap();
    let mut all = Tree::default();
    for overlay in overlays(&load(name), &store).unwrap() {
        all.0.extend(store.tree(&overlay.tree).unwrap().0);
    }
    let texts = all.0.iter().filter_map(|(path, entry)| {
        let text = String::from_utf8(store.read(&entry.blob()?).unwrap()).unwrap();
        Some((path.clone(), text))
    });
    let texts = texts.collect();
    (all, texts)
}

#[test]
fn the_shipped_profiles_load_and_build_on_each_other() {
    let (mini, host, initrd) = (load("mini"), load("container-host"), load("initrd"));
    assert_eq!((mini.id.as_str(), host.id.as_str()), ("mini", "container-host"));
    assert!(mini.packages.keys().all(|name| host.packages.contains_key(name)));
    assert_eq!(host.kernel_args, mini.kernel_args);
    assert_eq!(host.units["ssh.service"], UnitState::Disabled);
    assert!(host.initrd.is_some_and(|path| path.ends_with("profiles/initrd.yaml")));
    assert!(!initrd.keep.is_empty() && host.keep.is_empty());
    assert_eq!(mini.layout.usr, Some(1 << 30));
    for archive in host.archives.values() {
        let keyring = std::fs::read_to_string(&archive.keyring).unwrap();
        assert!(keyring.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        assert_eq!(archive.url, None);
    }
}

#[test]
fn what_units_call_of_ours_is_there_and_executable() {
    for name in ["container-host", "initrd"] {
        let (tree, texts) = laid(name);
        let mut called = BTreeSet::new();
        for (path, text) in texts.iter().filter(|(path, _)| path.contains("/systemd/system/")) {
            for line in text.lines().filter(|line| line.starts_with("Exec")) {
                let program =
                    line.split(['=', ' ']).find(|word| word.contains("usr/lib/hardtack/"));
                if let Some(program) = program {
                    let entry = tree.get(program.trim_start_matches('/'));
                    assert_eq!(entry.map(|e| e.mode), Some(0o755), "{path}: {line}");
                    called.insert(program.trim_start_matches('/').to_owned());
                }
            }
        }
        let scripts = texts.iter().filter(|(path, _)| path.starts_with("usr/lib/hardtack/"));
        for (path, text) in scripts {
            assert!(called.contains(path), "{path} is called by no unit");
            assert!(text.starts_with("#!/bin/sh\n") && text.contains("\nset -eu\n"), "{path}");
        }
    }
}

#[test]
fn no_unit_waits_for_a_first_boot_and_every_section_has_its_own_keys() {
    for name in ["container-host", "initrd"] {
        for (path, text) in laid(name).1.iter().filter(|(p, _)| p.contains("/systemd/system/")) {
            assert!(!text.contains("ConditionFirstBoot"), "{path}");
            let mut section = "";
            for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
                if line.starts_with('[') {
                    section = line;
                } else if line.starts_with("Exec") || line.starts_with("Type=oneshot") {
                    assert_eq!(section, "[Service]", "{path}: {line}");
                } else if ["Failure", "OnFailure", "Condition", "After", "Before", "JobTimeout"]
                    .iter()
                    .any(|key| line.starts_with(key))
                {
                    assert_eq!(section, "[Unit]", "{path}: {line}");
                }
            }
        }
    }
}

#[test]
fn links_between_units_end_at_units_of_the_overlay_or_of_a_package() {
    // What packages bring, as far as our links lead there.
    const FROM_PACKAGES: [&str; 3] = [
        "usr/lib/systemd/system/initrd.target",
        "usr/lib/systemd/system/systemd-growfs-root.service",
        "usr/lib/systemd/systemd",
    ];
    for name in ["container-host", "initrd"] {
        let (tree, _) = laid(name);
        let full = FROM_PACKAGES.iter().fold(tree.clone(), |mut full, path| {
            full.insert(path, store::Entry::directory("package")).unwrap();
            full
        });
        for (path, entry) in &tree.0 {
            if let Node::Symlink(target) = &entry.node {
                let ends = target == "/dev/null" || full.resolve(path).is_some();
                assert!(ends, "{path} -> {target}");
            }
        }
    }
}

#[test]
fn the_shell_reads_every_script_and_refuses_a_broken_one() {
    let here = judge::scratch("shipped-scripts");
    let verdict = |name: &str, text: &str| {
        let path = here.join(name);
        std::fs::write(&path, text).unwrap();
        judge::run(judge::tool("dash").arg("-n").arg(&path))
    };
    for name in ["container-host", "initrd"] {
        for (path, text) in laid(name).1 {
            if let Some(script) = path.strip_prefix("usr/lib/hardtack/") {
                let verdict = verdict(script, &text);
                assert!(verdict.ok, "{path}: {}", verdict.text);
            }
        }
    }
    assert!(!verdict("broken", "if true; then\n").ok);
}

/// Writes a tree out, with stand-ins for programs and units that packages bring.
fn write_out(name: &str, tree: &Tree, texts: &BTreeMap<String, String>) -> PathBuf {
    let root = judge::scratch(&format!("shipped-units-{name}"));
    let put = |path: &str, text: &str, mode: u32| {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    for (path, text) in texts {
        put(path, text, u32::from(tree.get(path).unwrap().mode));
    }
    for (path, text) in texts.iter().filter(|(path, _)| path.contains("/systemd/system/")) {
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            let program = line.split(['=', ' ']).nth(1).unwrap().trim_start_matches('-');
            put(program, "", 0o755);
        }
        if let Some((unit, _)) = path.split_once(".d/1") {
            put(
                unit,
                "[Unit]\nDescription=Of a package\n[Service]\nExecStart=/usr/bin/true\n",
                0o644,
            );
        }
    }
    put("usr/bin/true", "", 0o755);
    root
}

#[test]
fn the_manager_reads_every_unit_and_names_a_key_that_it_does_not_know() {
    let verify = |root: &Path, unit: &str| {
        let mut command = judge::tool("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]);
        judge::run(command.arg(format!("--root={}", root.display())).arg(unit))
    };
    for name in ["container-host", "initrd"] {
        let (tree, texts) = laid(name);
        let root = write_out(name, &tree, &texts);
        for path in texts.keys() {
            let Some(unit) = path.strip_prefix("usr/lib/systemd/system/") else { continue };
            let unit = unit.split(".d/").next().unwrap();
            // A template is read as an instance; a target cannot have the stand-in's service part.
            if unit.ends_with(".target") {
                continue;
            }
            let verdict = verify(&root, &unit.replace("@.", "@x."));
            assert!(verdict.ok && verdict.text.is_empty(), "{path}: {}", verdict.text);
        }
        std::fs::write(
            root.join("usr/lib/systemd/system/wrong.service"),
            "[Service]\nOnFailure=a.service\nExecStart=/usr/bin/true\n",
        )
        .unwrap();
        let verdict = verify(&root, "wrong.service");
        assert!(verdict.text.contains("Unknown key 'OnFailure'"), "{}", verdict.text);
    }
}

#[test]
fn every_mask_and_every_left_out_path_has_its_reason() {
    for name in ["mini", "container-host", "initrd"] {
        let profile = load(name);
        let masks = profile.units.values().filter_map(|state| match state {
            UnitState::Masked(reason) => Some(reason),
            UnitState::Enabled | UnitState::Disabled => None,
        });
        let reasons = masks.chain(profile.drop.values()).chain(profile.setid.values());
        assert!(reasons.chain(profile.without.values()).all(|reason| reason.len() > 10), "{name}");
    }
}
