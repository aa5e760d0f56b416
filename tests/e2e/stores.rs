//! Several stores: each backup goes to all of them, each is judged for itself, and one that was away is caught up.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::s3::S3;
use lifeboat_tests::server::wait_until;
use lifeboat_tests::world::{CLUSTER, World, all_of, copy_dir, flip, get, keyspace, refs, samples};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A folder beside the world's own, as a store called `name`; `more` are further fields.
fn folder(world: &World, name: &str, more: &str) -> (PathBuf, String) {
    let path = world.path(name);
    fs::create_dir_all(&path).expect("the folder is ours");
    let field = format!("{{ name: {name}, url: \"file://{}\"{more} }}", path.display());
    (path, field)
}

/// The world's own folder as the store `near`, and a second one called `far`.
fn two_folders(world: &mut World, far_more: &str) -> PathBuf {
    let (far, field) = folder(world, "far", far_more);
    let near = format!("{{ name: near, url: \"{}\" }}", world.place.url());
    world.set("stores", format!("[{near}, {field}]"));
    far
}

fn ids(store: &Path) -> Vec<String> {
    let mut ids: Vec<String> = all_of(store)
        .keys()
        .filter_map(|name| Some(name.strip_suffix("/manifest.json")?.rsplit('/').next()?.to_owned()))
        .collect();
    ids.sort();
    ids
}

/// Every object of the backups, by name below the store.
fn backups(store: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    all_of(store).into_iter().filter(|(name, _)| name.contains("/backups/")).collect()
}

#[test]
fn one_stream_becomes_the_same_backup_in_both_stores_and_each_is_judged_for_itself() {
    let mut world = World::new(Etcd::V3_6);
    world.set("keep", "{ last: 5, min_proven: 1 }");
    let far = two_folders(&mut world, ", keep: { last: 1, min_proven: 1 }");
    let first = world.backup();
    assert_eq!((&first["stores"][0]["name"], &first["stores"][1]["name"]), (&json!("near"), &json!("far")));
    assert!(first["stores"].as_array().unwrap().iter().all(|store| store["present"] == true), "{first:#}");
    assert_eq!(backups(world.folder()), backups(&far));
    assert_eq!(backups(&far).len(), 4, "blob, sums, manifest, signature");

    // A proof tells what one store gives back: there is one for each.
    let proofs = world.json(&["prove"]);
    let proved: Vec<&Value> = proofs["proofs"].as_array().unwrap().iter().map(|proof| &proof["store"]).collect();
    assert_eq!(proved, [&json!("near"), &json!("far")]);
    world.json(&["backup", "--wait-proven", "2m"]);
    let listed = world.list();
    let outcomes = |entry: &Value| -> Vec<Value> {
        entry["stores"].as_array().unwrap().iter().map(|store| store["proof"]["outcome"].clone()).collect()
    };
    assert_eq!(outcomes(&listed[0]), [json!("passed"), Value::Null]);
    assert_eq!(outcomes(&listed[1]), [json!("passed"), json!("passed")]);
    let shown = world.run(&["list"]).expect_code(0).stdout;
    assert!(shown.contains("STORES") && shown.contains("near* far ") && shown.contains("near* far* "), "{shown}");
    let status = world.json(&["status"]);
    assert_eq!(
        (&status["stores"][0]["counts"]["proven"], &status["stores"][1]["counts"]["proven"]),
        (&json!(2), &json!(1))
    );
    world.run(&["prove", "--due"]).expect_code(0);

    // Each by its own rules: the far store keeps one.
    let planned = world.json(&["prune"]);
    assert_eq!(planned["stores"][0]["mark"], json!([]));
    assert_eq!(planned["stores"][1]["mark"][0]["id"], first["id"]);
    world.run(&["prune", "--apply"]).expect_code(0);
    std::thread::sleep(Duration::from_millis(2100));
    world.run(&["prune", "--apply"]).expect_code(0);
    assert_eq!((ids(world.folder()).len(), ids(&far).len()), (2, 1));
    let status = world.run(&["status"]).expect_code(0).stdout;
    assert!(status.contains("store near") && status.contains("store far"), "{status}");
    let shown = world.run(&["show", first["id"].as_str().unwrap()]).expect_code(0).stdout;
    assert!(shown.contains("far, file://") && shown.contains(": NOT there"), "{shown}");
    // By name one store is looked at alone.
    let far_only = world.json(&["list", "--store", "far"]);
    assert_eq!(far_only["backups"].as_array().unwrap().len(), 1);
    world.refused(&["list", "--store", "nowhere"], 2, "usage").says(&["nowhere", "near, far"]);
}

