//! The tamper suite: whoever may write in a store tries to pass something off, or to make something vanish. Each try is
//! named by `verify` or by a proof, nothing of it becomes proven, and no other backup suffers.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use lifeboat_tests::binary::lifeboat;
use lifeboat_tests::forge::{Forgery, manifest_of, sign};
use lifeboat_tests::world::{World, copy_dir, flip};
use serde_json::{Value, json};

/// A store with a newer, unproven and an older, proven backup; proofs go to `sound`, which boots nothing.
fn world() -> (World, String, String) {
    let mut world = World::backed_up();
    let proof = world.field("proof").replacen('{', "{ level: sound,", 1);
    world.set("proof", proof);
    let [newer, older]: [Value; 2] = world.list().try_into().expect("two backups");
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    let ids = (id(&newer), id(&older));
    world.run(&["verify"]).expect_code(0);
    (world, ids.0, ids.1)
}

/// The findings of `verify` as (kind, what), after it ended with code 11.
#[track_caller]
fn found(world: &World) -> Vec<(String, String)> {
    let answer = world.run(&["verify", "--json"]).expect_code(11).json();
    assert_eq!(answer["whole"], false);
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = answer["findings"].as_array().unwrap();
    // What `verify` finds every list shows as well.
    let listed = world.json(&["list"])["findings"].as_array().unwrap().clone();
    for finding in findings.iter().filter(|finding| finding["kind"] != "damaged") {
        assert!(listed.contains(finding), "not listed: {finding:#}");
    }
    findings.iter().map(|finding| (text(finding, "kind"), text(finding, "what"))).collect()
}

/// Exactly one finding, of this kind, with these words.
#[track_caller]
fn finds(world: &World, kind: &str, words: &[&str]) {
    let findings = found(world);
    let [(found, what)] = findings.as_slice() else { panic!("not one finding: {findings:#?}") };
    assert_eq!(found, kind, "{what}");
    for word in words {
        assert!(what.contains(word), "{word:?} is missing in: {what}");
    }
}

/// Of several findings one of this kind with these words.
#[track_caller]
fn finds_among(world: &World, kind: &str, words: &[&str]) {
    let findings = found(world);
    let fits = |(found, what): &(String, String)| found == kind && words.iter().all(|word| what.contains(word));
    assert!(findings.iter().any(fits), "no {kind} with {words:?} in {findings:#?}");
}

/// A proof that was made and failed, with these words in it, and left its mark.
#[track_caller]
fn fails_its_proof(world: &World, id: &str, words: &[&str]) {
    let failed = world.run(&["prove", id, "--json"]).expect_code(10).json();
    let told = failed["steps"].to_string();
    for word in words {
        assert!(told.contains(word), "{word:?} is missing in {told}");
    }
    let entry = world.list().into_iter().find(|entry| entry["id"] == *id).unwrap();
    assert_eq!(entry["stores"][0]["proof"]["outcome"], "failed");
}

/// The older backup is proven as before, and a restore by default takes it.
#[track_caller]
fn still_restores(world: &World, older: &str) {
    let target = world.path("data");
    let done = world.json(&["restore", "--data-dir", target.to_str().unwrap(), "--yes"]);
    assert_eq!(done["plan"]["backup"], *older);
    std::fs::remove_dir_all(target).unwrap();
    world.run(&["prove", older]).expect_code(0);
}

fn stranger(world: &World) -> std::path::PathBuf {
    let keys = world.path("stranger");
    lifeboat(&["keygen", "--role", "all", "--out", keys.to_str().unwrap()]).expect_code(0);
    keys.join("backup.sign.key")
}

fn exchange(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    for (from, to) in [(one, aside.as_path()), (other, one), (&aside, other)] {
        std::fs::rename(from, to).unwrap();
    }
}

