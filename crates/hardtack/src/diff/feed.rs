//! A version of a feed's channel: its `/usr` and kernel image, and what its manifest says.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context, Result, bail, ensure};
use inspect::Form;
use inspect::holding::{self, Holding};
use release::{Origin, PARTS, Part, Place};
use rustix::fs::{MemfdFlags, memfd_create};

use super::side::{Room, Side, boots, packages};
use super::usr;
use crate::offered::Offered;
use crate::say;

/// The most bytes of a part, unpacked: it is held in memory.
const PART_LIMIT: u64 = 8 << 30;

/// Reads a version. Sizes and digests of its files and of their content are those of the manifest;
/// whether that is signed, only `hardtack verify` asks.
pub(super) fn read(offered: &Offered) -> Result<Side> {
    let version = &offered.version;
    let mut side = Side { form: "feed", ..Side::default() };
    let mut rooms = BTreeMap::new();
    for part in PARTS {
        let mut content = unpack(offered, part)?;
        let of = || format!("read part `{}` of version `{}`", part.name, version.version);
        let used = inside(part, &mut content, &mut side).with_context(of)?;
        // What is on the ESP beside the kernel image, only a disk can say.
        let (name, used) = match part.place {
            Place::Partition(name) => (name, used),
            Place::Esp => ("esp", None),
        };
        rooms.insert(name.to_owned(), Room { size: version.layout.of(part)?, used });
    }
    side.slots = Some(rooms);
    side.loader = Some([("sha256".to_owned(), version.loader_sha256.clone())].into());
    if side.bytes.is_none() && !version.bytes.is_empty() {
        side.bytes = Some(version.bytes.clone());
    }
    if side.name.is_empty() {
        side.name = format!("{}_{}", offered.product, version.version);
    }
    Ok(side)
}

/// Reads a part into `side`; gives how many bytes of its slot are used.
fn inside(part: &Part, content: &mut File, side: &mut Side) -> Result<Option<u64>> {
    let length = content.metadata().context("measure it")?.len();
    let mut problems = Vec::new();
    if part.name == "uki" {
        let found = inspect::look(content)?;
        let Form::Kernel(kernel) = found.form else { bail!("it is no unified kernel image") };
        boots(&kernel, side);
        problems = found.problems;
    }
    let holding = holding::read(content, &mut problems)?;
    for problem in &problems {
        say(&format!("warning: part `{}`: {problem}", part.name));
    }
    match (part.name, holding) {
        ("usr", Holding::Erofs(erofs)) => {
            side.packages = packages(&erofs.packages);
            usr::read(content, side)?;
            Ok(Some(erofs.used))
        }
        ("usr", _) => bail!("it is no EROFS"),
        (_, Holding::HashTree(_)) => Ok(Some(length)),
        (_, holding) => Ok(holding.used(length)),
    }
}

/// A part's content in memory, where any place of it can be read, once all of it is known to be
/// right.
fn unpack(offered: &Offered, part: &Part) -> Result<File> {
    let Offered { directory, version, .. } = offered;
    let size = version.parts.get(part.name).map_or(0, |file| file.content_size);
    ensure!(
        size <= PART_LIMIT,
        "part `{}` of version `{}` is said to unpack to {size} bytes, {PART_LIMIT} are read",
        part.name,
        version.version
    );
    let memory = memfd_create(part.name, MemfdFlags::CLOEXEC).context("make room in memory")?;
    let mut memory = File::from(memory);
    Origin::Directory(directory.clone()).unpack(part, version, &mut memory)?;
    Ok(memory)
}
