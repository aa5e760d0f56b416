//! `lifeboat restore --from FILE`: a plain snapshot, or a dead member's database, becomes a data dir.

use std::path::Path;
use std::process::Command;

use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::tools;
use lifeboat_tests::world::{World, flip, keyspace};
use serde_json::{Value, json};

const CONSENT: [&str; 3] = ["--yes", "--allow", "unverified"];

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn restore(world: &World, from: &Path, dir: &Path, more: &[&str]) -> Value {
    let words = ["restore", "--from", text(from), "--data-dir", text(dir), "--json"];
    world.run_bare(&[&words[..], &CONSENT, more].concat()).expect_code(0).json()
}

#[test]
fn a_plain_snapshot_and_a_dead_members_database_give_back_every_key() {
    for version in Etcd::ALL {
        let mut world = World::new(version);
        let snapshot = world.path("snapshot.db");
        world.etcd().etcdctl(&["snapshot", "save", text(&snapshot)]);
        let before = keyspace::records(world.etcd());
        let live = keyspace::hash_kv(world.etcd());
        let db = world.etcd().data_dir().join("member/snap/db");
        world.etcd.as_mut().expect("this world has an etcd").stop();
        for (name, from, more) in [
            ("from-snapshot", &snapshot, &["--no-bump"][..]),
            ("from-database", &db, &[]),
            ("compacted", &snapshot, &["--compact-file", "--etcd-version", version.line()]),
        ] {
            let dir = world.path(name);
            let done = restore(&world, from, &dir, more);
            assert_eq!((&done["state"], &done["report"]["keys"]), (&json!("restored"), &json!(before.len())));
            let etcd = RealEtcd::on_data_dir(version, "m0", &dir);
            assert_eq!(keyspace::records(&etcd), before, "{name} on etcd {}", version.line());
            if more.contains(&"--no-bump") {
                assert_eq!(keyspace::hash_kv(&etcd), live);
            }
            keyspace::put(&etcd, "/after", "it takes writes");
        }
        let free = |path: &Path| {
            let told = world.run_bare(&["inspect", text(path), "--json"]).expect_code(0).json();
            (told["free_bytes"].as_u64().unwrap(), told["status_hash"].clone(), told["records"].clone())
        };
        // The file compacted and the one not compacted, before any etcd touched them.
        let (plain, anew) = (world.path("plain"), world.path("anew"));
        let token = ["--initial-cluster-token", "the-same"];
        restore(&world, &snapshot, &plain, &token);
        restore(&world, &snapshot, &anew, &[&token[..], &["--compact-file"]].concat());
        let (plain, anew) = (free(&plain.join("member/snap/db")), free(&anew.join("member/snap/db")));
        assert!(plain.0 > 0 && anew.0 == 0, "{plain:?} {anew:?}");
        assert_eq!((plain.1, plain.2), (anew.1, anew.2), "the same content");
    }
}

