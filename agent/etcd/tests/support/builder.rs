//! Builds etcd databases byte by byte, for tests that need to choose where pages lie and what they hold.
//!
//! It shares no code with the crate: what both agree on was written twice.

use std::collections::BTreeMap;

pub type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// A database to build.
#[derive(Debug, Clone)]
pub struct Db {
    pub page_size: usize,
    pub records: Items,
    /// Other buckets by name.
    pub buckets: BTreeMap<&'static str, Items>,
    /// Most items in a leaf, and most children of a branch.
    pub per_leaf: usize,
    pub per_branch: usize,
    /// Hand out pages from the end of the file to its beginning.
    pub backwards: bool,
    /// Free pages with these contents, given their page's id, at the low end of the file.
    pub stale: Vec<fn(u64, usize) -> Vec<u8>>,
    pub freelist: bool,
    pub inline_key: bool,
}

impl Default for Db {
    fn default() -> Self {
        let meta = vec![(b"consistent_index".to_vec(), 9u64.to_be_bytes().to_vec())];
        let buckets = ["alarm", "auth", "cluster", "lease", "members", "members_removed"].map(|name| (name, vec![]));
        let mut buckets = BTreeMap::from(buckets);
        buckets.insert("meta", meta);
        Db {
            page_size: 4096,
            records: vec![],
            buckets,
            per_leaf: 30,
            per_branch: 5,
            backwards: false,
            stale: vec![],
            freelist: false,
            inline_key: false,
        }
    }
}

pub fn revision(main: i64, sub: i64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat()
}