#[test]
fn a_flipped_byte_is_for_a_proof_to_find_and_a_truncated_object_for_verify() {
    let (world, newer, older) = world();
    let blob = world.object(&newer, "db.zst.age");
    let whole = std::fs::read(&blob).unwrap();
    flip(&blob, 1000);
    world.run(&["verify"]).expect_code(0); // it opens nothing, and the size is right
    fails_its_proof(&world, &newer, &["is damaged between bytes"]);
    std::fs::write(&blob, &whole[..whole.len() - 1]).unwrap();
    finds(&world, "damaged", &[&newer, "bytes instead of"]);
    still_restores(&world, &older);
    std::fs::remove_file(&blob).unwrap();
    finds(&world, "missing", &[&newer, "the data"]);
    std::fs::write(&blob, &whole).unwrap();
    let sums = world.object(&newer, "db.zst.age.sums");
    flip(&sums, 3);
    finds(&world, "damaged", &[&newer, "other sums, of the same size"]);
    std::fs::remove_file(&sums).unwrap();
    finds(&world, "missing", &[&newer, "the sums"]);
    still_restores(&world, &older);
}

#[test]
fn swapped_objects_are_found_in_both_places_and_another_backup_is_untouched() {
    let (world, newer, older) = world();
    // A third backup, honestly signed.
    let third = Forgery::of(&world, &older, Utc::now()).put(&world.key("backup.sign.key"));
    world.run(&["prove", &third]).expect_code(0);
    for name in ["db.zst.age", "db.zst.age.sums"] {
        exchange(&world.object(&newer, name), &world.object(&older, name));
    }
    let findings = found(&world);
    for id in [&newer, &older] {
        assert!(findings.iter().any(|(kind, what)| kind == "damaged" && what.contains(id.as_str())), "{findings:#?}");
        fails_its_proof(&world, id, &["is not what the signed manifest says"]);
    }
    still_restores(&world, &third);
}

#[test]
fn an_old_backup_under_a_new_name_and_old_data_under_a_newer_manifest_are_told_apart() {
    let (world, newer, older) = world();
    let replayed = Forgery::of(&world, &older, Utc::now());
    let (folder, id) = (replayed.folder(), replayed.id.to_string());
    copy_dir(world.object(&older, "").as_path(), &folder);
    finds(&world, "unsigned", &[&id, "replayed or mixed", "its path is"]);
    world.refused(&["prove", &id], 8, "unsigned");
    still_restores(&world, &older);
    std::fs::remove_dir_all(folder).unwrap();
    for name in ["db.zst.age", "db.zst.age.sums"] {
        std::fs::copy(world.object(&older, name), world.object(&newer, name)).unwrap();
    }
    finds(&world, "damaged", &[&newer]);
    fails_its_proof(&world, &newer, &["is not what the signed manifest says"]);
    still_restores(&world, &older);
}

#[test]
fn a_backup_sealed_for_the_true_recipient_by_a_stranger_counts_nowhere() {
    let (world, _, older) = world();
    let forged = Forgery::of(&world, &older, Utc::now()).put(&stranger(&world));
    finds(&world, "unsigned", &[&forged, "forged", "no trusted backup key signed it"]);
    world.refused(&["prove", &forged], 8, "unsigned");
    world.refused(&["show", &forged], 8, "unsigned");
    let untrusted = world.json(&["list", "--state", "untrusted"]);
    assert_eq!(untrusted["backups"][0]["id"], json!(forged));
    still_restores(&world, &older);
}

#[test]
fn a_manifest_signed_anew_by_a_stranger_loses_its_trust_and_is_missed() {
    let (world, newer, older) = world();
    let path = world.object(&newer, "manifest.json");
    let (whole, signature) =
        (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("json.minisig")).unwrap());
    world.run(&["prove", &newer]).expect_code(0);
    sign(&path, &mut manifest_of(&world, &newer), &stranger(&world));
    finds_among(&world, "unsigned", &[&newer, "forged"]);
    finds_among(&world, "history_broken", &[&newer, "a verdict of", "what stands at its name does not count"]);
    std::fs::write(&path, whole).unwrap();
    std::fs::write(path.with_extension("json.minisig"), signature).unwrap();
    // The true key under a changed manifest: it is trusted, but not what was proven.
    let mut manifest = manifest_of(&world, &newer);
    manifest["agent_version"] = json!("9.9.9");
    sign(&path, &mut manifest, &world.key("backup.sign.key"));
    finds(&world, "history_broken", &[&newer, "another manifest stands at its name"]);
    let proof = world.list().into_iter().find(|entry| entry["id"] == newer).unwrap()["stores"][0]["proof"].clone();
    assert_eq!(proof, Value::Null, "a verdict on other bytes proves nothing of these");
    still_restores(&world, &older);
}

