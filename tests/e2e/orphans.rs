//! What is left without a manifest, and what a bucket keeps though it was deleted.

use std::path::PathBuf;
use std::time::Duration;

use super::holds::{operator, trust_operator};
use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::s3::{S3, ask};
use lifeboat_tests::world::{CLUSTER, World, copy_dir, keyspace};
use serde_json::{Value, json};

const GRACE_OVER: Duration = Duration::from_millis(1_300);

fn ids(of: &Value) -> Vec<String> {
    let id = |entry: &Value| entry.get("id").unwrap_or(entry).as_str().expect("an id").to_owned();
    of.as_array().expect("a list").iter().map(id).collect()
}

/// A store whose uploads may be swept a second after they were made.
fn hasty() -> World {
    let mut world = World::backed_up();
    world.set("limits", "{ backup: 1s, stall: 1s, stream: 1s }");
    world.set("keep", "{ last: 9, min_proven: 1 }");
    world
}

/// What a run leaves that dies before its manifest.
fn half_a_backup(world: &World, id: &str) -> PathBuf {
    let whole = world.list()[0]["id"].as_str().unwrap().to_owned();
    let folder = world.object(id, "");
    copy_dir(&world.object(&whole, ""), &folder);
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    // Copies keep the times of what they copy; this one was written now.
    std::fs::write(folder.join("db.zst.age"), "half a database").unwrap();
    folder
}

#[test]
fn an_upload_that_was_left_behind_is_swept_a_grace_after_it_was_first_missed() {
    let world = hasty();
    let id = "20260101T000000Z-00000000000000aa";
    let folder = half_a_backup(&world, id);
    let first = world.json(&["prune", "--apply"]);
    assert_eq!(
        (ids(&first["orphans"]), ids(&first["orphans_marked"])),
        (vec![id.to_owned()], vec![]),
        "too young: {first:#}"
    );
    std::thread::sleep(GRACE_OVER);
    let dry = world.json(&["prune"]);
    assert_eq!(ids(&dry["orphans_marked"]), Vec::<String>::new());
    assert_eq!(ids(&world.json(&["prune", "--apply"])["orphans_marked"]), [id]);
    let early = world.json(&["prune", "--apply"]);
    assert_eq!((ids(&early["orphans_marked"]), ids(&early["orphans_deleted"])), (vec![], vec![]), "{early:#}");
    assert!(folder.join("db.zst.age").exists());
    std::thread::sleep(GRACE_OVER);
    let last = world.json(&["prune", "--apply"]);
    assert_eq!(ids(&last["orphans_deleted"]), [id], "{last:#}");
    let left = world.objects();
    assert!(!left.iter().any(|name| name.contains("backups") && name.contains(id)), "{left:#?}");
    assert!(left.iter().any(|name| name.contains("tombstones") && name.contains(id)), "what was done stays readable");
    assert_eq!(ids(&world.json(&["prune", "--apply"])["orphans"]), Vec::<String>::new());
    assert_eq!(world.list().len(), 2);
    world.json(&["status"]);
}

#[test]
fn what_others_know_as_a_backup_is_no_upload_left_behind() {
    let mut world = hasty();
    let proven = world.list()[1]["id"].as_str().unwrap().to_owned();
    world.run(&["prove", "latest"]).expect_code(0);
    // Somebody took the manifest of a backup that was proven and is named as a parent.
    std::fs::remove_file(world.object(&proven, "manifest.json")).unwrap();
    world.run(&["status"]).expect_code(11);
    world.refused(&["prune", "--apply"], 7, "prune_frozen").says(&["is gone without a signed tombstone"]);
    // Even when a person has accepted that, what is left of it stays.
    trust_operator(&mut world);
    for finding in world.json(&["ack"])["findings"].as_array().unwrap() {
        operator(&world, &["ack", finding["id"].as_str().unwrap(), "--reason", "known"]);
    }
    for _ in 0..3 {
        std::thread::sleep(GRACE_OVER);
        let pruned = world.json(&["prune", "--apply"]);
        assert_eq!((ids(&pruned["orphans_marked"]), ids(&pruned["orphans_deleted"])), (vec![], vec![]), "{pruned:#}");
    }
    assert!(world.object(&proven, "db.zst.age").exists(), "its data is all that is left of it");
}

#[test]
fn a_deletion_that_was_cut_short_is_finished_by_the_next_run() {
    let mut world = hasty();
    world.run(&["prove", "latest"]).expect_code(0);
    world.set("keep", "{ last: 1, min_proven: 1 }");
    let old = world.list()[1]["id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&world.json(&["prune", "--apply"])["mark"]), [old.as_str()]);
    std::thread::sleep(GRACE_OVER);
    // It died right after the manifest.
    std::fs::remove_file(world.object(&old, "manifest.json")).unwrap();
    let done = world.json(&["prune", "--apply"]);
    assert_eq!(ids(&done["orphans_deleted"]), [old.as_str()], "{done:#}");
    let left: Vec<String> = world.objects().into_iter().filter(|name| name.contains(&old)).collect();
    assert!(left.iter().all(|name| name.starts_with(&format!("{CLUSTER}/tombstones/"))), "{left:#?}");
    world.json(&["status"]);
}

#[test]
fn a_bucket_with_object_lock_hides_what_is_pruned_and_keeps_it() {
    let bucket = Bucket { name: "pruned-under-lock".to_owned(), ..S3::shared().bucket() };
    ask(&bucket, "client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)", &[]);
    let mut world = World::in_bucket(Etcd::V3_6, bucket.clone());
    let stores = world.field("stores").replacen("{ url:", "{ lock: { mode: governance, days: 3 }, url:", 1);
    world.set("stores", stores);
    world.set("proof", world.field("proof").replacen('{', "{ level: sound,", 1));
    let old = world.json(&["backup", "--wait-proven", "1m"])["backup"]["id"].as_str().unwrap().to_owned();
    keyspace::put(world.etcd(), "/registry/configmaps/default/newer", "written after the first backup");
    world.run(&["backup", "--wait-proven", "1m"]).expect_code(0);
    std::thread::sleep(GRACE_OVER); // nothing is too young to go
    assert_eq!(ids(&world.json(&["prune", "--apply"])["mark"]), [old.as_str()]);
    std::thread::sleep(Duration::from_millis(2_500)); // S3 tells whole seconds
    let pruned = world.json(&["prune", "--apply"]);
    assert_eq!((ids(&pruned["delete"]), &pruned["locked"]), (vec![old.clone()], &json!([])), "{pruned:#}");
    assert_eq!(world.list().len(), 1);

    // Every object of it stands behind a marker, and without the marker it is there again.
    let prefix = format!("etcd/{CLUSTER}/backups/{old}/");
    let versions = ask(&bucket, "client.list_object_versions(Bucket=bucket, Prefix=rest[0])", &[&prefix]);
    let count = |kind: &str| versions[kind].as_array().map_or(0, Vec::len);
    assert_eq!((count("Versions"), count("DeleteMarkers")), (4, 4), "{versions:#}");
    for marker in versions["DeleteMarkers"].as_array().unwrap() {
        let [key, version] = ["Key", "VersionId"].map(|field| marker[field].as_str().unwrap());
        ask(&bucket, "client.delete_object(Bucket=bucket, Key=rest[0], VersionId=rest[1])", &[key, version]);
    }
    let back = world.list();
    assert_eq!((back.len(), &back[1]["id"], &back[1]["stores"][0]["present"]), (2, &json!(old), &json!(true)));
    world.run(&["prove", &old]).expect_code(0);
}
