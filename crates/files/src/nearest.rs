//! "Did you mean": the most similar of some names.

use crate::shown;

/// Names beyond this length are not compared, nor are more candidates than this: a hostile file has millions.
const MAX_NAME: usize = 200;
const MAX_CANDIDATES: usize = 1000;

/// The candidate with the smallest edit distance to `name`, if that is small for its length.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is another name.
    let limit = name.len() / 3;
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|c| c.len().max(name.len()) <= MAX_NAME && c.len().abs_diff(name.len()) <= limit)
        .map(|c| (distance(name.as_bytes(), c.as_bytes()), c))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, c)| c)
}

/// What to add to the message that there is no such name: `` "; did you mean `X`?" ``, or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |it| format!("; did you mean `{}`?", shown(it)))
}

/// Bytes that are inserted, left out or replaced, and neighbours that are exchanged, on the shortest way from `a` to `b` (optimal
/// string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(above[j - 1] + 1);
            }
            next.push(least);
        }
        above = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("qk", "qkv", 1),
            ("quikc", "quick", 1),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), edits, "{b} {a}");
        }
    }

    #[test]
    fn nearest_is_the_least_edited_and_never_a_stranger() {
        let names = ["blocks.0.attn.qkv.weight", "blocks.0.attn.v.weight", "head.bias"];
        assert_eq!(nearest("blocks.0.attn.qk.weight", names).unwrap(), "blocks.0.attn.qkv.weight");
        assert_eq!(nearest("pos_embed", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(did_you_mean("head.bais", names), "; did you mean `head.bias`?");
        assert_eq!(did_you_mean("pos_embed", names), "");
    }
}
