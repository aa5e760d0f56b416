//! The line to a bucket fails: cut, dead, refused, or answered by a certificate that nobody knows. Every run gets through or
//! says by name what was wrong, nothing half written counts, and the next run succeeds.

use std::path::Path;
use std::time::Duration;

use lifeboat_tests::binary::Ran;
use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::pki::{Pki, Validity};
use lifeboat_tests::proxy::{Cut, Direction, Mode, Proxy, Weather};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::s3::{S3, uploads};
use lifeboat_tests::server::{Server, wait_until};
use lifeboat_tests::world::{Failure, World, keyspace, refs};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// A database of twelve MiB, which are three parts, and a bucket that is reached by a proxy alone.
fn world() -> (World, Proxy, Bucket) {
    let bucket = S3::shared().bucket();
    let proxy = Proxy::before(&bucket.endpoint);
    let options = Options { flags: vec!["--unsafe-no-fsync".to_owned()], ..Options::default() };
    let etcd = RealEtcd::start(Etcd::V3_6, options);
    keyspace::fill_bulk(&etcd, 12);
    (World::around(Some(etcd), Some(bucket.through(proxy.endpoint()))), proxy, bucket)
}

fn cut(direction: Direction, after: u64, times: u32) -> Weather {
    Weather { cut: Some(Cut { direction, after, times }), ..Weather::default() }
}

fn mode(mode: Mode) -> Weather {
    Weather { mode, ..Weather::default() }
}

/// Runs with twice the usual limit: a store that is away is waited for.
#[track_caller]
fn patient(world: &World, words: &[&str]) -> Ran {
    world.checked(world.lifeboat(words).limit(2 * MINUTE).run())
}

/// A failed run in the background, as its log tells it.
#[track_caller]
fn ended(run: &mut Server, world: &World) -> (Option<i32>, String) {
    let mut status = None;
    wait_until(MINUTE, || {
        status = run.ended();
        status.is_some()
    })
    .unwrap_or_else(|| panic!("it did not end:\n{}", run.tail()));
    world.shows_no_secret(&run.log());
    (status.and_then(|status| status.code()), run.log())
}

#[test]
fn an_upload_whose_line_is_cut_now_and_then_goes_on_and_one_cut_for_good_fails_by_name() {
    let (world, proxy, bucket) = world();
    for times in [1, 3] {
        let before = proxy.cut();
        proxy.set(cut(Direction::ToServer, 2 * MIB, times));
        let backup = world.backup();
        assert_eq!(proxy.cut() - before, u64::from(times), "the line was cut in the midst of parts");
        assert_eq!((&world.list()[0]["id"], uploads(&bucket, "").0), (&backup["id"], 0));
    }

    let (before, objects) = (world.list(), uploads(&bucket, "").1);
    proxy.set(cut(Direction::ToServer, MIB, u32::MAX));
    let ran = patient(&world, &["backup", "--json"]);
    let error = ran.expect_code(5).json()["error"].clone();
    assert_eq!(error["reason"], "store_unreachable", "{error:#}");
    Failure(error).says(&["cannot upload", "/db.zst.age in s3://", "check the"]);
    assert_eq!((world.list(), uploads(&bucket, "")), (before, (0, objects)), "neither an entry nor a part is left");
    proxy.set(Weather::default());
    world.backup();
    world.run(&["prove"]).expect_code(0);
}

/// Starts a backup whose requests may take one second, and makes its line bad when some of the upload has passed.
fn turned_bad(world: &World, proxy: &Proxy, bad: Mode) -> Server {
    let stores = world.field("stores").replacen('{', "{ timeout: 1s,", 1);
    let config = world.write_config("impatient.yaml", &[("stores", stores.as_str())]);
    // So slow that it is met in the middle, and fast enough for a part within its time.
    proxy.set(Weather { bytes_per_second: Some(12 * MIB), ..Weather::default() });
    let mut run = world.lifeboat_with(&config, &["backup"]).start(&world.path("log"));
    let met = || proxy.passed(Direction::ToServer) > MIB || run.ended().is_some();
    wait_until(MINUTE, met).unwrap_or_else(|| panic!("no upload begins:\n{}", run.tail()));
    proxy.set(mode(bad));
    run
}

