//! Which known word somebody probably meant.

/// Words that people bring from other tools, and ours for the same thing.
const SYNONYMS: &[(&str, &str)] = &[
    ("retention", "keep"),
    ("policy", "keep"),
    ("store", "stores"),
    ("storage", "stores"),
    ("bucket", "stores"),
    ("timezone", "time_zone"),
    ("tz", "time_zone"),
    ("cron", "schedule"),
    ("interval", "schedule"),
    ("address", "listen"),
    ("cacert", "ca_file"),
    ("ca", "ca_file"),
    ("cert", "cert_file"),
    ("key", "key_file"),
    ("username", "user"),
    ("password", "password_file"),
    ("identity", "identity_file"),
    ("timeouts", "limits"),
    ("directory", "dir"),
    ("size", "max"),
];

/// The nearest of `known`, if it is near enough to be a slip rather than another thing.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    if word.chars().count() > 64 {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let synonyms = SYNONYMS.iter().filter(|(_, ours)| *ours == candidate).map(|(theirs, _)| *theirs);
        for spelling in std::iter::once(candidate).chain(synonyms) {
            let far = distance(&word, &spelling.to_ascii_lowercase());
            let allowed = (spelling.chars().count() / 3).max(usize::from(word.len() > 2));
            if far <= allowed && best.is_none_or(|(least, _)| far < least) {
                best = Some((far, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters to add, drop, change, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, left) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let changed = above[j] + usize::from(left != *right);
            let mut least = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if j > 0 && last == Some(*right) && left == b[j - 1] {
                least = least.min(older[j - 1] + 1);
            }
            row.push(least);
        }
        older = std::mem::replace(&mut above, row);
        last = Some(left);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("keep", "keep"), 0);
        assert_eq!(distance("inof", "info"), 1);
        assert_eq!(distance("abcd", "badc"), 2);
    }

    #[test]
    fn a_slip_and_a_foreign_word_find_ours() {
        let known = ["cluster", "keep", "stores", "time_zone"];
        assert_eq!(nearest("clutser", known), Some("cluster"));
        assert_eq!(nearest("retension", known), Some("keep"));
        assert_eq!(nearest("timezone", known), Some("time_zone"));
        assert_eq!(nearest("frobnicate", known), None);
    }
}
