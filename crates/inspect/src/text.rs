//! What was found, as people read it.

use std::fmt::{self, Display, Formatter};

use crate::fat::{FoundVolume, Kind};
use crate::gpt::FoundPartition;
use crate::holding::{FoundErofs, Holding};
use crate::image::FoundImage;
use crate::kinds;
use crate::look::{Form, Found, FoundArchive};
use crate::signature::FoundSignature;
use crate::slot::FoundSlot;
use crate::uki::FoundUki;

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let size = bytes(self.size);
        match &self.form {
            Form::Disk(image) => disk(f, image)?,
            Form::Kernel(kernel) => {
                writeln!(f, "unified kernel image of {size}")?;
                uki(f, kernel)?;
            }
            Form::Program(program) => {
                writeln!(f, "EFI program of {size}")?;
                line(f, "digest", &program.digest)?;
                signatures(f, &program.signatures)?;
            }
            Form::Archive(FoundArchive { names, content }) => {
                writeln!(
                    f,
                    "cpio archive of {size}: {names} names, {} of content",
                    bytes(*content)
                )?;
            }
            Form::Volume(holding) => {
                writeln!(f, "{} in {size}", title(holding))?;
                inside(f, holding, self.size)?;
            }
        }
        if self.problems.is_empty() {
            return writeln!(f, "\nno problem found");
        }
        writeln!(f, "\nproblems")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

fn disk(f: &mut Formatter<'_>, image: &FoundImage) -> fmt::Result {
    let table = &image.table;
    let what = if image.vhd.is_some() { "fixed VHD" } else { "raw disk" };
    let sector = table.sector;
    writeln!(f, "{what} {} of {}, sectors of {sector} bytes", table.disk, bytes(table.size))?;
    if let Some(vhd) = &image.vhd {
        line(f, "VHD", &format!("{} made by `{}`", vhd.uuid, vhd.creator.escape_debug()))?;
    }
    partitions(f, image)?;
    for (number, holding) in &image.holds {
        let partition = table.partitions.iter().find(|one| one.number == *number);
        let Some(partition) = partition else { continue };
        writeln!(f, "\npartition {number}: {}", title(holding))?;
        line(f, "uuid", &partition.uuid)?;
        inside(f, holding, partition.length)?;
    }
    for file in &image.ukis {
        writeln!(f, "\n{}: unified kernel image", file.path.escape_debug())?;
        uki(f, &file.uki)?;
    }
    for program in &image.programs {
        writeln!(f, "\n{}: EFI program", program.path.escape_debug())?;
        line(f, "digest", &program.digest)?;
        signatures(f, &program.signatures)?;
    }
    image.slots.iter().try_for_each(|one| slot(f, one))?;
    if !image.notes.is_empty() {
        writeln!(f, "\nnotes")?;
    }
    image.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
}

fn partitions(f: &mut Formatter<'_>, image: &FoundImage) -> fmt::Result {
    let all = &image.table.partitions;
    let head = ["#", "type", "slot", "label", "start", "size", "free", "attributes"];
    let mut rows = vec![head.map(str::to_owned)];
    for one in all {
        let holding = image.holds.get(&one.number);
        rows.push([
            one.number.to_string(),
            kinds::name(&one.kind).unwrap_or(&one.kind).to_owned(),
            turn(all, one).map_or("-".to_owned(), String::from),
            one.label.escape_debug().to_string(),
            bytes(one.offset),
            bytes(one.length),
            free(image, one, holding).map_or("?".to_owned(), bytes),
            match kinds::attributes(one.attributes) {
                names if names.is_empty() => "-".to_owned(),
                names => names.join(", "),
            },
        ]);
    }
    let right = [true, false, false, false, true, true, true, false];
    columns(f, &rows, &right)
}

/// Which of the partitions of one type this is, as a letter: the slot, where a type repeats.
fn turn(all: &[FoundPartition], one: &FoundPartition) -> Option<char> {
    let like: Vec<_> = all.iter().filter(|other| other.kind == one.kind).collect();
    let at = like.iter().position(|other| other.number == one.number)?;
    (like.len() > 1).then(|| char::from_u32(u32::from(b'A') + u32::try_from(at).ok()?))?
}

