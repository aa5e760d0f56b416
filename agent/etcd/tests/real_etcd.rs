//! What this crate says and writes, held against real servers.

#[path = "support/etcd.rs"]
mod etcd;

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use etcd::{Server, VERSIONS, free_port, snapshot_status, write_plan};
use etcdfile::{FileSpill, MemberSpec, NoSpill, Report, StreamCheck, Trailed, check_file, datadir, rewrite};

const BUDGET: usize = 64 << 20;

fn new_cluster(version: &'static str, dir: &Path) -> Server {
    Server::start(version, "m1", &dir.join("source"), &format!("http://127.0.0.1:{}", free_port()))
}

fn batch(server: &Server, prefix: &str, from: usize, count: usize, value: &str) {
    for start in (from..from + count).step_by(100) {
        let puts: Vec<String> =
            (start..(from + count).min(start + 100)).map(|n| format!("put {prefix}/{n:05} {value}{n}")).collect();
        server.txn(&puts);
    }
}

/// A history of all kinds of change: many keys, large values, deletions, leases, a compaction, more changes.
fn fill(server: &Server) {
    batch(server, "a", 0, 1500, "first-");
    batch(server, "a", 0, 700, &"x".repeat(300));
    let large = "v".repeat(30_000);
    (0..5).for_each(|n| {
        server.ctl(&["put", &format!("large/{n}"), &large]);
    });
    let lease = server.ctl(&["lease", "grant", "3600"]).split(' ').nth(1).unwrap().to_owned();
    server.ctl(&["put", "leased/1", "v", "--lease", &lease]);
    server.ctl(&["del", "a/000", "--prefix"]);
    let revision = server.revision().to_string();
    server.ctl(&["compact", &revision]);
    batch(server, "b", 0, 400, "second-");
    server.ctl(&["del", "a/001", "--prefix"]);
    server.ctl(&["put", "a/00001", "again"]);
    server.txn(&["put c/1 v".to_owned(), "put c/2 v".to_owned(), "del b/00001".to_owned()]);
}

fn check(file: &Path) -> Report {
    let report = check_file(&File::open(file).unwrap(), NoSpill, BUDGET).unwrap();
    assert_eq!(report.findings, []);
    report
}

fn count_of(server: &Server) -> u64 {
    let fields = server.ctl(&["get", "", "--prefix", "--count-only", "-w", "fields"]);
    let count = fields.lines().find_map(|line| line.strip_prefix("\"Count\" : ")).unwrap();
    count.parse().unwrap()
}

fn compare_with_live(server: &Server, file: &Path) -> Report {
    let report = check(file);
    assert_eq!(report.revision, server.revision());
    assert_eq!(report.keys, count_of(server));
    let (hash, compact) = server.hash_kv(0);
    let own = report.hash_kv.unwrap();
    assert_eq!((u64::from(own.hash), own.compact_revision), (hash, compact));
    let status = snapshot_status(server.version, file);
    // etcdutl knows the last record's revision only, and a fresh database has none.
    let last = if report.records > 0 { report.revision } else { 0 };
    assert_eq!(status["revision"].as_i64().unwrap(), last);
    if server.version == "3.6" {
        assert_eq!(status["totalKey"].as_u64().unwrap(), report.keys);
    }
    assert_eq!(report.db_bytes % u64::from(report.page_bytes), 0);
    assert_eq!((report.beyond_bytes, report.metas_agree), (0, true));
    assert_eq!(report.members.len(), 1);
    assert_eq!(report.members[0].name, "m1");
    report
}

