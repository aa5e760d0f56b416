//! Internals for the fuzz targets in `agent/etcd/fuzz`. `cargo fuzz` sets the cfg that brings this module; no other
//! build has it.

use crate::bolt::{BranchItems, Builder, Child, Header, Item, LeafItems};
use crate::mvcc::{self, Revision};

/// A leaf's items, as flags, key and value, and where their data ends; none when the page is malformed.
pub fn leaf_items(page: &[u8], count: u16) -> Option<(Vec<(u32, &[u8], &[u8])>, usize)> {
    let mut items = LeafItems::new(page, count);
    let mut found = Vec::new();
    for item in &mut items {
        let item = item.ok()?;
        found.push((item.flags, item.key, item.value));
    }
    Some((found, items.used()))
}

/// How many steps a leaf's items take, whether they are well-formed or not.
pub fn leaf_steps(page: &[u8], count: u16) -> usize {
    LeafItems::new(page, count).count()
}

/// A branch's items, as key and child, and where their data ends; none when the page is malformed.
pub fn branch_items(page: &[u8], count: u16) -> Option<(Vec<(&[u8], u64)>, usize)> {
    let mut items = BranchItems::new(page, count);
    let mut found = Vec::new();
    for item in &mut items {
        let item = item.ok()?;
        found.push((item.key, item.child));
    }
    Some((found, items.used()))
}

/// How many steps a branch's items take, whether they are well-formed or not.
pub fn branch_steps(page: &[u8], count: u16) -> usize {
    BranchItems::new(page, count).count()
}

/// A page header's fields (id, flags, count, overflow), and whether writing them gives the same bytes.
pub fn header(page: &[u8]) -> Option<((u64, u16, u16, u32), bool)> {
    let header = Header::parse(page)?;
    let same = page.starts_with(&header.encode());
    Some(((header.id, header.flags, header.count, header.overflow), same))
}

/// One leaf page of these items.
pub fn build_leaf(page_size: usize, items: &[(u32, &[u8], &[u8])]) -> Option<Vec<u8>> {
    let item =
        |(flags, key, value): &(u32, &[u8], &[u8])| Item { flags: *flags, key: key.to_vec(), value: value.to_vec() };
    let items: Vec<Item> = items.iter().map(item).collect();
    let mut builder = Builder::new(page_size, 2);
    builder.leaf(&items).ok()?;
    builder.pages().last().map(|(_, bytes)| bytes.clone())
}

/// The branch pages over these children.
pub fn build_branches(page_size: usize, children: &[(&[u8], u64)]) -> Option<Vec<Vec<u8>>> {
    let child = |(key, page): &(&[u8], u64)| Child { key: key.to_vec(), page: *page };
    let children: Vec<Child> = children.iter().map(child).collect();
    let mut builder = Builder::new(page_size, 2);
    builder.branches(&children).ok()?;
    Some(builder.pages().iter().map(|(_, bytes)| bytes.clone()).collect())
}

/// A revision key's parts: main, sub, whether it is a deletion; and the same written again.
pub fn revision(key: &[u8]) -> Option<((i64, u32, bool), Vec<u8>)> {
    let revision = Revision::parse(key)?;
    Some(((revision.main, revision.sub, revision.tombstone), revision.encode()))
}

/// Writes a revision key.
pub fn encode_revision(main: i64, sub: u32, tombstone: bool) -> Vec<u8> {
    Revision { main, sub, tombstone }.encode()
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// Its create revision.
    pub create: i64,
    /// Its mod revision.
    pub modified: i64,
    /// Its version.
    pub version: i64,
    /// Its lease.
    pub lease: i64,
    /// The value.
    pub value: &'a [u8],
}

/// Decodes a record.
pub fn record(stored: &[u8]) -> Option<Record<'_>> {
    let mvcc::Record { key, create, modified, version, lease, value } = mvcc::decode(stored)?;
    Some(Record { key, create, modified, version, lease, value })
}

/// What is wrong with a record stored under a revision key; none when either cannot be read, or nothing is.
pub fn flaw(key: &[u8], value: &[u8]) -> Option<&'static str> {
    let revision = Revision::parse(key)?;
    let record = mvcc::decode(value)?;
    mvcc::flaw(revision, value, &record).map(mvcc::Flaw::describe)
}
