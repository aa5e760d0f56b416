//! Trees written bottom up from items in order, each page as soon as it is known to be full.

use super::draft::{Draft, Kind, narrow32};
use super::page::ELEMENT_BYTES;
use super::read::MAX_LOGICAL_BYTES;
use super::{BUCKET_BYTES, build::TooLarge};

/// Items that a page has at least, wherever its tree has as many: bbolt asserts that a branch has two children or more,
/// and packs leaves alike.
const LEAST: usize = 2;

/// Elements that a page's header can count: one more means something else in a freelist, so bbolt stays below.
const MOST: usize = 0xfffe;

/// A page that is done, as its parent refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) key: Vec<u8>,
    pub(crate) page: u64,
}

/// Where pages go, in the order of their numbers.
pub(crate) trait PageSink {
    type Error: From<TooLarge>;

    /// Takes a page with its overflow, padded.
    fn put(&mut self, page: u64, bytes: Vec<u8>) -> Result<(), Self::Error>;
}

/// Pages kept in memory, until it is known that all of them can be made.
impl PageSink for Vec<(u64, Vec<u8>)> {
    type Error = TooLarge;

    fn put(&mut self, page: u64, bytes: Vec<u8>) -> Result<(), TooLarge> {
        self.push((page, bytes));
        Ok(())
    }
}

/// Numbers pages upwards and hands them on.
#[derive(Debug)]
pub(crate) struct Pages<S> {
    page_size: usize,
    next: u64,
    pub(crate) sink: S,
}

impl<S: PageSink> Pages<S> {
    pub(crate) fn new(page_size: usize, next: u64, sink: S) -> Self {
        Pages { page_size: page_size.max(1), next, sink }
    }

    /// The high-water mark behind the pages made so far.
    pub(crate) fn high_water(&self) -> u64 {
        self.next
    }

    pub(super) fn write(&mut self, draft: &Draft) -> Result<Child, S::Error> {
        let count = draft.bytes().div_ceil(self.page_size);
        let overflow = narrow32(count.saturating_sub(1))?;
        let page = self.next;
        self.next = page.checked_add(u64::from(overflow)).and_then(|last| last.checked_add(1)).ok_or(TooLarge)?;
        let mut bytes = draft.encode(page, overflow)?;
        bytes.resize(count.saturating_mul(self.page_size), 0);
        self.sink.put(page, bytes)?;
        Ok(Child { key: draft.first_key().to_vec(), page })
    }

    /// One level of branches over these children, each with two of them or more.
    pub(super) fn branches(&mut self, children: &[Child]) -> Result<Vec<Child>, S::Error> {
        let mut level = Level::new(Kind::Branch);
        let mut drafts = Vec::new();
        for child in children {
            drafts.extend(level.push(self.page_size, &child.key, &[], child.page)?);
        }
        drafts.extend(level.close());
        drafts.iter().map(|draft| self.write(draft)).collect()
    }
}

/// The pages of one level that are not written: the last one that is full, in case the end of the level needs an item
/// from it, and the one that fills.
#[derive(Debug)]
struct Level {
    kind: Kind,
    full: Option<Draft>,
    open: Draft,
}

impl Level {
    fn new(kind: Kind) -> Self {
        Level { kind, full: None, open: Draft::new(kind) }
    }

    /// Adds an element; gives the page that thereby became ready to be written.
    fn push(&mut self, page_size: usize, key: &[u8], value: &[u8], tail: u64) -> Result<Option<Draft>, TooLarge> {
        let item = ELEMENT_BYTES.saturating_add(key.len()).saturating_add(value.len());
        let (have, bytes) = (self.open.len(), self.open.bytes().saturating_add(item));
        let full = bytes > page_size && have >= LEAST || have >= MOST || bytes > MAX_LOGICAL_BYTES;
        let mut ready = None;
        if full && have > 0 {
            let open = std::mem::replace(&mut self.open, Draft::new(self.kind));
            ready = self.full.replace(open);
        }
        self.open.push(key, value, tail)?;
        Ok(ready)
    }

    /// The pages that are left; one at least.
    ///
    /// A last page with too few items gets one from its neighbour, or joins it where that has none to spare. Only
    /// leaves of items that are too large to be together stay as they are.
    fn close(self) -> impl Iterator<Item = Draft> {
        let Level { mut full, mut open, .. } = self;
        if let Some(full) = &mut full
            && open.len() < LEAST
            && full.bytes().saturating_add(open.bytes()) <= MAX_LOGICAL_BYTES
        {
            if full.len() > LEAST {
                full.give_last(&mut open);
            } else {
                full.append(&mut open);
            }
        }
        let open = (full.is_none() || open.len() > 0).then_some(open);
        full.into_iter().chain(open)
    }
}

/// Writes one tree; holds two pages of each of its levels.
#[derive(Debug)]
pub(crate) struct TreeWriter {
    page_size: usize,
    leaves: Level,
    /// From the lowest up.
    branches: Vec<Level>,
}

impl TreeWriter {
    pub(crate) fn new(page_size: usize) -> Self {
        TreeWriter { page_size, leaves: Level::new(Kind::Leaf), branches: Vec::new() }
    }

    /// Adds an item; its key comes after all others.
    pub(crate) fn push<S: PageSink>(
        &mut self,
        pages: &mut Pages<S>,
        flags: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), S::Error> {
        let mut ready = self.leaves.push(self.page_size, key, value, u64::from(flags))?;
        let mut height = 0usize;
        while let Some(draft) = ready {
            let child = pages.write(&draft)?;
            if self.branches.len() <= height {
                self.branches.push(Level::new(Kind::Branch));
            }
            let above = self.branches.get_mut(height).ok_or(TooLarge)?;
            ready = above.push(self.page_size, &child.key, &[], child.page)?;
            height = height.saturating_add(1);
        }
        Ok(())
    }

    /// Ends the tree and gives its root.
    pub(crate) fn into_root<S: PageSink>(self, pages: &mut Pages<S>) -> Result<u64, S::Error> {
        let mut top = Vec::new();
        for mut level in std::iter::once(self.leaves).chain(self.branches) {
            let mut drafts = Vec::new();
            for child in &top {
                let Child { key, page } = child;
                drafts.extend(level.push(self.page_size, key, &[], *page)?);
            }
            drafts.extend(level.close());
            top = drafts.iter().map(|draft| pages.write(draft)).collect::<Result<_, _>>()?;
        }
        while top.len() > 1 {
            top = pages.branches(&top)?;
        }
        Ok(top.first().ok_or(TooLarge)?.page)
    }

    /// Ends the tree as that of a bucket, and gives the bucket's value: inline where bbolt would inline it.
    pub(crate) fn into_bucket<S: PageSink>(self, pages: &mut Pages<S>, sequence: u64) -> Result<Vec<u8>, S::Error> {
        let Level { full, open, .. } = &self.leaves;
        let single = full.is_none() && self.branches.is_empty();
        let inline = single && !open.holds_buckets() && open.bytes() <= self.page_size / 4;
        let image = if inline { Some(open.encode(0, 0)?) } else { None };
        let root = if inline { 0 } else { self.into_root(pages)? };
        let mut value = Vec::with_capacity(BUCKET_BYTES);
        value.extend_from_slice(&root.to_le_bytes());
        value.extend_from_slice(&sequence.to_le_bytes());
        value.extend_from_slice(&image.unwrap_or_default());
        Ok(value)
    }
}
