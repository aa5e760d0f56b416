//! What `keep` and `prune` come to on a real cluster.

use super::holds::trust_operator;
use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::world::World;
use serde_json::json;

#[test]
fn a_cluster_that_lost_its_keys_ages_out_no_backup_until_shrinking_is_allowed() {
    let mut world = World::new(Etcd::V3_6);
    let full = world.backup();
    world.etcd().etcdctl(&["del", "--prefix", ""]);
    world.etcd().etcdctl(&["put", "/all", "that is left"]);
    for _ in 0..2 {
        world.json(&["backup", "--wait-proven", "2m"]);
    }
    let plan = world.json(&["prune"]);
    assert_eq!(plan["frozen"]["reason"], "shrunk", "{plan:#}");
    let shrunk = world.list()[1]["id"].as_str().expect("an id").to_owned();
    let what = plan["frozen"]["what"].as_str().expect("words").to_owned();
    for words in [shrunk.as_str(), full["id"].as_str().expect("an id"), "has 1 keys where", "lifeboat ack"] {
        assert!(what.contains(words), "{words} is missing in {what}");
    }
    world.refused(&["prune", "--apply"], 7, "prune_frozen").says(&["prune is frozen", &shrunk]);
    assert_eq!(world.list().len(), 3);

    let found = world.json(&["ack"]);
    assert_eq!(found["findings"][0]["kind"], "shrunk", "{found:#}");
    let finding = found["findings"][0]["id"].as_str().expect("an id").to_owned();
    let key = world.key("operator.sign.key").display().to_string();
    let accept = ["ack", &finding, "--reason", "it was a clean-up", "--signing-key", &key];
    world.refused(&accept, 7, "no_trust");
    trust_operator(&mut world);
    world.json(&accept);
    assert_eq!(world.json(&["ack"])["acknowledged"][0]["reason"], "it was a clean-up");
    world.json(&["status"]);
    let plan = world.json(&["prune"]);
    assert_eq!(plan["frozen"], json!(null), "{plan:#}");

    world.set("prune", "{ grace: 1s, min_age: 1s, freeze_if_shrunk: off }");
    let plan = world.json(&["prune", "--apply"]);
    assert_eq!(plan["frozen"], json!(null), "{plan:#}");
    assert_eq!(plan["mark"].as_array().map(Vec::len), Some(2), "{plan:#}");
}

#[test]
fn over_the_budget_the_oldest_goes_and_the_proven_one_stays() {
    let mut world = World::new(Etcd::V3_6);
    world.set("keep", "{ last: 9, min_proven: 1, budget: 1KiB }");
    let oldest = world.backup();
    world.run(&["prove"]).expect_code(0);
    world.json(&["backup", "--wait-proven", "2m"]);
    std::thread::sleep(std::time::Duration::from_millis(1100)); // past min_age
    let plan = world.json(&["prune"]);
    assert_eq!(
        plan["mark"],
        json!([{
            "id": oldest["id"], "reasons": ["over budget"], "deletable_from": plan["mark"][0]["deletable_from"],
        }])
    );
    assert_eq!(plan["keep"].as_array().map(Vec::len), Some(1));
    assert_eq!(plan["over_budget"]["budget_bytes"], 1024, "the newest proven alone is more, and stays: {plan:#}");
    let text = world.run(&["prune"]).expect_code(0).stdout;
    assert!(text.contains("WARNING: what no rule may give up is"), "{text}");
}