#[test]
fn a_store_that_is_away_is_left_out_by_quorum_named_and_caught_up_by_the_agent() {
    let mut world = World::new(Etcd::V3_6);
    let far = two_folders(&mut world, "");
    let away = world.path("away");
    fs::rename(&far, &away).unwrap();

    world.set("write_quorum", "2");
    let refused = world.refused(&["backup"], 5, "store_bucket_missing");
    refused.says(&["1 of 2 stores are left, a backup must stand in 2", "far", "mount it or create it"]);
    assert_eq!(world.objects(), [""; 0], "nothing is published below the quorum");

    world.set("write_quorum", "1");
    let ran = world.run(&["backup", "--json"]).expect_code(11);
    assert!(
        ran.stderr.contains("is not in every store: far: ") && ran.stderr.contains("lifeboat copy"),
        "{}",
        ran.stderr
    );
    let behind = ran.json()["backup"].clone();
    assert_eq!(behind["stores"][1]["present"], json!(false));
    assert_eq!(behind["stores"][1]["error"]["reason"], "store_bucket_missing");
    let status = world.run(&["status", "--json"]).expect_code(11).json();
    assert_eq!(status["findings"][0]["kind"], "store_behind");

    an_agent_brings_it_level(&mut world, &far, &away);
    let (near, far) = (backups(world.folder()), backups(&far));
    let in_far = far.iter().filter(|(name, _)| name.contains(behind["id"].as_str().unwrap())).count();
    assert_eq!(in_far, 4, "the backup that it missed is there");
    assert!(far.iter().all(|(name, bytes)| near.get(name) == Some(bytes)), "the very same bytes");
    world.run(&["prove", behind["id"].as_str().unwrap()]).expect_code(0);
}

/// The agent is ready, says that the store is missed, and brings it level once it is back.
fn an_agent_brings_it_level(world: &mut World, far: &Path, away: &Path) {
    world.set("schedule", "{ backup: \"*/3 * * * * *\", prune: \"30 3 * * *\", jitter: 0s }");
    world.set("keep", "{ last: 500, min_proven: 1 }");
    world.set("roles", "[backup]");
    let address = world.field("http").split('"').nth(1).unwrap().to_owned();
    let mut agent = world.agent(&world.config(), "agent");
    let sample = |name: &str| {
        let (_, body) = get(&address, "/metrics")?;
        samples(&body)
            .into_iter()
            .find(|(known, _)| known.starts_with(name) && known.contains("store=\"far\""))
            .map(|s| s.1)
    };
    let mut wait = |what: &str, ready: &mut dyn FnMut() -> bool| {
        let waited = wait_until(2 * MINUTE, || {
            assert!(agent.ended().is_none(), "the agent ended:\n{}", agent.log());
            ready()
        });
        assert!(waited.is_some(), "{what} did not come:\n{}", agent.log());
    };
    wait("a backup without the far store", &mut || {
        sample("lifeboat_backup_left_out_total").is_some_and(|count| count >= 1.0)
    });
    assert_eq!(get(&address, "/readyz").map(|(status, _)| status), Some(200), "one store is enough for the quorum");
    assert!(
        sample("lifeboat_backup_deadline_timestamp_seconds").is_some(),
        "what was never read is missed all the same"
    );
    fs::rename(away, far).unwrap();
    wait("the far store level", &mut || {
        let (near, far) = (ids(world.folder()), ids(far));
        far.len() > 3 && near == far
    });
    wait("the gauge", &mut || sample("lifeboat_store_behind_backups") == Some(0.0));
    let log = agent.log();
    world.shows_no_secret(&log);
    assert!(
        log.contains("this store cannot be read")
            && log.contains("can be read again")
            && log.contains("a store was caught up"),
        "{log}"
    );
    assert_eq!(agent.terminate(MINUTE).code(), Some(0));
}