#[test]
fn a_snapshot_reads_as_the_live_server_says() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let server = new_cluster(version, dir.path());
        let fresh = dir.path().join("fresh.db");
        server.save(&fresh);
        compare_with_live(&server, &fresh);

        fill(&server);
        let full = dir.path().join("full.db");
        server.save(&full);
        let report = compare_with_live(&server, &full);
        assert_eq!((report.leases, report.dangling_leases, report.alarms), (1, 0, 0));
        assert!(report.tombstones > 0 && report.records > 2000);
        assert_eq!(report.storage_version.is_some(), version == "3.6");
        assert!(report.cluster_version.unwrap().starts_with(version));

        // Earlier revisions, and a compaction that the snapshot has not seen.
        let (s, c) = (report.revision, report.compact_revision);
        let mut ask: Vec<(i64, i64)> = (c + 1..=s).map(|at| (at, c)).collect();
        let live: Vec<(u64, i64)> = ask.iter().map(|(at, _)| server.hash_kv(*at)).collect();
        server.ctl(&["compact", &(c + 3).to_string()]);
        ask.push((s, c + 3));
        let live = [live, vec![server.hash_kv(s)]].concat();
        let answers = ask_file(&full, &ask);
        let answers: Vec<(u64, i64)> =
            answers.into_iter().map(|hash| (u64::from(hash.hash), hash.compact_revision)).collect();
        assert_eq!(answers, live);

        // Churn leaves stale pages; compaction twice more.
        for round in 0..3 {
            batch(&server, "a", 300, 600, &format!("round{round}-"));
            let revision = server.revision().to_string();
            server.ctl(&["compact", &revision]);
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        server.ctl(&["put", "last", "one"]);
        let churned = dir.path().join("churned.db");
        server.save(&churned);
        let report = compare_with_live(&server, &churned);
        assert!(report.free_bytes > 0);
    }
}

fn ask_file(file: &Path, ask: &[(i64, i64)]) -> Vec<etcdfile::HashKv> {
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
    assert_eq!(after.members.len(), members.len());
    after
}

fn boot_and_use(version: &'static str, dir: &Path, peer: &str, after: &Report) {
    let server = Server::start(version, "r1", dir, peer);
    assert_eq!(server.revision(), after.revision);
    assert_eq!(count_of(&server), after.keys);
    assert_eq!(server.ctl(&["get", "a/00001", "--print-value-only"]), "again\n");
    assert_eq!(server.ctl(&["get", "large/3", "--print-value-only"]).len(), 30_001);
    assert!(server.ctl(&["lease", "list"]).starts_with("found 1 leases"));
    let (hash, compact) = server.hash_kv(0);
    let own = after.hash_kv.unwrap();
    assert_eq!((u64::from(own.hash), own.compact_revision), (hash, compact));
    if after.revision >= 1_000_000 {
        let old = (after.revision - 1).to_string();
        assert!(server.ctl_error(&["get", "a/00001", "--rev", &old]).contains("compacted"));
    }
    server.ctl(&["put", "after", "restore"]);
    assert_eq!(server.revision(), after.revision + 1);
    batch(&server, "n", 0, 300, "new-");
    server.ctl(&["del", "a/", "--prefix"]);
    let revision = server.revision();
    server.ctl(&["compact", &revision.to_string()]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    server.ctl(&["defrag"]);
    server.ctl(&["put", "after", "defrag"]);
    drop(server);

    let server = Server::start(version, "r1", dir, peer);
    assert_eq!(server.ctl(&["get", "after", "--print-value-only"]), "defrag\n");
    assert_eq!(server.revision(), revision + 1);
    let again = dir.with_extension("again.db");
    server.save(&again);
    let report = check(&again);
    assert_eq!((report.revision, report.keys), (revision + 1, count_of(&server)));
    let (hash, compact) = server.hash_kv(0);
    let own = report.hash_kv.unwrap();
    assert_eq!((u64::from(own.hash), own.compact_revision), (hash, compact));
}

#[test]
fn both_versions_start_from_a_restored_data_dir_and_keep_it() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let source = new_cluster(version, dir.path());
        fill(&source);
        let snapshot = dir.path().join("snapshot.db");
        source.save(&snapshot);
        drop(source);
        for target in VERSIONS {
            for bump in [None, Some(1_000_000_000)] {
                let peer = format!("http://127.0.0.1:{}", free_port());
                let to = dir.path().join(format!("restored-{target}-{}", bump.unwrap_or(0)));
                let members = [MemberSpec { name: "r1".to_owned(), peer_urls: vec![peer.clone()] }];
                let after = restore(&snapshot, &to, "r1", &members, bump);
                let status = snapshot_status(target, &to.join("member/snap/db"));
                assert_eq!(status["revision"].as_i64().unwrap(), after.revision);
                boot_and_use(target, &to, &peer, &after);
            }
        }
    }
}
