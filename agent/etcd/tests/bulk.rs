//! Databases written from items in order, and copied compactly, read by the check and by a reader that shares no code.

// Each test crate uses its own part of the builder.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[path = "support/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "support/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::io;

use builder::{Db, Items, header, history, leaf};
use etcdfile::{
    BuildError, Built, BulkWriter, CompactError, Edits, NewMember, NoSpill, Report, WriteAt, check_file, compact,
    rewrite,
};
use memory::Memory;
use proptest::prelude::*;
use story::stories;

/// Values by bucket and key; a bucket's value is its sequence.
type Content = BTreeMap<Vec<Vec<u8>>, Vec<u8>>;

/// Reads a whole database, and holds every page against the rules for new files.
struct Dump<'a> {
    bytes: &'a [u8],
    page_size: usize,
    content: Content,
    pages: u64,
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

impl Dump<'_> {
    fn of(bytes: &[u8]) -> (Content, u64) {
        let page_size = number(bytes, 24, 4);
        let mut dump = Dump { bytes, page_size, content: Content::new(), pages: 2 };
        dump.tree(number(bytes, 32, 8), &[], true);
        (dump.content, dump.pages)
    }

    fn tree(&mut self, id: usize, path: &[Vec<u8>], root: bool) {
        let at = id * self.page_size;
        let page = &self.bytes[at..];
        let (flags, count, overflow) = (page[8], number(page, 10, 2), number(page, 12, 4));
        self.pages += overflow as u64 + 1;
        match flags {
            1 => {
                assert!(count >= 2, "branch {id} has {count} children");
                for n in 0..count {
                    self.tree(number(page, 16 + 16 * n + 8, 8), path, false);
                }
            }
            2 => {
                assert!(root || count >= 2, "leaf {id} has {count} items");
                assert!(overflow == 0 || count <= 3, "leaf {id} has {count} items in {overflow} more pages");
                self.leaf(&page[..(overflow + 1) * self.page_size], path);
            }
            other => panic!("page {id} has flags {other}"),
        }
    }

    fn leaf(&mut self, page: &[u8], path: &[Vec<u8>]) {
        for n in 0..number(page, 10, 2) {
            let at = 16 + 16 * n;
            let [flags, pos, key, value] = [0, 4, 8, 12].map(|field| number(page, at + field, 4));
            let key = &page[at + pos..][..key];
            let value = &page[at + pos + key.len()..][..value];
            let path = [path, &[key.to_vec()]].concat();
            if flags == 0 {
                assert_eq!(self.content.insert(path, value.to_vec()), None);
                continue;
            }
            self.content.insert(path.clone(), value[8..16].to_vec());
            match number(value, 0, 8) {
                0 => self.leaf(&value[16..], &path),
                root => self.tree(root, &path, true),
            }
        }
    }
}

fn check(bytes: &[u8]) -> Report {
    let report = check_file(bytes, NoSpill, 8 << 20).unwrap();
    assert_eq!(report.findings, []);
    report
}

/// What of a report has to be the same after a compaction.
fn same(mut report: Report) -> Report {
    (report.db_bytes, report.free_bytes, report.beyond_bytes, report.metas_agree) = (0, 0, 0, true);
    report
}

/// Compacts, and checks all that can be checked about the result.
fn compacted(bytes: &Vec<u8>) -> Vec<u8> {
    let file = Memory::default();
    let built = compact(bytes, &file).unwrap();
    let (after, writes) = (file.bytes.into_inner(), file.writes.into_inner());
    let (pages, metas) = writes.split_at(writes.len() - 2);
    assert!(pages.is_sorted() && metas.iter().max() < pages.first(), "{writes:?}");
    let report = check(&after);
    assert_eq!((report.free_bytes, report.beyond_bytes, report.metas_agree), (0, 0, true));
    let pages = after.len() as u64 / u64::from(report.page_bytes);
    assert_eq!(built, Built { db_bytes: after.len() as u64, pages });
    assert_eq!(same(report.clone()), same(check(bytes)));
    assert_eq!(Dump::of(&after).1, pages);

    // What is compact already is copied byte for byte.
    let again = Memory::default();
    compact(&after, &again).unwrap();
    assert!(again.bytes.into_inner() == after);

    let member = NewMember::new("m1", &["https://10.0.0.1:2380".to_owned()], "token");
    let edits = Edits { members: vec![member], consistent_index: 1, term: 1, bump: Some(1000), disable_auth: true };
    let file = Memory::new(after.clone());
    let done = rewrite::commit(&file, &report, &edits).unwrap();
    let committed = check(&file.bytes.into_inner());
    assert_eq!(
        (committed.revision, committed.keys, done.revision),
        (report.revision + 1000, report.keys, done.revision)
    );
    after
}

