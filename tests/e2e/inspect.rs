//! `lifeboat inspect`: held against the live etcd and etcd's own tool, on whole files and on damaged ones.

use std::path::Path;

use lifeboat_tests::real_etcd::{Etcd, RealEtcd, etcdutl};
use lifeboat_tests::world::keyspace::{self, FILLED};
use lifeboat_tests::world::{World, flip};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A world with a full etcd, and a snapshot of it.
fn saved(version: Etcd) -> World {
    let world = World::new(version);
    world.etcd().etcdctl(&["snapshot", "save", text(&world.path("snapshot.db"))]);
    world
}

fn inspect(world: &World, arguments: &[&str]) -> Value {
    world.run_bare(&[&["inspect"], arguments, &["--json"]].concat()).expect_code(0).json()
}

/// etcd's own ids, in hex as it prints them: of the cluster and of the first member.
fn ids(etcd: &RealEtcd) -> (String, String) {
    let said: Value =
        serde_json::from_str(&etcd.etcdctl(&["endpoint", "status", "--write-out", "json"])).expect("JSON");
    let id = |name: &str| format!("{:x}", said[0]["Status"]["header"][name].as_u64().expect("an id"));
    (id("cluster_id"), id("member_id"))
}

#[test]
fn a_snapshot_is_told_as_the_live_etcd_and_etcds_own_tool_tell_it() {
    for version in Etcd::ALL {
        let world = saved(version);
        let (snapshot, live) = (world.path("snapshot.db"), keyspace::hash_kv(world.etcd()));
        let told = inspect(&world, &[text(&snapshot)]);
        assert_eq!((&told["version"], &told["kind"], &told["sound"]), (&json!(1), &json!("snapshot"), &json!(true)));
        let hash = json!({ "hash": live.hash, "revision": live.revision, "compact_revision": live.compact_revision });
        assert_eq!(told["hash_kv"], hash, "etcd {}", version.line());
        assert_eq!((&told["revision"], &told["keys"]), (&json!(live.revision), &json!(FILLED)));
        assert_eq!((&told["leases"], &told["dangling_leases"], &told["alarms"]), (&json!(1), &json!(0), &json!(0)));
        let (cluster, member) = ids(world.etcd());
        assert_eq!((&told["cluster_id"], &told["members"][0]["id"]), (&json!(cluster), &json!(member)));
        assert!(told["cluster_version"].as_str().is_some_and(|said| said.starts_with(version.line())), "{told:#}");

        let status: Value =
            serde_json::from_str(&etcdutl(version, &["snapshot", "status", text(&snapshot), "-w", "json"])).unwrap();
        assert_eq!(told["status_hash"], status["hash"], "etcd {}", version.line());
        assert_eq!(told["revision"], status["revision"]);

        // Every revision from the compaction on, as the live member answers it.
        for revision in [live.compact_revision + 1, live.revision - 2] {
            let asked = ["--rev", &revision.to_string()];
            let answer = world.etcd().etcdctl(&[&["endpoint", "hashkv", "-w", "json"], &asked[..]].concat());
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            let told = inspect(&world, &[text(&snapshot), "--hash-revision", &revision.to_string()]);
            assert_eq!(told["hash_kv"]["hash"], answer[0]["HashKV"]["hash"], "etcd {} at {revision}", version.line());
        }
        let shown = world.run_bare(&["inspect", text(&snapshot)]).expect_code(0).stdout;
        for words in ["a snapshot with its digest, sound", &live.hash.to_string(), "m0 ", &format!("{FILLED} alive")] {
            assert!(shown.contains(words), "{words} is missing in:\n{shown}");
        }
    }
}

