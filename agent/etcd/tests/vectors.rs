//! Small snapshots by real servers, held against what the servers said of them.

// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
// Other crates use single vectors.
#[allow(dead_code)]
#[path = "support/vectors.rs"]
mod vectors;

use builder::{Db, Items, del, put};
use etcdfile::{Checked, Database, FileSpill, Member, NoSpill, Report, Spill, StreamCheck, Trailed, check_file};
use sha2::{Digest, Sha256};
use vectors::Vector;

const BUDGET: usize = 8 << 20;

/// Streams a snapshot in chunks of the given sizes, over and over.
fn stream<S: Spill>(vector: &Vector, sizes: &[usize], spill: S, budget: usize) -> Checked<S> {
    let mut check = StreamCheck::new(spill, budget);
    let mut trailed = Trailed::new();
    let mut rest = vector.snapshot.as_slice();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        trailed.push(now, |bytes| check.feed(bytes).unwrap());
        rest = later;
    }
    trailed.finish().unwrap();
    check.into_checked().unwrap()
}

fn members(vector: &Vector) -> Vec<Member> {
    let member = |said: &vectors::SaidMember| Member {
        id: said.id,
        name: said.name.clone(),
        peer_urls: said.peer_urls.clone(),
        client_urls: said.client_urls.clone(),
        is_learner: said.learner,
    };
    vector.said.members.iter().map(member).collect()
}

#[track_caller]
fn says_what_the_server_said(report: &Report, vector: &Vector) {
    let (name, said) = (&vector.name, &vector.said);
    assert_eq!(report.findings, [], "{name}");
    assert_eq!(report.revision, said.revision, "{name}");
    assert_eq!(report.compact_revision, said.compact_revision, "{name}");
    assert_eq!(report.finished_compact_revision, said.compact_revision, "{name}");
    assert_eq!(report.keys, said.keys, "{name}");
    assert_eq!(report.leases, said.leases.len() as u64, "{name}");
    assert_eq!((report.dangling_leases, report.alarms), (0, 0), "{name}");
    assert_eq!(report.auth_enabled, said.auth, "{name}");
    assert_eq!(report.page_bytes, said.page_bytes, "{name}");
    assert_eq!(report.db_bytes, vector.snapshot.len() as u64 - 32, "{name}");
    assert_eq!((report.beyond_bytes, report.metas_agree), (0, true), "{name}");
    let mut listed = report.members.clone();
    listed.iter_mut().for_each(|member| member.peer_urls.sort());
    assert_eq!(listed, members(vector), "{name}");
    let line = name.split('-').next().unwrap();
    assert_eq!(report.cluster_version.as_deref(), Some(format!("{line}.0").as_str()), "{name}");
    assert_eq!(report.term.is_some(), line != "3.4", "{name}");
    let storage = ["3.6", "3.7"].contains(&line).then(|| format!("{line}.0"));
    assert_eq!(report.storage_version, storage, "{name}");
    // The first answer is the one for "now".
    assert_eq!(report.hash_kv, Some(said.hash_kv[0]), "{name}");
}

#[test]
fn there_are_vectors_of_every_line_and_kind_and_they_are_the_files_that_were_saved() {
    let all = vectors::all();
    let mut names: Vec<String> = all.iter().map(|vector| vector.name.clone()).collect();
    let mut expected: Vec<String> = ["3.4", "3.5", "3.6", "3.7"]
        .iter()
        .flat_map(|line| {
            ["uncompacted", "compacted", "emptied", "emptied-whole", "16k"].map(|kind| format!("{line}-{kind}"))
        })
        .collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    for vector in all {
        let digest: String = Sha256::digest(&vector.snapshot).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, vector.said.sha256, "{}", vector.name);
        assert!(vector.said.etcd.starts_with(vector.name.split('-').next().unwrap()));
        let large = vector.name.ends_with("16k");
        assert_eq!(vector.said.page_bytes, if large { 16384 } else { 4096 }, "{}", vector.name);
    }
}