#[test]
fn what_a_store_pruned_is_not_brought_back() {
    let mut world = World::backed_up();
    let (near, both) = (world.folder().to_owned(), ids(world.folder()));
    let far = two_folders(&mut world, "");
    copy_dir(&near, &far);
    world.set("keep", "{ last: 1, min_proven: 0 }");
    world.run(&["prove"]).expect_code(0);
    let one = format!("[{{ name: far, url: \"file://{}\" }}]", far.display());
    let far_only = world.write_config("far.yaml", &[("stores", one.as_str())]);
    world.run_with(&far_only, &["prune", "--apply"]).expect_code(0);
    std::thread::sleep(Duration::from_millis(2100));
    world.run_with(&far_only, &["prune", "--apply"]).expect_code(0);
    assert_eq!((ids(&near), ids(&far)), (both.clone(), both[1..].to_vec()));
    // Nothing is behind, and nothing is broken: its tombstone says that it was meant.
    let status = world.run(&["status", "--json"]).expect_code(0).json();
    assert_eq!((&status["stores"][1]["behind"], &status["findings"]), (&json!(0), &json!([])));
}

#[test]
fn a_folder_and_a_bucket_take_one_backup_and_a_dead_server_stops_neither_backup_nor_restore() {
    let server = S3::start();
    let bucket = server.bucket();
    let mut world = World::in_bucket(Etcd::V3_6, bucket);
    world.add_secret("testsecret");
    let (folder, field) = folder(&world, "folder", "");
    let inner = world.field("stores").trim_matches(['[', ']']).to_owned();
    // The bucket first: it is what a restore would like to read.
    world.set("stores", format!("[{}, {field}]", inner.replacen('{', "{ name: bucket, timeout: 3s,", 1)));
    let before = keyspace::records(world.etcd());
    let first = world.json(&["backup", "--wait-proven", "2m"])["backup"].clone();
    assert_eq!(first["stores"][0]["proof"]["outcome"], "passed");
    assert_eq!(ids(&folder), [first["id"].as_str().unwrap()]);

    drop(server);
    let ran = world.lifeboat(&["backup", "--json"]).limit(3 * MINUTE).run().expect_code(11);
    let second = world.checked(ran).json()["backup"].clone();
    assert_eq!(second["stores"][0]["error"]["reason"], "store_unreachable", "{second:#}");
    assert_eq!(second["stores"][1]["present"], true);

    world.etcd = None;
    let target = world.path("data");
    let identity = world.key("recovery.key");
    let words = ["restore", second["id"].as_str().unwrap(), "--data-dir", text(&target), "--identity", text(&identity)];
    let ran =
        world.lifeboat(&[&words[..], &["--yes", "--no-bump", "--allow", "unproven"]].concat()).limit(3 * MINUTE).run();
    let ran = world.checked(ran.expect_code(0));
    assert!(ran.stderr.contains("WARNING: store bucket cannot be read"), "{}", ran.stderr);
    let etcd = RealEtcd::on_data_dir(Etcd::V3_6, "m0", &target);
    assert_eq!(keyspace::records(&etcd), before);
}

