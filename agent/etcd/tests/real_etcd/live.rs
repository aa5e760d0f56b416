//! A snapshot says what the server that it came from says.

use std::fs;
use std::path::Path;

use etcdfile::{FileSpill, HashKv, Report, StreamCheck, Trailed};
use serde_json::{Value, json};

use super::etcd::{Server, VERSIONS, snapshot_status};
use super::{batch, check, fill, new_cluster, own_hash};

fn compare_with_live(server: &Server, file: &Path) -> Report {
    let report = check(file);
    assert_eq!((report.revision, report.keys), server.revision_and_keys());
    assert_eq!(own_hash(&report), server.hash_kv(0));
    let status = snapshot_status(server.version, file);
    // etcdutl knows the last record's revision only, and a fresh database has none.
    let last = if report.records > 0 { report.revision } else { 0 };
    assert_eq!(status["revision"].as_i64().unwrap(), last);
    if ["3.6", "3.7"].contains(&server.version) {
        assert_eq!(status["totalKey"].as_u64().unwrap(), report.keys);
    }
    assert_eq!(report.db_bytes % u64::from(report.page_bytes), 0);
    assert_eq!((report.beyond_bytes, report.metas_agree), (0, true));
    assert_eq!(report.members.len(), 1);
    assert_eq!(report.members[0].name, "m1");
    report
}

fn ask_file(file: &Path, ask: &[(i64, i64)]) -> Vec<HashKv> {
    let bytes = fs::read(file).unwrap();
    let mut check = StreamCheck::new(FileSpill::new(tempfile::tempfile().unwrap()), 10_000);
    let mut trailed = Trailed::new();
    for chunk in bytes.chunks(32 << 10) {
        trailed.push(chunk, |bytes| check.feed(bytes).unwrap());
    }
    trailed.finish().unwrap();
    let checked = check.into_checked().unwrap();
    assert_eq!(checked.report().findings, []);
    ask.iter().map(|(at, compact)| checked.hash_kv(*at, *compact).unwrap().unwrap()).collect()
}

/// Earlier revisions, and a compaction that the snapshot has not seen.
fn compare_other_revisions(server: &Server, file: &Path, report: &Report) {
    let (s, c) = (report.revision, report.compact_revision);
    let mut ask: Vec<(i64, i64)> = (c + 1..=s).map(|at| (at, c)).collect();
    let mut live: Vec<(u64, i64)> = ask.iter().map(|(at, _)| server.hash_kv(*at)).collect();
    server.compact(c + 3);
    ask.push((s, c + 3));
    live.push(server.hash_kv(s));
    let answers = ask_file(file, &ask);
    let answers: Vec<(u64, i64)> =
        answers.into_iter().map(|hash| (u64::from(hash.hash), hash.compact_revision)).collect();
    assert_eq!(answers, live);
}

/// Lets buckets grow beyond a page and takes everything out again.
fn grow_and_empty(server: &Server, dir: &Path) {
    let leases: Vec<Value> = (1..300).map(|n| json!({ "ID": n.to_string(), "TTL": "3600" })).collect();
    leases.iter().for_each(|lease| drop(server.post("lease/grant", lease)));
    (0..300).for_each(|n| drop(server.post("auth/role/add", &json!({ "name": format!("role{n}") }))));
    let grown = dir.join("grown.db");
    server.save(&grown);
    assert_eq!(compare_with_live(server, &grown).leases, 299);
    leases.iter().for_each(|lease| drop(server.post("lease/revoke", lease)));
    (0..300).for_each(|n| drop(server.post("auth/role/delete", &json!({ "role": format!("role{n}") }))));
    let emptied = dir.join("emptied.db");
    server.save(&emptied);
    assert_eq!(compare_with_live(server, &emptied).leases, 0);
}

#[test]
fn a_snapshot_reads_as_the_live_server_says() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let server = new_cluster(version, dir.path());
        let fresh = dir.path().join("fresh.db");
        server.save(&fresh);
        compare_with_live(&server, &fresh);
        grow_and_empty(&server, dir.path());

        fill(&server);
        let full = dir.path().join("full.db");
        server.save(&full);
        let report = compare_with_live(&server, &full);
        assert_eq!((report.leases, report.dangling_leases, report.alarms), (1, 0, 0));
        assert!(report.tombstones > 0 && report.records > 1500);
        assert_eq!(report.storage_version.is_some(), ["3.6", "3.7"].contains(&version));
        assert!(report.cluster_version.as_ref().unwrap().starts_with(version));
        compare_other_revisions(&server, &full, &report);

        // Churn leaves stale pages; compaction twice more.
        for round in 0..3 {
            batch(&server, "a", 300, 600, &format!("round{round}-"));
            server.compact(server.revision());
        }
        server.txn(&[super::put("last", b"one", 0)]);
        let churned = dir.path().join("churned.db");
        server.save(&churned);
        let report = compare_with_live(&server, &churned);
        assert!(report.free_bytes > 0);
        server.stop();
    }
}
