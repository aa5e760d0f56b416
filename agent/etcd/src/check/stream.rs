//! The one sequential pass: every page that names its own place is noted.
//!
//! A page's header is a claim. One that says "and the next 300 pages are mine" does not make the reader skip them:
//! each of these is looked at by itself as well, and the walk decides who was right.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

use crate::bolt::{
    BRANCH, BranchItems, FREELIST, HEADER_BYTES, Header, LEAF, LeafItems, MAX_PAGE_BYTES, META_END, Malformed, Meta,
};
use crate::io::Spill;
use crate::mvcc::{self, Revision};
use crate::num::{narrow, size, wide};

use super::notes::{Notes, RecordNote, RevisionsNote, Sum};
use super::{CheckError, Classes, Read};

/// The most that is held of pages which span several.
const WINDOW_BYTES: usize = 64 << 20;

/// The head of a file in which the second meta page is looked for when the first is invalid.
const HEAD_BYTES: usize = MAX_PAGE_BYTES + META_END;

/// The state of the pass.
pub(super) struct Stream<S> {
    noter: Noter<S>,
    /// 0 until it is known.
    page_size: usize,
    /// Bytes before the page size is known, and after that the beginning of a page whose rest has not come.
    carry: Vec<u8>,
    metas: [Option<Meta>; 2],
    pages: u64,
    db_bytes: u64,
    window: Window,
    failed: bool,
}

/// The bytes from the first page on that claims pages still to come.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    start: u64,
    open: VecDeque<Header>,
}

impl<S: Spill> Stream<S> {
    pub(super) fn new(notes: Notes<S>, classes: Classes) -> Self {
        Stream {
            noter: Noter { notes, keys: RandomState::new(), classes, scratch: RevisionsNote::default() },
            page_size: 0,
            carry: Vec::new(),
            metas: [None; 2],
            pages: 0,
            db_bytes: 0,
            window: Window::default(),
            failed: false,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the check failed before"));
        }
        self.db_bytes = self.db_bytes.saturating_add(wide(bytes.len()));
        let fed = self.take(bytes);
        self.failed = fed.is_err();
        fed
    }

