//! Damage and tampering: found before anything is decrypted or put in place, and told by name.

use std::path::Path;

use lifeboat_tests::world::{CLUSTER, World, flip};
use serde_json::{Value, json};

/// The newer and unproven, the older and proven backup of `World::backed_up`.
fn ids(world: &World) -> (String, String) {
    let [newer, older]: [Value; 2] = world.list().try_into().expect("two backups");
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    (id(&newer), id(&older))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A restore by default takes the older, proven one: it must fail with code 8 and leave nothing.
#[track_caller]
fn restore_is_refused(world: &World, reason: &str, words: &[&str]) {
    let target = world.path("data");
    world.refused(&["restore", "--data-dir", text(&target), "--yes"], 8, reason).says(words);
    assert!(!target.exists() && !world.path("data.partial").exists(), "nothing half done is left");
}

#[test]
fn a_truncated_object_is_refused_by_restore_and_condemned_by_a_proof() {
    let world = World::backed_up();
    let (_, older) = ids(&world);
    let blob = world.object(&older, "db.zst.age");
    let bytes = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, &bytes[..bytes.len() - 100]).unwrap();
    restore_is_refused(&world, "damaged", &[&older, "bytes where the signed manifest says", "use another backup"]);
    let failed = world.run(&["prove", &older]).expect_code(10);
    assert!(failed.stdout.contains("failed at stored") && failed.stderr.contains("failed its proof"), "{failed:?}");
    let listed = world.json(&["list", "--state", "failed"]);
    assert_eq!(listed["backups"][0]["id"], json!(older));
    assert_eq!(listed["backups"][0]["stores"][0]["present"], false, "its size is not the signed one");
    let found = world.run(&["status"]).expect_code(11);
    for words in ["NOT restorable", "FINDING proof_failed", "FINDING damaged"] {
        assert!(found.stdout.contains(words), "{words} is missing in:\n{}", found.stdout);
    }
    std::fs::write(&blob, &bytes).unwrap();
    world.run(&["prove", &older]).expect_code(0);
    world.run(&["status"]).expect_code(0);
}

#[test]
fn a_flipped_byte_anywhere_in_a_sealed_object_is_found_before_it_is_decrypted() {
    let world = World::backed_up();
    let (_, older) = ids(&world);
    let blob = world.object(&older, "db.zst.age");
    let whole = std::fs::read(&blob).unwrap();
    let length = i64::try_from(whole.len()).unwrap();
    for at in [0, 100, length / 2, length - 1] {
        flip(&blob, at);
        restore_is_refused(&world, "damaged", &["is damaged between bytes 0 and", "nothing of it was decrypted"]);
        std::fs::write(&blob, &whole).unwrap();
    }
    std::fs::remove_file(&blob).unwrap();
    restore_is_refused(&world, "object_missing", &["is missing from the store"]);
    std::fs::write(&blob, &whole).unwrap();
    let sums = world.object(&older, "db.zst.age.sums");
    flip(&sums, 5);
    restore_is_refused(&world, "damaged", &["db.zst.age.sums is not what the signed manifest says"]);
    flip(&sums, 5);
    let target = world.path("data");
    world.run(&["restore", "--data-dir", text(&target), "--yes"]).expect_code(0);
}

#[test]
fn a_manifest_with_a_flipped_byte_does_not_count_and_the_older_backup_is_taken_only_knowingly() {
    let world = World::backed_up();
    let (newer, older) = ids(&world);
    world.run(&["prove", &newer]).expect_code(0);
    flip(&world.object(&newer, "manifest.json"), 40);
    let listed = world.list();
    let trust: Vec<&str> = listed.iter().map(|entry| entry["trust"].as_str().unwrap()).collect();
    assert_eq!(trust, ["trusted", "no trusted backup key signed it"], "{listed:#?}");
    let untrusted = world.json(&["list", "--state", "untrusted"]);
    assert_eq!(untrusted["backups"].as_array().unwrap().len(), 1);
    assert_eq!(untrusted["backups"][0]["id"], newer);
    let target = world.path("data");
    let named = ["restore", &newer, "--data-dir", text(&target), "--yes", "--allow", "unproven"];
    let words = ["is not trusted (no trusted backup key signed it)", "--allow unverified"];
    world.refused(&named, 7, "consent_missing").says(&words);
    let unread = [&named[..], &["--allow", "unverified", "--dry-run"]].concat();
    world.refused(&unread, 8, "unsigned"); // the flipped byte broke the manifest itself

    let asked = world.run_without_terminal(&["restore", "--data-dir", text(&target)]).expect_code(7);
    assert!(
        asked.stderr.contains("1 newer backup is not trusted, so not considered"),
        "the plan tells it:\n{}",
        asked.stderr
    );
    let done = world.json(&["restore", "--data-dir", text(&target), "--yes"]);
    assert_eq!(done["plan"]["backup"], older);
    let found = world.run(&["status"]).expect_code(11).stdout;
    assert!(found.contains("FINDING unsigned") && found.contains(&newer), "{found}");
    world.refused(&["show", &newer], 8, "unsigned").says(&["does not count"]);
    world.refused(&["prove", &newer], 8, "unsigned").says(&["is not signed by a trusted key"]);
}

