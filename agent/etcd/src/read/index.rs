//! Which keys are alive at a revision, and what they hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::io::ReadAt;
use crate::num::wide;

use super::{Database, DbError, RecordView};

/// The keys alive at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The revision.
    pub revision: i64,
    /// The keys, ascending.
    pub entries: Vec<IndexEntry>,
}

/// A key alive at a revision, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The key.
    pub key: Vec<u8>,
    /// The revision in which it was created.
    pub create_revision: i64,
    /// The revision of its last put, and so of its record.
    pub mod_revision: i64,
    /// The place of that put among the changes of its revision.
    pub sub: u32,
    /// Puts since it was created.
    pub version: i64,
    /// The lease that it is attached to, 0 for none.
    pub lease: i64,
    /// Bytes of its value.
    pub value_bytes: u64,
}

/// A key and what it holds, as etcd's API tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// The revision in which it was created.
    pub create_revision: i64,
    /// The revision of its last put.
    pub mod_revision: i64,
    /// Puts since it was created.
    pub version: i64,
    /// The lease that it is attached to, 0 for none.
    pub lease: i64,
    /// The value.
    pub value: Vec<u8>,
}

impl<F: ReadAt + ?Sized> Database<'_, F> {
    /// The keys that begin with `prefix` and are alive at revision `at`, in order.
    ///
    /// Reads every record up to `at` once. Holds the entries of the keys that match and were alive at once on the way,
    /// and nothing for any other key; no values.
    pub fn index(&self, at: i64, prefix: &[u8]) -> Result<Index, DbError> {
        self.check_revision(at)?;
        let mut alive: BTreeMap<Vec<u8>, IndexEntry> = BTreeMap::new();
        self.for_each_record(0..=at, |record| {
            // The ghost of a revision bump has no key, and no client can see it.
            if record.key.starts_with(prefix) && !record.key.is_empty() {
                note(&mut alive, record);
            }
            ControlFlow::<()>::Continue(())
        })?;
        Ok(Index { revision: at, entries: alive.into_values().collect() })
    }

    /// What a key holds at revision `at`; none when it is not alive there.
    ///
    /// Reads every record up to `at` once, and holds one of them.
    pub fn get(&self, key: &[u8], at: i64) -> Result<Option<KeyValue>, DbError> {
        self.check_revision(at)?;
        let mut newest = None;
        self.for_each_record(0..=at, |record| {
            if record.key == key {
                newest = (!record.tombstone).then_some((record.main, record.sub));
            }
            ControlFlow::<()>::Continue(())
        })?;
        match newest {
            Some((main, sub)) if !key.is_empty() => self.record(key, main, sub).map(Some),
            _ => Ok(None),
        }
    }

    /// What the key of an index entry held at the index's revision, found through the tree by the revision of its put.
    pub fn value(&self, entry: &IndexEntry) -> Result<KeyValue, DbError> {
        self.record(&entry.key, entry.mod_revision, entry.sub)
    }

    fn record(&self, key: &[u8], main: i64, sub: u32) -> Result<KeyValue, DbError> {
        let found = self.for_each_record(main..=main, |record| {
            if record.sub < sub {
                return ControlFlow::Continue(());
            }
            let same = record.sub == sub && !record.tombstone && record.key == key;
            ControlFlow::Break(same.then(|| KeyValue {
                key: key.to_vec(),
                create_revision: record.create_revision,
                mod_revision: main,
                version: record.version,
                lease: record.lease,
                value: record.value.to_vec(),
            }))
        })?;
        found.flatten().ok_or_else(|| DbError::NoRecord { key: key.escape_ascii().to_string(), revision: main })
    }
}

/// Takes a record into the keys alive.
fn note(alive: &mut BTreeMap<Vec<u8>, IndexEntry>, record: RecordView<'_>) {
    let RecordView { main: mod_revision, sub, create_revision, version, lease, .. } = record;
    if record.tombstone {
        alive.remove(record.key);
        return;
    }
    let value_bytes = wide(record.value.len());
    match alive.get_mut(record.key) {
        Some(entry) => {
            let key = std::mem::take(&mut entry.key);
            *entry = IndexEntry { key, create_revision, mod_revision, sub, version, lease, value_bytes };
        }
        None => {
            let key = record.key.to_vec();
            let entry = IndexEntry { key, create_revision, mod_revision, sub, version, lease, value_bytes };
            alive.insert(record.key.to_vec(), entry);
        }
    }
}