#[test]
fn a_restore_reads_from_the_next_store_where_the_first_gives_damaged_bytes() {
    let mut world = World::backed_up();
    let near = world.folder().to_owned();
    let far = two_folders(&mut world, "");
    copy_dir(&near, &far);
    let proven = world.list()[1]["id"].as_str().unwrap().to_owned();
    flip(&world.object(&proven, "db.zst.age"), 1000);
    let target = world.path("data");
    let identity = world.key("recovery.key");
    let plan =
        world.json(&["restore", &proven, "--data-dir", text(&target), "--identity", text(&identity), "--dry-run"]);
    assert_eq!(plan["plan"]["stores"], json!(["near", "far"]));
    let ran = world.run(&["restore", &proven, "--data-dir", text(&target), "--identity", text(&identity), "--yes"]);
    let ran = ran.expect_code(0);
    assert!(
        ran.stderr.contains("is damaged between bytes") && ran.stderr.contains("reading from far instead"),
        "{}",
        ran.stderr
    );
    assert!(target.join("member/snap/db").is_file());

    // Where the first one is gone altogether, nobody asks it.
    fs::remove_dir_all(&near).unwrap();
    let again = world.path("again");
    let ran = world.run(&["restore", &proven, "--data-dir", text(&again), "--identity", text(&identity), "--yes"]);
    assert!(ran.expect_code(0).stderr.contains("store near cannot be read"));
    // And where both are, each is named.
    fs::remove_dir_all(&far).unwrap();
    let refused = world.refused(&["list"], 5, "store_bucket_missing");
    refused.says(&["no store can be read: near: ", "; far: "]);
}

fn copy<'a>(from: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["copy", "--from", from, "--to", to], more].concat()
}

#[test]
fn a_copy_moves_a_whole_history_byte_for_byte_and_only_what_is_trusted() {
    let world = World::backed_up();
    let (far, _) = folder(&world, "far", "");
    let (from, to) = (world.place.url(), format!("file://{}", far.display()));
    let trust: Vec<String> = ["backup", "prove", "prune"]
        .iter()
        .flat_map(|role| {
            let key = world.key(&format!("{role}.sign.pub"));
            ["--trust".to_owned(), format!("{role}={}", key.display())]
        })
        .collect();
    world.refused_bare(&copy(&from, &to, &[]), 7, "no_trust").says(&["--trust", "--allow unverified"]);
    world.refused_bare(&copy(&from, &from, &refs(&trust)), 2, "usage");
    let planned =
        world.run_bare(&copy(&from, &to, &[&refs(&trust)[..], &["--dry-run", "--json"]].concat())).expect_code(0);
    assert_eq!(planned.json()["copied"].as_array().unwrap().len(), 2);
    assert!(all_of(&far).is_empty(), "a dry run copies nothing");

    let copied = world.run_bare(&copy(&from, &to, &[&refs(&trust)[..], &["--json"]].concat())).expect_code(0).json();
    assert_eq!((copied["copied"].as_array().unwrap().len(), &copied["notes"]), (2, &json!(1)));
    assert_eq!(all_of(world.folder()), all_of(&far));
    let again = world.run_bare(&copy(&from, &to, &[&refs(&trust)[..], &["--json"]].concat())).expect_code(0).json();
    assert_eq!((&again["copied"], &again["skipped"], &again["copied_bytes"]), (&json!([]), &json!(2), &json!(0)));

    // One whose data is damaged at the source, and one that nobody trusted signed, stay where they are.
    let [older, newer] = <[String; 2]>::try_from(ids(world.folder())).unwrap();
    fs::remove_dir_all(&far).unwrap();
    fs::create_dir(&far).unwrap();
    flip(&world.object(&newer, "db.zst.age"), 1000);
    flip(&world.object(&older, "manifest.json"), 100);
    let ran = world.run(&copy(&from, &to, &["--json"])).expect_code(11);
    let refused = ran.json();
    assert_eq!((&refused["copied"], &refused["refused"][0]["id"]), (&json!([]), &json!(newer)));
    assert_eq!((&refused["refused"][0]["reason"], &refused["untrusted"][0]["id"]), (&json!("damaged"), &json!(older)));
    assert!(ids(&far).is_empty(), "no manifest without its data: {:?}", all_of(&far).keys());
}

