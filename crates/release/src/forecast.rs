//! Whether a slot will be full soon, from what its content grew by.

use crate::channel::{KERNELS, Slots, Version};

/// How many releases ahead a slot must not be full.
pub const AHEAD: u64 = 6;

/// How many of the last releases say how a part grows.
const RELEASES: usize = 6;

/// A slot that growth fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The part: `usr`, `usr-verity` or `uki`.
    pub part: String,
    /// Its size now, in bytes; of a kernel image, [`KERNELS`] of them.
    pub size: u64,
    /// The slot's size, in bytes.
    pub slot: u64,
    /// Growth of one release, in bytes.
    pub growth: u64,
    /// After how many further releases it no longer fits: at most [`AHEAD`].
    pub after: u64,
}

/// What fills within [`AHEAD`] releases when the last ones of `versions` (oldest first) go on
/// growing as they did; the slots are those of the newest.
pub fn forecast(versions: &[Version]) -> Vec<Forecast> {
    let Some(newest) = versions.last() else { return Vec::new() };
    let Slots { esp, usr, verity, signature: _ } = newest.layout;
    let parts = [("usr", usr, 1), ("usr-verity", verity, 1), ("uki", esp, KERNELS)];
    let last = versions.get(versions.len().saturating_sub(RELEASES)..).unwrap_or(versions);
    let of = |(part, slot, times): (&str, u64, u64)| {
        let sizes: Vec<u64> = last
            .iter()
            .filter_map(|version| Some(version.parts.get(part)?.content_size.saturating_mul(times)))
            .collect();
        let growth = growth(&sizes);
        let size = *sizes.last()?;
        let after = slot.saturating_sub(size).checked_div(growth)?.saturating_add(1);
        (after <= AHEAD).then(|| Forecast { part: part.to_owned(), size, slot, growth, after })
    };
    parts.into_iter().filter_map(of).collect()
}

/// The slope of the line through `sizes` that has the least squares of errors, rounded down; 0
/// where it falls, and for fewer than two.
fn growth(sizes: &[u64]) -> u64 {
    // Twice the distance to the middle keeps it in whole numbers.
    let count = i128::try_from(sizes.len()).unwrap_or_default();
    let from_middle = |at: i128| 2 * at - (count - 1);
    let (mut over, mut under) = (0_i128, 0_i128);
    for (at, size) in (0..count).zip(sizes) {
        over += from_middle(at) * i128::from(*size);
        under += from_middle(at) * from_middle(at);
    }
    let slope = (2 * over).checked_div(under).unwrap_or_default();
    u64::try_from(slope).unwrap_or_default()
}

impl std::fmt::Display for Forecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kib = |bytes: u64| bytes >> 10;
        let Self { part, size, slot, growth, after } = self;
        let many = if part == "uki" { "three kernel images take" } else { "it takes" };
        write!(
            f,
            "part `{part}` grows by {} KiB a release: {many} {} KiB of a slot of {} KiB, which is \
             full at release {after} from now; installed hosts keep their slots, so ship less",
            kib(*growth),
            kib(*size),
            kib(*slot)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::PartFile;

    const MIB: u64 = 1 << 20;

    fn versions(sizes: &[u64]) -> Vec<Version> {
        let version = |size: &u64| {
            let part = PartFile {
                file: String::new(),
                size: 0,
                sha256: String::new(),
                content_size: *size,
                content_sha256: String::new(),
            };
            Version {
                version: String::new(),
                epoch: String::new(),
                root_hash: String::new(),
                tool: String::new(),
                loader_sha256: String::new(),
                uki_sha256: String::new(),
                layout: Slots { esp: 512 * MIB, usr: 100 * MIB, verity: MIB, signature: 4096 },
                transfers: vec![],
                parts: [("usr".to_owned(), part)].into(),
                packages: Default::default(),
                bytes: Default::default(),
            }
        };
        sizes.iter().map(version).collect()
    }

    fn after(sizes: &[u64]) -> Option<u64> {
        let sizes: Vec<u64> = sizes.iter().map(|mib| mib * MIB).collect();
        forecast(&versions(&sizes)).first().map(|forecast| forecast.after)
    }

    #[test]
    fn steady_growth_is_told_six_releases_before_the_slot_is_full_and_not_earlier() {
        assert_eq!(after(&[60, 64, 68, 72, 76]), None);
        assert_eq!(after(&[60, 65, 70, 75]), Some(6));
        assert_eq!(after(&[80, 90, 99]), Some(1));
        assert_eq!(after(&[99, 100]), Some(1));
    }

    #[test]
    fn nothing_is_told_of_one_release_of_none_and_of_what_shrinks_or_stays() {
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[99]), None);
        assert_eq!(after(&[99, 98, 97]), None);
        assert_eq!(after(&[99, 99, 99]), None);
    }

    #[test]
    fn one_release_that_jumps_and_falls_back_is_no_trend() {
        assert_eq!(after(&[50, 50, 80, 50, 50]), None);
        // Older growth than that of the last six is forgotten.
        assert_eq!(after(&[10, 90, 90, 90, 90, 90, 90]), None);
    }

    #[test]
    fn three_kernel_images_share_the_esp() {
        let mut all = versions(&[MIB, MIB]);
        for (version, size) in all.iter_mut().zip([150, 165]) {
            let mut part = version.parts["usr"].clone();
            part.content_size = size * MIB;
            version.parts.insert("uki".to_owned(), part);
        }
        let told = forecast(&all);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].part.as_str(), told[0].after), ("uki", 1));
        assert!(told[0].to_string().contains("three kernel images"), "{}", told[0]);
    }
}
