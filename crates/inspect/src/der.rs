//! Just enough of DER (X.690) to walk through certificates and signatures.

use anyhow::{Context, Result, bail};

use crate::bytes::{slice, u8_at};

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// The tag of a constructed, context-specific value.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One value: its tag, its content, and both with the length between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// The values that stand one after the other in some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next value; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Value<'a>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let value = first(self.0)?;
        self.0 = slice(self.0, value.whole.len(), self.0.len() - value.whole.len())?;
        Ok(Some(value))
    }

    /// The next value, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Result<Value<'a>> {
        let value =
            self.next()?.with_context(|| format!("a value of tag {tag:#04x} is missing"))?;
        if value.tag != tag {
            bail!("a value has tag {:#04x}, not {tag:#04x}", value.tag);
        }
        Ok(value)
    }

    /// The next value if it has this tag; else nothing is taken.
    pub(crate) fn maybe(&mut self, tag: u8) -> Result<Option<Value<'a>>> {
        if self.0.first() == Some(&tag) { self.next() } else { Ok(None) }
    }
}

impl<'a> Value<'a> {
    /// The values inside.
    pub(crate) fn inside(&self) -> Values<'a> {
        Values(self.body)
    }
}

fn first(bytes: &[u8]) -> Result<Value<'_>> {
    let tag = u8_at(bytes, 0)?;
    if tag & 0x1f == 0x1f {
        bail!("tag {tag:#04x} has more than one byte");
    }
    let short = u8_at(bytes, 1)?;
    let (head, length) = match short {
        0..=0x7f => (2, usize::from(short)),
        // At most four bytes of length, and never "until the end".
        0x81..=0x84 => {
            let count = usize::from(short & 0x7f);
            let digits = slice(bytes, 2, count)?.iter();
            let length = digits.fold(0, |length, byte| length << 8 | usize::from(*byte));
            (2 + count, length)
        }
        _ => bail!("length {short:#04x} is not DER"),
    };
    let end = head.checked_add(length).context("measure a value")?;
    Ok(Value { tag, body: slice(bytes, head, length)?, whole: slice(bytes, 0, end)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_walked_and_what_is_cut_or_endless_is_refused() {
        let bytes = [0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0x07];
        let mut inside = Values::of(&bytes).take(SEQUENCE).unwrap().inside();
        assert_eq!(inside.take(INTEGER).unwrap().body, [5]);
        assert_eq!(inside.maybe(SET).unwrap(), None);
        assert_eq!(inside.take(OCTET_STRING).unwrap().whole, [4, 1, 7]);
        assert!(inside.next().unwrap().is_none());
        for bad in
            [&[0x30][..], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x1f, 1, 1]]
        {
            assert!(Values::of(bad).next().is_err(), "{bad:x?}");
        }
    }
}
