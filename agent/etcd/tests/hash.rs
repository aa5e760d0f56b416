//! HashKV in two passes, held against real servers' answers and against the stream check.

#[path = "support/answered.rs"]
mod answered;
// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[allow(dead_code)]
#[path = "support/story.rs"]
mod story;

use builder::{Db, Items, put, revision};
use etcdfile::{Database, DbError, NoHash, NoSpill, StreamCheck};
use proptest::prelude::*;
use story::stories;

fn hashes(records: Items, ask: &[(i64, i64)]) -> Vec<u32> {
    let file = Db { records, per_leaf: 2, per_branch: 2, ..Db::default() }.build();
    let db = Database::open(&file).unwrap();
    ask.iter().map(|(at, compact)| db.hash_kv(*at, *compact).unwrap().unwrap().hash).collect()
}

#[test]
fn real_servers_gave_the_same_answers() {
    for (records, answers) in [answered::come_and_gone(), answered::leased(), answered::empty()] {
        let (ask, live): (Vec<(i64, i64)>, Vec<u32>) = answers.into_iter().unzip();
        assert_eq!(hashes(records, &ask), live);
    }
}

#[test]
fn what_the_file_cannot_know_has_a_reason_and_damage_is_an_error() {
    let records = vec![put(4, 0, "a", 4, 1, b"v", 0), put(9, 0, "a", 4, 2, b"w", 0)];
    let file = Db { records, ..Db::default() }.marks(8, 8).build();
    let db = Database::open(&file).unwrap();
    let why = |at, compact| db.hash_kv(at, compact).unwrap().unwrap_err();
    assert_eq!(why(10, 8), NoHash::NoRevision { asked: 10, newest: 9 });
    assert_eq!(why(9, 7), NoHash::CompactedLater { asked: 7, own: 8 });
    assert_eq!(why(9, -1), NoHash::CompactedLater { asked: -1, own: 8 });
    assert_eq!(why(8, 9), NoHash::Compacted { asked: 8, compact_revision: 9 });
    let bad = Db { records: vec![(revision(2, 0), vec![0xff; 3])], ..Db::default() }.build();
    let error = Database::open(&bad).unwrap().hash_kv(2, -1).unwrap_err();
    assert!(matches!(error, DbError::Item { bucket: "key", page: 2, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ways_to_the_hash_agree(
        story in stories(50, 6, 60),
        compacted in 0i64..30,
        unfinished in any::<bool>(),
        ghost in any::<bool>(),
    ) {
        let compacted = compacted.min(story.revision());
        let mut records = match (compacted, unfinished) {
            (1.., false) => story.compacted(compacted),
            // A compaction was begun, and has deleted nothing yet.
            _ => story.records.clone(),
        };
        let mut marks = (compacted, if unfinished { compacted / 2 } else { compacted });
        if ghost {
            records.push((revision(story.revision() + 50, 0), vec![]));
            marks = (story.revision() + 50, marks.1);
        }
        let db = Db { records, per_leaf: 4, per_branch: 3, page_size: 512, ..Db::default() };
        let file = if marks.0 > 0 { db.marks(marks.0, marks.1) } else { db }.build();
        let mut check = StreamCheck::new(NoSpill, 8 << 20);
        check.feed(&file).unwrap();
        let checked = check.into_checked().unwrap();
        prop_assert_eq!(&checked.report().findings, &[]);
        let db = Database::open(&file).unwrap();
        let newest = db.revision();
        for at in 0..=newest + 1 {
            for compact in [-1, 0, 1, compacted, at / 2, at - 1, at, at + 1] {
                let (one, other) = (checked.hash_kv(at, compact).unwrap(), db.hash_kv(at, compact).unwrap());
                prop_assert_eq!(one, other, "at {}, compacted at {}", at, compact);
            }
        }
        prop_assert_eq!(checked.report().hash_kv, db.hash_kv(newest, db.compact_revision()).unwrap().ok());
    }
}
