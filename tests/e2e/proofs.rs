//! What one proof looks at and tells: levels, kinds of keys, encryption at rest, keys that must be there.

use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::world::{World, keyspace};
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
