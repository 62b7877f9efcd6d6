//! An old kernel image whose removal a power cut left half done: its name is there, its clusters are
//! free.

use anyhow::{Context, Result, bail};

use crate::boot::Stage;
use crate::disk::{self, Esp};
use crate::update::Ground;
use crate::update::host::Host;
use crate::update::story::{A, B, committed, finish, install};
use crate::update::versions::{Feed, Kind};

/// Version 1 beside such a kernel image of version 0 comes up and updates to 2: at once, or in the
/// next attempt after the ESP was unmounted for want of use.
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
    let told = host.ask(
        "update; table
         journalctl --dmesg --grep FAT-fs --output cat --no-pager |
             while read -r line; do tell kernel \"$line\"; done",
    )?;
    let at_once = told.get("result") == "success";
    println!("        at once: {at_once}, {:?}, {:?}", told.all("uki"), told.all("kernel"));
    let seen = if at_once {
        "the update went well at once".to_owned()
    } else {
        // The automount's time, and some more.
        host.ask("sleep 200")?;
        let installed = install(&mut host, &feed, id, "2", &B).context("in the next attempt")?;
        format!("the first attempt ended as {:?}, then {installed}", told.get("result"))
    };
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
    Ok(format!("{seen}, 2 blessed, nothing of version 0 left"))
}
