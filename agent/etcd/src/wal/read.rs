//! Reads a segment back: its frames and its running sum.

use crate::num::{le_u64, narrow};
use crate::proto::Field;

use super::CRC;
use super::record::{Entry, HardState, Mark, Meaningless, Record, decode, each_field};

/// Bytes of the length before each record.
const LENGTH_BYTES: usize = 8;

/// A disk writes this much or nothing, so what a crash tore off ends at such a boundary.
const SECTOR: usize = 512;

/// What a segment holds. Entries borrow from the segment's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wal<'a> {
    /// The member that wrote the log.
    pub node_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// The snapshots that were taken, in the order of the file. Only those at or below the newest hard state's commit
    /// count: a later one was noted and perhaps never written.
    pub snapshots: Vec<Mark>,
    /// In the order of the file. An entry takes the place of every earlier one from its index on.
    pub entries: Vec<Entry<'a>>,
    /// The newest one.
    pub hard_state: Option<HardState>,
    /// The running sum behind the last record, for [`read_from`] on the next segment.
    pub crc: u32,
    /// Where the last whole record ends.
    pub end: usize,
    /// Whether a record that a crash cut off follows there. That is normal at the end of the newest segment, where etcd
    /// drops it; in a segment that others follow it is damage.
    pub torn: bool,
}

/// Why a segment cannot be read. A torn tail is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The length before a record is none that etcd writes.
    #[error("the log is damaged at byte {offset}: {length:#018x} is not the length of a record; restore a backup")]
    Length {
        /// Where the length stands.
        offset: usize,
        /// The length and its padding, as they are in the file.
        length: u64,
    },
    /// A record does not match the running sum.
    #[error("the log is damaged at byte {offset}: the sum is {actual:#010x}, not {expected:#010x}; restore a backup")]
    Crc {
        /// Where the record's length stands.
        offset: usize,
        /// What the record says.
        expected: u32,
        /// What its bytes and those before it give.
        actual: u32,
    },
    /// A record that matches its sum, or has none, and still is no message of its type.
    #[error("the log is damaged at byte {offset}: the record is no {what}; restore a backup")]
    Undecodable {
        /// Where the record's length stands.
        offset: usize,
        /// What it should have been.
        what: &'static str,
    },
    /// A type that etcd 3.4 to 3.7 do not write.
    #[error(
        "the log has a record of type {kind} at byte {offset}, which etcd 3.4 to 3.7 do not write; use a newer release"
    )]
    Kind {
        /// Where the record's length stands.
        offset: usize,
        /// The type.
        kind: u64,
    },
    /// The log says twice whose it is, and not the same.
    #[error("the log names another member or cluster at byte {offset} than before; do not mix files of two members")]
    OtherMember {
        /// Where the record's length stands.
        offset: usize,
    },
    /// The log does not say whose it is.
    #[error("the log ends at byte {end} without a metadata record, so it is no etcd log, or an empty one")]
    NoMetadata {
        /// Where it ends.
        end: usize,
    },
}

/// Reads one segment, the first of a log or any other: a segment begins with the sum that it continues.
pub fn read(segment: &[u8]) -> Result<Wal<'_>, WalError> {
    read_from(0, segment)
}

/// Reads the segment after one that ended with the running sum `crc`, and checks that it continues that one.
pub fn read_from(crc: u32, segment: &[u8]) -> Result<Wal<'_>, WalError> {
    let mut records = records(crc, segment);
    let mut metadata = None;
    let (mut snapshots, mut entries, mut hard_state) = (Vec::new(), Vec::new(), None);
    while let Some(record) = records.next() {
        match record? {
            Record::Metadata { node_id, cluster_id } => {
                if metadata.is_some_and(|before| before != (node_id, cluster_id)) {
                    return Err(WalError::OtherMember { offset: records.last });
                }
                metadata = Some((node_id, cluster_id));
            }
            Record::Entry(entry) => entries.push(entry),
            Record::HardState(state) => hard_state = Some(state),
            Record::Crc(_) => {}
            Record::Snapshot(mark) => snapshots.push(mark),
        }
    }
    let Records { crc, end, torn, .. } = records;
    let (node_id, cluster_id) = metadata.ok_or(WalError::NoMetadata { end })?;
    Ok(Wal { node_id, cluster_id, snapshots, entries, hard_state, crc, end, torn })
}

/// The records of a segment one by one, after one that ended with the running sum `crc` (0: not known).
pub fn records(crc: u32, segment: &[u8]) -> Records<'_> {
    Records { segment, crc, last: 0, end: 0, torn: false, done: false }
}

