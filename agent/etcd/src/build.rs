//! Writes a new bbolt file from items in order: compact, without free pages, and without ever holding it.
//!
//! Pages go to the file one after the other from its third on; the two metas come last, so that a file cut off on the
//! way is no database. Held are two pages for each level of the tree being written, a megabyte of pages on their way
//! out, and the root: a small entry for each bucket, with the whole bucket where bbolt would store it so.

mod compact;

use std::collections::BTreeMap;
use std::io;

pub use compact::{CompactError, compact};

use crate::bolt::{
    BUCKET_FLAG, MAX_LOGICAL_BYTES, MAX_PAGE_BYTES, Meta, NO_FREELIST, PageSink, Pages, TooLarge, TreeWriter,
};
use crate::io::WriteAt;
use crate::num::{size, wide};

/// The longest key that bbolt takes.
const MAX_KEY_BYTES: usize = 32_768;

/// What an item may take with its place in a page, so that the page it is in can be checked.
const MAX_ITEM_BYTES: usize = MAX_LOGICAL_BYTES - 64;

/// Pages that are written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The transactions that the metas name, as if the database had been committed three times.
const TXIDS: [(u64, u64); 2] = [(0, 2), (1, 3)];

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Bytes of the database: what the file must be at least as long as, and a snapshot exactly.
    pub db_bytes: u64,
    /// Pages of the database, its two metas included.
    pub pages: u64,
}

/// Why a database was not written. What is in the file then is no database.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file could not be written.
    #[error("cannot write the database at byte {offset}: {source}")]
    Io {
        /// Where in the file.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// There is no such page size.
    #[error("{page_bytes} bytes are no page size: choose a power of two from 512 to 65536")]
    PageSize {
        /// What was asked for.
        page_bytes: u32,
    },
    /// An item has an empty key, or a bucket an empty name.
    #[error("an item of bucket {bucket} has an empty key, which bbolt does not store")]
    EmptyKey {
        /// The bucket.
        bucket: String,
    },
    /// A key, or the name of a bucket, is longer than bbolt allows.
    #[error("a key of bucket {bucket} has {bytes} bytes, and bbolt stores 32768 at most")]
    LongKey {
        /// The bucket.
        bucket: String,
        /// The key's length.
        bytes: usize,
    },
    /// An item is larger than any reader takes.
    #[error("item {key} of bucket {bucket} has {bytes} bytes, and a page can hold 64 MiB at most")]
    LargeItem {
        /// The bucket.
        bucket: String,
        /// The item's key.
        key: String,
        /// Bytes of its key and value.
        bytes: usize,
    },
    /// A key does not come after the one before it.
    #[error("key {key} of bucket {bucket} does not come after {last}: push the items in ascending order, each once")]
    OutOfOrder {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The key before it.
        last: String,
    },
    /// A bucket of that name was written already.
    #[error("there is a bucket called {bucket} already: write each bucket once")]
    Twice {
        /// The bucket.
        bucket: String,
    },
    /// A bucket was begun and not finished.
    #[error("bucket {bucket} was begun but not finished: finish it before what comes after it")]
    Unfinished {
        /// The bucket.
        bucket: String,
    },
    /// More pages than can be numbered.
    #[error("the database would be larger than a bbolt file can be")]
    TooLarge,
}

impl From<TooLarge> for BuildError {
    fn from(_: TooLarge) -> Self {
        BuildError::TooLarge
    }
}

/// The file, written from its third page on in large pieces.
struct Output<'a, W: ?Sized> {
    file: &'a W,
    buffer: Vec<u8>,
    /// Where the buffer belongs.
    offset: u64,
    failed: bool,
}

impl<W: WriteAt + ?Sized> Output<'_, W> {
    /// Nothing is written after a write that failed: the file lacks a page.
    fn flush(&mut self) -> Result<(), BuildError> {
        let offset = self.offset;
        let written = match self.failed {
            true => Err(io::Error::other("a write before it failed")),
            false => self.file.write_all_at(&self.buffer, offset),
        };
        self.failed = true;
        written.map_err(|source| BuildError::Io { offset, source })?;
        self.failed = false;
        self.offset = offset.saturating_add(wide(self.buffer.len()));
        self.buffer.clear();
        Ok(())
    }
}

impl<W: WriteAt + ?Sized> PageSink for Output<'_, W> {
    type Error = BuildError;

    fn put(&mut self, _: u64, bytes: Vec<u8>) -> Result<(), BuildError> {
        // Pages are numbered in the order in which they come, so that each belongs right behind the one before.
        if !self.failed {
            self.buffer.extend_from_slice(&bytes);
        }
        if self.failed || self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }
}

/// A bucket that is being written.
struct Open {
    name: Vec<u8>,
    sequence: u64,
    tree: TreeWriter,
    /// Its last key, empty before the first.
    last: Vec<u8>,
}

/// Writes a database.
pub struct BulkWriter<'a, W: WriteAt + ?Sized> {
    page_bytes: u32,
    pages: Pages<Output<'a, W>>,
    /// The root: buckets by name.
    root: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The bucket being written, inside of those before it.
    open: Vec<Open>,
}