fn expected(db: &Db) -> Content {
    let mut content = Content::new();
    for (name, items) in db.buckets.iter().map(|(name, items)| (*name, items)).chain([("key", &db.records)]) {
        content.insert(vec![name.into()], vec![0; 8]);
        let items = items.iter().cloned();
        content.extend(items.map(|(key, value)| (vec![name.as_bytes().to_vec(), key], value)));
    }
    content
}

fn numbered(count: usize, key_bytes: usize, value_bytes: usize) -> Items {
    let item = |n: usize| (format!("{n:0key_bytes$}").into_bytes(), vec![n as u8; value_bytes]);
    (0..count).map(item).collect()
}

#[test]
fn every_shape_of_a_database_is_copied_whole() {
    for page_size in [512, 1024, 4096, 16384, 65536] {
        for (records, inline_key) in [
            (history(0, 1, 1), false),
            (history(3, 2, 1), true),
            (history(1, 1, 3 * page_size), false),
            (history(9, 3, 30_000), false),
            (history(2000, 90, 9), false),
            (history(60, 9, page_size / 2), false),
        ] {
            let db = Db { page_size, records, inline_key, per_leaf: 3, per_branch: 2, ..Db::default() }
                .bucket("lease", vec![])
                .bucket("zone", numbered(300, 9, 20))
                .bucket("zoo", numbered(9, 32_768, 3))
                .bucket("zoom", numbered(5, 4, 70_000));
            let stale: Vec<fn(u64, usize) -> Vec<u8>> = vec![|_, size| vec![7; size]];
            let bytes = Db { stale, freelist: true, backwards: true, ..db.clone() }.build();
            let after = compacted(&bytes);
            let content = Dump::of(&after).0;
            assert!(content == expected(&db), "page size {page_size}");
        }
    }
}

#[test]
fn a_level_that_ends_one_item_behind_a_full_page_is_shared_out() {
    // 512 bytes hold 15 children of a branch: 15 * (16 + 17) + 16 = 511; and two records of 200 bytes.
    for records in [2, 3, 4, 5, 29, 30, 31, 32, 33, 449, 450, 451, 452, 453, 481, 901] {
        let db = Db { page_size: 512, records: history(records, 9, 180), per_leaf: 1, ..Db::default() };
        let after = compacted(&db.build());
        assert_eq!(Dump::of(&after).0, expected(&db));
    }
}

#[test]
fn pages_are_filled() {
    for page_size in [512, 4096, 65536] {
        let records = history(20_000, 500, 25);
        let content: usize = records.iter().map(|(key, value)| 16 + key.len() + value.len()).sum();
        let after = compacted(&Db { page_size, records, per_leaf: 2, ..Db::default() }.build());
        // What is left of a page is less than a record; branches are a leaf's first key and 16 bytes each.
        let bound = content + content * 90 / page_size + content * 40 / page_size + 8 * page_size;
        assert!(after.len() <= bound, "{} bytes for {content} in pages of {page_size}", after.len());
    }
}

