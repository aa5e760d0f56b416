//! Questions about the records as a whole: which are the newest of their key, and what HashKV says.
//!
//! Which record is the newest of its key is found with a table of keyed hashes. If all keys could need more memory
//! than the budget, it is done in rounds, each for its share of the hashes and each reading the notes once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use crate::crc::Joiner;
use crate::io::Spill;
use crate::num::wide;

use super::notes::{Noted, Notes, Revisions};
use super::report::HashKv;
use super::walk::Bits;

/// What a key costs in the table, with its spare room.
const ENTRY_BYTES: u64 = 48;

/// The smallest table that is worth a round.
const LEAST_TABLE_BYTES: u64 = 1 << 20;

/// Dangling leases listed by id.
const MAX_LEASE_IDS: usize = 100;

/// The leaves of the `key` bucket, in order.
#[derive(Debug, Default)]
pub(super) struct KeyTree {
    /// Their pages. 32 bits hold every page that fits into a file of 2 TiB.
    pub(super) leaves: Vec<u32>,
    /// The note on an inline bucket.
    pub(super) inline: Option<Vec<u8>>,
    pub(super) records: u64,
}

/// The newest record of each key at a revision, as far as it is a put.
#[derive(Debug)]
pub(super) struct Alive {
    /// By the number of the record in tree order.
    records: Bits,
    /// Without the ghost of a revision bump, which no client can see.
    pub(super) keys: u64,
}

/// Keys whose newest record names a missing lease.
#[derive(Debug, Default)]
pub(super) struct Dangling {
    pub(super) keys: u64,
    pub(super) ids: Vec<i64>,
}

/// Keys are keyed hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

type Table = HashMap<u64, u64, BuildHasherDefault<Identity>>;

/// The records, and the notes that they are in.
pub(super) struct Records<'a, S> {
    pub(super) tree: &'a KeyTree,
    pub(super) notes: &'a Notes<S>,
    pub(super) hash_of_empty: u64,
}

impl<S: Spill> Records<'_, S> {
    /// Visits the leaves in order, each with the number of its first record.
    fn each_leaf(&self, mut visit: impl FnMut(u64, Revisions<'_>)) -> io::Result<()> {
        let lost = || io::Error::other("a note is not what was put there");
        if let Some(note) = &self.tree.inline {
            visit(0, Revisions::parse(note).ok_or_else(lost)?);
        }
        let (mut first, mut note) = (0u64, Vec::new());
        for page in &self.tree.leaves {
            if self.notes.look_up(u64::from(*page), &mut note)? != Noted::Note {
                return Err(lost());
            }
            let leaf = Revisions::parse(&note).ok_or_else(lost)?;
            visit(first, leaf);
            first = first.saturating_add(leaf.len());
        }
        Ok(())
    }

    /// Finds what is alive at a revision.
    pub(super) fn alive(&self, at: i64) -> io::Result<Alive> {
        let budget = wide(self.notes.budget()).max(LEAST_TABLE_BYTES);
        let rounds = self.tree.records.saturating_mul(ENTRY_BYTES).div_ceil(budget).max(1);
        let mut alive = Alive { records: Bits::default(), keys: 0 };
        let mut table = Table::default();
        for round in 0..rounds {
            table.clear();
            self.each_leaf(|first, leaf| {
                for (number, record) in (first..).zip(leaf.records()) {
                    let mine = rounds == 1 || (record.key_hash >> 24) % rounds == round;
                    if mine && record.revision.main <= at {
                        table.insert(record.key_hash, number << 1 | u64::from(record.revision.tombstone));
                    }
                }
            })?;
            for (hash, newest) in &table {
                if newest & 1 == 0 {
                    alive.records.insert(newest >> 1);
                    alive.keys = alive.keys.saturating_add(u64::from(*hash != self.hash_of_empty));
                }
            }
        }
        Ok(alive)
    }

    /// Finds keys whose newest record names a lease that is not among `leases`.
    pub(super) fn dangling(&self, alive: &Alive, leases: &HashSet<i64>) -> io::Result<Dangling> {
        let mut ids = BTreeSet::new();
        let mut keys = 0u64;
        self.each_leaf(|first, leaf| {
            for (index, lease) in leaf.leases() {
                if alive.records.contains(first.saturating_add(u64::from(index))) && !leases.contains(&lease) {
                    keys = keys.saturating_add(1);
                    ids.insert(lease);
                    if ids.len() > MAX_LEASE_IDS {
                        ids.pop_last();
                    }
                }
            }
        })?;
        Ok(Dangling { keys, ids: ids.into_iter().collect() })
    }

    /// HashKV at a revision, as a member compacted at `compact` answers it.
    ///
    /// It is the CRC-32C of `key` and of every record that counts, in order. Above the compact revision, and up to
    /// the one asked for, all count; below it only what is alive at the revision asked for. If nothing is alive there,
    /// etcd hashes what the compaction left, which is what was alive at the compact revision.
    pub(super) fn hash_kv(&self, alive: &Alive, revision: i64, compact: i64) -> io::Result<HashKv> {
        let left;
        let keep = if alive.records.count() > 0 || compact < 0 {
            alive
        } else {
            left = self.alive(compact)?;
            &left
        };
        let joiner = Joiner::shared();
        let mut hash = crc32c::crc32c(b"key");
        self.each_leaf(|first, leaf| {
            for (number, record) in (first..).zip(leaf.records()) {
                let main = record.revision.main;
                if main <= revision && (main > compact || keep.records.contains(number)) {
                    hash = joiner.join(hash, record.crc, record.len);
                }
            }
        })?;
        Ok(HashKv { hash, revision, compact_revision: compact })
    }
}
