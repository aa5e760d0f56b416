//! Reads pages of a database file at their places.

use std::io;

use crate::io::ReadAt;
use crate::num::{narrow, wide};

use super::build::Item;
use super::page::{BRANCH, BranchItems, HEADER_BYTES, Header, LEAF, LeafItems};
use super::tree::Child;
use super::{BUCKET_FLAG, Bucket, MAX_PAGE_BYTES, META_END, Meta};

/// A tree deeper than this is a loop.
pub(super) const MAX_DEPTH: u32 = 64;

/// The most that a page with its overflow may take: as much as the check holds at once.
pub(crate) const MAX_LOGICAL_BYTES: usize = 64 << 20;

/// Why a page could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io { offset: u64, source: io::Error },
    Page { page: u64, what: String },
}

impl ReadError {
    pub(super) fn page(page: u64, what: impl Into<String>) -> ReadError {
        ReadError::Page { page, what: what.into() }
    }
}

/// A database file.
pub(crate) struct Source<'a, F: ?Sized> {
    file: &'a F,
    pub(crate) meta: Meta,
}

impl<'a, F: ReadAt + ?Sized> Source<'a, F> {
    pub(crate) fn open(file: &'a F) -> Result<Self, ReadError> {
        let len = file.len().map_err(|source| ReadError::Io { offset: 0, source })?;
        let mut head = vec![0; narrow(len).min(MAX_PAGE_BYTES.saturating_add(META_END))];
        file.read_exact_at(&mut head, 0).map_err(|source| ReadError::Io { offset: 0, source })?;
        let broken = |what: &str| ReadError::Page { page: 0, what: what.to_owned() };
        let page_size = Meta::find_page_size(&head).ok_or_else(|| broken("no valid meta page"))?;
        let second = head.get(crate::num::size(page_size)..).unwrap_or_default();
        let metas = [Meta::parse(&head).ok(), Meta::parse(second).ok()];
        let meta = Meta::newest(&metas).ok_or_else(|| broken("no valid meta page"))?;
        let bytes = meta.high_water.saturating_mul(u64::from(meta.page_size));
        if meta.page_size != page_size || bytes > len {
            return Err(broken("the file is shorter than its meta page says"));
        }
        Ok(Source { file, meta })
    }

    pub(crate) fn page_size(&self) -> usize {
        crate::num::size(self.meta.page_size)
    }

    /// A page with its overflow.
    fn page(&self, id: u64) -> Result<(Header, Vec<u8>), ReadError> {
        let mut bytes = Vec::new();
        let header = self.page_into(id, &mut bytes)?;
        Ok((header, bytes))
    }

    /// Reads a page with its overflow into `bytes`, in place of what is there.
    pub(super) fn page_into(&self, id: u64, bytes: &mut Vec<u8>) -> Result<Header, ReadError> {
        let offset = id.saturating_mul(wide(self.page_size()));
        let read = |buf: &mut [u8], offset| {
            self.file.read_exact_at(buf, offset).map_err(|source| ReadError::Io { offset, source })
        };
        if id < 2 || id >= self.meta.high_water {
            let high_water = self.meta.high_water;
            return Err(ReadError::page(id, format!("it is referred to, but pages go from 2 to below {high_water}")));
        }
        bytes.resize(self.page_size(), 0);
        read(bytes, offset)?;
        let header = Header::parse(bytes).filter(|header| header.id == id);
        let header = header.ok_or_else(|| ReadError::page(id, "it does not name its place"))?;
        if header.overflow > 0 {
            let more = crate::num::size(header.overflow).saturating_mul(self.page_size());
            let whole = more.saturating_add(self.page_size());
            if whole > MAX_LOGICAL_BYTES || id.saturating_add(u64::from(header.overflow)) >= self.meta.high_water {
                return Err(ReadError::page(id, "it claims too many pages"));
            }
            bytes.resize(whole, 0);
            let offset = offset.saturating_add(wide(self.page_size()));
            if let Some(rest) = bytes.get_mut(self.page_size()..) {
                read(rest, offset)?;
            }
        }
        Ok(header)
    }

    /// All items of the tree at `root`, in order.
    pub(crate) fn tree(&self, root: u64) -> Result<Vec<Item>, ReadError> {
        let mut out = Vec::new();
        self.collect(root, 0, &mut out)?;
        Ok(out)
    }

    /// All items of a bucket, by its value.
    pub(crate) fn bucket(&self, value: &[u8]) -> Result<Vec<Item>, ReadError> {
        match Bucket::parse(value) {
            Some(Bucket::Root(root)) => self.tree(root),
            Some(Bucket::Inline(page)) => {
                let count = Header::parse(page).map_or(0, |header| header.count);
                leaf_items(self.meta.root, page, count)
            }
            None => Err(ReadError::Page { page: self.meta.root, what: "a bucket's header is cut off".to_owned() }),
        }
    }

    fn collect(&self, id: u64, depth: u32, out: &mut Vec<Item>) -> Result<(), ReadError> {
        let (header, bytes) = self.page(id)?;
        match header.flags {
            LEAF => out.extend(leaf_items(id, &bytes, header.count)?),
            BRANCH if depth < MAX_DEPTH => {
                for child in branch_items(id, &bytes, header.count)? {
                    self.collect(child.page, depth.saturating_add(1), out)?;
                }
            }
            _ => {
                return Err(ReadError::Page { page: id, what: "it is neither branch nor leaf".to_owned() });
            }
        }
        Ok(())
    }

    /// The branches on the right edge of the tree at `root`, from the root down; and the root as a child, when it is
    /// a leaf with items.
    pub(crate) fn right_edge(&self, root: u64) -> Result<(Vec<Vec<Child>>, Option<Child>), ReadError> {
        let mut levels: Vec<Vec<Child>> = Vec::new();
        let mut id = root;
        loop {
            let (header, bytes) = self.page(id)?;
            match header.flags {
                LEAF if levels.is_empty() => {
                    let mut items = LeafItems::new(&bytes, header.count);
                    let first = items.next().and_then(Result::ok);
                    return Ok((levels, first.map(|item| Child { key: item.key.to_vec(), page: id })));
                }
                LEAF => return Ok((levels, None)),
                BRANCH if levels.len() < 64 => {
                    let children = branch_items(id, &bytes, header.count)?;
                    let last = children.last().map(|child| child.page);
                    levels.push(children);
                    let empty = || ReadError::Page { page: id, what: "it is a branch without children".to_owned() };
                    id = last.ok_or_else(empty)?;
                }
                _ => {
                    return Err(ReadError::Page { page: id, what: "it is neither branch nor leaf".to_owned() });
                }
            }
        }
    }
}

fn leaf_items(id: u64, page: &[u8], count: u16) -> Result<Vec<Item>, ReadError> {
    if page.len() < HEADER_BYTES {
        return Err(ReadError::Page { page: id, what: "it is cut off".to_owned() });
    }
    LeafItems::new(page, count)
        .map(|item| {
            let item = item.map_err(|bad| ReadError::Page { page: id, what: bad.describe().to_owned() })?;
            let flags = item.flags & BUCKET_FLAG;
            Ok(Item { flags, key: item.key.to_vec(), value: item.value.to_vec() })
        })
        .collect()
}

pub(super) fn branch_items(id: u64, page: &[u8], count: u16) -> Result<Vec<Child>, ReadError> {
    BranchItems::new(page, count)
        .map(|item| {
            let item = item.map_err(|bad| ReadError::Page { page: id, what: bad.describe().to_owned() })?;
            Ok(Child { key: item.key.to_vec(), page: item.child })
        })
        .collect()
}