#[test]
fn an_upload_whose_line_is_dead_for_a_while_goes_on() {
    let (world, proxy, bucket) = world();
    let mut run = turned_bad(&world, &proxy, Mode::BlackHole);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((run.ended(), uploads(&bucket, "").1), (None, 0), "{}", run.log());
    proxy.set(Weather::default());
    let (code, log) = ended(&mut run, &world);
    assert_eq!(code, Some(0), "{log}");
    world.run(&["prove"]).expect_code(0);
    assert_eq!((world.list().len(), uploads(&bucket, "").0), (1, 0), "{log}");
}

#[test]
fn a_store_that_goes_away_in_the_midst_of_an_upload_ends_the_run_by_name() {
    let (world, proxy, _) = world();
    let mut run = turned_bad(&world, &proxy, Mode::Refuse);
    let (code, log) = ended(&mut run, &world);
    assert_eq!(code, Some(5), "{log}");
    for word in ["cannot upload ", "/db.zst.age in s3://", "check the store's endpoint, the network and DNS"] {
        assert!(log.contains(word), "{word:?} is missing in:\n{log}");
    }
    proxy.set(Weather::default());
    assert_eq!(world.list(), [json!(null); 0], "{log}");
    world.backup();
    world.run(&["prove"]).expect_code(0);
}

#[test]
fn a_restore_whose_line_is_cut_again_and_again_goes_on_where_it_stood() {
    let (mut world, proxy, _) = world();
    let before = keyspace::records(world.etcd());
    let sealed = world.backup()["sealed_bytes"].as_u64().unwrap();
    world.etcd = None;
    let target = world.path("data");
    let identity = world.key("recovery.key");
    let words = ["restore", "latest", "--allow", "unproven", "--yes", "--no-bump", "--identity", text(&identity)];
    let words = [&words[..], &["--data-dir", text(&target), "-vv"]].concat();

    let (cuts, passed) = (proxy.cut(), proxy.passed(Direction::ToClient));
    proxy.set(cut(Direction::ToClient, MIB / 2, u32::MAX));
    let ran = patient(&world, &words).expect_code(0);
    let (cuts, passed) = (proxy.cut() - cuts, proxy.passed(Direction::ToClient) - passed);
    assert!(cuts > sealed / MIB, "only {cuts} cuts");
    assert!(passed < sealed + MIB, "{passed} bytes came for {sealed}: something was read anew");
    // object_store goes on with an answer a few times, and we with the range after that.
    let resumed: Vec<u64> = ran.stderr.lines().filter_map(resumed_at).collect();
    assert!(!resumed.is_empty() && resumed.iter().all(|got| *got >= MIB / 8), "{resumed:?}\n{}", ran.stderr);
    let etcd = RealEtcd::on_data_dir(Etcd::V3_6, "m0", &target);
    assert_eq!(keyspace::records(&etcd), before);
}

#[test]
fn a_store_that_goes_away_in_the_midst_of_a_restore_ends_it_by_name_and_leaves_the_target_alone() {
    let (world, proxy, _) = world();
    world.backup();
    let target = world.path("data");
    let words = ["restore", "latest", "--allow", "unproven", "--yes", "--data-dir", text(&target)];
    proxy.set(Weather { bytes_per_second: Some(MIB), ..Weather::default() });
    let before = proxy.passed(Direction::ToClient);
    let mut run = world.lifeboat(&words).start(&world.path("log"));
    wait_until(MINUTE, || proxy.passed(Direction::ToClient) > before + MIB || run.ended().is_some()).expect("it reads");
    proxy.set(mode(Mode::Refuse));
    let (code, log) = ended(&mut run, &world);
    assert_eq!(code, Some(5), "{log}");
    for word in ["cannot read ", "/db.zst.age in s3://", "check the store's endpoint, the network and DNS"] {
        assert!(log.contains(word), "{word:?} is missing in:\n{log}");
    }
    assert!(!target.exists(), "a target that is there is a whole one");
    proxy.set(Weather::default());
    world.run(&words).expect_code(0);
    let etcd = RealEtcd::on_data_dir(Etcd::V3_6, "m0", &target);
    assert_eq!(keyspace::records(&etcd), keyspace::records(world.etcd()));
}

