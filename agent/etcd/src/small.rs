//! What the items of etcd's small buckets say, one by one; the reason when an item is not what it should be.

use crate::check::Member;
use crate::mvcc::Revision;
use crate::num::be_u64;
use crate::proto::{Field, field, signed};
use crate::read::Lease;

/// A number of eight big-endian bytes.
pub(crate) fn eight(value: &[u8]) -> Result<u64, &'static str> {
    be_u64(value, 0).filter(|_| value.len() == 8).ok_or("has not 8 bytes")
}

/// The revision of a compaction mark.
pub(crate) fn mark(value: &[u8]) -> Result<i64, &'static str> {
    let revision = Revision::parse(value).filter(|revision| !revision.tombstone && revision.sub == 0);
    Ok(revision.ok_or("is not a revision that can be compacted at")?.main)
}

pub(crate) fn text(value: &[u8]) -> Result<String, &'static str> {
    Ok(std::str::from_utf8(value).map_err(|_| "is not text")?.to_owned())
}

/// A lease's id, which is the key that it is stored under.
fn lease_id(key: &[u8]) -> Result<i64, &'static str> {
    let id = eight(key).map_err(|_| "is a lease whose id has not 8 bytes")?;
    Ok(signed(id))
}

/// A lease, as `leasepb.Lease` stores it.
pub(crate) fn lease(key: &[u8], value: &[u8]) -> Result<Lease, &'static str> {
    let mut lease = Lease { id: 0, ttl_seconds: 0, remaining_ttl_seconds: 0 };
    let mut rest = value;
    while !rest.is_empty() {
        let (number, content, after) = field(rest).ok_or("does not describe a lease")?;
        match (number, content) {
            (1, Field::Varint(id)) => lease.id = signed(id),
            (2, Field::Varint(seconds)) => lease.ttl_seconds = signed(seconds),
            (3, Field::Varint(seconds)) => lease.remaining_ttl_seconds = signed(seconds),
            (1..=3, _) => return Err("does not describe a lease"),
            _ => {}
        }
        rest = after;
    }
    if lease.id != lease_id(key)? {
        return Err("describes another lease");
    }
    Ok(lease)
}

#[derive(serde::Deserialize)]
struct MemberJson {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default)]
    is_learner: bool,
}

/// A member, as etcd stores it in JSON.
pub(crate) fn member(key: &[u8], value: &[u8]) -> Result<Member, &'static str> {
    let json: MemberJson = serde_json::from_slice(value).map_err(|_| "does not describe a member")?;
    if format!("{:x}", json.id).as_bytes() != key {
        return Err("describes another member");
    }
    Ok(Member {
        id: json.id,
        name: json.name,
        peer_urls: json.peer_urls.unwrap_or_default(),
        client_urls: json.client_urls.unwrap_or_default(),
        is_learner: json.is_learner,
    })
}
