//! What every byte of a sound database is for, by a walk of its own that trusts all it reads.

/// The use of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// In a page that nothing refers to.
    Free,
    /// Behind the items of a page.
    Slack,
    /// The two metas and their headers.
    Meta,
    /// Headers and tables of pages, the stored freelist.
    Structure,
    /// The number of a child's page or of a bucket's root.
    Pointer,
    /// The sequence of a bucket, which etcd does not use.
    Sequence,
    /// A key in a branch.
    BranchKey,
    /// A bucket's name.
    Name,
    /// A revision record in the `key` bucket.
    Record,
    /// Keys and values of `meta` and `members`, but for the one that no report shows.
    Shown,
    /// Keys and values of other buckets.
    Other,
}

pub struct Anatomy {
    pub page_bytes: usize,
    pub parts: Vec<Part>,
    /// Branches and leaves in use, by the offset of their first byte.
    pub pages: Vec<usize>,
}

pub fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

struct Walk<'a> {
    bytes: &'a [u8],
    map: Anatomy,
}

/// Walks a database that has no trailer.
pub fn anatomy(bytes: &[u8]) -> Anatomy {
    let page_bytes = number(bytes, 24, 4);
    let map = Anatomy { page_bytes, parts: vec![Part::Free; bytes.len()], pages: vec![] };
    let mut walk = Walk { bytes, map };
    for meta in [0, page_bytes] {
        walk.mark(meta, page_bytes, Part::Slack);
        walk.mark(meta, 80, Part::Meta);
    }
    walk.tree(number(bytes, 32, 8), "");
    let freelist = number(bytes, 48, 8);
    if freelist < bytes.len() {
        walk.mark(freelist * page_bytes, page_bytes, Part::Slack);
        walk.mark(freelist * page_bytes, 16 + 8 * number(bytes, freelist * page_bytes + 10, 2), Part::Structure);
    }
    walk.map
}

impl Walk<'_> {
    fn mark(&mut self, at: usize, len: usize, part: Part) {
        self.map.parts[at..at + len].fill(part);
    }

    /// Walks a tree; the root's own has no name.
    fn tree(&mut self, page: usize, bucket: &str) {
        let at = page * self.map.page_bytes;
        self.map.pages.push(at);
        let pages = 1 + number(self.bytes, at + 12, 4);
        self.mark(at, pages * self.map.page_bytes, Part::Slack);
        if number(self.bytes, at + 8, 2) == 2 {
            return self.leaf(at, bucket, false);
        }
        let count = number(self.bytes, at + 10, 2);
        self.mark(at, 16 + 16 * count, Part::Structure);
        for element in (at + 16..).step_by(16).take(count) {
            self.mark(element + 8, 8, Part::Pointer);
            let key = element + number(self.bytes, element, 4);
            self.mark(key, number(self.bytes, element + 4, 4), Part::BranchKey);
            self.tree(number(self.bytes, element + 8, 8), bucket);
        }
    }

    /// Inline leaves end with their items. In others nothing stands behind the last item that its lengths must agree
    /// with, so these count as its content.
    fn leaf(&mut self, at: usize, bucket: &str, inline: bool) {
        let count = number(self.bytes, at + 10, 2);
        self.mark(at, 16 + 16 * count, Part::Structure);
        for element in (at + 16..).step_by(16).take(count) {
            let field = |place: usize| number(self.bytes, element + place, 4);
            let (key, key_len, value_len) = (element + field(4), field(8), field(12));
            let name = String::from_utf8_lossy(&self.bytes[key..key + key_len]).into_owned();
            if bucket.is_empty() {
                self.mark(key, key_len, Part::Name);
                self.bucket(key + key_len, &name);
                continue;
            }
            let part = match bucket {
                "key" => Part::Record,
                "meta" if name != "confState" => Part::Shown,
                "members" => Part::Shown,
                _ => Part::Other,
            };
            self.mark(key, key_len + value_len, part);
            if !inline && element + 16 == at + 16 + 16 * count {
                self.mark(element + 8, 8, part);
            }
        }
    }

    fn bucket(&mut self, at: usize, name: &str) {
        self.mark(at, 8, Part::Pointer);
        self.mark(at + 8, 8, Part::Sequence);
        match number(self.bytes, at, 8) {
            0 => self.leaf(at + 16, name, true),
            root => self.tree(root, name),
        }
    }
}
