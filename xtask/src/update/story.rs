//! What every case is made of: a boot that is as it must be, an update, what it left behind.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::guest::Facts;
use crate::powercut::{self, record};
use crate::update::host::Host;
use crate::update::versions::{Feed, Version};

/// The partitions of `/usr`, its hash tree and its signature, by their numbers on the disk.
pub(crate) struct Slot {
    pub(crate) name: &'static str,
    pub(crate) numbers: [u32; 3],
}

pub(crate) const A: Slot = Slot { name: "A", numbers: [2, 3, 4] };
pub(crate) const B: Slot = Slot { name: "B", numbers: [5, 6, 7] };

impl Slot {
    /// Whether the kernel's name of a partition (`vda2`) is one of its own.
    fn holds(&self, partition: &str) -> bool {
        let number = partition.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        number.parse().is_ok_and(|number| self.numbers.contains(&number))
    }

    /// What a guest told of its partitions, one line each.
    fn rows<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = &'a str> {
        let partition =
            |row: &&String| self.holds(row.split([' ', ':']).next().unwrap_or_default());
        facts.all("row").iter().filter(partition).map(String::as_str)
    }
}

/// The states of one disk's slots and of its ESP; a guest told them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    rows: Vec<String>,
    ukis: Vec<String>,
    /// Partition and the digest of its beginning, where the guest was asked for that.
    heads: Vec<String>,
}

impl State {
    /// What the slot's partitions and the ESP are.
    pub(crate) fn of(facts: &Facts, slot: &Slot) -> State {
        let heads = facts
            .all("head")
            .iter()
            .filter(|line| slot.holds(line.split(' ').next().unwrap_or_default()));
        State {
            rows: slot.rows(facts).map(str::to_owned).collect(),
            ukis: facts.all("uki").to_vec(),
            heads: heads.cloned().collect(),
        }
    }

    /// The partitions' labels.
    pub(crate) fn labels(&self) -> Vec<String> {
        let label = |row: &String| {
            let (_, rest) = row.split_once("name=\"")?;
            rest.split('"').next().map(str::to_owned)
        };
        self.rows.iter().filter_map(label).collect()
    }

    /// What its partitions begin with.
    pub(crate) fn heads(&self) -> &[String] {
        &self.heads
    }
}

/// An error unless this boot is of that version, in that slot, committed and without a failed unit.
pub(crate) fn committed(facts: &Facts, id: &str, version: &str, slot: &Slot) -> Result<()> {
    let name = format!("{id}_{version}.efi");
    let checks = [
        ("its version", facts.get("version") == version),
        ("its slot", slot.holds(facts.get("usr_on"))),
        ("Secure Boot", facts.get("secure_boot") == "1"),
        ("its state", facts.get("state") == "running"),
        ("no failed unit", facts.all("failed").is_empty()),
        ("dm-verity", facts.get("usr_status").ends_with('V')),
        ("its kernel image without a counter", facts.all("uki").contains(&name)),
        ("its slot's rows", slot.rows(facts).count() == 3),
        ("an id of its own for each partition", ids_differ(facts)),
    ];
    let wrong: Vec<&str> = checks.iter().filter(|(_, ok)| !ok).map(|(what, _)| *what).collect();
    if !wrong.is_empty() {
        bail!(
            "version {version} in slot {}: {} not as it must be: {facts:?}",
            slot.name,
            wrong.join(", ")
        );
    }
    Ok(())
}

fn ids_differ(facts: &Facts) -> bool {
    let id = |row: &String| Some(row.split_once("uuid=")?.1.split(',').next()?.to_owned());
    let ids: Vec<String> = facts.all("row").iter().filter_map(id).collect();
    ids.iter().collect::<BTreeSet<_>>().len() == facts.all("row").len()
}

/// Lets the stock client update; an error unless it says that it succeeded, and the slot and the ESP
/// hold what was published.
pub(crate) fn install(
    host: &mut Host,
    feed: &Feed,
    id: &str,
    version: &str,
    slot: &Slot,
) -> Result<String> {
    let told = host.ask("update; table")?;
    let said = told.all("said").join("; ");
    if told.get("result") != "success" {
        bail!("the update to {version} ended as {:?}: {said}", told.get("result"));
    }
    let ukis = told.all("uki");
    let counted = format!("{id}_{version}+1-0.efi");
    if !ukis.contains(&counted) {
        bail!("`{counted}` is not on the ESP, but {ukis:?}: {said}");
    }
    for row in slot.rows(&told) {
        if !row.contains(&format!("name=\"{id}_{version}")) {
            bail!("slot {} is not labelled with version {version}: {row}", slot.name);
        }
    }
    for (part, number) in [("usr", 0), ("usr-verity", 1), ("usr-verity-sig", 2)] {
        let (size, sum) = feed.content(version, part)?;
        let seen = digest(host, slot.numbers[number], size)?;
        if seen != sum {
            bail!("{part} of slot {} reads back as {seen}, published is {sum}", slot.name);
        }
    }
    Ok(format!("update to {version} in {} s", told.get("seconds")))
}

/// SHA-256 of the first bytes of a partition, read by the guest past its caches.
pub(crate) fn digest(host: &mut Host, number: u32, size: u64) -> Result<String> {
    let told = host.ask(&format!("digest \"${{disk}}{number}\" {size}"))?;
    let digest = told.get("digest");
    if digest.len() != 64 {
        bail!("partition {number} could not be read back: {told:?}");
    }
    Ok(digest.to_owned())
}

