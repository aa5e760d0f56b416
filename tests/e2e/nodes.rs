//! One command a node: the plan that the first prints, the others that take it, and which backup it is.

use std::path::Path;
use std::process::Command;

use lifeboat_tests::binary;
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::world::{World, flip, keyspace, refs};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A cluster of so many members with keys and a backup of it, which an outage then ends.
fn lost(version: Etcd, members: usize) -> (World, Value) {
    let etcd = RealEtcd::start(version, Options { members, ..Options::default() });
    keyspace::fill(&etcd);
    let mut world = World::around(Some(etcd), None);
    world.json(&["backup", "--wait-proven", "2m"]);
    let before = json!(keyspace::records(world.etcd()).len());
    world.etcd.as_mut().expect("this world has an etcd").stop();
    for number in 0..members {
        let dir = world.etcd().member_data_dir(number);
        std::fs::rename(&dir, dir.with_extension("lost")).expect("the old world is moved aside");
    }
    (world, before)
}

/// What the first node is told, with the flags of an outage.
fn first(world: &World, more: &[&str]) -> Vec<String> {
    let dir = world.etcd().member_data_dir(0).display().to_string();
    let words = ["restore", "--data-dir", &dir, "--name", "m0"];
    words.iter().chain(more).map(|word| (*word).to_owned()).chain(world.flags()).collect()
}

#[test]
fn the_commands_that_the_first_node_prints_make_one_cluster_of_all() {
    for (version, members) in [(Etcd::V3_4, 3), (Etcd::V3_6, 5)] {
        let (mut world, keys) = lost(version, members);
        let planned = world.run_bare(&refs(&first(&world, &["--dry-run", "--json"]))).expect_code(0).json();
        assert_eq!(planned["plan"]["other_nodes"].as_array().map(Vec::len), Some(members - 1), "{planned:#}");
        let ran = world.run_bare(&refs(&first(&world, &["--yes", "--json"]))).expect_code(0);
        let done = ran.json();
        assert_eq!((&done["state"], &done["report"]["keys"]), (&json!("restored"), &keys));
        // Told before it begins, so that nobody waits for this node.
        let names = if members == 3 { "m1 and m2" } else { "m1, m2, m3 and m4" };
        let told = format!("Now also run on {names}, in any order");
        assert!(ran.stderr.contains(&told) && ran.stderr.contains("lbp1:"), "{}", ran.stderr);
        for (number, other) in done["plan"]["other_nodes"].as_array().unwrap().iter().enumerate() {
            let number = number + 1;
            assert_eq!(other["name"], format!("m{number}"));
            let dir = |number| world.etcd().member_data_dir(number).display().to_string();
            // As a person pastes it there, where the data dir is another one on this test's only machine.
            let command = other["command"].as_str().unwrap().replace(&dir(0), &dir(number));
            let command = command.replacen("lifeboat ", &format!("{} ", binary::path().display()), 1);
            let ran = Command::new("sh").args(["-c", &format!("{command} --yes --json")]).output().expect("sh starts");
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert_eq!(ran.status.code(), Some(0), "{command}\n{said}");
            assert!(!said.contains("Now also run on"), "one node has told all: {said}");
            let same: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            for field in ["backup", "token", "members", "first_revision", "plan", "manifest_sha256"] {
                assert_eq!(same["plan"][field], done["plan"][field], "{field}");
            }
        }
        world.etcd.as_mut().expect("this world has an etcd").restart();
        let said = world.etcd().etcdctl(&["endpoint", "hashkv", "--write-out", "json"]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let hashes: Vec<&Value> = said.as_array().unwrap().iter().map(|one| &one["HashKV"]["hash"]).collect();
        assert!(hashes.len() == members && hashes.iter().all(|hash| *hash == hashes[0]), "{said:#}");
        assert_eq!(json!(keyspace::records(world.etcd()).len()), keys);
    }
}

#[test]
fn a_node_refuses_whatever_is_not_the_plan() {
    let (world, _) = lost(Etcd::V3_6, 3);
    let planned = world.run_bare(&refs(&first(&world, &["--dry-run", "--json"]))).expect_code(0).json();
    let plan = planned["plan"]["plan"].as_str().unwrap().to_owned();
    let dir = world.path("m1");
    let with = |plan: &str, more: &[&str]| {
        let words = ["restore", "--data-dir", text(&dir), "--yes", "--plan", plan];
        words.iter().chain(more).map(|word| (*word).to_owned()).chain(world.flags()).collect::<Vec<_>>()
    };
    let refused = |arguments: Vec<String>, code, reason: &str, words: &[&str]| {
        world.refused_bare(&refs(&arguments), code, reason).says(words);
        assert!(!dir.exists());
    };
    let cut = &plan[..plan.len() - 3];
    refused(with(cut, &["--name", "m1"]), 2, "usage", &["the plan is not whole", "copy the whole command again"]);
    refused(with(&plan, &["--name", "m9"]), 2, "usage", &["the members are m0, m1, m2"]);
    refused(with(&plan, &[]), 2, "usage", &["which member is this machine?", "m0, m1, m2", "--name"]);
    assert!(
        world.run_bare(&refs(&with(&plan, &["--bump", "5"]))).expect_code(2).stderr.contains("cannot be used with")
    );
    // A file with the plan in it is as good, with the line ends of a mail.
    let file = world.path("plan.txt");
    let wrapped: Vec<String> =
        plan.as_bytes().chunks(60).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    std::fs::write(&file, wrapped.join("\r\n")).unwrap();
    let same = with(text(&file), &["--name", "m1", "--dry-run", "--json"]);
    assert_eq!(world.run_bare(&refs(&same)).expect_code(0).json()["plan"]["plan"], plan);
    refused(with(text(&world.path("none")), &[]), 13, "host_io", &["none"]);
    // Another cluster's store, with a backup of its own.
    let other = World::backed_up();
    let flags = other.flags();
    let theirs = ["restore", "--data-dir", text(&dir), "--yes", "--name", "m1", "--plan", &plan];
    let theirs = [&theirs[..], &refs(&flags)].concat();
    other.refused_bare(&theirs, 6, "no_backup").says(&["there is no backup"]);
    assert!(!dir.exists());
}

#[test]
fn a_time_or_a_revision_picks_the_backup_and_its_age_needs_a_word() {
    let world = World::new(Etcd::V3_6);
    world.json(&["backup", "--wait-proven", "2m"]);
    world.etcd().etcdctl(&["put", "later", "1"]);
    // A time is a second: the newer one must not share it.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.backup();
    let [newer, older]: [Value; 2] = world.list().try_into().expect("two backups");
    let plan = |more: &[&str]| {
        let target = world.path("data").display().to_string();
        world.run(&[&["restore", "--data-dir", &target, "--dry-run", "--json"], more].concat())
    };
    let at = newer["captured_at"].as_str().unwrap();
    let planned = plan(&["--at", at]).expect_code(0).json();
    assert_eq!(planned["plan"]["backup"], older["id"], "the newer one is not proven");
    let revision = older["revision"].to_string();
    assert_eq!(plan(&["--revision", &revision]).expect_code(0).json()["plan"]["backup"], older["id"]);
    world.run(&["prove", "latest", "--level", "booted"]).expect_code(0);
    let older_at = older["captured_at"].as_str().unwrap();
    let refused = plan(&["--at", older_at]).expect_code(7).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("is older than"), "{refused:#}");
    let planned = plan(&["--at", older_at, "--allow", "older"]).expect_code(0);
    assert_eq!(planned.json()["plan"]["backup"], older["id"]);
    let refused = plan(&["--at", "2020-01-01"]).expect_code(6).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("no backup goes back to 2020-01-01 00:00:00 UTC: the oldest is"), "{message}");
    plan(&["--at", "yesterday"]).expect_code(2);
}

