//! What an etcd holds: filling it the way Kubernetes does, and reading all of it back.

use std::time::Duration;

use etcd_client::{Client, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, WatchOptions};
use serde_json::Value;

use crate::real_etcd::RealEtcd;

/// Operations that one transaction of etcd takes by default.
const IN_ONE_TXN: usize = 128;
const PODS: usize = 240;
/// Of the pods, how many are deleted again.
const GONE: usize = 20;
const EVENTS: usize = 24;

/// One key as it is in etcd.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// What `etcdctl endpoint hashkv` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    pub hash: u64,
    pub revision: i64,
    pub compact_revision: i64,
}

fn talk<T>(etcd: &RealEtcd, talk: impl AsyncFnOnce(Client) -> Result<T, etcd_client::Error>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let said = runtime.block_on(async { talk(Client::connect([etcd.endpoint()], None).await?).await });
    said.unwrap_or_else(|error| panic!("etcd at {}: {error}", etcd.endpoint()))
}

/// Some hundred Kubernetes-like keys: binary values, leased events, updates, deletions, and a compaction behind which
/// some of the history is gone.
pub fn fill(etcd: &RealEtcd) {
    talk(etcd, async |mut client: Client| {
        let lease = client.lease_grant(3600, None).await?.id();
        let pods: Vec<TxnOp> = (0..PODS).map(|n| TxnOp::put(pod(n), object("Pod", n), None)).collect();
        for some in pods.chunks(IN_ONE_TXN) {
            client.txn(Txn::new().and_then(some)).await?;
        }
        let leased = PutOptions::new().with_lease(lease);
        let events = (0..EVENTS).map(|n| TxnOp::put(event(n), object("Event", n), Some(leased.clone())));
        client.txn(Txn::new().and_then(events.collect::<Vec<_>>())).await?;
        for n in 0..8 {
            client.put(pod(n), object("Pod", n + 1000), None).await?;
        }
        let revision = client.put("/registry/leases/kube-node-lease/cp-1", object("Lease", 1), None).await?;
        let revision = revision.header().map_or(1, |header| header.revision());
        for n in 0..GONE {
            client.delete(pod(100 + n), None).await?;
        }
        client.compact(revision - 3, None).await?;
        client.delete("/registry/events/default/nothing", Some(DeleteOptions::new())).await?;
        client.put("/registry/leases/kube-node-lease/cp-1", object("Lease", 2), None).await?;
        Ok(())
    });
    // A compaction is swept in the background; until that is done, two snapshots of one revision may differ in bytes.
    std::thread::sleep(Duration::from_millis(300));
}

fn pod(n: usize) -> String {
    format!("/registry/pods/team-{}/web-{n:04}", n % 7)
}

fn event(n: usize) -> String {
    format!("/registry/events/default/web.{n:04}")
}

/// As the API server stores objects: a magic, a type, then protobuf, which is not text.
fn object(kind: &str, n: usize) -> Vec<u8> {
    let mut value = b"k8s\0\n\x0c\n\x02v1\x12\x06".to_vec();
    value.extend_from_slice(kind.as_bytes());
    value.extend((0..200 + n % 300).map(|i| (i * 31 + n * 7) as u8));
    value
}

/// How many keys live after `fill`.
pub const FILLED: u64 = (PODS - GONE + EVENTS + 1) as u64;

/// Values that do not compress, so that a database is large in every way.
pub fn fill_bulk(etcd: &RealEtcd, mebibytes: usize) {
    talk(etcd, async |mut client: Client| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for n in 0..mebibytes {
            let mut value = Vec::with_capacity(1 << 20);
            while value.len() < 1 << 20 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                value.extend_from_slice(&state.to_le_bytes());
            }
            client.put(format!("/registry/bulk/{n:06}"), value, None).await?;
        }
        Ok(())
    });
}

pub fn put(etcd: &RealEtcd, key: &str, value: &str) {
    talk(etcd, async |mut client: Client| client.put(key, value, None).await.map(drop));
}

/// Every key with everything that etcd tells of it.
pub fn records(etcd: &RealEtcd) -> Vec<Record> {
    talk(etcd, async |client: Client| {
        let mut client = client.kv_client().max_decoding_message_size(256 << 20);
        let answer = client.get("", Some(GetOptions::new().with_all_keys())).await?;
        let record = |kv: &etcd_client::KeyValue| Record {
            key: kv.key().to_vec(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            version: kv.version(),
            lease: kv.lease(),
        };
        Ok(answer.kvs().iter().map(record).collect())
    })
}

pub fn revision(etcd: &RealEtcd) -> i64 {
    talk(etcd, async |mut client: Client| {
        let answer = client.get("none", None).await?;
        Ok(answer.header().map_or(0, |header| header.revision()))
    })
}

/// etcd's own hash at its newest revision, as `etcdctl endpoint hashkv` prints it.
pub fn hash_kv(etcd: &RealEtcd) -> HashKv {
    let said: Value =
        serde_json::from_str(&etcd.etcdctl(&["endpoint", "hashkv", "--write-out", "json"])).expect("JSON");
    let hash = &said[0]["HashKV"];
    HashKv {
        hash: hash["hash"].as_u64().unwrap_or_else(|| panic!("no hash in {said}")),
        revision: hash["header"]["revision"].as_i64().unwrap_or_else(|| panic!("no revision in {said}")),
        compact_revision: hash["compact_revision"].as_i64().unwrap_or(0),
    }
}

/// Watches everything from a revision on; `Some` with the compaction's revision if etcd cancels the watch because of one.
pub fn watch_cancelled_at(etcd: &RealEtcd, from: i64) -> Option<i64> {
    talk(etcd, async |mut client: Client| {
        let options = WatchOptions::new().with_all_keys().with_start_revision(from);
        let mut stream = client.watch("", Some(options)).await?;
        loop {
            match tokio::time::timeout(Duration::from_secs(5), stream.message()).await {
                Ok(Ok(Some(answer))) if answer.canceled() => return Ok(Some(answer.compact_revision())),
                Ok(Ok(Some(answer))) if answer.events().is_empty() => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) | Err(_) => return Ok(None),
            }
        }
    })
}
