//! `lifeboat run`: on its schedule, without a person.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::server::{Server, wait_until};
use lifeboat_tests::tools;
use lifeboat_tests::world::{CLUSTER, World, get, samples};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// The address in the config's `http` field.
fn listen(world: &World) -> String {
    world.field("http").split('"').nth(1).expect("a quoted address").to_owned()
}

#[track_caller]
fn wait(agent: &mut Server, what: &str, mut ready: impl FnMut() -> bool) {
    let waited = wait_until(LIMIT, || {
        assert!(agent.ended().is_none(), "the agent ended:\n{}", agent.log());
        ready()
    });
    assert!(waited.is_some(), "{what} did not come:\n{}", agent.log());
}

/// Backups that are marked and gone: a tombstone, and no manifest any more.
fn pruned(world: &World) -> BTreeSet<String> {
    let objects = world.objects();
    let id = |name: &String| name.strip_prefix(&format!("{CLUSTER}/tombstones/")).map(|rest| rest[..33].to_owned());
    let gone = |id: &String| !objects.iter().any(|name| name.contains(&format!("backups/{id}/")));
    objects.iter().filter_map(id).filter(gone).collect()
}

/// Names of CLI.md that what exists here fills, each with a label that it must carry.
const CATALOG: [(&str, &str); 19] = [
    ("lifeboat_backup_last_success_timestamp_seconds", "store=\"main\""),
    ("lifeboat_backup_deadline_timestamp_seconds", "store=\"main\""),
    ("lifeboat_backup_missed_slots", ""),
    ("lifeboat_restorable_timestamp_seconds", "store=\"main\""),
    ("lifeboat_proof_last_success_timestamp_seconds", "store=\"main\""),
    ("lifeboat_proof_deadline_timestamp_seconds", "store=\"main\""),
    ("lifeboat_restore_measured_seconds", ""),
    ("lifeboat_backups", "state=\"proven\""),
    ("lifeboat_backup_size_bytes", "kind=\"db\""),
    ("lifeboat_backup_size_bytes", "kind=\"sealed\""),
    ("lifeboat_backup_revision", ""),
    ("lifeboat_backup_keys", ""),
    ("lifeboat_findings", "kind=\"proof_failed\""),
    ("lifeboat_findings", "kind=\"diverged\""),
    ("lifeboat_etcd_alarm", "alarm=\"CORRUPT\""),
    ("lifeboat_prune_frozen", "reason=\"nothing_proven\""),
    ("lifeboat_prune_overdue_backups", "store=\"main\""),
    ("lifeboat_catalog_read_timestamp_seconds", "store=\"main\""),
    ("lifeboat_agent_role", "role=\"backup\""),
];

/// The value of the one series with this name and label.
#[track_caller]
fn sample(body: &str, name: &str, label: &str) -> f64 {
    let all = samples(body);
    let matches = |series: &&String| series.starts_with(&format!("{name}{{")) && series.contains(label);
    let found: Vec<_> = all.keys().filter(matches).collect();
    assert!(found.len() == 1 || label.is_empty() && !found.is_empty(), "{name} with {label}: {found:?} in\n{body}");
    assert!(found[0].contains(&format!("etcd_cluster=\"{CLUSTER}\"")), "{}", found[0]);
    all[found[0]]
}

