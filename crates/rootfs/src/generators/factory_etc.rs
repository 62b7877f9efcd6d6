//! `/etc` becomes the lower layer of an overlay, kept in `/usr`: the image is `usr` and nothing
//! else (and `boot`, which the UKI takes).

use anyhow::{Result, bail};
use store::{Entry, Scratch, Tree};

use super::files::put;
use crate::{Change, Generator, Point, Purpose};

const FACTORY: &str = "usr/share/factory/etc";
const ORIGIN: &str = "generator:factory-etc";

/// Mount points and links that PID 1 or the initrd make below an empty root.
const MADE_AT_BOOT: [&str; 11] =
    ["bin", "dev", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "tmp"];

const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n\
    ff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n";
const FSTAB: &str = "# File systems are found by the types of their partitions: see\n\
    # systemd-gpt-auto-generator(8). Lines here add to them.\n";

/// Programs that shells(5) names where the image has them.
const SHELLS: [&str; 6] =
    ["/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/dash", "/usr/bin/dash"];

pub(crate) const ROW: Generator = Generator {
    name: "factory-etc",
    revision: 1,
    purposes: &[Purpose::Host],
    point: Point::Image,
    reads: &[
        "*",
        "etc/**",
        "usr/bin/sh",
        "usr/bin/bash",
        "usr/bin/dash",
        "usr/share/factory/etc/**",
        "usr/share/zoneinfo/Etc/UTC",
    ],
    writes: &["*", "etc/**", "usr/share/factory/etc/**"],
    run,
};

fn run(tree: &Tree, scratch: &Scratch<'_>) -> Result<Change> {
    let mut change = Change::default();
    let whole = with_defaults(tree, scratch)?;
    for (path, entry) in whole.below("etc") {
        let below = path.strip_prefix("etc").unwrap_or(path);
        change.add.insert(&format!("{FACTORY}{below}"), entry.clone())?;
    }
    change.remove.push("etc".to_owned());
    if tree.below(FACTORY).next().is_some() {
        change.remove.push(FACTORY.to_owned());
    }
    for (path, entry) in &tree.0 {
        match path.split('/').next().unwrap_or_default() {
            "etc" | "usr" | "boot" => {}
            top if MADE_AT_BOOT.contains(&top) => change.remove.push(top.to_owned()),
            ".facts" => {}
            top => bail!(
                "`/{top}` of {} would be lost: an image holds /usr and /etc (drop it, or move it)",
                entry.origin
            ),
        }
    }
    Ok(change)
}

/// `etc` with the files that every machine needs, where nobody ships them.
fn with_defaults(tree: &Tree, scratch: &Scratch<'_>) -> Result<Tree> {
    let mut made = Change::default();
    let files = [("hosts", HOSTS), ("fstab", FSTAB), ("locale.conf", "LANG=C.UTF-8\n")];
    for (name, text) in files {
        put(&mut made, scratch, &format!("etc/{name}"), text.as_bytes(), ORIGIN)?;
    }
    let there = |shell: &&&str| {
        let name = shell.rsplit('/').next().unwrap_or_default();
        tree.get(&format!("usr/bin/{name}")).is_some()
    };
    let shells: String = SHELLS.iter().filter(there).flat_map(|shell| [*shell, "\n"]).collect();
    put(&mut made, scratch, "etc/shells", shells.as_bytes(), ORIGIN)?;
    made.add.insert("etc/mtab", Entry::symlink("../proc/self/mounts", ORIGIN))?;
    let utc = "usr/share/zoneinfo/Etc/UTC";
    if tree.get(utc).is_some() {
        made.add.insert("etc/localtime", Entry::symlink(format!("../{utc}"), ORIGIN))?;
    }
    made.add.0.retain(|path, _| tree.get(path).is_none());
    made.add.0.extend(tree.below("etc").map(|(path, entry)| (path.to_owned(), entry.clone())));
    // Empty: PID 1 makes an id at first boot and does not take that boot for a first one, on
    // which presets would run again.
    put(&mut made, scratch, "etc/machine-id", b"", ORIGIN)?;
    if let Some(entry) = made.add.0.get_mut("etc/machine-id") {
        entry.mode = 0o444;
    }
    Ok(made.add.with_parents(ORIGIN))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Sample, link_at};
    use super::*;

    fn sample() -> Sample {
        Sample::new()
            .file("etc/hosts", b"mine")
            .file("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
            .file("etc/ssh/sshd_config", b"s")
            .file("usr/share/factory/etc/nsswitch.conf", b"stale")
            .file("usr/bin/bash", b"b")
            .file("usr/share/zoneinfo/Etc/UTC", b"z")
            .file("boot/vmlinuz", b"k")
            .link("bin", "usr/bin")
            .entry("proc", Entry::directory("base"))
    }

    #[test]
    fn the_image_is_usr_and_boot_alone() {
        let sample = sample();
        let tree = sample.run(&ROW).unwrap();
        let tops: std::collections::BTreeSet<&str> =
            tree.0.keys().filter_map(|path| path.split('/').next()).collect();
        assert_eq!(tops.into_iter().collect::<Vec<_>>(), ["boot", "usr"]);
        assert_eq!(sample.text(&tree, "usr/share/factory/etc/hosts"), "mine");
        assert_eq!(sample.text(&tree, "usr/share/factory/etc/ssh/sshd_config"), "s");
        assert_eq!(
            sample.text(&tree, "usr/share/factory/etc/shells"),
            "/bin/bash\n/usr/bin/bash\n"
        );
        assert_eq!(link_at(&tree, "usr/share/factory/etc/mtab"), "../proc/self/mounts");
        assert!(tree.get("usr/share/factory/etc/nsswitch.conf").is_none());
    }

    #[test]
    fn a_leftover_machine_id_is_emptied() {
        let sample = sample();
        let tree = sample.run(&ROW).unwrap();
        assert_eq!(sample.text(&tree, "usr/share/factory/etc/machine-id"), "");
    }

    #[test]
    fn what_lies_beside_usr_is_not_lost_in_silence() {
        let error = sample().file("lost", b"").run(&ROW).unwrap_err();
        assert!(format!("{error:#}").contains("/lost"));
    }
}
