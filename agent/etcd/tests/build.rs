//! Compact databases under real servers.

#[path = "support/builder.rs"]
#[allow(dead_code)]
mod builder;
// Each test crate uses its own part of the support.
#[allow(dead_code)]
#[path = "support/etcd.rs"]
mod etcd;
#[allow(dead_code)]
#[path = "support/gateway.rs"]
mod gateway;

use std::fs::{File, OpenOptions};
use std::path::Path;

use builder::{Db, history};
use etcd::{Server, VERSIONS, free_url, snapshot_status, write_plan};
use etcdfile::{Database, MemberSpec, NoSpill, Report, check_file, compact, datadir, rewrite};

fn check(file: &Path) -> Report {
    let report = check_file(&File::open(file).unwrap(), NoSpill, 64 << 20).unwrap();
    assert_eq!(report.findings, []);
    report
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// Some thousand records, some of them large, with deletions, a lease and two compactions, so that pages are free.
fn fill(server: &Server) {
    let batch = |from: usize, value: &str| {
        for start in (from..from + 1200).step_by(100) {
            let puts =
                (start..start + 100).map(|n| gateway::put(&format!("a/{n:05}"), format!("{value}{n}").as_bytes(), 0));
            server.txn(&puts.collect::<Vec<_>>());
        }
    };
    batch(0, "first-");
    let large = "v".repeat(30_000);
    (0..4).for_each(|n| drop(server.ctl(&["put", &format!("large/{n}"), &large])));
    let lease = server.ctl(&["lease", "grant", "3600"]).split(' ').nth(1).unwrap().to_owned();
    server.ctl(&["put", "leased/1", "v", "--lease", &lease]);
    for round in ["second-", "third-"] {
        batch(300, &round.repeat(20));
        server.ctl(&["del", "a/000", "--prefix"]);
        server.compact(server.revision());
    }
    server.ctl(&["put", "a/00001", "again"]);
}

/// Restores `source` compactly into a new data dir for one member: the members are committed before or after.
fn restore(source: &Path, to: &Path, peer: &str, compact_first: bool, bump: Option<u64>) -> Report {
    let members = [MemberSpec { name: "m1".to_owned(), peer_urls: vec![peer.to_owned()] }];
    let plan = datadir::plan("m1", &members, "a-fresh-token", bump).unwrap();
    write_plan(&plan, to);
    let (db, report) = (to.join(&plan.db), check(source));
    if compact_first {
        let built = compact(&open(source), &open(&db)).unwrap();
        assert_eq!(built.db_bytes, open(&db).metadata().unwrap().len());
        let report = check(&db);
        assert_eq!(report.free_bytes, 0);
        rewrite::commit(&open(&db), &report, &plan.edits).unwrap();
    } else {
        let edited = to.with_extension("edited");
        std::fs::copy(source, &edited).unwrap();
        open(&edited).set_len(report.db_bytes).unwrap();
        rewrite::commit(&open(&edited), &report, &plan.edits).unwrap();
        compact(&open(&edited), &open(&db)).unwrap();
        assert_eq!(check(&db).free_bytes, 0);
    }
    let after = check(&db);
    assert_eq!((after.keys, after.leases), (report.keys, report.leases));
    after
}

fn agree(server: &Server, report: &Report) {
    let own = report.hash_kv.unwrap();
    assert_eq!(server.hash_kv(0), (u64::from(own.hash), own.compact_revision));
    assert_eq!(server.revision(), report.revision);
}

/// Boots a data dir and lets etcd change its trees: rebalance, split, compact, defragment.
fn boot_and_churn(version: &'static str, dir: &Path, peer: &str, after: &Report) {
    let server = Server::start(version, "m1", dir, peer);
    agree(&server, after);
    let keys = server.ctl(&["get", "", "--prefix", "--keys-only"]);
    let keys: Vec<&str> = keys.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(keys.len() as u64, after.keys);
    for part in keys.chunks(100) {
        server.txn(&part.iter().map(|key| gateway::put(key, b"churn", 0)).collect::<Vec<_>>());
    }
    server.compact(server.revision());
    for part in keys.chunks(100).skip(1) {
        server.txn(&part.iter().map(|key| gateway::delete(key)).collect::<Vec<_>>());
    }
    server.ctl(&["put", "after", "churn"]);
    server.compact(server.revision() - 1);
    let churned = dir.with_extension("churned.db");
    server.save(&churned);
    agree(&server, &check(&churned));
    server.ctl(&["defrag"]);
    server.ctl(&["put", "after", "defrag"]);
    drop(server);

    let server = Server::start(version, "m1", dir, peer);
    assert_eq!(server.ctl(&["get", "after", "--print-value-only"]), "defrag\n");
    let again = dir.with_extension("again.db");
    server.save(&again);
    agree(&server, &check(&again));
    let file = open(&again);
    let db = Database::open(&file).unwrap();
    assert_eq!(db.get(b"after", db.revision()).unwrap().unwrap().value, b"defrag");
    assert_eq!((db.members().unwrap().len(), db.leases().unwrap().len() as u64), (1, after.leases));
}

#[test]
fn servers_start_from_a_compacted_database_and_work_on_it() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let peer = free_url();
        let source = Server::start(version, "m1", &dir.path().join("source"), &peer);
        fill(&source);
        let snapshot = dir.path().join("snapshot.db");
        source.save(&snapshot);
        let before = check(&snapshot);
        assert!(before.free_bytes > 0);
        agree(&source, &before);
        drop(source);
        for (compact_first, bump) in [(true, None), (false, Some(1_000_000_000))] {
            let peer = free_url();
            let to = dir.path().join(format!("compact-{compact_first}"));
            let after = restore(&snapshot, &to, &peer, compact_first, bump);
            assert!(after.db_bytes < before.db_bytes);
            let status = snapshot_status(version, &to.join("member/snap/db"));
            assert_eq!(status["revision"].as_i64().unwrap(), after.revision);
            boot_and_churn(version, &to, &peer, &after);
        }
    }
}

#[test]
fn servers_rebalance_deep_trees_of_all_page_sizes() {
    for (version, page_size) in [("3.4", 1024), ("3.7", 1024), ("3.5", 16384), ("3.6", 65536)] {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("built.db");
        let db = Db { page_size, records: history(6000, 3000, 40), per_leaf: 7, ..Db::default() };
        std::fs::write(&source, db.build()).unwrap();
        let peer = free_url();
        let to = dir.path().join("restored");
        let after = restore(&source, &to, &peer, true, None);
        snapshot_status(version, &to.join("member/snap/db"));
        boot_and_churn(version, &to, &peer, &after);
    }
}
