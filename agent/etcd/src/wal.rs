//! Segments of a write-ahead log: the first one as etcd's own restore would have written it, and any one read back.
//!
//! A frame is a little-endian length whose top byte tells the padding (0x80 | bytes), a `walpb.Record` and zeros up to
//! a multiple of eight. A record carries the running CRC-32C over the data of all records so far; its own type and the
//! padding are not covered. The bytes written are
//! those of `etcdutl snapshot restore` 3.5 and 3.6, which write zero fields; etcd 3.4 to 3.7 read them. The reader takes
//! all spellings: 3.4 does not say who votes, 3.7 leaves unset fields out.
//!
//! etcd makes segments of 64 MB in advance, zeroed, so a length of zero ends a segment as its last byte does.

mod read;
mod record;

pub use read::{Records, Wal, WalError, read, read_from, records};
pub use record::{ConfState, Entry, EntryKind, HardState, Mark, Record};
pub(crate) use record::{conf_state as read_conf_state, each_field};

use crate::identity::NewMember;
use crate::num::wide;
use crate::proto::Writer;

/// The name of the first segment: sequence 0, first index 0.
pub const FIRST_NAME: &str = "0000000000000000-0000000000000000.wal";

/// The raft term in which a restored cluster's members are added.
pub const FIRST_TERM: u64 = 1;

const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const HARD_STATE: u64 = 3;
const CRC: u64 = 4;
const SNAPSHOT: u64 = 5;

/// The log of member `me` of a fresh cluster of `members`: one configuration change for each, committed in term 1, and
/// a snapshot record behind them.
pub fn first_segment(me: u64, cluster: u64, members: &[NewMember]) -> Vec<u8> {
    let mut members: Vec<&NewMember> = members.iter().collect();
    members.sort_by_key(|member| member.id);
    let count = wide(members.len());
    let smallest = members.first().map_or(0, |member| member.id);
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();

    let mut log = Log::default();
    log.record(CRC, None);
    log.record(METADATA, Some(Writer::new().varint(1, me).varint(2, cluster).done()));
    log.record(SNAPSHOT, Some(Writer::new().varint(1, 0).varint(2, 0).done()));
    for (index, member) in (1u64..).zip(&members) {
        let change = Writer::new().varint(1, 0).varint(2, 0).varint(3, member.id).bytes(4, &member.json()).done();
        let entry = Writer::new().varint(1, 1).varint(2, FIRST_TERM).varint(3, index).bytes(4, &change).done();
        log.record(ENTRY, Some(entry));
    }
    log.record(HARD_STATE, Some(Writer::new().varint(1, FIRST_TERM).varint(2, smallest).varint(3, count).done()));
    let snapshot = Writer::new().varint(1, count).varint(2, FIRST_TERM).bytes(3, &conf_state(&ids)).done();
    log.record(SNAPSHOT, Some(snapshot));
    log.bytes
}

/// `raftpb.ConfState` of a cluster of voters; the ids must be ascending.
pub(crate) fn conf_state(ids: &[u64]) -> Vec<u8> {
    ids.iter().fold(Writer::new(), |state, id| state.varint(1, *id)).varint(5, 0).done()
}

#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    crc: u32,
}

impl Log {
    fn record(&mut self, kind: u64, data: Option<Vec<u8>>) {
        if let Some(data) = &data {
            self.crc = crc32c::crc32c_append(self.crc, data);
        }
        let record = Writer::new().varint(1, kind).varint(2, u64::from(self.crc));
        let record = match &data {
            Some(data) => record.bytes(3, data),
            None => record,
        };
        self.frame(&record.done());
    }

    fn frame(&mut self, record: &[u8]) {
        let pad = record.len().wrapping_neg() % 8;
        let mark = if pad == 0 { 0 } else { (0x80 | wide(pad)) << 56 };
        self.bytes.extend_from_slice(&(wide(record.len()) | mark).to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.bytes.extend(std::iter::repeat_n(0, pad));
    }
}
