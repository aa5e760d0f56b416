//! Every line's snapshot, restored, started by every line that takes it.

use std::path::{Path, PathBuf};

use etcdfile::Report;
use serde_json::json;

use super::etcd::{Server, Start, VERSIONS, defragmented, free_url, snapshot_status};
use super::{BUMP, batch, check, delete_prefix, fill, member, new_cluster, own_hash, put, restore, sound};

fn value(server: &Server, key: &str) -> String {
    server.ctl(&["get", key, "--print-value-only"])
}

/// What etcd's own tools say of a restored database.
fn tools_accept(version: &str, db: &Path, after: &Report) {
    let status = snapshot_status(version, db);
    assert_eq!(status["revision"].as_i64().unwrap(), after.revision);
    let rewritten = sound(&defragmented(version, db));
    assert_eq!(rewritten.hash_kv, after.hash_kv);
    assert_eq!((rewritten.keys, &rewritten.members), (after.keys, &after.members));
}

/// Everything that the snapshot had is there, and nothing of it is served that a bump hides.
fn serves_what_was_restored(server: &Server, after: &Report) {
    assert_eq!(server.revision_and_keys(), (after.revision, after.keys));
    assert_eq!(value(server, "a/00001"), "again\n");
    assert_eq!(value(server, "large/3").len(), 30_001);
    assert!(server.ctl(&["lease", "list"]).starts_with("found 1 leases"));
    assert_eq!(server.hash_kv(0), own_hash(after));
    if after.revision >= 1_000_000 {
        let old = (after.revision - 1).to_string();
        assert!(server.ctl_error(&["get", "a/00001", "--rev", &old]).contains("compacted"));
    }
}

fn boot_and_use(version: &'static str, dir: &Path, peer: &str, after: &Report) {
    let server = Server::start(version, "r1", dir, peer);
    serves_what_was_restored(&server, after);
    assert_eq!(server.txn(&[put("after", b"restore", 0)]), after.revision + 1);
    batch(&server, "n", 0, 300, "new-");
    let revision = server.txn(&[delete_prefix("a/")]);
    server.compact(revision);
    server.post("maintenance/defragment", &json!({}));
    server.txn(&[put("after", b"defrag", 0)]);
    server.stop();

    let server = Server::start(version, "r1", dir, peer);
    assert_eq!(value(&server, "after"), "defrag\n");
    assert_eq!(server.revision(), revision + 1);
    let again = dir.with_extension("again.db");
    server.save(&again);
    let report = check(&again);
    assert_eq!((report.revision, report.keys), server.revision_and_keys());
    assert_eq!(own_hash(&report), server.hash_kv(0));
    server.stop();
}

fn minor(version: &str) -> i32 {
    version.strip_prefix("3.").unwrap().parse().unwrap()
}

/// 3.6 and later refuse a database with the mark of a later line.
fn is_refused(from: &str, to: &str) -> bool {
    (from, to) == ("3.7", "3.6")
}

fn snapshot_of(version: &'static str, dir: &Path) -> PathBuf {
    let source = new_cluster(version, dir);
    fill(&source);
    let snapshot = dir.join("snapshot.db");
    source.save(&snapshot);
    snapshot
}

fn starts_every_line_that_takes_it(from: &'static str, restores: usize) {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot_of(from, dir.path());
    let mut started = 0;
    for to in VERSIONS.into_iter().filter(|to| !is_refused(from, to)) {
        // Neighbours with and without a bump, the others with one only.
        let near = (minor(from) - minor(to)).abs() <= 1;
        for bump in [Some(BUMP), None].into_iter().take(if near { 2 } else { 1 }) {
            let peer = free_url();
            let data_dir = dir.path().join(format!("restored-{to}-{}", bump.unwrap_or(0)));
            let after = restore(&snapshot, &data_dir, "r1", &[member("r1", &peer)], bump);
            tools_accept(to, &data_dir.join("member/snap/db"), &after);
            boot_and_use(to, &data_dir, &peer, &after);
            started += 1;
        }
    }
    assert_eq!(started, restores);
}

#[test]
fn a_snapshot_of_3_4_starts_every_line() {
    starts_every_line_that_takes_it("3.4", 6);
}

#[test]
fn a_snapshot_of_3_5_starts_every_line() {
    starts_every_line_that_takes_it("3.5", 7);
}

#[test]
fn a_snapshot_of_3_6_starts_every_line() {
    starts_every_line_that_takes_it("3.6", 7);
}

#[test]
fn a_snapshot_of_3_7_starts_every_line_but_3_6() {
    starts_every_line_that_takes_it("3.7", 4);
}

#[test]
fn etcd_3_6_refuses_a_data_dir_restored_from_3_7() {
    let dir = tempfile::tempdir().unwrap();
    let source = new_cluster("3.7", dir.path());
    source.txn(&[put("a", b"b", 0)]);
    let snapshot = dir.path().join("snapshot.db");
    source.save(&snapshot);
    let (peer, data_dir) = (free_url(), dir.path().join("restored"));
    restore(&snapshot, &data_dir, "r1", &[member("r1", &peer)], None);
    let start = Start { version: "3.6", name: "r1", data_dir: &data_dir, peer: &peer, joins: None };
    let mut server = Server::launch(&start);
    assert!(!server.wait_ended().success());
    let log = server.log_text();
    assert!(log.contains("Failed to validate schema") || log.contains("failed to validate schema"), "{log}");
    assert!(log.contains("version \\\"3.7.0\\\" is not supported"), "{log}");
}
