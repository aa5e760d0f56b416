//! Commits to databases built byte by byte, and what a fresh check says of them.

// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[path = "support/memory.rs"]
mod memory;

use builder::{Db, history, revision};
use etcdfile::{Edits, NewMember, NoSpill, Report, RewriteError, check_file, rewrite};
use memory::Memory;
use proptest::prelude::*;

fn check(bytes: &[u8]) -> Report {
    check_file(bytes, NoSpill, 8 << 20).unwrap()
}

fn edits(members: usize, bump: Option<u64>) -> Edits {
    let member = |n: usize| NewMember::new(&format!("m{n}"), &[format!("https://10.0.0.{n}:2380")], "token");
    Edits {
        members: (1..=members).map(member).collect(),
        consistent_index: members as u64,
        term: 1,
        bump,
        disable_auth: false,
    }
}

/// Commits, and checks that the result is what was asked for and otherwise what there was.
fn commit(db: &Db, edits: &Edits) -> Report {
    let bytes = db.build();
    let before = check(&bytes);
    assert_eq!(before.findings, []);
    let file = Memory::new(bytes.clone());
    let done = rewrite::commit(&file, &before, edits).unwrap();
    let after_bytes = file.bytes.into_inner();
    assert_eq!(done.db_bytes, after_bytes.len() as u64);
    // Only the meta pages of the old database were touched, and they come last.
    assert_eq!(after_bytes[2 * db.page_size..bytes.len()], bytes[2 * db.page_size..]);
    let writes = file.writes.into_inner();
    let (pages, metas) = writes.split_at(writes.len() - 2);
    assert!(pages.iter().all(|offset| *offset >= bytes.len() as u64));
    assert!(metas.iter().all(|offset| *offset <= db.page_size as u64));

    let after = check(&after_bytes);
    assert_eq!(after.findings, []);
    assert_eq!(after.revision, done.revision);
    assert_eq!(after.revision, before.revision + edits.bump.unwrap_or(0) as i64);
    assert_eq!((after.keys, after.tombstones, after.alarms), (before.keys, before.tombstones, 0));
    assert_eq!(after.records, before.records + u64::from(edits.bump.is_some()));
    assert_eq!((after.consistent_index, after.term), (edits.consistent_index, Some(1)));
    let ids: Vec<u64> = after.members.iter().map(|member| member.id).collect();
    let mut expected: Vec<u64> = edits.members.iter().map(|member| member.id).collect();
    expected.sort();
    assert_eq!(ids, expected);
    if edits.bump.is_none() {
        assert_eq!(after.hash_kv, before.hash_kv);
        assert_eq!(after.compact_revision, before.compact_revision);
    } else {
        assert_eq!((after.scheduled_compact_revision, after.compact_revision), (after.revision, after.revision));
    }
    after
}

#[test]
fn every_shape_of_the_key_bucket_is_committed_with_and_without_a_bump() {
    for page_size in [512, 4096, 65536] {
        for (records, per_leaf, per_branch, inline_key) in [
            (history(0, 1, 1), 5, 5, false),
            (history(3, 2, 1), 5, 5, true),
            (history(3, 2, 40), 5, 5, false),
            (history(40, 9, 9), 5, 30, false),
            (history(400, 90, 9), 5, 12, false),
            (history(900, 90, 9), 3, 2, false),
            (history(8, 9, 30_000), 4, 5, false),
        ] {
            let db = Db { page_size, records, per_leaf, per_branch, inline_key, ..Db::default() };
            for members in [1, 3, 40] {
                for bump in [None, Some(1), Some(1_000_000_000)] {
                    commit(&db, &edits(members, bump));
                }
            }
        }
    }
}

#[test]
fn branches_on_the_right_edge_that_are_full_are_split() {
    // 512 bytes hold 15 children of a branch: 15 * (16 + 17) + 16 = 511.
    for leaves in [15, 16, 15 * 15, 15 * 15 * 2] {
        let records = history(leaves * 2, 9, 9);
        let db = Db { page_size: 512, records, per_leaf: 2, per_branch: 15, ..Db::default() };
        commit(&db, &edits(1, Some(7)));
    }
}

#[test]
fn alarms_and_a_pending_downgrade_are_taken_out_and_reported() {
    let db = Db { records: history(9, 3, 9), ..Db::default() }
        .bucket("alarm", vec![(vec![8, 1, 16, 1], vec![]), (vec![8, 2, 16, 2], vec![])])
        .bucket(
            "cluster",
            vec![(b"clusterVersion".to_vec(), b"3.6.0".to_vec()), (b"downgrade".to_vec(), b"{}".to_vec())],
        );
    let file = Memory::new(db.build());
    let done = rewrite::commit(&file, &check(&db.build()), &edits(1, None)).unwrap();
    assert_eq!((done.dropped_alarms, done.dropped_downgrade, done.dropped_members), (2, true, 0));
    let after = check(&file.bytes.into_inner());
    assert_eq!((after.alarms, after.cluster_version.as_deref()), (0, Some("3.6.0")));
}

#[test]
fn a_second_commit_builds_on_the_first() {
    let db = Db { records: history(400, 90, 9), per_leaf: 5, ..Db::default() };
    let file = Memory::new(db.build());
    let mut report = check(&db.build());
    for n in 1..5 {
        rewrite::commit(&file, &report, &edits(n, Some(100))).unwrap();
        report = check(&file.bytes.borrow());
        assert_eq!(report.findings, []);
        assert_eq!((report.revision, report.members.len(), report.keys), (401 + 100 * n as i64, n, 90));
    }
}

#[test]
fn what_cannot_be_committed_is_refused_and_nothing_is_written() {
    let db = Db { records: history(9, 3, 9), ..Db::default() };
    let (bytes, report) = (db.build(), check(&db.build()));
    let refuse = |bytes: &[u8], report: &Report, edits: &Edits| {
        let file = Memory::new(bytes.to_vec());
        let error = rewrite::commit(&file, report, edits).unwrap_err();
        assert!(file.writes.into_inner().is_empty());
        error
    };
    for bump in [0, u64::MAX, i64::MAX as u64] {
        let error = refuse(&bytes, &report, &edits(1, Some(bump)));
        assert!(matches!(error, RewriteError::Bump { revision: 10, .. }), "{error}");
    }
    assert!(matches!(refuse(&bytes, &report, &edits(0, None)), RewriteError::NoMembers));
    let mut unsound = report.clone();
    unsound.findings = check(&Db { records: vec![(revision(2, 0), vec![9])], ..db }.build()).findings;
    assert!(matches!(refuse(&bytes, &unsound, &edits(1, None)), RewriteError::NotSound { findings: 1 }));
    assert!(matches!(refuse(&bytes[..4096], &report, &edits(1, None)), RewriteError::Changed { .. }));
    let mut other = bytes.clone();
    let last = other.len() - 4096;
    other[last] ^= 1;
    assert!(matches!(refuse(&other, &report, &edits(1, None)), RewriteError::Changed { .. }));
}

proptest! {
    #[test]
    fn a_file_damaged_after_its_check_never_panics(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30)) {
        let db = Db { records: history(90, 20, 9), per_leaf: 4, per_branch: 3, page_size: 512, ..Db::default() };
        let (mut bytes, report) = (db.build(), check(&db.build()));
        for (at, value) in flips {
            let at = 1024 + at.index(bytes.len() - 1024);
            bytes[at] = value;
        }
        let _ = rewrite::commit(&Memory::new(bytes), &report, &edits(1, Some(3)));
    }
}