#[test]
fn nested_buckets_their_sequences_and_nested_inline_buckets_are_copied() {
    let file = Memory::default();
    let mut writer = BulkWriter::new(&file, 512).unwrap();
    // In any order.
    for name in ["meta", "key", "an"] {
        writer.bucket(name.as_bytes()).unwrap().finish().unwrap();
    }
    let mut outer = writer.bucket(b"outer").unwrap();
    outer.push(b"a", b"1").unwrap();
    let mut inner = outer.bucket(b"b").unwrap();
    for (key, value) in numbered(100, 5, 9) {
        inner.push(&key, &value).unwrap();
    }
    inner.bucket(b"x").unwrap().finish().unwrap();
    inner.finish().unwrap();
    let mut small = outer.bucket(b"c").unwrap();
    small.push(b"k", b"v").unwrap();
    small.finish().unwrap();
    outer.push(b"d", b"2").unwrap();
    outer.finish().unwrap();
    let built = writer.finish().unwrap();
    let mut bytes = file.bytes.into_inner();
    assert_eq!(built.db_bytes as usize, bytes.len());
    let (before, pages) = Dump::of(&bytes);
    assert_eq!(pages, built.pages);
    let path = |path: &str| path.split('/').map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(before[&path("outer/b/00042")], [42; 9]);
    assert_eq!(
        (before[&path("outer/c/k")].as_slice(), before[&path("outer/b/x")].as_slice()),
        (&b"v"[..], &[0; 8][..])
    );
    assert_eq!(before.len(), 4 + 2 + 2 + 100 + 1 + 1);

    // A sequence, which only a program other than etcd would have set.
    let at = bytes.windows(5).rposition(|window| window == b"outer").unwrap() + 5 + 8;
    bytes[at] = 77;
    let after = Memory::default();
    compact(&bytes, &after).unwrap();
    let after = Dump::of(&after.bytes.into_inner()).0;
    assert_eq!(after[&path("outer")], [77, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(after, Dump::of(&bytes).0);
}

#[test]
fn what_bbolt_would_not_take_is_refused_by_name_and_changes_nothing() {
    let file = Memory::default();
    for size in [0, 256, 1000, 131_072] {
        let error = BulkWriter::new(&file, size).err().unwrap().to_string();
        assert!(error.contains("no page size"), "{error}");
    }
    let mut writer = BulkWriter::new(&file, 4096).unwrap();
    let mut bucket = writer.bucket(b"key").unwrap();
    bucket.push(b"b", b"").unwrap();
    for (key, what) in [
        (&b"b"[..], "key b of bucket key does not come after b"),
        (b"a", "does not come after b"),
        (b"", "bucket key has an empty key"),
        (&[b'x'; 32_769], "has 32769 bytes"),
    ] {
        let error = bucket.push(key, b"v").unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(bucket.bucket(key).err().unwrap().to_string().contains(what));
    }
    let error = bucket.push(b"c", &vec![0; 64 << 20]).unwrap_err();
    assert!(matches!(error, BuildError::LargeItem { bytes: 67_108_865, .. }), "{error}");
    bucket.push(&[b'x'; 32_768], b"v").unwrap();
    bucket.finish().unwrap();
    assert!(matches!(writer.bucket(b"key").err().unwrap(), BuildError::Twice { .. }));
    assert!(matches!(writer.bucket(b"").err().unwrap(), BuildError::EmptyKey { .. }));
    writer.bucket(b"meta").unwrap().finish().unwrap();
    writer.finish().unwrap();
    let content = Dump::of(&file.bytes.into_inner()).0;
    assert_eq!(content.len(), 2 + 2);
}

#[test]
fn a_bucket_that_was_not_finished_stops_all_that_comes_after() {
    let file = Memory::default();
    let mut writer = BulkWriter::new(&file, 4096).unwrap();
    let mut bucket = writer.bucket(b"key").unwrap();
    drop(bucket.bucket(b"inner").unwrap());
    let unfinished =
        |error: BuildError| assert!(matches!(error, BuildError::Unfinished { bucket } if bucket == "inner"));
    unfinished(bucket.push(b"k", b"v").unwrap_err());
    unfinished(bucket.bucket(b"k").err().unwrap());
    unfinished(bucket.finish().unwrap_err());
    assert!(matches!(writer.bucket(b"meta").err().unwrap(), BuildError::Unfinished { bucket } if bucket == "key"));
    assert!(matches!(writer.finish().unwrap_err(), BuildError::Unfinished { .. }));
    assert!(file.bytes.into_inner().is_empty());
}

/// A disk with so much room.
struct Full(usize);

impl WriteAt for Full {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let fits = offset as usize + buf.len() <= self.0;
        fits.then_some(()).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))
    }
}