#[test]
fn a_store_put_back_is_found_by_what_a_prover_saw_unless_all_of_it_goes() {
    let (world, newer, older) = world();
    let before = world.path("before");
    copy_dir(world.folder(), &before);
    let mut third = Forgery::of(&world, &newer, Utc::now());
    let parent = lifeboat::digest::Digest::of(&std::fs::read(world.object(&newer, "manifest.json")).unwrap());
    third.manifest["parents"] = json!([{ "id": newer, "manifest_sha256": parent }]);
    let third = third.put(&world.key("backup.sign.key"));
    // A re-read of the oldest leaves a verdict that names the newest and counts all three.
    world.run(&["prove", &older, "--level", "stored"]).expect_code(0);
    for id in [&third, &newer] {
        std::fs::remove_dir_all(world.object(id, "")).unwrap();
    }
    finds_among(
        &world,
        "history_broken",
        &[&third, "the catalog that the prover saw at", "gone without a signed tombstone"],
    );
    finds_among(&world, "history_broken", &["1 more of the backups that the prover saw here"]);
    let status = world.run(&["status"]).expect_code(11).stdout;
    assert!(status.contains("FINDING history_broken") && status.contains(&third), "{status}");
    world.refused(&["prune", "--apply"], 7, "prune_frozen").says(&["gone without a signed tombstone"]);
    still_restores(&world, &older);
    // Put back with its proofs it contradicts nothing: nobody can see that from inside.
    std::fs::remove_dir_all(world.folder()).unwrap();
    copy_dir(&before, world.folder());
    world.run(&["verify"]).expect_code(0);
}

#[test]
fn what_was_removed_is_named_by_its_child_and_a_removed_signature_takes_the_trust_away() {
    let (world, newer, older) = world();
    let aside = world.path("aside");
    copy_dir(&world.object(&older, ""), &aside);
    std::fs::remove_file(world.object(&older, "manifest.json")).unwrap();
    finds(&world, "history_broken", &[&older, "a later one", &newer, "a verdict of"]);
    let text = world.run(&["verify"]).expect_code(11).stdout;
    assert!(text.contains(&format!("orphan      {older}, what is left of a backup")), "{text}");
    let shown = world.json(&["show", &newer]);
    assert_eq!(shown["findings"], json!([]), "the finding is about the older one");
    copy_dir(&aside, &world.object(&older, ""));
    world.run(&["verify"]).expect_code(0);
    std::fs::remove_file(world.object(&newer, "manifest.json.minisig")).unwrap();
    finds(&world, "unsigned", &[&newer, "it has no signature"]);
    still_restores(&world, &older);
}

#[test]
fn a_backup_of_another_cluster_does_not_pass_for_one_of_ours() {
    let (world, _, older) = world();
    let mut mixed = Forgery::of(&world, &older, Utc::now());
    mixed.manifest["cluster"] = json!("staging");
    mixed.manifest["path"] = json!(format!("staging/backups/{}/manifest.json", mixed.id));
    // Even where one key signs for both clusters.
    let id = mixed.put(&world.key("backup.sign.key"));
    finds(&world, "unsigned", &[&id, "replayed or mixed", "its cluster is \"staging\""]);
    world.refused(&["prove", &id], 8, "unsigned");
    still_restores(&world, &older);
}

#[test]
fn nothing_unsigned_is_fetched_let_alone_decompressed() {
    let (world, _, older) = world();
    let bomb = Forgery::of(&world, &older, Utc::now()).sealing(&bomb());
    let blob = bomb.folder().join("db.zst.age");
    let id = bomb.put(&stranger(&world));
    // Whoever opened this for reading would wait for ever.
    std::fs::remove_file(&blob).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&blob).status().unwrap();
    assert!(made.success());
    world.refused(&["prove", &id], 8, "unsigned").says(&["nothing is opened that is not signed"]);
    finds(&world, "unsigned", &[&id]);
    let target = world.path("data");
    let named = ["restore", &id, "--data-dir", target.to_str().unwrap(), "--yes", "--allow", "unproven"];
    world.refused(&named, 7, "consent_missing");
    still_restores(&world, &older);
}

