//! Keys that come and go: the operator's trust list, what a revocation leaves, a backup sealed anew.

use std::fs;
use std::path::Path;

use lifeboat_tests::binary::lifeboat;
use lifeboat_tests::world::{World, refs};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A world whose config trusts its operator.
fn world() -> World {
    let mut world = World::backed_up();
    let operator = world.key("operator.sign.pub").display().to_string();
    let keys = world.field("keys").trim_end_matches('}').to_owned();
    world.set("keys", format!("{keys}, trusted_keys: {{ operator: [{operator}] }} }}"));
    world
}

fn ids(world: &World) -> (String, String) {
    let [newer, older]: [Value; 2] = world.list().try_into().expect("two backups");
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    (id(&newer), id(&older))
}

fn entry(world: &World, id: &str) -> Value {
    world.list().into_iter().find(|entry| entry["id"] == id).expect("it is listed")
}

fn of_role<'a>(ring: &'a Value, role: &str) -> Vec<&'a Value> {
    ring["keys"].as_array().unwrap().iter().filter(|key| key["role"] == role).collect()
}

fn signed(world: &World, arguments: &[&str]) -> Value {
    let operator = world.key("operator.sign.key").display().to_string();
    world.json(&[arguments, &["--signing-key", &operator, "--apply"]].concat())
}

#[test]
fn the_keyring_tells_who_opens_and_who_signed_what_and_needs_no_identity() {
    let world = world();
    fs::remove_file(world.key("recovery.key")).unwrap();
    let ring = world.json(&["keyring"]);
    assert_eq!(ring["trust_list"], Value::Null);
    let recipients = ring["recipients"].as_array().unwrap();
    assert_eq!(recipients.len(), 2, "{ring:#}");
    for recipient in recipients {
        assert_eq!(recipient["backups"]["count"], 2);
        assert!(recipient["recipient"].as_str().unwrap().starts_with("age1"), "{recipient:#}");
    }
    assert_eq!(of_role(&ring, "backup")[0]["signed"]["manifests"]["count"], 2);
    assert_eq!(of_role(&ring, "prove")[0]["signed"]["verdicts"]["count"], 1);
    assert_eq!(ring["unused"]["keys"].as_array().unwrap().len(), 2, "prune and operator signed nothing");
    assert_eq!((&ring["unopened"], &ring["unknown"]), (&json!([]), &json!([])));

    let other = world.path("other");
    lifeboat(&["keygen", "--role", "recovery", "--out", text(&other)]).expect_code(0);
    let keys = world.field("keys").replace(text(&world.key("prove.pub")), text(&other.join("recovery.pub")));
    let keys = keys.replace(text(&world.key("recovery.pub")), text(&other.join("recovery.pub")));
    let config = world.write_config("other.yaml", &[("keys", &keys)]);
    let ring = world.run_with(&config, &["keyring", "--json"]).expect_code(0).json();
    assert_eq!(ring["unopened"].as_array().unwrap().len(), 2);
    assert_eq!(ring["unused"]["recipients"].as_array().unwrap().len(), 1);
    let shown = world.run(&["keyring"]).expect_code(0).stdout;
    assert!(shown.contains("2 manifests") && shown.contains("trusted by config"), "{shown}");
}

