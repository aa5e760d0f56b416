//! Revision keys and the records behind them.

use crate::num::be_i64;
use crate::proto::{Field, field, signed};

/// Bytes of a revision key; a tombstone's has one more.
pub(crate) const REVISION_BYTES: usize = 17;

/// A revision key: `main` as eight big-endian bytes, `_`, `sub` alike, and for a deletion a `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    pub(crate) tombstone: bool,
}

impl Revision {
    /// Parses a key of the `key` bucket. Subs beyond 31 bits do not occur: they would need as many changes in one
    /// transaction.
    pub(crate) fn parse(key: &[u8]) -> Option<Revision> {
        let (key, tombstone) = match key.len() {
            REVISION_BYTES => (key, false),
            18 => (key.strip_suffix(b"t")?, true),
            _ => return None,
        };
        if key.get(8) != Some(&b'_') {
            return None;
        }
        let main = be_i64(key, 0)?;
        let sub = u32::try_from(be_i64(key, 9)?).ok()?;
        (main >= 0 && sub < 1 << 31).then_some(Revision { main, sub, tombstone })
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut key = self.main.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend_from_slice(&i64::from(self.sub).to_be_bytes());
        if self.tombstone {
            key.push(b't');
        }
        key
    }
}

/// What an `mvccpb.KeyValue` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) create: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    pub(crate) value: &'a [u8],
}

/// What can be wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Undecodable,
    WrongModRevision,
    WrongCreateRevision,
    WrongVersion,
    NoKey,
    TombstoneWithContent,
}

impl Flaw {
    /// Flaws by their number in a note; 0 is none.
    const ALL: [Flaw; 6] = [
        Flaw::Undecodable,
        Flaw::WrongModRevision,
        Flaw::WrongCreateRevision,
        Flaw::WrongVersion,
        Flaw::NoKey,
        Flaw::TombstoneWithContent,
    ];

    pub(crate) fn code(self) -> u16 {
        let place = Flaw::ALL.iter().position(|flaw| *flaw == self);
        place.and_then(|place| u16::try_from(place).ok()).map_or(1, |place| place.saturating_add(1))
    }

    pub(crate) fn from_code(code: u16) -> Option<Flaw> {
        Flaw::ALL.get(usize::from(code.checked_sub(1)?)).copied()
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Flaw::Undecodable => "is not a key-value message",
            Flaw::WrongModRevision => "names another revision than the one it is stored under",
            Flaw::WrongCreateRevision => "was created at a revision after its own, or before the first",
            Flaw::WrongVersion => "has a version below 1",
            Flaw::NoKey => "has no key",
            Flaw::TombstoneWithContent => "is a deletion that carries more than its key",
        }
    }
}

/// Decodes a record.
pub(crate) fn decode(value: &[u8]) -> Option<Record<'_>> {
    let mut record = Record::default();
    let mut rest = value;
    while !rest.is_empty() {
        let (number, content, after) = field(rest)?;
        match (number, content) {
            (1, Field::Bytes(key)) => record.key = key,
            (2, Field::Varint(value)) => record.create = signed(value),
            (3, Field::Varint(value)) => record.modified = signed(value),
            (4, Field::Varint(value)) => record.version = signed(value),
            (5, Field::Bytes(value)) => record.value = value,
            (6, Field::Varint(value)) => record.lease = signed(value),
            (1..=6, _) => return None,
            _ => {}
        }
        rest = after;
    }
    Some(record)
}

/// What is wrong with a record stored at `revision`. An empty value is the ghost that a revision bump leaves behind.
pub(crate) fn flaw(revision: Revision, value: &[u8], record: &Record<'_>) -> Option<Flaw> {
    if revision.tombstone {
        let bare = Record { key: record.key, ..Record::default() };
        return match () {
            () if record.key.is_empty() => Some(Flaw::NoKey),
            () if *record != bare => Some(Flaw::TombstoneWithContent),
            () => None,
        };
    }
    match () {
        () if value.is_empty() => None,
        () if record.key.is_empty() => Some(Flaw::NoKey),
        () if record.modified != revision.main => Some(Flaw::WrongModRevision),
        () if record.create < 1 || record.create > record.modified => Some(Flaw::WrongCreateRevision),
        () if record.version < 1 => Some(Flaw::WrongVersion),
        () => None,
    }
}
