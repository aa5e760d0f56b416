//! Keys with an end: for whom a backup is sealed, whose signature counts, and what is said before it is too late.

use chrono::{TimeDelta, Utc};
use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::world::World;
use serde_json::{Value, json};

/// In so many days, as configs write it.
fn day(days: i64) -> String {
    (Utc::now() + TimeDelta::days(days)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The world's config with both recipients given as mappings.
fn world_with(recipients: &str) -> World {
    let mut world = World::new(Etcd::V3_6);
    set_recipients(&mut world, recipients);
    world
}

fn set_recipients(world: &mut World, recipients: &str) {
    let keys = world.field("keys").to_owned();
    let (before, after) = keys.split_once("recipients: [").expect("the config names recipients");
    let (_, after) = after.split_once(']').expect("the list ends");
    let [prove, recovery] = ["prove.pub", "recovery.pub"].map(|name| world.key(name).display().to_string());
    let recipients = recipients.replace("PROVE", &prove).replace("RECOVERY", &recovery);
    world.set("keys", format!("{before}recipients: [{recipients}]{after}"));
}

fn warnings(world: &World) -> Vec<String> {
    let answer = world.json(&["check-config"]);
    let of_keys = |finding: &&Value| finding["path"].as_str().is_some_and(|path| path.starts_with("keys."));
    let findings = answer["findings"].as_array().unwrap().iter().filter(of_keys);
    findings
        .map(|finding| format!("{}: {}", finding["path"].as_str().unwrap(), finding["what"].as_str().unwrap()))
        .collect()
}

fn doctor(world: &World) -> Vec<(String, String)> {
    let answer = world.run(&["doctor", "--json"]).json();
    let keys = answer["checks"].as_array().unwrap().iter().filter(|check| check["area"] == "keys");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys.map(|check| (text(&check["status"]), text(&check["found"]))).collect()
}

#[test]
fn a_backup_is_sealed_for_the_recipients_that_are_valid_and_for_no_other() {
    let old = format!("{{ key: RECOVERY, id: recovery-2025, until: \"{}\" }}", day(-1));
    let mut world = world_with(&format!("PROVE, {old}"));
    assert_eq!(warnings(&world), [""; 0], "a key that ended is no news");
    let backup = world.json(&["backup"])["backup"].clone();
    let manifest = std::fs::read(world.object(backup["id"].as_str().unwrap(), "manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["recipients"].as_array().map(Vec::len), Some(1), "{manifest:#}");
    let ring = world.json(&["keyring"]);
    assert!(ring["unused"]["recipients"].to_string().contains("(recovery-2025)"), "{ring:#}");
    // Who holds the old key alone opens it no more.
    let identity = world.key("recovery.key").display().to_string();
    let sealed = world.object(backup["id"].as_str().unwrap(), "db.zst.age").display().to_string();
    world.refused(&["inspect", &sealed, "--identity", &identity], 9, "key_wrong");

    let soon = format!("{{ key: RECOVERY, id: recovery-2026, until: \"{}\" }}", day(10));
    set_recipients(&mut world, &format!("PROVE, {soon}"));
    let told = warnings(&world);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("(recovery-2026) is valid until") && told[0].contains("nothing is sealed for it"),
        "{told:?}"
    );
    let checks = doctor(&world);
    assert!(
        checks.iter().any(|(status, found)| status == "warn" && found.contains("(recovery-2026) is valid until")),
        "{checks:?}"
    );
    let effective = world.json(&["check-config"])["effective"]["keys"]["recipients"][1].clone();
    assert_eq!(effective["id"], "recovery-2026");
}

#[test]
fn without_a_recipient_that_is_valid_nothing_is_backed_up_and_everybody_says_so() {
    let all = format!("{{ key: PROVE, until: {} }}, {{ key: RECOVERY, id: next, from: \"{}\" }}", "2026-01-31", day(3));
    let world = world_with(&all);
    let words = ["no recipient may be sealed for now", "was valid until 2026-01-31 00:00 UTC", "(next) is valid from"];
    world.refused(&["check-config"], 3, "config").says_all_but_a_hint(&words);
    world.refused(&["backup"], 3, "config").says(&words);
    assert_eq!(world.objects(), [""; 0]);
    let checks = doctor(&world);
    assert!(checks.iter().any(|(status, found)| status == "fail" && found.contains(words[0])), "{checks:?}");
}

#[test]
fn what_a_key_signs_after_its_end_counts_for_nothing_and_what_it_signed_before_stays() {
    let mut world = World::backed_up();
    let public = world.key("backup.sign.pub").display().to_string();
    let keys = world.field("keys").trim_end_matches('}').to_owned();
    let trusted =
        |validity: &str| format!("{keys}, trusted_keys: {{ backup: [{{ key: {public}, id: cp-1, {validity} }}] }} }}");
    world.set("keys", trusted(&format!("until: \"{}\"", day(20))));
    assert!(world.list().iter().all(|entry| entry["trust"] == "trusted"));
    let told = warnings(&world);
    assert!(told.len() == 1 && told[0].contains("(cp-1) is valid until"), "{told:?}");

    // Clocks may differ by an hour: an end of two hours ago is one for sure.
    world.set(
        "keys",
        trusted(&format!("until: \"{}\"", (Utc::now() - TimeDelta::hours(2)).format("%Y-%m-%dT%H:%M:%SZ"))),
    );
    let told = warnings(&world);
    assert!(told.len() == 1 && told[0].contains("no backup key is valid now"), "{told:?}");
    for entry in world.list() {
        let why = entry["trust"].as_str().unwrap().to_owned();
        assert!(why.contains("the backup key that signed it is valid until"), "{why}");
    }
    world.refused(&["backup"], 3, "config").says(&["the backup key", "(cp-1) was valid until", "keygen --role backup"]);
    let ring = world.json(&["keyring"]);
    let key =
        ring["keys"].as_array().unwrap().iter().find(|key| key["id"] == "cp-1").expect("it is in the ring").clone();
    assert_eq!((&key["signed"], &key["not_counted"]["manifests"]["count"]), (&json!({}), &json!(2)));
}

#[test]
fn entries_that_make_no_sense_are_told_all_at_once() {
    let wrong = "{ id: a }, { key: RECOVERY, until: tomorrow }, { key: PROVE, from: 2026-02-01, until: 2026-01-01 }, { kye: x }";
    let world = world_with(wrong);
    world.refused(&["check-config"], 3, "config").says(&[
        "keys.recipients[0].key: is missing",
        "keys.recipients[1].until: \"tomorrow\" is no time",
        "keys.recipients[2].until: ends before it begins",
        "keys.recipients[3].kye: unknown field `kye`: did you mean `key`?",
    ]);
}
