//! Which moments a power cut is tried at: after every write and flush, inside writes, and with
//! only some of the writes since the last flush on the medium.

use anyhow::Result;

use super::disk::{Disk, Layer};
use super::log::{Entry, Log, SECTOR};

/// A moment: the writes on the medium are the first `until` entries, then the sectors of `more`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: Kind,
    /// Entries of the log that are on the medium whole.
    pub(crate) until: usize,
    /// Entries behind them of which this many sectors are.
    pub(crate) more: Vec<(usize, u64)>,
}

/// How the cut was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Everything up to a flush.
    Flush,
    /// Everything up to a write.
    Write,
    /// The last write in part.
    Torn,
    /// Some of the writes behind the last flush.
    Reordered,
}

/// Seeded random numbers (SplitMix64): the same cuts in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// A write is torn at every sector up to this many, else at its first, last and two between.
const TORN_WHOLE: u64 = 8;
/// Random subsets of one epoch.
const SUBSETS: usize = 6;
/// Up to so many writes of an epoch are each left out, and each alone, once.
const SINGLES: usize = 24;
/// An epoch of more bytes is not tried with single writes left out: each costs them all.
const SINGLES_BYTES: u64 = 16 << 20;

/// Plays the log onto the disk and shows every cut, in the log's order, to `look`.
pub(crate) fn play(
    disk: &mut Disk,
    log: &Log,
    numbers: &mut Numbers,
    look: &mut dyn FnMut(&mut Disk, &Cut) -> Result<()>,
) -> Result<()> {
    let mut start = 0;
    for epoch in log.entries.split_inclusive(|entry| *entry == Entry::Flush) {
        for more in subsets(log, start, epoch, numbers) {
            for (index, sectors) in &more {
                disk.apply(log, &log.entries[*index], *sectors, Layer::Loose)?;
            }
            look(disk, &Cut { kind: Kind::Reordered, until: start, more })?;
            disk.forget();
        }
        for (index, entry) in (start..).zip(epoch) {
            let Some((_, sectors)) = entry.range() else {
                look(disk, &Cut { kind: Kind::Flush, until: index + 1, more: Vec::new() })?;
                continue;
            };
            for kept in torn(sectors, numbers) {
                disk.apply(log, entry, kept, Layer::Loose)?;
                let more = vec![(index, kept)];
                look(disk, &Cut { kind: Kind::Torn, until: index, more })?;
                disk.forget();
            }
            disk.apply(log, entry, sectors, Layer::Settled)?;
            look(disk, &Cut { kind: Kind::Write, until: index + 1, more: Vec::new() })?;
        }
        start += epoch.len();
    }
    Ok(())
}

/// After how many sectors a write is cut.
fn torn(sectors: u64, numbers: &mut Numbers) -> Vec<u64> {
    if sectors <= TORN_WHOLE {
        return (1..sectors).collect();
    }
    let mut cuts = vec![1, sectors - 1];
    for _ in 0..2 {
        cuts.push(1 + numbers.below(sectors - 1));
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Writes of an epoch that are on the medium although others before them are not.
fn subsets(
    log: &Log,
    start: usize,
    epoch: &[Entry],
    numbers: &mut Numbers,
) -> Vec<Vec<(usize, u64)>> {
    let writes: Vec<(usize, u64)> =
        (start..).zip(epoch).filter_map(|(index, entry)| Some((index, entry.range()?.1))).collect();
    if writes.len() < 2 {
        return Vec::new();
    }
    let bytes: u64 = writes.iter().map(|(_, sectors)| sectors * SECTOR).sum();
    let mut subsets = Vec::new();
    if writes.len() <= SINGLES {
        // The first alone is a prefix already, and so is all but the last.
        subsets.extend(writes[1..].iter().map(|write| vec![*write]));
    }
    if writes.len() <= SINGLES && bytes <= SINGLES_BYTES {
        for absent in 1..writes.len() - 1 {
            let mut some = writes.clone();
            some.remove(absent);
            subsets.push(some);
        }
    }
    let random = if bytes <= SINGLES_BYTES { SUBSETS } else { 2 };
    for _ in 0..random {
        // What is written behind the cut is not on the medium at all.
        let length = 2 + numbers.below(writes.len() as u64 - 1) as usize;
        let mut some = Vec::new();
        for (index, sectors) in &writes[..length] {
            match numbers.below(4) {
                0 => {}
                1 if *sectors > 1 => some.push((*index, 1 + numbers.below(sectors - 1))),
                _ => some.push((*index, *sectors)),
            }
        }
        subsets.push(some);
    }
    // A write that goes through the disk's cache is there once the next one began.
    for some in &mut subsets {
        let last = some.iter().map(|(index, _)| *index).max().unwrap_or(start);
        for (index, sectors) in writes.iter().filter(|(index, _)| *index < last) {
            if matches!(log.entries[*index], Entry::Write { through: true, .. }) {
                some.retain(|(other, _)| other != index);
                some.push((*index, *sectors));
            }
        }
        some.sort_unstable();
    }
    subsets
}
