//! The whole line on one etcd: backup, proof, list, restore, and the same cluster again.

use std::path::Path;

use lifeboat_tests::real_etcd::{Etcd, RealEtcd};
use lifeboat_tests::world::keyspace::{self, FILLED, HashKv, Record};
use lifeboat_tests::world::{CLUSTER, World, refs};
use serde_json::{Value, json};

const BUMP: i64 = 1_000_000_000;

#[test]
fn an_etcd_3_5_is_backed_up_proven_and_restored_to_every_key_on_3_5_and_3_6() {
    whole_line(Etcd::V3_5, &[Etcd::V3_5, Etcd::V3_6]);
}

#[test]
fn an_etcd_3_6_is_backed_up_proven_and_restored_to_every_key() {
    whole_line(Etcd::V3_6, &[Etcd::V3_6]);
}

#[test]
fn an_etcd_3_4_is_backed_up_proven_and_restored_to_every_key_on_3_4_and_3_7() {
    whole_line(Etcd::V3_4, &[Etcd::V3_4, Etcd::V3_7]);
}

#[test]
fn an_etcd_3_7_is_backed_up_proven_and_restored_to_every_key() {
    whole_line(Etcd::V3_7, &[Etcd::V3_7]);
}

fn whole_line(from: Etcd, onto: &[Etcd]) {
    let mut world = World::new(from);
    let before = keyspace::records(world.etcd());
    let live = keyspace::hash_kv(world.etcd());
    assert_eq!(before.len() as u64, FILLED);
    assert!(live.compact_revision > 0 && before.iter().any(|record| record.lease != 0));

    let entry = world.backup();
    the_entry_is_right(&entry, from, live);
    let text = world.run(&["list"]).expect_code(0).stdout;
    assert!(text.starts_with(&format!("{CLUSTER}: NOT restorable, none of 1 backups is proven\n")), "{text}");
    let unproven = world.refused(&restore_to(&world.path("never")), 6, "not_usable");
    unproven.says(&["none of the 1 trusted backups is proven", "--allow unproven"]);

    the_proof_boots(&world, &entry, from);
    the_answers_agree(&world, &entry, live);

    world.etcd = None; // the disaster
    for version in onto {
        let plain = world.path(&format!("plain-{}", version.line()));
        let done = world.json(&[restore_to(&plain).as_slice(), &["--no-bump"]].concat());
        assert_eq!((&done["state"], &done["report"]["revision"]), (&json!("restored"), &json!(live.revision)));
        let etcd = RealEtcd::on_data_dir(*version, "m0", &plain);
        assert_eq!(keyspace::records(&etcd), before, "on etcd {}", version.line());
        assert_eq!(keyspace::hash_kv(&etcd), live, "on etcd {}", version.line());
        drop(etcd);

        let bumped = world.path(&format!("bumped-{}", version.line()));
        the_bumped_one_lets_nobody_believe_the_old_world(&world, *version, &bumped, &before, live);
    }
}

fn restore_to(dir: &Path) -> Vec<&str> {
    vec!["restore", "--data-dir", dir.to_str().expect("a plain path"), "--yes"]
}

/// Every field of CLI.md's `list` is there, and those that can be known say what etcd says.
fn the_entry_is_right(entry: &Value, from: Etcd, live: HashKv) {
    let fields = [
        "id",
        "short_id",
        "captured_at",
        "slot",
        "lineage",
        "revision",
        "compact_revision",
        "keys",
        "db_bytes",
        "sealed_bytes",
        "etcd_version",
        "member_id",
        "hash_kv",
        "equality",
        "trust",
        "stores",
        "hold",
        "tombstone",
        "retention",
    ];
    for field in fields {
        assert!(entry.get(field).is_some(), "{field} is missing in {entry:#}");
    }
    let id = entry["id"].as_str().expect("an id");
    assert!(id.len() == 33 && id.ends_with(entry["short_id"].as_str().expect("a short id").trim_end()), "{entry:#}");
    assert_eq!(entry["keys"], FILLED);
    assert_eq!(entry["revision"], live.revision);
    assert_eq!(entry["compact_revision"], live.compact_revision);
    let hash = json!({ "hash": live.hash, "revision": live.revision, "compact_revision": live.compact_revision });
    assert_eq!(entry["hash_kv"], hash, "etcd's own hash");
    assert!(entry["etcd_version"].as_str().is_some_and(|version| version.starts_with(from.line())), "{entry:#}");
    assert_eq!((&entry["trust"], &entry["slot"], &entry["hold"]), (&json!("trusted"), &Value::Null, &Value::Null));
    let (db, sealed) = (entry["db_bytes"].as_u64().unwrap(), entry["sealed_bytes"].as_u64().unwrap());
    assert!(db > 0 && db.is_multiple_of(4096) && sealed > 1000 && sealed < db, "{entry:#}");
    assert_eq!(entry["stores"], json!([{ "name": "main", "present": true, "proof": null }]));
}