#[test]
fn a_file_check_says_what_the_server_said() {
    for vector in vectors::all() {
        says_what_the_server_said(&check_file(vector.snapshot.as_slice(), NoSpill, BUDGET).unwrap(), &vector);
    }
}

#[test]
fn a_stream_in_any_chunks_says_what_the_server_said() {
    for vector in vectors::all() {
        for sizes in [&[1][..], &[4096], &[32 << 10], &[1 << 30], &[17, 5000, 1, 16383], &[511, 513]] {
            for budget in [0, 700, BUDGET] {
                let spill = FileSpill::new(tempfile::tempfile().unwrap());
                says_what_the_server_said(stream(&vector, sizes, spill, budget).report(), &vector);
            }
        }
    }
}

#[test]
fn every_answer_of_the_server_to_hash_kv_is_reproduced() {
    let mut answers = 0;
    for vector in vectors::all() {
        let checked = stream(&vector, &[32 << 10], NoSpill, BUDGET);
        for said in &vector.said.hash_kv {
            let own = checked.hash_kv(said.revision, said.compact_revision).unwrap();
            assert_eq!(own, Ok(*said), "{}", vector.name);
            let read = Database::open(vector.snapshot.as_slice()).unwrap();
            let own = read.hash_kv(said.revision, said.compact_revision).unwrap();
            assert_eq!(own, Ok(*said), "{}, in two passes", vector.name);
            answers += 1;
        }
    }
    assert!(answers > 500, "{answers}");
}

/// The history of point-in-time tests: a transaction of seven changes, leases, one key put and deleted at once.
fn long_history() -> Items {
    const LEASE: u64 = 6497746498720482833;
    let once = |at: i64, sub: i64, key: &str, value: &str| put(at, sub, key, at, 1, value.as_bytes(), 0);
    let mut records: Items = (1..8).map(|n| once(n + 1, 0, &format!("base/{n}"), &format!("v{n}"))).collect();
    records.extend([
        once(9, 0, "p/1", "a"),
        once(10, 0, "p/2", "b"),
        once(11, 0, "p/3", "c"),
        once(12, 0, "x", "9"),
        once(13, 0, "t1", "1"),
        once(13, 1, "t2", "2"),
        del(13, 2, "p/1"),
        del(13, 3, "p/2"),
        del(13, 4, "p/3"),
        once(13, 5, "t0", "0"),
        del(13, 6, "x"),
        put(14, 0, "l/b", 14, 1, b"v", LEASE),
        put(15, 0, "l/a", 15, 1, b"v", LEASE),
        put(16, 0, "l/c", 16, 1, b"v", LEASE),
        put(17, 0, "l/c", 16, 2, b"detached", 0),
        del(18, 0, "l/a"),
        del(18, 1, "l/b"),
        once(19, 0, "foo", "z"),
        put(20, 0, "foo", 19, 2, b"zz", 0),
        del(21, 0, "foo"),
        once(22, 0, "foo", "reborn"),
        once(23, 0, "final", "1"),
        once(24, 0, "nest", "1"),
        del(24, 1, "nest"),
    ]);
    records
}

#[test]
fn a_history_written_by_hand_hashes_as_the_server_that_had_it() {
    let db = Db { records: long_history(), ..Db::default() }.build();
    let mut check = StreamCheck::new(NoSpill, BUDGET);
    check.feed(&db).unwrap();
    let checked = check.into_checked().unwrap();
    assert_eq!(checked.report().findings, []);
    let live = [(24, 15, 2981439748), (16, 15, 88788615), (20, 15, 2865932245), (24, -1, 1801502571)];
    for (revision, compact_revision, hash) in live {
        let own = checked.hash_kv(revision, compact_revision).unwrap();
        assert_eq!(own, Ok(etcdfile::HashKv { hash, revision, compact_revision }));
    }
}
