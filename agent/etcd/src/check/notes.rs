//! What the check remembers of each page: in memory up to a budget, then in scratch space.
//!
//! A note begins like a page, with 16 bytes of header. Branches, and leaves of other buckets than `key`, are kept as
//! they are, without padding. A leaf of revision records is kept as [`REVISIONS`]: after the header the number of its
//! first flawed record and the flaw, the number of records with a lease, length and CRC-32C of all its records end to
//! end, then [`RECORD_BYTES`] for each record, [`LEASE_BYTES`] for each lease and [`CLASS_BYTES`] for each record that
//! the caller put into a class.
//!
//! Once the database has ended, the scratch space also takes chunks of the caller's own.

use std::cell::RefCell;
use std::io;

use crate::bolt::{HEADER_BYTES, Header, Malformed};
use crate::io::Spill;
use crate::mvcc::Revision;
use crate::num::{be_i64, le_u16, le_u32, le_u64, narrow, size, wide};

/// The flags of a note on a leaf of revision records; no page has them.
pub(super) const REVISIONS: u16 = 0x8002;

const REVISIONS_HEADER_BYTES: usize = 32;

/// main 8, sub and tombstone bit 4, hash of the user key 8, length 4, CRC-32C 4.
const RECORD_BYTES: usize = 28;

/// Number of the record 4, lease 8.
const LEASE_BYTES: usize = 12;

/// Number of the record 4, class 4.
const CLASS_BYTES: usize = 8;

/// Notes past the budget are handed to the scratch space in parts of this size.
const SPILL_BYTES: usize = 256 << 10;

/// The most that is read ahead of what is asked for.
const AHEAD_BYTES: usize = 64 << 10;

/// Where the note on a page is.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    low: u32,
    high: u32,
    /// 0: the page does not name its own place; [`BAD`]: it does but is malformed, how is in `low`.
    len: u32,
}

const BAD: u32 = u32::MAX;

/// What was noted of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Its header names another place, or no kind of page.
    Nothing,
    Malformed(Malformed),
    /// The buffer given was filled with the note.
    Note,
}

/// The notes on all pages.
pub(super) struct Notes<S> {
    slots: Vec<Slot>,
    memory: Vec<u8>,
    budget: usize,
    tail: Vec<u8>,
    spill: S,
    spilled: u64,
    /// Bytes of chunks behind the notes.
    chunks: u64,
    ahead: RefCell<Ahead>,
}

/// What was read from the scratch space beyond what was asked for. Most databases have their pages nearly in the order
/// of their trees, so that notes are asked for one after the other; where not, nothing is read that is not asked for.
#[derive(Debug, Default)]
struct Ahead {
    start: u64,
    bytes: Vec<u8>,
    /// How much to read at once next time, if the next note follows.
    next: usize,
}

impl Ahead {
    fn end(&self) -> u64 {
        self.start.saturating_add(wide(self.bytes.len()))
    }

    /// Fills `out` with what lies at `from` in `spill`, which ends at `end`.
    fn read(&mut self, spill: &impl Spill, end: u64, from: u64, out: &mut [u8]) -> io::Result<()> {
        let inside = from.checked_sub(self.start).filter(|_| from < self.end()).map(narrow);
        if let Some(bytes) = inside.and_then(|at| self.bytes.get(at..)?.get(..out.len())) {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        let follows = inside.is_some() || from == self.end();
        self.next = if follows { self.next.saturating_mul(2).clamp(4096, AHEAD_BYTES) } else { 0 };
        let wanted = self.next.min(narrow(end.saturating_sub(from)));
        if wanted < out.len() {
            self.bytes.clear();
            self.start = from.saturating_add(wide(out.len()));
            return spill.read_exact_at(out, from);
        }
        self.start = from;
        self.bytes.resize(wanted, 0);
        let read = spill.read_exact_at(&mut self.bytes, from);
        if read.is_err() {
            self.bytes.clear();
        }
        read?;
        let (asked, _) = self.bytes.split_at_checked(out.len()).unwrap_or_default();
        out.copy_from_slice(asked);
        Ok(())
    }
}

impl<S: Spill> Notes<S> {
    pub(super) fn new(spill: S, budget: usize) -> Self {
        let ahead = RefCell::default();
        Notes { slots: Vec::new(), memory: Vec::new(), budget, tail: Vec::new(), spill, spilled: 0, chunks: 0, ahead }
    }

    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    /// Makes room for the next page, on which nothing is noted yet.
    pub(super) fn next_page(&mut self) {
        self.slots.push(Slot::default());
    }