fn metrics_are_right(world: &World, body: &str) {
    for (name, label) in CATALOG {
        let value = sample(body, name, label);
        assert!(value.is_finite() && value >= 0.0, "{name} is {value}");
    }
    let status = world.json(&["status"]);
    let now = 1_767_225_600.0; // 2026 began: any clock that is right is past it
    assert!(sample(body, "lifeboat_backup_last_success_timestamp_seconds", "") > now - 400.0 * 86_400.0);
    let (success, deadline) = (
        sample(body, "lifeboat_backup_last_success_timestamp_seconds", ""),
        sample(body, "lifeboat_backup_deadline_timestamp_seconds", ""),
    );
    assert!(deadline > success, "{deadline} after {success}");
    assert!(sample(body, "lifeboat_backups", "state=\"proven\"") >= 1.0);
    assert_eq!(sample(body, "lifeboat_backups", "state=\"untrusted\""), 0.0);
    assert_eq!(sample(body, "lifeboat_prune_frozen", "reason=\"nothing_proven\""), 0.0);
    assert_eq!(sample(body, "lifeboat_findings", "kind=\"missing\""), 0.0);
    assert_eq!(status["findings"], serde_json::json!([]));
    let newest = &world.list()[0];
    assert_eq!(sample(body, "lifeboat_backup_keys", ""), newest["keys"].as_f64().unwrap());
    assert_eq!(sample(body, "lifeboat_backup_revision", ""), newest["revision"].as_f64().unwrap());
    for counter in ["backup_attempts", "proof_attempts", "prune_attempts"] {
        assert!(sample(body, &format!("lifeboat_{counter}_total"), "") >= 1.0, "{counter}");
    }
    assert!(
        body.contains("lifeboat_build_info{version=\"") && body.contains("lifeboat_store_requests_total{"),
        "{body}"
    );
    assert!(
        body.contains("lifeboat_backup_duration_seconds_bucket{")
            && body.contains("lifeboat_proof_duration_seconds_bucket{")
    );
    assert!(!body.contains("{cluster=") && !body.contains(",cluster="), "`cluster` collides with target labels");
}

fn promtool_accepts(body: &str) {
    let mut promtool = Command::new(tools::promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{body}", tools::said(&output));
}

#[test]
fn a_schedule_of_seconds_backs_up_proves_and_prunes_and_a_restart_goes_on() {
    let mut world = World::new(Etcd::V3_6);
    world.set("schedule", "{ backup: \"*/4 * * * * *\", prove: after-backup, prune: \"*/3 * * * * *\", jitter: 0s }");
    world.set("keep", "{ last: 2, min_proven: 1 }");
    world.set("prune", "{ grace: 2s, min_age: 1s }");
    let address = listen(&world);
    let mut agent = world.agent(&world.config(), "first");
    wait(&mut agent, "/readyz", || get(&address, "/readyz").is_some_and(|(status, _)| status == 200));
    assert_eq!(get(&address, "/healthz"), Some((200, "ok\n".to_owned())));
    wait(&mut agent, "a pruned backup", || !pruned(&world).is_empty());
    wait(&mut agent, "a proven backup", || {
        let listed = world.list();
        listed.len() >= 2 && listed.iter().any(|entry| entry["stores"][0]["proof"]["level"] == "booted")
    });
    every_slot_once(&world);
    let end = agent.log();
    world.shows_no_secret(&end);
    for words in ["lifeboat runs", "backup published", "backup proven", "pruned"] {
        assert!(end.contains(words), "{words} is missing in:\n{end}");
    }
    assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));
    assert!(!world.path("scratch/proof").exists(), "the drain wiped the scratch");
    assert!(world.objects().iter().all(|name| !name.contains('#')), "no staged part stays: {:?}", world.objects());

    a_missed_slot_is_made_up_for_once(&mut world, &address);
}

/// Yearly from now on: the slot of this year was not served, so one backup makes up for it, and only one.
fn a_missed_slot_is_made_up_for_once(world: &mut World, address: &str) {
    world.set("schedule", "{ backup: \"0 0 1 1 *\", prove: after-backup, prune: \"30 3 * * *\", jitter: 0s }");
    let is_yearly = |entry: &Value| entry["slot"].as_str().is_some_and(|slot| slot.ends_with("-01-01T00:00:00Z"));
    let mut agent = world.agent(&world.config(), "second");
    wait(&mut agent, "the year's backup, proven", || {
        let entry = &world.list()[0];
        is_yearly(entry) && entry["stores"][0]["proof"]["outcome"] == "passed"
    });
    assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));

    let mut agent = world.agent(&world.config(), "third");
    wait(&mut agent, "/readyz", || get(address, "/readyz").is_some_and(|(status, _)| status == 200));
    wait(&mut agent, "the gauges", || {
        get(address, "/metrics").is_some_and(|(_, body)| body.contains("lifeboat_restorable"))
    });
    let (_, body) = get(address, "/metrics").expect("the agent answers");
    assert!(sample(&body, "lifeboat_backups", "state=\"proven\"") >= 1.0);
    assert!(sample(&body, "lifeboat_restorable_timestamp_seconds", "") > 1.7e9);
    std::thread::sleep(Duration::from_secs(3));
    every_slot_once(world);
    assert!(!agent.log().contains("backup published"), "the slot was served before:\n{}", agent.log());
    assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));
}

