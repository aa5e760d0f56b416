//! Runs that end in the middle: by a signal, by a kill, by a full disk. What is left harms nobody and the next run gets through.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::server::{Server, wait_until};
use lifeboat_tests::world::{World, keyspace};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const MEBIBYTES: usize = 48;

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A world whose database is large enough that a run of anything takes a while.
fn large() -> World {
    let options = Options { flags: vec!["--unsafe-no-fsync".to_owned()], ..Options::default() };
    let etcd = RealEtcd::start(Etcd::V3_6, options);
    keyspace::fill_bulk(&etcd, MEBIBYTES);
    World::around(Some(etcd), None)
}

/// Looks often: the moment is short.
fn soon(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + MINUTE;
    while !there() {
        assert!(Instant::now() < deadline, "{what} did not come");
        sleep(Duration::from_millis(1));
    }
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "kill", name, &pid.to_string()]).status();
    assert!(status.expect("sh starts").success(), "kill -{name} {pid}");
}

fn exit_code(agent: &mut Server) -> Option<i32> {
    let mut ended = None;
    wait_until(MINUTE, || {
        ended = agent.ended();
        ended.is_some()
    })
    .unwrap_or_else(|| panic!("it did not end:\n{}", agent.tail()));
    ended.and_then(|status| status.code())
}

#[test]
fn an_interrupted_backup_ends_with_130_and_leaves_nothing_and_a_killed_one_nothing_that_counts() {
    let world = large();
    let mut run = world.lifeboat(&["backup"]).start(&world.path("interrupted.log"));
    soon("the staged file", || !world.objects().is_empty());
    signal(world.etcd().pid(0), "STOP");
    run.signal("INT");
    let code = exit_code(&mut run);
    signal(world.etcd().pid(0), "CONT");
    world.shows_no_secret(&run.log());
    assert_eq!(code, Some(130), "{}", run.log());
    assert!(run.log().contains("stopped by a signal; nothing was published"), "{}", run.log());
    assert_eq!(world.objects(), [""; 0], "neither an object nor a staged part");

    let mut run = world.lifeboat(&["backup"]).start(&world.path("killed.log"));
    soon("the staged file", || !world.objects().is_empty());
    run.signal("KILL");
    assert_eq!(exit_code(&mut run), None, "ended by the signal");
    assert_eq!(world.list(), [json!(null); 0]);
    world.run(&["status"]).expect_code(0);
    world.backup();
    assert_eq!(world.list().len(), 1);
}

#[test]
fn a_killed_restore_leaves_only_its_partial_dir_and_a_rerun_succeeds() {
    let world = large();
    world.backup();
    let target = world.path("restored/data");
    std::fs::create_dir(world.path("restored")).unwrap();
    let partial = target.with_extension("partial");
    let restore = ["restore", "latest", "--allow", "unproven", "--data-dir", text(&target), "--yes"];
    let mut run = world.lifeboat(&restore).start(&world.path("killed.log"));
    let db = partial.join("member/snap/db");
    soon("the database", || std::fs::metadata(&db).is_ok_and(|db| db.len() > 1 << 20));
    run.signal("KILL");
    assert_eq!(exit_code(&mut run), None, "it was killed before it was done:\n{}", run.log());
    assert_eq!(names(&world.path("restored")), ["data.partial"]);

    let begun = || std::fs::metadata(partial.join(".lifeboat-partial")).and_then(|marker| marker.modified()).ok();
    let killed = begun();
    let mut run = world.lifeboat(&restore).start(&world.path("interrupted.log"));
    let anew = || begun().is_some() && begun() != killed;
    soon("the database, anew", || anew() && std::fs::metadata(&db).is_ok_and(|db| db.len() > 1 << 20));
    run.signal("INT");
    assert_eq!(exit_code(&mut run), Some(130), "{}", run.log());
    assert!(run.log().contains("the target was not touched"), "{}", run.log());
    assert!(!target.exists());

    world.run(&restore).expect_code(0);
    assert_eq!(names(&world.path("restored")), ["data"]);
    let etcd = RealEtcd::on_data_dir(Etcd::V3_6, "m0", &target);
    assert_eq!(keyspace::records(&etcd).len(), MEBIBYTES);
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_killed_proof_leaves_plaintext_that_the_next_one_wipes() {
    let world = large();
    world.backup();
    let scratch = world.path("scratch/proof");
    let mut run = world.lifeboat(&["prove"]).start(&world.path("killed.log"));
    let db = scratch.join("data.partial/member/snap/db");
    soon("the database", || std::fs::metadata(&db).is_ok_and(|db| db.len() > 1 << 20));
    run.signal("KILL");
    exit_code(&mut run);
    assert!(db.exists(), "this is what must not stay");
    assert_eq!(std::fs::metadata(&scratch).unwrap().permissions().mode() & 0o777, 0o700);
    world.run(&["prove"]).expect_code(0);
    assert!(!scratch.exists());
    assert_eq!(world.list()[0]["stores"][0]["proof"]["outcome"], "passed");
}

/// Processes that work in a folder.
fn working_in(dir: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let works = |path: &PathBuf| {
        std::fs::read_link(path.join("cwd"))
            .is_ok_and(|cwd| cwd.to_string_lossy().trim_end_matches(" (deleted)") == text(dir))
    };
    let found = processes.map(|entry| entry.path()).filter(works);
    found.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

#[test]
fn the_etcd_of_a_killed_proof_does_not_live_on() {
    let world = World::backed_up();
    let scratch = world.path("scratch/proof");
    let mut run = world.lifeboat(&["prove"]).start(&world.path("killed.log"));
    soon("the booted etcd", || !working_in(&scratch).is_empty());
    run.signal("KILL");
    exit_code(&mut run);
    world.run(&["prove"]).expect_code(0);
    let left = working_in(&scratch);
    for pid in &left {
        signal(*pid, "KILL");
    }
    assert_eq!(left, [0_u32; 0], "an etcd with the backup's secrets in memory was left running");
}

#[test]
fn a_full_disk_is_told_as_such_and_nothing_is_published_restored_or_condemned() {
    let world = large();
    let small = |dir: &Path| format!("mkdir -p {0} && mount -t tmpfs -o size=8m tmpfs {0}", dir.display());
    let ran = world.run_in_namespace(&small(world.folder()), &["backup", "--json"]).expect_code(12);
    let error = &ran.json()["error"];
    assert_eq!(error["reason"], "no_space", "{error:#}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("free space")), "{error:#}");

    world.backup();
    let target = world.path("full/data");
    let restore = ["restore", "latest", "--allow", "unproven", "--data-dir", text(&target), "--yes"];
    let ran = world.run_in_namespace(&small(&world.path("full")), &restore).expect_code(12);
    assert!(ran.stderr.contains("the restored data dir needs ") && ran.stderr.contains("bytes free"), "{}", ran.stderr);

    let ran = world.run_in_namespace(&small(&world.path("scratch")), &["prove"]).expect_code(12);
    assert!(ran.stderr.contains("scratch"), "{}", ran.stderr);
    assert_eq!(world.list()[0]["stores"][0]["proof"]["outcome"], "inconclusive", "no space condemns nothing");
}
