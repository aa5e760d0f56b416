//! Reading backups without restoring them: keys, get, diff.

use lifeboat_tests::real_etcd::{Etcd, RealEtcd};
use lifeboat_tests::world::World;
use serde_json::json;

const SETTINGS: &str = "/registry/configmaps/default/settings";
const TOKEN: &str = "/registry/secrets/default/token";

/// Two backups: the second has one key more, one changed, one less.
fn world() -> World {
    let world = World::around(Some(RealEtcd::single(Etcd::V3_6)), None);
    let put = |key: &str, value: &str| world.etcd().etcdctl(&["put", key, value]);
    put(SETTINGS, r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"1"}}"#);
    put(TOKEN, "a-very-secret-token");
    put("/registry/configmaps/default/old", "{}");
    put("plain", "1");
    world.backup();
    put(SETTINGS, r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"2"}}"#);
    put("/registry/pods/default/web", r#"{"kind":"Pod","apiVersion":"v1"}"#);
    world.etcd().etcdctl(&["del", "/registry/configmaps/default/old"]);
    // Written once more with the same value: a put, and no change.
    put("plain", "1");
    world.backup();
    world
}

#[test]
fn keys_are_listed_by_type_and_one_is_read_as_it_was_then() {
    let world = world();
    let ids: Vec<String> = world.list().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
    let first = ids[1].as_str();
    let listed = world.json(&["keys", first, "/registry/"]);
    let keys: Vec<&str> = listed["keys"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["/registry/configmaps/default/old", SETTINGS, TOKEN]);
    assert_eq!((&listed["keys"][1]["kind"], &listed["keys"][1]["api_version"]), (&json!("ConfigMap"), &json!("v1")));
    let text = world.run(&["keys", first]).expect_code(0).stdout;
    assert!(text.contains(&format!("{SETTINGS}  v1 ConfigMap  ")) && text.contains("4 keys at revision 5"), "{text}");
    for (id, value, version) in [(first, "\"1\"", 1), ("latest", "\"2\"", 2)] {
        let raw = world.run(&["get", id, SETTINGS, "--raw"]).expect_code(0).stdout;
        assert_eq!(raw, format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","data":{{"a":{value}}}}}"#));
        assert_eq!(world.json(&["get", id, SETTINGS])["key"]["version"], version);
    }
    let text = world.run(&["get", first, SETTINGS]).expect_code(0).stdout;
    assert!(text.contains("v1 ConfigMap") && text.contains(r#""data":{"a":"1"}"#), "{text}");
    world.refused(&["get", first, "/registry/pods/default/web"], 2, "usage").says(&["has no key", "lifeboat keys"]);
    world.refused(&["get", "7777", SETTINGS], 6, "no_backup").says(&["no backup \"7777\""]);
}

#[test]
fn a_secret_is_shown_only_to_who_asks_for_it() {
    let world = world();
    let shown = world.run(&["get", "latest", TOKEN]).expect_code(0);
    let document = world.json(&["get", "latest", TOKEN]);
    assert_eq!((&document["key"]["hidden"], &document["key"]["value_base64"]), (&json!(true), &json!(null)));
    world.refused(&["get", "latest", TOKEN, "--raw"], 7, "consent_missing").says(&["is a secret", "--show-secrets"]);
    let keys = world.run(&["keys", "latest", "--json"]).expect_code(0).stdout;
    for said in [&shown.stdout, &shown.stderr, &document.to_string(), &keys] {
        assert!(!said.contains("a-very-secret-token"), "{said}");
    }
    let raw = world.run(&["get", "latest", TOKEN, "--raw", "--show-secrets"]).expect_code(0).stdout;
    assert_eq!(raw, "a-very-secret-token");
}

#[test]
fn two_backups_differ_by_what_was_created_changed_and_deleted() {
    let world = world();
    let ids: Vec<String> = world.list().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
    let (first, second) = (ids[1].as_str(), ids[0].as_str());
    let found = world.json(&["diff", first, second]);
    assert_eq!(found["created"], json!(["/registry/pods/default/web"]));
    assert_eq!(found["changed"], json!([SETTINGS]));
    assert_eq!(found["deleted"], json!(["/registry/configmaps/default/old"]));
    let back = world.json(&["diff", second, first]);
    assert_eq!((&back["created"], &back["deleted"]), (&found["deleted"], &found["created"]));
    let text = world.run(&["diff", first, second, "--prefix", "/registry/configmaps/"]).expect_code(0).stdout;
    assert!(text.contains("changed  /registry/configmaps  1: default/settings") && !text.contains("pods"), "{text}");
    assert!(world.run(&["diff", "latest", "latest"]).expect_code(0).stdout.contains("no key differs"));
}