    pub(super) fn set_malformed(&mut self, page: u64, how: Malformed) {
        self.set(page, Slot { low: how.code(), high: 0, len: BAD });
    }

    /// Keeps the note on a page.
    pub(super) fn keep(&mut self, page: u64, parts: &[&[u8]]) -> io::Result<()> {
        let len = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let offset =
            if self.spilled == 0 && self.tail.is_empty() && self.memory.len().saturating_add(len) <= self.budget {
                let offset = wide(self.memory.len());
                parts.iter().for_each(|part| self.memory.extend_from_slice(part));
                offset
            } else {
                let offset = self.spilled.saturating_add(wide(self.tail.len())).saturating_add(wide(self.budget));
                parts.iter().for_each(|part| self.tail.extend_from_slice(part));
                if self.tail.len() >= SPILL_BYTES {
                    self.spill.append(&self.tail).map_err(|error| self.explain(error))?;
                    self.spilled = self.spilled.saturating_add(wide(self.tail.len()));
                    self.tail.clear();
                }
                offset
            };
        let [a, b, c, d, e, f, g, h] = offset.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        match u32::try_from(len) {
            Ok(len) if len < BAD => self.set(page, Slot { low, high, len }),
            _ => self.set_malformed(page, Malformed::TooLarge),
        }
        Ok(())
    }

    /// Looks up a page, and reads its note into `out`.
    pub(super) fn look_up(&self, page: u64, out: &mut Vec<u8>) -> io::Result<Noted> {
        let slot = self.slots.get(narrow(page)).copied().unwrap_or_default();
        if slot.len == 0 {
            return Ok(Noted::Nothing);
        }
        if slot.len == BAD {
            return Ok(Malformed::from_code(slot.low).map_or(Noted::Nothing, Noted::Malformed));
        }
        let offset = u64::from(slot.high) << 32 | u64::from(slot.low);
        self.read(offset, size(slot.len), out)?;
        Ok(Noted::Note)
    }

    fn read(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        let lost = || io::Error::other("a note is not where it was put");
        let Some(behind) = offset.checked_sub(wide(self.budget)).filter(|_| !self.in_memory(offset)) else {
            let note = self.memory.get(narrow(offset)..).and_then(|rest| rest.get(..len)).ok_or_else(lost)?;
            out.extend_from_slice(note);
            return Ok(());
        };
        if let Some(place) = behind.checked_sub(self.spilled) {
            let note = self.tail.get(narrow(place)..).and_then(|rest| rest.get(..len)).ok_or_else(lost)?;
            out.extend_from_slice(note);
            return Ok(());
        }
        out.resize(len, 0);
        // Nothing else holds it while a note is read; if it did, reading without it would be as right.
        match self.ahead.try_borrow_mut() {
            Ok(mut ahead) => ahead.read(&self.spill, self.spilled, behind, out),
            Err(_) => self.spill.read_exact_at(out, behind),
        }
    }

    /// Puts a chunk behind the notes, to which none may be added any more; gives its place.
    pub(super) fn put_chunk(&mut self, chunk: &[u8]) -> io::Result<u64> {
        let place = self.spilled.saturating_add(self.chunks);
        self.spill.append(chunk).map_err(|error| self.explain(error))?;
        self.chunks = self.chunks.saturating_add(wide(chunk.len()));
        Ok(place)
    }