fn free(image: &FoundImage, one: &FoundPartition, holding: Option<&Holding>) -> Option<u64> {
    let tree = image.slots.iter().find(|slot| slot.tree == one.number);
    let used = match tree {
        Some(slot) => Some(slot.verity.length),
        None => holding.and_then(|holding| holding.used(one.length)),
    };
    Some(one.length.saturating_sub(used?))
}

fn title(holding: &Holding) -> String {
    match holding {
        Holding::Fat(FoundVolume { kind, .. }) => match kind {
            Kind::Fat12 => "FAT12".to_owned(),
            Kind::Fat16 => "FAT16".to_owned(),
            Kind::Fat32 => "FAT32".to_owned(),
        },
        Holding::Erofs(_) => "EROFS".to_owned(),
        Holding::HashTree(_) => "dm-verity hash tree".to_owned(),
        Holding::RootHashSignature(_) => "signature of a root hash".to_owned(),
        Holding::Other { name } => format!("{name} (not read)"),
        Holding::Empty => "empty".to_owned(),
        Holding::Unknown => "nothing that is known here".to_owned(),
    }
}

fn inside(f: &mut Formatter<'_>, holding: &Holding, length: u64) -> fmt::Result {
    match holding {
        Holding::Fat(volume) => fat(f, volume),
        Holding::Erofs(found) => erofs(f, found, length),
        Holding::HashTree(head) => {
            line(f, "tree", &head.uuid)?;
            line(f, "covers", &format!("{} blocks of {} bytes", head.data_blocks, head.block))?;
            line(f, "salt", &head.salt)
        }
        Holding::RootHashSignature(found) => {
            line(f, "root hash", &found.root_hash)?;
            line(f, "fingerprint", &found.certificate_fingerprint)?;
            signatures(f, std::slice::from_ref(&found.signature))
        }
        Holding::Other { .. } | Holding::Empty | Holding::Unknown => Ok(()),
    }
}

fn fat(f: &mut Formatter<'_>, volume: &FoundVolume) -> fmt::Result {
    let FoundVolume { label, id, cluster, .. } = volume;
    let (high, low) = (id >> 16, id & 0xffff);
    line(f, "volume", &format!("{} {high:04X}-{low:04X}", label.escape_debug()))?;
    let free = bytes(volume.free_bytes());
    line(f, "free", &format!("{free}, in clusters of {cluster} bytes"))?;
    let rows: Vec<_> = volume
        .files
        .iter()
        .map(|(path, file)| [bytes(file.size.into()), path.escape_debug().to_string()])
        .collect();
    columns(f, &rows, &[true, false])
}

fn erofs(f: &mut Formatter<'_>, found: &FoundErofs, length: u64) -> fmt::Result {
    let superblock = &found.superblock;
    line(f, "volume", &format!("{} {}", superblock.label.escape_debug(), superblock.uuid))?;
    line(f, "built", &moment(superblock.epoch))?;
    let blocks = format!("{} of {} bytes", superblock.blocks, superblock.block);
    line(f, "blocks", &blocks)?;
    let (used, free) = (bytes(found.used), bytes(length.saturating_sub(found.used)));
    line(f, "used", &format!("{used}, {free} free"))?;
    let content = bytes(found.content);
    let inodes = superblock.inodes;
    line(f, "tree", &format!("{} names, {inodes} inodes, {content} of content", found.names))?;
    if found.unread_files > 0 {
        let count = found.unread_files;
        line(f, "unread", &format!("{count} files, compressed or in chunks: not read"))?;
    }
    let said = |key| found.os_release.get(key).map(String::as_str);
    if let Some(name) = said("PRETTY_NAME").or(said("ID")) {
        let image = [said("IMAGE_ID"), said("IMAGE_VERSION")].map(|part| part.unwrap_or("-"));
        line(f, "system", &format!("{name}, image {}", image.join(" ")))?;
    }
    if found.packages.is_empty() {
        return line(f, "packages", "the image does not say");
    }
    line(f, "packages", &found.packages.len().to_string())?;
    let rows: Vec<_> = found
        .packages
        .iter()
        .map(|one| [one.name.clone(), one.version.clone(), one.architecture.clone()])
        .collect();
    columns(f, &rows, &[false, false, false])
}