#[test]
fn a_sealed_backup_and_a_members_own_file_tell_the_same_as_the_snapshot() {
    let mut world = saved(Etcd::V3_6);
    let whole = inspect(&world, &[text(&world.path("snapshot.db"))]);
    let id = world.backup()["id"].as_str().expect("an id").to_owned();
    let sealed = world.object(&id, "db.zst.age");
    let told = inspect(&world, &[text(&sealed), "--identity", text(&world.key("recovery.key"))]);
    assert_eq!((&told["kind"], &told["hash_kv"], &told["keys"]), (&json!("sealed"), &whole["hash_kv"], &whole["keys"]));
    let key = std::fs::read(world.key("prove.key")).unwrap();
    let piped = world.lifeboat(&["inspect", text(&sealed), "--identity", "-", "--json"]).stdin(key);
    assert_eq!(world.checked(piped.run()).expect_code(0).json()["hash_kv"], whole["hash_kv"]);
    world.refused_bare(&["inspect", text(&sealed)], 9, "key_wrong").says(&["is sealed", "--identity"]);
    let stranger = world.path("stranger");
    let strange = stranger.join("recovery.key");
    world.run_bare(&["keygen", "--role", "recovery", "--out", text(&stranger)]).expect_code(0);
    let wrong = ["inspect", text(&sealed), "--identity", text(&strange)];
    world.refused_bare(&wrong, 9, "key_wrong").says(&["no key in", "opens"]);

    let etcd = world.etcd.as_mut().expect("this world has an etcd");
    let db = etcd.data_dir().join("member/snap/db");
    let live = world.run_bare(&["inspect", text(&db), "--json"]).json();
    assert_eq!(live["in_use"], true, "{live:#}");
    world.etcd.as_mut().expect("this world has an etcd").stop();
    let bare = inspect(&world, &[text(&db)]);
    assert_eq!(
        (&bare["kind"], &bare["in_use"], &bare["hash_kv"]),
        (&json!("bare_db"), &json!(false), &whole["hash_kv"])
    );
    assert!(bare["beyond_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "a live file grows ahead: {bare:#}");
}

#[test]
fn damage_is_code_8_with_the_page_and_the_place_of_each_finding() {
    let world = saved(Etcd::V3_5);
    let snapshot = world.path("snapshot.db");
    let whole = std::fs::read(&snapshot).unwrap();
    let damaged = |what: &str| {
        let told = world.run_bare(&["inspect", text(&snapshot), "--json"]).expect_code(8).json();
        assert_eq!(told["sound"], false, "{what}");
        assert!(!told["findings"].as_array().unwrap().is_empty(), "{what}: {told:#}");
        told
    };
    // A byte of some value: the digest notices.
    flip(&snapshot, i64::try_from(whole.len()).unwrap() - 4096 * 2 - 100);
    let told = damaged("a flipped byte");
    let said = |told: &Value| told["findings"].to_string();
    assert!(said(&told).contains("the snapshot's digest says"), "{told:#}");
    // A page overwritten by another, under a digest that matches.
    let mut spliced = whole[..whole.len() - 32].to_vec();
    spliced.copy_within(4096 * 4..4096 * 5, 4096 * 5);
    std::fs::write(&snapshot, &spliced).unwrap();
    let told = damaged("a page in another's place");
    assert!(
        told["findings"][0]["page"].as_u64().is_some() && told["findings"][0]["offset"].as_u64().is_some(),
        "{told:#}"
    );
    std::fs::write(&snapshot, &whole[..whole.len() - 5000]).unwrap();
    damaged("a cut");
    let shown = world.run_bare(&["inspect", text(&snapshot)]).expect_code(8);
    assert!(shown.stdout.contains("NOT sound") && shown.stdout.contains("FINDING"), "{shown:?}");
    assert!(shown.stderr.contains("is not sound") && shown.stderr.contains("next: use another copy"), "{shown:?}");
}

#[test]
fn what_is_no_snapshot_is_told_by_what_it_is() {
    let world = World::backed_up();
    let made = |name: &str, bytes: &[u8]| {
        std::fs::write(world.path(name), bytes).unwrap();
        world.path(name).display().to_string()
    };
    let noise = made("noise", &[7; 10_000]);
    world.refused_bare(&["inspect", &noise], 8, "damaged").says(&["no etcd database", "member/snap/db"]);
    let empty = made("empty", b"");
    world.refused_bare(&["inspect", &empty], 8, "damaged").says(&["no etcd database"]);
    let squeezed = made("x.zst", &[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0]);
    world.refused_bare(&["inspect", &squeezed], 2, "usage").says(&["is no plain snapshot", "zstd -d"]);
    world.refused_bare(&["inspect", text(&world.path("keys"))], 2, "usage").says(&["is a directory", "member/snap/db"]);
    world.refused_bare(&["inspect", text(&world.path("gone"))], 2, "usage").says(&["does not exist"]);
}

#[test]
fn a_hash_that_the_file_cannot_tell_is_refused_with_the_reason() {
    let world = saved(Etcd::V3_6);
    let snapshot = world.path("snapshot.db");
    let ran = world.run_bare(&["inspect", text(&snapshot), "--hash-revision", "99999999", "--json"]).expect_code(2);
    assert_eq!(ran.json()["hash_kv"], Value::Null);
    assert!(ran.json()["hash_kv_because"].as_str().is_some_and(|why| why.contains("it goes up to")), "{ran:?}");
    assert!(ran.stderr.contains("next: ask at or below the revision shown"), "{ran:?}");
    let before = ["inspect", text(&snapshot), "--hash-revision", "30", "--hash-compact-revision", "-1"];
    assert!(world.run_bare(&before).expect_code(2).stderr.contains("compacted at"));
}
