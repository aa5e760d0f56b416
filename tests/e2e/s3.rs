//! What a bucket can refuse, and what is left in it.

use std::process::Command;
use std::time::Duration;

use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::s3::{S3, uploads};
use lifeboat_tests::server::{free_port, wait_until};
use lifeboat_tests::tools;
use lifeboat_tests::world::{Place, World, keyspace, refs};
use serde_json::{Value, json};

#[test]
fn a_missing_bucket_wrong_credentials_and_a_dead_endpoint_are_told_apart() {
    let bucket = S3::shared().bucket();
    let mut world = World::around(None, Some(bucket.clone()));
    world.add_secret("canary-wrong-secret");
    world.run(&["list"]).expect_code(0);

    let usual = world.field("stores").to_owned();
    std::fs::write(world.path("wrong.yaml"), "access_key_id: testkey\nsecret_access_key: canary-wrong-secret\n")
        .unwrap();
    world.set("stores", usual.replace("options.yaml", "wrong.yaml"));
    world.refused(&["list"], 5, "store_denied").says(&["cannot list", "check the store's credentials"]);
    std::fs::write(world.path("wrong.yaml"), "access_key_id: nobody\nsecret_access_key: canary-wrong-secret\n")
        .unwrap();
    world.refused(&["prune"], 5, "store_denied");

    world.set("stores", usual.replace(&bucket.name, "no-such-bucket"));
    for command in [&["list"], &["status"]] {
        world.refused(command, 5, "store_bucket_missing").says(&["no-such-bucket", "create the bucket"]);
    }
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    world.set("stores", usual.replace(&bucket.endpoint, &endpoint));
    world.refused(&["list"], 5, "store_unreachable").says(&["cannot list", "check the store's endpoint"]);

    world.set("stores", usual.replace("region", "regoin"));
    world.refused(&["list"], 3, "config").says(&["regoin", "did you mean `region`"]);
    let flags = ["list", "--store", &world.place.url(), "--store-option", "regoin=x"].map(str::to_owned);
    let flags = [flags.to_vec(), world.flags()[world.store_flags().len()..].to_vec()].concat();
    let refused = world.run_bare(&refs(&flags)).expect_code(2);
    assert!(refused.stderr.contains("did you mean `region`"), "{}", refused.stderr);
}

#[test]
fn an_interrupted_backup_leaves_no_parts_in_a_bucket() {
    let bucket = S3::shared().bucket();
    let options = Options { flags: vec!["--unsafe-no-fsync".to_owned()], ..Options::default() };
    let etcd = RealEtcd::start(Etcd::V3_6, options);
    keyspace::fill_bulk(&etcd, 40);
    let world = World::around(Some(etcd), Some(bucket.clone()));
    assert_eq!(uploads(&bucket, ""), (0, 0));
    let mut run = world.lifeboat(&["backup"]).start(&world.path("log"));
    let pid = world.etcd().pid(0).to_string();
    let signal =
        |name: &str| tools::succeed(Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "kill", name, &pid]));
    // It stands still while the bucket is asked, so that it is met in the middle.
    let met = wait_until(Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(20));
        run.signal("STOP");
        let under_way = uploads(&bucket, "") == (1, 0);
        if !under_way {
            run.signal("CONT");
        }
        under_way || run.ended().is_some()
    });
    met.expect("an upload begins");
    signal("STOP");
    run.signal("INT");
    run.signal("CONT");
    let mut ended = None;
    wait_until(Duration::from_secs(30), || {
        ended = run.ended();
        ended.is_some()
    });
    signal("CONT");
    assert_eq!(ended.and_then(|status| status.code()), Some(130), "{}", run.log());
    assert_eq!(uploads(&bucket, ""), (0, 0));
}

#[test]
fn a_folder_named_by_flags_needs_no_config_and_a_prefix_keeps_stores_apart() {
    let world = World::backed_up();
    let Place::Folder(folder) = &world.place else { panic!("a folder") };
    let above = format!("file://{}", folder.parent().unwrap().display());
    let flags = ["list", "--json", "--store", &above, "--cluster", "store", "--trust", "backup=RWQ"];
    let refused = world.run_bare(&flags).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("not a minisign public key"), "{refused:#}");
    let mut flags = world.flags();
    flags.push("--json".to_owned());
    let listed = world.run_bare(&[&["list"], refs(&flags).as_slice()].concat()).expect_code(0).json();
    let proofs: Vec<&Value> =
        listed["backups"].as_array().unwrap().iter().map(|entry| &entry["stores"][0]["proof"]["outcome"]).collect();
    assert_eq!(proofs, [&Value::Null, &json!("passed")]);
}
