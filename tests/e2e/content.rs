//! Databases that are damaged though every digest over them is right: sealed and signed by the true keys, each stopped at the
//! level that sees it, and not before.

use std::fs;
use std::process::Command;

use chrono::Utc;
use lifeboat::digest::hex;
use lifeboat_tests::forge::Forgery;
use lifeboat_tests::stock;
use lifeboat_tests::tools;
use lifeboat_tests::world::World;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PAGE: usize = 4096;
const TRAILER: usize = 32;
const LEVELS: [&str; 4] = ["stored", "opened", "sound", "booted"];

struct Content {
    world: World,
    older: String,
    /// The proven backup's database, without its trailer.
    db: Vec<u8>,
}

impl Content {
    fn new() -> Self {
        let world = World::backed_up();
        let older = world.list()[1]["id"].as_str().unwrap().to_owned();
        let opened = world.path("opened");
        stock::open(&world.key("prove.key"), &world.object(&older, "db.zst.age"), &opened);
        let mut db = fs::read(opened).unwrap();
        db.truncate(db.len() - TRAILER);
        Content { world, older, db }
    }

    fn number(&self, at: usize) -> usize {
        u64::from_le_bytes(self.db[at..at + 8].try_into().unwrap()).try_into().unwrap()
    }

    /// The page of the newer meta's root, a leaf whose items are the buckets.
    fn root(&self) -> usize {
        let txid = |page: usize| self.number(page * PAGE + 16 + 48);
        let meta = if txid(0) > txid(1) { 0 } else { 1 };
        self.number(meta * PAGE + 16 + 16) * PAGE
    }

    /// Replaces words by as many bytes in every page that is in use from `from` on.
    fn replace(&mut self, from: usize, old: &[u8], new: &[u8]) {
        assert_eq!(old.len(), new.len());
        let places: Vec<usize> =
            (from..self.db.len() - old.len()).filter(|at| self.db[*at..].starts_with(old)).collect();
        assert!(!places.is_empty(), "{} is not in the database", old.escape_ascii());
        for at in places {
            self.db[at..at + new.len()].copy_from_slice(new);
        }
    }

    /// Seals and signs it with a right trailer, as a newer backup whose other words are the older one's.
    fn put(&self, change: impl FnOnce(&mut Value)) -> String {
        self.put_with(&Sha256::digest(&self.db), change)
    }

    fn put_with(&self, trailer: &[u8], change: impl FnOnce(&mut Value)) -> String {
        let plaintext = [&self.db[..], trailer].concat();
        let file = self.world.path("plaintext");
        fs::write(&file, &plaintext).unwrap();
        let compressed = tools::succeed(Command::new(tools::zstd()).arg("-qc").arg(&file));
        let mut forged = Forgery::of(&self.world, &self.older, Utc::now()).sealing(&compressed);
        forged.manifest["plaintext"]["bytes"] = json!(plaintext.len());
        forged.manifest["plaintext"]["sha256"] = json!(hex(&Sha256::digest(&plaintext)));
        change(&mut forged.manifest);
        forged.put(&self.world.key("backup.sign.key"))
    }

    /// It passes the levels below this one and fails at it with these words, whichever level from there on is asked for; and
    /// the other backup stays what it was.
    #[track_caller]
    fn stops_at(&self, id: &str, level: &str, words: &[&str]) {
        let place = LEVELS.iter().position(|known| *known == level).unwrap();
        for below in &LEVELS[..place] {
            self.world.run(&["prove", id, "--level", below]).expect_code(0);
        }
        for asked in &LEVELS[place..] {
            let failed = self.world.run(&["prove", id, "--level", asked, "--json"]).expect_code(10).json();
            assert_eq!(failed["failed_at"], level, "asked for {asked}: {failed:#}");
            let found = failed["steps"].as_array().unwrap().last().unwrap()["found"].to_string();
            for word in words {
                assert!(found.contains(word), "{word:?} is missing in {found}");
            }
        }
        let target = self.world.path("data");
        let done = self.world.json(&["restore", "--data-dir", target.to_str().unwrap(), "--yes"]);
        assert_eq!(done["plan"]["backup"], self.older);
        fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn a_wrong_trailer_is_stopped_when_it_is_opened() {
    let content = Content::new();
    let id = content.put_with(&[7; TRAILER], |_| {});
    content.stops_at(&id, "opened", &["the snapshot's digest says 0707"]);
}

#[test]
fn a_broken_page_under_a_right_trailer_is_stopped_as_unsound() {
    let mut content = Content::new();
    let root = content.root();
    // The first bucket's page is said to be another one.
    content.db[root] ^= 1;
    let id = content.put(|_| {});
    content.stops_at(&id, "sound", &[&format!("page {}", root / PAGE)]);
    // One that was cut before it was summed.
    let mut cut = Content::new();
    let pages = cut.db.len() / PAGE;
    cut.db.truncate(cut.db.len() - PAGE / 2);
    let id = cut.put(|_| {});
    cut.stops_at(&id, "sound", &[&format!("{} pages", pages)]);
}

#[test]
fn a_missing_bucket_is_stopped_as_unsound() {
    for (bucket, renamed) in [("key", "kez"), ("meta", "metb")] {
        let mut content = Content::new();
        let root = content.root();
        let at = (root..root + PAGE).find(|at| content.db[*at..].starts_with(bucket.as_bytes()));
        let at = at.expect("the bucket stands in the root");
        content.db[at..at + renamed.len()].copy_from_slice(renamed.as_bytes());
        let id = content.put(|_| {});
        content.stops_at(&id, "sound", &[&format!("no bucket called {bucket}")]);
    }
}

#[test]
fn values_that_are_not_the_clusters_are_stopped_by_their_hash() {
    let mut content = Content::new();
    content.replace(0, b"\x12\x06Event", b"\x12\x06EveNT");
    let id = content.put(|_| {});
    content.stops_at(&id, "sound", &["HashKV is", "the manifest says"]);
    // And where the database is right but the cluster had said something else of it.
    let content = Content::new();
    let id = content.put(|manifest| {
        let hash = &mut manifest["db"]["hash_kv"]["hash"];
        *hash = json!(hash.as_u64().unwrap() ^ 1);
    });
    content.stops_at(&id, "sound", &["HashKV is", "the manifest says"]);
}

#[test]
fn what_only_a_real_etcd_refuses_is_stopped_when_it_boots() {
    let mut content = Content::new();
    content.replace(0, b"clusterVersion3.6.0", b"clusterVersion3.x.0");
    let id = content.put(|_| {});
    content.stops_at(&id, "booted", &["etcd ended on the restored data dir"]);
}
