//! Questions to databases built byte by byte.

// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[allow(dead_code)]
#[path = "support/story.rs"]
mod story;

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;

use builder::{Db, del, header, history, leaf, put, revision};
use etcdfile::{Database, DbError, Lease, NoSpill, ReadAt, check_file};
use proptest::prelude::*;
use story::{Story, World, stories};

/// A file that counts what is read of it.
struct Counted {
    bytes: Vec<u8>,
    read: Cell<usize>,
}

impl ReadAt for Counted {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.set(self.read.get() + buf.len());
        self.bytes.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.bytes)
    }
}

fn revisions(db: &Database<'_, Vec<u8>>, from: i64, to: i64) -> Vec<(i64, u32, bool)> {
    let mut all = vec![];
    let broke = db.for_each_record(from..=to, |record| {
        all.push((record.main, record.sub, record.tombstone));
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(broke.unwrap(), None);
    all
}

fn world(db: &Database<'_, Vec<u8>>, at: i64, prefix: &[u8]) -> World {
    let index = db.index(at, prefix).unwrap();
    assert_eq!(index.revision, at);
    assert!(index.entries.is_sorted_by(|one, next| one.key < next.key));
    let mut world = World::new();
    for entry in index.entries {
        let found = db.value(&entry).unwrap();
        assert_eq!(Some(&found), db.get(&entry.key, at).unwrap().as_ref());
        assert_eq!((found.mod_revision, found.create_revision), (entry.mod_revision, entry.create_revision));
        assert_eq!((found.version, found.lease), (entry.version, entry.lease));
        assert_eq!(found.value.len() as u64, entry.value_bytes);
        let seen = (entry.create_revision, entry.mod_revision, entry.sub, entry.version, entry.lease, found.value);
        world.insert(entry.key, seen);
    }
    world
}

#[test]
fn records_come_in_order_with_all_that_they_say() {
    let records = vec![
        put(2, 0, "a", 2, 1, b"one", 7),
        put(2, 1, "b", 2, 1, b"", 0),
        del(3, 0, "a"),
        put(4, 0, "a", 4, 1, b"two", 0),
    ];
    let file = Db { records: records.clone(), per_leaf: 2, ..Db::default() }.build();
    let db = Database::open(&file).unwrap();
    assert_eq!((db.revision(), db.compact_revision(), db.page_bytes()), (4, -1, 4096));
    let mut said = vec![];
    let broke = db.for_each_record(0..=i64::MAX, |record| {
        let stored = (record.stored_key.to_vec(), record.stored_value.to_vec());
        assert_eq!(stored, records[said.len()]);
        let key = String::from_utf8(record.key.to_vec()).unwrap();
        said.push((record.tombstone, key, record.create_revision, record.version, record.lease, record.value.to_vec()));
        if record.main == 4 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
    });
    assert_eq!(broke.unwrap(), Some("enough"));
    let expected = [
        (false, "a", 2, 1, 7, &b"one"[..]),
        (false, "b", 2, 1, 0, b""),
        (true, "a", 0, 0, 0, b""),
        (false, "a", 4, 1, 0, b"two"),
    ];
    assert_eq!(said, expected.map(|(t, key, c, v, l, value)| (t, key.to_owned(), c, v, l, value.to_vec())));
}

#[test]
fn a_range_of_revisions_is_found_without_reading_what_is_before() {
    for (page_size, per_leaf, per_branch) in [(512, 3, 2), (4096, 30, 5), (65536, 7, 12)] {
        let records = history(2000, 50, 9);
        let bytes = Db { records, page_size, per_leaf, per_branch, backwards: true, ..Db::default() }.build();
        let db = Database::open(&bytes).unwrap();
        for (from, to) in
            [(0, 1), (0, 2), (2, 2), (5, 40), (1000, 1007), (2000, 2001), (2001, 9999), (2002, 2002), (9, 3)]
        {
            let expected: Vec<_> = (from.max(2)..=to.min(2001)).map(|main| (main, 0, false)).collect();
            assert_eq!(revisions(&db, from, to), expected, "{from}..={to}");
        }
        let file = Counted { bytes, read: Cell::new(0) };
        let db = Database::open(&file).unwrap();
        file.read.set(0);
        let mut met = 0;
        let each = |_: etcdfile::RecordView<'_>| {
            met += 1;
            ControlFlow::<()>::Continue(())
        };
        db.for_each_record(1990..=2001, each).unwrap();
        assert_eq!(met, 12);
        assert!(file.read.get() <= 20 * page_size, "{} bytes of pages of {page_size}", file.read.get());
    }
}

#[test]
fn leases_and_members_are_listed_in_order() {
    let member = br#"{"id":9,"peerURLs":["http://p"],"name":"m1","clientURLs":["http://c"],"isLearner":true}"#;
    let lease = |id: i64, rest: &[u8]| (id.to_be_bytes().to_vec(), rest.to_vec());
    let negative = [&[8][..], &[0xff; 9], &[1, 16, 60]].concat();
    let buckets = Db::default()
        .bucket(
            "members",
            vec![(b"1f".to_vec(), br#"{"id":31,"peerURLs":null}"#.to_vec()), (b"9".to_vec(), member.to_vec())],
        )
        .bucket(
            "lease",
            vec![lease(5, &[8, 5, 16, 30, 24, 9]), lease(300, &[8, 0xac, 2, 16, 10]), lease(-1, &negative)],
        );
    let file = buckets.build();
    let db = Database::open(&file).unwrap();
    let all: Vec<(i64, i64, i64)> =
        db.leases().unwrap().iter().map(|lease| (lease.id, lease.ttl_seconds, lease.remaining_ttl_seconds)).collect();
    assert_eq!(all, [(-1, 60, 0), (5, 30, 9), (300, 10, 0)]);
    let members = db.members().unwrap();
    assert_eq!(members, check_file(file.as_slice(), NoSpill, 1 << 20).unwrap().members);
    assert_eq!((members[0].id, members[0].is_learner, members[1].id), (9, true, 31));

    let mut bare = Db::default();
    bare.buckets.retain(|name, _| *name == "meta");
    let bare = bare.build();
    let db = Database::open(&bare).unwrap();
    assert_eq!((db.leases().unwrap(), db.members().unwrap()), (Vec::<Lease>::new(), vec![]));

    for (bucket, key, value, what) in [
        ("lease", 5i64.to_be_bytes().to_vec(), vec![8, 6], "describes another lease"),
        ("lease", 5i64.to_be_bytes().to_vec(), vec![8], "does not describe a lease"),
        ("lease", b"five".to_vec(), vec![], "has not 8 bytes"),
        ("members", b"9".to_vec(), b"{}".to_vec(), "does not describe a member"),
        ("members", b"8".to_vec(), member.to_vec(), "describes another member"),
    ] {
        let file = Db::default().bucket(bucket, vec![(key, value)]).build();
        let db = Database::open(&file).unwrap();
        let error = db.leases().err().or(db.members().err()).unwrap().to_string();
        assert!(error.contains(what) && error.starts_with(bucket), "{error}");
    }
}

#[test]
fn revisions_that_are_not_there_are_refused_by_name() {
    let story = Story::of(&(0..9u8).map(|n| vec![(n % 3, Some((5, 0)))]).collect::<Vec<_>>());
    let file = Db { records: story.compacted(6), ..Db::default() }.marks(6, 4).build();
    let db = Database::open(&file).unwrap();
    assert_eq!((db.revision(), db.compact_revision()), (10, 6));
    for at in [11, 0, -5, i64::MAX] {
        assert!(matches!(db.index(at, b"").unwrap_err(), DbError::NoRevision { asked, newest: 10 } if asked == at));
        assert!(matches!(db.get(b"key/01", at).unwrap_err(), DbError::NoRevision { .. }));
    }
    assert!(matches!(db.index(5, b"").unwrap_err(), DbError::Compacted { asked: 5, compact_revision: 6 }));
    assert_eq!(world(&db, 6, b""), *story.world(6));
    let mut entry = db.index(10, b"").unwrap().entries.remove(0);
    entry.mod_revision -= 1;
    let error = db.value(&entry).unwrap_err().to_string();
    assert!(error.contains("no record of key key/00") && error.contains("another database"), "{error}");
}

#[test]
fn the_ghost_of_a_bump_is_a_revision_but_no_key() {
    let mut records = history(5, 2, 3);
    records.push((revision(1000, 0), vec![]));
    let file = Db { records, ..Db::default() }.marks(1000, 5).build();
    let db = Database::open(&file).unwrap();
    assert_eq!((db.revision(), db.compact_revision()), (1000, 1000));
    assert_eq!(db.index(1000, b"").unwrap().entries.len(), 2);
    assert_eq!(db.get(b"", 1000).unwrap(), None);
    let empty = Db::default().marks(9, 9).build();
    assert_eq!(Database::open(&empty).unwrap().revision(), 9);
}

#[test]
fn what_is_no_database_of_etcd_is_refused() {
    for bytes in [vec![], vec![0; 31], vec![1; 512], vec![0; 200_000]] {
        assert!(matches!(Database::open(&bytes).unwrap_err(), DbError::Page { page: 0, .. }));
    }
    let bytes = Db::default().build();
    assert!(matches!(Database::open(&bytes[..8192].to_vec()).unwrap_err(), DbError::Page { .. }));
    let mut bare = Db::default();
    bare.buckets.clear();
    assert!(matches!(Database::open(&bare.build()).unwrap_err(), DbError::NoBucket { bucket: "meta" }));
    // A snapshot's digest behind the database does not matter.
    assert_eq!(Database::open(&[bytes, vec![7; 32]].concat()).unwrap().revision(), 1);
}

#[test]
fn damaged_records_are_named() {
    for (record, what) in [
        ((revision(2, 0), vec![0xff; 4]), "key/2.0 in page 2 of the database is not a key-value message"),
        ((revision(2, 0), put(3, 0, "k", 2, 1, b"", 0).1), "names another revision"),
        ((del(2, 0, "k").0, put(2, 0, "k", 2, 1, b"", 0).1), "carries more than its key"),
    ] {
        let file = Db { records: vec![record], ..Db::default() }.build();
        let error = Database::open(&file).unwrap().index(2, b"").unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let file = Db { records: vec![(b"what".to_vec(), vec![])], ..Db::default() }.build();
    assert!(Database::open(&file).unwrap_err().to_string().contains("key/what in page 2"));
}

/// Pages behind two valid metas; `root` is page 2, and holds `key` at page 3 and an empty `meta`.
fn forged(pages: Vec<Vec<u8>>) -> Vec<u8> {
    let size = 512;
    let inline = [&[0; 16][..], &leaf(0, &[], false, size)].concat();
    let key = [3u64.to_le_bytes(), [0; 8]].concat();
    let root = leaf(2, &[(b"key".to_vec(), key), (b"meta".to_vec(), inline)], true, size);
    let end = 3 + pages.len() as u64;
    let mut out = builder::meta(0, size, 2, u64::MAX, end, 3);
    out.extend(builder::meta(1, size, 2, u64::MAX, end, 2));
    for mut page in [vec![root], pages].concat() {
        page.resize(size, 0);
        out.extend(page);
    }
    out
}

fn branch(id: u64, children: &[(Vec<u8>, u64)]) -> Vec<u8> {
    let mut page = header(id, 1, children.len(), 0);
    let mut data = 16 * children.len();
    for (index, (key, child)) in children.iter().enumerate() {
        page.extend(((data - 16 * index) as u32).to_le_bytes());
        page.extend((key.len() as u32).to_le_bytes());
        page.extend(child.to_le_bytes());
        data += key.len();
    }
    children.iter().for_each(|(key, _)| page.extend(key));
    page
}

fn records_leaf(id: u64, mains: std::ops::Range<i64>) -> Vec<u8> {
    leaf(id, &mains.map(|main| put(main, 0, "k", main, 1, b"", 0)).collect::<Vec<_>>(), false, 512)
}

#[test]
fn trees_that_are_no_trees_end_in_an_error() {
    let two = |id, left, right| branch(id, &[(revision(2, 0), left), (revision(4, 0), right)]);
    let cases = [
        (vec![two(3, 3, 3)], "page 3 of the database is damaged: "),
        (vec![two(3, 4, 3), records_leaf(4, 2..4)], "page 3"),
        (vec![two(3, 4, 4), records_leaf(4, 2..4)], "page 4"),
        (vec![two(3, 4, 5), two(4, 3, 3), records_leaf(5, 4..6)], "page "),
        (vec![two(3, 4, 5), records_leaf(4, 2..6), records_leaf(5, 4..6)], "not below its neighbour's"),
        (vec![two(3, 4, 5), records_leaf(4, 1..3), records_leaf(5, 4..6)], "below what its parent says"),
        (vec![two(3, 4, 5), records_leaf(4, 2..2), records_leaf(5, 4..6)], "without items below a branch"),
        (vec![two(3, 4, 99), records_leaf(4, 2..4)], "page 99 of the database is damaged: it is referred to"),
        (vec![two(3, 4, 1), records_leaf(4, 2..4)], "pages go from 2 to below 5"),
        (vec![two(3, 4, 5), records_leaf(4, 2..4), records_leaf(9, 4..6)], "does not name its place"),
        (vec![two(3, 4, 5), records_leaf(4, 2..4), header(5, 16, 0, 0)], "neither branch nor leaf"),
        (vec![two(3, 4, 5), records_leaf(4, 2..4), header(5, 2, 1, 70_000)], "claims too many pages"),
        (vec![branch(3, &[])], "without children"),
        (vec![branch(3, &[(revision(4, 0), 4), (revision(2, 0), 5)])], "not in order"),
    ];
    for (pages, what) in cases {
        let file = forged(pages);
        let asked = Database::open(&file).and_then(|db| db.index(db.revision(), b""));
        let error = asked.unwrap_err().to_string();
        assert!(error.contains(what), "{error}, not {what}");
    }
    let good = forged(vec![two(3, 4, 5), records_leaf(4, 2..4), records_leaf(5, 4..6)]);
    assert_eq!(revisions(&Database::open(&good).unwrap(), 3, 4), [(3, 0, false), (4, 0, false)]);
    // A key bucket that is the root itself.
    let own = [2u64.to_le_bytes(), [0; 8]].concat();
    let root = leaf(2, &[(b"key".to_vec(), own.clone()), (b"meta".to_vec(), own)], true, 512);
    let mut file = forged(vec![]);
    file[1024..1024 + root.len()].copy_from_slice(&root);
    assert!(Database::open(&file).unwrap_err().to_string().contains("not named by a revision"));
}

/// Asks everything there is to ask.
fn ask_everything(file: &Vec<u8>) {
    let Ok(db) = Database::open(file) else { return };
    let at = db.revision();
    if let Ok(index) = db.index(at, b"") {
        index.entries.iter().take(3).for_each(|entry| drop(db.value(entry)));
    }
    let _ = db.for_each_record(at / 2..=at, |_| ControlFlow::<()>::Continue(()));
    let _ = (db.get(b"key/0003", at), db.leases(), db.members(), db.hash_kv(at, db.compact_revision()));
}

#[test]
fn any_flipped_byte_is_an_error_or_harmless_and_never_a_panic() {
    let db = Db { records: history(60, 20, 9), per_leaf: 7, per_branch: 3, page_size: 512, ..Db::default() };
    let bytes = db.build();
    for byte in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut bytes = bytes.clone();
            bytes[byte] ^= 1 << bit;
            ask_everything(&bytes);
        }
    }
    (0..bytes.len()).step_by(5).for_each(|len| ask_everything(&bytes[..len].to_vec()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_alive_is_what_a_client_saw(
        story in stories(60, 12, 400),
        page_size in prop::sample::select(vec![512usize, 4096, 65536]),
        per_leaf in 1usize..9,
        compacted in 0i64..40,
        inline_key in any::<bool>(),
    ) {
        let compacted = compacted.min(story.revision());
        let db = Db { page_size, per_leaf, per_branch: 3, inline_key, ..Db::default() };
        let file = match compacted {
            0 => Db { records: story.records.clone(), ..db },
            _ => Db { records: story.compacted(compacted), ..db }.marks(compacted, compacted),
        }.build();
        let db = Database::open(&file).unwrap();
        let report = check_file(file.as_slice(), NoSpill, 8 << 20).unwrap();
        prop_assert_eq!((db.revision(), db.compact_revision()), (report.revision, report.compact_revision));
        prop_assert_eq!(db.revision(), story.revision());
        for at in compacted.max(1)..=story.revision() {
            prop_assert_eq!(&world(&db, at, b""), story.world(at));
        }
        let at = story.revision();
        let mut some = story.world(at).clone();
        some.retain(|key, _| key.starts_with(b"key/0"));
        prop_assert_eq!(world(&db, at, b"key/0"), some);
        prop_assert_eq!(db.get(b"key/none", at).unwrap(), None);
    }

    #[test]
    fn garbage_never_panics(
        pages in prop::collection::vec((0u16..20, 0u16..70, 0u32..5, prop::collection::vec(any::<u8>(), 0..500)), 0..9),
    ) {
        let page = |(id, (flags, count, overflow, body)): (u64, (u16, u16, u32, Vec<u8>))| {
            [header(id, flags, usize::from(count), overflow as usize), body].concat()
        };
        ask_everything(&forged((3u64..).zip(pages).map(page).collect()));
    }

    #[test]
    fn damage_in_many_places_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let db = Db { records: history(120, 20, 9), per_leaf: 7, per_branch: 3, page_size: 512, ..Db::default() };
        let mut bytes = db.build();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        ask_everything(&bytes);
    }
}
