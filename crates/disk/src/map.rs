//! A disk as people read it.

use std::fmt;

use crate::{Disk, Partition, Region};

impl fmt::Display for Disk {
    /// The partition map, one line per partition: number, label, start, size, used and free.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "disk {} of {}, sectors of {} bytes",
            self.uuid,
            bytes(self.size),
            self.sector
        )?;
        let rows: Vec<(&Region, &Partition)> =
            self.regions.iter().filter_map(|r| Some((r, r.partition.as_ref()?))).collect();
        let widest = rows.iter().map(|(_, p)| p.label.chars().count()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            " # {:16} {:widest$} {:>10} {:>10} {:>10} {:>10}",
            "what", "label", "start", "size", "used", "free"
        )?;
        for (region, partition) in rows {
            writeln!(
                f,
                "{:2} {:16} {:widest$} {:>10} {:>10} {:>10} {:>10}",
                partition.number,
                region.name,
                partition.label,
                // Partitions begin at whole MiB: exact, where the others are rounded.
                format!("{} MiB", region.offset >> 20),
                bytes(region.length),
                bytes(partition.used),
                bytes(partition.free),
            )?;
        }
        Ok(())
    }
}

/// `bytes` in the largest unit that keeps at least one digit before the point.
fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((name, unit)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        // Integers alone: tenths, rounded down.
        Some((name, unit)) => {
            format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
        }
    }
}
