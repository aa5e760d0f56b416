//! New pages, numbered upwards from the high-water mark.

use crate::num::wide;

use super::page::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, Header, LEAF};
use super::{BUCKET_BYTES, BUCKET_FLAG};

/// An item to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) flags: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Item {
    fn bytes(&self) -> usize {
        ELEMENT_BYTES.saturating_add(self.key.len()).saturating_add(self.value.len())
    }
}

/// A page that is done, as its parent refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) key: Vec<u8>,
    pub(crate) page: u64,
}

impl Child {
    fn bytes(&self) -> usize {
        ELEMENT_BYTES.saturating_add(self.key.len())
    }
}

/// A number that a page's 32-bit fields cannot hold. No database that can be read comes near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Makes pages and remembers them.
#[derive(Debug)]
pub(crate) struct Builder {
    page_size: usize,
    next: u64,
    /// First page and content, a whole number of pages each.
    pub(crate) pages: Vec<(u64, Vec<u8>)>,
}

impl Builder {
    pub(crate) fn new(page_size: usize, next: u64) -> Self {
        Builder { page_size: page_size.max(1), next, pages: Vec::new() }
    }

    /// The high-water mark behind the pages made so far.
    pub(crate) fn high_water(&self) -> u64 {
        self.next
    }

    /// The value of a bucket of these items (in order): inline where bbolt would inline it, else a header and a tree.
    pub(crate) fn bucket(&mut self, items: &[Item]) -> Result<Vec<u8>, TooLarge> {
        let bytes = items.iter().fold(HEADER_BYTES, |sum, item| sum.saturating_add(item.bytes()));
        let nested = items.iter().any(|item| item.flags & BUCKET_FLAG != 0);
        if !nested && bytes <= self.page_size / 4 {
            let mut value = vec![0; BUCKET_BYTES];
            value.extend_from_slice(&leaf(0, 0, items)?);
            return Ok(value);
        }
        Ok(Builder::header(self.tree(items)?))
    }

    /// The value of a bucket whose items stand in a tree of their own.
    pub(crate) fn header(root: u64) -> Vec<u8> {
        let mut value = root.to_le_bytes().to_vec();
        value.extend_from_slice(&[0; 8]);
        value
    }

    /// Makes a tree of these items, and gives its root.
    pub(crate) fn tree(&mut self, items: &[Item]) -> Result<u64, TooLarge> {
        let mut children = Vec::new();
        for part in chunks(items, self.page_size, 1, Item::bytes) {
            children.push(self.leaf(part)?);
        }
        while children.len() > 1 {
            children = self.branches(&children)?;
        }
        children.first().map(|child| child.page).ok_or(TooLarge)
    }

    /// One leaf of these items.
    pub(crate) fn leaf(&mut self, items: &[Item]) -> Result<Child, TooLarge> {
        let bytes = items.iter().fold(HEADER_BYTES, |sum, item| sum.saturating_add(item.bytes()));
        let (page, overflow) = self.take(bytes)?;
        self.put(page, leaf(page, overflow, items)?);
        Ok(Child { key: items.first().map(|item| item.key.clone()).unwrap_or_default(), page })
    }

    /// One level of branches over these children, each with two of them or more.
    pub(crate) fn branches(&mut self, children: &[Child]) -> Result<Vec<Child>, TooLarge> {
        let parts = chunks(children, self.page_size, 2, Child::bytes);
        parts.into_iter().map(|part| self.branch(part)).collect()
    }

    fn branch(&mut self, children: &[Child]) -> Result<Child, TooLarge> {
        let bytes = children.iter().fold(HEADER_BYTES, |sum, child| sum.saturating_add(child.bytes()));
        let (page, overflow) = self.take(bytes)?;
        let count = u16::try_from(children.len()).map_err(|_| TooLarge)?;
        let mut out = Header { id: page, flags: BRANCH, count, overflow }.encode().to_vec();
        let mut pos = children.len().saturating_mul(ELEMENT_BYTES);
        for child in children {
            out.extend_from_slice(&narrow32(pos)?.to_le_bytes());
            out.extend_from_slice(&narrow32(child.key.len())?.to_le_bytes());
            out.extend_from_slice(&child.page.to_le_bytes());
            pos = pos.saturating_sub(ELEMENT_BYTES).saturating_add(child.key.len());
        }
        children.iter().for_each(|child| out.extend_from_slice(&child.key));
        self.put(page, out);
        Ok(Child { key: children.first().map(|child| child.key.clone()).unwrap_or_default(), page })
    }

    /// Hands out as many pages as `bytes` need: the first one, and how many follow it.
    fn take(&mut self, bytes: usize) -> Result<(u64, u32), TooLarge> {
        let overflow = narrow32(bytes.div_ceil(self.page_size).saturating_sub(1))?;
        let page = self.next;
        self.next = page.checked_add(u64::from(overflow)).and_then(|last| last.checked_add(1)).ok_or(TooLarge)?;
        Ok((page, overflow))
    }

    fn put(&mut self, page: u64, mut bytes: Vec<u8>) {
        bytes.resize(bytes.len().div_ceil(self.page_size).saturating_mul(self.page_size), 0);
        self.pages.push((page, bytes));
    }
}

/// The image of a leaf, without padding.
fn leaf(id: u64, overflow: u32, items: &[Item]) -> Result<Vec<u8>, TooLarge> {
    let count = u16::try_from(items.len()).map_err(|_| TooLarge)?;
    let mut out = Header { id, flags: LEAF, count, overflow }.encode().to_vec();
    let mut pos = items.len().saturating_mul(ELEMENT_BYTES);
    for item in items {
        out.extend_from_slice(&item.flags.to_le_bytes());
        out.extend_from_slice(&narrow32(pos)?.to_le_bytes());
        out.extend_from_slice(&narrow32(item.key.len())?.to_le_bytes());
        out.extend_from_slice(&narrow32(item.value.len())?.to_le_bytes());
        pos = pos.saturating_sub(ELEMENT_BYTES).saturating_add(item.key.len()).saturating_add(item.value.len());
    }
    for item in items {
        out.extend_from_slice(&item.key);
        out.extend_from_slice(&item.value);
    }
    Ok(out)
}

/// Cuts items into pages: as many as fit, but at least `least` in each, and always one page.
///
/// bbolt asserts that a branch has two children or more, so a last page with fewer gets one from its neighbour, or
/// joins it where that has none to spare.
fn chunks<T>(items: &[T], page_size: usize, least: usize, bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut starts = vec![0usize];
    let (mut used, mut begun) = (HEADER_BYTES, 0usize);
    for (index, item) in items.iter().enumerate() {
        let more = bytes(item);
        let have = index.saturating_sub(begun);
        if used.saturating_add(more) > page_size && have >= least || have >= 0xfffe {
            starts.push(index);
            (used, begun) = (HEADER_BYTES, index);
        }
        used = used.saturating_add(more);
    }
    if starts.len() > 1 && items.len().saturating_sub(begun) < least {
        let before = starts.iter().rev().nth(1).copied().unwrap_or_default();
        starts.pop();
        if begun.saturating_sub(before) > least {
            starts.push(begun.saturating_sub(1));
        }
    }
    let ends = starts.iter().skip(1).copied().chain([items.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| items.get(*start..end)).collect()
}

fn narrow32(n: usize) -> Result<u32, TooLarge> {
    u32::try_from(wide(n)).map_err(|_| TooLarge)
}
