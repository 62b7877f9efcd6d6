//! The order in which the loader offers what it finds (UAPI.10, "Version Format Specification",
//! and systemd-boot's own rules for counters).

use std::cmp::Ordering;

/// Compares two versions.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (skip(a), skip(b));
        // `~` before the end, the end before `-`, `-` before `^`, `^` before `.`, all before none.
        for mark in [b'~', END, b'-', b'^', b'.'] {
            let has = |text: &[u8]| text.first().copied().unwrap_or(END) == mark;
            match (has(a), has(b)) {
                (true, true) if mark == END => return Ordering::Equal,
                (true, true) => (a, b) = (&a[1..], &b[1..]),
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                (false, false) => {}
            }
        }
        let digit = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let order = if digit(a) || digit(b) {
            let (left, right) =
                (take(&mut a, u8::is_ascii_digit), take(&mut b, u8::is_ascii_digit));
            // No number at all is less than any.
            let given = left.is_empty().cmp(&right.is_empty()).reverse();
            let (left, right) = (number(left), number(right));
            given.then_with(|| left.len().cmp(&right.len())).then_with(|| left.cmp(right))
        } else {
            let alphabetic = u8::is_ascii_alphabetic;
            take(&mut a, alphabetic).cmp(take(&mut b, alphabetic))
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// What stands for the end of a text.
const END: u8 = 0;

/// Passes over what has no meaning.
fn skip(text: &[u8]) -> &[u8] {
    let means = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    &text[text.iter().position(means).unwrap_or(text.len())..]
}

fn take<'a>(text: &mut &'a [u8], of: fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|byte| !of(byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

fn number(text: &[u8]) -> &[u8] {
    &text[text.iter().position(|byte| *byte != b'0').unwrap_or(text.len())..]
}

/// The tries that a kernel image's file name leaves, where they are counted.
pub(crate) fn tries_left(file: &str) -> Option<u32> {
    inspect::loader::tries(file.get(..file.len().checked_sub(4)?)?).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_specification_s_examples() {
        for (less, more) in [
            ("0", "1"),
            ("1.1", "11"),
            ("122.1", "123~rc1-1"),
            ("123~rc1-1", "123"),
            ("123", "123-a"),
            ("123-a", "123-a.1"),
            ("123-a.1", "123-1"),
            ("123-1.1", "123^post1"),
            ("123^post1", "123.a-1"),
            ("123.1-1", "123a-1"),
            ("1_", "1.2"),
            ("", "0"),
            ("~", ""),
            ("B", "a"),
            ("1.2", "1.10"),
            ("202611.24.0", "202611.24.1"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
        assert_eq!(compare("1_", "+1"), Ordering::Equal);
        assert_eq!(compare("1_2", "1_02"), Ordering::Equal);
    }

    #[test]
    fn a_counter_is_read_from_a_name() {
        assert_eq!(tries_left("mini_2+1-0.efi"), Some(1));
        assert_eq!(tries_left("mini_2+0-1.efi"), Some(0));
        assert_eq!(tries_left("mini_2+3.efi"), Some(3));
        assert_eq!(tries_left("mini_2.efi"), None);
        assert_eq!(tries_left("mini_2+x.efi"), None);
    }
}
