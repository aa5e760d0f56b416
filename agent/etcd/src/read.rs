//! Reads a database file at places: records from a revision on, the keys alive at one, a single key, leases, members.
//!
//! The file may be a bare database or a snapshot with its digest behind it, and need not have been checked: whatever is
//! wrong with what a question touches is a [`DbError`] that names the page, and nothing is guessed. Questions hold one
//! page and the few above it, and besides that only what they return, unless they say otherwise.

mod hash;
mod index;
mod lists;

use std::io;
use std::ops::{ControlFlow, RangeInclusive};

pub use index::{Index, IndexEntry, KeyValue};
pub use lists::{Lease, Versions};

use crate::bolt::{BUCKET_FLAG, Bucket, LeafItem, ReadError, Source};
use crate::io::ReadAt;
use crate::mvcc::{self, Record, Revision};
use crate::small;

/// Why a question about a database has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The file could not be read.
    #[error("cannot read the database at byte {offset}: {source}")]
    Io {
        /// Where in the file.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// A page is damaged; page 0 when the file is no database at all.
    #[error("page {page} of the database is damaged: {what}; inspect the file, and use another copy")]
    Page {
        /// The page.
        page: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An item in one of etcd's buckets is not what etcd stores there.
    #[error("{bucket}/{key} in page {page} of the database {what}; inspect the file, and use another copy")]
    Item {
        /// The bucket.
        bucket: &'static str,
        /// The item's key: of a record, its revision and sub-revision.
        key: String,
        /// The page that it is in.
        page: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A bucket that every database of etcd has is not there.
    #[error("the database has no bucket called {bucket}: it is not etcd's, or is damaged")]
    NoBucket {
        /// Its name.
        bucket: &'static str,
    },
    /// The database ends before the revision asked for, or the revision is none.
    #[error("the database has no revision {asked}: it goes up to {newest}")]
    NoRevision {
        /// The revision asked for.
        asked: i64,
        /// The database's own.
        newest: i64,
    },
    /// What there was at the revision asked for was compacted away in part.
    #[error("revision {asked} was compacted: the database tells what there was from {compact_revision} on")]
    Compacted {
        /// The revision asked for.
        asked: i64,
        /// The database's compact revision.
        compact_revision: i64,
    },
    /// An index entry names a record that this database does not have.
    #[error("the database has no record of key {key} at revision {revision}: the entry comes from another database")]
    NoRecord {
        /// The entry's key.
        key: String,
        /// The entry's revision.
        revision: i64,
    },
}

impl From<ReadError> for DbError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io { offset, source } => DbError::Io { offset, source },
            ReadError::Page { page, what } => DbError::Page { page, what },
        }
    }
}

/// One record: a put or a deletion, as it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The revision; of a put, it is what etcd's API calls `mod_revision`.
    pub main: i64,
    /// The place among the changes of that revision, from 0 on.
    pub sub: u32,
    /// Whether it is a deletion; then everything below but the key is empty.
    pub tombstone: bool,
    /// The user's key; empty only in the ghost that a revision bump leaves behind.
    pub key: &'a [u8],
    /// The revision in which the key was created.
    pub create_revision: i64,
    /// Puts of the key since it was created, this one included.
    pub version: i64,
    /// The lease that the key is attached to, 0 for none.
    pub lease: i64,
    /// The value.
    pub value: &'a [u8],
    /// The record's own key in the bucket: the revision in bytes.
    pub stored_key: &'a [u8],
    /// The record's own value in the bucket: an encoded `mvccpb.KeyValue`.
    pub stored_value: &'a [u8],
}

/// A bucket's value in its parent, and the page that this is in.
#[derive(Debug)]
struct Entry {
    page: u64,
    value: Vec<u8>,
}

impl Entry {
    fn bucket(&self) -> Result<Bucket<'_>, DbError> {
        let damaged = || DbError::Page { page: self.page, what: "the header of a bucket in it is damaged".to_owned() };
        Bucket::parse(&self.value).ok_or_else(damaged)
    }
}

/// A database file, open for questions.
pub struct Database<'a, F: ReadAt + ?Sized> {
    source: Source<'a, F>,
    key: Entry,
    revision: i64,
    compact_revision: i64,
}

impl<F: ReadAt + ?Sized> std::fmt::Debug for Database<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (revision, compact_revision) = (self.revision, self.compact_revision);
        f.debug_struct("Database").field("revision", &revision).field("compact_revision", &compact_revision).finish()
    }
}

