//! What a person asks for: hold, release, delete, ack.

use std::time::Duration;

use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::world::{CLUSTER, World, keyspace};
use serde_json::{Value, json};

/// Longer than the grace.
const GRACE_OVER: Duration = Duration::from_millis(1_300);

/// Two proven backups, of which rules keep one; the operator's public key is trusted. The world, the new and the old one.
fn two_proven() -> (World, String, String) {
    let mut world = World::backed_up();
    trust_operator(&mut world);
    world.run(&["prove", "latest"]).expect_code(0);
    let ids: Vec<String> = world.list().iter().map(|entry| text(&entry["id"])).collect();
    (world, ids[0].clone(), ids[1].clone())
}

pub(super) fn trust_operator(world: &mut World) {
    let trusted = format!("{{ trusted_keys: {{ operator: [{}] }},", world.key("operator.sign.pub").display());
    world.set("keys", world.field("keys").replacen('{', &trusted, 1));
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn ids(of: &Value) -> Vec<String> {
    of.as_array().expect("a list").iter().map(|entry| text(entry.get("id").unwrap_or(entry))).collect()
}

/// A run that signs with the operator's key.
pub(super) fn operator(world: &World, arguments: &[&str]) -> Value {
    let key = world.key("operator.sign.key").display().to_string();
    world.json(&[arguments, &["--signing-key", &key]].concat())
}

#[test]
fn a_hold_undoes_a_marked_deletion_and_a_release_lets_it_go() {
    let (world, _, old) = two_proven();
    assert_eq!(ids(&world.json(&["prune", "--apply"])["mark"]), [old.as_str()]);
    // Any key that is at hand and trusted may hold.
    let held = world.json(&["hold", &old, "--reason", "before 1.37", "--until", "14d"]);
    assert_eq!((&held["undone"], &held["hold"]["reason"]), (&json!(true), &json!("before 1.37")), "{held:#}");
    std::thread::sleep(GRACE_OVER);
    let pruned = world.json(&["prune", "--apply"]);
    assert_eq!((ids(&pruned["delete"]), ids(&pruned["mark"])), (vec![], vec![]), "{pruned:#}");
    let listed = world.list();
    assert_eq!(listed[1]["hold"]["reason"], json!("before 1.37"), "{:#}", listed[1]);
    assert_eq!(listed[1]["tombstone"], Value::Null);
    assert!(listed[1]["retention"]["reasons"][0].as_str().unwrap().starts_with("held: before 1.37, until "));
    let shown = world.run(&["list"]).expect_code(0).stdout;
    assert!(shown.contains("hold: before 1.37, until "), "{shown}");
    assert!(world.run(&["show", &old]).expect_code(0).stdout.contains("before 1.37, until"));
    assert!(world.run(&["prune"]).expect_code(0).stdout.contains("held: 1"));

    // The operator's key is not in this config, and no other may release.
    world.refused(&["release", &old], 3, "config").says(&["no key is at hand", "--signing-key"]);
    let wrong = world.key("prune.sign.key").display().to_string();
    world.refused(&["release", &old, "--signing-key", &wrong], 7, "no_trust").says(&["only the operator"]);
    let released = operator(&world, &["release", &old]);
    assert!(released["released"][0].as_str().unwrap().starts_with("before 1.37"), "{released:#}");
    assert_eq!(operator(&world, &["release", &old])["released"], json!([]), "twice does no harm");

    // It is marked anew, and waits anew: the tombstone from before the hold is undone for good.
    assert_eq!(ids(&world.json(&["prune", "--apply"])["mark"]), [old.as_str()]);
    assert_eq!(world.list().len(), 2);
    std::thread::sleep(GRACE_OVER);
    assert_eq!(ids(&world.json(&["prune", "--apply"])["delete"]), [old]);
    assert_eq!(world.list().len(), 1);
    world.json(&["status"]);
}

#[test]
fn a_hold_ends_by_itself_and_one_that_is_over_is_refused() {
    let (world, new, old) = two_proven();
    world.refused(&["hold", &old, "--reason", "r", "--until", "2020-01-01"], 2, "usage").says(&["over already"]);
    world.refused(&["hold", &old, "--reason", " "], 2, "usage");
    world.refused(&["hold", "20200101T000000Z-0000000000000000", "--reason", "r"], 6, "no_backup");
    world.json(&["hold", &old, "--reason", "briefly", "--until", "2s"]);
    world.json(&["hold", &new, "--reason", "for ever"]);
    assert_eq!(ids(&world.json(&["prune"])["mark"]), Vec::<String>::new());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ids(&world.json(&["prune"])["mark"]), [old]);
    assert_eq!(world.list()[0]["hold"]["until"], Value::Null);
}

