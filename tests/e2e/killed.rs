//! A backup that is killed without warning, at any moment: what is listed is whole, and the next one gets through.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::world::{World, all_of, keyspace};
use serde_json::{Value, json};

/// Kills spread over the time that a run takes, and a little beyond its end.
const MOMENTS: u32 = 8;
/// What a backup consists of, in the order in which it comes to be: a kill follows the sight of each.
const STEPS: [&str; 5] = ["db.zst.age#1", "db.zst.age", "db.zst.age.sums", "manifest.json.minisig", "manifest.json"];

/// A database that takes long enough to be met in the middle, and short enough to be written two dozen times.
fn world() -> World {
    let options = Options { flags: vec!["--unsafe-no-fsync".to_owned()], ..Options::default() };
    let etcd = RealEtcd::start(Etcd::V3_6, options);
    keyspace::fill_bulk(&etcd, 8);
    let mut world = World::around(Some(etcd), None);
    world.set("keep", "{ last: 100, min_proven: 1 }");
    world
}

fn listed(world: &World) -> Vec<String> {
    let entry = |entry: &Value| {
        assert_eq!((&entry["trust"], &entry["stores"][0]["present"]), (&json!("trusted"), &json!(true)), "{entry:#}");
        entry["id"].as_str().expect("an entry has an id").to_owned()
    };
    world.list().iter().map(entry).collect()
}

/// Kills a backup as soon as `now` says so, and tells whether it was still running.
fn kill(world: &World, name: &str, mut now: impl FnMut() -> bool) -> bool {
    let mut run = world.lifeboat(&["backup"]).start(&world.path(name));
    let deadline = Instant::now() + Duration::from_secs(60);
    while run.ended().is_none() && !now() {
        assert!(Instant::now() < deadline, "the moment did not come:\n{}", run.log());
    }
    let running = run.ended().is_none();
    drop(run); // kills it and waits for its end
    running
}

/// After a kill: every listed backup is whole, what is staged is none of them, and another backup is taken.
fn sound(world: &World, known: &mut BTreeSet<String>, moment: &str) {
    let before = listed(world);
    let named: Vec<String> = world.objects().into_iter().filter(|name| !name.contains('#')).collect();
    for id in &before {
        let parts = named.iter().filter(|name| name.contains(id.as_str())).count();
        assert_eq!(parts, 4, "after {moment}, {id} is listed and has not all of its parts: {named:?}");
    }
    assert!(known.iter().all(|id| before.contains(id)), "after {moment} a good backup is no longer listed");
    let next = world.backup();
    let after = listed(world);
    assert_eq!((after.len(), json!(after[0])), (before.len() + 1, next["id"].clone()), "after {moment}");
    known.extend(after);
}

#[test]
fn a_backup_killed_at_any_moment_leaves_no_broken_one_and_the_next_succeeds() {
    let world = world();
    let began = Instant::now();
    let mut known = BTreeSet::from([world.backup()["id"].as_str().unwrap().to_owned()]);
    let whole = began.elapsed();

    let mut cut_short = 0;
    for number in 1..=MOMENTS {
        let at = Instant::now() + whole * number / MOMENTS;
        let killed = kill(&world, &format!("at-{number}.log"), || {
            sleep(at.saturating_duration_since(Instant::now()).min(Duration::from_millis(2)));
            Instant::now() >= at
        });
        cut_short += u32::from(killed);
        sound(&world, &mut known, &format!("{number}/{MOMENTS} of a run of {whole:?}"));
    }
    for step in STEPS {
        let before: BTreeSet<String> = world.objects().into_iter().collect();
        let killed = kill(&world, &format!("after-{step}.log"), || {
            world.objects().iter().any(|name| !before.contains(name) && name.rsplit('/').next() == Some(step))
        });
        cut_short += u32::from(killed);
        sound(&world, &mut known, &format!("the sight of {step}"));
    }
    assert!(cut_short >= MOMENTS / 2, "only {cut_short} runs were killed before their end");

    world.run(&["prove"]).expect_code(0);
    world.run(&["status"]).expect_code(0);
    whole_as_a_copy_reads_them(world, &known);
}

/// A copy reads every byte and holds it against what was signed; it takes neither orphans nor what is staged.
fn whole_as_a_copy_reads_them(mut world: World, known: &BTreeSet<String>) {
    let far = world.path("far");
    std::fs::create_dir(&far).unwrap();
    let (near, to) = (world.place.url(), format!("file://{}", far.display()));
    world.set("stores", format!("[{{ name: near, url: \"{near}\" }}, {{ name: far, url: \"{to}\" }}]"));
    let copied = world.json(&["copy", "--from", "near", "--to", "far"]);
    let ids = |of: &Value| -> BTreeSet<String> {
        of.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(&ids(&copied["copied"]), known, "{copied:#}");
    assert_eq!((&copied["refused"], &copied["untrusted"]), (&json!([]), &json!([])), "{copied:#}");
    let there: Vec<String> = all_of(&far).into_keys().filter(|name| name.contains("/backups/")).collect();
    assert_eq!(there.len(), 4 * known.len(), "{there:?}");
    assert!(!there.iter().any(|name| name.contains('#')), "{there:?}");
}