impl<'a, F: ReadAt + ?Sized> Database<'a, F> {
    /// Opens a database: reads its metas, its compaction marks and its last record.
    pub fn open(file: &'a F) -> Result<Self, DbError> {
        let source = Source::open(file)?;
        let key = find(&source, "key")?.ok_or(DbError::NoBucket { bucket: "key" })?;
        let meta = find(&source, "meta")?.ok_or(DbError::NoBucket { bucket: "meta" })?;
        let mut compact_revision = -1;
        each_item(&source, &meta, &[], |page, item| {
            if [&b"scheduledCompactRev"[..], b"finishedCompactRev"].contains(&item.key) {
                let marked = small::mark(item.value).map_err(|what| bad_item("meta", item.key, page, what))?;
                compact_revision = marked.max(compact_revision);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let last = match source.last_key((key.page, key.bucket()?), &source.pages_left())? {
            Some((page, last)) => {
                let revision = Revision::parse(&last);
                revision.ok_or_else(|| bad_item("key", &last, page, "is not named by a revision"))?.main
            }
            None => 1,
        };
        let revision = last.max(compact_revision).max(1);
        Ok(Database { source, key, revision, compact_revision })
    }

    /// The revision that etcd will have when it starts from this database; 1 when nothing was ever written.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision up to which history is compacted once etcd has started, -1 when never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The database's page size.
    pub fn page_bytes(&self) -> u32 {
        self.source.meta.page_size
    }

    /// Visits the records of these revisions in order, until `each` breaks off; returns what it broke off with.
    ///
    /// The first one is found through the tree's branches, so that what comes before costs nothing. Up to the compact
    /// revision only what the compaction left is there.
    pub fn for_each_record<B>(
        &self,
        revisions: RangeInclusive<i64>,
        mut each: impl FnMut(RecordView<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, DbError> {
        let mut broke = None;
        let from = Revision { main: (*revisions.start()).max(0), sub: 0, tombstone: false }.encode();
        each_item(&self.source, &self.key, &from, |page, item| {
            let revision = revision_of(page, item)?;
            if revision.main > *revisions.end() {
                return Ok(ControlFlow::Break(()));
            }
            broke = each(view(page, revision, item)?).break_value();
            Ok(if broke.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(broke)
    }

    /// Whether what there was at a revision can be told.
    fn check_revision(&self, asked: i64) -> Result<(), DbError> {
        if asked < 1 || asked > self.revision {
            return Err(DbError::NoRevision { asked, newest: self.revision });
        }
        if asked < self.compact_revision {
            return Err(DbError::Compacted { asked, compact_revision: self.compact_revision });
        }
        Ok(())
    }
}

fn bad_item(bucket: &'static str, key: &[u8], page: u64, what: &'static str) -> DbError {
    DbError::Item { bucket, key: key.escape_ascii().to_string(), page, what }
}

/// Finds a bucket in the root.
fn find<F: ReadAt + ?Sized>(source: &Source<'_, F>, bucket: &'static str) -> Result<Option<Entry>, DbError> {
    let (root, name) = (source.meta.root, bucket.as_bytes());
    let mut found = None;
    source.each_item((root, Bucket::Root(root)), name, &source.pages_left(), |page, item| {
        if item.key == name && item.flags != BUCKET_FLAG {
            return Err(DbError::Page { page, what: format!("its item {bucket} is not a bucket") });
        }
        if item.key == name {
            found = Some(Entry { page, value: item.value.to_vec() });
        }
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

fn each_item<F: ReadAt + ?Sized>(
    source: &Source<'_, F>,
    entry: &Entry,
    from: &[u8],
    each: impl FnMut(u64, LeafItem<'_>) -> Result<ControlFlow<()>, DbError>,
) -> Result<(), DbError> {
    source.each_item((entry.page, entry.bucket()?), from, &source.pages_left(), each)
}

fn revision_of(page: u64, item: LeafItem<'_>) -> Result<Revision, DbError> {
    let revision = Revision::parse(item.key).filter(|_| item.flags == 0);
    revision.ok_or_else(|| bad_item("key", item.key, page, "is not named by a revision"))
}

fn view<'i>(page: u64, revision: Revision, item: LeafItem<'i>) -> Result<RecordView<'i>, DbError> {
    let Revision { main, sub, tombstone } = revision;
    let bad = |what| DbError::Item { bucket: "key", key: format!("{main}.{sub}"), page, what };
    let record = mvcc::decode(item.value).ok_or_else(|| bad(mvcc::Flaw::Undecodable.describe()))?;
    if let Some(flaw) = mvcc::flaw(revision, item.value, &record) {
        return Err(bad(flaw.describe()));
    }
    let Record { key, create: create_revision, version, lease, value, .. } = record;
    let (stored_key, stored_value) = (item.key, item.value);
    Ok(RecordView { main, sub, tombstone, key, create_revision, version, lease, value, stored_key, stored_value })
}
