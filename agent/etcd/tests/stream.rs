//! The stream check on databases built byte by byte.

#[path = "support/answered.rs"]
mod answered;
// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;

use builder::{Db, Items, del, header, history, leaf, put, revision};
use etcdfile::{FileSpill, NoHash, NoSpill, Report, StreamCheck, check_file};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const BUDGET: usize = 8 << 20;

fn check(bytes: &[u8]) -> Report {
    check_file(bytes, NoSpill, BUDGET).unwrap()
}

#[track_caller]
fn sound(bytes: &[u8]) -> Report {
    let report = check(bytes);
    assert_eq!(report.findings, []);
    report
}

#[track_caller]
fn finds(bytes: &[u8], what: &str) -> Report {
    let report = check(bytes);
    assert!(report.findings.iter().any(|finding| finding.to_string().contains(what)), "{:?}", report.findings);
    assert_eq!(report.hash_kv, None);
    report
}

fn hashes(records: Items, marks: Option<(i64, i64)>, ask: &[(i64, i64)]) -> Vec<Result<u32, NoHash>> {
    let db = Db { records, per_leaf: 2, per_branch: 2, ..Db::default() };
    let db = match marks {
        Some((scheduled, finished)) => db.marks(scheduled, finished),
        None => db,
    };
    let mut check = StreamCheck::new(NoSpill, BUDGET);
    check.feed(&db.build()).unwrap();
    let checked = check.into_checked().unwrap();
    assert_eq!(checked.report().findings, []);
    ask.iter().map(|(at, compact)| checked.hash_kv(*at, *compact).unwrap().map(|answer| answer.hash)).collect()
}

#[test]
fn hash_kv_gives_the_answers_of_real_servers() {
    for (records, answers) in [answered::come_and_gone(), answered::leased(), answered::empty()] {
        let (ask, live): (Vec<(i64, i64)>, Vec<u32>) = answers.into_iter().unzip();
        for ((ask, own), live) in ask.iter().zip(hashes(records, None, &ask)).zip(live) {
            assert_eq!(own, Ok(live), "{ask:?}");
        }
    }
    let (leased, _) = answered::leased();
    assert_eq!(leased[4].1, b"\x0a\x06leased\x10\x06\x18\x06\x20\x01\x2a\x01v\x30\x87\xad\x4b");
}

#[test]
fn hash_kv_does_not_answer_what_the_database_cannot_know() {
    let mut records = answered::come_and_gone().0;
    records.retain(|(key, _)| key > &revision(5, 0));
    records.insert(0, put(4, 0, "k1", 2, 2, b"c", 0));
    let ask = [(6, 5), (6, 3), (4, 5), (11, 5), (4, -1), (0, -1)];
    let expected = [
        Ok(1942218451),
        Err(NoHash::CompactedLater { asked: 3, own: 5 }),
        Err(NoHash::Compacted { asked: 4, compact_revision: 5 }),
        Err(NoHash::NoRevision { asked: 11, newest: 10 }),
        Err(NoHash::CompactedLater { asked: -1, own: 5 }),
        Err(NoHash::NoRevision { asked: 0, newest: 10 }),
    ];
    assert_eq!(hashes(records, Some((5, 5)), &ask), expected);
}

#[test]
fn a_lease_that_etcd_could_not_read_is_found() {
    let key = 5u64.to_be_bytes().to_vec();
    for (value, what) in [(vec![8, 6, 16, 60], "describes another lease"), (vec![8, 0x85], "does not describe a lease")]
    {
        finds(&Db::default().bucket("lease", vec![(key.clone(), value)]).build(), what);
    }
}

