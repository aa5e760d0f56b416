//! `.snap` files: the first one, which is the raft snapshot that a restored member starts from, and any one read back.
//!
//! Its data is etcd's old v2 store as JSON, which holds the membership and nothing else; etcd 3.6 refuses to start on
//! any other v2 content. Never leave the file out: etcd 3.4 to 3.6 start without it, and then a member added later
//! replays the log from its first entry and joins with an empty database.

mod read;

pub use read::{Snap, SnapError, read};

use serde_json::{Map, Value, json};

use crate::identity::NewMember;
use crate::num::wide;
use crate::proto::Writer;
use crate::wal::{FIRST_TERM, conf_state};

/// The name and the bytes of the snapshot behind the members' entries: term 1, index = the number of members.
pub fn first(members: &[NewMember]) -> (String, Vec<u8>) {
    let count = wide(members.len());
    let mut ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    let metadata = Writer::new().bytes(1, &conf_state(&ids)).varint(2, count).varint(3, FIRST_TERM).done();
    let store = store_json(members, count).to_string();
    let data = Writer::new().bytes(1, store.as_bytes()).bytes(2, &metadata).done();
    let crc = crc32c::crc32c(&data);
    let file = Writer::new().varint(1, u64::from(crc)).bytes(2, &data).done();
    (format!("{FIRST_TERM:016x}-{count:016x}.snap"), file)
}

/// The v2 store: `/0/members/<hex id>/raftAttributes` for each member, and the empty directory `/1`.
fn store_json(members: &[NewMember], index: u64) -> Value {
    let mut entries = Map::new();
    for member in members {
        let path = format!("/0/members/{}", member.hex_id());
        let attributes = json!({ "peerURLs": member.peer_urls }).to_string();
        let leaf = node(&format!("{path}/raftAttributes"), attributes, Value::Null);
        entries.insert(member.hex_id(), directory(&path, [("raftAttributes", leaf)]));
    }
    let members = node("/0/members", String::new(), Value::Object(entries));
    let root = directory("/", [("0", directory("/0", [("members", members)])), ("1", directory("/1", []))]);
    json!({ "Root": root, "CurrentIndex": index, "CurrentVersion": 2 })
}

fn directory<const N: usize>(path: &str, children: [(&str, Value); N]) -> Value {
    let children: Map<String, Value> = children.into_iter().map(|(name, child)| (name.to_owned(), child)).collect();
    node(path, String::new(), Value::Object(children))
}

fn node(path: &str, value: String, children: Value) -> Value {
    json!({
        "Path": path,
        "CreatedIndex": 0,
        "ModifiedIndex": 0,
        "ExpireTime": "0001-01-01T00:00:00Z",
        "Value": value,
        "Children": children,
    })
}
