//! A database copied into a new file, without what it does not use.

use std::ops::ControlFlow;

use crate::bolt::{BUCKET_FLAG, Bucket, LeafItem, PagesLeft, ReadError, Source};
use crate::io::{ReadAt, WriteAt};
use crate::num::le_u64;
use crate::read::DbError;

use super::{BuildError, Built, BulkWriter};

/// Buckets inside of buckets. etcd has none; other programs' databases are not nested like this.
const MAX_NESTING: usize = 8;

/// Why a database was not compacted.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The database could not be read, or is damaged.
    #[error(transparent)]
    Read(#[from] DbError),
    /// The new file could not be written.
    #[error(transparent)]
    Write(#[from] BuildError),
}

impl From<ReadError> for CompactError {
    fn from(error: ReadError) -> Self {
        CompactError::Read(error.into())
    }
}

/// Copies every bucket of the database in `source`, item by item as it is, into a new database in `sink`.
///
/// Every page is read once, and the tree is checked on the way; what the records say is not: check the database before,
/// or the new one after. `sink` should be empty, and is the caller's to sync.
pub fn compact<R: ReadAt + ?Sized, W: WriteAt + ?Sized>(source: &R, sink: &W) -> Result<Built, CompactError> {
    let source = Source::open(source)?;
    let left = source.pages_left();
    let root = source.meta.root;
    let mut copy = Copy { writer: BulkWriter::new(sink, source.meta.page_size)?, source: &source, left: &left };
    source.each_item((root, Bucket::Root(root)), &[], &left, |page, item| {
        if item.flags != BUCKET_FLAG {
            let what = format!("the root's item {} is not a bucket", item.key.escape_ascii());
            return Err(CompactError::Read(DbError::Page { page, what }));
        }
        copy.bucket(page, item)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(copy.writer.finish()?)
}

/// A copy under way.
struct Copy<'s, 'r, 'w, R: ?Sized, W: WriteAt + ?Sized> {
    source: &'s Source<'r, R>,
    left: &'s PagesLeft,
    writer: BulkWriter<'w, W>,
}

impl<R: ReadAt + ?Sized, W: WriteAt + ?Sized> Copy<'_, '_, '_, R, W> {
    /// Copies the bucket that is an item of a page.
    fn bucket(&mut self, page: u64, item: LeafItem<'_>) -> Result<(), CompactError> {
        let bad = |what: &str| {
            let what = format!("the bucket {} in it {what}", item.key.escape_ascii());
            CompactError::Read(DbError::Page { page, what })
        };
        if self.writer.open.len() >= MAX_NESTING {
            return Err(bad("is nested deeper than any is"));
        }
        let bucket = Bucket::parse(item.value).ok_or_else(|| bad("has a damaged header"))?;
        self.writer.begin(item.key, le_u64(item.value, 8).unwrap_or_default())?;
        let (source, left) = (self.source, self.left);
        source.each_item((page, bucket), &[], left, |page, item| {
            match item.flags {
                BUCKET_FLAG => self.bucket(page, item)?,
                _ => self.writer.push(0, item.key, item.value)?,
            }
            Ok::<_, CompactError>(ControlFlow::Continue(()))
        })?;
        Ok(self.writer.end()?)
    }
}