#[test]
fn a_copy_that_was_killed_goes_on_where_it_stood_and_never_overwrites() {
    let options = Options { flags: vec!["--unsafe-no-fsync".to_owned()], ..Options::default() };
    let etcd = RealEtcd::start(Etcd::V3_6, options);
    keyspace::fill_bulk(&etcd, 48);
    let mut world = World::around(Some(etcd), None);
    let id = world.backup()["id"].as_str().unwrap().to_owned();
    let far = two_folders(&mut world, "");
    let words = copy("near", "far", &["--json"]);
    let mut run = world.lifeboat(&words).start(&world.path("killed.log"));
    // A look so quick that it meets the copy in the middle; where it does not, the copy was whole before the kill.
    wait_until(MINUTE, || !all_of(&far).is_empty() || run.ended().is_some()).expect("the copy begins");
    run.signal("KILL");
    wait_until(MINUTE, || run.ended().is_some()).expect("it ends");
    assert!(
        all_of(&far).keys().all(|name| !name.ends_with("/manifest.json")) || backups(&far) == backups(world.folder())
    );
    world.run(&words).expect_code(0);
    assert_eq!(ids(&far), std::slice::from_ref(&id));
    let same = || {
        backups(&far)
            .iter()
            .filter(|(name, _)| !name.contains('#'))
            .all(|(name, bytes)| backups(world.folder()).get(name) == Some(bytes))
    };
    assert!(same());

    // Its data is there and its manifest is not: nothing is sent again.
    let place = far.join(CLUSTER).join("backups").join(&id);
    fs::remove_file(place.join("manifest.json")).unwrap();
    fs::remove_file(place.join("manifest.json.minisig")).unwrap();
    let resumed = world.json(&copy("near", "far", &[]));
    assert_eq!((&resumed["copied"][0]["resumed"], &resumed["copied_bytes"]), (&json!(true), &json!(0)));
    assert!(same());

    // Another object at that name is left alone.
    fs::remove_file(place.join("manifest.json")).unwrap();
    fs::write(place.join("db.zst.age"), "somebody else's").unwrap();
    let refused = world.run(&words).expect_code(11).json();
    assert_eq!(refused["refused"][0]["reason"], "store_conflict", "{refused:#}");
    assert_eq!(fs::read(place.join("db.zst.age")).unwrap(), b"somebody else's");
}

#[test]
fn every_cluster_of_a_store_is_a_line_and_a_broken_one_troubles_no_other() {
    let world = World::backed_up();
    let store = world.folder();
    copy_dir(&store.join(CLUSTER), &store.join("imposter"));
    // A name that no object can have: the folder cannot be listed.
    let broken = store.join("broken").join("backups");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join(OsStr::from_bytes(b"no\xfftext")), "").unwrap();
    fs::create_dir(store.join("Not-A-Cluster")).unwrap();

    let ran = world.run(&["list", "--all-clusters"]).expect_code(11);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert!(lines[0].starts_with("broken: cannot be read: "), "{}", ran.stdout);
    assert!(
        lines[1].starts_with("imposter: NOT restorable") && lines[1].contains("2 backups do not count"),
        "{}",
        ran.stdout
    );
    assert!(lines[2].starts_with("prod-eu-1: restorable to ") && lines[2].contains("booted"), "{}", ran.stdout);
    let clusters = world.run(&["list", "--all-clusters", "--json"]).expect_code(11).json()["clusters"].clone();
    assert!(clusters[2]["proven"]["age_seconds"].as_u64().is_some(), "{clusters:#}");
    assert_eq!((&clusters[1]["proven"], &clusters[0]["error"]["reason"].is_string()), (&Value::Null, &true));
    world.run(&["list"]).expect_code(0);
    world.run(&["status"]).expect_code(0);
}
