//! A backup is held against what the live members answer for HashKV: agreement is recorded, a difference is found, and a
//! source that stands against its cluster gives no proven backup.

use std::path::Path;
use std::time::Duration;

use etcd_client::{AlarmAction, AlarmType, Client};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::server::wait_until;
use lifeboat_tests::world::{World, keyspace};
use serde_json::Value;

/// What a member's database is searched for when it is to be damaged.
const PROBE: &str = "as-it-was-written";

/// A world around a cluster, its members found through one endpoint.
fn world(version: Etcd, members: usize) -> World {
    let etcd = RealEtcd::start(version, Options { members, ..Options::default() });
    for number in 0..40 {
        etcd.etcdctl(&["put", &format!("key/{number}"), &format!("{PROBE}-{number}")]);
    }
    let mut world = World::around(Some(etcd), None);
    ask(&mut world, "all");
    world
}

fn ask(world: &mut World, compare: &str) {
    let endpoint = world.etcd().endpoint();
    world.set("etcd", format!("{{ endpoints: [\"{endpoint}\"], members: discover, compare: {compare} }}"));
}

/// The signed manifest, as `show` prints it.
fn manifest(world: &World, entry: &Value) -> Value {
    world.json(&["show", entry["id"].as_str().expect("an id")])["backup"]["manifest"].clone()
}

/// The answers about the backup's own revision: name, hash, the file's own.
fn at_the_end(manifest: &Value) -> Vec<(String, Option<u64>, Option<u64>)> {
    let own = |answer: &&Value| answer["revision"] == manifest["db"]["revision"];
    let mut told: Vec<_> = manifest["answers"].as_array().expect("answers").iter().filter(own).map(answer).collect();
    told.sort();
    told.dedup();
    told
}

fn answer(answer: &Value) -> (String, Option<u64>, Option<u64>) {
    (answer["name"].as_str().unwrap().to_owned(), answer["hash"].as_u64(), answer["file_hash"].as_u64())
}

/// A backup whose members differ: it is there, and the code says that a person has to look.
fn backup_with_findings(world: &World, words: &str) -> Value {
    let ran = world.run(&["backup", "--json"]).expect_code(11);
    assert!(ran.stderr.contains(words) && ran.stderr.contains("next: "), "{words} is missing in:\n{}", ran.stderr);
    ran.json()["backup"].clone()
}

fn member_number(name: &str) -> usize {
    name.strip_prefix('m').and_then(|number| number.parse().ok()).expect("members are called m0, m1, m2")
}

/// Writes another value into a stopped member's database, as a bit that rotted would.
fn alter(db: &Path) {
    let mut bytes = std::fs::read(db).expect("the database of a stopped member can be read");
    let probe = PROBE.as_bytes();
    let found: Vec<usize> = (0..bytes.len() - probe.len()).filter(|at| bytes[*at..].starts_with(probe)).collect();
    assert!(!found.is_empty(), "the value is not in {} yet", db.display());
    for at in found {
        bytes[at] = b'A';
    }
    std::fs::write(db, bytes).expect("and written");
}

/// Stops a member, damages its database and starts it again.
fn diverge(world: &mut World, number: usize) {
    // What is in the database only survives a kill once etcd has committed it, every 100 ms.
    std::thread::sleep(Duration::from_millis(1500));
    let etcd = world.etcd.as_mut().expect("this world has an etcd");
    etcd.stop_member(number);
    alter(&etcd.member_data_dir(number).join("member/snap/db"));
    etcd.restart();
}

fn findings(world: &World) -> Vec<(String, String)> {
    let status = world.run(&["status", "--json"]).json();
    let text = |finding: &Value, field: &str| finding[field].as_str().expect("text").to_owned();
    let all = status["findings"].as_array().expect("findings");
    all.iter().map(|finding| (text(finding, "kind"), text(finding, "what"))).collect()
}

