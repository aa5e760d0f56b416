//! Questions about the records as a whole: which are the newest of their key, and what HashKV says.
//!
//! Which record is the newest of its key is found with a table of keyed hashes. Where the table of all keys could need
//! more memory than the budget, the records are first dealt into parts by their hash, in scratch space; then each part
//! has a small table of its own. The records of a tree are numbered in the order of their revisions, so "at revision R"
//! means "below a number", and the same parts answer for every R.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use crate::crc::Joiner;
use crate::io::Spill;
use crate::num::{le_u64, narrow, wide};

use super::notes::{Noted, Notes, RecordNote, Revisions};
use super::report::HashKv;
use super::walk::Bits;

/// What a key costs in the table, with its spare room.
const ENTRY_BYTES: u64 = 48;

/// The smallest table that is worth a part.
const LEAST_TABLE_BYTES: u64 = 1 << 20;

/// A record as a part holds it: the hash of its key 8, its number and tombstone bit 8.
const DEALT_BYTES: usize = 16;

/// Bytes of a part that are collected before they go to the scratch space.
const CHUNK_BYTES: usize = 16 << 10;

/// Dangling leases listed by id.
pub(super) const MAX_LEASE_IDS: usize = 1 << 20;

/// The leaves of the `key` bucket, in order.
#[derive(Debug, Default)]
pub(super) struct KeyTree {
    /// Their pages. 32 bits hold every page that fits into a file of 2 TiB.
    pub(super) leaves: Vec<u32>,
    /// The note on an inline bucket.
    pub(super) inline: Option<Vec<u8>>,
    pub(super) records: u64,
    /// The highest revision of a record.
    pub(super) newest: i64,
    /// Whether any record names a lease.
    pub(super) leased: bool,
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
    /// There are more ids than are listed.
    pub(super) more: bool,
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

/// Where the records of one share of the hashes are: full chunks in the scratch space, and the rest in memory.
#[derive(Debug, Default)]
struct Part {
    chunks: Vec<u64>,
    rest: Vec<u8>,
}

/// The records, and the notes that they are in.
pub(super) struct Records<S> {
    tree: KeyTree,
    notes: Notes<S>,
    hash_of_empty: u64,
    /// None where one table holds all keys.
    parts: Vec<Part>,
}

fn lost() -> io::Error {
    io::Error::other("a note is not what was put there")
}

/// Visits the leaves in order, each with the number of its first record.
fn each_leaf<S: Spill>(
    tree: &KeyTree,
    notes: &Notes<S>,
    mut visit: impl FnMut(u64, Revisions<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(note) = &tree.inline {
        visit(0, Revisions::parse(note).ok_or_else(lost)?)?;
    }
    let (mut first, mut note) = (0u64, Vec::new());
    for page in &tree.leaves {
        if notes.look_up(u64::from(*page), &mut note)? != Noted::Note {
            return Err(lost());
        }
        let leaf = Revisions::parse(&note).ok_or_else(lost)?;
        visit(first, leaf)?;
        first = first.saturating_add(leaf.len());
    }
    Ok(())
}

impl<S: Spill> Records<S> {
    pub(super) fn new(tree: KeyTree, notes: Notes<S>, hash_of_empty: u64) -> io::Result<Self> {
        let budget = wide(notes.budget()).max(LEAST_TABLE_BYTES);
        let parts = tree.records.saturating_mul(ENTRY_BYTES).div_ceil(budget);
        let mut records = Records { tree, notes, hash_of_empty, parts: Vec::new() };
        if parts > 1 {
            records.deal(parts)?;
        }
        Ok(records)
    }

    /// Deals all records into parts by the hash of their key.
    fn deal(&mut self, count: u64) -> io::Result<()> {
        let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
        // The notes are read and chunks are added behind them: two passes over a leaf's worth of records at a time.
        let mut dealt: Vec<(u64, [u8; DEALT_BYTES])> = Vec::new();
        let (mut first, mut note) = (0u64, Vec::new());
        for page in &self.tree.leaves {
            if self.notes.look_up(u64::from(*page), &mut note)? != Noted::Note {
                return Err(lost());
            }
            let leaf = Revisions::parse(&note).ok_or_else(lost)?;
            dealt.clear();
            dealt.extend(
                (first..)
                    .zip(leaf.records())
                    .map(|(number, record)| (share(&record, count), deal_out(number, &record))),
            );
            for (share, bytes) in &dealt {
                let Some(part) = parts.get_mut(narrow(*share)) else { continue };
                part.rest.extend_from_slice(bytes);
                if part.rest.len() >= CHUNK_BYTES {
                    part.chunks.push(self.notes.put_chunk(&part.rest)?);
                    part.rest.clear();
                }
            }
            first = first.saturating_add(leaf.len());
        }
        self.parts = parts;
        Ok(())
    }

    /// Finds what is alive at a revision.
    pub(super) fn alive(&self, at: i64) -> io::Result<Alive> {
        let mut alive = Alive { records: Bits::default(), keys: 0 };
        let mut table = Table::default();
        if self.parts.is_empty() {
            each_leaf(&self.tree, &self.notes, |first, leaf| {
                for (number, record) in
                    (first..).zip(leaf.records()).take_while(|(_, record)| record.revision.main <= at)
                {
                    table.insert(record.key_hash, number << 1 | u64::from(record.revision.tombstone));
                }
                Ok(())
            })?;
            self.keep_puts(&table, &mut alive);
            return Ok(alive);
        }
        let end = self.first_above(at)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        for part in &self.parts {
            table.clear();
            for place in &part.chunks {
                self.notes.chunk(*place, &mut chunk)?;
                take_up(&mut table, &chunk, end);
            }
            take_up(&mut table, &part.rest, end);
            self.keep_puts(&table, &mut alive);
        }
        Ok(alive)
    }

    fn keep_puts(&self, table: &Table, alive: &mut Alive) {
        for (hash, newest) in table {
            if newest & 1 == 0 {
                alive.records.insert(newest >> 1);
                alive.keys = alive.keys.saturating_add(u64::from(*hash != self.hash_of_empty));
            }
        }
    }

    /// The number of the first record above a revision.
    fn first_above(&self, at: i64) -> io::Result<u64> {
        if at >= self.tree.newest {
            return Ok(self.tree.records);
        }
        let mut end = 0;
        each_leaf(&self.tree, &self.notes, |first, leaf| {
            if leaf.records().next().is_some_and(|record| record.revision.main <= at) {
                let below = match leaf.records().next_back() {
                    Some(last) if last.revision.main <= at => leaf.len(),
                    _ => wide(leaf.records().take_while(|record| record.revision.main <= at).count()),
                };
                end = first.saturating_add(below);
            }
            Ok(())
        })?;
        Ok(end)
    }

    /// Finds keys whose newest record names a lease that is not among `leases`.
    pub(super) fn dangling(&self, alive: &Alive, leases: &HashSet<i64>) -> io::Result<Dangling> {
        let mut ids = BTreeSet::new();
        let (mut keys, mut more) = (0u64, false);
        if !self.tree.leased {
            return Ok(Dangling::default());
        }
        each_leaf(&self.tree, &self.notes, |first, leaf| {
            for (index, lease) in leaf.leases() {
                if alive.records.contains(first.saturating_add(u64::from(index))) && !leases.contains(&lease) {
                    keys = keys.saturating_add(1);
                    ids.insert(lease);
                    if ids.len() > MAX_LEASE_IDS {
                        ids.pop_last();
                        more = true;
                    }
                }
            }
            Ok(())
        })?;
        Ok(Dangling { keys, ids: ids.into_iter().collect(), more })
    }

    /// How many of the living records are in each class.
    pub(super) fn by_class(&self, alive: &Alive) -> io::Result<BTreeMap<u32, u64>> {
        let mut by_class = BTreeMap::new();
        each_leaf(&self.tree, &self.notes, |first, leaf| {
            for (index, class) in leaf.classes() {
                if alive.records.contains(first.saturating_add(u64::from(index))) {
                    let count: &mut u64 = by_class.entry(class).or_default();
                    *count = count.saturating_add(1);
                }
            }
            Ok(())
        })?;
        Ok(by_class)
    }

    /// HashKV at a revision, as a member compacted at `compact` answers it; `alive` is what is alive there.
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
        let counts = |number: u64, record: &RecordNote| {
            let main = record.revision.main;
            main <= revision && (main > compact || keep.records.contains(number))
        };
        each_leaf(&self.tree, &self.notes, |first, leaf| {
            // Most leaves count as a whole, and cost one step.
            if (first..).zip(leaf.records()).all(|(number, record)| counts(number, &record)) {
                hash = joiner.join(hash, leaf.sum.crc, u64::from(leaf.sum.len));
                return Ok(());
            }
            for (number, record) in (first..).zip(leaf.records()) {
                if counts(number, &record) {
                    hash = joiner.join(hash, record.crc, u64::from(record.len));
                }
            }
            Ok(())
        })?;
        Ok(HashKv { hash, revision, compact_revision: compact })
    }
}

/// The part that a record belongs to.
fn share(record: &RecordNote, parts: u64) -> u64 {
    // The table takes the low bits and the highest ones.
    (record.key_hash >> 24) % parts.max(1)
}

fn deal_out(number: u64, record: &RecordNote) -> [u8; DEALT_BYTES] {
    let newest = number << 1 | u64::from(record.revision.tombstone);
    (u128::from(record.key_hash) | u128::from(newest) << 64).to_le_bytes()
}

/// Takes dealt records with a number below `end` into the table, the later ones over the earlier.
fn take_up(table: &mut Table, dealt: &[u8], end: u64) {
    for record in dealt.chunks_exact(DEALT_BYTES) {
        if let (Some(hash), Some(newest)) = (le_u64(record, 0), le_u64(record, 8))
            && newest >> 1 < end
        {
            table.insert(hash, newest);
        }
    }
}