    /// Reads a chunk back.
    pub(super) fn chunk(&self, place: u64, out: &mut [u8]) -> io::Result<()> {
        self.spill.read_exact_at(out, place)
    }

    fn in_memory(&self, offset: u64) -> bool {
        offset < wide(self.memory.len())
    }

    fn set(&mut self, page: u64, slot: Slot) {
        if let Some(place) = self.slots.get_mut(narrow(page)) {
            *place = slot;
        }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let text = format!("the budget of {} bytes is used up and the scratch space failed: {error}", self.budget);
        io::Error::new(error.kind(), text)
    }
}

/// The note on one revision record.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordNote {
    pub(super) revision: Revision,
    /// Keyed hash of the user's key.
    pub(super) key_hash: u64,
    /// Bytes of the revision key and the value together.
    pub(super) len: u32,
    /// CRC-32C of the revision key and the value.
    pub(super) crc: u32,
}

impl RecordNote {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        let (first, rest) = out.split_at_mut(8);
        first.copy_from_slice(&self.revision.main.to_be_bytes());
        let numbers = u128::from(self.revision.sub << 1 | u32::from(self.revision.tombstone))
            | u128::from(self.key_hash) << 32
            | u128::from(self.len) << 96;
        let (second, third) = rest.split_at_mut(16);
        second.copy_from_slice(&numbers.to_le_bytes());
        third.copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    fn decode(note: &[u8]) -> Option<RecordNote> {
        let sub = le_u32(note, 8)?;
        Some(RecordNote {
            revision: Revision { main: be_i64(note, 0)?, sub: sub >> 1, tombstone: sub & 1 == 1 },
            key_hash: le_u64(note, 12)?,
            len: le_u32(note, 20)?,
            crc: le_u32(note, 24)?,
        })
    }
}

/// Builds the note on a leaf of revision records, reusing its memory.
#[derive(Debug, Default)]
pub(super) struct RevisionsNote {
    records: Vec<u8>,
    leases: Vec<u8>,
    classes: Vec<u8>,
    count: u16,
    flaw: Option<(u16, u16)>,
    /// Of all records end to end.
    sum: Sum,
}

/// The CRC-32C of some bytes and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) crc: u32,
    pub(super) len: u32,
}

impl RevisionsNote {
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.leases.clear();
        self.classes.clear();
        self.count = 0;
        self.flaw = None;
        self.sum = Sum::default();
    }

    /// Sets the sum over all records end to end, as they lie in the page.
    pub(super) fn set_sum(&mut self, sum: Sum) {
        self.sum = sum;
    }

    /// Adds the next record; class 0 is none.
    pub(super) fn push(&mut self, record: &RecordNote, lease: i64, class: u32, flaw: Option<u16>) {
        if class != 0 {
            self.classes.extend_from_slice(&u32::from(self.count).to_le_bytes());
            self.classes.extend_from_slice(&class.to_le_bytes());
        }
        if lease != 0 {
            self.leases.extend_from_slice(&u32::from(self.count).to_le_bytes());
            self.leases.extend_from_slice(&lease.to_be_bytes());
        }
        if let (Some(flaw), None) = (flaw, self.flaw) {
            self.flaw = Some((self.count, flaw));
        }
        self.records.extend_from_slice(&record.encode());
        self.count = self.count.saturating_add(1);
    }

    /// The note's parts: a header in the page's likeness, the records, the leases, the classes.
    pub(super) fn header(&self, page: Header) -> [u8; REVISIONS_HEADER_BYTES] {
        let header = Header { flags: REVISIONS, count: self.count, ..page }.encode();
        let (index, flaw) = self.flaw.unwrap_or_default();
        let leases = u32::try_from(self.leases.len() / LEASE_BYTES).unwrap_or(u32::MAX);
        let tail = u128::from(index)
            | u128::from(flaw) << 16
            | u128::from(leases) << 32
            | u128::from(self.sum.crc) << 64
            | u128::from(self.sum.len) << 96;
        let mut out = [0; REVISIONS_HEADER_BYTES];
        let (front, back) = out.split_at_mut(HEADER_BYTES);
        front.copy_from_slice(&header);
        back.copy_from_slice(&tail.to_le_bytes());
        out
    }

    pub(super) fn records(&self) -> &[u8] {
        &self.records
    }

    pub(super) fn leases(&self) -> &[u8] {
        &self.leases
    }

    pub(super) fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// The whole note.
    pub(super) fn to_vec(&self, page: Header) -> Vec<u8> {
        [&self.header(page)[..], &self.records, &self.leases, &self.classes].concat()
    }
}