#[test]
fn members_that_agree_are_recorded_each_with_its_answer() {
    for version in Etcd::ALL {
        let mut world = world(version, 3);
        let entry = world.backup();
        assert_eq!(entry["equality"], "equal", "{entry:#}");
        let manifest = manifest(&world, &entry);
        let hash = manifest["db"]["hash_kv"]["hash"].as_u64();
        let told = at_the_end(&manifest);
        assert_eq!(told, ["m0", "m1", "m2"].map(|name| (name.to_owned(), hash, hash)), "{manifest:#}");
        assert_eq!(manifest["equality"]["members"], 3);
        assert_eq!(manifest.get("unprovable"), None);
        let shown = world.run(&["show", "latest"]).expect_code(0).stdout;
        assert!(shown.contains("live members: equal, 3 at revision") && shown.contains("as the backup"), "{shown}");

        ask(&mut world, "source");
        let entry = world.backup();
        assert_eq!(entry["equality"], "equal");
        let names: Vec<String> = at_the_end(&self::manifest(&world, &entry)).into_iter().map(|told| told.0).collect();
        assert_eq!(names, [self::manifest(&world, &entry)["etcd"]["member_name"].as_str().unwrap()]);

        ask(&mut world, "off");
        let entry = world.backup();
        assert_eq!(entry["equality"], "not_compared");
        let manifest = self::manifest(&world, &entry);
        assert_eq!(
            (&manifest["equality"]["because"], &manifest["answers"]),
            (&"etcd.compare is off".into(), &Value::Array(vec![]))
        );
        assert_eq!(findings(&world), []);
    }
}

#[test]
fn a_member_that_is_down_is_named_and_the_others_suffice() {
    let mut world = world(Etcd::V3_6, 3);
    world.etcd.as_mut().expect("this world has an etcd").stop_member(2);
    // The member left may have to be elected first.
    let etcd = world.etcd();
    wait_until(Duration::from_secs(60), || etcd.try_etcdctl(&["get", "key/1"]).status.success()).expect("a quorum");
    let entry = world.backup();
    assert_eq!(entry["equality"], "equal", "{entry:#}");
    let manifest = manifest(&world, &entry);
    let silent: Vec<&Value> =
        manifest["answers"].as_array().unwrap().iter().filter(|answer| answer["name"] == "m2").collect();
    assert_eq!(silent.len(), 1, "{manifest:#}");
    assert_eq!(silent[0]["because"], "it did not answer when the backup began");
}

#[test]
fn a_follower_that_differs_is_found_and_the_backup_stands_with_the_majority() {
    let mut world = world(Etcd::V3_6, 3);
    let source = member_number(manifest(&world, &world.backup())["etcd"]["member_name"].as_str().unwrap());
    let other = (0..3).find(|number| *number != source).expect("three members");
    diverge(&mut world, other);
    // The one altered may lead now; whoever is the source, only this member must differ.
    let entry = backup_with_findings(&world, "the members of this cluster differ: at revision");
    let manifest = manifest(&world, &entry);
    if manifest["etcd"]["member_name"] == format!("m{other}") {
        panic!("the altered member became the source of the published backup: {manifest:#}");
    }
    assert_eq!(entry["equality"], "differs", "{entry:#}");
    assert_eq!(manifest.get("unprovable"), None, "{manifest:#}");
    let differing: Vec<String> =
        at_the_end(&manifest).into_iter().filter(|(_, hash, own)| hash != own).map(|told| told.0).collect();
    assert_eq!(differing, [format!("m{other}")]);
    let found = findings(&world);
    assert!(found.iter().any(|(kind, what)| kind == "diverged" && what.contains(&format!("m{other}"))), "{found:?}");
    // It is a good backup all the same.
    world.run(&["prove", entry["id"].as_str().unwrap()]).expect_code(0);
    assert!(!world.json(&["list", "--state", "proven"])["backups"].as_array().unwrap().is_empty());
}

