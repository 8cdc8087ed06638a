//! The known word that is closest to an unknown one, for "did you mean".

/// The nearest of `known` to `word`, when it is near enough to be a typing error: at most a third of its letters differ.
///
/// A swap of two neighbouring letters counts as one difference.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A longer word is not a typing error; the distance costs the product of the lengths.
    const WORD_MAX: usize = 64;
    let word: Vec<char> = word.chars().take(WORD_MAX + 1).flat_map(char::to_lowercase).collect();
    if word.len() > WORD_MAX {
        return None;
    }
    let distances = known.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate.chars().take(WORD_MAX).collect();
        (distance(&word, &letters), letters.len(), candidate)
    });
    let near =
        distances.filter(|(distance, length, _)| *distance <= (word.len().max(*length) / 3).max(1));
    near.min_by_key(|(distance, ..)| *distance)
        .filter(|(distance, length, _)| distance < length)
        .map(|found| found.2)
}

/// Optimal string alignment: insert, delete, replace, swap neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = last[j] + usize::from(x != y);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_errors_find_their_word() {
        let known = ["health", "command", "port", "instances", "env"];
        for (word, found) in [
            ("helth", Some("health")),
            ("Health", Some("health")),
            ("healthcheck", None),
            ("commadn", Some("command")),
            ("ports", Some("port")),
            ("instance", Some("instances")),
            ("envs", Some("env")),
            ("x", None),
            ("", None),
            ("replicas", None),
        ] {
            assert_eq!(nearest(word, known), found, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(10_000), known), None);
    }
}
