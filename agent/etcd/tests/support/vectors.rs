//! The snapshots by real servers in `tests/vectors`, and what the servers said of them.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

/// A snapshot, and what its server said when it was taken.
#[derive(Debug)]
pub struct Vector {
    /// Such as `3.6-compacted`.
    pub name: String,
    /// The database and its trailer.
    pub snapshot: Vec<u8>,
    pub said: Said,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub etcd: String,
    pub sha256: String,
    pub page_bytes: u32,
    pub revision: i64,
    pub compact_revision: i64,
    pub keys: u64,
    pub leases: Vec<i64>,
    pub auth: bool,
    pub users: Vec<String>,
    pub roles: Vec<String>,
    pub members: Vec<SaidMember>,
    pub hash_kv: Vec<etcdfile::HashKv>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaidMember {
    #[serde(rename = "ID")]
    pub id: u64,
    pub name: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub learner: bool,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// One vector by its name.
pub fn vector(name: &str) -> Vector {
    let packed = fs::read(folder().join(format!("{name}.db.zst"))).unwrap();
    let said = fs::read(folder().join(format!("{name}.json"))).unwrap();
    Vector {
        name: name.to_owned(),
        snapshot: zstd::decode_all(packed.as_slice()).unwrap(),
        said: serde_json::from_slice(&said).unwrap(),
    }
}

/// Every vector, by name.
pub fn all() -> Vec<Vector> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names.iter().map(|name| vector(name)).collect()
}
