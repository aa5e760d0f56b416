//! What a segment's records say: the messages of raft's and etcd's inside them.

use crate::num::narrow;
use crate::proto::{Field, field};

use super::{CRC, ENTRY, HARD_STATE, METADATA, SNAPSHOT};

/// One record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// Whose log this is.
    Metadata {
        /// The member.
        node_id: u64,
        /// Its cluster.
        cluster_id: u64,
    },
    /// An entry of the raft log.
    Entry(Entry<'a>),
    /// What raft remembered.
    HardState(HardState),
    /// The running sum, restated; every segment begins with it.
    Crc(u32),
    /// A snapshot was taken.
    Snapshot(Mark),
}

/// A snapshot that the log knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The index of the last entry in the snapshot.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who votes; etcd 3.4 does not say.
    pub conf_state: Option<ConfState>,
}

/// An entry of the raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The term in which it was proposed.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
    /// What its data is.
    pub kind: EntryKind,
    /// A request of etcd's, or a configuration change; empty in the entry that begins a leader's term.
    pub data: &'a [u8],
}

/// What an entry's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A request.
    Normal,
    /// A `raftpb.ConfChange`.
    ConfChange,
    /// A `raftpb.ConfChangeV2`.
    ConfChangeV2,
}

/// What raft must not forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// Whom the member voted for in it; 0 for nobody.
    pub vote: u64,
    /// The last index known to be committed.
    pub commit: u64,
}

/// Who takes part in a cluster's decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfState {
    /// Members with a vote.
    pub voters: Vec<u64>,
    /// Members without one.
    pub learners: Vec<u64>,
    /// Members that had a vote before a change that is under way.
    pub voters_outgoing: Vec<u64>,
    /// Members that become learners when that change is done.
    pub learners_next: Vec<u64>,
    /// Whether that change ends by itself.
    pub auto_leave: bool,
}

/// Why a record has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaningless {
    /// It is not the message that its type says.
    Undecodable(&'static str),
    /// Its type is none that etcd writes.
    Kind(u64),
}

/// Reads the data of a record of type `kind` whose running sum is `crc`.
pub(super) fn decode(kind: u64, crc: u32, data: &[u8]) -> Result<Record<'_>, Meaningless> {
    let (record, what) = match kind {
        METADATA => (metadata(data), "metadata of a log"),
        ENTRY => (entry(data).map(Record::Entry), "entry of a log"),
        HARD_STATE => (hard_state(data).map(Record::HardState), "raft hard state"),
        CRC => (Some(Record::Crc(crc)), "sum"),
        SNAPSHOT => (mark(data).map(Record::Snapshot), "note of a snapshot"),
        kind => return Err(Meaningless::Kind(kind)),
    };
    record.ok_or(Meaningless::Undecodable(what))
}

fn metadata(data: &[u8]) -> Option<Record<'_>> {
    let [node_id, cluster_id] = numbers(data)?;
    Some(Record::Metadata { node_id, cluster_id })
}

fn hard_state(data: &[u8]) -> Option<HardState> {
    let [term, vote, commit] = numbers(data)?;
    Some(HardState { term, vote, commit })
}

fn entry(data: &[u8]) -> Option<Entry<'_>> {
    let mut entry = Entry { term: 0, index: 0, kind: EntryKind::Normal, data: &[] };
    each_field(data, |number, field| {
        match (number, field) {
            (1, Field::Varint(0)) => entry.kind = EntryKind::Normal,
            (1, Field::Varint(1)) => entry.kind = EntryKind::ConfChange,
            (1, Field::Varint(2)) => entry.kind = EntryKind::ConfChangeV2,
            (2, Field::Varint(term)) => entry.term = term,
            (3, Field::Varint(index)) => entry.index = index,
            (4, Field::Bytes(data)) => entry.data = data,
            (1..=4, _) => return None,
            _ => {}
        }
        Some(())
    })?;
    Some(entry)
}

fn mark(data: &[u8]) -> Option<Mark> {
    let mut mark = Mark { index: 0, term: 0, conf_state: None };
    each_field(data, |number, field| {
        match (number, field) {
            (1, Field::Varint(index)) => mark.index = index,
            (2, Field::Varint(term)) => mark.term = term,
            (3, Field::Bytes(state)) => mark.conf_state = Some(conf_state(state)?),
            (1..=3, _) => return None,
            _ => {}
        }
        Some(())
    })?;
    Some(mark)
}

/// Reads a `raftpb.ConfState`.
pub(crate) fn conf_state(data: &[u8]) -> Option<ConfState> {
    let mut state = ConfState::default();
    each_field(data, |number, field| {
        let list = match number {
            1 => &mut state.voters,
            2 => &mut state.learners,
            3 => &mut state.voters_outgoing,
            4 => &mut state.learners_next,
            5 => {
                let Field::Varint(set) = field else { return None };
                state.auto_leave = set != 0;
                return Some(());
            }
            _ => return Some(()),
        };
        match field {
            Field::Varint(id) => list.push(id),
            // Nobody writes the ids packed, but every reader of protobuf takes them so.
            Field::Bytes(mut packed) => {
                while !packed.is_empty() {
                    let (id, rest) = crate::proto::varint(packed)?;
                    list.push(id);
                    packed = rest;
                }
            }
            Field::Other => return None,
        }
        Some(())
    })?;
    Some(state)
}

/// A message of `N` numbers. The sum does not cover a record's type, so a message of another type is refused where it
/// shows: by content in its later fields.
fn numbers<const N: usize>(data: &[u8]) -> Option<[u64; N]> {
    let mut found = [0; N];
    each_field(data, |number, field| {
        let place = narrow(number).checked_sub(1)?;
        match (found.get_mut(place), field) {
            (Some(slot), Field::Varint(value)) => *slot = value,
            (Some(_), _) | (None, Field::Bytes(_)) => return None,
            (None, _) => {}
        }
        Some(())
    })?;
    Some(found)
}

/// Calls `take` with each field of a message; none when the message, or `take`, ends early.
pub(crate) fn each_field<'a>(mut bytes: &'a [u8], mut take: impl FnMut(u64, Field<'a>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let (number, field, rest) = field(bytes)?;
        take(number, field)?;
        bytes = rest;
    }
    Some(())
}
