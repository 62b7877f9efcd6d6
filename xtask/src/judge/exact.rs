//! What an image holds, byte for byte before the programs whose work the generators do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::walk::{Kind, Walk};
use crate::run::{read, run, tool};

const FACTORY: &str = "usr/share/factory/etc";
const MODULES: &str = "usr/lib/modules/";
/// What the kernel's build brings and depmod reads.
const GIVEN: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];
/// How many judges speak.
pub(super) const JUDGES: usize = 4;
/// Users and groups.
const USERS: [&str; 4] = ["passwd", "group", "shadow", "gshadow"];

/// Every judge on the image in `archive`, unpacked below `home`: what each says. At boot the paths
/// `at_boot` must come into being.
pub(super) fn judge(
    archive: &Path,
    home: &Path,
    at_boot: &[String],
) -> Result<[Result<String>; JUDGES]> {
    let image = Walk::of(archive)?;
    let root = unpack(archive, home)?;
    let said = [
        boot(&root, at_boot),
        modules(&image, &root, home),
        users(&image, &root),
        presets(&image, &root),
    ];
    std::fs::remove_dir_all(&root).with_context(|| format!("remove `{}`", root.display()))?;
    Ok(said)
}

/// Unpacks the image without its owners, `/etc` at its place.
fn unpack(archive: &Path, home: &Path) -> Result<PathBuf> {
    let root = home.join("image");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).with_context(|| format!("make `{}`", root.display()))?;
    run(Command::new("tar")
        .args(["-x", "--no-same-owner", "-f"])
        .arg(archive)
        .arg("-C")
        .arg(&root))?;
    // Whoever runs this must be able to remove it again, and set-id files have no place here.
    run(Command::new("chmod").args(["-R", "u+rwX,ug-s"]).arg(&root))?;
    std::fs::rename(root.join(FACTORY), root.join("etc")).context("put /etc at its place")?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))
            .with_context(|| format!("link `{name}`"))?;
    }
    Ok(root)
}

/// systemd-tmpfiles(8) says what it would make of the image's lines; it makes nothing.
fn boot(root: &Path, at_boot: &[String]) -> Result<String> {
    let mut tmpfiles = tool("systemd-tmpfiles")?;
    tmpfiles.arg(format!("--root={}", root.display()));
    let said = tmpfiles.args(["--create", "--boot", "--dry-run"]).env("LC_ALL", "C").output();
    let said = said.context("start `systemd-tmpfiles`")?;
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let top = format!("{}/", root.display());
    let made: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Would create "))
        .filter_map(|line| line.split_once(&top))
        .map(|(_, path)| path.split(" -> ").next().unwrap_or(path))
        .collect();
    let missing: Vec<String> = at_boot
        .iter()
        .filter(|path| !made.contains(path.as_str()))
        .map(|path| format!("{path} is not made at boot"))
        .collect();
    verdict(&missing, || format!("systemd-tmpfiles: {} paths, all made at boot", at_boot.len()))
}

/// depmod(8).
fn modules(image: &Walk, root: &Path, home: &Path) -> Result<String> {
    let mut ours: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, found) in &image.0 {
        let Some(below) = path.strip_prefix(MODULES) else { continue };
        if let (Some((_, name)), Kind::File { sha256, .. }) = (below.split_once('/'), &found.kind)
            && name.starts_with("modules.")
            && !GIVEN.contains(&name)
        {
            ours.insert(below, sha256);
        }
    }
    let kernel = ours.keys().next().and_then(|path| path.split('/').next());
    let kernel = kernel.context("find module indexes in the image")?;
    let out = home.join("depmod");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out).with_context(|| format!("make `{}`", out.display()))?;
    run(tool("depmod")?.arg("-b").arg(root).arg("-o").arg(&out).arg(kernel))?;
    let mut archive = Command::new("tar");
    let archive = read(archive.arg("-c").arg("-C").arg(out.join("usr/lib/modules")).arg(kernel))
        .or_else(|_| {
            read(Command::new("tar").arg("-c").arg("-C").arg(out.join("lib/modules")).arg(kernel))
        })?;
    let theirs = Walk::read(archive.as_slice())?;
    let mut wrong = Vec::new();
    let mut bytes = 0;
    for (path, found) in &theirs.0 {
        let Kind::File { sha256, size, .. } = &found.kind else { continue };
        bytes += size;
        match ours.remove(path.as_str()) {
            Some(own) if own == sha256 => {}
            Some(_) => wrong.push(format!("{path} differs")),
            None => wrong.push(format!("{path} is missing")),
        }
    }
    wrong.extend(ours.keys().map(|path| format!("{path} is not depmod's")));
    verdict(&wrong, || {
        format!("depmod: {} indexes, {bytes} bytes, all equal", theirs.0.len().saturating_sub(1))
    })
}