pub fn varint(mut n: u64) -> Vec<u8> {
    let mut out = vec![];
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A put as etcd stores it.
pub fn put(main: i64, sub: i64, key: &str, create: i64, version: u64, value: &[u8], lease: u64) -> (Vec<u8>, Vec<u8>) {
    let mut out = [&[0x0a][..], &varint(key.len() as u64), key.as_bytes()].concat();
    for (tag, n) in [(0x10, create as u64), (0x18, main as u64), (0x20, version)] {
        out.push(tag);
        out.extend(varint(n));
    }
    if !value.is_empty() {
        out.extend([&[0x2a][..], &varint(value.len() as u64), value].concat());
    }
    if lease > 0 {
        out.push(0x30);
        out.extend(varint(lease));
    }
    (revision(main, sub), out)
}

/// A deletion as etcd stores it.
pub fn del(main: i64, sub: i64, key: &str) -> (Vec<u8>, Vec<u8>) {
    let key = [&[0x0a][..], &varint(key.len() as u64), key.as_bytes()].concat();
    ([revision(main, sub), b"t".to_vec()].concat(), key)
}

/// `n` records of `value_bytes` each, from revision 2 on, over `keys` keys.
pub fn history(n: i64, keys: i64, value_bytes: usize) -> Items {
    let record = |at: i64| {
        let (round, key) = (at / keys, at % keys);
        let value = vec![b'a' + (at % 26) as u8; value_bytes];
        put(at + 2, 0, &format!("key/{key:04}"), key + 2, round as u64 + 1, &value, 0)
    };
    (0..n).map(record).collect()
}

pub fn header(id: u64, flags: u16, count: usize, overflow: usize) -> Vec<u8> {
    let count = (count as u16).to_le_bytes();
    [&id.to_le_bytes()[..], &flags.to_le_bytes(), &count, &(overflow as u32).to_le_bytes()].concat()
}

/// A leaf's image, without padding.
pub fn leaf(id: u64, items: &[(Vec<u8>, Vec<u8>)], bucket: bool, page_size: usize) -> Vec<u8> {
    let size = 16 + items.iter().map(|(key, value)| 16 + key.len() + value.len()).sum::<usize>();
    let overflow = if id == 0 { 0 } else { size.div_ceil(page_size) - 1 };
    let mut out = header(id, 2, items.len(), overflow);
    let mut at = 16 + 16 * items.len();
    for (index, (key, value)) in items.iter().enumerate() {
        let pos = at - (16 + 16 * index);
        for n in [bucket as usize, pos, key.len(), value.len()] {
            out.extend((n as u32).to_le_bytes());
        }
        at += key.len() + value.len();
    }
    items.iter().for_each(|(key, value)| out.extend([&key[..], value].concat()));
    out
}

fn branch(id: u64, children: &[(Vec<u8>, u64)], page_size: usize) -> Vec<u8> {
    let size = 16 + children.iter().map(|(key, _)| 16 + key.len()).sum::<usize>();
    let mut out = header(id, 1, children.len(), size.div_ceil(page_size) - 1);
    let mut at = 16 + 16 * children.len();
    for (index, (key, page)) in children.iter().enumerate() {
        out.extend(((at - (16 + 16 * index)) as u32).to_le_bytes());
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(page.to_le_bytes());
        at += key.len();
    }
    children.iter().for_each(|(key, _)| out.extend(key));
    out
}

pub fn meta(id: u64, page_size: usize, root: u64, freelist: u64, high_water: u64, txid: u64) -> Vec<u8> {
    let mut out = vec![];
    out.extend(0xED0C_DAEDu32.to_le_bytes());
    out.extend(2u32.to_le_bytes());
    out.extend((page_size as u32).to_le_bytes());
    out.extend([0; 4]);
    for n in [root, 0, freelist, high_water, txid] {
        out.extend(n.to_le_bytes());
    }
    let sum = out.iter().fold(0xcbf29ce484222325u64, |sum, b| (sum ^ *b as u64).wrapping_mul(0x100000001b3));
    out.extend(sum.to_le_bytes());
    let mut page = header(id, 4, 0, 0);
    page.extend(out);
    page.resize(page_size, 0);
    page
}

struct Pages {
    size: usize,
    next: u64,
    /// The end of the file when it is filled backwards.
    end: Option<u64>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Pages {
    fn put(&mut self, make: impl Fn(u64) -> Vec<u8>) -> u64 {
        let count = make(9).len().div_ceil(self.size) as u64;
        let at = self.next;
        self.next += count;
        let at = self.end.map_or(at, |end| end - (at - 2) - count);
        let mut bytes = make(at);
        bytes.resize(count as usize * self.size, 0);
        self.pages.insert(at, bytes);
        at
    }
}

impl Db {
    pub fn bucket(mut self, name: &'static str, items: Items) -> Db {
        self.buckets.insert(name, items);
        self
    }

    pub fn marks(mut self, scheduled: i64, finished: i64) -> Db {
        let meta = self.buckets.get_mut("meta").unwrap();
        meta.push((b"finishedCompactRev".to_vec(), revision(finished, 0)));
        meta.push((b"scheduledCompactRev".to_vec(), revision(scheduled, 0)));
        self
    }

    fn tree(&self, pages: &mut Pages, items: &Items) -> u64 {
        let mut level: Vec<(Vec<u8>, u64)> = items
            .chunks(self.per_leaf)
            .map(|part| (part[0].0.clone(), pages.put(|id| leaf(id, part, false, self.page_size))))
            .collect();
        while level.len() > 1 {
            let parts = level.chunks(self.per_branch);
            level = parts.map(|part| (part[0].0.clone(), pages.put(|id| branch(id, part, self.page_size)))).collect();
        }
        level[0].1
    }

    fn layout(&self, end: Option<u64>) -> (Pages, u64, u64) {
        let mut pages = Pages { size: self.page_size, next: 2, end, pages: BTreeMap::new() };
        let mut root = vec![];
        for (name, items) in self.buckets.iter().map(|(name, items)| (*name, items)).chain([("key", &self.records)]) {
            let image = leaf(0, items, false, self.page_size);
            let inline = items.is_empty() || name != "key" && image.len() <= self.page_size / 4;
            let value = if inline || (name == "key" && self.inline_key) {
                [&[0; 16][..], &image].concat()
            } else {
                [self.tree(&mut pages, items).to_le_bytes(), [0; 8]].concat()
            };
            root.push((name.as_bytes().to_vec(), value));
        }
        root.sort();
        let root = pages.put(|id| leaf(id, &root, true, self.page_size));
        let mut free = vec![];
        for make in &self.stale {
            let id = pages.put(|id| make(id, self.page_size));
            free.extend((id..).take(pages.pages[&id].len() / self.page_size));
        }
        free.sort();
        let ids: Vec<u8> = free.iter().flat_map(|id| id.to_le_bytes()).collect();
        let freelist = match self.freelist {
            true => pages.put(|id| [header(id, 16, free.len(), 0), ids.clone()].concat()),
            false => u64::MAX,
        };
        (pages, root, freelist)
    }

    pub fn build(&self) -> Vec<u8> {
        let end = self.layout(None).0.next;
        let (pages, root, freelist) = self.layout(self.backwards.then_some(end));
        let mut out = meta(0, self.page_size, root, freelist, end, 11);
        out.extend(meta(1, self.page_size, root, freelist, end, 10));
        pages.pages.values().for_each(|page| out.extend(page));
        assert_eq!(out.len(), end as usize * self.page_size);
        out
    }
}