fn uki(f: &mut Formatter<'_>, found: &FoundUki) -> fmt::Result {
    let said = |key| found.os_release.get(key).map_or("-", String::as_str);
    line(f, "image", &format!("{} {}", said("IMAGE_ID"), said("IMAGE_VERSION")))?;
    line(f, "system", said("PRETTY_NAME"))?;
    line(f, "kernel", found.kernel.as_deref().unwrap_or("-"))?;
    line(f, "line", &found.command_line)?;
    for (index, text) in found.sbat.iter().flat_map(|sbat| sbat.lines()).enumerate() {
        line(f, if index == 0 { "sbat" } else { "" }, text)?;
    }
    line(f, "digest", &found.digest)?;
    signatures(f, &found.signatures)?;
    let rows: Vec<_> = found
        .sections
        .iter()
        .map(|(name, content)| [bytes(content.size), name.clone(), content.sha256.clone()])
        .collect();
    columns(f, &rows, &[true, false, false])
}

fn signatures(f: &mut Formatter<'_>, all: &[FoundSignature]) -> fmt::Result {
    if all.is_empty() {
        return line(f, "signed", "no");
    }
    for one in all {
        let why = one.why.as_deref().unwrap_or("its key made it over this content");
        let verdict = match one.holds {
            Some(true) => "good",
            Some(false) => "BAD",
            None => "not tried",
        };
        line(f, "signed by", &format!("{}: {verdict}: {why}", one.signer))?;
    }
    Ok(())
}

fn slot(f: &mut Formatter<'_>, slot: &FoundSlot) -> fmt::Result {
    writeln!(f, "\nversion {}", slot.label.escape_debug())?;
    let verity = &slot.verity;
    line(f, "root hash", &verity.root_hash)?;
    let data = bytes(verity.data_blocks * u64::from(verity.block));
    let (from, tree) = (slot.data, slot.tree);
    line(f, "recomputed", &format!("{data} of partition {from}, tree of partition {tree}"))?;
    line(f, "kernel", slot.kernel.as_deref().unwrap_or("none names this root hash"))?;
    let uuids = if slot.named_by_uuids { "the halves of the root hash" } else { "others" };
    line(f, "uuids", uuids)?;
    let by = slot.signature_partition.map(|number| format!("partition {number}"));
    line(f, "signature", by.as_deref().unwrap_or("none on this disk"))
}

fn line(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:<12}{text}")
}

/// Rows in columns as wide as their widest cell; `right` says which are numbers.
fn columns<const N: usize>(
    f: &mut Formatter<'_>,
    rows: &[[String; N]],
    right: &[bool; N],
) -> fmt::Result {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut text = String::new();
        for ((cell, width), right) in row.iter().zip(widths).zip(right) {
            text += &if *right { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
        }
        writeln!(f, "  {}", text.trim_end().get(2..).unwrap_or_default())?;
    }
    Ok(())
}

/// Bytes in the largest unit that leaves at least one; one decimal, rounded down.
pub fn bytes(count: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if count >> shift > 0 {
            let rest = count & ((1 << shift) - 1);
            let tenth = (rest * 10) >> shift;
            let whole = count >> shift;
            return if rest == 0 {
                format!("{whole} {unit}")
            } else {
                format!("{whole}.{tenth} {unit}")
            };
        }
    }
    format!("{count} B")
}

/// Seconds since 1970 as a moment in UTC, proleptic Gregorian calendar.
fn moment(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // Beyond 400 years nothing is a date of a build.
    let (mut days, mut year) = (seconds / DAY, 1970);
    if days > 146_097 {
        return format!("{seconds} seconds after 1970");
    }
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (day, s) = (days + 1, seconds % DAY);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_moments_are_those_of_known_values() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(4 << 30), "4 GiB");
        assert_eq!(moment(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_795_645_404), "2026-11-25T22:23:24Z");
        assert_eq!(moment(u64::MAX), format!("{} seconds after 1970", u64::MAX));
    }
}
