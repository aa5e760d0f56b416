//! Two agents on one store and one schedule: neither harms the other.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::server::free_port;
use lifeboat_tests::world::{CLUSTER, World, keyspace};

const SECONDS: u64 = 24;

/// What an overwritten object would change: inode, size, time of the last write.
fn seen(world: &World) -> BTreeMap<String, (u64, u64, i64, i64)> {
    let mut seen = BTreeMap::new();
    for name in world.objects() {
        // Staged parts come and go; and between the listing and the look an object may be pruned.
        if let Ok(meta) = std::fs::metadata(world.folder().join(&name))
            && !name.contains('#')
        {
            seen.insert(name, (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    seen
}

#[test]
fn two_agents_overwrite_nothing_keep_the_list_clean_and_prune_without_harm() {
    let mut world = World::new(Etcd::V3_6);
    world.set("schedule", "{ backup: \"*/2 * * * * *\", prove: after-backup, prune: \"*/2 * * * * *\", jitter: 1s }");
    world.set("keep", "{ last: 3, min_proven: 1 }");
    world.set("prune", "{ grace: 2s, min_age: 1s }");
    world.set("proof", world.field("proof").replacen('{', "{ level: sound,", 1));
    let mut agents = Vec::new();
    for name in ["one", "two"] {
        let http = format!("{{ listen: \"127.0.0.1:{}\" }}", free_port());
        let proof = world.field("proof").replace("/scratch,", &format!("/scratch-{name},"));
        let config = world.write_config(&format!("{name}.yaml"), &[("http", &http), ("proof", &proof)]);
        agents.push(world.agent(&config, name));
    }
    let mut ever = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < end {
        for (name, now) in seen(&world) {
            let before = *ever.entry(name.clone()).or_insert(now);
            assert_eq!(before, now, "{name} was overwritten");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for mut agent in agents {
        assert!(agent.ended().is_none(), "{}", agent.log());
        let log = agent.log();
        world.shows_no_secret(&log);
        assert!(log.contains("backup published"), "each takes its turn:\n{log}");
        assert!(!log.contains("ERROR"), "neither is in the other's way:\n{log}");
        assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));
    }
    let listed = the_list_is_clean(&world);
    let taken = ever.keys().filter(|name| name.ends_with("/manifest.json")).count();
    assert!(taken > listed, "{taken} taken, {listed} left: something was pruned");
    let tombstones = format!("{CLUSTER}/tombstones/");
    assert!(ever.keys().any(|name| name.starts_with(&tombstones)));
    assert!(keyspace::records(world.etcd()).len() as u64 == keyspace::FILLED, "the agents changed nothing in etcd");
}

/// No finding, nothing untrusted or missing, something proven, and every backup can still be opened. Says how many there are.
fn the_list_is_clean(world: &World) -> usize {
    world.run(&["status"]).expect_code(0);
    let listed = world.list();
    assert!(
        listed.iter().all(|entry| entry["trust"] == "trusted" && entry["stores"][0]["present"] == true),
        "{listed:#?}"
    );
    let proven = listed.iter().filter(|entry| entry["stores"][0]["proof"]["outcome"] == "passed").count();
    assert!(proven >= 1, "{listed:#?}");
    let lineages: std::collections::BTreeSet<&str> =
        listed.iter().map(|entry| entry["lineage"].as_str().unwrap()).collect();
    assert_eq!(lineages.len(), 1, "two agents that begin at once begin one history: {lineages:?}");
    for entry in &listed {
        world.run(&["prove", entry["id"].as_str().unwrap(), "--level", "sound"]).expect_code(0);
    }
    listed.len()
}