fn every_slot_once(world: &World) {
    let listed = world.list();
    let slots: BTreeSet<&str> =
        listed.iter().map(|entry| entry["slot"].as_str().expect("the agent serves slots")).collect();
    assert_eq!(slots.len(), listed.len(), "{listed:#?}");
}

#[test]
fn metrics_have_the_names_of_the_contract_and_promtool_accepts_them() {
    let mut world = World::new(Etcd::V3_6);
    world.set("schedule", "{ backup: \"0 0 1 1 *\", prove: after-backup, prune: \"*/2 * * * * *\", jitter: 0s }");
    let address = listen(&world);
    let mut agent = world.agent(&world.config(), "agent");
    wait(&mut agent, "the gauges", || {
        get(&address, "/metrics").is_some_and(|(_, body)| {
            let counts = samples(&body);
            let proven = |(name, value): (&String, &f64)| {
                name.starts_with("lifeboat_backups{") && name.contains("\"proven\"") && *value >= 1.0
            };
            let pruned =
                |(name, value): (&String, &f64)| name.starts_with("lifeboat_prune_attempts_total") && *value >= 1.0;
            counts.iter().any(proven) && counts.iter().any(pruned)
        })
    });
    // The store's request counters go on rising; everything else stands still until the next year.
    let (status, body) = get(&address, "/metrics").expect("the agent answers");
    assert_eq!(status, 200);
    metrics_are_right(&world, &body);
    promtool_accepts(&body);
    assert_eq!(get(&address, "/nothing").map(|(status, _)| status), Some(404));
    world.shows_no_secret(&agent.log());
    assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));
}

#[test]
fn an_agent_whose_store_or_etcd_is_gone_stays_alive_says_so_and_recovers() {
    let mut world = World::new(Etcd::V3_6);
    world.set("schedule", "{ backup: \"*/2 * * * * *\", prune: \"30 3 * * *\", jitter: 0s }");
    world.set("roles", "[backup]");
    let address = listen(&world);
    world.etcd.as_mut().unwrap().stop();
    let mut agent = world.agent(&world.config(), "agent");
    wait(&mut agent, "a failure", || agent_failed(&address, "backup", "etcd_unreachable"));
    assert_eq!(get(&address, "/healthz"), Some((200, "ok\n".to_owned())), "a restart of the pod would help nobody");
    world.etcd.as_mut().unwrap().restart();
    wait(&mut agent, "a backup", || !world.list().is_empty());

    let aside = world.path("aside");
    std::fs::rename(world.folder(), &aside).unwrap();
    wait(&mut agent, "unreadiness", || {
        get(&address, "/readyz").is_some_and(|(status, why)| status == 503 && why.contains("the store cannot be read"))
    });
    assert!(!world.folder().exists(), "it does not make the folder anew");
    std::fs::rename(&aside, world.folder()).unwrap();
    let before = world.list().len();
    wait(&mut agent, "readiness", || get(&address, "/readyz").is_some_and(|(status, _)| status == 200));
    wait(&mut agent, "the next backup", || world.list().len() > before);
    agent.signal("INT");
    let mut ended = None;
    wait_until(Duration::from_secs(40), || {
        ended = agent.ended();
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(130));
}

fn agent_failed(address: &str, kind: &str, reason: &str) -> bool {
    let Some((_, body)) = get(address, "/metrics") else {
        return false;
    };
    let failed = |(name, value): (&String, &f64)| {
        name.starts_with(&format!("lifeboat_{kind}_failures_total{{"))
            && name.contains(&format!("reason=\"{reason}\""))
            && *value >= 1.0
    };
    samples(&body).iter().any(failed)
}