#[test]
fn without_a_target_there_is_the_plan_and_what_to_type() {
    let world = World::backed_up();
    let before = world.objects();
    let shown = world.run(&["restore"]).expect_code(0).stdout;
    for words in ["PLAN (nothing has been changed)", "the newest proven", "--in-place ", "--data-dir /var/lib/etcd"] {
        assert!(shown.contains(words), "{words} is missing in:\n{shown}");
    }
    let document = world.json(&["restore"]);
    assert_eq!((&document["state"], &document["report"]), (&json!("planned"), &Value::Null));
    assert_eq!(world.objects(), before);
}

#[test]
fn where_the_newest_cannot_be_read_the_one_before_it_is_taken_if_that_was_allowed() {
    let world = World::backed_up();
    let [newer, older]: [Value; 2] = world.list().try_into().expect("two backups");
    let newer = newer["id"].as_str().unwrap();
    world.run(&["prove", "latest", "--level", "booted"]).expect_code(0);
    flip(&world.object(newer, "db.zst.age"), -1000);
    let target = world.path("data");
    let restore = ["restore", "--data-dir", text(&target), "--yes"];
    world.refused(&restore, 8, "damaged").says(&["is damaged between", "lifeboat restore --allow older"]);
    assert!(!target.exists());
    let named = [&restore[..], &[newer, "--allow", "older"]].concat();
    world.refused(&named, 8, "damaged").says(&["is damaged between"]);
    let ran = world.run(&[&restore[..], &["--allow", "older", "--json"]].concat()).expect_code(0);
    assert!(ran.stderr.contains(&format!("WARNING: backup {} cannot be read", &newer[17..23])), "{}", ran.stderr);
    assert_eq!(ran.json()["plan"]["backup"], older["id"]);
    assert!(target.join("member/snap/db").is_file());
}
