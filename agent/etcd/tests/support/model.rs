//! etcd's keyspace as a plain list of records: what a history of changes must lead to, and what HashKV must say.
//!
//! It forgets nothing, not even at a compaction, and finds everything by looking at all records: slow and plain.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{del, put};

/// A record of the `key` bucket.
#[derive(Debug, Clone)]
pub struct Record {
    pub main: i64,
    pub tombstone: bool,
    pub user_key: String,
    pub lease: i64,
    /// Key and value as they are stored.
    pub stored: (Vec<u8>, Vec<u8>),
}

/// One change of a transaction.
#[derive(Debug, Clone)]
pub enum Change {
    Put { key: String, value: Vec<u8>, lease: i64 },
    Delete { key: String },
    DeletePrefix { prefix: String },
}

#[derive(Debug, Default)]
pub struct Model {
    pub records: Vec<Record>,
    pub leases: BTreeSet<i64>,
    /// -1: never.
    pub compacted: i64,
    pub revision: i64,
    /// Create revision and version of each key alive.
    alive: BTreeMap<String, (i64, u64)>,
}

impl Model {
    pub fn new() -> Model {
        Model { compacted: -1, revision: 1, ..Model::default() }
    }

    pub fn keys(&self) -> u64 {
        self.alive.len() as u64
    }

    /// Applies a transaction; one that changes nothing is no revision.
    pub fn txn(&mut self, changes: &[Change]) {
        let main = self.revision + 1;
        let mut sub = 0;
        for change in changes {
            let doomed: Vec<String> = match change {
                Change::Put { key, value, lease } => {
                    let (create, version) = self.alive.get(key).copied().unwrap_or((main, 0));
                    self.alive.insert(key.clone(), (create, version + 1));
                    let stored = put(main, sub, key, create, version + 1, value, *lease as u64);
                    let user_key = key.clone();
                    self.records.push(Record { main, tombstone: false, user_key, lease: *lease, stored });
                    sub += 1;
                    continue;
                }
                Change::Delete { key } => self.alive.contains_key(key).then(|| key.clone()).into_iter().collect(),
                Change::DeletePrefix { prefix } => {
                    self.alive.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
                }
            };
            for user_key in doomed {
                self.alive.remove(&user_key);
                let stored = del(main, sub, &user_key);
                self.records.push(Record { main, tombstone: true, user_key, lease: 0, stored });
                sub += 1;
            }
        }
        self.revision += i64::from(sub > 0);
    }

    /// Revokes a lease: its keys go in one revision, in order.
    pub fn revoke(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let newest = self.newest(self.revision);
        let attached = |key: &&String| self.records[newest[key.as_str()]].lease == lease;
        let keys: Vec<Change> =
            self.alive.keys().filter(attached).map(|key| Change::Delete { key: key.clone() }).collect();
        self.txn(&keys);
    }

    /// The newest record of each key up to a revision.
    fn newest(&self, at: i64) -> BTreeMap<&str, usize> {
        let upto = self.records.iter().enumerate().filter(|(_, record)| record.main <= at);
        upto.map(|(number, record)| (record.user_key.as_str(), number)).collect()
    }

    /// The newest puts of their keys up to a revision.
    fn alive_at(&self, at: i64) -> BTreeSet<usize> {
        self.newest(at).into_values().filter(|number| !self.records[*number].tombstone).collect()
    }

    /// What HashKV says at a revision when compacted at another.
    pub fn hash_kv(&self, at: i64, compacted: i64) -> u32 {
        let keep = self.alive_at(at);
        let survives = self.alive_at(compacted);
        let mut crc = crc32c::crc32c(b"key");
        for (number, record) in self.records.iter().enumerate().filter(|(_, record)| record.main <= at) {
            if record.main <= compacted {
                let gone = !survives.contains(&number);
                if gone || !keep.is_empty() && !keep.contains(&number) {
                    continue;
                }
            }
            crc = crc32c::crc32c_append(crc, &record.stored.0);
            crc = crc32c::crc32c_append(crc, &record.stored.1);
        }
        crc
    }

    /// The records that a finished compaction leaves; later lines keep deletions at its very revision.
    pub fn records_left(&self, keeps_deletions: bool) -> Vec<&Record> {
        let survives = self.alive_at(self.compacted);
        let left = |(number, record): &(usize, &Record)| {
            let deletion = keeps_deletions && record.tombstone && record.main == self.compacted;
            record.main > self.compacted || survives.contains(number) || deletion
        };
        self.records.iter().enumerate().filter(left).map(|(_, record)| record).collect()
    }
}