/// Steps through a segment in constant memory; made by [`records`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    segment: &'a [u8],
    crc: u32,
    last: usize,
    end: usize,
    torn: bool,
    done: bool,
}

/// A record before its type is looked at.
struct Raw<'a> {
    kind: u64,
    crc: u32,
    data: &'a [u8],
}

impl<'a> Records<'a> {
    /// The running sum behind the records read so far.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Where the records read so far end.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Whether a record that was cut off ended the segment.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// The next record, or none where the log ends: at the end of the file, at a length of zero, at a torn record.
    fn step(&mut self) -> Result<Option<Record<'a>>, WalError> {
        let offset = self.end;
        let rest = self.segment.get(offset..).unwrap_or_default();
        let Some(length) = le_u64(rest, 0) else {
            self.torn = !rest.is_empty();
            return Ok(None);
        };
        if length == 0 {
            return Ok(None);
        }
        let (bytes, pad) = split_length(length).ok_or(WalError::Length { offset, length })?;
        let body = rest.get(LENGTH_BYTES..).unwrap_or_default();
        let whole = bytes.checked_add(pad).and_then(|whole| body.get(..whole));
        let Some((record, whole)) = whole.and_then(|whole| Some((whole.get(..bytes)?, whole))) else {
            self.torn = true;
            return Ok(None);
        };
        let understood = self.understand(offset, record).and_then(|(record, crc)| match record {
            Record::Crc(_) => Ok((record, crc)),
            _ if offset > 0 => Ok((record, crc)),
            _ => Err(WalError::Undecodable { offset, what: "sum, with which every segment begins" }),
        });
        match understood {
            Ok((record, crc)) => {
                self.crc = crc;
                self.last = offset;
                self.end = offset.saturating_add(LENGTH_BYTES).saturating_add(whole.len());
                Ok(Some(record))
            }
            Err(WalError::Crc { .. } | WalError::Undecodable { .. }) if is_torn(offset, whole) => {
                self.torn = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a record apart and checks it against the running sum, which it gives as it is behind the record.
    fn understand(&self, offset: usize, record: &'a [u8]) -> Result<(Record<'a>, u32), WalError> {
        let Raw { kind, crc, data } = raw(record).ok_or(WalError::Undecodable { offset, what: "record of a log" })?;
        let restated = kind == CRC;
        let actual = if restated { self.crc } else { crc32c::crc32c_append(self.crc, data) };
        // Where nothing was read before there is nothing to hold a restated sum against.
        if crc != actual && !(restated && self.crc == 0) {
            return Err(WalError::Crc { offset, expected: crc, actual });
        }
        match decode(kind, crc, data) {
            Ok(record) => Ok((record, crc)),
            Err(Meaningless::Undecodable(what)) => Err(WalError::Undecodable { offset, what }),
            Err(Meaningless::Kind(kind)) => Err(WalError::Kind { offset, kind }),
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

/// A length's two parts: bytes of the record, and bytes that pad it to a multiple of eight.
fn split_length(length: u64) -> Option<(usize, usize)> {
    let (mark, bytes) = (length >> 56, length & (u64::MAX >> 8));
    let pad = if mark == 0 { 0 } else { mark.checked_sub(0x80).filter(|pad| (1..8).contains(pad))? };
    bytes.checked_add(pad)?.is_multiple_of(8).then_some((narrow(bytes), narrow(pad)))
}

/// Whether a record that makes no sense, whose length stands at `offset`, was cut off by a crash: the log is zeros
/// before it is written, so a whole sector of zeros was not.
fn is_torn(offset: usize, whole: &[u8]) -> bool {
    let begin = offset.saturating_add(LENGTH_BYTES);
    let first = SECTOR.saturating_sub(begin % SECTOR);
    let (first, rest) = whole.split_at_checked(first).unwrap_or((whole, &[]));
    std::iter::once(first).chain(rest.chunks(SECTOR)).any(|part| part.iter().all(|byte| *byte == 0))
}

/// Takes a record apart. All versions write a type and a sum, even where they are zero.
fn raw(record: &[u8]) -> Option<Raw<'_>> {
    let (mut kind, mut crc, mut data): (_, _, &[u8]) = (None, None, &[]);
    each_field(record, |number, field| {
        match (number, field) {
            (1, Field::Varint(value)) => kind = Some(value),
            (2, Field::Varint(value)) => crc = Some(u32::try_from(value).ok()?),
            (3, Field::Bytes(value)) => data = value,
            (1..=3, _) => return None,
            _ => {}
        }
        Some(())
    })?;
    Some(Raw { kind: kind?, crc: crc?, data })
}