#[test]
fn what_a_person_wants_gone_goes_against_the_rules_and_never_what_is_guarded() {
    let (mut world, new, old) = two_proven();
    world.set("keep", "{ last: 9, min_proven: 1 }");
    let refused = ["delete", &new, "--reason", "leaked", "--apply"];
    let key = world.key("operator.sign.key").display().to_string();
    let signed = [&refused[..], &["--signing-key", &key]].concat();
    world.refused(&signed, 7, "guarded").says(&["newest proven", "take and prove a newer one"]);
    world.refused(&["delete", &new, "--reason", "leaked"], 7, "guarded");
    world.set("keep", "{ last: 9, min_proven: 2 }");
    world.refused(&["delete", &old, "--reason", "leaked"], 7, "guarded").says(&["proven"]);
    world.set("keep", "");
    world.refused(&["delete", &old, "--reason", "leaked"], 7, "guarded").says(&["keep"]);
    world.set("keep", "{ last: 9, min_proven: 1 }");
    world.json(&["hold", &old, "--reason", "court order"]);
    world.refused(&["delete", &old, "--reason", "leaked"], 7, "guarded").says(&["held: court order"]);
    operator(&world, &["release", &old]);

    let dry = world.json(&["delete", &old, "--reason", "leaked"]);
    assert_eq!(dry["applied"], json!(false));
    world.refused(&["delete", &old, "--reason", "leaked", "--apply"], 3, "config").says(&["--signing-key"]);
    assert_eq!(world.list()[1]["tombstone"], Value::Null, "neither marked anything");
    let marked = operator(&world, &["delete", &old, "--reason", "holds a leaked secret", "--apply"]);
    assert_eq!(marked["stores"], json!([{ "name": "main", "done": true, "error": null }]));
    let plan = world.json(&["prune"]);
    assert_eq!(ids(&plan["mark"]), [old.as_str()], "rules would keep it: {plan:#}");
    assert_eq!(plan["mark"][0]["reasons"], json!(["a person asked for it"]));
    // A change of mind within the grace.
    assert_eq!(world.json(&["hold", &old, "--reason", "wait"])["undone"], json!(true));
    operator(&world, &["release", &old]);
    std::thread::sleep(GRACE_OVER);
    assert_eq!(ids(&world.json(&["prune", "--apply"])["delete"]), Vec::<String>::new());
    operator(&world, &["delete", &old, "--reason", "holds a leaked secret", "--apply"]);
    std::thread::sleep(GRACE_OVER);
    assert_eq!(ids(&world.json(&["prune", "--apply"])["delete"]), [old]);
    assert_eq!(world.list().len(), 1);
    world.json(&["status"]);
}

#[test]
fn a_finding_is_accepted_by_the_operator_and_a_new_one_of_its_kind_shows_again() {
    let (world, _, old) = two_proven();
    assert_eq!(world.json(&["ack"])["findings"], json!([]));
    let junk = |name: &str| {
        let folder = world.folder().join(CLUSTER).join("tombstones").join(&old);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), "{}").unwrap();
    };
    junk("20261123T023004Z-00000001.json");
    world.run(&["status"]).expect_code(11);
    let listed = world.json(&["ack"]);
    let finding = &listed["findings"][0];
    assert_eq!((listed["findings"].as_array().unwrap().len(), &finding["kind"]), (1, &json!("unsigned")), "{listed:#}");
    let id = text(&finding["id"]);
    assert!(world.run(&["ack"]).expect_code(0).stdout.contains(&id));

    world.run(&["ack", &id]).expect_code(2);
    let wrong = world.key("backup.sign.key").display().to_string();
    world.refused(&["ack", &id, "--reason", "r", "--signing-key", &wrong], 7, "no_trust");
    world.refused(&["ack", "zzz", "--reason", "r"], 2, "usage").says(&["no finding"]);
    operator(&world, &["ack", &id[..4], "--reason", "a stray test file"]);
    let status = world.json(&["status"]);
    assert_eq!((&status["findings"], &status["acknowledged"]), (&json!([]), &json!(1)));
    let listed = world.json(&["ack"]);
    assert_eq!(listed["acknowledged"][0]["reason"], json!("a stray test file"), "{listed:#}");
    assert_eq!(text(&listed["acknowledged"][0]["signer"]).len(), 64);
    assert!(world.run(&["ack"]).expect_code(0).stdout.contains("because: a stray test file; signed by"));

    junk("20261123T023004Z-00000002.json");
    let status = world.run(&["status", "--json"]).expect_code(11).json();
    assert_eq!(status["findings"].as_array().unwrap().len(), 1, "{status:#}");
    assert_ne!(text(&status["findings"][0]["id"]), id);
}

#[test]
fn the_backup_before_an_upgrade_is_held_in_every_store_that_has_it() {
    let mut world = World::new(Etcd::V3_6);
    trust_operator(&mut world);
    let second = world.path("second");
    std::fs::create_dir(&second).unwrap();
    let stores =
        format!("[{{ name: a, url: \"{}\" }}, {{ name: b, url: \"file://{}\" }}]", world.place.url(), second.display());
    world.set("stores", stores);
    let taken = world.json(&["backup", "--hold", "before 1.37", "--until", "14d"])["backup"].clone();
    assert_eq!(taken["hold"]["reason"], json!("before 1.37"), "{taken:#}");
    let listed = world.list();
    assert_eq!(listed[0]["stores"][0]["hold"], listed[0]["stores"][1]["hold"]);
    assert_eq!(listed[0]["stores"][1]["hold"]["reason"], json!("before 1.37"));
    world.run(&["backup", "--until", "14d"]).expect_code(2);

    // A store that is away is named, and the others are not kept from it.
    let id = text(&taken["id"]);
    std::fs::rename(&second, world.path("away")).unwrap();
    let key = world.key("operator.sign.key").display().to_string();
    let ran = world.run(&["release", &id, "--signing-key", &key, "--json"]).expect_code(11);
    let stores = ran.json()["stores"].clone();
    assert_eq!((&stores[0]["name"], &stores[0]["done"]), (&json!("a"), &json!(true)), "{stores:#}");
    assert_eq!((&stores[1]["name"], &stores[1]["done"]), (&json!("b"), &json!(false)), "{stores:#}");
    std::fs::rename(world.path("away"), &second).unwrap();
    let listed = world.list();
    assert_eq!(listed[0]["stores"][0]["hold"], Value::Null);
    assert_eq!(listed[0]["stores"][1]["hold"]["reason"], json!("before 1.37"));
    operator(&world, &["release", &id]);
    assert_eq!(world.list()[0]["stores"][1]["hold"], Value::Null);
    keyspace::put(world.etcd(), "/registry/configmaps/default/more", "after the upgrade");
}
