//! The items of one tree in the order of their keys, read page by page.
//!
//! Nothing was checked before: every page is checked as it is read, so that what comes out is in order, each item once,
//! whatever the file says. A tree that refers to itself ends in an error: it gets too deep, or repeats a key, or reads
//! more pages than the database has.

use std::cell::Cell;
use std::iter::Peekable;
use std::ops::ControlFlow;

use crate::io::ReadAt;

use super::page::{BRANCH, Header, LEAF, LeafItem, LeafItems};
use super::read::{MAX_DEPTH, ReadError, Source, branch_items};
use super::tree::Child;
use super::{Bucket, HEADER_BYTES};

/// The most that the branches from a root down to a leaf may take. Real ones take a page each, or the few longest keys
/// there can be.
const MAX_PATH_BYTES: usize = 8 << 20;

/// How many pages may still be read. A sound database needs each of its pages once at most, in all its trees together.
#[derive(Debug)]
pub(crate) struct PagesLeft(Cell<u64>);

impl PagesLeft {
    fn take(&self, page: u64, header: Header) -> Result<(), ReadError> {
        let pages = u64::from(header.overflow).saturating_add(1);
        let left = self.0.get().checked_sub(pages);
        self.0.set(left.ok_or_else(|| ReadError::page(page, "pages are used twice: more are reached than there are"))?);
        Ok(())
    }
}

/// A page as its parent refers to it.
struct Place {
    page: u64,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

/// A branch on the way down, and what of it was not visited.
struct Branch {
    children: Peekable<std::vec::IntoIter<Child>>,
    high: Option<Vec<u8>>,
    bytes: usize,
}

/// Which leaf comes first; those before are not read.
#[derive(Clone, Copy)]
enum Start<'s> {
    /// The one that may hold this key.
    At(&'s [u8]),
    /// The last one.
    Last,
}

/// The walk over the leaves of one tree.
struct Leaves<'s, 'a, F: ?Sized> {
    source: &'s Source<'a, F>,
    left: &'s PagesLeft,
    start: Start<'s>,
    root: Option<u64>,
    path: Vec<Branch>,
    page: Vec<u8>,
    /// The last key of the leaf before.
    last: Vec<u8>,
}

impl<F: ReadAt + ?Sized> Source<'_, F> {
    /// For one walk, or for several that together visit nothing twice.
    pub(crate) fn pages_left(&self) -> PagesLeft {
        PagesLeft(Cell::new(self.meta.high_water))
    }