#[test]
fn a_report_tells_what_the_small_buckets_say() {
    let member =
        br#"{"id":7242303434546065310,"peerURLs":["http://127.0.0.1:24001"],"name":"m1","clientURLs":["http://c"]}"#;
    let lease = |id: u8| (u64::from(id).to_be_bytes().to_vec(), vec![8, id, 16, 60]);
    let db = Db {
        records: vec![put(2, 0, "a", 2, 1, b"", 5), put(3, 0, "b", 3, 1, b"", 6), put(4, 0, "b", 3, 2, b"", 7)],
        ..Db::default()
    }
    .bucket("members", vec![(b"6481d49a33b5af9e".to_vec(), member.to_vec())])
    .bucket("cluster", vec![(b"clusterVersion".to_vec(), b"3.6.0".to_vec())])
    .bucket("lease", vec![lease(5), lease(6)])
    .bucket("alarm", vec![(vec![8, 1, 16, 1], vec![])])
    .marks(3, 2);
    let report = check(&db.build());
    assert_eq!(report.findings, []);
    let m1 = &report.members[0];
    assert_eq!((m1.id, m1.name.as_str(), m1.is_learner), (7242303434546065310, "m1", false));
    assert_eq!((m1.peer_urls[0].as_str(), m1.client_urls[0].as_str()), ("http://127.0.0.1:24001", "http://c"));
    assert_eq!(
        (report.scheduled_compact_revision, report.finished_compact_revision, report.compact_revision),
        (3, 2, 3)
    );
    assert_eq!((report.revision, report.records, report.keys, report.tombstones), (4, 3, 2, 0));
    assert_eq!((report.leases, report.dangling_leases, report.dangling_lease_ids), (2, 1, vec![7]));
    assert_eq!((report.alarms, report.consistent_index, report.term), (1, 9, None));
    assert_eq!(report.cluster_version.as_deref(), Some("3.6.0"));
}

#[test]
fn trees_of_many_levels_out_of_order_pages_and_all_page_sizes_read_alike() {
    for page_size in [512, 4096, 65536] {
        for backwards in [false, true] {
            for freelist in [false, true] {
                let stale: Vec<fn(u64, usize) -> Vec<u8>> = vec![|_, size| vec![7; size]];
                let db = Db {
                    page_size,
                    backwards,
                    freelist,
                    stale,
                    records: history(700, 50, 9),
                    per_leaf: 7,
                    per_branch: 3,
                    ..Db::default()
                };
                let report = sound(&db.build());
                assert_eq!((report.revision, report.records, report.keys), (701, 700, 50));
                assert_eq!((report.page_bytes as usize, report.free_bytes as usize), (page_size, page_size));
                assert_eq!(
                    report.hash_kv.map(|own| own.hash),
                    check(&Db { records: history(700, 50, 9), ..Db::default() }.build()).hash_kv.map(|own| own.hash)
                );
            }
        }
    }
}

#[test]
fn values_larger_than_pages_are_read_whole() {
    for value in [3000, 4096, 100_000, 2_000_000] {
        let db = Db { records: history(6, 3, value), per_leaf: 3, ..Db::default() };
        let report = sound(&db.build());
        assert_eq!((report.records, report.keys), (6, 3));
        let small = Db { records: history(6, 3, value), per_leaf: 1, per_branch: 2, backwards: true, ..Db::default() };
        assert_eq!(sound(&small.build()).hash_kv, report.hash_kv);
    }
}

/// A leaf of revision records that names its own place, as a page freed long ago looks.
fn stale_leaf(id: u64, size: usize) -> Vec<u8> {
    let mut page = leaf(id, &history(5, 5, 10), false, size);
    page.resize(size, 0);
    page
}

/// As above, but claiming every page behind it.
fn greedy_leaf(id: u64, size: usize) -> Vec<u8> {
    let mut page = header(id, 2, 3, 10);
    page.resize(size, 1);
    page
}

#[test]
fn stale_pages_count_for_nothing_and_do_not_hide_others() {
    let clean = Db { records: history(700, 50, 9), backwards: true, ..Db::default() };
    // Filled backwards, the stale pages come first in the file, and the greedy ones claim live pages behind them.
    let stale: Vec<fn(u64, usize) -> Vec<u8>> = vec![stale_leaf, greedy_leaf, stale_leaf, greedy_leaf, greedy_leaf];
    let report = sound(&Db { stale, ..clean.clone() }.build());
    assert_eq!(report.free_bytes, 5 * 4096);
    let clean = sound(&clean.build());
    assert_eq!((report.hash_kv, report.records, report.keys), (clean.hash_kv, clean.records, clean.keys));
}

