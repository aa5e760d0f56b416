//! What this crate says and writes, held against real servers of every line that it supports.

// Each test crate uses its own part of these.
#[allow(dead_code)]
#[path = "support/etcd.rs"]
mod etcd;
#[allow(dead_code)]
#[path = "support/gateway.rs"]
mod gateway;

#[path = "real_etcd/cluster.rs"]
mod cluster;
#[path = "real_etcd/live.rs"]
mod live;
#[path = "real_etcd/matrix.rs"]
mod matrix;

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use etcd::{Server, free_url, write_plan};
use etcdfile::{MemberSpec, NoSpill, ReadAt, Report, check_file, datadir, rewrite};
use gateway::{delete, delete_prefix, put};
use serde_json::{Value, json};

const BUDGET: usize = 64 << 20;

/// What a bump raises revisions by.
const BUMP: u64 = 1_000_000_000;

fn new_cluster(version: &'static str, dir: &Path) -> Server {
    Server::start(version, "m1", &dir.join("source"), &free_url())
}

fn batch(server: &Server, prefix: &str, from: usize, count: usize, value: &str) {
    let keys: Vec<usize> = (from..from + count).collect();
    for part in keys.chunks(100) {
        let puts = part.iter().map(|n| put(&format!("{prefix}/{n:05}"), format!("{value}{n}").as_bytes(), 0));
        server.txn(&puts.collect::<Vec<Value>>());
    }
}

/// A history of all kinds of change: many keys, large values, deletions, leases, a compaction, more changes.
fn fill(server: &Server) {
    batch(server, "a", 0, 1500, "first-");
    batch(server, "a", 0, 700, &"x".repeat(300));
    for n in 0..5 {
        server.txn(&[put(&format!("large/{n}"), &[b'v'; 30_000], 0)]);
    }
    server.post("lease/grant", &json!({ "ID": "4711", "TTL": "3600" }));
    server.txn(&[put("leased/1", b"v", 4711)]);
    server.txn(&[delete_prefix("a/000")]);
    server.compact(server.revision());
    batch(server, "b", 0, 400, "second-");
    server.txn(&[delete_prefix("a/001")]);
    server.txn(&[put("a/00001", b"again", 0)]);
    server.txn(&[put("c/1", b"v", 0), put("c/2", b"v", 0), delete("b/00001")]);
}

#[track_caller]
fn sound(db: &(impl ReadAt + ?Sized)) -> Report {
    let report = check_file(db, NoSpill, BUDGET).unwrap();
    assert_eq!(report.findings, []);
    report
}

#[track_caller]
fn check(file: &Path) -> Report {
    sound(&File::open(file).unwrap())
}

/// The report's HashKV, as a server answers it.
#[track_caller]
fn own_hash(report: &Report) -> (u64, i64) {
    let own = report.hash_kv.unwrap();
    (u64::from(own.hash), own.compact_revision)
}

fn member(name: &str, peer: &str) -> MemberSpec {
    MemberSpec { name: name.to_owned(), peer_urls: vec![peer.to_owned()] }
}

/// Restores a snapshot for a member and gives the report on what was restored.
fn restore(snapshot: &Path, to: &Path, me: &str, members: &[MemberSpec], bump: Option<u64>) -> Report {
    let report = check(snapshot);
    let plan = datadir::plan(me, members, "a-fresh-token", bump).unwrap();
    write_plan(&plan, to);
    let db = to.join(&plan.db);
    fs::copy(snapshot, &db).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&db).unwrap();
    file.set_len(report.db_bytes).unwrap();
    let done = rewrite::commit(&file, &report, &plan.edits).unwrap();
    assert_eq!(file.metadata().unwrap().len(), done.db_bytes);
    assert_eq!(done.revision, report.revision + bump.map_or(0, |bump| i64::try_from(bump).unwrap()));
    let after = check(&db);
    assert_eq!(after.revision, done.revision);
    assert_eq!((after.keys, after.consistent_index), (report.keys, plan.edits.consistent_index));
    assert_eq!((after.members.len(), after.alarms), (members.len(), 0));
    after
}