/// A note on a leaf of revision records, read back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Revisions<'a> {
    records: &'a [u8],
    leases: &'a [u8],
    classes: &'a [u8],
    /// Number of the first flawed record and its flaw's code; a code of 0 is none.
    pub(super) flaw: (u16, u16),
    /// Of all records end to end.
    pub(super) sum: Sum,
}

impl<'a> Revisions<'a> {
    pub(super) fn parse(note: &'a [u8]) -> Option<Revisions<'a>> {
        let header = Header::parse(note).filter(|header| header.flags == REVISIONS)?;
        let flaw = (le_u16(note, 16)?, le_u16(note, 18)?);
        let sum = Sum { crc: le_u32(note, 24)?, len: le_u32(note, 28)? };
        let body = note.get(REVISIONS_HEADER_BYTES..)?;
        let (records, rest) = body.split_at_checked(usize::from(header.count).checked_mul(RECORD_BYTES)?)?;
        let (leases, classes) = rest.split_at_checked(size(le_u32(note, 20)?).checked_mul(LEASE_BYTES)?)?;
        Some(Revisions { records, leases, classes, flaw, sum })
    }

    pub(super) fn len(self) -> u64 {
        wide(self.records.len() / RECORD_BYTES)
    }

    pub(super) fn records(self) -> impl DoubleEndedIterator<Item = RecordNote> + 'a {
        self.records.chunks_exact(RECORD_BYTES).filter_map(RecordNote::decode)
    }

    /// The leases, each with the number of its record in this leaf.
    pub(super) fn leases(self) -> impl Iterator<Item = (u32, i64)> + 'a {
        self.leases.chunks_exact(LEASE_BYTES).filter_map(|lease| Some((le_u32(lease, 0)?, be_i64(lease, 4)?)))
    }

    /// The classes other than 0, each with the number of its record in this leaf.
    pub(super) fn classes(self) -> impl Iterator<Item = (u32, u32)> + 'a {
        self.classes.chunks_exact(CLASS_BYTES).filter_map(|class| Some((le_u32(class, 0)?, le_u32(class, 4)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Spill for Bytes {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            crate::io::ReadAt::read_exact_at(&self.0, buf, offset)
        }
    }

    #[test]
    fn what_is_read_ahead_is_what_is_there_in_any_order() {
        let all: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (spill, mut ahead) = (Bytes(all.clone()), Ahead::default());
        let (mut at, mut random) = (0usize, 1u64);
        for round in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let len = 1 + (random >> 33) as usize % if round % 100 == 0 { 90_000 } else { 400 };
            // Mostly one after the other, now and then back or far away.
            at = match random % 10 {
                0 => (random >> 20) as usize % all.len(),
                1 => at.saturating_sub(len),
                _ => at,
            };
            let end = (at + len).min(all.len());
            let mut out = vec![0; end - at];
            ahead.read(&spill, all.len() as u64, at as u64, &mut out).unwrap();
            assert_eq!(out, all[at..end], "{at} to {end} in round {round}");
            at = end % all.len();
        }
        assert!(ahead.bytes.len() <= 90_000.max(AHEAD_BYTES));
        assert!(ahead.read(&spill, all.len() as u64, all.len() as u64 - 1, &mut [0; 2]).is_err());
    }
}
