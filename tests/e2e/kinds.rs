//! The whole line on each kind of store: backup, proof, prune, disaster, restore, compare.

use lifeboat_tests::azurite::Azurite;
use lifeboat_tests::gcs::Gcs;
use lifeboat_tests::real_etcd::{Etcd, RealEtcd};
use lifeboat_tests::s3::S3;
use lifeboat_tests::world::{World, keyspace, refs};
use serde_json::json;

#[test]
fn the_whole_line_runs_on_a_folder() {
    whole_line(World::new(Etcd::V3_6));
}

#[test]
fn the_whole_line_runs_on_s3() {
    whole_line(World::in_bucket(Etcd::V3_6, S3::shared().bucket()));
}

#[test]
fn the_whole_line_runs_on_gcs() {
    whole_line(World::in_bucket(Etcd::V3_6, Gcs::shared().bucket()));
}

#[test]
fn the_whole_line_runs_on_azure() {
    whole_line(World::in_bucket(Etcd::V3_6, Azurite::shared().bucket()));
}

fn whole_line(mut world: World) {
    let before = keyspace::records(world.etcd());
    let first = world.backup();
    world.run(&["prove"]).expect_code(0);
    keyspace::put(world.etcd(), "/later", "than the first");
    let second = world.json(&["backup", "--wait-proven", "2m"])["backup"].clone();
    assert_eq!(second["stores"][0]["proof"]["level"], "booted");

    world.run(&["prune", "--apply"]).expect_code(0);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let pruned = world.json(&["prune", "--apply"]);
    assert_eq!(pruned["delete"][0]["id"], first["id"]);
    let listed = world.list();
    assert_eq!((listed.len(), &listed[0]["id"], &listed[0]["stores"][0]["present"]), (1, &second["id"], &json!(true)));
    world.run(&["status"]).expect_code(0);

    world.etcd = None; // the disaster
    let target = world.path("data");
    let mut flags = ["restore", "--data-dir", target.to_str().expect("a plain path"), "--yes", "--no-bump"].to_vec();
    let store = world.flags();
    flags.extend(refs(&store));
    world.run_bare(&flags).expect_code(0);
    let etcd = RealEtcd::on_data_dir(Etcd::V3_6, "m0", &target);
    let after = keyspace::records(&etcd);
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|record| after.contains(record)));
}
