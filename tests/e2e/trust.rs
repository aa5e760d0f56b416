//! Whom a restore, a list and a retention plan believe, and what a person must say to go further.

use std::path::Path;

use lifeboat_tests::binary::lifeboat;
use lifeboat_tests::world::{World, refs};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn ids(world: &World) -> (String, String) {
    let [newer, older]: [Value; 2] = world.list().try_into().expect("two backups");
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    (id(&newer), id(&older))
}

#[test]
fn without_a_trusted_key_nothing_is_restored_and_the_text_says_why() {
    let world = World::backed_up();
    let target = world.path("data");
    let mut flags = world.store_flags();
    flags.extend(["--identity".to_owned(), world.key("recovery.key").display().to_string()]);
    let restore = [&["restore", "--data-dir", text(&target), "--yes"], refs(&flags).as_slice()].concat();
    let words = [
        "your identity opens them, but anyone who knows your public recipient",
        "--trust backup=KEY",
        "--allow unverified",
    ];
    world.refused_bare(&restore, 7, "no_trust").says(&words);
    assert!(!target.exists());
    let ran = world.run_bare(&[restore.as_slice(), &["--allow", "unverified"]].concat()).expect_code(0);
    assert!(ran.stderr.contains("WARNING") && ran.stderr.contains("no signature was checked"), "{}", ran.stderr);
    assert!(target.join("member/snap/db").is_file());
}

#[test]
fn a_stranger_who_knows_the_recipient_makes_nothing_that_counts() {
    let ours = World::backed_up();
    let theirs = ours.path("stranger");
    lifeboat(&["keygen", "--role", "all", "--out", text(&theirs)]).expect_code(0);
    let flags = |role: &str| format!("{role}={}", theirs.join(format!("{role}.sign.pub")).display());
    let target = ours.path("data");
    let mut foreign = ours.store_flags();
    for role in ["backup", "prove"] {
        foreign.extend(["--trust".to_owned(), flags(role)]);
    }
    foreign.extend(["--identity".to_owned(), ours.key("recovery.key").display().to_string()]);
    let restore = [&["restore", "--data-dir", text(&target), "--yes"], refs(&foreign).as_slice()].concat();
    let refused = ours.refused_bare(&restore, 6, "not_usable");
    refused.says(&["none of the 2 backups is vouched for by a trusted key"]);
    let listed = ours.run_bare(&[&["list", "--json"], &refs(&foreign)[..]].concat()).expect_code(0).json();
    for entry in listed["backups"].as_array().unwrap() {
        assert_eq!(entry["trust"], "no trusted backup key signed it");
    }
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    assert!(!target.exists());
}

#[test]
fn a_key_of_another_role_signs_in_vain() {
    let world = World::backed_up();
    let (newer, _) = ids(&world);
    let before = world.objects();
    // The prover's and the backup's keys change places: each then signs what it must not.
    let (backup, prove) =
        (world.key("backup.sign.key").display().to_string(), world.key("prove.sign.key").display().to_string());
    let crossed = format!(
        "{{ recipients: [{}], signing_keys: {{ backup: {prove}, prove: {backup} }}, identity_file: {}, \
         trusted_keys: {{ backup: [{}] }} }}",
        world.key("prove.pub").display(),
        world.key("prove.key").display(),
        world.path("backup-copy.pub").display()
    );
    std::fs::copy(world.key("backup.sign.pub"), world.path("backup-copy.pub")).unwrap();
    // One key under two roles would have the rights of both: that is an error of its own, whatever file it is in.
    let config =
        world.write_config("crossed.yaml", &[("keys", &crossed), ("roles", "[prove]"), ("keep", ""), ("schedule", "")]);
    world.refused_with(&config, &["prove", &newer], 3, "config").says(&["two roles"]);
    assert_eq!(world.objects(), before);

    let only = ["--trust".to_owned(), format!("prove={}", world.key("backup.sign.pub").display())];
    let flags = [world.store_flags(), only.to_vec()].concat();
    let listed = world.run_bare(&[&["list", "--json"], refs(&flags).as_slice()].concat()).expect_code(0).json();
    for entry in listed["backups"].as_array().unwrap() {
        assert_eq!(entry["trust"], "no backup key is trusted here");
    }
}

#[test]
fn a_verdict_signed_by_the_backup_key_proves_nothing() {
    let world = World::backed_up();
    let (newer, _) = ids(&world);
    // A prover that holds the backup's key, and believes backups by consent of nobody but itself.
    let other = world.path("other");
    lifeboat(&["keygen", "--role", "all", "--out", text(&other)]).expect_code(0);
    let keys = world.field("keys").replace(text(&world.key("prove.sign.key")), text(&other.join("prove.sign.key")));
    let config = world.write_config("other-prover.yaml", &[("keys", &keys)]);
    world.run_with(&config, &["prove", &newer]).expect_code(0);
    let entry = world.list().into_iter().find(|entry| entry["id"] == newer).unwrap();
    assert_eq!(entry["stores"][0]["proof"], Value::Null, "a foreign prover's word counts for nothing here");
    let found = world.run(&["status"]).expect_code(11).stdout;
    assert!(found.contains("FINDING unsigned") && found.contains("no trusted prove key signed it"), "{found}");
    let listed = world.run_with(&config, &["list", "--json", "--state", "proven"]).expect_code(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "and ours for nothing there");
    assert_eq!(listed["backups"][0]["id"], newer);
}

