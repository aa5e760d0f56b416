//! HashKV in two passes, held against real servers' answers and against the stream check.

// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[allow(dead_code)]
#[path = "support/story.rs"]
mod story;

use builder::{Db, Items, del, put, revision};
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
    // Five versions of etcd were asked; here the compactions are simulated, and the records are all there.
    let changes = vec![
        put(2, 0, "k1", 2, 1, b"a", 0),
        put(3, 0, "k2", 3, 1, b"b", 0),
        put(4, 0, "k1", 2, 2, b"c", 0),
        del(5, 0, "k2"),
        put(6, 0, "k3", 6, 1, b"d", 0),
        put(7, 0, "k4", 7, 1, b"x", 0),
        put(7, 1, "k5", 7, 1, b"y", 0),
        del(7, 2, "k1"),
        put(8, 0, "k4", 7, 2, b"z", 0),
        del(9, 0, "k3"),
        del(9, 1, "k4"),
        del(9, 2, "k5"),
        put(10, 0, "k1", 10, 1, b"new", 0),
    ];
    let live = [
        ((2, -1), 1141488549),
        ((3, -1), 1806474732),
        ((4, -1), 3484838887),
        ((5, -1), 1370012667),
        ((5, 3), 1750800432),
        ((4, 3), 1935297270),
        ((6, 5), 1942218451),
        ((7, 5), 3711966364),
        ((8, 5), 1331485444),
        // Nothing is alive at 9: what the compaction left is hashed.
        ((9, 5), 232803010),
        ((9, 8), 4261291858),
        ((9, 9), 1084519789),
        ((10, 9), 4162214610),
    ];
    let (ask, answers): (Vec<(i64, i64)>, Vec<u32>) = live.into_iter().unzip();
    assert_eq!(hashes(changes, &ask), answers);

    let leased = vec![
        put(2, 0, "foo", 2, 1, b"bar", 0),
        put(3, 0, "foo", 2, 2, b"bar2", 0),
        put(4, 0, "a", 4, 1, b"1", 0),
        del(5, 0, "foo"),
        put(6, 0, "leased", 6, 1, b"v", 1234567),
        put(7, 0, "x", 7, 1, b"1", 0),
        put(7, 1, "y", 7, 1, b"2", 0),
        del(7, 2, "a"),
        put(8, 0, "foo", 8, 1, b"again", 0),
    ];
    let ask: Vec<(i64, i64)> = (2..=8).map(|at| (at, -1)).collect();
    let answers = [3305255506, 3581052765, 2499341612, 3966920819, 2938082371, 2100707660, 743227460];
    assert_eq!(hashes(leased, &ask), answers);
    assert_eq!(hashes(vec![], &[(1, -1)]), [1084519789]);
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