    pub(super) fn finish(mut self) -> Result<Read<S>, CheckError> {
        let db_bytes = self.db_bytes;
        if self.failed {
            return Err(CheckError::Spill(io::Error::other("the scratch space failed before the database ended")));
        }
        if self.page_size == 0 {
            self.settle().map_err(CheckError::Spill)?;
        }
        let newest = Meta::newest(&self.metas).ok_or(CheckError::NoMeta { db_bytes })?;
        let hash_of_empty = self.noter.hash(&[]);
        let Noter { notes, keys, classes, .. } = self.noter;
        let classes = RefCell::new(classes);
        Ok(Read { notes, keys, classes, metas: self.metas, newest, db_bytes, pages: self.pages, hash_of_empty })
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.page_size > 0 {
            return self.pages(bytes);
        }
        // Past the head without a meta page this is no database: nothing more is worth keeping.
        let room = HEAD_BYTES.saturating_sub(self.carry.len());
        let (head, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.carry.extend_from_slice(head);
        let first_is_valid = Meta::parse(&self.carry).is_ok();
        if first_is_valid || self.carry.len() >= HEAD_BYTES {
            self.settle()?;
        }
        if self.page_size > 0 { self.pages(rest) } else { Ok(()) }
    }

    /// Finds the page size, and reads the pages that came before it was known.
    fn settle(&mut self) -> io::Result<()> {
        let Some(page_size) = Meta::find_page_size(&self.carry) else {
            return Ok(());
        };
        self.page_size = size(page_size);
        let head = std::mem::take(&mut self.carry);
        self.pages(&head)
    }

    fn pages(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if !self.carry.is_empty() {
            let missing = self.page_size.saturating_sub(self.carry.len());
            let (head, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.carry.extend_from_slice(head);
            bytes = rest;
            if self.carry.len() < self.page_size {
                return Ok(());
            }
            let page = std::mem::take(&mut self.carry);
            self.page(&page)?;
            self.carry = page;
            self.carry.clear();
        }
        let mut whole = bytes.chunks_exact(self.page_size);
        for page in &mut whole {
            self.page(page)?;
        }
        self.carry.extend_from_slice(whole.remainder());
        Ok(())
    }

    fn page(&mut self, bytes: &[u8]) -> io::Result<()> {
        let id = self.pages;
        self.pages = self.pages.saturating_add(1);
        self.noter.notes.next_page();
        if let Some(meta) = self.metas.get_mut(narrow(id)) {
            *meta = Meta::parse(bytes).ok().filter(|meta| size(meta.page_size) == self.page_size);
            return self.noter.keep_meta(id, bytes);
        }
        if !self.window.open.is_empty() {
            self.window.bytes.extend_from_slice(bytes);
        }
        if let Some(header) = Header::parse(bytes).filter(|header| header.id == id) {
            self.candidate(header, bytes)?;
        }
        self.close(id)
    }

    fn candidate(&mut self, header: Header, bytes: &[u8]) -> io::Result<()> {
        if !matches!(header.flags, BRANCH | LEAF | FREELIST) {
            return Ok(());
        }
        if header.overflow == 0 {
            return self.noter.note(header, bytes, self.page_size);
        }
        let end = self.metas.iter().flatten().map(|meta| meta.high_water).max().unwrap_or_default();
        if header.id.saturating_add(u64::from(header.overflow)) >= end {
            self.noter.notes.set_malformed(header.id, Malformed::PastEnd);
            return Ok(());
        }
        if self.window.open.is_empty() {
            self.window.start = header.id;
            self.window.bytes.extend_from_slice(bytes);
        }
        self.window.open.push_back(header);
        Ok(())
    }

    /// Notes the pages whose last part was page `id`, and lets go of what nobody waits for.
    fn close(&mut self, id: u64) -> io::Result<()> {
        let window = &mut self.window;
        if window.open.is_empty() {
            return Ok(());
        }
        let last = |header: &Header| header.id.saturating_add(u64::from(header.overflow));
        for header in window.open.iter().filter(|header| last(header) == id) {
            let before = narrow(header.id.saturating_sub(window.start)).saturating_mul(self.page_size);
            if let Some(bytes) = window.bytes.get(before..) {
                self.noter.note(*header, bytes, self.page_size)?;
            }
        }
        window.open.retain(|header| last(header) != id);
        while window.bytes.len() > WINDOW_BYTES {
            let Some(oldest) = window.open.pop_front() else { break };
            self.noter.notes.set_malformed(oldest.id, Malformed::TooLarge);
            window.shift(self.page_size, 0);
        }
        window.shift(self.page_size, window.bytes.len() / 2);
        Ok(())
    }
}

impl Window {
    /// Drops the bytes before the oldest page still open, if they are more than `spare`.
    fn shift(&mut self, page_size: usize, spare: usize) {
        let Some(oldest) = self.open.front() else {
            self.bytes.clear();
            return;
        };
        let unused = narrow(oldest.id.saturating_sub(self.start)).saturating_mul(page_size);
        if unused > spare {
            self.bytes.drain(..unused.min(self.bytes.len()));
            self.start = oldest.id;
        }
    }
}

/// Turns pages into notes.
struct Noter<S> {
    notes: Notes<S>,
    keys: RandomState,
    classes: Classes,
    scratch: RevisionsNote,
}

impl<S: Spill> Noter<S> {
    fn hash(&self, key: &[u8]) -> u64 {
        hash(&self.keys, key)
    }

    /// A meta page's header stands outside of its checksum, so it is kept for the walk to look at.
    fn keep_meta(&mut self, id: u64, bytes: &[u8]) -> io::Result<()> {
        self.notes.keep(id, &[bytes.get(..META_END).unwrap_or(bytes)])
    }

    /// Notes a page, all of whose bytes are there.
    fn note(&mut self, header: Header, bytes: &[u8], page_size: usize) -> io::Result<()> {
        match note_page(header, bytes, page_size, (&self.keys, &mut self.classes), &mut self.scratch) {
            Ok(Shape::Revisions) => {
                let note = &self.scratch;
                self.notes.keep(header.id, &[&note.header(header), note.records(), note.leases(), note.classes()])
            }
            Ok(Shape::Verbatim(used)) => self.notes.keep(header.id, &[bytes.get(..used).unwrap_or(bytes)]),
            Err(how) => {
                self.notes.set_malformed(header.id, how);
                Ok(())
            }
        }
    }
}

/// How a page is to be noted.
pub(super) enum Shape {
    /// By its records, which were put into the scratch note.
    Revisions,
    /// As it is, up to where it is used.
    Verbatim(usize),
}

fn hash(keys: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(key);
    hasher.finish()
}

fn note_page(
    header: Header,
    bytes: &[u8],
    page_size: usize,
    by: (&RandomState, &mut Classes),
    scratch: &mut RevisionsNote,
) -> Result<Shape, Malformed> {
    let (shape, used) = match header.flags {
        LEAF => leaf(header, bytes, by, scratch)?,
        BRANCH => {
            let used = branch(header, bytes)?;
            (Shape::Verbatim(used), used)
        }
        // A freelist is as long as it says; the walk reads it if a meta page names it.
        _ => return Ok(Shape::Verbatim(bytes.len())),
    };
    if !header.fits(used, page_size) {
        return Err(Malformed::Slack);
    }
    Ok(shape)
}

/// Checks a leaf, and takes the sums of its records if that is what it holds; also says where its data ends.
pub(super) fn leaf(
    header: Header,
    bytes: &[u8],
    (keys, classes): (&RandomState, &mut Classes),
    scratch: &mut RevisionsNote,
) -> Result<(Shape, usize), Malformed> {
    scratch.clear();
    let mut items = LeafItems::new(bytes, header.count);
    let begin = items.used();
    let mut before: Option<Revision> = None;
    for item in items.by_ref() {
        let item = item?;
        let Some(revision) = Revision::parse(item.key).filter(|_| item.flags == 0) else {
            let used = keys_ascend(LeafItems::new(bytes, header.count), |item| item.key, LeafItems::used)?;
            return Ok((Shape::Verbatim(used), used));
        };
        if before.is_some_and(|before| (before.main, before.sub) >= (revision.main, revision.sub)) {
            return Err(Malformed::Order);
        }
        before = Some(revision);
        let decoded = mvcc::decode(item.value);
        let flaw = match &decoded {
            Some(record) => mvcc::flaw(revision, item.value, record),
            None => Some(mvcc::Flaw::Undecodable),
        };
        let record = decoded.unwrap_or_default();
        let note = RecordNote {
            revision,
            key_hash: hash(keys, record.key),
            len: u32::try_from(item.both.len()).map_err(|_| Malformed::TooLarge)?,
            crc: crc32c::crc32c(item.both),
        };
        let class = if revision.tombstone { 0 } else { classes.of(record.key, record.value) };
        scratch.push(&note, record.lease, class, flaw.map(mvcc::Flaw::code));
    }
    let used = items.used();
    if before.is_none() {
        return Ok((Shape::Verbatim(used), used));
    }
    let all = bytes.get(begin..used).ok_or(Malformed::Outside)?;
    let len = u32::try_from(all.len()).map_err(|_| Malformed::TooLarge)?;
    scratch.set_sum(Sum { crc: crc32c::crc32c(all), len });
    Ok((Shape::Revisions, used))
}

fn branch(header: Header, bytes: &[u8]) -> Result<usize, Malformed> {
    if header.count == 0 || bytes.len() < HEADER_BYTES {
        return Err(Malformed::NoChildren);
    }
    keys_ascend(BranchItems::new(bytes, header.count), |item| item.key, BranchItems::used)
}

/// Checks that the keys of a page's items ascend, and says where its data ends.
fn keys_ascend<'a, I: Iterator<Item = Result<T, Malformed>>, T>(
    mut items: I,
    key: impl Fn(T) -> &'a [u8],
    used: impl Fn(&I) -> usize,
) -> Result<usize, Malformed> {
    let mut before: &[u8] = &[];
    for item in items.by_ref() {
        let key = key(item?);
        // No key is empty, so the first one is above nothing.
        if before >= key {
            return Err(Malformed::Order);
        }
        before = key;
    }
    Ok(used(&items))
}