#[test]
fn a_value_that_holds_pages_is_still_a_value() {
    // The value begins on a page's 16 + 16 + 17 + 16th byte or so; every page in it claims to be itself.
    let forged: Vec<u8> = (0..40u64).flat_map(|id| stale_leaf(id, 4096)).collect();
    for shift in 0..4096 {
        let value = [&vec![0; shift][..], &forged[4096 * 4..]].concat();
        if (16 + 16 + 17 + 14 + shift) % 4096 > 4 {
            continue;
        }
        let report = sound(&Db { records: vec![put(2, 0, "k", 2, 1, &value, 0)], ..Db::default() }.build());
        assert_eq!((report.records, report.keys), (1, 1));
    }
}

#[test]
fn an_inline_key_bucket_reads_as_one_with_pages() {
    let db = Db { records: answered::come_and_gone().0, ..Db::default() };
    let inline = sound(&Db { inline_key: true, ..db.clone() }.build());
    assert_eq!(inline.hash_kv, sound(&db.build()).hash_kv);
    assert_eq!((inline.records, inline.keys), (13, 1));
}

#[test]
fn a_lost_revision_is_found() {
    let mut records = history(200, 20, 20);
    records.remove(100);
    let holed = Db { records, ..Db::default() };
    finds(&holed.build(), "revisions 102 to 102 are missing");
    sound(&holed.marks(150, 150).build());
    let mut records = answered::come_and_gone().0;
    records.remove(6);
    finds(&Db { records, ..Db::default() }.build(), "changes of revision 7 are missing before its change 2");
}

#[test]
fn a_record_that_contradicts_itself_is_found() {
    let bad = [
        ((revision(2, 0), vec![0xff; 4]), "is not a key-value message"),
        ((revision(2, 0), put(3, 0, "k", 2, 1, b"", 0).1), "names another revision"),
        ((revision(2, 0), put(2, 0, "k", 5, 1, b"", 0).1), "created at a revision after"),
        ((revision(2, 0), put(2, 0, "", 2, 1, b"", 0).1), "has no key"),
        ((del(2, 0, "k").0, put(2, 0, "k", 2, 1, b"", 0).1), "carries more than its key"),
    ];
    for (record, what) in bad {
        finds(&Db { records: vec![record], ..Db::default() }.build(), what);
    }
    finds(&Db { records: vec![(b"what".to_vec(), vec![])], ..Db::default() }.build(), "not named by a revision");
}

#[test]
fn a_truncated_database_is_found() {
    let bytes = Db { records: history(700, 50, 9), ..Db::default() }.build();
    let pages = bytes.len() / 4096;
    for keep in 2..pages {
        finds(&bytes[..keep * 4096], &format!("has {pages} pages, but only {keep}"));
    }
    finds(&bytes[..bytes.len() - 1], "whole ones arrived");
    let longer = sound(&[&bytes[..], &[0; 8192]].concat());
    assert_eq!(longer.beyond_bytes, 8192);
}