#[test]
fn of_a_revoked_backup_key_counts_what_was_proven_before_and_what_the_operator_vouches_for() {
    let world = world();
    let (newer, older) = ids(&world);
    let public = world.key("backup.sign.pub").display().to_string();
    let revoke = ["keyring", "revoke", &public, "--reason", "cp-2 was stolen"];
    let before = world.objects();
    let dry = world.json(&revoke);
    assert_eq!((&dry["applied"], &dry["n"]), (&json!(false), &json!(1)));
    assert_eq!(dry["no_longer_counts"]["backups"], json!([newer]));
    assert_eq!(world.objects(), before, "a dry run writes nothing");
    let prune = world.key("prune.sign.key").display().to_string();
    world.refused(&[&revoke[..], &["--apply", "--signing-key", &prune]].concat(), 7, "no_trust").says(&["operator"]);
    assert_eq!(world.objects(), before);

    assert_eq!(signed(&world, &revoke)["applied"], true);
    assert!(world.folder().join("prod-eu-1/trust/1.json.minisig").is_file());
    assert_eq!(entry(&world, &older)["trust"], "trusted", "a verdict named it before");
    let why = entry(&world, &newer)["trust"].as_str().unwrap().to_owned();
    assert!(why.contains("was revoked") && why.contains("nobody vouched"), "{why}");
    let status = world.run(&["status"]).expect_code(11).stdout;
    assert!(status.contains("--vouch BACKUP") && status.contains(&newer), "{status}");
    world.refused(&revoke, 2, "usage").says(&["revoked already"]);
    let checks = world.run(&["doctor", "--json"]).expect_code(11).json()["checks"].to_string();
    assert!(checks.contains("was revoked, ") && checks.contains("trust list 1 in main was asked"), "{checks}");
    // The prover does not touch it, so that no verdict can save it later.
    assert!(world.run(&["prove", &newer]).code != Some(0));

    let ring = world.json(&["keyring"]);
    let key = of_role(&ring, "backup")[0];
    assert!(key["revoked"].is_string() && key["in_trust_list"] == true, "{key:#}");
    assert_eq!(
        (&key["signed"]["manifests"]["count"], &key["not_counted"]["manifests"]["count"]),
        (&json!(1), &json!(1))
    );

    signed(&world, &["keyring", "trust", "--vouch", &newer]);
    assert_eq!(entry(&world, &newer)["trust"], "trusted");
    world.run(&["status"]).expect_code(0);
    // With nothing but the operator's key the list in the store tells whom to believe.
    let target = world.path("data");
    let operator = format!("operator={}", world.key("operator.sign.pub").display());
    let identity = world.key("recovery.key").display().to_string();
    let flags =
        [world.store_flags(), ["--trust", &operator, "--identity", &identity].map(str::to_owned).to_vec()].concat();
    let restore = [&["restore", "--data-dir", text(&target), "--yes", "--json"], refs(&flags).as_slice()].concat();
    assert_eq!(world.run_bare(&restore).expect_code(0).json()["plan"]["backup"], older);
}

#[test]
fn a_copy_carries_the_trust_list_and_what_the_target_revoked_is_not_copied() {
    let world = world();
    let (newer, older) = ids(&world);
    let public = world.key("backup.sign.pub").display().to_string();
    let far = format!("file://{}", world.path("far").display());
    fs::create_dir(world.path("far")).unwrap();
    let near = world.store_flags()[1].clone();
    let copy = ["copy", "--from", &near, "--to", &far];
    assert_eq!(world.json(&copy)["trust_list"], Value::Null);
    signed(&world, &["keyring", "revoke", &public, "--reason", "cp-2 was stolen", "--vouch", &newer]);
    let dry = world.json(&[&copy[..], &["--dry-run"]].concat());
    assert_eq!((&dry["trust_list"], world.path("far/prod-eu-1/trust").exists()), (&json!(1), false));
    let copied = world.json(&copy);
    assert_eq!((&copied["trust_list"], &copied["skipped"]), (&json!(1), &json!(2)), "{copied:#}");
    // There too the operator's key alone is enough now, and the list says what counts.
    let operator = format!("operator={}", world.key("operator.sign.pub").display());
    let list = world.run_bare(&["list", "--store", &far, "--trust", &operator, "--json"]).expect_code(0).json();
    let trusted = list["backups"].as_array().unwrap().iter().filter(|entry| entry["trust"] == "trusted");
    assert_eq!(trusted.count(), 2);
    assert_eq!(world.json(&copy)["trust_list"], Value::Null, "it is there");

    // The other way round: a store that never saw the list gives nothing that the target no longer believes.
    let back = format!("file://{}", world.path("back").display());
    fs::create_dir(world.path("back")).unwrap();
    world.json(&["copy", "--from", &near, "--to", &back]);
    fs::remove_dir_all(world.path("back/prod-eu-1/backups")).unwrap();
    for name in ["1.json", "1.json.minisig"] {
        fs::remove_file(world.folder().join("prod-eu-1/trust").join(name)).unwrap();
    }
    fs::remove_dir_all(world.folder().join("prod-eu-1/proofs")).unwrap();
    let copied = world.json(&["copy", "--from", &near, "--to", &back]);
    let ids: Vec<&Value> = copied["copied"].as_array().unwrap().iter().map(|entry| &entry["id"]).collect();
    assert_eq!(ids, [&json!(newer)], "only what the operator vouched for; {older} has no verdict any more: {copied:#}");
}

