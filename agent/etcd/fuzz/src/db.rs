//! Databases to damage: each valid as built, then changed where it hurts.

use std::sync::OnceLock;

use crate::Input;
use crate::builder::{Db, Items, del, history, leaf, meta, put, revision};

/// The most changes made to one database.
const CHANGES: usize = 40;

/// A small history with deletions, a transaction of several changes, and a lease.
fn mixed() -> Items {
    vec![
        put(2, 0, "k1", 2, 1, b"a", 0),
        put(3, 0, "k2", 3, 1, b"b", 77),
        put(4, 0, "k1", 2, 2, b"c", 0),
        del(5, 0, "k2"),
        put(6, 0, "k3", 6, 1, b"d", 77),
        put(7, 0, "k4", 7, 1, b"x", 78),
        put(7, 1, "k5", 7, 1, b"y", 0),
        del(7, 2, "k1"),
        put(8, 0, "k4", 7, 2, b"z", 0),
        put(9, 0, "k1", 9, 1, b"new", 0),
    ]
}

fn stale_leaf(id: u64, page_size: usize) -> Vec<u8> {
    leaf(id, &mixed(), false, page_size)
}

fn facts(db: Db) -> Db {
    let member = br#"{"id":255,"peerURLs":["http://10.0.0.1:2380"],"name":"m1","clientURLs":["http://10.0.0.1:2379"]}"#;
    db.bucket("members", vec![(b"ff".to_vec(), member.to_vec())])
        .bucket("lease", vec![(77u64.to_be_bytes().to_vec(), b"\x08\x4d\x10\x3c".to_vec())])
        .bucket("cluster", vec![(b"clusterVersion".to_vec(), b"3.5.0".to_vec())])
        .bucket("alarm", vec![(b"\x08\x01\x10\x01".to_vec(), vec![])])
        .bucket("auth", vec![(b"authEnabled".to_vec(), vec![1])])
}

/// One of each shape that a real database can have.
fn bases() -> &'static [Vec<u8>] {
    static BASES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BASES.get_or_init(|| {
        let small = || Db { page_size: 512, per_leaf: 3, per_branch: 2, ..Db::default() };
        let compacted = || mixed().into_iter().filter(|(key, _)| *key > revision(5, 0)).collect();
        let dbs = [
            Db { records: mixed(), ..small() },
            Db { records: history(60, 7, 20), backwards: true, per_branch: 4, ..small() },
            Db { records: mixed(), stale: vec![stale_leaf, stale_leaf], freelist: true, ..small() },
            facts(Db { records: compacted(), ..small() }).marks(5, 5),
            Db { records: history(6, 4, 1400), per_leaf: 2, ..small() },
            Db { records: mixed(), inline_key: true, page_size: 4096, ..small() },
            facts(Db { records: history(30, 30, 3), ..small() }).marks(9, 4),
            small(),
        ];
        dbs.iter().map(Db::build).collect()
    })
}

/// A database as the input says: one of the bases, and changes to it.
pub fn damaged_database(input: &mut Input<'_>) -> Vec<u8> {
    let base = &bases()[usize::from(input.byte()) % bases().len()];
    let mut bytes = base.clone();
    for _ in 0..CHANGES {
        if input.is_empty() || bytes.len() < 1024 {
            break;
        }
        change(&mut bytes, input);
    }
    bytes
}

/// Whether these are the bytes of a base, unchanged.
pub fn is_untouched(bytes: &[u8]) -> bool {
    bases().iter().any(|base| base == bytes)
}

fn change(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let named = if bytes.get(24..28) == Some(&4096u32.to_le_bytes()) { 4096 } else { 512 };
    // What was cut off before may leave less than one page.
    let size = named.min(bytes.len());
    let pages = bytes.len() / size;
    let page = input.place(pages) * size;
    match input.byte() % 9 {
        0 => {
            let at = input.place(bytes.len());
            bytes[at] = input.byte();
        }
        // A field of a page's header: id, flags, count, overflow.
        1 => {
            let (at, len) = [(0, 8), (8, 2), (10, 2), (12, 4)][usize::from(input.byte()) % 4];
            write(bytes, page + at, &input.value().to_le_bytes()[..len]);
        }
        // A field of one of its elements.
        2 => {
            let element = usize::from(input.byte() % 8) * 16 + 16;
            write(bytes, page + element + usize::from(input.byte() % 4) * 4, &input.value().to_le_bytes()[..4]);
        }
        3 => {
            let other = input.place(pages) * size;
            for at in 0..size {
                bytes.swap(page + at, other + at);
            }
        }
        4 => {
            let other = input.place(pages) * size;
            bytes.copy_within(page..page + size, other);
        }
        5 => bytes.truncate(page + usize::from(input.byte()) * 2),
        6 => rewrite_meta(bytes, size, input),
        // A value that looks like a bucket's header or an inline page.
        7 => {
            let at = input.place(bytes.len());
            write(bytes, at, &input.value().to_le_bytes());
        }
        _ => {
            let more = input.take(32);
            bytes.extend_from_slice(more);
        }
    }
}

/// Overwrites what is there, and no more.
fn write(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(with) {
        *to = *from;
    }
}

/// A meta page with one field changed and its sum made right.
fn rewrite_meta(bytes: &mut [u8], size: usize, input: &mut Input<'_>) {
    let id = u64::from(input.byte() % 2);
    let at = usize::from(input.byte()) % 4;
    let field = |n: usize| {
        let from = 32 + 8 * n;
        bytes.get(from..from + 8).map_or(0, |field| u64::from_le_bytes(field.try_into().expect("eight bytes")))
    };
    // Root, sequence, freelist, high-water mark, transaction.
    let mut fields = [field(0), field(2), field(3), field(4)];
    fields[at] = input.value();
    let [root, freelist, high_water, txid] = fields;
    let page = meta(id, size, root, freelist, high_water, txid);
    write(bytes, usize::try_from(id).expect("0 or 1") * size, &page);
}
