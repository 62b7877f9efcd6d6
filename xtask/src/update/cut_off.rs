//! An old kernel image whose removal a power cut left half done: its name is there, its clusters are
//! free.

use anyhow::{Context, Result, bail};

use crate::boot::Stage;
use crate::disk::{self, Esp};
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, B, committed, finish, install};
use crate::update::versions::{Feed, Kind};

/// Version 1 beside such a kernel image of version 0 comes up. The attempt to update that removes it
/// fails, the ESP is unmounted for want of use, and the next attempt takes version 2.
pub(crate) fn show(ground: &Ground) -> Result<String> {
    let id = ground.profile.as_str();
    let (one, two) = (ground.version("1", Kind::Good)?, ground.version("2", Kind::Good)?);
    let feed = Feed::of(id, "cut-off", &[&two])?;
    let folder = disk::folder(Stage::folder("cut-off"))?;
    let (old, kernel) = (folder.join("old.raw"), folder.join("kernel.efi"));
    disk::copy(&one.baked.disk, &old)?;
    let name = format!("::/EFI/Linux/{id}_0.efi");
    let esp = Esp::of(&old)?;
    esp.get(&format!("::/EFI/Linux/{id}_1.efi"), &kernel)?;
    esp.put(&kernel, &name)?;
    disk::free_clusters(&old, &name)?;

    let mut host = Host::start("cut-off", &old, &feed.folder)?;
    let first = host.up()?;
    committed(&first, id, "1", &A)?;
    if !first.all("uki").contains(&format!("{id}_0.efi")) {
        bail!("the old kernel image is not there: {:?}", first.all("uki"));
    }
    let met = host.ask(
        "update; table
         journalctl --dmesg --grep FAT-fs --output cat --no-pager |
             while read -r line; do tell kernel \"$line\"; done",
    )?;
    let as_told = met.get("result") != "success"
        && met.all("uki") == [format!("{id}_1.efi")]
        && met.all("kernel").iter().any(|line| line.contains("read-only"));
    if !as_told {
        bail!("the attempt that met the free clusters is not what docs/updates.md says: {met:?}");
    }
    // The mount is looked up without touching it: the automount's time would begin anew.
    let left = host.ask(
        "for second in $(seq 300); do
             mounted=$(grep -c ' /boot .* vfat ' /proc/self/mountinfo)
             [ \"$mounted\" = 0 ] && break
             sleep 1
         done
         tell mounted \"$mounted\"",
    )?;
    if left.get("mounted") != "0" {
        bail!("the ESP stays mounted: {left:?}");
    }
    let installed = install(&mut host, &feed, id, "2", &B).context("in the next attempt")?;
    host.order("systemctl --no-block reboot");
    let next = host.up()?;
    committed(&next, id, "2", &B)?;
    if next.all("uki").contains(&format!("{id}_0.efi")) {
        bail!("the old kernel image is still there: {:?}", next.all("uki"));
    }
    finish(host);
    for file in [old, kernel] {
        let _ = std::fs::remove_file(file);
    }
    let _ = std::fs::remove_dir_all(&feed.folder);
    Ok(format!(
        "the first attempt failed, the ESP read-only; then {installed}, 2 blessed, nothing of \
         version 0 left"
    ))
}
