//! The footer of a fixed virtual hard disk (Virtual Hard Disk Format 1.0, "Hard Disk Footer").

use anyhow::{Context, Result, bail};
use store::{Digest, Seed, encode};

use crate::Disk;

/// Bytes of the footer.
pub(crate) const FOOTER: usize = 512;

/// Readers that know this creator take the size from the size field; with an unknown one they
/// believe the cylinder count, which cannot express every size.
const CREATOR: &[u8; 4] = b"win ";

/// 2000-01-01T00:00:00Z, where the format's time begins.
const YEAR_2000: u64 = 946_684_800;

/// The footer that makes the disk's bytes a VHD. Azure wants whole MiB.
pub(crate) fn footer(disk: &Disk) -> Result<[u8; FOOTER]> {
    if disk.size == 0 || !disk.size.is_multiple_of(1 << 20) {
        bail!("VHD of {} bytes: the size is no positive multiple of 1 MiB", disk.size);
    }
    let time = u32::try_from(disk.epoch.0.saturating_sub(YEAR_2000))
        .with_context(|| format!("write the time {} into a VHD", disk.epoch.rfc3339()))?;
    let (cylinders, heads, sectors) = geometry(disk.size / 512);
    let id = Seed(Digest::of(&encode(disk)?)).uuid("vhd");

    let mut footer = [0; FOOTER];
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"conectix");
    put(8, &2u32.to_be_bytes()); // features: reserved, always set
    put(12, &0x0001_0000u32.to_be_bytes()); // file format version 1.0
    put(16, &u64::MAX.to_be_bytes()); // data offset: none in a fixed disk
    put(24, &time.to_be_bytes());
    put(28, CREATOR);
    put(32, &0x000a_0000u32.to_be_bytes()); // creator version
    put(36, b"Wi2k"); // creator host system
    put(40, &disk.size.to_be_bytes()); // original size
    put(48, &disk.size.to_be_bytes()); // current size
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    put(60, &2u32.to_be_bytes()); // disk type: fixed
    put(68, &id);
    let sum = footer.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    Ok(footer)
}

/// Cylinders, heads and sectors per track for so many sectors of 512 bytes (appendix "CHS
/// calculation"): the most that they can express, where that is less.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    const MOST_CYLINDERS: u64 = 65_535;
    let total = sectors.min(MOST_CYLINDERS * 16 * 255);
    let (heads, per_track) = if total > MOST_CYLINDERS * 16 * 63 {
        (16, 255)
    } else {
        let heads = (total / 17).div_ceil(1024).max(4);
        if heads <= 16 && total / 17 < heads * 1024 {
            (heads, 17)
        } else if total / 31 < 16 * 1024 {
            (16, 31)
        } else {
            (16, 63)
        }
    };
    let cylinders = total / per_track / heads;
    (cylinders.min(MOST_CYLINDERS) as u16, heads as u8, per_track as u8)
}

#[cfg(test)]
mod tests {
    use store::Epoch;

    use super::*;

    fn disk(size: u64) -> Disk {
        let uuid = "00000000-0000-8000-8000-000000000000".into();
        Disk { sector: 512, size, uuid, epoch: Epoch(1_795_645_404), regions: Vec::new() }
    }

    #[test]
    fn a_footer_reads_back_and_describes_its_disk() {
        let size = 31_122 << 20;
        let footer = footer(&disk(size)).unwrap();
        let u64_at = |at: usize| u64::from_be_bytes(footer[at..at + 8].try_into().unwrap());
        assert_eq!((u64_at(40), u64_at(48)), (size, size));
        assert_eq!(&footer[28..32], b"win ");
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        let stored: u32 = footer[64..68].iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(!(sum - stored), u32::from_be_bytes(footer[64..68].try_into().unwrap()));
    }

    #[test]
    fn a_size_that_azure_refuses_is_refused() {
        assert!(footer(&disk((1 << 30) + 512)).is_err());
        assert!(footer(&disk(0)).is_err());
    }

    #[test]
    fn another_content_is_another_vhd() {
        assert_ne!(
            footer(&disk(1 << 20)).unwrap()[68..84],
            footer(&disk(2 << 20)).unwrap()[68..84]
        );
    }

    #[test]
    fn cylinders_never_say_more_than_there_is() {
        for mib in [1, 3, 32, 127, 500, 504, 505, 3_072, 30_720, 65_536, 130_000, 1_047_552] {
            let sectors = mib * 2048;
            let (cylinders, heads, per_track) = geometry(sectors);
            let said = u64::from(cylinders) * u64::from(heads) * u64::from(per_track);
            assert!(said <= sectors && cylinders > 0, "{mib} MiB: {said} of {sectors}");
        }
    }
}
