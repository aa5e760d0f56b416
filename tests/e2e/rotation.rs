//! Sixty backups over two backup keys and two prove keys: what counts when keys are rotated, and when they are revoked.

use std::path::Path;

use lifeboat_tests::binary::lifeboat;
use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::world::{World, refs};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The config of before with another signing key.
fn rotated(world: &mut World, role: &str) {
    let new = world.path(&format!("{role}2"));
    lifeboat(&["keygen", "--role", role, "--out", text(&new)]).expect_code(0);
    let public = format!("{role}={}", new.join(format!("{role}.sign.pub")).display());
    signed(world, &["keyring", "trust", &public]);
    let old = world.key(&format!("{role}.sign.key")).display().to_string();
    let keys = world.field("keys").replace(&old, text(&new.join(format!("{role}.sign.key"))));
    world.set("keys", keys);
}

fn signed(world: &World, arguments: &[&str]) -> Value {
    let operator = world.key("operator.sign.key").display().to_string();
    world.json(&[arguments, &["--signing-key", &operator, "--apply"]].concat())
}

fn twenty(world: &World) -> Vec<String> {
    (0..20).map(|_| world.backup()["id"].as_str().expect("a backup has an id").to_owned()).collect()
}

fn untrusted(world: &World) -> Vec<String> {
    let mut found: Vec<String> = world
        .list()
        .iter()
        .filter(|entry| entry["trust"] != "trusted")
        .map(|entry| entry["id"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

/// Count and not counted of a kind, of the key that `field` marks.
fn account(ring: &Value, public: &Path, kind: &str) -> (u64, u64) {
    let text = std::fs::read_to_string(public).expect("keygen made it");
    let line = text.lines().last().expect("a public key has a line");
    let key = ring["keys"].as_array().unwrap().iter().find(|key| key["key"] == line).expect("it is in the ring");
    let count = |side: &str| key[side][kind]["count"].as_u64().unwrap_or(0);
    (count("signed"), count("not_counted"))
}

#[test]
fn sixty_backups_outlive_a_rotation_of_both_keys_and_a_revocation_takes_only_what_nobody_vouched_for() {
    let mut world = World::new(Etcd::V3_6);
    let operator = world.key("operator.sign.pub").display().to_string();
    // A host that signed once trusts its own old keys by name; here by the list that is written first.
    let keys = world.field("keys").trim_end_matches('}').to_owned();
    world.set("keys", format!("{keys}, trusted_keys: {{ operator: [{operator}] }} }}"));
    world.set("proof", world.field("proof").replacen('{', "{ level: sound,", 1));
    let first = twenty(&world);
    rotated(&mut world, "backup");
    let second = twenty(&world);
    world.run(&["prove", "--all"]).expect_code(0);
    rotated(&mut world, "prove");
    let third = twenty(&world);
    for id in &third[..15] {
        world.run(&["prove", id]).expect_code(0);
    }
    assert_eq!(untrusted(&world), [""; 0], "a rotation costs nothing");
    let (a, b) = (world.key("backup.sign.pub"), world.path("backup2/backup.sign.pub"));
    let (p, q) = (world.key("prove.sign.pub"), world.path("prove2/prove.sign.pub"));
    let ring = world.json(&["keyring"]);
    let counts = |ring: &Value| {
        let accounts = [(&a, "manifests"), (&b, "manifests"), (&p, "verdicts"), (&q, "verdicts")];
        accounts.map(|(key, kind)| account(ring, key, kind))
    };
    assert_eq!(counts(&ring), [(20, 0), (40, 0), (40, 0), (15, 0)]);
    assert_eq!(ring["trust_list"]["n"], 2);

    // The second backup key is stolen. What it signed and a verdict names counts on; of the rest the operator knows one.
    let revoke = ["keyring", "revoke", text(&b), "--reason", "cp-2 was stolen", "--vouch", &third[15]];
    let dry = world.json(&revoke);
    let lost: Vec<String> = serde_json::from_value(dry["no_longer_counts"]["backups"].clone()).unwrap();
    assert_eq!(sorted(&lost), sorted(&third[16..]));
    assert_eq!(signed(&world, &revoke)["n"], 3);
    assert_eq!(untrusted(&world), sorted(&third[16..]));
    assert_eq!(counts(&world.json(&["keyring"])), [(20, 0), (36, 4), (40, 0), (15, 0)]);
    world.refused(&["backup"], 3, "config").says(&["was revoked"]);

    // Then the first prove key too: its verdicts vouch for nothing any more.
    signed(&world, &["keyring", "revoke", text(&p), "--reason", "the prover's host was stolen as well"]);
    assert_eq!(untrusted(&world), sorted(&[second.as_slice(), &third[16..]].concat()));
    assert_eq!(counts(&world.json(&["keyring"])), [(20, 0), (16, 24), (0, 40), (15, 0)]);
    let unproven = world.list().into_iter().filter(|entry| first.iter().any(|id| entry["id"] == id.as_str()));
    assert!(unproven.into_iter().all(|entry| entry["stores"][0]["proof"] == Value::Null));

    // The recovery key from before all this pins the operator, so it needs no flag to know whom to believe.
    let identity = world.key("recovery.key").display().to_string();
    let flags = [world.store_flags(), vec!["--identity".to_owned(), identity]].concat();
    let target = world.path("data");
    let restore = [&["restore", "--data-dir", text(&target), "--yes", "--json"], refs(&flags).as_slice()].concat();
    let done = world.run_bare(&restore).expect_code(0).json();
    assert_eq!((&done["plan"]["backup"], &done["state"]), (&json!(third[14]), &json!("restored")));
    assert!(target.join("member/snap/db").is_file());
}
