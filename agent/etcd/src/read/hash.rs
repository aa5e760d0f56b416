//! HashKV in two passes over the records.
//!
//! The stream check combines sums of pages that it noted; this computes the hash as etcd does, from the bytes, so that
//! each can be held against the other. It is also for whoever has a file and a question, and no check at hand.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

use crate::check::{HashKv, NoHash};
use crate::io::ReadAt;

use super::{Database, DbError};

/// Two keyed hashes, 128 bits together: what stands for a key, so that long keys cost no more than short ones.
#[derive(Default)]
struct Keyed(RandomState, RandomState);

impl Keyed {
    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.0.hash_one(key), self.1.hash_one(key)]
    }
}

/// The newest record of each key at a revision.
#[derive(Default)]
struct Newest {
    keyed: Keyed,
    /// The number of the record in order, times two, and one more for a deletion.
    records: HashMap<[u64; 2], u64>,
}

impl Newest {
    /// Whether this is the newest record of its key, and a put.
    fn keeps(&self, key: &[u8], number: u64) -> bool {
        self.records.get(&self.keyed.hash(key)) == Some(&(number << 1))
    }

    fn is_anything_alive(&self) -> bool {
        self.records.values().any(|newest| newest & 1 == 0)
    }
}

impl<F: ReadAt + ?Sized> Database<'_, F> {
    /// What a live member answers to HashKV at `revision` when it is compacted at `compact_revision` (-1: never), or
    /// why the database cannot tell.
    ///
    /// Reads every record up to `revision` twice, and holds about 60 bytes for each key that was ever put or deleted
    /// in them; without a compaction once, and holds nothing.
    pub fn hash_kv(&self, revision: i64, compact_revision: i64) -> Result<Result<HashKv, NoHash>, DbError> {
        if let Err(why) = NoHash::check((revision, compact_revision), (self.revision, self.compact_revision)) {
            return Ok(Err(why));
        }
        let mut newest = Newest::default();
        if compact_revision >= 0 {
            newest = self.newest(revision)?;
        }
        if compact_revision >= 0 && !newest.is_anything_alive() {
            // Where nothing is alive, etcd hashes whatever the compaction left.
            newest = self.newest(compact_revision)?;
        }
        let mut hash = crc32c::crc32c(b"key");
        let mut number = 0u64;
        self.for_each_record(0..=revision, |record| {
            if record.main > compact_revision || newest.keeps(record.key, number) {
                hash = crc32c::crc32c_append(hash, record.stored_key);
                hash = crc32c::crc32c_append(hash, record.stored_value);
            }
            number = number.saturating_add(1);
            ControlFlow::<()>::Continue(())
        })?;
        Ok(Ok(HashKv { hash, revision, compact_revision }))
    }

    fn newest(&self, at: i64) -> Result<Newest, DbError> {
        let mut newest = Newest::default();
        let mut number = 0u64;
        self.for_each_record(0..=at, |record| {
            newest.records.insert(newest.keyed.hash(record.key), number << 1 | u64::from(record.tombstone));
            number = number.saturating_add(1);
            ControlFlow::<()>::Continue(())
        })?;
        Ok(newest)
    }
}
