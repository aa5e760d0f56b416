//! A blackout on a real clock: nothing begins within it, everything once at its end, and a person is not bound by it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::server::wait_until;
use lifeboat_tests::world::World;

#[test]
fn within_a_blackout_only_a_person_backs_up_and_at_its_end_the_agent_does_once() {
    let mut world = World::new(Etcd::V3_6);
    // It ends with a minute: the next one, or where that is too near to see anything, the one after.
    let now = Utc::now();
    let minute = now.with_second(0).and_then(|now| now.with_nanosecond(0)).expect("every minute has a beginning");
    let end = minute + TimeDelta::minutes(if now.second() < 40 { 1 } else { 2 });
    let window = format!("{}-{}", (now - TimeDelta::hours(1)).format("%H:%M"), end.format("%H:%M"));
    world.set("schedule", format!("{{ backup: \"*/5 * * * * *\", blackout: [\"{window}\"], jitter: 0s }}"));
    world.set("proof", world.field("proof").replacen('{', "{ level: sound,", 1));
    let mut agent = world.agent(&world.config(), "agent");
    assert!(wait_until(Duration::from_secs(20), || agent.log().contains("lifeboat runs")).is_some(), "{}", agent.log());
    let by_hand = world.backup();
    assert_eq!(by_hand["slot"], serde_json::Value::Null);
    let count = || world.list().len();
    let ended = wait_until(Duration::from_secs(150), || {
        assert!(agent.ended().is_none(), "{}", agent.log());
        count() > 1
    });
    assert!(ended.is_some(), "no backup after {end}:\n{}", agent.log());
    let proven = wait_until(Duration::from_secs(30), || agent.log().contains("backup proven"));
    assert!(proven.is_some(), "{}", agent.log());
    let log = agent.log();
    let time =
        |line: &str| DateTime::parse_from_rfc3339(&line[..27]).expect("a log line begins with its time").to_utc();
    for begun in log.lines().filter(|line| line.contains("backup published") || line.contains("backup proven")) {
        assert!(time(begun) >= end, "within {window}:\n{log}");
    }
    let taken = world.list();
    let first = taken.iter().rev().find(|entry| !entry["slot"].is_null()).expect("the agent's first");
    assert_eq!(first["slot"].as_str(), Some(end.format("%Y-%m-%dT%H:%M:%SZ").to_string().as_str()), "{first:#}");
    assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));
}