/// systemd-sysusers(8), from nothing. Its day of a password's last change is told to it.
fn users(image: &Walk, root: &Path) -> Result<String> {
    /// 1970-01-02, our constant day, in seconds.
    const DAY: &str = "86400";
    for name in USERS {
        let _ = std::fs::remove_file(root.join("etc").join(name));
    }
    let mut sysusers = tool("systemd-sysusers")?;
    sysusers.arg(format!("--root={}", root.display())).env("SOURCE_DATE_EPOCH", DAY);
    run(&mut sysusers)?;
    let mut wrong = Vec::new();
    let mut lines = 0;
    for name in USERS {
        let own = image.bytes(&format!("{FACTORY}/{name}")).unwrap_or_default();
        let file = root.join("etc").join(name);
        let theirs = std::fs::read(&file).with_context(|| format!("read `{}`", file.display()))?;
        lines += theirs.split_inclusive(|byte| *byte == b'\n').count();
        if theirs != own {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            wrong.push(format!("{name} differs:\n{}---\n{}", text(&theirs), text(own)));
        }
    }
    verdict(&wrong, || format!("systemd-sysusers: 4 files, {lines} lines, all equal"))
}

/// systemctl(1) preset-all, for the system and for users, after every link that it could have
/// made is gone.
fn presets(image: &Walk, root: &Path) -> Result<String> {
    let mut ours: BTreeMap<String, String> = BTreeMap::new();
    for (path, found) in &image.0 {
        let Some(path) = path.strip_prefix(&format!("{FACTORY}/")) else { continue };
        let managed = ["systemd/system/", "systemd/user/"].iter().any(|top| path.starts_with(top));
        if let (true, Kind::Link(target)) = (managed, &found.kind) {
            ours.insert(format!("etc/{path}"), target.clone());
        }
    }
    for (path, _) in ours.iter().filter(|(_, target)| *target != "/dev/null") {
        std::fs::remove_file(root.join(path)).with_context(|| format!("remove `{path}`"))?;
    }
    for scope in [None, Some("--global")] {
        let mut systemctl = tool("systemctl")?;
        systemctl.arg(format!("--root={}", root.display())).args(scope).arg("preset-all");
        read(&mut systemctl)?;
    }
    let mut archive = Command::new("tar");
    let archive = archive.arg("-c").arg("-C").arg(root).args(["etc/systemd"]);
    let theirs = Walk::read(read(archive)?.as_slice())?;
    let theirs: BTreeMap<String, String> = theirs
        .0
        .into_iter()
        .filter_map(|(path, found)| match found.kind {
            Kind::Link(target) => Some((path, target)),
            _ => None,
        })
        .collect();
    let mut wrong = Vec::new();
    for (path, target) in &theirs {
        if ours.get(path) != Some(target) {
            wrong.push(format!("{path} -> {target} is missing"));
        }
    }
    let lone = ours.iter().filter(|(path, _)| !theirs.contains_key(*path));
    wrong.extend(lone.map(|(path, target)| format!("{path} -> {target} is not systemctl's")));
    verdict(&wrong, || format!("systemctl preset-all: {} links, all equal", theirs.len()))
}

fn verdict(wrong: &[String], right: impl Fn() -> String) -> Result<String> {
    if wrong.is_empty() {
        return Ok(right());
    }
    bail!("{} differences from the judge:\n{}", wrong.len(), wrong.join("\n"))
}
