//! What the host's update client is told: one transfer file a part (`sysupdate.d(5)`).
//!
//! The set is a function of [`PARTS`] alone. A version whose set had one file more would make the
//! running one look incomplete, and an update would then take its slot.

use std::fmt::Write as _;

use crate::part::{PARTS, Part, Place};

/// Where the host's update client looks for transfer files.
const DIRECTORY: &str = "usr/lib/sysupdate.d";

/// Where the host's update client finds versions.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Address of the feed, without a `/` at its end.
    pub feed: &'a str,
    /// Name of the channel.
    pub channel: &'a str,
    /// The oldest version that is taken.
    pub floor: Option<&'a str>,
}

/// Path and text of every transfer file, in the order in which the client works.
///
/// `architecture` is spelt as the Discoverable Partitions Specification does.
pub fn transfers(id: &str, architecture: &str, source: &Source<'_>) -> Vec<(String, String)> {
    let file = |part: &Part| {
        let path = format!("{DIRECTORY}/{}-{}.transfer", part.order, part.name);
        (path, transfer(part, id, architecture, source))
    };
    PARTS.iter().map(file).collect()
}

fn transfer(part: &Part, id: &str, architecture: &str, source: &Source<'_>) -> String {
    let mut text = String::from("[Transfer]\n");
    if let Some(floor) = source.floor {
        // What is older is neither installed nor kept.
        let _ = writeln!(text, "MinVersion={floor}");
    }
    // The running version (`IMAGE_VERSION` of os-release) is never written over; the list is
    // believed only with a signature of a key in `import-pubring`.
    let _ = write!(text, "ProtectVersion=%A\nVerify=yes\n\n[Source]\nType=url-file\n");
    // `%` begins a specifier here (systemd.unit(5)). Below the path lie `SHA256SUMS` and all files.
    let feed = source.feed.replace('%', "%%");
    let _ = writeln!(text, "Path={feed}/{}/", source.channel);
    let _ = writeln!(text, "MatchPattern={}\n\n[Target]", part.pattern(id, architecture));
    text + &match part.place {
        Place::Partition(kind) => partition(kind, id),
        Place::Esp => kernel(id),
    }
}

/// A slot of the disk that root lies on (`auto`): one labelled `_empty`, which becomes the
/// version's by label, type and the UUID that stands in the artifact's name.
fn partition(kind: &str, id: &str) -> String {
    // Bit 60, "read-only", as the image ships it. Not by `ReadOnly=`: clients know it for some types
    // only, and systemd 262 for none, because it sets it while the slot has the type of a pending one.
    format!(
        "Type=partition\nPath=auto\nMatchPattern={}\nMatchPartitionType={kind}\n\
         PartitionFlags=0x1000000000000000\nInstancesMax=2\n",
        label(kind, id, "@v")
    )
}

/// The label of a slot that holds `version`: what the client matches is what the disk ships.
pub fn label(kind: &str, id: &str, version: &str) -> String {
    let suffix = match kind {
        "usr-verity" => "_verity",
        "usr-verity-sig" => "_vsig",
        _ => "",
    };
    format!("{id}_{version}{suffix}")
}

/// A file beside the loader. The first pattern is the name that a new version gets: counted, with
/// one try, because a firmware passes twice over a disk before it gives up, and a second pass must
/// meet the old version. The others are names that the loader and the host give it later. FAT has
/// a read-only bit, and with it set the loader could not count: 0644.
fn kernel(id: &str) -> String {
    let names = [format!("{id}_@v+@l-@d.efi"), format!("{id}_@v+@l.efi"), format!("{id}_@v.efi")];
    format!(
        "Type=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot\nMatchPattern={}\nMode=0644\n\
         TriesLeft=1\nTriesDone=0\nInstancesMax=2\n",
        names.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source<'_> =
        Source { feed: "https://host.example/a%20b", channel: "stable", floor: Some("1.0") };

    #[test]
    fn the_client_is_told_what_lies_where_and_in_which_order() {
        let files = transfers("mini", "x86-64", &SOURCE);
        let text: String =
            files.iter().map(|(path, text)| format!("==> {path}\n{text}\n")).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transfers.txt");
        let golden = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, golden, "{text}");
    }

    #[test]
    fn the_set_is_the_same_whatever_the_product_the_source_and_the_floor() {
        let names = |id: &str, source: &Source<'_>| -> Vec<String> {
            transfers(id, "x86-64", source).into_iter().map(|(path, _)| path).collect()
        };
        let names_of_one = names("mini", &SOURCE);
        let other = Source { feed: "http://[::1]:80", channel: "beta", floor: None };
        assert_eq!(names_of_one, names("a.b-c", &other));
        assert_eq!(names_of_one.len(), PARTS.len());
        assert!(names_of_one.is_sorted());
        let plain = &transfers("mini", "x86-64", &other)[0].1;
        assert!(!plain.contains("MinVersion") && plain.contains("Path=http://[::1]:80/beta/\n"));
    }
}