impl<'a, W: WriteAt + ?Sized> BulkWriter<'a, W> {
    /// Starts a database in `file`, which should be empty: what it has beyond the new database's end stays there.
    pub fn new(file: &'a W, page_bytes: u32) -> Result<Self, BuildError> {
        let page_size = size(page_bytes);
        if !page_bytes.is_power_of_two() || !(512..=MAX_PAGE_BYTES).contains(&page_size) {
            return Err(BuildError::PageSize { page_bytes });
        }
        let offset = u64::from(page_bytes).saturating_mul(2);
        let output = Output { file, buffer: Vec::new(), offset, failed: false };
        Ok(BulkWriter { page_bytes, pages: Pages::new(page_size, 2, output), root: BTreeMap::new(), open: Vec::new() })
    }

    /// Begins a bucket. Buckets may come in any order, each once.
    pub fn bucket(&mut self, name: &[u8]) -> Result<BucketWriter<'_, 'a, W>, BuildError> {
        self.expect_open(0)?;
        self.begin(name, 0)?;
        Ok(BucketWriter { depth: 1, writer: self })
    }

    /// Writes the root and the metas. Syncing is the caller's.
    pub fn finish(mut self) -> Result<Built, BuildError> {
        self.expect_open(0)?;
        let mut root = TreeWriter::new(size(self.page_bytes));
        for (name, value) in &self.root {
            root.push(&mut self.pages, BUCKET_FLAG, name, value)?;
        }
        let root = root.into_root(&mut self.pages)?;
        self.pages.sink.flush()?;
        let (high_water, page_size) = (self.pages.high_water(), self.page_bytes);
        for (page, txid) in TXIDS {
            let meta = Meta { page_size, root, freelist: NO_FREELIST, high_water, txid };
            let offset = page.saturating_mul(u64::from(page_size));
            let written = self.pages.sink.file.write_all_at(&meta.encode(page), offset);
            written.map_err(|source| BuildError::Io { offset, source })?;
        }
        Ok(Built { db_bytes: high_water.saturating_mul(u64::from(page_size)), pages: high_water })
    }

    /// What is pushed belongs into the bucket at this depth, so those inside of it must be done.
    fn expect_open(&self, depth: usize) -> Result<(), BuildError> {
        match self.open.get(depth) {
            Some(inner) => Err(BuildError::Unfinished { bucket: inner.name.escape_ascii().to_string() }),
            None => Ok(()),
        }
    }

    fn begin(&mut self, name: &[u8], sequence: u64) -> Result<(), BuildError> {
        let last = self.open.last().map_or(&[][..], |parent| &parent.last);
        self.check_key(name, last)?;
        if self.open.is_empty() && self.root.contains_key(name) {
            return Err(BuildError::Twice { bucket: name.escape_ascii().to_string() });
        }
        let tree = TreeWriter::new(size(self.page_bytes));
        self.open.push(Open { name: name.to_vec(), sequence, tree, last: Vec::new() });
        Ok(())
    }

    /// Ends the innermost bucket, which becomes an item of the one that it is in.
    fn end(&mut self) -> Result<(), BuildError> {
        let Some(Open { name, sequence, tree, .. }) = self.open.pop() else {
            return Ok(());
        };
        let value = tree.into_bucket(&mut self.pages, sequence)?;
        if self.open.is_empty() {
            self.root.insert(name, value);
            return Ok(());
        }
        self.push(BUCKET_FLAG, &name, &value)
    }

    /// Adds an item to the innermost bucket.
    fn push(&mut self, flags: u32, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        let last = self.open.last().map_or(&[][..], |open| &open.last);
        self.check_key(key, last)?;
        let bytes = key.len().saturating_add(value.len());
        if bytes > MAX_ITEM_BYTES {
            return Err(BuildError::LargeItem { bucket: self.place(), key: key.escape_ascii().to_string(), bytes });
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        open.last.clear();
        open.last.extend_from_slice(key);
        open.tree.push(&mut self.pages, flags, key, value)
    }

    /// Checks a key against bbolt's rules and the key before it.
    fn check_key(&self, key: &[u8], last: &[u8]) -> Result<(), BuildError> {
        if key.is_empty() {
            return Err(BuildError::EmptyKey { bucket: self.place() });
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(BuildError::LongKey { bucket: self.place(), bytes: key.len() });
        }
        if key <= last {
            let (key, last) = (key.escape_ascii().to_string(), last.escape_ascii().to_string());
            return Err(BuildError::OutOfOrder { bucket: self.place(), key, last });
        }
        Ok(())
    }

    /// The bucket being written, for an error.
    fn place(&self) -> String {
        let names: Vec<String> = self.open.iter().map(|open| open.name.escape_ascii().to_string()).collect();
        if names.is_empty() { "(the root)".to_owned() } else { names.join("/") }
    }
}

/// Writes one bucket. It must be finished; the database is refused otherwise.
#[must_use = "a bucket that is not finished is not written"]
pub struct BucketWriter<'w, 'a, W: WriteAt + ?Sized> {
    writer: &'w mut BulkWriter<'a, W>,
    depth: usize,
}

impl<'a, W: WriteAt + ?Sized> BucketWriter<'_, 'a, W> {
    /// Adds an item, whose key comes after those before.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        self.writer.expect_open(self.depth)?;
        self.writer.push(0, key, value)
    }

    /// Begins a bucket inside of this one, at its place in the order of the keys.
    pub fn bucket(&mut self, name: &[u8]) -> Result<BucketWriter<'_, 'a, W>, BuildError> {
        self.writer.expect_open(self.depth)?;
        self.writer.begin(name, 0)?;
        Ok(BucketWriter { depth: self.depth.saturating_add(1), writer: self.writer })
    }

    /// Ends the bucket.
    pub fn finish(self) -> Result<(), BuildError> {
        self.writer.expect_open(self.depth)?;
        self.writer.end()
    }
}