#[test]
fn three_nodes_each_restored_by_one_command_are_one_cluster_again() {
    for version in [Etcd::V3_5, Etcd::V3_7] {
        let etcd = RealEtcd::start(version, Options { members: 3, ..Options::default() });
        let mut world = World::around(Some(etcd), None);
        keyspace::fill(world.etcd());
        let before = keyspace::records(world.etcd());
        let snapshot = world.path("snapshot.db");
        let first = world.etcd().endpoint();
        let saved = std::process::Command::new(version.etcdctl())
            .args(["--endpoints", &first, "snapshot", "save", text(&snapshot)])
            .output();
        assert!(saved.expect("etcdctl starts").status.success());
        world.etcd.as_mut().expect("this world has an etcd").stop();
        let told = world.run_bare(&["inspect", text(&snapshot), "--json"]).expect_code(0).json();
        let member = |member: &Value| {
            format!("{}={}", member["name"].as_str().unwrap(), member["peer_urls"][0].as_str().unwrap())
        };
        let members: Vec<String> = told["members"].as_array().unwrap().iter().map(member).collect();
        let cluster = members.join(",");
        for number in 0..3 {
            let (name, dir) = (format!("m{number}"), world.etcd().member_data_dir(number));
            std::fs::rename(&dir, dir.with_extension("lost")).expect("the old world is moved aside");
            let own = members.iter().find_map(|member| member.strip_prefix(&format!("{name}="))).expect("a member");
            let words = [
                "--name",
                &name,
                "--initial-cluster",
                &cluster,
                "--initial-cluster-token",
                "again",
                "--initial-advertise-peer-urls",
                own,
            ];
            restore(&world, &snapshot, &dir, &words);
        }
        world.etcd.as_mut().expect("this world has an etcd").restart();
        assert_eq!(keyspace::records(world.etcd()), before, "on etcd {}", version.line());
        let said = world.etcd().etcdctl(&["endpoint", "hashkv", "--write-out", "json"]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let hashes: Vec<&Value> = said.as_array().unwrap().iter().map(|one| &one["HashKV"]["hash"]).collect();
        assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{said:#}");
    }
}

#[test]
fn a_file_is_restored_only_knowingly_and_only_for_an_etcd_that_starts_from_it() {
    let mut world = World::new(Etcd::V3_7);
    let snapshot = world.path("snapshot.db");
    world.etcd().etcdctl(&["snapshot", "save", text(&snapshot)]);
    let dir = world.path("data");
    let words = ["restore", "--from", text(&snapshot), "--data-dir", text(&dir)];
    world
        .refused_bare(&[&words[..], &["--yes"]].concat(), 7, "consent_missing")
        .says(&["no signature", "--allow unverified"]);
    let older = [&words[..], &CONSENT, &["--etcd-version", "3.6"]].concat();
    world.refused_bare(&older, 6, "not_usable").says(&["etcd 3.6 does not start from", "3.7.0", "nothing was changed"]);
    let plan = world.run_bare(&[&words[..], &["--dry-run", "--json"]].concat()).expect_code(0).json();
    assert_eq!((&plan["state"], &plan["plan"]["oldest_etcd"]), (&json!("planned"), &json!("3.7")));
    let db = world.etcd().data_dir().join("member/snap/db");
    let live = ["restore", "--from", text(&db), "--data-dir", text(&dir)];
    world.refused_bare(&[&live[..], &CONSENT].concat(), 6, "not_usable").says(&["an etcd runs on", "stop it first"]);
    let id = world.backup()["id"].as_str().expect("an id").to_owned();
    let sealed = world.object(&id, "db.zst.age");
    let sealed = ["restore", "--from", text(&sealed), "--data-dir", text(&dir)];
    world.refused_bare(&[&sealed[..], &CONSENT].concat(), 2, "usage").says(&["sealed backup by itself", "--store"]);
    let both = [&words[..], &["--store", "file:///nowhere"]].concat();
    assert!(world.run_bare(&both).expect_code(2).stderr.contains("cannot be used with"));
    // A stored backup is held to the same rule.
    let stored =
        ["restore", "latest", "--data-dir", text(&dir), "--allow", "unproven", "--yes", "--etcd-version", "3.6"];
    world.refused(&stored, 6, "not_usable").says(&["etcd 3.6 does not start from"]);
    world.etcd.as_mut().expect("this world has an etcd").stop();
    let bytes = std::fs::read(&snapshot).unwrap();
    std::fs::write(&snapshot, &bytes[..bytes.len() - 9000]).unwrap();
    world.refused_bare(&[&words[..], &CONSENT].concat(), 8, "damaged").says(&["cannot be restored"]);
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 5000] ^= 1;
    std::fs::write(&snapshot, &flipped).unwrap();
    world.refused_bare(&[&words[..], &CONSENT].concat(), 8, "damaged").says(&[
        "is not what etcd sent",
        "lifeboat inspect FILE",
        "use another copy",
    ]);
    assert!(!dir.exists() && !world.path("data.partial").exists(), "nothing half done is left");
}

#[test]
fn a_learner_is_left_out_and_named_and_the_voter_starts_alone() {
    let mut world = World::new(Etcd::V3_6);
    world.etcd().etcdctl(&["member", "add", "later", "--learner", "--peer-urls=http://127.0.0.1:9"]);
    let snapshot = world.path("snapshot.db");
    world.etcd().etcdctl(&["snapshot", "save", text(&snapshot)]);
    let before = keyspace::records(world.etcd());
    world.etcd.as_mut().expect("this world has an etcd").stop();
    let done = restore(&world, &snapshot, &world.path("data"), &[]);
    assert_eq!(done["plan"]["learners_left_out"], json!(["http://127.0.0.1:9"]), "it never started, so it has no name");
    assert_eq!(done["plan"]["members"].as_array().map(Vec::len), Some(1));
    let etcd = RealEtcd::on_data_dir(Etcd::V3_6, "m0", &world.path("data"));
    assert_eq!(keyspace::records(&etcd), before);
    assert!(!etcd.etcdctl(&["member", "list"]).contains("127.0.0.1:9,"));
}

/// What somebody carried out of the building on a stick: the folder of one backup, and nothing around it.
#[test]
fn one_backups_folder_is_enough() {
    let world = World::backed_up();
    let id = world.list()[1]["id"].as_str().unwrap().to_owned();
    let folder = world.path("stick");
    let sealed = world.object(&id, "db.zst.age");
    tools::succeed(Command::new("cp").arg("-r").arg(sealed.parent().unwrap()).arg(&folder));
    std::fs::rename(world.folder(), world.path("gone")).unwrap();
    let flags = world.flags();
    let at = flags.iter().position(|flag| flag == "--store").expect("the store is among the flags");
    let keys: Vec<&str> =
        flags.iter().enumerate().filter(|(n, _)| *n != at && *n != at + 1).map(|(_, f)| f.as_str()).collect();
    let dir = world.path("data");
    let restore = [&["restore", "--from", text(&folder), "--data-dir", text(&dir), "--yes"], &keys[..]].concat();
    world.refused_bare(&restore, 7, "consent_missing").says(&["unproven", "--allow unproven"]);
    let done = world.run_bare(&[&restore[..], &["--allow", "unproven", "--json"]].concat()).expect_code(0);
    let done = done.json();
    assert_eq!(done["plan"]["backup"], id.as_str());
    // What another node would be told works with the folder too, and not with a file that nobody signed.
    let plan = done["plan"]["plan"].as_str().expect("a plan");
    let elsewhere = world.path("elsewhere");
    let again =
        ["restore", "--from", text(&folder), "--data-dir", text(&elsewhere), "--plan", plan, "--dry-run", "--json"];
    let again = world.run_bare(&[&again[..], &keys[..]].concat()).expect_code(0).json();
    assert_eq!((&again["plan"]["plan"], &again["plan"]["token"]), (&done["plan"]["plan"], &done["plan"]["token"]));
    let database = dir.join("member/snap/db");
    let file = ["restore", "--from", text(&database), "--data-dir", text(&elsewhere), "--plan", plan];
    world.refused_bare(&file, 2, "usage").says(&["--plan pins a signed backup", "same file"]);
    assert!(dir.join("member/snap/db").is_file() && folder.join("manifest.json").is_file());
    // A folder that lacks its manifest, or whose bytes were changed, is refused by name.
    let other = world.path("other");
    let restore =
        [&["restore", "--from", text(&folder), "--data-dir", text(&other), "--yes", "--allow", "unproven"], &keys[..]]
            .concat();
    flip(&folder.join("db.zst.age"), -1000);
    world.refused_bare(&restore, 8, "damaged").says(&["is damaged"]);
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    world.refused_bare(&restore, 13, "host_io").says(&["manifest.json", "--from takes one backup's folder"]);
    assert!(!other.exists());
}