#[test]
fn a_flipped_or_missing_signature_takes_the_trust_away() {
    let world = World::backed_up();
    let (newer, _) = ids(&world);
    let signature = world.object(&newer, "manifest.json.minisig");
    let whole = std::fs::read_to_string(&signature).unwrap();
    // A letter of the signature's own line; in the comments a trusted comment is signed too.
    let second = i64::try_from(whole.find('\n').unwrap() + 60).unwrap();
    for (at, trust) in [(second, "no trusted backup key signed it"), (-5, "no trusted backup key signed it")] {
        flip(&signature, at);
        let entry = world.list().into_iter().find(|entry| entry["id"] == newer).unwrap();
        let said = entry["trust"].as_str().unwrap();
        assert!(said == trust || said == "its signature is malformed", "byte {at}: {said}");
        std::fs::write(&signature, &whole).unwrap();
    }
    std::fs::write(&signature, format!("{whole}untrusted comment: more\n")).unwrap();
    let trust = |world: &World| world.list().into_iter().find(|entry| entry["id"] == newer).unwrap()["trust"].clone();
    assert_eq!(trust(&world), "its signature is malformed");
    std::fs::remove_file(&signature).unwrap();
    assert_eq!(trust(&world), "it has no signature");
    std::fs::write(&signature, &whole).unwrap();
    assert_eq!(trust(&world), "trusted");
}

#[test]
fn a_verdict_with_a_flipped_byte_proves_nothing() {
    let world = World::backed_up();
    let (_, older) = ids(&world);
    let start = format!("{CLUSTER}/proofs/{older}/");
    let verdict = world.objects().into_iter().find(|name| name.starts_with(&start) && name.ends_with(".json")).unwrap();
    flip(&world.folder().join(&verdict), 30);
    let target = world.path("data");
    let restore = ["restore", "--data-dir", text(&target), "--yes"];
    world.refused(&restore, 6, "not_usable").says(&["none of the 2 trusted backups is proven"]);
    let found = world.run(&["status"]).expect_code(11).stdout;
    assert!(found.contains("NOT restorable") && found.contains(&verdict), "{found}");
    world.refused(&["prune", "--apply"], 7, "prune_frozen").says(&["no backup is proven"]);
}

#[test]
fn objects_moved_to_another_backup_or_cluster_do_not_count_there() {
    let world = World::backed_up();
    let (newer, older) = ids(&world);
    for name in ["manifest.json", "manifest.json.minisig"] {
        std::fs::copy(world.object(&older, name), world.object(&newer, name)).unwrap();
    }
    let entry = world.list().into_iter().find(|entry| entry["id"] == newer).unwrap();
    assert!(entry["trust"].as_str().unwrap().starts_with("it is not what its name says: its path is "), "{entry:#}");
    std::fs::rename(world.folder().join(CLUSTER), world.folder().join("other")).unwrap();
    let config = world.write_config("other.yaml", &[("cluster", "other")]);
    let listed = world.run_with(&config, &["list", "--json"]).expect_code(0).json();
    for entry in listed["backups"].as_array().unwrap() {
        assert!(entry["trust"].as_str().unwrap().contains("its cluster is"), "{entry:#}");
    }
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
}

#[test]
fn one_document_on_standard_output_even_when_the_answer_is_bad_news() {
    let world = World::backed_up();
    let (newer, older) = ids(&world);
    flip(&world.object(&newer, "db.zst.age"), 9);
    let failed = world.run(&["prove", &newer, "--json"]).expect_code(10).json();
    assert_eq!((&failed["id"], &failed["outcome"]), (&json!(newer), &json!("failed")));
    flip(&world.object(&older, "manifest.json"), 9);
    let status = world.run(&["status", "--json"]).expect_code(11).json();
    let kinds: Vec<&Value> = status["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
    assert_eq!(kinds, ["proof_failed", "unsigned", "history_broken"], "{status:#}");
    assert_eq!(status["restorable_at"], Value::Null);
}