#[test]
fn a_source_against_the_majority_is_published_as_evidence_and_another_backup_is_taken_from_the_majority() {
    let mut world = world(Etcd::V3_5, 3);
    let first = world.backup();
    let source = manifest(&world, &first)["etcd"]["member_name"].as_str().unwrap().to_owned();
    diverge(&mut world, member_number(&source));
    let good = backup_with_findings(&world, "the members of this cluster differ: at revision");
    let listed = world.list();
    assert_eq!(listed.len(), 3, "the first, the evidence and the one from the majority: {listed:#?}");
    let good_manifest = manifest(&world, &good);
    assert_ne!(good_manifest["etcd"]["member_name"].as_str().unwrap(), source);
    assert_eq!((good_manifest.get("unprovable"), &good["equality"]), (None, &"differs".into()));
    let evidence = listed.iter().find(|entry| entry["id"] != first["id"] && entry["id"] != good["id"]).unwrap();
    let bad = manifest(&world, evidence);
    assert_eq!(bad["etcd"]["member_name"].as_str().unwrap(), source);
    let why = bad["unprovable"].as_str().expect("a reason");
    assert!(why.contains("most of the cluster (2 of 3) differs at revision"), "{why}");
    // No proof makes it proven; the other one is proven.
    for entry in [evidence, &good] {
        world.run(&["prove", entry["id"].as_str().unwrap()]).expect_code(0);
    }
    let proven = world.json(&["list", "--state", "proven"]);
    let ids: Vec<&Value> = proven["backups"].as_array().unwrap().iter().map(|entry| &entry["id"]).collect();
    assert_eq!(ids, [&good["id"]]);
    let (dir, bad) = (world.path("data").display().to_string(), evidence["id"].as_str().unwrap());
    let restore = ["restore", bad, "--data-dir", &dir, "--yes", "--allow", "unproven", "--allow", "older"];
    world.refused(&restore, 7, "consent_missing").says(&["contradicted by its own cluster", "--allow diverged"]);
    let found = findings(&world);
    let diverged = found.iter().filter(|(kind, _)| kind == "diverged").count();
    assert!(diverged == 2 && found.iter().any(|(_, what)| what.contains("cannot be proven")), "{found:?}");
}

#[test]
fn an_etcd_without_a_single_key_is_not_compared_and_not_condemned() {
    for version in [Etcd::V3_4, Etcd::V3_6] {
        let world = world(version, 1);
        world.etcd().etcdctl(&["del", "", "--prefix"]);
        let revision = keyspace::revision(world.etcd());
        // etcd now remembers the hash of this very revision, made by another rule.
        world.etcd().etcdctl(&["compact", &(revision - 1).to_string(), "--physical"]);
        world.etcd().etcdctl(&["compact", &revision.to_string(), "--physical"]);
        let entry = world.backup();
        let manifest = manifest(&world, &entry);
        assert_eq!((&entry["equality"], &entry["keys"]), (&"not_compared".into(), &0.into()), "{manifest:#}");
        assert_eq!(manifest.get("unprovable"), None, "{manifest:#}");
        world.run(&["prove"]).expect_code(0);
    }
}

/// Raises an alarm as etcd itself would.
fn raise(world: &World, alarm: AlarmType) {
    let endpoint = world.etcd().endpoint();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = Client::connect([endpoint], None).await.expect("etcd answers");
        let id = client.status().await.expect("a status").header().expect("a header").member_id();
        let mut options = etcd_client::AlarmOptions::new();
        options.with_member(id);
        client.alarm(AlarmAction::Activate, alarm, Some(options)).await.expect("etcd takes the alarm");
    });
}

#[test]
fn an_alarm_is_reported_and_corrupt_condemns_unless_a_majority_agrees_with_the_source() {
    let mut world = world(Etcd::V3_6, 1);
    raise(&world, AlarmType::Nospace);
    let entry = world.backup();
    assert_eq!(
        (&entry["equality"], manifest(&world, &entry)["etcd"]["alarms"][0].as_str()),
        (&"equal".into(), Some("NOSPACE"))
    );
    let found = findings(&world);
    assert!(found.iter().any(|(kind, what)| kind == "alarm" && what.contains("NOSPACE")), "{found:?}");

    raise(&world, AlarmType::Corrupt);
    let agreed = manifest(&world, &world.backup());
    assert_eq!(agreed.get("unprovable"), None, "its only voter agrees: {agreed:#}");
    ask(&mut world, "off");
    let alone = manifest(&world, &backup_with_findings(&world, "cannot be proven: etcd raised CORRUPT"));
    let why = alone["unprovable"].as_str().expect("a reason");
    assert!(why.contains("CORRUPT") && why.contains("no majority"), "{why}");
}
