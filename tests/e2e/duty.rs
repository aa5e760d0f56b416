//! Three agents beside three members, without a word to each other: one backup a slot, and whoever is gone is stood in for.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::server::{Server, free_port, wait_until};
use lifeboat_tests::world::World;
use serde_json::Value;

const PERIOD: Duration = Duration::from_secs(20);
/// A quarter of half the period: the three places and that of agents elsewhere, which is shorter than `take_over` below.
const STEP: Duration = Duration::from_millis(2500);

fn world() -> World {
    let etcd = RealEtcd::start(Etcd::V3_6, Options { members: 3, ..Options::default() });
    etcd.etcdctl(&["put", "key", "value"]);
    let mut world = World::around(Some(etcd), None);
    world.set("schedule", "{ backup: \"*/20 * * * * *\", jitter: 0s, take_over: 20s }");
    world.set("roles", "[backup]");
    world
}

/// An agent whose endpoint is this member's alone.
fn agent(world: &World, member: usize) -> Server {
    let name = format!("agent-{member}");
    let etcd = format!("{{ endpoints: [\"{}\"] }}", world.etcd().endpoints()[member]);
    let http = format!("{{ listen: \"127.0.0.1:{}\" }}", free_port());
    let config = world.write_config(&format!("{name}.yaml"), &[("etcd", &etcd), ("http", &http)]);
    world.agent(&config, &name)
}

/// The number of the member that leads.
fn leader(world: &World) -> usize {
    let told = world.etcd().etcdctl(&["endpoint", "status", "-w", "json"]);
    let told: Vec<Value> = serde_json::from_str(&told).expect("JSON");
    let leads = |member: &Value| member["Status"]["leader"] == member["Status"]["header"]["member_id"];
    let endpoint = told.iter().find(|member| leads(member)).expect("a member leads")["Endpoint"].as_str().unwrap();
    world.etcd().endpoints().iter().position(|known| known == endpoint).expect("one of ours")
}

/// Slot and time of capture of every backup, oldest first.
fn taken(world: &World) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let time = |value: &Value| DateTime::parse_from_rfc3339(value.as_str().expect("a time")).unwrap().to_utc();
    world.list().iter().rev().map(|entry| (time(&entry["slot"]), time(&entry["captured_at"]))).collect()
}

/// Waits until so many slots are served, and no more than the schedule gives.
fn wait_for(world: &World, slots: usize, agents: &[Server]) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let limit = PERIOD * u32::try_from(slots + 1).unwrap();
    let served = wait_until(limit, || taken(world).len() >= slots);
    let logs: Vec<String> = agents.iter().map(Server::log).collect();
    assert!(served.is_some(), "not {slots} slots served within {limit:?}:\n{}", logs.join("\n---\n"));
    taken(world)
}

fn published(agent: &Server) -> usize {
    agent.log().matches("backup published").count()
}

#[test]
fn of_three_agents_one_serves_each_slot_and_another_takes_over_from_one_that_is_gone() {
    let world = world();
    let leads = leader(&world);
    let mut agents: Vec<Server> = (0..3).map(|member| agent(&world, member)).collect();
    let before = wait_for(&world, 3, &agents);
    assert_eq!(published(&agents[leads]), 0, "followers come first:\n{}", agents[leads].log());
    let left = agents.remove(leads);
    for gone in agents {
        let log = gone.log();
        assert!(!log.contains("ERROR") && !log.contains("cannot be told"), "{log}");
        assert_eq!(gone.terminate(Duration::from_secs(40)).code(), Some(0));
    }
    let after = wait_for(&world, before.len() + 2, std::slice::from_ref(&left));
    assert_eq!(leader(&world), leads, "the same member leads all along");
    let log = left.log();
    assert!(log.contains("other agents come first in this slot"), "{log}");
    let own = &after[before.len()..];
    assert_eq!(published(&left), own.len(), "{log}");
    for (slot, captured_at) in own {
        // Times in manifests are whole seconds.
        let waited = (*captured_at - slot).to_std().expect("not before its slot");
        assert!(
            waited + Duration::from_secs(1) > STEP * 2 && waited < PERIOD,
            "the third waits two steps, not {waited:?}:\n{log}"
        );
    }
    let slots: BTreeSet<DateTime<Utc>> = after.iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots.len(), after.len(), "one backup a slot: {after:?}");
    let (first, last) = (slots.first().unwrap(), slots.last().unwrap());
    let expected = (*last - *first).num_seconds() / 20 + 1;
    assert_eq!(i64::try_from(slots.len()), Ok(expected), "and no slot without one: {after:?}");
}