fn the_proof_boots(world: &World, entry: &Value, from: Etcd) {
    let proof = world.json(&["prove"]);
    assert_eq!((&proof["id"], &proof["level"], &proof["outcome"]), (&entry["id"], &json!("booted"), &json!("passed")));
    assert!(proof["etcd_version"].as_str().is_some_and(|version| version.starts_with(from.line())), "{proof:#}");
    let steps: Vec<&str> =
        proof["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["stored", "opened", "sound", "restored", "booted", "restarted", "rehearsed"]);
    for step in proof["steps"].as_array().unwrap() {
        assert!(step["took_seconds"].as_f64().is_some_and(|took| took > 0.0) && step["found"] != "", "{step}");
    }
    assert!(!world.path("scratch/proof").exists(), "the plaintext of the proof is gone");
}

fn the_answers_agree(world: &World, entry: &Value, live: HashKv) {
    let id = entry["id"].as_str().unwrap();
    let list = world.json(&["list"]);
    assert_eq!((&list["version"], &list["cluster"]), (&json!(1), &json!(CLUSTER)));
    let listed = &list["backups"][0];
    let proof = &listed["stores"][0]["proof"];
    assert_eq!((&proof["level"], &proof["outcome"]), (&json!("booted"), &json!("passed")));
    let reasons = listed["retention"]["reasons"].as_array().unwrap();
    assert!(reasons.contains(&json!("newest proven")) && listed["retention"]["keep"] == true, "{listed:#}");
    assert_eq!(world.json(&["list", "--state", "unproven"])["backups"], json!([]));
    assert_eq!(world.json(&["ls", "-n", "1", "--state", "proven"])["backups"][0]["id"], id);

    let status = world.json(&["status", "--max-age", "1h"]);
    assert_eq!(status["restorable_at"], entry["captured_at"]);
    assert_eq!(status["proven"]["id"], id);
    assert!(status["measured_restore_seconds"].as_f64().is_some_and(|took| took > 0.0), "{status:#}");
    assert_eq!(status["findings"], json!([]));
    assert!(status["next"]["backup"].as_str().is_some_and(|at| at.ends_with("T03:00:00Z")), "{status:#}");
    let text = world.run(&["status"]).expect_code(0).stdout;
    assert!(
        text.starts_with(&format!("{CLUSTER}: restorable to ")) && text.contains(", booted, restore took "),
        "{text}"
    );

    the_story_and_the_table_tell_it(world, id, live);
}

fn the_story_and_the_table_tell_it(world: &World, id: &str, live: HashKv) {
    let short = id[17..23].to_owned();
    for name in [id, &short, "latest", "latest-proven", &id[..16]] {
        assert_eq!(world.json(&["show", name])["backup"]["manifest"]["id"], id, "by the name {name}");
    }
    let shown = world.run(&["show", "latest"]).expect_code(0).stdout;
    for words in
        [id, "signed by", &live.hash.to_string(), &format!("{FILLED} keys"), "passed at booted", "newest proven"]
    {
        assert!(shown.contains(words), "{words} is missing in:\n{shown}");
    }
    let text = world.run(&["list"]).expect_code(0).stdout;
    for words in ["ID ", "KEPT BECAUSE", &short, "booted, ", "1 of 1 backups"] {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
}

/// Restored with nothing but the store, two public keys and the recovery key.
fn the_bumped_one_lets_nobody_believe_the_old_world(
    world: &World,
    version: Etcd,
    dir: &Path,
    before: &[Record],
    live: HashKv,
) {
    let flags = world.flags();
    let ran = world.run_bare(&[restore_to(dir).as_slice(), &refs(&flags)].concat()).expect_code(0);
    for words in ["PLAN (nothing has been changed)", "the newest, and the newest proven", "so watchers list afresh"] {
        assert!(ran.stderr.contains(words), "{words} is missing in:\n{}", ran.stderr);
    }
    assert!(ran.stdout.starts_with(&format!("RESTORED {CLUSTER} to ")), "{}", ran.stdout);
    assert!(!dir.with_extension("partial").exists());
    let etcd = RealEtcd::on_data_dir(version, "m0", dir);
    assert_eq!(keyspace::records(&etcd), before, "on etcd {}", version.line());
    assert_eq!(keyspace::revision(&etcd), live.revision + BUMP);
    let compacted = keyspace::watch_cancelled_at(&etcd, live.revision - 1).expect("an old watch is cancelled");
    assert!(compacted >= live.revision, "compacted at {compacted}, the backup is of {}", live.revision);
    keyspace::put(&etcd, "/after", "the restored cluster takes writes");
    assert_eq!(keyspace::revision(&etcd), live.revision + BUMP + 1);
}

#[test]
fn given_members_make_one_nodes_data_dir_at_a_time_for_one_and_the_same_cluster() {
    let world = World::backed_up();
    let three = "a=http://127.0.0.1:12380,b=http://127.0.0.1:22380,c=http://127.0.0.1:32380";
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let dir = world.path(name);
        let members = ["--name", name, "--initial-cluster", three, "--initial-cluster-token", "one-for-all"];
        let done = world.json(&[restore_to(&dir).as_slice(), &members].concat());
        assert_eq!(done["plan"]["name"], name);
        assert_eq!(done["plan"]["token"], "one-for-all");
        ids.push(done["plan"]["members"].clone());
        assert!(dir.join("member/snap/db").is_file() && dir.join("member/wal").is_dir());
    }
    assert_eq!(ids[0], ids[1]);
    let stranger = ["--name", "d", "--initial-cluster", three];
    let refused = world.refused(&[restore_to(&world.path("d")).as_slice(), &stranger].concat(), 2, "usage");
    assert!(refused.text().contains("--initial-cluster"), "{}", refused.text());
}