#[test]
fn any_flipped_byte_of_meta_and_page_headers_and_tables_is_found_with_its_page() {
    let bytes =
        Db { records: history(60, 20, 9), per_leaf: 7, per_branch: 3, page_size: 1024, ..Db::default() }.build();
    for page in 0..bytes.len() / 1024 {
        let at = page * 1024;
        let count = usize::from(u16::from_le_bytes([bytes[at + 10], bytes[at + 11]]));
        let end = if page < 2 { 80 } else { 16 + 16 * count };
        for byte in at..at + end {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[byte] ^= 1 << bit;
                let report = check(&bytes);
                // A branch's pointer to a page that another branch also names is found there.
                assert!(!report.sound(), "byte {} of page {page}, bit {bit}", byte - at);
                assert!(
                    report.findings.iter().any(|finding| finding.page.is_some()),
                    "{page} {byte} {:?}",
                    report.findings
                );
            }
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_changes_the_report_or_was_padding() {
    let mut db = Db { records: history(60, 20, 9), per_leaf: 7, per_branch: 3, page_size: 1024, ..Db::default() };
    // Whether an empty bucket has a name that etcd knows is not for the check to say.
    db.buckets.retain(|name, _| *name == "meta");
    let bytes = db.build();
    let before = check(&bytes);
    let mut unnoticed = 0;
    for byte in (0..bytes.len()).step_by(3) {
        let mut bytes = bytes.clone();
        bytes[byte] ^= 0x20;
        if check(&bytes) == before {
            unnoticed += 1;
            assert_eq!(bytes[byte], 0x20, "byte {} of page {}", byte % 1024, byte / 1024);
        }
    }
    assert!(unnoticed > 0);
}

#[test]
fn notes_past_the_budget_go_to_the_spill_or_the_check_says_so() {
    let bytes = Db { records: history(60_000, 30_000, 20), per_leaf: 40, per_branch: 100, ..Db::default() }.build();
    let roomy = sound(&bytes);
    let error = check_file(bytes.as_slice(), NoSpill, 10_000).unwrap_err().to_string();
    assert!(error.contains("budget of 10000 bytes") && error.contains("give one"), "{error}");
    for budget in [0, 10_000, 300_000] {
        let spill = FileSpill::new(tempfile::tempfile().unwrap());
        assert_eq!(check_file(bytes.as_slice(), spill, budget).unwrap(), roomy);
    }
}

#[test]
fn what_is_no_database_is_refused() {
    for bytes in [vec![], vec![0; 31], vec![1; 512], vec![0; 200_000], b"hello".to_vec()] {
        assert!(check_file(bytes.as_slice(), NoSpill, BUDGET).unwrap_err().to_string().contains("no etcd database"));
    }
}

#[test]
fn the_second_meta_page_stands_in_for_the_first() {
    for page_size in [512, 4096, 65536] {
        let mut bytes = Db { records: history(70, 50, 9), page_size, ..Db::default() }.build();
        bytes[20] ^= 1;
        let report = check(&bytes);
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        assert_eq!((report.findings[0].page, report.records), (Some(0), 70));
    }
}

#[test]
fn a_snapshot_ends_with_its_last_page_and_has_two_equal_metas() {
    let db = Db { records: history(70, 50, 9), ..Db::default() }.build();
    let with_digest = |db: &[u8]| [db, Sha256::digest(db).as_slice()].concat();
    sound(&with_digest(&db));
    let longer = [&db[..], &[0; 4096]].concat();
    sound(&longer);
    finds(&with_digest(&longer), "the snapshot has 4096 bytes behind its last page");
    let mut other = db.clone();
    other[4096..8192].copy_from_slice(&builder::meta(1, 4096, 3, u64::MAX, 5, 9));
    assert!(!sound(&other).metas_agree);
    finds(&with_digest(&other), "do not name the same root");
    finds(&[&db[..], &[0; 32]].concat(), "digest says");
}

type Page = (u16, u16, u32, Vec<u8>);

/// Flags, count, overflow and body of a few pages.
fn pages() -> impl Strategy<Value = Vec<Page>> {
    let body = proptest::collection::vec(any::<u8>(), 0..500);
    proptest::collection::vec((0u16..20, 0u16..70, 0u32..5, body), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_report(
        cuts in proptest::collection::vec(1usize..9000, 1..40),
        page_size in prop::sample::select(vec![512usize, 4096, 65536]),
    ) {
        let bytes = Db { records: history(300, 50, 700), page_size, per_leaf: 9, ..Db::default() }.build();
        let mut stream = StreamCheck::new(NoSpill, BUDGET);
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            stream.feed(now).unwrap();
            rest = later;
        }
        prop_assert_eq!(stream.finish().unwrap(), check(&bytes));
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        let _ = check_file(bytes.as_slice(), NoSpill, BUDGET);
    }

    #[test]
    fn garbage_behind_valid_metas_never_panics(
        pages in pages(),
        root in 0u64..16,
        high_water in 0u64..20,
    ) {
        let mut bytes = builder::meta(0, 512, root, root + 1, high_water, 3);
        bytes.extend(builder::meta(1, 512, root, u64::MAX, high_water, 2));
        for (id, (flags, count, overflow, body)) in (2u64..).zip(pages) {
            let mut page = header(id, flags, usize::from(count), overflow as usize);
            page.extend(body);
            page.resize(512, 0);
            bytes.extend(page);
        }
        let _ = check_file(bytes.as_slice(), NoSpill, BUDGET);
    }

    #[test]
    fn damage_in_many_places_never_panics(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60)) {
        let db = Db { records: history(120, 20, 9), per_leaf: 7, per_branch: 3, page_size: 512, ..Db::default() };
        let mut bytes = Db { freelist: true, ..db }.build();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = check_file(bytes.as_slice(), NoSpill, BUDGET);
    }
}

#[test]
fn more_keys_than_one_table_holds_are_counted_in_parts() {
    let db = Db { records: history(60_000, 40_000, 8), per_leaf: 80, per_branch: 100, ..Db::default() }.build();
    let file = || FileSpill::new(tempfile::tempfile().unwrap());
    let checked = |budget: usize| {
        let mut check = StreamCheck::new(file(), budget);
        db.chunks(70_001).for_each(|chunk| check.feed(chunk).unwrap());
        check.into_checked().unwrap()
    };
    let (one, parts) = (checked(64 << 20), checked(1 << 20));
    assert_eq!(one.report(), parts.report());
    assert_eq!((one.report().keys, one.report().records), (40_000, 60_000));
    for (at, compact) in [(60_001, -1), (60_001, 30_000), (41_000, 40_999), (40_001, 7), (2, -1), (1, 1)] {
        let (one, parts) = (one.hash_kv(at, compact).unwrap().unwrap(), parts.hash_kv(at, compact).unwrap().unwrap());
        assert_eq!(one, parts, "at {at}, compacted at {compact}");
    }
}

#[test]
fn a_file_whose_digest_differs_is_not_sound_and_has_no_hash() {
    let db = Db { records: history(20, 5, 10), ..Db::default() }.build();
    let report = check(&[&db[..], &[7; 32]].concat());
    assert!(report.findings.iter().any(|finding| finding.what.contains("digest")), "{:?}", report.findings);
    assert_eq!((report.sound(), report.hash_kv), (false, None));
}

#[test]
fn living_keys_are_counted_by_the_class_of_their_newest_record() {
    // The class is the first byte of the value.
    let class = |_: &[u8], value: &[u8]| value.first().map_or(0, |byte| u32::from(*byte));
    let records = vec![
        put(2, 0, "a", 2, 1, b"\x01", 0),
        put(3, 0, "b", 3, 1, b"\x01", 0),
        put(4, 0, "a", 2, 2, b"\x02", 0),
        put(5, 0, "c", 5, 1, b"\x02", 0),
        put(6, 0, "d", 6, 1, b"\x03", 0),
        del(7, 0, "d"),
        put(8, 0, "e", 8, 1, b"", 0),
    ];
    for (per_leaf, inline_key, budget) in [(1, false, BUDGET), (3, false, 0), (30, true, BUDGET)] {
        let db = Db { records: records.clone(), per_leaf, per_branch: 2, inline_key, ..Db::default() };
        let spill = FileSpill::new(tempfile::tempfile().unwrap());
        let mut check = StreamCheck::classifying(spill, budget, class);
        check.feed(&db.build()).unwrap();
        let checked = check.into_checked().unwrap();
        assert_eq!(checked.report().findings, []);
        assert_eq!(checked.keys_by_class().unwrap().into_iter().collect::<Vec<_>>(), [(1, 1), (2, 2)]);
        assert_eq!(
            checked.hash_kv(8, -1).unwrap().unwrap().hash,
            hashes(records.clone(), None, &[(8, -1)])[0].unwrap()
        );
    }
}