/// 2 GiB of nothing in a few hundred KiB.
fn bomb() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 2 << 30), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    bomb
}

#[test]
fn a_bomb_that_the_true_key_signed_goes_no_further_than_the_size_that_it_signed() {
    let (world, _, older) = world();
    let id = Forgery::of(&world, &older, Utc::now()).sealing(&bomb()).put(&world.key("backup.sign.key"));
    world.run(&["verify"]).expect_code(0);
    let begun = Instant::now();
    fails_its_proof(&world, &id, &[]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let target = world.path("data");
    let named = ["restore", &id, "--data-dir", target.to_str().unwrap(), "--yes", "--allow", "unproven"];
    world.refused(&named, 8, "damaged");
    assert!(!target.exists() && !world.path("data.partial").exists());
    still_restores(&world, &older);
}

#[test]
fn objects_without_end_are_refused_by_their_size() {
    let (world, newer, older) = world();
    let endless = |path: &Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    let begun = Instant::now();
    endless(&world.object(&newer, "db.zst.age"));
    finds(&world, "damaged", &[&newer, "1099511627776 bytes instead of"]);
    fails_its_proof(&world, &newer, &["1099511627776 bytes where the signed manifest says"]);
    endless(&world.object(&newer, "db.zst.age.sums"));
    fails_its_proof(&world, &newer, &["db.zst.age.sums"]);
    endless(&world.object(&newer, "manifest.json"));
    finds_among(&world, "unsigned", &[&newer]);
    endless(&world.object(&newer, "manifest.json.minisig"));
    finds_among(&world, "unsigned", &[&newer]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    still_restores(&world, &older);
}

#[test]
fn a_backup_that_came_long_after_its_time_is_late_until_the_operator_accepts_it() {
    let (world, newer, older) = world();
    world.run(&["prove", &older, "--level", "stored"]).expect_code(0);
    // Whoever stole the backup key dates one back, and names the newest's revision, so that it is the newest proven one.
    let mut late = Forgery::of(&world, &newer, Utc::now() - TimeDelta::hours(10));
    late.manifest["parents"] = json!([]);
    let late = late.put(&world.key("backup.sign.key"));
    world.run(&["prove", &late]).expect_code(0);
    finds(&world, "late", &[&late, "was not in this store at"]);
    let entry = world.list().into_iter().find(|entry| entry["id"] == late).unwrap();
    assert_eq!(
        (&entry["stores"][0]["proof"]["outcome"], &entry["late"]["accepted"]),
        (&json!("passed"), &json!(false))
    );
    still_restores(&world, &older);
    let target = world.path("named");
    let named = ["restore", &late, "--data-dir", target.to_str().unwrap(), "--yes"];
    world.refused(&named, 7, "consent_missing").says(&["long after the time it claims", "--allow late"]);
    // Its verdict settles it: a later proof finds the same.
    world.run(&["prove", &late]).expect_code(0);
    finds(&world, "late", &[&late]);
    let findings = world.json(&["ack"]);
    let id = findings["findings"][0]["id"].as_str().unwrap().to_owned();
    let operator = world.key("operator.sign.key").display().to_string();
    let keys = world.field("keys").replacen('{', "{ trusted_keys: { operator: [OPERATOR] },", 1);
    let keys = keys.replace("OPERATOR", world.key("operator.sign.pub").to_str().unwrap());
    let config = world.write_config("operator.yaml", &[("keys", &keys)]);
    let ack = ["ack", &id, "--reason", "I copied it here", "--signing-key", &operator];
    world.run_with(&config, &ack).expect_code(0);
    world.run_with(&config, &["verify"]).expect_code(0);
    let done = world.run_with(&config, &[&named[..], &["--dry-run", "--json"]].concat()).expect_code(0).json();
    assert_eq!(done["plan"]["backup"], json!(late));
}