/// The digests of what a slot holds of a version.
pub(crate) fn digests(host: &mut Host, slot: &Slot, sizes: &[u64; 3]) -> Result<Vec<String>> {
    slot.numbers.iter().zip(sizes).map(|(number, size)| digest(host, *number, *size)).collect()
}

/// How many bytes of a version count in each partition of a slot.
pub(crate) fn sizes(feed: &Feed, version: &str) -> Result<[u64; 3]> {
    let size = |part| feed.content(version, part).map(|(size, _)| size);
    Ok([size("usr")?, size("usr-verity")?, size("usr-verity-sig")?])
}

/// Starts a guest: its name, its disk, its feed.
pub(crate) type Starts = fn(&str, &Path, &Path) -> Result<Host>;

/// Versions in a row, each into the slot that the one before left: `versions[0]` is the disk. Of a
/// disk that is recorded, every power cut is tried.
pub(crate) fn row(
    profile: &str,
    name: &str,
    starts: Starts,
    versions: &[(String, Version)],
) -> Result<String> {
    let Some(((first, disk), rest)) = versions.split_first() else { bail!("no versions") };
    let feed = Feed::of(profile, name, &[disk])?;
    let mut host = starts(name, &disk.baked.disk, &feed.folder)?;
    let mut seen = Vec::new();
    let (mut slot, mut other) = (&A, &B);
    let mut last = first;
    committed(&host.up()?, profile, first, slot)?;
    for (number, version) in rest {
        feed.add(version)?;
        let lengths = sizes(&feed, last)?;
        let before = digests(&mut host, slot, &lengths)?;
        seen.push(install(&mut host, &feed, profile, number, other)?);
        println!("        {}", seen.join(", "));
        host.order("systemctl --no-block reboot");
        committed(&host.up()?, profile, number, other)?;
        if digests(&mut host, slot, &lengths)? != before {
            bail!("version {last} in slot {} was changed by the update to {number}", slot.name);
        }
        seen.push(format!("{number} blessed in slot {}, {last} intact", other.name));
        (slot, other) = (other, slot);
        last = number;
    }
    let _ = std::fs::remove_dir_all(&feed.folder);
    let writes = host.writes.clone();
    finish(host);
    if let Some(writes) = writes {
        println!("{}", powercut::prefixes(&disk.baked.disk, &writes)?);
        seen.push("every power cut tried leaves a disk that starts".to_owned());
        record::discard(&writes);
    }
    Ok(seen.join(", "))
}

/// Ends the guest and removes the disk that it wrote.
pub(crate) fn finish(host: Host) {
    let overlay = host.stage.overlay.clone();
    drop(host);
    let _ = std::fs::remove_file(Path::new(&overlay));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "\
begin=1
version=2
state=running
secure_boot=1
usr_status=0 451471 verity V
usr_on=vda5
row=/dev/vda2 : start= 1, size= 2, type=T, uuid=VDA2, name=\"mini_1\", attrs=\"GUID:60\"
row=/dev/vda5 : start= 3, size= 2, type=T, uuid=VDA5, name=\"mini_2\", attrs=\"GUID:60\"
row=/dev/vda6 : start= 5, size= 2, type=T, uuid=VDA6, name=\"mini_2_verity\"
row=/dev/vda7 : start= 7, size= 2, type=T, uuid=VDA7, name=\"mini_2_vsig\"
uki=mini_1.efi
uki=mini_2.efi
head=vda2 aa
head=vda5 bb
head=vda15 cc
end=1
";

    fn told(log: &str) -> Facts {
        Facts::boots(log).pop().unwrap()
    }

    #[test]
    fn a_version_counts_as_committed_only_when_all_of_it_is() {
        assert!(committed(&told(BOOT), "mini", "2", &B).is_ok());
        assert!(committed(&told(BOOT), "mini", "2", &A).is_err());
        assert!(committed(&told(BOOT), "mini", "1", &B).is_err());
        for (good, bad) in [
            ("state=running", "state=degraded"),
            ("state=running", "state=running\nfailed=a.service"),
            ("secure_boot=1", "secure_boot=0"),
            ("verity V", "verity C"),
            ("uki=mini_2.efi", "uki=mini_2+2-1.efi"),
            ("usr_on=vda5", "usr_on=vda2"),
            ("row=/dev/vda7", "row=/dev/vda9"),
            ("uuid=VDA7", "uuid=VDA6"),
        ] {
            assert!(committed(&told(&BOOT.replace(good, bad)), "mini", "2", &B).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slot_s_state_is_its_own_partitions_and_the_esp() {
        let state = State::of(&told(BOOT), &B);
        assert_eq!(state.labels(), ["mini_2", "mini_2_verity", "mini_2_vsig"]);
        assert_eq!(state.heads(), ["vda5 bb"]);
        assert_eq!(State::of(&told(BOOT), &A).labels(), ["mini_1"]);
        for (good, bad) in
            [("vda5 bb", "vda5 bc"), ("mini_2_vsig", "_empty"), ("uki=mini_1.efi\n", "")]
        {
            assert_ne!(State::of(&told(&BOOT.replace(good, bad)), &B), state, "{bad}");
        }
    }
}