/// How much of a range had come when it was gone on with.
fn resumed_at(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("a range was cut; it is gone on with")?.1.split_once("got=")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_store_that_refuses_connections_is_named_with_the_operation_and_the_next_step() {
    let bucket = S3::shared().bucket();
    let proxy = Proxy::before(&bucket.endpoint);
    let world = World::in_bucket(Etcd::V3_6, bucket.through(proxy.endpoint()));
    world.backup();
    proxy.set(mode(Mode::Refuse));
    let target = world.path("data");
    let restore = ["restore", "--data-dir", text(&target), "--yes"];
    let url = world.place.url();
    let address = proxy.endpoint();
    std::thread::scope(|scope| {
        for words in [&["backup"][..], &["prove"], &["prune", "--apply"], &["status"], &restore] {
            let (world, url, address) = (&world, &url, &address);
            scope.spawn(move || {
                let ran = patient(world, &[words, &["--json"]].concat()).expect_code(5);
                let error = Failure(ran.json()["error"].clone());
                assert_eq!(error.0["reason"], "store_unreachable", "{words:?}: {:#}", error.0);
                error.says(&["cannot list", url, address, "check the store's endpoint"]);
            });
        }
    });
    let shown = patient(&world, &["backup"]).expect_code(5).stderr;
    assert!(shown.contains(&format!("cannot list {url}")) && shown.contains("check the store's endpoint"), "{shown}");
    assert!(!target.exists());
    proxy.set(Weather::default());
    world.run(&["prove"]).expect_code(0);
}

#[test]
fn a_private_authority_is_given_with_store_ca_beside_a_url_and_nowhere_else() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (server, endpoint) = S3::start_with_tls(&pki.server(Validity::Now));
    let mut world = World::in_bucket(Etcd::V3_6, server.bucket().through(endpoint));
    let ca_file = pki.ca_file();
    let stores = world.field("stores").to_owned();
    world.set("stores", stores.replacen('{', &format!("{{ ca_file: {},", ca_file.display()), 1));
    let id = world.backup()["id"].clone();

    let flags = world.flags();
    let list = [&["list"], refs(&flags).as_slice()].concat();
    let with =
        |ca: &Path| [list.as_slice(), &["--store-ca", text(ca)]].concat().iter().map(|s| s.to_string()).collect();
    let good: Vec<String> = with(&ca_file);
    let listed = world.run_bare(&[refs(&good).as_slice(), &["--json"]].concat()).expect_code(0).json();
    assert_eq!((&listed["backups"][0]["id"], &listed["backups"][0]["trust"]), (&id, &json!("trusted")), "{listed:#}");

    let told = ["cannot list", "s3://", "ca_file", "--store-ca"];
    world.refused_bare(&list, 5, "store_tls").says(&told);
    let wrong: Vec<String> = with(&other.ca_file());
    world.refused_bare(&refs(&wrong), 5, "store_tls").says(&told);
    let none: Vec<String> = with(&world.path("no-such-file"));
    world.refused_bare(&refs(&none), 3, "config").says(&["cannot read ca_file", "no-such-file", "the PEM file"]);

    // The config has its own, by the store's name as well.
    let bare = world.run(&["list", "--store-ca", text(&ca_file)]).expect_code(2).stderr;
    assert!(bare.contains("--store"), "{bare}");
    let named = ["list", "--store", "main", "--store-ca", text(&ca_file)];
    let ran = world.run(&named).expect_code(2).stderr;
    assert!(ran.contains("--store-ca go with a --store URL"), "{ran}");
}