#[test]
fn verdicts_of_a_revoked_prove_key_never_count_and_are_no_alarm() {
    let world = world();
    let (_, older) = ids(&world);
    let public = world.key("prove.sign.pub").display().to_string();
    signed(&world, &["keyring", "revoke", &public, "--reason", "the prover's host was stolen"]);
    assert_eq!(entry(&world, &older)["stores"][0]["proof"], Value::Null);
    let status = world.run(&["status", "--json"]).json();
    let unsigned = status["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == "unsigned");
    assert_eq!(unsigned.count(), 0, "{status:#}");
    // A new prover takes over, trusted by the list alone.
    let new = world.path("prove2");
    lifeboat(&["keygen", "--role", "prove", "--out", text(&new)]).expect_code(0);
    signed(&world, &["keyring", "trust", &format!("prove={}", new.join("prove.sign.pub").display())]);
    let keys = world.field("keys").replace(text(&world.key("prove.sign.key")), text(&new.join("prove.sign.key")));
    let config = world.write_config("new-prover.yaml", &[("keys", &keys)]);
    world.run_with(&config, &["prove", &older, "--level", "sound"]).expect_code(0);
    assert_eq!(
        entry(&world, &older)["stores"][0]["proof"]["outcome"],
        "passed",
        "the old config learns of it from the list"
    );
}

#[test]
fn a_forged_list_is_a_finding_and_a_list_that_is_gone_too() {
    let world = world();
    let (newer, _) = ids(&world);
    let trust = world.folder().join("prod-eu-1/trust");
    // Signed by the pruner, for its own key, and higher than any.
    let stranger = world.path("stranger");
    lifeboat(&["keygen", "--role", "all", "--out", text(&stranger)]).expect_code(0);
    let theirs =
        world.field("keys").replace(text(&world.key("operator.sign.pub")), text(&stranger.join("operator.sign.pub")));
    let config = world.write_config("stranger.yaml", &[("keys", &theirs)]);
    let key = stranger.join("operator.sign.key");
    let public = world.key("backup.sign.pub").display().to_string();
    let revoke = ["keyring", "revoke", &public, "--reason", "mischief", "--apply", "--signing-key", text(&key)];
    world.run_with(&config, &revoke).expect_code(0);
    assert_eq!(entry(&world, &newer)["trust"], "trusted");
    let status = world.run(&["status"]).expect_code(11).stdout;
    assert!(status.contains("trust/1.json does not count, forged"), "{status}");
    assert!(status.contains("no trusted operator key signed it"), "{status}");
    // What stands in the way is stepped over.
    let done = signed(&world, &["keyring", "trust", "--vouch", &newer]);
    assert_eq!((&done["n"], &done["manifests"][0]["id"]), (&json!(2), &json!(newer)));
    assert_eq!(world.json(&["keyring"])["trust_list"]["n"], 2);
    // A backup made under a list remembers its number: a rollback shows to whoever comes later.
    let identity = world.key("recovery.key").display().to_string();
    let operator = world.key("operator.sign.key").display().to_string();
    let recipient = fs::read_to_string(world.key("recovery.pub")).unwrap();
    let reseal =
        ["reseal", &newer, "--recipient", recipient.trim(), "--identity", &identity, "--signing-key", &operator];
    world.run(&reseal).expect_code(0);
    for name in ["2.json", "2.json.minisig", "1.json", "1.json.minisig"] {
        fs::remove_file(trust.join(name)).unwrap();
    }
    let status = world.run(&["status"]).expect_code(11).stdout;
    assert!(status.contains("FINDING history_broken") && status.contains("trust list 2 is gone"), "{status}");
}

#[test]
fn a_resealed_backup_is_the_operators_unproven_opens_for_the_new_key_and_holds_the_same_state() {
    let world = world();
    let (_, older) = ids(&world);
    let other = world.path("other");
    let (store, public) = (world.place.url(), world.key("operator.sign.pub"));
    let says = ["--cluster", "prod-eu-1", "--store", &store, "--operator", text(&public)];
    lifeboat(&[&["keygen", "--role", "recovery", "--out", text(&other)], says.as_slice()].concat()).expect_code(0);
    let recipient = other.join("recovery.pub").display().to_string();
    let (identity, operator) = (world.key("recovery.key"), world.key("operator.sign.key"));
    let reseal = ["reseal", &older, "--recipient", &recipient, "--identity", text(&identity), "--signing-key"];
    let backup = world.key("backup.sign.key").display().to_string();
    let before = world.objects();
    world.refused(&[&reseal[..], &[&backup]].concat(), 7, "no_trust").says(&["operator"]);
    let wrong = other.join("recovery.key").display().to_string();
    let unopened =
        ["reseal", &older, "--recipient", &recipient, "--identity", &wrong, "--signing-key", text(&operator)];
    world.refused(&unopened, 9, "key_wrong").says(&["opens backup"]);
    assert_eq!(world.objects(), before, "nothing is left of what failed");

    let done = world.json(&[&reseal[..], &[text(&operator)]].concat());
    let new = done["id"].as_str().unwrap();
    assert_eq!(done["resealed_from"]["id"], older.as_str());
    let (was, is) = (entry(&world, &older), entry(&world, new));
    for field in ["revision", "keys", "db_bytes", "hash_kv", "captured_at", "lineage"] {
        assert_eq!(was[field], is[field], "{field}");
    }
    assert_eq!((&is["trust"], &is["stores"][0]["proof"]), (&json!("trusted"), &Value::Null));
    let target = world.path("data");
    let restore = ["restore", new, "--data-dir", text(&target), "--yes", "--allow", "unproven", "--allow", "older"];
    world.refused(&[&restore[..], &["--identity", text(&identity)]].concat(), 9, "key_wrong");
    world.run(&[&restore[..], &["--identity", &wrong]].concat()).expect_code(0);
    assert!(target.join("member/snap/db").is_file());
    // The new recovery key alone says where the backups are and whom to believe; without the list nobody but the operator.
    let listed = world.run_bare(&["list", "--json", "--identity", &wrong]).expect_code(0).json();
    assert_eq!(listed["cluster"], "prod-eu-1");
    let trusted = listed["backups"].as_array().unwrap().iter().filter(|entry| entry["trust"] == "trusted");
    assert_eq!(trusted.map(|entry| &entry["id"]).collect::<Vec<_>>(), [new]);
    // The operator's word is for reseals only, and a reseal is nobody else's.
    let without = world.field("keys").replace("trusted_keys: { operator", "trusted_keys: { prune");
    let config = world.write_config("without.yaml", &[("keys", &without)]);
    let listed = world.run_with(&config, &["list", "--json"]).expect_code(0).json();
    let found = listed["backups"].as_array().unwrap().iter().find(|entry| entry["id"] == new).unwrap();
    assert_eq!(found["trust"], "no trusted backup key signed it");
}
