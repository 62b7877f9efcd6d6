//! Which of two versions is newer (UAPI.10, Version Format Specification).
//!
//! The update client and the boot loader order versions by it, so everything that we write or
//! check for them does too. Every pair of texts has an order; letters, digits, `~`, `-`, `^` and
//! `.` take part in it, any other character is passed over.

use std::cmp::Ordering;

/// Compares two versions by UAPI.10: `Less` when `a` is the older one.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip(a, |byte| !takes_part(byte));
        b = skip(b, |byte| !takes_part(byte));

        // What a tilde begins comes before a release, and so before the end of the text too.
        let order = separator(&mut a, &mut b, b'~');
        if order.is_ne() {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        for byte in *b"-^." {
            let order = separator(&mut a, &mut b, byte);
            if order.is_ne() {
                return order;
            }
        }

        let digits = [a, b].iter().any(|text| text.first().is_some_and(u8::is_ascii_digit));
        let order = if digits {
            let (one, two) = (take(&mut a, u8::is_ascii_digit), take(&mut b, u8::is_ascii_digit));
            number(one, two)
        } else {
            take(&mut a, u8::is_ascii_alphabetic).cmp(take(&mut b, u8::is_ascii_alphabetic))
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn takes_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"~-^.".contains(&byte)
}

/// When either text begins with this separator: that one is the older; when both do, passes it.
fn separator(a: &mut &[u8], b: &mut &[u8], byte: u8) -> Ordering {
    match (a.strip_prefix(&[byte]), b.strip_prefix(&[byte])) {
        (Some(rest_a), Some(rest_b)) => {
            (*a, *b) = (rest_a, rest_b);
            Ordering::Equal
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Numbers of any length; none at all is less than any.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let [value_a, value_b] = [a, b].map(|digits| skip(digits, |digit| digit == b'0'));
    (!a.is_empty(), value_a.len(), value_a).cmp(&(!b.is_empty(), value_b.len(), value_b))
}

fn skip(text: &[u8], unwanted: fn(u8) -> bool) -> &[u8] {
    let start = text.iter().position(|byte| !unwanted(*byte)).unwrap_or(text.len());
    &text[start..]
}

fn take<'a>(text: &mut &'a [u8], wanted: fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|byte| !wanted(byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's examples.
    const EXAMPLES: &[(&str, Ordering, &str)] = &[
        ("11", Ordering::Equal, "11"),
        ("systemd-123", Ordering::Equal, "systemd-123"),
        ("bar-123", Ordering::Less, "foo-123"),
        ("123a", Ordering::Greater, "123"),
        ("123.a", Ordering::Greater, "123"),
        ("123.a", Ordering::Less, "123.b"),
        ("123a", Ordering::Greater, "123.a"),
        ("11α", Ordering::Equal, "11β"),
        ("B", Ordering::Less, "a"),
        ("", Ordering::Less, "0"),
        ("0.", Ordering::Greater, "0"),
        ("0.0", Ordering::Greater, "0"),
        ("0", Ordering::Greater, "~"),
        ("", Ordering::Greater, "~"),
        ("1_", Ordering::Equal, "1"),
        ("_1", Ordering::Equal, "1"),
        ("1_", Ordering::Less, "1.2"),
        ("1_2_3", Ordering::Greater, "1.3.3"),
        ("1+", Ordering::Equal, "1"),
        ("+1", Ordering::Equal, "1"),
        ("1+", Ordering::Less, "1.2"),
        ("1+2+3", Ordering::Greater, "1.3.3"),
    ];
    /// The specification's chain: each is less than all to its right.
    const RISING: &[&str] = &[
        "122.1",
        "123~rc1-1",
        "123",
        "123-a",
        "123-a.1",
        "123-1",
        "123-1.1",
        "123^post1",
        "123.a-1",
        "123.1-1",
        "123a-1",
        "124-1",
    ];
    /// What others are made of.
    const PIECES: &[&str] =
        &["0", "1", "9", "10", "007", "a", "b", "Z", "~", "~~", "+", ".", "-", "rc", "^", "_", ","];

    #[test]
    fn the_specification_s_examples_hold() {
        for (a, order, b) in EXAMPLES {
            assert_eq!(compare(a, b), *order, "`{a}` and `{b}`");
            assert_eq!(compare(b, a), order.reverse(), "`{b}` and `{a}`");
        }
        for (i, a) in RISING.iter().enumerate() {
            for (j, b) in RISING.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "`{a}` and `{b}`");
            }
        }
    }

    #[test]
    fn numbers_longer_than_any_integer_and_with_zeros_in_front_are_numbers() {
        let (small, great) = ("9".repeat(50), format!("1{}", "0".repeat(50)));
        assert_eq!(compare(&small, &great), Ordering::Less);
        assert_eq!(compare("1.007", "1.7"), Ordering::Equal);
    }

    fn generated(count: usize) -> Vec<(String, String)> {
        let mut state = 1u64;
        let mut draw = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut version = || {
            // One beginning for all, so that the later pieces decide.
            let mut text = String::from("1");
            (0..draw(6)).for_each(|_| text.push_str(PIECES[draw(PIECES.len())]));
            text
        };
        (0..count).map(|_| (version(), version())).collect()
    }

    /// The lines `a relation b` that systemd does not agree with: one shell asks for all of them.
    /// What it says of characters that separate goes nowhere.
    fn disputed(lines: &[String]) -> String {
        let ask = r#"while read -r a relation b
            do "$1" compare-versions "$a" "$relation" "$b" 2>&- || echo "$a $relation $b"
            done < "$0""#;
        let file = judge::scratch("order").join("lines");
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        let systemd = judge::tool("systemd-analyze");
        let mut shell = judge::tool("sh");
        let ran = judge::run(shell.arg("-c").arg(ask).arg(&file).arg(systemd.get_program()));
        assert!(ran.ok, "{}", ran.text);
        ran.text
    }

    #[test]
    fn generated_orders_are_those_that_systemd_sees() {
        let line = |a: &str, b: &str| {
            let relation = match compare(a, b) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            format!("{a} {relation} {b}")
        };
        let mut lines: Vec<_> = generated(120).iter().map(|(a, b)| line(a, b)).collect();
        let named = EXAMPLES.iter().filter(|(a, _, b)| !a.is_empty() && !b.is_empty());
        lines.extend(named.map(|(a, _, b)| line(a, b)));
        assert_eq!(disputed(&lines), "");
        let wrong = "1.10 lt 1.9".to_owned();
        assert_eq!(disputed(std::slice::from_ref(&wrong)).trim_end(), wrong, "it refuses a lie");
    }
}
