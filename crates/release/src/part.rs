//! The files of one version in an update feed, and their names.
//!
//! `<id>_<version>_<partition uuid>.<part>` for what goes into a partition, `<id>_<version>.<part>`
//! for the kernel image; the part's name carries the architecture as the Discoverable Partitions
//! Specification writes it, so that a host never takes another machine's. The same table gives the
//! patterns of `sysupdate.d(5)` that find them.

/// What the client does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Content of a partition of this type; its label begins with `<id>_<version>`.
    Partition(&'static str),
    /// A file on the EFI system partition.
    Esp,
}

/// One file of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Begins the transfer file's name: the client works in this order, and a kernel image without
    /// its `/usr` must never be seen, so it comes last.
    pub order: &'static str,
    /// What it is, for people and for manifests.
    pub name: &'static str,
    /// Follows the architecture in file names.
    pub suffix: &'static str,
    /// Where it goes.
    pub place: Place,
    /// Whether it is compressed on its way.
    pub compressed: bool,
}

/// Every file of a version, in the order in which the client installs them.
pub const PARTS: &[Part] = &[
    Part {
        order: "50",
        name: "usr-verity-sig",
        suffix: "usr-verity-sig.raw",
        place: Place::Partition("usr-verity-sig"),
        compressed: false,
    },
    Part {
        order: "55",
        name: "usr-verity",
        suffix: "usr-verity.raw.gz",
        place: Place::Partition("usr-verity"),
        compressed: true,
    },
    Part {
        order: "60",
        name: "usr",
        suffix: "usr.raw.gz",
        place: Place::Partition("usr"),
        compressed: true,
    },
    Part { order: "70", name: "uki", suffix: "efi", place: Place::Esp, compressed: false },
];

impl Part {
    /// The file's name. `uuid` is that of the partition; the kernel image has none.
    pub fn file(&self, id: &str, architecture: &str, version: &str, uuid: &str) -> String {
        match self.place {
            Place::Partition(_) => format!("{id}_{version}_{uuid}.{architecture}.{}", self.suffix),
            Place::Esp => format!("{id}_{version}.{architecture}.{}", self.suffix),
        }
    }

    /// The pattern of `sysupdate.d(5)` that finds it in a feed.
    pub fn pattern(&self, id: &str, architecture: &str) -> String {
        self.file(id, architecture, "@v", "@u")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_product_architecture_and_version_and_the_kernel_comes_last() {
        let names: Vec<_> = PARTS.iter().map(|p| p.file("mini", "x86-64", "1.2", "u-u")).collect();
        assert_eq!(names[2], "mini_1.2_u-u.x86-64.usr.raw.gz");
        assert_eq!(names[3], "mini_1.2.x86-64.efi");
        assert_eq!(PARTS[2].pattern("mini", "x86-64"), "mini_@v_@u.x86-64.usr.raw.gz");
        assert!(PARTS.is_sorted_by_key(|part| part.order));
        assert_eq!(PARTS.last().map(|part| part.place), Some(Place::Esp));
    }
}
