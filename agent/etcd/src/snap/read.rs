//! Reads a `.snap` file back.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::check::Member;
use crate::proto::Field;
use crate::wal::{ConfState, each_field, read_conf_state};

/// What a `.snap` file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snap<'a> {
    /// The index of the last entry that is in the snapshot.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who votes.
    pub conf_state: ConfState,
    /// Members as the v2 store lists them, ascending by id. Those of a file that a restore wrote have no name and no
    /// client URLs yet.
    pub members: Vec<Member>,
    /// The v2 store, as JSON; empty where there is none.
    pub store: &'a [u8],
}

/// Why a `.snap` file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapError {
    /// Not the message that it should be.
    #[error("the .snap file is no {what}; remove it if a snapshot record of the log names an older one, or restore")]
    Undecodable {
        /// What it, or a part of it, should have been.
        what: &'static str,
    },
    /// No sum or no data: a file that was never written to its end.
    #[error("the .snap file is empty or without a sum; remove it, or restore a backup")]
    Empty,
    /// The data does not match its sum.
    #[error("the .snap file is damaged: its data has the sum {actual:#010x}, not {expected:#010x}; restore a backup")]
    Crc {
        /// What the file says.
        expected: u32,
        /// What its data gives.
        actual: u32,
    },
    /// The v2 store in it is not JSON, or not etcd's.
    #[error("the .snap file's v2 store cannot be read: {why}; restore a backup")]
    Store {
        /// What is wrong with it, and where.
        why: String,
    },
}

/// Reads a `.snap` file.
pub fn read(file: &[u8]) -> Result<Snap<'_>, SnapError> {
    let (expected, data) = envelope(file).ok_or(SnapError::Undecodable { what: "snapshot of etcd's" })?;
    if data.is_empty() || expected == 0 {
        return Err(SnapError::Empty);
    }
    let actual = crc32c::crc32c(data);
    if actual != expected {
        return Err(SnapError::Crc { expected, actual });
    }
    let mut snap = Snap { index: 0, term: 0, conf_state: ConfState::default(), members: Vec::new(), store: &[] };
    snapshot(data, &mut snap).ok_or(SnapError::Undecodable { what: "snapshot of raft's" })?;
    if !snap.store.is_empty() {
        snap.members = members(snap.store)?;
    }
    Ok(snap)
}

fn envelope(file: &[u8]) -> Option<(u32, &[u8])> {
    let (mut crc, mut data): (u32, &[u8]) = (0, &[]);
    each_field(file, |number, field| {
        match (number, field) {
            (1, Field::Varint(value)) => crc = u32::try_from(value).ok()?,
            (2, Field::Bytes(value)) => data = value,
            (1 | 2, _) => return None,
            _ => {}
        }
        Some(())
    })?;
    Some((crc, data))
}

fn snapshot<'a>(data: &'a [u8], snap: &mut Snap<'a>) -> Option<()> {
    each_field(data, |number, field| match (number, field) {
        (1, Field::Bytes(store)) => {
            snap.store = store;
            Some(())
        }
        (2, Field::Bytes(of)) => metadata(of, snap),
        (1 | 2, _) => None,
        _ => Some(()),
    })
}

fn metadata(data: &[u8], snap: &mut Snap<'_>) -> Option<()> {
    each_field(data, |number, field| {
        match (number, field) {
            (1, Field::Bytes(state)) => snap.conf_state = read_conf_state(state)?,
            (2, Field::Varint(index)) => snap.index = index,
            (3, Field::Varint(term)) => snap.term = term,
            (1..=3, _) => return None,
            _ => {}
        }
        Some(())
    })
}

/// A node of the v2 store: only what leads to the members is kept, whatever else there is.
#[derive(Deserialize)]
struct Node<T> {
    #[serde(rename = "Children")]
    children: Option<T>,
}

#[derive(Deserialize)]
struct Store {
    #[serde(rename = "Root")]
    root: Node<Top>,
}

#[derive(Deserialize)]
struct Top {
    #[serde(rename = "0")]
    cluster: Option<Node<Cluster>>,
}

#[derive(Deserialize)]
struct Cluster {
    members: Option<Node<BTreeMap<String, Node<Facts>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    raft_attributes: Option<Leaf>,
    attributes: Option<Leaf>,
}

#[derive(Deserialize)]
struct Leaf {
    #[serde(rename = "Value")]
    value: String,
}

/// What raft needs to know of a member.
#[derive(Deserialize)]
struct RaftAttributes {
    #[serde(rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
}

/// What a member tells of itself once it has started.
#[derive(Deserialize, Default)]
struct Attributes {
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs")]
    client_urls: Option<Vec<String>>,
}

fn members(store: &[u8]) -> Result<Vec<Member>, SnapError> {
    let told = |error: serde_json::Error| SnapError::Store { why: error.to_string() };
    let store: Store = serde_json::from_slice(store).map_err(told)?;
    let cluster = store.root.children.and_then(|top| top.cluster?.children);
    let listed = cluster.and_then(|cluster| cluster.members?.children).unwrap_or_default();
    let mut members = Vec::with_capacity(listed.len());
    for (id, node) in listed {
        let Ok(id) = u64::from_str_radix(&id, 16) else {
            return Err(SnapError::Store { why: format!("{id:?} is not a member's id in hex") });
        };
        let facts = node.children.unwrap_or(Facts { raft_attributes: None, attributes: None });
        let Some(raft) = facts.raft_attributes else {
            return Err(SnapError::Store { why: format!("member {id:x} has no peer URLs") });
        };
        let raft: RaftAttributes = serde_json::from_str(&raft.value).map_err(told)?;
        let own = facts.attributes.map(|leaf| serde_json::from_str(&leaf.value)).transpose().map_err(told)?;
        let Attributes { name, client_urls } = own.unwrap_or_default();
        members.push(Member {
            id,
            name,
            peer_urls: raft.peer_urls.unwrap_or_default(),
            client_urls: client_urls.unwrap_or_default(),
            is_learner: raft.is_learner,
        });
    }
    members.sort_by_key(|member| member.id);
    Ok(members)
}
