//! bbolt's file format, version 2: pages, meta pages, buckets. Little-endian, as on every platform etcd supports.

mod build;
mod draft;
mod leaves;
mod meta;
mod page;
mod read;
mod tree;

pub(crate) use build::{Builder, Item, TooLarge};
pub(crate) use leaves::PagesLeft;
pub(crate) use meta::{MAX_PAGE_BYTES, META_END, Meta, NO_FREELIST};
pub(crate) use page::{
    BRANCH, BranchItems, FREELIST, HEADER_BYTES, Header, LEAF, LeafItem, LeafItems, META, Malformed,
};
pub(crate) use read::{MAX_LOGICAL_BYTES, ReadError, Source};
pub(crate) use tree::{Child, PageSink, Pages, TreeWriter};

use crate::num::le_u64;

/// The flag of a leaf item whose value is a bucket.
pub(crate) const BUCKET_FLAG: u32 = 1;

/// Bytes of a bucket's header: the page of its root, and a sequence that etcd does not use.
pub(crate) const BUCKET_BYTES: usize = 16;

/// Where a bucket keeps its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bucket<'a> {
    /// In a tree of its own.
    Root(u64),
    /// In a leaf page's image behind the header, without padding.
    Inline(&'a [u8]),
}

impl<'a> Bucket<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Option<Bucket<'a>> {
        match le_u64(value, 0)? {
            0 => value.get(BUCKET_BYTES..).map(Bucket::Inline),
            root => (value.len() == BUCKET_BYTES).then_some(Bucket::Root(root)),
        }
    }
}
