//! A proof survives its etcd, its scratch and its own end: what it says then, and that nothing is left behind.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::server::wait_until;
use lifeboat_tests::world::World;

/// A world whose proofs boot a script instead of an etcd; `$REAL` in it is the real one.
fn world(script: &str, limit: &str) -> World {
    let mut world = World::backed_up();
    let real = Etcd::V3_6.server();
    let text = format!(
        "#!/bin/sh\ncase \"$1\" in --version) echo 'etcd Version: 3.6.99'; exit;; esac\n{}\n",
        script.replace("$REAL", &real.display().to_string())
    );
    // Written by another process: what a thread beside this one forks could hold it open, and then it cannot be run.
    let mut write = Command::new("/bin/sh");
    write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(world.path("etcd")).arg(&text);
    let made = write.status();
    assert!(made.expect("sh starts").success());
    let dir = world.path("scratch").display().to_string();
    let etcd = world.path("etcd").display().to_string();
    world.set("proof", format!("{{ scratch: {{ dir: {dir}, max: 300MiB }}, etcd: {{ \"3.6\": {etcd} }} }}"));
    world.set("limits", format!("{{ prove: {limit} }}"));
    world
}

/// Processes that work in the proof's scratch dir.
fn left(world: &World) -> Vec<PathBuf> {
    let dir = world.path("scratch/proof");
    let processes = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let works_there = |process: &PathBuf| {
        let cwd = std::fs::read_link(process.join("cwd")).unwrap_or_default();
        cwd.to_string_lossy().starts_with(&*dir.to_string_lossy())
    };
    processes.map(|process| process.path()).filter(works_there).collect()
}

#[track_caller]
fn nothing_is_left(world: &World) {
    assert_eq!(left(world), Vec::<PathBuf>::new());
    assert!(!world.path("scratch/proof").exists(), "plaintext is left");
}

/// The prover's own trouble: code and reason, a verdict that condemns nothing and that is recorded but once, nothing left.
#[track_caller]
fn inconclusive(world: &World, code: i32, reason: &str, words: &str) {
    for _ in 0..2 {
        world.refused(&["prove"], code, reason).says(&[words]);
        nothing_is_left(world);
    }
    let newest = &world.list()[0];
    assert_eq!(newest["stores"][0]["proof"]["outcome"], "inconclusive", "{newest:#}");
    let shown = world.json(&["show", newest["id"].as_str().unwrap()]);
    let [verdict] = shown["backup"]["verdicts"].as_array().unwrap().as_slice() else {
        panic!("one verdict:\n{shown:#}")
    };
    assert_eq!(verdict["outcome"], "inconclusive");
    assert!(verdict["steps"].as_array().unwrap().last().unwrap()["found"].as_str().unwrap().contains(words));
    assert!(world.run(&["list"]).expect_code(0).stdout.contains("inconclusive, "));
}

#[test]
fn an_etcd_that_hangs_at_boot_is_ended_in_time_with_all_that_it_started() {
    inconclusive(&world("sleep 600 & sleep 601", "3s"), 12, "budget", "took longer than 3 s");
}

#[test]
fn an_etcd_that_always_crashes_condemns_no_backup_and_one_that_crashes_on_it_does() {
    let broken = world("echo no such luck >&2; exit 3", "1m");
    inconclusive(&broken, 13, "no_etcd_binary", "does not start on an empty data dir either");
    let picky = world("case \"$*\" in *proof/data*) echo boom >&2; exit 3;; esac\nexec $REAL \"$@\"", "1m");
    let failed = picky.run(&["prove", "--json"]).expect_code(10).json();
    assert_eq!(failed["failed_at"], "booted", "{failed:#}");
    assert!(failed["steps"].as_array().unwrap().last().unwrap()["found"].as_str().unwrap().contains("boom"));
    nothing_is_left(&picky);
}

#[test]
fn want_of_memory_or_space_is_not_the_backups_fault() {
    let hungry = world("echo 'fatal error: runtime: out of memory' >&2; exit 2", "1m");
    inconclusive(&hungry, 12, "budget", "out of memory");
    let full = world("echo 'write: no space left on device' >&2; exit 1", "1m");
    inconclusive(&full, 12, "no_space", "no space left on device");
    // Two files, each below what one may have.
    let endless = "for n in 1 2; do dd if=/dev/zero of=fill$n bs=1M count=200 2>/dev/null; done; sleep 600";
    inconclusive(&world(endless, "1m"), 12, "no_space", "bytes into its scratch, proof.scratch.max is");
}

#[test]
fn an_etcd_that_ignores_sigterm_is_killed_and_the_proof_goes_on() {
    let stubborn = world("trap '' TERM\n$REAL \"$@\" &\nwait\nsleep 600", "2m");
    stubborn.run(&["prove", "--level", "booted", "latest-proven"]).expect_code(0);
    nothing_is_left(&stubborn);
}

#[test]
fn the_booted_etcd_is_bounded_and_listens_on_no_port() {
    let look = "sleep 0.3; cp /proc/$$/limits ../limits; cp /proc/$$/environ ../environ; cp /proc/$$/stat ../stat\nexec $REAL \"$@\"";
    let bounded = world(look, "1m");
    bounded.run(&["prove"]).expect_code(0);
    let told = |name: &str| std::fs::read_to_string(bounded.path("scratch").join(name)).unwrap();
    let limit = |name: &str| {
        let limits = told("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{limits}"));
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!((limit("Max core file size"), limit("Max file size")), ("0".to_owned(), (300 << 20).to_string()));
    assert!(limit("Max data size").parse::<u64>().is_ok_and(|most| most > 1 << 30 && most < 2 << 30));
    assert_eq!(told("environ"), "");
    assert_eq!(told("stat").rsplit(')').next().unwrap().split_whitespace().nth(16), Some("10"), "its niceness");

    let open = world("exec $REAL --listen-metrics-urls=http://127.0.0.1:0 \"$@\"", "1m");
    inconclusive(&open, 13, "no_etcd_binary", "listens on TCP");
}

#[test]
fn a_prover_killed_at_any_moment_leaves_nothing_that_the_next_one_does_not_clear() {
    let slow = world("sleep 0.2\nexec $REAL \"$@\"", "1m");
    let mut running = 0;
    for moment in 0..10 {
        let mut prover = slow.lifeboat(&["prove"]).start(&slow.path("prover.log"));
        // Its leash kills with SIGKILL when it is dropped.
        let ended = wait_until(Duration::from_millis(150 * moment), || prover.ended().is_some());
        running += u32::from(ended.is_none());
    }
    assert!(running >= 4, "only {running} of the kills met a proof");
    slow.run(&["prove"]).expect_code(0);
    nothing_is_left(&slow);

    // Killed while an etcd hangs: that one is ended by the next proof, whatever it waits for.
    let hangs = world("sleep 600", "1m");
    let prover = hangs.lifeboat(&["prove"]).start(&hangs.path("prover.log"));
    assert!(wait_until(Duration::from_secs(20), || !left(&hangs).is_empty()).is_some(), "{}", prover.tail());
    drop(prover);
    hangs.run(&["prove", "--level", "sound"]).expect_code(0);
    assert!(wait_until(Duration::from_secs(5), || left(&hangs).is_empty()).is_some(), "{:?}", left(&hangs));
    nothing_is_left(&hangs);
}
