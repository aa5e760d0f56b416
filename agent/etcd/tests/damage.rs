//! Damage of every kind to small databases: each is found, or changes HashKV, or provably touched nothing that counts.

// Each test crate uses its own part of these.
#[path = "support/anatomy.rs"]
mod anatomy;
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[allow(dead_code)]
#[path = "support/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "support/vectors.rs"]
mod vectors;

#[path = "damage/bytes.rs"]
mod bytes;
#[path = "damage/pages.rs"]
mod pages;

// Tests ask the environment and the clock.
#[allow(clippy::disallowed_methods)]
mod outside {
    /// Whether to be thorough rather than quick.
    pub fn full() -> bool {
        std::env::var_os("LIFEBOAT_FULL").is_some()
    }

    pub fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}

use std::time::Duration;

use anatomy::{Anatomy, Part, anatomy};
use builder::{Db, Items, header, leaf, put, revision, varint};
use etcdfile::{CheckError, NoSpill, Report, check_file};
use model::{Change, Model};

/// A database with its report and the use of its bytes.
struct Sound {
    bytes: Vec<u8>,
    report: Report,
    map: Anatomy,
}

impl Sound {
    fn new(bytes: Vec<u8>) -> Sound {
        let report = check_file(bytes.as_slice(), NoSpill, 1 << 20).unwrap();
        assert_eq!(report.findings, []);
        let map = anatomy(&bytes);
        Sound { bytes, report, map }
    }

    fn page(&self, id: usize) -> &[u8] {
        &self.bytes[id * self.map.page_bytes..][..self.map.page_bytes]
    }

    /// Whether bytes in the place of a page agree with it where that is in use.
    fn agrees(&self, id: usize, with: &[u8]) -> bool {
        let parts = &self.map.parts[id * self.map.page_bytes..];
        let pairs = self.page(id).iter().zip(with).zip(parts);
        pairs.into_iter().all(|((own, other), part)| own == other || matches!(part, Part::Free | Part::Slack))
    }

    fn pages(&self) -> usize {
        self.bytes.len() / self.map.page_bytes
    }
}

/// How damage showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noticed {
    /// By a finding, or because it is no database any more.
    Found,
    /// By another HashKV than the undamaged database has: what live members answered tells it.
    Hash,
    /// By something else in the report.
    Report,
    Nothing,
}

/// Checks damaged bytes, in bounded time.
fn notice(before: &Report, damaged: &[u8]) -> Noticed {
    let start = outside::now();
    let checked = check_file(damaged, NoSpill, 1 << 20);
    assert!(start.elapsed() < Duration::from_secs(10));
    match checked {
        Err(CheckError::NoMeta { .. }) => Noticed::Found,
        Err(error) => panic!("{error}"),
        Ok(report) if !report.sound() => {
            assert_eq!(report.hash_kv, None);
            Noticed::Found
        }
        Ok(report) if report.hash_kv != before.hash_kv => Noticed::Hash,
        Ok(report) if report != *before => Noticed::Report,
        Ok(_) => Noticed::Nothing,
    }
}

/// Changes of all kinds, compacted, with a value of several pages.
fn varied_history(variant: u8) -> Model {
    let mut model = Model::new();
    let put = |key: u64, bytes: usize, lease: i64| {
        let value = vec![variant ^ key as u8; bytes];
        Change::Put { key: format!("key/{key}"), value, lease }
    };
    model.leases.extend([7, 1 << 40]);
    for n in 0..24 {
        model.txn(&[put(n % 9, n as usize, if n % 5 == 0 { 7 } else { 0 })]);
    }
    model.txn(&[put(1, 3, 0), put(2, 0, 1 << 40), Change::Delete { key: "key/3".to_owned() }, put(90, 1, 0)]);
    model.txn(&[Change::Delete { key: "key/4".to_owned() }]);
    model.txn(&[put(5, 1300, 0)]);
    model.compacted = 20;
    for n in 30..36 {
        model.txn(&[put(n % 4, 9, 0)]);
    }
    model
}

fn text(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

/// A page freed long ago that still looks alive.
fn stale_leaf(id: u64, size: usize) -> Vec<u8> {
    let mut page = leaf(id, &[put(2, 0, "stale", 2, 1, b"value", 0)], false, size);
    page.resize(size, 0xaa);
    page
}

/// One that claims pages behind it.
fn stale_claim(id: u64, size: usize) -> Vec<u8> {
    let mut page = header(id, 2, 3, 2);
    page.resize(size, 1);
    page
}

/// Small pages, so that little data has all shapes: three levels, pages that span several, buckets inline and not,
/// free pages in between, numbers that go down.
fn varied(variant: u8, freelist: bool) -> Vec<u8> {
    let model = varied_history(variant);
    let records: Items = model.records_left(true).iter().map(|record| record.stored.clone()).collect();
    let mark = revision(model.compacted, 0);
    let meta = vec![
        text("confState", r#"{"voters":[1],"auto_leave":false}"#),
        (b"consistent_index".to_vec(), 77u64.to_be_bytes().to_vec()),
        (b"finishedCompactRev".to_vec(), mark.clone()),
        (b"scheduledCompactRev".to_vec(), mark),
        text("storageVersion", "3.6.0"),
        (b"term".to_vec(), 3u64.to_be_bytes().to_vec()),
    ];
    let members = vec![
        text("1f", r#"{"id":31,"peerURLs":["http://a:1"],"name":"one","clientURLs":["http://a:2"]}"#),
        text("a", r#"{"id":10,"peerURLs":["http://b:1","http://c:1"],"isLearner":true}"#),
    ];
    let lease = |id: &i64| (id.to_be_bytes().to_vec(), [&[8], &varint(*id as u64)[..], &[16, 60]].concat());
    let users = (0..9).map(|n| text(&format!("user{n}"), &format!("\n\u{5}user{n}a hash of a password")));
    let stale: Vec<fn(u64, usize) -> Vec<u8>> = vec![stale_leaf, stale_claim];
    let db =
        Db { page_size: 512, records, per_leaf: 4, per_branch: 3, backwards: true, stale, freelist, ..Db::default() };
    db.bucket("meta", meta)
        .bucket("members", members)
        .bucket("lease", model.leases.iter().map(lease).collect())
        .bucket("cluster", vec![text("clusterVersion", "3.6.0")])
        .bucket("auth", vec![(b"authEnabled".to_vec(), vec![1])])
        .bucket("authUsers", users.collect())
        .build()
}

/// A database by a real server, without its trailer.
fn real(name: &str) -> Vec<u8> {
    let mut snapshot = vectors::vector(name).snapshot;
    snapshot.truncate(snapshot.len() - 32);
    snapshot
}