#[test]
fn a_full_disk_is_an_error_and_stays_one() {
    let disk = Full(3 << 20);
    let mut writer = BulkWriter::new(&disk, 4096).unwrap();
    let mut bucket = writer.bucket(b"key").unwrap();
    let failed = numbered(200, 5, 50_000).iter().filter(|(key, value)| bucket.push(key, value).is_err()).count();
    assert!(failed > 50, "{failed}");
    assert!(matches!(bucket.finish().unwrap_err(), BuildError::Io { .. }));
    assert!(matches!(writer.finish().unwrap_err(), BuildError::Io { .. }));
    let bytes = Db { records: history(500, 9, 9000), ..Db::default() }.build();
    let error = compact(&bytes, &disk).unwrap_err();
    assert!(matches!(error, CompactError::Write(BuildError::Io { offset: 2_0000.., .. })), "{error}");
}

#[test]
fn a_damaged_database_is_not_copied() {
    let bytes = Db { records: history(60, 20, 9), per_leaf: 7, per_branch: 3, page_size: 512, ..Db::default() }.build();
    for cut in (0..bytes.len()).step_by(512) {
        assert!(matches!(compact(&bytes[..cut], &Memory::default()).unwrap_err(), CompactError::Read(_)));
    }
    let root = |items: &[(Vec<u8>, Vec<u8>)], bucket: bool| {
        let mut page = leaf(2, items, bucket, 512);
        page.resize(512, 0);
        [builder::meta(0, 512, 2, u64::MAX, 4, 3), builder::meta(1, 512, 2, u64::MAX, 4, 2), page, vec![0; 512]]
            .concat()
    };
    let own = |n: u8| (vec![b'a' + n], [2u64.to_le_bytes(), [0; 8]].concat());
    let error = |bytes: &Vec<u8>| compact(bytes, &Memory::default()).unwrap_err().to_string();
    // Buckets that are their own parent, again and again: this would be 8^8 buckets.
    let all: Items = (0..8).map(own).collect();
    assert!(error(&root(&all, true)).contains("pages are used twice"));
    assert!(error(&root(&[(b"a".to_vec(), vec![1; 9])], true)).contains("damaged header"));
    assert!(error(&root(&[(b"a".to_vec(), vec![1; 9])], false)).contains("is not a bucket"));
    // Inline buckets inside of inline buckets.
    let mut value = [&[0; 16][..], &header(0, 2, 0, 0)].concat();
    for _ in 0..9 {
        value = [&[0; 16][..], &leaf(0, &[(b"n".to_vec(), value)], true, 512)].concat();
    }
    assert!(error(&root(&[(b"a".to_vec(), value)], true)).contains("nested deeper"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_database_is_copied_whole(
        story in stories(120, 30, 900),
        shape in (1usize..9, 2usize..6, any::<bool>(), any::<bool>(), any::<bool>()),
        page_size in prop::sample::select(vec![512usize, 1024, 2048, 4096, 8192, 16384, 32768, 65536]),
        (count, key_bytes, value_bytes) in (0usize..90, 4usize..600, 0usize..2000),
        marked in 0i64..20,
    ) {
        let (per_leaf, per_branch, backwards, freelist, inline_key) = shape;
        let marked = marked.min(story.revision());
        let db = Db { page_size, per_leaf, per_branch, backwards, freelist, inline_key, ..Db::default() };
        let db = Db { records: story.records.clone(), ..db }.bucket("unknown", numbered(count, key_bytes, value_bytes));
        let db = if marked > 0 { db.marks(marked, marked / 2) } else { db };
        let content = Dump::of(&compacted(&db.build())).0;
        prop_assert!(content == expected(&db));
    }

    #[test]
    fn damage_never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60)) {
        let db = Db { records: history(120, 20, 9), per_leaf: 7, per_branch: 3, page_size: 512, ..Db::default() };
        let mut bytes = db.build();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let file = Memory::default();
        if compact(&bytes, &file).is_ok() {
            let _ = Dump::of(&file.bytes.into_inner());
        }
    }
}
