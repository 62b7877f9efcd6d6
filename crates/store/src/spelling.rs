//! Which known name was meant.

/// The known name with the fewest edits, if they are few for its length; of several the first in
/// the alphabet.
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (distance(wrong, name), name)).min()?;
    (near.0 <= near.1.chars().count().max(3) / 3 + 1).then_some(near.1)
}

/// Edits between two words: one letter more, less, other, or two neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(100).collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let other = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = other.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("pakcages", "packages"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("file", "files"), 1);
        assert_eq!(nearest("pakages", ["about", "packages"].into_iter()), Some("packages"));
        assert_eq!(nearest("zzz", ["about", "packages"].into_iter()), None);
    }
}
