//! The walk from a root over the notes: which pages are live, and whether they form a tree.

use std::io;

use crate::bolt::{BRANCH, BranchItems, FREELIST, HEADER_BYTES, Header, LEAF, LeafItems, NO_FREELIST};
use crate::io::Spill;
use crate::num::{le_u64, narrow};

use super::Read;
use super::notes::{Noted, REVISIONS, Revisions};
use super::report::Finding;

/// A tree deeper than this is damaged: with two children a branch it would hold more pages than there are.
const MAX_DEPTH: u32 = 64;

/// Findings listed one by one.
const MAX_FINDINGS: usize = 100;

/// A set of small numbers.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// Adds a number; false if it was there already.
    pub(super) fn insert(&mut self, n: u64) -> bool {
        let word = narrow(n / 64);
        if word >= self.words.len() {
            self.words.resize(word.saturating_add(1), 0);
        }
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let bit = 1 << (n % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count = self.count.saturating_add(u64::from(new));
        new
    }

    pub(super) fn contains(&self, n: u64) -> bool {
        self.words.get(narrow(n / 64)).is_some_and(|word| word & (1 << (n % 64)) != 0)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// What is wrong, as it is found.
#[derive(Debug)]
pub(super) struct Findings {
    page_bytes: u64,
    pub(super) list: Vec<Finding>,
    pub(super) more: u64,
}

impl Findings {
    pub(super) fn at(&mut self, page: u64, what: impl Into<String>) {
        let offset = page.checked_mul(self.page_bytes);
        self.push(Finding { what: what.into(), page: Some(page), offset });
    }

    pub(super) fn general(&mut self, what: impl Into<String>) {
        self.push(Finding { what: what.into(), page: None, offset: None });
    }

    fn push(&mut self, finding: Finding) {
        if self.list.len() < MAX_FINDINGS {
            self.list.push(finding);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// A leaf that the walk reached.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leaf<'a> {
    /// A page, and how many items it has.
    Items(&'a [u8], u16),
    Revisions(Revisions<'a>),
}

impl Leaf<'_> {
    /// Its first and its last key.
    fn ends(self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self {
            Leaf::Items(page, count) => {
                let mut keys = LeafItems::new(page, count).filter_map(Result::ok).map(|item| item.key);
                let first = keys.next()?;
                Some((first.to_vec(), keys.last().unwrap_or(first).to_vec()))
            }
            Leaf::Revisions(revisions) => {
                let mut records = revisions.records();
                let first = records.next()?;
                let last = records.next_back().unwrap_or(first);
                Some((first.revision.encode(), last.revision.encode()))
            }
        }
    }
}

/// What is done with each leaf of a tree, in order.
pub(super) type EachLeaf<'a> = dyn FnMut(&mut Findings, u64, Leaf<'_>) + 'a;

/// A page as its parent refers to it.
#[derive(Clone, Copy)]
struct Place<'a> {
    page: u64,
    depth: u32,
    low: &'a [u8],
    high: Option<&'a [u8]>,
}

/// The walk over all trees of a database.
pub(super) struct Walk<'a, S: Spill> {
    pub(super) read: &'a Read<S>,
    pub(super) seen: Bits,
    pub(super) findings: Findings,
    leaf_depth: Option<u32>,
    freelist_pages: u64,
}

impl<'a, S: Spill> Walk<'a, S> {
    pub(super) fn new(read: &'a Read<S>) -> Self {
        let page_bytes = u64::from(read.newest.page_size);
        let findings = Findings { page_bytes, list: Vec::new(), more: 0 };
        Walk { read, seen: Bits::default(), findings, leaf_depth: None, freelist_pages: 0 }
    }

    /// Pages in use, but for the two meta pages.
    pub(super) fn live_pages(&self) -> u64 {
        self.seen.count().saturating_add(self.freelist_pages)
    }

    /// Walks one tree.
    pub(super) fn tree(&mut self, root: u64, each: &mut EachLeaf<'_>) -> io::Result<()> {
        self.leaf_depth = None;
        self.descend(Place { page: root, depth: 0, low: &[], high: None }, each)
    }

    fn descend(&mut self, at: Place<'_>, each: &mut EachLeaf<'_>) -> io::Result<()> {
        let mut note = Vec::new();
        let Some(header) = self.enter(at, &mut note)? else {
            return Ok(());
        };
        let leaf = match header.flags {
            BRANCH => return self.branch(at, header, &note, each),
            LEAF => Leaf::Items(&note, header.count),
            REVISIONS => match Revisions::parse(&note) {
                Some(revisions) => Leaf::Revisions(revisions),
                None => return Err(io::Error::other("a note is not what was put there")),
            },
            _ => {
                self.findings.at(at.page, "it is neither a branch nor a leaf, but a tree refers to it");
                return Ok(());
            }
        };
        if *self.leaf_depth.get_or_insert(at.depth) != at.depth {
            self.findings
                .at(at.page, "the tree is not of one depth: this leaf is nearer to the root than others, or farther");
        }
        match leaf.ends() {
            Some((first, last)) => self.within(at, &first, &last),
            // bbolt keeps a bucket inline once its last item is gone.
            None => self.findings.at(at.page, "it is a leaf without items"),
        }
        each(&mut self.findings, at.page, leaf);
        Ok(())
    }

    /// Fetches the note on a page, if that page can be part of a tree here, and marks the page as live.
    fn enter(&mut self, at: Place<'_>, note: &mut Vec<u8>) -> io::Result<Option<Header>> {
        let high_water = self.read.newest.high_water;
        if at.page < 2 || at.page >= high_water {
            self.findings.at(at.page, format!("a tree refers to it, but pages go from 2 to below {high_water}"));
            return Ok(None);
        }
        if at.depth > MAX_DEPTH {
            self.findings.at(at.page, "the tree is deeper than any tree can be");
            return Ok(None);
        }
        match self.read.notes.look_up(at.page, note)? {
            Noted::Note => {}
            Noted::Nothing if at.page >= self.read.pages => {
                self.findings.at(at.page, "a tree refers to it, but the database ends before");
                return Ok(None);
            }
            Noted::Nothing => {
                self.findings
                    .at(at.page, "a tree refers to it, but its header does not name this page, or no kind of page");
                return Ok(None);
            }
            Noted::Malformed(how) => {
                self.findings.at(at.page, how.describe());
                return Ok(None);
            }
        }
        let Some(header) = Header::parse(note) else {
            return Err(io::Error::other("a note is not what was put there"));
        };
        let end = at.page.saturating_add(u64::from(header.overflow));
        if end >= high_water.min(self.read.pages) {
            self.findings.at(at.page, "it claims pages past the end of the database");
            return Ok(None);
        }
        let mut twice = None;
        for page in at.page..=end {
            if !self.seen.insert(page) {
                twice = twice.or(Some(page));
            }
        }
        if let Some(page) = twice {
            self.findings.at(page, "it is used twice");
            return Ok(None);
        }
        Ok(Some(header))
    }

    fn branch(&mut self, at: Place<'_>, header: Header, note: &[u8], each: &mut EachLeaf<'_>) -> io::Result<()> {
        let mut children = BranchItems::new(note, header.count).filter_map(Result::ok).peekable();
        let first = children.peek().map(|child| child.key).unwrap_or_default();
        self.begins(at, first);
        while let Some(child) = children.next() {
            let high = children.peek().map(|next| next.key).or(at.high);
            if children.peek().is_none() && at.high.is_some_and(|high| child.key >= high) {
                self.findings.at(at.page, "its last key is not below its neighbour's first");
            }
            let depth = at.depth.saturating_add(1);
            self.descend(Place { page: child.child, depth, low: child.key, high }, each)?;
        }
        Ok(())
    }

    /// bbolt finds a page again in its parent by the page's first key. A parent's key that is only somewhat lower
    /// leads every reader right, and makes etcd panic ("page already freed") once it has to change the page.
    fn begins(&mut self, at: Place<'_>, first: &[u8]) {
        if at.depth > 0 && first != at.low {
            self.findings.at(at.page, "its first key is not the one that its parent has for it");
        }
    }

    fn within(&mut self, at: Place<'_>, first: &[u8], last: &[u8]) {
        self.begins(at, first);
        if at.high.is_some_and(|high| last >= high) {
            self.findings.at(at.page, "its last key is not below its neighbour's first");
        }
    }

    /// Checks the two meta pages and the database's length.
    pub(super) fn metas(&mut self) -> io::Result<()> {
        let mut page = Vec::new();
        for (id, meta) in (0u64..).zip(&self.read.metas) {
            let noted = self.read.notes.look_up(id, &mut page)?;
            if meta.is_none() {
                let why = match noted {
                    Noted::Note => crate::bolt::Meta::parse(&page).err().unwrap_or("names another page size"),
                    _ => "did not arrive",
                };
                self.findings.at(id, format!("this meta page {why}"));
            }
            let expected = Header { id, flags: crate::bolt::META, count: 0, overflow: 0 };
            if noted == Noted::Note && Header::parse(&page) != Some(expected) {
                self.findings.at(id, "the header of this meta page is damaged");
            }
        }
        let (high_water, pages) = (self.read.newest.high_water, self.read.pages);
        if pages < high_water {
            self.findings.general(format!("the database has {high_water} pages, but only {pages} whole ones arrived"));
        }
        Ok(())
    }

    /// Checks the stored freelist, if there is one, after all trees were walked.
    pub(super) fn freelist(&mut self) -> io::Result<()> {
        let (page, high_water) = (self.read.newest.freelist, self.read.newest.high_water);
        if page == NO_FREELIST {
            return Ok(());
        }
        let trees = std::mem::take(&mut self.seen);
        let mut note = Vec::new();
        let header = self.enter(Place { page, depth: 0, low: &[], high: None }, &mut note)?;
        let own = std::mem::replace(&mut self.seen, trees);
        self.freelist_pages = own.count();
        let Some(header) = header else { return Ok(()) };
        let Some((count, ids)) = freelist_ids(header, &note) else {
            self.findings.at(page, "it is not the freelist that the meta page says it is, or is cut off");
            return Ok(());
        };
        let mut before = 1;
        let mut fits = |id: u64| {
            let fits = id > before && id < high_water && !own.contains(id) && !self.seen.contains(id);
            before = id;
            fits
        };
        if let Some(id) = ids.chunks_exact(8).filter_map(|id| le_u64(id, 0)).find(|id| !fits(*id)) {
            self.findings.at(page, format!("the freelist names page {id} out of order, out of bounds or in use"));
        }
        let known = count.saturating_add(own.count()).saturating_add(self.seen.count()).saturating_add(2);
        if known != high_water && self.findings.list.is_empty() {
            self.findings.at(page, format!("{known} of {high_water} pages are in use or in the freelist"));
        }
        Ok(())
    }
}

/// How many pages a freelist names, and their ids, eight bytes each.
fn freelist_ids(header: Header, note: &[u8]) -> Option<(u64, &[u8])> {
    let (count, from) = match header.count {
        _ if header.flags != FREELIST => return None,
        u16::MAX => (le_u64(note, HEADER_BYTES)?, HEADER_BYTES.checked_add(8)?),
        count => (u64::from(count), HEADER_BYTES),
    };
    Some((count, note.get(from..)?.get(..narrow(count).checked_mul(8)?)?))
}