#[test]
fn the_newest_is_not_taken_before_it_is_proven_unless_somebody_says_so() {
    let world = World::backed_up();
    let (newer, older) = ids(&world);
    let target = world.path("by-default");
    let done = world.json(&["restore", "--data-dir", text(&target), "--yes"]);
    assert_eq!(done["plan"]["backup"], older);
    let plan = world.run_without_terminal(&["restore", "--data-dir", text(&world.path("x"))]).expect_code(7);
    assert!(plan.stderr.contains("1 newer backup is not proven"), "{}", plan.stderr);

    let target = world.path("by-name");
    let named = ["restore", &newer, "--data-dir", text(&target), "--yes"];
    world.refused(&named, 7, "consent_missing").says(&["is not proven (not yet)", "--allow unproven"]);
    world
        .refused(&[named.as_slice(), &["--allow", "older"]].concat(), 7, "consent_missing")
        .says(&["--allow unproven"]);
    assert!(!target.exists());
    let done = world.json(&[named.as_slice(), &["--allow", "unproven"]].concat());
    assert_eq!(done["plan"]["backup"], newer);

    world.run(&["prove", "--due"]).expect_code(0);
    let target = world.path("by-name-again");
    let named = ["restore", &older, "--data-dir", text(&target), "--yes"];
    world.refused(&named, 7, "consent_missing").says(&["is older than", "--allow older"]);
    let done = world.json(&[named.as_slice(), &["--allow", "older", "--no-bump"]].concat());
    assert_eq!((&done["plan"]["backup"], &done["plan"]["bump"]), (&json!(older), &Value::Null));
    let nothing = world.run(&["prove", "--due"]).expect_code(0).stdout;
    assert!(nothing.contains("nothing is due"), "{nothing}");
}

#[test]
fn prune_is_frozen_while_nothing_is_proven_and_never_takes_the_newest_proven() {
    let world = World::backed_up();
    let (newer, older) = ids(&world);
    let proofs = world.folder().join("prod-eu-1/proofs");
    let aside = world.path("proofs-aside");
    std::fs::rename(&proofs, &aside).unwrap();
    let before = world.objects();
    let plan = world.json(&["prune"]);
    assert_eq!((&plan["applied"], &plan["frozen"]["reason"]), (&json!(false), &json!("nothing_proven")));
    world.refused(&["prune", "--apply"], 7, "prune_frozen").says(&["no backup is proven, so nothing is deleted"]);
    assert_eq!(world.objects(), before);
    std::fs::rename(&aside, &proofs).unwrap();

    // `last: 1` would keep the newer one alone; the older is the newest proven one.
    let plan = world.json(&["prune", "--apply"]);
    let kept: Vec<&Value> = plan["keep"].as_array().unwrap().iter().map(|verdict| &verdict["id"]).collect();
    assert_eq!(kept, [&json!(newer), &json!(older)]);
    assert_eq!((&plan["mark"], &plan["delete"]), (&json!([]), &json!([])));
}

#[test]
fn a_backup_that_no_rule_keeps_is_marked_and_after_the_grace_it_goes_without_a_finding() {
    let world = World::backed_up();
    let (newer, older) = ids(&world);
    world.run(&["prove", &newer]).expect_code(0);
    let dry = world.run(&["prune"]).expect_code(0).stdout;
    assert!(
        dry.contains("DRY RUN: nothing is deleted.") && dry.contains("mark 1") && dry.contains("no rule keeps it"),
        "{dry}"
    );
    let marked = world.json(&["prune", "--apply"]);
    assert_eq!(marked["mark"][0]["id"], older);
    assert!(world.object(&older, "db.zst.age").exists(), "the grace is not over");
    let entry = world.list().into_iter().find(|entry| entry["id"] == older).unwrap();
    assert!(entry["tombstone"]["deletable_from"].is_string(), "{entry:#}");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let done = world.json(&["prune", "--apply"]);
    assert_eq!(done["delete"][0]["id"], older);
    assert!(done["freed_bytes"].as_u64() > Some(0), "{done:#}");
    assert!(
        !world.objects().iter().any(|name| name.contains(&older) && !name.contains("tombstones")),
        "{:?}",
        world.objects()
    );
    let left = world.list();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["id"], newer);
    let status = world.run(&["status"]).expect_code(0).stdout;
    assert!(status.contains("restorable to"), "a pruned parent is no finding:\n{status}");
    let again = world.json(&["prune", "--apply"]);
    assert_eq!((&again["mark"], &again["delete"]), (&json!([]), &json!([])));
}
