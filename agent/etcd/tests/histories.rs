//! Random histories, applied to a real etcd and to a model of it: both, and the check of a snapshot in any chunks, say
//! the same of every revision.
//!
//! A failure names its seed; `LIFEBOAT_SEED=N` runs that history alone. `LIFEBOAT_FULL=1` runs many.

// Tests ask the environment.
#![allow(clippy::disallowed_methods)]

// Each test crate uses its own part of these.
#[allow(dead_code)]
#[path = "support/builder.rs"]
mod builder;
#[allow(dead_code)]
#[path = "support/etcd.rs"]
mod etcd;
#[allow(dead_code)]
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/model.rs"]
mod model;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use etcd::{Server, free_url};
use etcdfile::{Checked, Database, FileSpill, HashKv, Report, StreamCheck, Trailed, check_file};
use model::{Change, Model};
use serde_json::{Value, json};

/// Random numbers that the seed alone decides (SplitMix64).
struct Random {
    seed: u64,
    state: u64,
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this history is the one of LIFEBOAT_SEED={}", self.seed);
        }
    }
}

impl Random {
    fn new(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn within(&mut self, range: Range<i64>) -> i64 {
        range.start + self.below(range.end.abs_diff(range.start)) as i64
    }

    fn key(&mut self) -> String {
        format!("{}/{:02}", ["a", "b", "longer/prefix"][self.below(3) as usize], self.below(14))
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.below(20) {
            0 => 0,
            1 => 4096 + self.below(9000),
            2..=5 => 100 + self.below(900),
            _ => 1 + self.below(20),
        };
        (0..bytes).map(|_| self.next() as u8).collect()
    }
}

/// A real server, the model of it, and what was done to both.
struct History {
    server: Server,
    model: Model,
    random: Random,
    compactions: BTreeSet<i64>,
    next_lease: i64,
}

fn request(change: &Change) -> Value {
    match change {
        Change::Put { key, value, lease } => gateway::put(key, value, *lease),
        Change::Delete { key } => gateway::delete(key),
        Change::DeletePrefix { prefix } => gateway::delete_prefix(prefix),
    }
}

impl History {
    fn lease(&mut self) -> i64 {
        let leases: Vec<i64> = self.model.leases.iter().copied().collect();
        let none = leases.is_empty() || self.random.below(5) > 0;
        if none { 0 } else { leases[self.random.below(leases.len() as u64) as usize] }
    }

    /// Changes of one transaction, each of another key, as the API demands.
    fn changes(&mut self) -> Vec<Change> {
        let many = match self.random.below(10) {
            0 => 40,
            1..=4 => 6,
            _ => 1,
        };
        let mut keys = BTreeSet::new();
        let mut changes = Vec::new();
        for _ in 0..=self.random.below(many) {
            let key = self.random.key();
            if !keys.insert(key.clone()) {
                continue;
            }
            changes.push(match self.random.below(4) {
                0 => Change::Delete { key },
                _ => Change::Put { key, value: self.random.value(), lease: self.lease() },
            });
        }
        changes
    }

    fn txn(&mut self, changes: &[Change]) {
        self.model.txn(changes);
        let requests: Vec<Value> = changes.iter().map(request).collect();
        assert_eq!(self.server.txn(&requests), self.model.revision, "{changes:?}");
    }

    /// One key put and deleted in one revision, which takes two transactions within one.
    fn put_and_delete(&mut self) {
        let (key, value) = (self.random.key(), self.random.value());
        let both = [Change::Put { key: key.clone(), value, lease: 0 }, Change::Delete { key }];
        self.model.txn(&both);
        let inner = both.iter().map(|change| json!({ "requestTxn": { "success": [request(change)] } }));
        assert_eq!(self.server.txn(&inner.collect::<Vec<Value>>()), self.model.revision);
    }

    fn delete_prefix(&mut self) {
        let prefix = ["a/0", "b/", "longer/", "a/", "none"][self.random.below(5) as usize].to_owned();
        self.txn(&[Change::DeletePrefix { prefix }]);
    }

    fn delete_all(&mut self) {
        let prefixes = ["a/", "b/", "longer/"].map(|prefix| Change::DeletePrefix { prefix: prefix.to_owned() });
        self.txn(&prefixes);
    }

    fn lease_comes_or_goes(&mut self) {
        if self.random.below(3) > 0 || self.model.leases.is_empty() {
            self.next_lease += 1 + self.random.below(1 << 40) as i64;
            self.model.leases.insert(self.next_lease);
            self.server.post("lease/grant", &json!({ "ID": self.next_lease.to_string(), "TTL": "36000" }));
            return;
        }
        let leases: Vec<i64> = self.model.leases.iter().copied().collect();
        let lease = leases[self.random.below(leases.len() as u64) as usize];
        self.model.revoke(lease);
        self.server.post("lease/revoke", &json!({ "ID": lease.to_string() }));
        assert_eq!(self.server.revision(), self.model.revision);
    }

    fn compact(&mut self) {
        let from = self.model.compacted.max(0) + 1;
        if from <= self.model.revision {
            let at = self.random.within(from..self.model.revision + 1);
            self.server.compact(at);
            self.model.compacted = at;
            self.compactions.insert(at);
        }
    }

