//! New pages for a database that there is, numbered upwards from its high-water mark and kept until all are made.

use super::draft::{Draft, Kind};
use super::tree::{Child, Pages, TreeWriter};

/// An item to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) flags: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A number that a page's fields cannot hold. No database that can be read comes near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Makes pages and remembers them.
#[derive(Debug)]
pub(crate) struct Builder {
    page_size: usize,
    pages: Pages<Vec<(u64, Vec<u8>)>>,
}

impl Builder {
    pub(crate) fn new(page_size: usize, next: u64) -> Self {
        Builder { page_size, pages: Pages::new(page_size, next, Vec::new()) }
    }

    /// The high-water mark behind the pages made so far.
    pub(crate) fn high_water(&self) -> u64 {
        self.pages.high_water()
    }

    /// What was made: first pages and contents, a whole number of pages each.
    pub(crate) fn pages(&self) -> &[(u64, Vec<u8>)] {
        &self.pages.sink
    }

    /// The value of a bucket of these items (in order): inline where bbolt would inline it, else a header and a tree.
    pub(crate) fn bucket(&mut self, items: &[Item]) -> Result<Vec<u8>, TooLarge> {
        self.fill(items)?.into_bucket(&mut self.pages, 0)
    }

    /// The value of a bucket whose items stand in a tree of their own.
    pub(crate) fn header(root: u64) -> Vec<u8> {
        let mut value = root.to_le_bytes().to_vec();
        value.extend_from_slice(&[0; 8]);
        value
    }

    /// Makes a tree of these items, and gives its root.
    pub(crate) fn tree(&mut self, items: &[Item]) -> Result<u64, TooLarge> {
        self.fill(items)?.into_root(&mut self.pages)
    }

    fn fill(&mut self, items: &[Item]) -> Result<TreeWriter, TooLarge> {
        let mut tree = TreeWriter::new(self.page_size);
        for item in items {
            tree.push(&mut self.pages, item.flags, &item.key, &item.value)?;
        }
        Ok(tree)
    }

    /// One leaf of these items.
    pub(crate) fn leaf(&mut self, items: &[Item]) -> Result<Child, TooLarge> {
        let mut draft = Draft::new(Kind::Leaf);
        for item in items {
            draft.push(&item.key, &item.value, u64::from(item.flags))?;
        }
        self.pages.write(&draft)
    }

    /// One level of branches over these children, each with two of them or more.
    pub(crate) fn branches(&mut self, children: &[Child]) -> Result<Vec<Child>, TooLarge> {
        self.pages.branches(children)
    }
}