    /// Visits the items of a bucket in order, those with keys from `from` on, each with the page it is in; a bucket
    /// that is inline says that it is in the page of its parent.
    ///
    /// Holds a leaf and the branches above it.
    pub(crate) fn each_item<E: From<ReadError>>(
        &self,
        (parent, bucket): (u64, Bucket<'_>),
        from: &[u8],
        left: &PagesLeft,
        mut each: impl FnMut(u64, LeafItem<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut all = |page: u64, items: LeafItems<'_>| {
            for item in items.filter_map(Result::ok).skip_while(|item| item.key < from) {
                if each(page, item)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok::<_, E>(ControlFlow::Continue(()))
        };
        let root = match bucket {
            Bucket::Root(root) => root,
            Bucket::Inline(image) => {
                return all(parent, inline(parent, image)?).map(|_| ());
            }
        };
        let mut leaves = Leaves::new(self, Start::At(from), root, left);
        while let Some((page, items)) = leaves.next()? {
            if all(page, items)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The last key of a bucket, and the page that it is in.
    pub(crate) fn last_key(
        &self,
        (parent, bucket): (u64, Bucket<'_>),
        left: &PagesLeft,
    ) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        let (page, last) = match bucket {
            Bucket::Inline(image) => {
                (parent, inline(parent, image)?.filter_map(Result::ok).last().map(|item| item.key.to_vec()))
            }
            Bucket::Root(root) => {
                let mut leaves = Leaves::new(self, Start::Last, root, left);
                let page = leaves.next()?.map(|(page, _)| page);
                (page.unwrap_or(root), Some(leaves.last).filter(|last| !last.is_empty()))
            }
        };
        Ok(last.map(|last| (page, last)))
    }
}

/// The items of a bucket that lies in its parent's page.
fn inline(parent: u64, image: &[u8]) -> Result<LeafItems<'_>, ReadError> {
    let header = Header::parse(image).filter(|header| (header.id, header.flags, header.overflow) == (0, LEAF, 0));
    let header = header.ok_or_else(|| ReadError::page(parent, "an inline bucket in it has a damaged header"))?;
    let items = LeafItems::new(image, header.count);
    if in_order(parent, items.clone(), &mut Vec::new())? != image.len() {
        return Err(ReadError::page(parent, "an inline bucket in it is longer than its items"));
    }
    Ok(items)
}

/// Checks that keys ascend, from above `last` on, which becomes the last of them; says where the items end.
fn in_order(page: u64, mut items: LeafItems<'_>, last: &mut Vec<u8>) -> Result<usize, ReadError> {
    let mut before: Option<&[u8]> = None;
    for item in items.by_ref() {
        let item = item.map_err(|bad| ReadError::page(page, bad.describe()))?;
        if before.unwrap_or(last) >= item.key {
            return Err(ReadError::page(page, "its keys are not in order"));
        }
        before = Some(item.key);
    }
    if let Some(key) = before {
        last.clear();
        last.extend_from_slice(key);
    }
    Ok(items.used())
}

impl<'s, 'a, F: ReadAt + ?Sized> Leaves<'s, 'a, F> {
    fn new(source: &'s Source<'a, F>, start: Start<'s>, root: u64, left: &'s PagesLeft) -> Self {
        let (path, page, last) = (Vec::new(), Vec::new(), Vec::new());
        Leaves { source, left, start, root: Some(root), path, page, last }
    }

    /// The next leaf, found to be in order.
    fn next(&mut self) -> Result<Option<(u64, LeafItems<'_>)>, ReadError> {
        let root = self.root.take().map(|page| Place { page, low: Vec::new(), high: None });
        let Some(mut at) = root.or_else(|| self.place()) else {
            return Ok(None);
        };
        loop {
            let header = self.source.page_into(at.page, &mut self.page)?;
            self.left.take(at.page, header)?;
            match header.flags {
                LEAF => {
                    self.check_leaf(&at, header.count)?;
                    return Ok(Some((at.page, LeafItems::new(&self.page, header.count))));
                }
                BRANCH => at = self.descend(at, header.count)?,
                _ => return Err(ReadError::page(at.page, "it is neither branch nor leaf")),
            }
        }
    }

    /// The next page to visit: of the lowest branch that has one left.
    fn place(&mut self) -> Option<Place> {
        loop {
            let branch = self.path.last_mut()?;
            if let Some(child) = branch.children.next() {
                let high = branch.children.peek().map(|next| next.key.clone()).or_else(|| branch.high.clone());
                return Some(Place { page: child.page, low: child.key, high });
            }
            self.path.pop();
        }
    }

    fn descend(&mut self, at: Place, count: u16) -> Result<Place, ReadError> {
        let bytes = self.path.iter().fold(self.page.len(), |sum, branch| sum.saturating_add(branch.bytes));
        if self.path.len() >= crate::num::size(MAX_DEPTH) || bytes > MAX_PATH_BYTES {
            return Err(ReadError::page(at.page, "the tree is deeper than any tree can be"));
        }
        let mut children = branch_items(at.page, &self.page, count)?;
        let ascend = children.iter().zip(children.iter().skip(1)).all(|(one, next)| one.key < next.key);
        if !ascend {
            return Err(ReadError::page(at.page, "its keys are not in order"));
        }
        let (Some(first), Some(last)) = (children.first(), children.last()) else {
            return Err(ReadError::page(at.page, "it is a branch without children"));
        };
        within(&at, &first.key, &last.key)?;
        let before = match self.start {
            Start::At(key) => children.partition_point(|child| child.key.as_slice() <= key),
            Start::Last => children.len(),
        };
        children.drain(..before.saturating_sub(1));
        let (page, bytes) = (at.page, self.page.len());
        self.path.push(Branch { children: children.into_iter().peekable(), high: at.high, bytes });
        self.place().ok_or_else(|| ReadError::page(page, "it is a branch without children"))
    }

    fn check_leaf(&mut self, at: &Place, count: u16) -> Result<(), ReadError> {
        if count == 0 && !self.path.is_empty() {
            return Err(ReadError::page(at.page, "it is a leaf without items below a branch"));
        }
        if self.page.len() < HEADER_BYTES {
            return Err(ReadError::page(at.page, "it is cut off"));
        }
        let items = LeafItems::new(&self.page, count);
        in_order(at.page, items.clone(), &mut self.last)?;
        if let Some(Ok(first)) = items.into_iter().next() {
            within(at, first.key, &self.last)?;
        }
        Ok(())
    }
}

/// Checks that a page's keys are those that its parent says.
fn within(at: &Place, first: &[u8], last: &[u8]) -> Result<(), ReadError> {
    if first < at.low.as_slice() {
        return Err(ReadError::page(at.page, "its first key is below what its parent says"));
    }
    if at.high.as_deref().is_some_and(|high| last >= high) {
        return Err(ReadError::page(at.page, "its last key is not below its neighbour's first"));
    }
    Ok(())
}
