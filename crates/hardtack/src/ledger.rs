//! Bytes by package: which are the largest, and what grew since an earlier release.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use filesystem::Extents;

/// How many packages are named one by one.
const NAMED: usize = 8;

/// Bytes by what brought them.
pub(crate) type Bytes = BTreeMap<String, u64>;

/// What the bytes of `/usr` belong to, beside those of an earlier release where there is one.
pub(crate) struct Ledger<'a> {
    now: &'a Bytes,
    before: Option<&'a Bytes>,
}

/// Bytes by what brought them, from the map of an image.
pub(crate) fn of(extents: &Extents) -> Bytes {
    let by_origin = extents.by_origin().into_iter();
    by_origin.map(|(origin, size)| (origin.to_owned(), size)).collect()
}

/// One line: a package's bytes before and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) before: u64,
    pub(crate) now: u64,
}

impl Row<'_> {
    /// Bytes by which it grew; negative where it shrank.
    pub(crate) fn growth(&self) -> i128 {
        i128::from(self.now) - i128::from(self.before)
    }
}

impl<'a> Ledger<'a> {
    /// Of a release, beside an earlier one.
    pub(crate) fn new(now: &'a Bytes, before: Option<&'a Bytes>) -> Self {
        Self { now, before }
    }

    /// Every package of the release, the largest first.
    pub(crate) fn largest(&self) -> Vec<Row<'a>> {
        let mut rows = self.rows();
        rows.retain(|row| row.now > 0);
        rows.sort_by_key(|row| (Reverse(row.now), row.name));
        rows
    }

    /// Every package whose size changed, what grew most first; none without an earlier release.
    pub(crate) fn changed(&self) -> Vec<Row<'a>> {
        if self.before.is_none() {
            return Vec::new();
        }
        let mut rows = self.rows();
        rows.retain(|row| row.growth() != 0);
        rows.sort_by_key(|row| (Reverse(row.growth()), row.name));
        rows
    }

    fn rows(&self) -> Vec<Row<'a>> {
        let before = self.before.into_iter().flat_map(BTreeMap::keys);
        let names: BTreeSet<&str> = self.now.keys().chain(before).map(String::as_str).collect();
        let of = |bytes: Option<&Bytes>, name: &str| {
            bytes.and_then(|bytes| bytes.get(name)).copied().unwrap_or_default()
        };
        let row = |name| Row { name, before: of(self.before, name), now: of(Some(self.now), name) };
        names.into_iter().map(row).collect()
    }
}

impl Display for Ledger<'_> {
    /// The largest packages, then the growth of each, what is beyond the first few summed up.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows = self.largest();
        writeln!(f, "biggest packages in /usr")?;
        for row in rows.iter().take(NAMED) {
            writeln!(f, "{:>11}  {}", inspect::bytes(row.now), row.name.escape_debug())?;
        }
        if let Some(rest) = rows.get(NAMED..).filter(|rest| !rest.is_empty()) {
            let sum = rest.iter().map(|row| row.now).sum();
            writeln!(f, "{:>11}  {} more", inspect::bytes(sum), rest.len())?;
        }
        if self.before.is_none() {
            return Ok(());
        }
        let rows = self.changed();
        let sum = rows.iter().map(Row::growth).sum();
        writeln!(f, "growth since the earlier release: {}", signed(sum))?;
        // Both ends: what grew most, and what shrank most.
        let (grown, shrunk): (Vec<Row<'_>>, Vec<Row<'_>>) =
            rows.into_iter().partition(|row| row.growth() > 0);
        let shown = grown.iter().take(NAMED).chain(shrunk.iter().rev().take(NAMED));
        for row in shown {
            let what = match (row.before, row.now) {
                (0, _) => ", new",
                (_, 0) => ", gone",
                _ => "",
            };
            writeln!(f, "{:>11}  {}{what}", signed(row.growth()), row.name.escape_debug())?;
        }
        let hidden = grown.len().saturating_sub(NAMED) + shrunk.len().saturating_sub(NAMED);
        if hidden > 0 {
            writeln!(f, "{:>11}  {hidden} more", "")?;
        }
        Ok(())
    }
}

/// Bytes in MiB, one decimal, rounded down.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

/// A difference in bytes with its sign, in the unit in which it is not zero.
pub(crate) fn signed(difference: i128) -> String {
    let sign = match difference {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    let size = u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX);
    match size {
        0..1024 => format!("{sign}{size} B"),
        1024..0x10_0000 => format!("{sign}{}.{} KiB", size >> 10, ((size % 1024) * 10) >> 10),
        _ => format!("{sign}{}", mib(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(of: &[(&str, u64)]) -> Bytes {
        of.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
    }

    #[test]
    fn the_largest_come_first_and_every_change_is_told() {
        let before = bytes(&[("a", 10 << 20), ("b", 3000), ("gone", 7)]);
        let now = bytes(&[("a", 12 << 20), ("b", 2000), ("new", 1 << 20)]);
        let text = Ledger::new(&now, Some(&before)).to_string();
        let expected = "biggest packages in /usr
     12 MiB  a
      1 MiB  new
    1.9 KiB  b
growth since the earlier release: +2.9 MiB
   +2.0 MiB  a
   +1.0 MiB  new, new
    -1000 B  b
       -7 B  gone, gone
";
        assert_eq!(text, expected);
        assert!(!Ledger::new(&now, None).to_string().contains("growth"));
    }

    #[test]
    fn what_is_not_named_is_counted() {
        let names: Vec<String> = (0..20).map(|n| format!("p{n:02}")).collect();
        let now: Bytes = names.iter().map(|name| (name.clone(), 1 << 20)).collect();
        let text = Ledger::new(&now, Some(&Bytes::new())).to_string();
        assert!(text.contains("     12 MiB  12 more\n"), "{text}");
        assert!(text.ends_with("             12 more\n"), "{text}");
    }

    #[test]
    fn a_difference_has_a_sign_and_a_unit_in_which_it_shows() {
        let cases = [(0, "0 B"), (-5, "-5 B"), (1536, "+1.5 KiB"), (-(3 << 20), "-3.0 MiB")];
        for (difference, text) in cases {
            assert_eq!(signed(difference), text);
        }
    }
}
