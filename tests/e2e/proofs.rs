//! What one proof looks at and tells: levels, kinds of keys, encryption at rest, keys that must be there.

use std::time::Duration;

use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::server::{Server, wait_until};
use lifeboat_tests::world::{World, flip, keyspace};
use serde_json::{Value, json};

fn step_names(proof: &Value) -> Vec<&str> {
    proof["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect()
}

#[test]
fn keys_of_encryption_at_rest_are_told_by_name_and_a_new_one_is_warned_of() {
    let mut world = World::new(Etcd::V3_6);
    world.add_secret("canary-of-an-encrypted-value");
    let secret = |name: &str, key: &str| {
        let value = format!("k8s:enc:aescbc:v1:{key}:canary-of-an-encrypted-value");
        keyspace::put(world.etcd(), &format!("/registry/secrets/default/{name}"), &value);
    };
    for name in ["a", "b", "c"] {
        secret(name, "key1");
    }
    let first = world.json(&["backup", "--wait-proven", "2m"])["backup"].clone();
    let key =
        |name: &str, values: u64| json!({ "provider": "aescbc", "version": "v1", "name": name, "values": values });
    assert_eq!(first["encryption_at_rest"], json!([key("key1", 3)]));
    secret("c", "key2");
    keyspace::put(world.etcd(), "/registry/secrets/default/odd", "k8s:enc:what is this");
    world.backup();
    for level in ["sound", "booted"] {
        let proof = world.json(&["prove", "--level", level]);
        let odd = json!({ "provider": "unknown", "version": "", "name": "(unreadable)", "values": 1 });
        assert_eq!(proof["encryption_at_rest"], json!([key("key1", 2), key("key2", 1), odd]), "{level}");
        let warned = proof["warnings"][0].as_str().unwrap();
        assert!(warned.contains("\"key2\" (aescbc)") && !warned.contains("key1"), "{warned}");
        assert_eq!(
            proof["key_counts"].as_array().unwrap().iter().map(|it| it["keys"].as_u64().unwrap()).sum::<u64>(),
            keyspace::FILLED + 4
        );
        assert_eq!(proof["key_counts"][0], json!({ "prefix": "/registry/pods", "keys": 220 }));
    }
    let needs = "need encryption key \"key1\" (aescbc), \"key2\" (aescbc)";
    let shown = world.run(&["show", "latest"]).expect_code(0).stdout;
    for words in [needs, "WARNING", "/registry/pods: 220", "/registry/secrets: 4", "to etcd's first answer"] {
        assert!(shown.contains(words), "{words} is missing in:\n{shown}");
    }
    let target = world.path("data").display().to_string();
    let planned = world.json(&["restore", "--data-dir", &target, "--dry-run"]);
    assert_eq!(planned["plan"]["encryption_at_rest"].as_array().unwrap().len(), 3);
    let planned = world.run(&["restore", "--data-dir", &target, "--dry-run"]).expect_code(0).stdout;
    assert!(planned.contains(needs), "{planned}");
    // No manifest and no verdict carries a value; what was sealed cannot be read.
    for name in world.objects() {
        let bytes = std::fs::read(world.folder().join(&name)).unwrap();
        world.shows_no_secret(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn each_level_is_a_step_and_what_is_expected_must_be_there() {
    let mut world = World::backed_up();
    for (level, steps) in [
        ("stored", &["stored"][..]),
        ("opened", &["stored", "opened"]),
        ("sound", &["stored", "opened", "sound"]),
        ("booted", &["stored", "opened", "sound", "restored", "booted", "restarted", "rehearsed"]),
    ] {
        let proof = world.json(&["prove", "--level", level]);
        assert_eq!((step_names(&proof), &proof["failed_at"]), (steps.to_vec(), &Value::Null), "{proof:#}");
        assert_eq!(proof["restore_seconds"].as_f64().is_some_and(|took| took > 0.0), level == "booted");
    }
    let proof = world.field("proof").to_owned();
    let expecting = |keys: &str| proof.replacen("{ ", &format!("{{ expect: [{keys}], "), 1);
    world.set("proof", expecting("\"/registry/pods/**\", /registry/configmaps/default/newer"));
    world.run(&["prove", "--level", "sound"]).expect_code(0);
    world.set(
        "proof",
        expecting("/registry/namespaces/kube-system, \"/registry/pods/*\", /registry/leases/kube-node-lease/cp-1"),
    );
    for level in ["sound", "booted"] {
        let failed = world.run(&["prove", "--level", level, "--json"]).expect_code(10).json();
        assert_eq!(failed["failed_at"], "sound", "{failed:#}");
        assert_eq!(step_names(&failed), ["stored", "opened", "sound"]);
        let found = failed["steps"][2]["found"].as_str().unwrap();
        let missing = "no key \"/registry/namespaces/kube-system\", \"/registry/pods/*\"";
        assert!(found.ends_with(missing), "{found}");
    }
    world.run(&["prove", "--level", "opened"]).expect_code(0);
    let listed = world.run(&["list"]).expect_code(0).stdout;
    assert!(listed.contains("only opened") || listed.contains("FAILED at sound"), "{listed}");
    let shown = world.run(&["show", "latest"]).expect_code(0).stdout;
    assert!(shown.contains("FAILED: proof.expect: the backup has no key"), "{shown}");
}

/// An agent that does nothing but prove.
fn prover(world: &mut World, when: &str) -> Server {
    world.set("roles", "[prove]");
    world.set("schedule", format!("{{ prove: {when} }}"));
    world.agent(&world.config(), "prover")
}

fn verdicts(world: &World, id: &str) -> usize {
    let beginning = format!("prod-eu-1/proofs/{id}/");
    world.objects().iter().filter(|name| name.starts_with(&beginning) && name.ends_with(".json")).count()
}

#[test]
fn after_a_failure_the_agent_proves_the_good_one_before_it_once_more() {
    let mut world = World::backed_up();
    let ids: Vec<String> = world.list().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
    let [newer, older] = ids.as_slice() else { panic!("two backups: {ids:?}") };
    flip(&world.object(newer, "db.zst.age"), -1000);
    let before = verdicts(&world, older);
    assert_eq!((before, verdicts(&world, newer)), (1, 0));
    let mut agent = prover(&mut world, "after-backup");
    let proven_anew = || verdicts(&world, older) == 2;
    assert!(wait_until(Duration::from_secs(60), proven_anew).is_some(), "{}", agent.log());
    assert!(agent.ended().is_none());
    assert!(agent.log().contains(&format!("the newest good one before {newer}, which failed")), "{}", agent.log());
    assert_eq!(verdicts(&world, newer), 1);
    let list = world.list();
    let outcome = |at: usize| list[at]["stores"][0]["proof"]["outcome"].clone();
    assert_eq!((outcome(0), outcome(1)), (json!("failed"), json!("passed")));
    // Neither is taken up again: the one stays as evidence, the other has shown what it is.
    let rest = wait_until(Duration::from_secs(8), || verdicts(&world, older) + verdicts(&world, newer) > 3);
    assert_eq!(rest, None, "{}", agent.log());
    assert!(agent.terminate(Duration::from_secs(20)).success());
}

#[test]
fn with_a_schedule_of_its_own_the_prover_takes_the_newest_and_leaves_the_others_until_they_are_due() {
    let mut world = World::new(Etcd::V3_6);
    let [older, newer] = [0; 2].map(|_| world.backup()["id"].as_str().unwrap().to_owned());
    let next = world.json(&["check-config", "--next", "1"]);
    assert_eq!(next["next"]["prove"], Value::Null, "after each backup there is no next time: {next:#}");
    let mut agent = prover(&mut world, "\"*/2 * * * * *\"");
    assert!(wait_until(Duration::from_secs(60), || verdicts(&world, &newer) == 1).is_some(), "{}", agent.log());
    // Its next turns come within seconds and find nothing that is due.
    assert_eq!(wait_until(Duration::from_secs(6), || verdicts(&world, &older) > 0), None, "{}", agent.log());
    assert!(agent.ended().is_none());
    assert_eq!(verdicts(&world, &newer), 1);
    let next = world.json(&["check-config", "--next", "1"]);
    assert_eq!(next["next"]["prove"].as_array().map(Vec::len), Some(1), "{next:#}");
    assert!(agent.terminate(Duration::from_secs(20)).success());
    world.run(&["prove", &older]).expect_code(0);
}
