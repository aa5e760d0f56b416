//! A store that is slower than etcd: etcd is let go first, or the run says by name who was slow.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::proxy::{Proxy, Weather};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::s3::{S3, uploads};
use lifeboat_tests::server::{Server, wait_until};
use lifeboat_tests::world::{World, keyspace};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
/// More than fits into the window and four parts, so that a slow store holds up the stream.
const MEBIBYTES: usize = 34;
/// Of each of an upload's three connections: a part takes ten seconds.
const SLOWLY: Weather = Weather {
    mode: lifeboat_tests::proxy::Mode::Pass,
    latency: Duration::ZERO,
    bytes_per_second: Some(512 << 10),
    cut: None,
};
/// etcd's stream may take so long, and half of it be held up by a store.
const STREAM: Duration = Duration::from_secs(3);

fn etcd() -> RealEtcd {
    let options = Options { flags: vec!["--unsafe-no-fsync".to_owned()], ..Options::default() };
    let etcd = RealEtcd::start(Etcd::V3_6, options);
    keyspace::fill_bulk(&etcd, MEBIBYTES);
    etcd
}

/// A world whose only store is a bucket behind a proxy.
fn world() -> (World, Proxy, Bucket) {
    let bucket = S3::shared().bucket();
    let proxy = Proxy::before(&bucket.endpoint);
    let world = World::around(Some(etcd()), Some(bucket.through(proxy.endpoint())));
    (world, proxy, bucket)
}

/// The same where the bucket is the second store, `far`, beside the folder `near`; one of them is enough.
fn two() -> (World, Proxy, Bucket, PathBuf) {
    let (mut world, proxy, bucket) = world();
    let near = world.path("near");
    std::fs::create_dir(&near).expect("the folder is ours");
    let far = world.field("stores").trim_matches(['[', ']']).replacen('{', "{ name: far,", 1);
    world.set("stores", format!("[{{ name: near, url: \"file://{}\" }}, {far}]", near.display()));
    world.set("write_quorum", "1");
    (world, proxy, bucket, near)
}

fn limits(world: &mut World, backup: &str, slow_store: &str) {
    let stream = STREAM.as_secs();
    let limits = format!("{{ backup: {backup}, stream: {stream}s, compare: 1s, slow_store: {slow_store} }}");
    world.set("limits", limits);
}

fn signal(etcd: &RealEtcd, name: &str) {
    let pid = etcd.pid(0).to_string();
    let mut command = std::process::Command::new("sh");
    lifeboat_tests::tools::succeed(command.args(["-c", "kill -\"$1\" \"$2\"", "kill", name, &pid]));
}

fn exit_code(run: &mut Server) -> Option<i32> {
    let mut ended = None;
    wait_until(MINUTE, || {
        ended = run.ended();
        ended.is_some()
    })
    .unwrap_or_else(|| panic!("it did not end:\n{}", run.tail()));
    ended.and_then(|status| status.code())
}

#[test]
fn a_slow_store_is_waited_for_in_the_scratch_dir_long_after_etcd_was_let_go() {
    let (mut world, proxy, bucket) = world();
    limits(&mut world, "5m", "spool");
    proxy.set(SLOWLY);
    let mut run = world.lifeboat(&["backup"]).start(&world.path("slow.log"));
    let waits =
        wait_until(MINUTE, || run.log().contains("sealed bytes wait in the scratch dir") || run.ended().is_some());
    waits.expect("the window is full");
    assert!(run.log().contains("was too slow: it held up etcd's stream for 1 s"), "{}", run.log());
    // A stream that still ran now would be over its limit; and an etcd that stands still could not go on with it.
    sleep(STREAM);
    signal(world.etcd(), "STOP");
    let under_way = uploads(&bucket, "");
    proxy.set(Weather::default());
    let code = exit_code(&mut run);
    signal(world.etcd(), "CONT");
    world.shows_no_secret(&run.log());
    assert_eq!((under_way, code), ((1, 0), Some(0)), "{}", run.log());
    let scratch: Vec<_> = std::fs::read_dir(world.path("scratch")).into_iter().flatten().collect();
    assert!(scratch.is_empty(), "sealed bytes are left: {scratch:?}");
    world.run(&["prove"]).expect_code(0);
    assert_eq!(world.list()[0]["stores"][0]["proof"]["outcome"], "passed");
}

#[test]
fn a_slow_store_fails_the_run_by_name_where_nothing_may_wait() {
    let (mut world, proxy, bucket) = world();
    limits(&mut world, "5m", "fail");
    proxy.set(SLOWLY);
    let failed = world.refused(&["backup"], 5, "store_timeout");
    failed.says(&[
        "store main was too slow",
        "held up etcd's stream for 1 s",
        "limits.slow_store: spool",
        "limits.stream",
    ]);
    assert!(!world.path("scratch").exists(), "nothing waits on a disk");
    assert_eq!(uploads(&bucket, ""), (0, 0), "the unfinished upload is dropped");
    proxy.set(Weather::default());
    world.backup();
    assert_eq!(world.list().len(), 1);
}

/// The backup is in the folder alone, in time, and the far store is named; a copy brings it level.
fn lags(slow_store: &str, within: Duration, says: &[&str]) {
    let (mut world, proxy, bucket, near) = two();
    limits(&mut world, "14s", slow_store);
    proxy.set(SLOWLY);
    let began = Instant::now();
    let ran = world.run(&["backup", "--json"]).expect_code(11);
    assert!(began.elapsed() < within, "it took {:?}:\n{}", began.elapsed(), ran.stderr);
    assert!(ran.stderr.contains("is not in every store: far: "), "{}", ran.stderr);
    let entry = ran.json()["backup"].clone();
    let [here, there] = [&entry["stores"][0], &entry["stores"][1]];
    assert_eq!((&here["present"], &there["present"]), (&json!(true), &json!(false)), "{entry:#}");
    assert_eq!(there["error"]["reason"], "store_timeout", "{entry:#}");
    let message = there["error"]["message"].as_str().expect("an error has a message");
    assert!(says.iter().all(|word| message.contains(word)), "{message}");
    proxy.set(Weather::default());
    assert_eq!(uploads(&bucket, "").0, 0, "what had been sent is dropped");
    let behind = world.run(&["status", "--json"]).expect_code(11).json();
    assert_eq!((&behind["findings"][0]["kind"], &behind["stores"][1]["behind"]), (&json!("store_behind"), &json!(1)));

    let copied = world.json(&["copy", "--from", "near", "--to", "far"]);
    assert_eq!((&copied["copied"][0]["id"], &copied["refused"]), (&entry["id"], &json!([])), "{copied:#}");
    world.run(&["prove"]).expect_code(0);
    let level = world.run(&["status", "--json"]).expect_code(0).json();
    assert_eq!((&level["findings"], &level["stores"][1]["behind"]), (&json!([]), &json!(0)), "{level:#}");
    std::fs::remove_dir_all(near).expect("the folder is ours");
    let listed: Vec<Value> = world.json(&["list", "--store", "far"])["backups"].as_array().expect("a list").clone();
    assert_eq!((listed.len(), &listed[0]["id"], &listed[0]["trust"]), (1, &entry["id"], &json!("trusted")));
}

#[test]
fn a_store_that_lags_behind_the_quorum_is_named_in_time_and_a_copy_brings_it_level() {
    lags("spool", Duration::from_secs(14), &["it had not taken the backup", "s after the others"]);
}

#[test]
fn a_store_that_may_not_lag_is_let_go_during_the_stream() {
    lags("fail", Duration::from_secs(12), &["store far was too slow", "held up etcd's stream for 1 s"]);
}
