//! What takes the place of the clock and of random numbers.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// A moment in seconds since 1970-01-01T00:00:00Z; the only time that reaches an image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Year, month (1 to 12) and day (1 to 31) in UTC, proleptic Gregorian calendar.
    pub fn date(self) -> (u64, u64, u64) {
        // Days are counted from 0000-03-01, so that the leap day ends a year.
        let days = self.0 / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        (year, month, day)
    }

    /// The moment as `2026-11-25T22:23:24Z`.
    pub fn rfc3339(self) -> String {
        let (year, month, day) = self.date();
        let s = self.0 % 86_400;
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
    }

    /// Reads a moment in the form that [`Epoch::rfc3339`] writes, years 1970 to 9999.
    ///
    /// # Errors
    /// Another form, a day that no calendar has, another zone than `Z`.
    pub fn from_rfc3339(text: &str) -> Result<Self> {
        let field = |from: usize, to: usize| -> Option<u64> { text.get(from..to)?.parse().ok() };
        let read = || -> Option<Self> {
            let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
            // As in `date`: years begin in March, so that a leap day ends them.
            let year = year.checked_sub(u64::from(month <= 2))?;
            let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
            let leap_days = year / 4 - year / 100 + year / 400;
            let days = (year * 365 + leap_days + day_of_year).checked_sub(719_468)?;
            let seconds = field(11, 13)? * 3600 + field(14, 16)? * 60 + field(17, 19)?;
            Some(Self(days * 86_400 + seconds))
        };
        // What a calendar does not have comes back otherwise.
        let read = read().filter(|moment| moment.rfc3339() == text);
        read.with_context(|| {
            let shown = text.escape_debug();
            format!("`{shown}` is no moment in UTC such as `2026-11-25T22:23:24Z`")
        })
    }
}

/// Where every id of an image comes from that no standard dictates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seed(pub Digest);

impl Seed {
    /// The seed of everything called `id`.
    pub fn of(id: &str) -> Self {
        Self(Digest::of(format!("hardtack seed {id}").as_bytes()))
    }

    /// 32 bytes for `purpose`; equal purposes give equal bytes.
    pub fn bytes(self, purpose: &str) -> [u8; 32] {
        Digest::of(format!("{} {purpose}", self.0).as_bytes()).0
    }

    /// A UUID for `purpose` in RFC 9562 byte order (version 8, variant 1).
    pub fn uuid(self, purpose: &str) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.bytes(purpose)[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_known_moments() {
        assert_eq!(Epoch(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Epoch(951_782_400).rfc3339(), "2000-02-29T00:00:00Z");
        assert_eq!(Epoch(1_795_645_404).rfc3339(), "2026-11-25T22:23:24Z");
        assert_eq!(Epoch(4_107_542_399).rfc3339(), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn a_moment_reads_back_and_what_no_calendar_has_is_refused() {
        for seconds in [0, 951_782_400, 951_868_799, 1_795_645_404, 4_107_542_399, 253_402_300_799]
        {
            assert_eq!(Epoch::from_rfc3339(&Epoch(seconds).rfc3339()).unwrap(), Epoch(seconds));
        }
        for bad in [
            "",
            "2026-11-25",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00+01:00",
            "2026-01-01 00:00:00Z",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
            "２026-01-01T00:00:00Z",
        ] {
            assert!(Epoch::from_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_differ_by_purpose_and_seed_and_are_version_8() {
        let a = Seed::of("a").uuid("disk");
        assert_eq!(a, Seed::of("a").uuid("disk"));
        assert_ne!(a, Seed::of("a").uuid("esp"));
        assert_ne!(a, Seed::of("b").uuid("disk"));
        assert_eq!((a[6] >> 4, a[8] >> 6), (8, 2));
    }
}