    /// Asks the server for HashKV at some revision.
    fn ask(&mut self) {
        let own = (u64::from(self.model.hash_kv(self.model.revision, self.model.compacted)), self.model.compacted);
        assert_eq!(self.server.hash_kv(0), own, "at revision {}", self.model.revision);
        let at = self.random.within(self.model.compacted.max(0) + 1..self.model.revision + 2).min(self.model.revision);
        // At a compaction's revision servers answer from a cache, and for another compaction.
        if at > self.model.compacted && !self.compactions.contains(&at) {
            let own = (u64::from(self.model.hash_kv(at, self.model.compacted)), self.model.compacted);
            assert_eq!(self.server.hash_kv(at), own, "at revision {at}");
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=59 => {
                let changes = self.changes();
                self.txn(&changes);
            }
            60..=64 => self.put_and_delete(),
            65..=69 => self.delete_prefix(),
            70 => self.delete_all(),
            71..=79 => self.lease_comes_or_goes(),
            80..=84 => self.compact(),
            _ => self.ask(),
        }
    }

    fn stream(&mut self, snapshot: &[u8]) -> Checked<FileSpill> {
        let budget = [0, 500, 5_000, 50_000, 5_000_000][self.random.below(5) as usize];
        let mut check = StreamCheck::new(FileSpill::new(tempfile::tempfile().unwrap()), budget);
        let mut trailed = Trailed::new();
        let mut rest = snapshot;
        let largest = [7, 600, 5_000, 200_000][self.random.below(4) as usize];
        while !rest.is_empty() {
            let (now, later) = rest.split_at((1 + self.random.below(largest) as usize).min(rest.len()));
            trailed.push(now, |bytes| check.feed(bytes).unwrap());
            rest = later;
        }
        trailed.finish().unwrap();
        check.into_checked().unwrap()
    }

    fn compare_report(&self, report: &Report) {
        let model = &self.model;
        assert_eq!(report.findings, []);
        assert_eq!((report.revision, report.compact_revision), (model.revision, model.compacted));
        assert_eq!((report.keys, report.leases), (model.keys(), model.leases.len() as u64));
        let left = model.records_left(self.server.version != "3.4");
        let deletions = left.iter().filter(|record| record.tombstone).count();
        assert_eq!((report.records, report.tombstones), (left.len() as u64, deletions as u64));
        assert_eq!((report.dangling_leases, report.alarms), (0, 0));
        let hash = model.hash_kv(model.revision, model.compacted);
        let now = HashKv { hash, revision: model.revision, compact_revision: model.compacted };
        assert_eq!(report.hash_kv, Some(now));
    }

    /// Takes a snapshot and compares all that is said of it.
    fn snapshot(&mut self, dir: &Path) {
        self.ask();
        let file = dir.join(format!("{}.db", self.model.records.len()));
        self.server.save(&file);
        let snapshot = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let spill = FileSpill::new(tempfile::tempfile().unwrap());
        let whole = check_file(snapshot.as_slice(), spill, 1 << 20).unwrap();
        self.compare_report(&whole);
        let read = Database::open(snapshot.as_slice()).unwrap();
        assert_eq!((read.revision(), read.compact_revision()), (whole.revision, whole.compact_revision));
        for _ in 0..3 {
            let checked = self.stream(&snapshot);
            assert_eq!(*checked.report(), whole);
            self.compare_answers(&checked, &read);
        }
    }

    /// Any revision, and any compaction that a member may have done since.
    fn compare_answers(&mut self, checked: &Checked<FileSpill>, read: &Database<'_, [u8]>) {
        let own = self.model.compacted;
        for _ in 0..8 {
            let revision = self.random.within(own.max(1)..self.model.revision + 1);
            let later = self.random.within(own.max(1)..revision + 1);
            for compact_revision in [own, later] {
                let hash = self.model.hash_kv(revision, compact_revision);
                let expected = HashKv { hash, revision, compact_revision };
                assert_eq!(checked.hash_kv(revision, compact_revision).unwrap(), Ok(expected));
                assert_eq!(read.hash_kv(revision, compact_revision).unwrap(), Ok(expected), "in two passes");
            }
        }
    }
}

fn live_through(version: &'static str, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(version, "m1", &dir.path().join("data"), &free_url());
    let (model, compactions) = (Model::new(), BTreeSet::new());
    let mut history = History { server, model, random: Random::new(seed), compactions, next_lease: 0 };
    for _ in 0..3 {
        (0..50).for_each(|_| history.step());
        history.snapshot(dir.path());
    }
    assert!(history.model.records.len() > 100);
    history.server.stop();
}

fn live_through_many(version: &'static str) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match (number("LIFEBOAT_SEED"), number("LIFEBOAT_FULL")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(_)) => 0..60,
        (None, None) => 0..6,
    };
    seeds.for_each(|seed| live_through(version, seed));
}

#[test]
fn etcd_3_4_the_model_and_the_check_agree_on_random_histories() {
    live_through_many("3.4");
}

#[test]
fn etcd_3_5_the_model_and_the_check_agree_on_random_histories() {
    live_through_many("3.5");
}

#[test]
fn etcd_3_6_the_model_and_the_check_agree_on_random_histories() {
    live_through_many("3.6");
}

#[test]
fn etcd_3_7_the_model_and_the_check_agree_on_random_histories() {
    live_through_many("3.7");
}
