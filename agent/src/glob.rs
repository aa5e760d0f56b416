//! Patterns for etcd's keys: `*` stands for any bytes without a slash, `**` for any bytes at all, `?` for one that is no slash.

use std::fmt;

/// As many as can be told apart while a backup passes.
pub const MAX_GLOBS: usize = 64;

/// A pattern that was understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Segment,
    Any,
}

impl Glob {
    /// Anything but an empty text is a pattern.
    pub fn parse(text: &str) -> Result<Glob, &'static str> {
        if text.is_empty() {
            return Err("an empty pattern matches no key");
        }
        let (mut parts, mut bytes) = (Vec::new(), text.bytes().peekable());
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                b'*' if bytes.next_if_eq(&b'*').is_some() => Part::Any,
                b'*' => Part::Segment,
                b'?' => Part::One,
                byte => Part::Byte(byte),
            });
        }
        Ok(Glob { text: text.to_owned(), parts })
    }

    /// Whether the whole key fits.
    pub fn matches(&self, key: &[u8]) -> bool {
        // Which parts may come next, after the bytes so far: at most key times pattern steps, whatever the pattern.
        let end = self.parts.len();
        let mut may = vec![false; end + 1];
        may[0] = true;
        self.skip_stars(&mut may);
        for byte in key {
            let mut next = vec![false; end + 1];
            for at in (0..end).filter(|at| may[*at]) {
                match self.parts[at] {
                    Part::Byte(wanted) => next[at + 1] |= wanted == *byte,
                    Part::One => next[at + 1] |= *byte != b'/',
                    Part::Segment => next[at] |= *byte != b'/',
                    Part::Any => next[at] = true,
                }
            }
            self.skip_stars(&mut next);
            if !next.contains(&true) {
                return false;
            }
            may = next;
        }
        may[end]
    }

    /// A star may stand for nothing.
    fn skip_stars(&self, may: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Segment | Part::Any) {
                may[at + 1] |= may[at];
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_segment_unless_doubled() {
        let fits = |pattern: &str, key: &str| Glob::parse(pattern).unwrap().matches(key.as_bytes());
        assert!(fits("/registry/namespaces/kube-system", "/registry/namespaces/kube-system"));
        assert!(!fits("/registry/namespaces/kube-system", "/registry/namespaces/kube-system2"));
        assert!(fits("/registry/*/kube-system", "/registry/namespaces/kube-system"));
        assert!(!fits("/registry/*", "/registry/pods/x"));
        assert!(fits("/registry/**", "/registry/pods/x") && fits("**", "") && fits("**pods**", "/a/pods/b"));
        assert!(fits("/node-?", "/node-1") && !fits("/node-?", "/node-") && !fits("a?b", "a/b"));
        assert!(fits("*", "") && fits("a*", "a") && !fits("?", ""));
        assert!(Glob::parse("").is_err());
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let glob = Glob::parse(&"*a".repeat(60)).unwrap();
        assert!(!glob.matches(&[b'a'; 4000][..59]) && !glob.matches(&[b"a".repeat(4000), b"b".to_vec()].concat()));
    }
}
