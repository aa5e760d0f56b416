//! Restores that exchange the data of a running machine's own etcd, and take it back. Here systemd starts etcd; static pods
//! are tests/cluster's.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use lifeboat_tests::binary::{Lifeboat, Ran};
use lifeboat_tests::pki::{Pki, TlsFiles};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::server::Server;
use lifeboat_tests::tools;
use lifeboat_tests::units::Units;
use lifeboat_tests::world::{World, refs};
use serde_json::{Value, json};

const UNIT: &str = "etcd.service";
const LIMIT: Duration = Duration::from_secs(120);

/// A cluster with a proven backup and a key that came later, on machines whose units start it.
struct Ground {
    world: World,
    machines: Vec<Units>,
    keys: usize,
}

impl Ground {
    fn new(version: Etcd, members: usize, tls: Option<&TlsFiles>) -> Ground {
        let etcd = RealEtcd::start(version, Options { members, tls: tls.cloned(), ..Options::default() });
        keyspace_of(&etcd);
        let mut world = World::around(Some(etcd), None);
        if let Some(tls) = tls {
            let [ca, cert, key] =
                [&tls.ca_file, &tls.client_cert_file, &tls.client_key_file].map(|path| path.display().to_string());
            let endpoint = world.etcd().endpoint();
            let tls = format!("{{ ca_file: {ca}, cert_file: {cert}, key_file: {key} }}");
            world.set("etcd", format!("{{ endpoints: [\"{endpoint}\"], tls: {tls} }}"));
        }
        world.json(&["backup", "--wait-proven", "2m"]);
        let keys = count(&world);
        world.etcd().etcdctl(&["put", "later", "1"]);
        let machines: Vec<Units> =
            (0..members).map(|number| Units::with(UNIT, &world.etcd().command_line(number))).collect();
        world.etcd.as_mut().expect("this world has an etcd").stop();
        Ground { world, machines, keys }
    }

    /// The old world runs again, by its units.
    fn start(&self) {
        self.machines.iter().for_each(|machine| machine.start(UNIT));
        self.healthy();
    }

    fn healthy(&self) {
        let deadline = std::time::Instant::now() + LIMIT;
        while !self.world.etcd().try_etcdctl(&["endpoint", "health"]).status.success() {
            assert!(std::time::Instant::now() < deadline, "the cluster does not become healthy");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// `lifeboat restore` on a machine, with the flags of an outage.
    fn restore(&self, machine: usize, words: &[&str]) -> Lifeboat {
        let flags = self.world.flags();
        let store = if words.contains(&"--undo") { Vec::new() } else { refs(&flags) };
        let all = [&["restore", "--unit", UNIT, "--yes", "--json"], words, &store].concat();
        Lifeboat::new(&all).env("PATH", self.machines[machine].search_path()).limit(LIMIT)
    }

    fn in_place(&self, machine: usize, words: &[&str]) -> Ran {
        self.world.checked(self.restore(machine, &[&["--in-place"], words].concat()).run())
    }

    fn data(&self, machine: usize) -> std::path::PathBuf {
        self.world.etcd().member_data_dir(machine)
    }

    /// Only what the backup holds, the same on every member.
    fn is_restored(&self) {
        assert_eq!(count(&self.world), self.keys);
        assert_eq!(self.world.etcd().etcdctl(&["get", "later"]), "");
        self.is_equal();
    }

    fn is_old(&self) {
        assert_eq!(self.world.etcd().etcdctl(&["get", "later", "--print-value-only"]).trim(), "1");
        self.is_equal();
    }

    fn is_equal(&self) {
        let said = self.world.etcd().etcdctl(&["endpoint", "hashkv", "--write-out", "json"]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let hashes: Vec<&Value> = said.as_array().unwrap().iter().map(|one| &one["HashKV"]["hash"]).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{said:#}");
    }
}

fn keyspace_of(etcd: &RealEtcd) {
    for number in 0..40 {
        etcd.etcdctl(&["put", &format!("/registry/pods/default/p{number}"), &format!("pod {number} ").repeat(50)]);
    }
}

fn count(world: &World) -> usize {
    let said = world.etcd().etcdctl(&["get", "", "--prefix", "--keys-only"]);
    said.lines().filter(|line| !line.is_empty()).count()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_running_etcd_is_exchanged_and_taken_back() {
    let ground = Ground::new(Etcd::V3_6, 1, None);
    ground.start();
    let planned = ground.in_place(0, &["--dry-run"]).expect_code(0);
    assert_eq!(planned.json()["state"], "planned");
    ground.is_old();
    let done = ground.in_place(0, &[]).expect_code(0);
    for step in ["build", "stop", "swap", "start", "health"] {
        assert!(done.stderr.lines().any(|line| line.trim_start().starts_with(step)), "{step}:\n{}", done.stderr);
    }
    let report = done.json();
    assert_eq!(
        (&report["state"], &report["report"]["members"]),
        (&json!("restored"), &json!({ "running": 1, "of": 1 }))
    );
    let old = report["report"]["old_data"].as_str().expect("the old data is kept").to_owned();
    assert!(Path::new(&old).join("member/snap/db").is_file());
    let next = report["report"]["next"].to_string();
    assert!(next.contains(&format!("lifeboat restore --undo --unit {UNIT}")) && next.contains(&old), "{next}");
    ground.is_restored();
    let undone = ground.restore(0, &["--undo"]).run().expect_code(0).json();
    assert_eq!(undone["state"], "undone", "{undone:#}");
    ground.is_old();
    assert!(Path::new(undone["report"]["restored_data"].as_str().unwrap()).join("member/snap/db").is_file());
    let twice = ground.restore(0, &["--undo"]).run().expect_code(2).json();
    assert!(twice["error"]["message"].as_str().unwrap().contains("undone already"), "{twice:#}");
    // Only what is named was asked of systemd.
    let verbs = ["show", "stop", "start --no-block", "start"];
    for call in ground.machines[0].calls().lines() {
        assert!(verbs.iter().any(|verb| call.starts_with(verb)) && call.ends_with(UNIT), "{call}");
    }
    // And once more, as if nothing had been.
    ground.in_place(0, &[]).expect_code(0);
    ground.is_restored();
}

/// Every command in the background at once, as several people would.
fn together(ground: &Ground, commands: &[(usize, Vec<String>)]) {
    let logs: Vec<_> = commands.iter().map(|(machine, _)| ground.world.path(&format!("log-{machine}"))).collect();
    let mut running: Vec<Server> = Vec::new();
    for ((machine, words), log) in commands.iter().zip(&logs) {
        let _fresh = std::fs::remove_file(log);
        running.push(ground.restore(*machine, &refs(words)).start(log));
    }
    let deadline = std::time::Instant::now() + LIMIT;
    while !running.iter_mut().all(|run| run.ended().is_some_and(|status| status.success())) {
        let failed = running.iter_mut().any(|run| run.ended().is_some_and(|status| !status.success()));
        let late = std::time::Instant::now() > deadline;
        assert!(!failed && !late, "{}", running.iter().map(Server::log).collect::<Vec<_>>().join("\n\n"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn three_that_run_go_back_together_and_none_starts_beside_the_old_world() {
    let ground = Ground::new(Etcd::V3_6, 3, None);
    ground.start();
    let planned = ground.in_place(0, &["--dry-run"]).expect_code(0).json();
    let plan = planned["plan"]["plan"].as_str().unwrap();
    // Alone it waits for the others, which run the old world, and does not start.
    let waited = ground.in_place(0, &["--plan", plan, "--wait", "3s"]).expect_code(14);
    let error = &waited.json()["error"];
    assert_eq!(error["reason"], "waiting_for_members");
    assert!(error["message"].as_str().unwrap().contains("m1 still runs the old cluster"), "{error:#}");
    assert!(!ground.world.etcd().try_etcdctl(&["endpoint", "health"]).status.success(), "m0 stays stopped");
    let shown = ground.in_place(0, &["--plan", plan, "--dry-run"]).expect_code(0);
    assert_eq!((&shown.json()["state"], &shown.json()["report"]), (&json!("planned"), &Value::Null));
    assert!(!ground.world.etcd().try_etcdctl(&["endpoint", "health"]).status.success(), "a dry run starts nothing");
    let log = ground.world.path("log-waits");
    let waits = ground.restore(0, &["--in-place", "--plan", plan]).start(&log);
    let deadline = std::time::Instant::now() + LIMIT;
    while !waits.log().contains("still runs the old cluster") {
        assert!(std::time::Instant::now() < deadline, "it does not wait:\n{}", waits.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for words in [&["--in-place", "--plan", plan][..], &["--undo"]] {
        let second = ground.restore(0, words).run().expect_code(7).json();
        assert!(second["error"]["message"].as_str().unwrap().contains("another restore of this node"), "{second:#}");
    }
    drop(waits); // kills it
    let other = ground.restore(0, &["--in-place", "7777"]).run().expect_code(7).json();
    assert!(other["error"]["message"].as_str().unwrap().contains("is under way here"), "{other:#}");
    let each: Vec<(usize, Vec<String>)> =
        (0..3).map(|machine| (machine, owned(&["--in-place", "--plan", plan]))).collect();
    together(&ground, &each);
    ground.healthy();
    ground.is_restored();
    let each: Vec<(usize, Vec<String>)> = (0..3).map(|machine| (machine, owned(&["--undo"]))).collect();
    together(&ground, &each);
    ground.healthy();
    ground.is_old();
}

#[test]
fn all_data_lost_on_every_line_with_mutual_tls_alone_and_of_three() {
    for version in [Etcd::V3_4, Etcd::V3_5, Etcd::V3_6, Etcd::V3_7] {
        for members in [1, 3] {
            let pki = Pki::new();
            let ground = Ground::new(version, members, Some(&pki.tls()));
            for machine in 0..members {
                std::fs::remove_dir_all(ground.data(machine)).expect("the disaster");
            }
            let planned = ground.in_place(0, &["--dry-run"]).expect_code(0).json();
            let plan = planned["plan"]["plan"].as_str().unwrap();
            let each: Vec<(usize, Vec<String>)> =
                (0..members).map(|machine| (machine, owned(&["--in-place", "--plan", plan]))).collect();
            together(&ground, &each);
            ground.healthy();
            ground.is_restored();
        }
    }
}

#[test]
fn what_cannot_be_exchanged_is_refused_before_anything_is_stopped() {
    let ground = Ground::new(Etcd::V3_6, 1, None);
    ground.start();
    let refused = |words: &[&str], code: i32, says: &str| {
        let said = ground.in_place(0, words).expect_code(code).json();
        let error = &said["error"];
        assert!(error["message"].as_str().unwrap().contains(says), "{says}: {error:#}");
        assert!(error["hint"].as_str().is_some(), "{error:#}");
        ground.is_old();
    };
    refused(&["--name", "m7"], 2, "etcd on this node is called m0");
    refused(&["--etcd-version", "3.4"], 6, "3.4");
    let argv = ground.world.etcd().command_line(0);
    let elsewhere = [argv.clone(), owned(&["--wal-dir", "/somewhere"])].concat();
    ground.machines[0].add(UNIT, &elsewhere);
    refused(&[], 2, "--wal-dir /somewhere");
    let moved: Vec<String> =
        argv.iter().map(|word| word.replace(&ground.world.etcd().peer_url(), "http://127.0.0.9:1")).collect();
    ground.machines[0].add(UNIT, &moved);
    refused(&[], 2, "m0 is at http://127.0.0.9:1 here, and at");
    ground.machines[0].add(UNIT, &argv);
    let flags = ground.world.flags();
    let unknown = [&["restore", "--in-place", "--unit", "etcd2.service", "--yes"], &refs(&flags)[..]].concat();
    let ran = Lifeboat::new(&unknown).env("PATH", ground.machines[0].search_path()).run().expect_code(2);
    assert!(ran.stderr.contains("systemd knows no such unit"), "{}", ran.stderr);
    let nowhere = ground.world.path("manifests/etcd.yaml");
    let pod = [&["restore", "--in-place", "--static-pod", text(&nowhere)], &refs(&flags)[..]].concat();
    let ran = Lifeboat::new(&pod).run().expect_code(2);
    assert!(ran.stderr.contains("what starts etcd on this node?"), "{}", ran.stderr);
    // A new data dir of somebody else's is not ours to remove.
    let mut name = ground.data(0).into_os_string();
    name.push(".new");
    std::fs::create_dir(&name).unwrap();
    std::fs::write(Path::new(&name).join("x"), "").unwrap();
    refused(&[], 7, ".new is not empty");
}

/// What changes a disk or its names, and so what a kill can come between.
const CALLS: [&str; 3] = ["rename,renameat2", "fsync", "mkdir"];

/// A run that is killed at the nth of these calls; whether it was.
fn kill_at(ground: &Ground, calls: &str, nth: usize, words: &[&str]) -> bool {
    let flags = ground.world.flags();
    let store = if words.contains(&"--undo") { Vec::new() } else { refs(&flags) };
    let inject = format!("inject={calls}:signal=KILL:when={nth}");
    let ran = std::process::Command::new(tools::strace())
        // Its threads, and not what they start: an etcd lives on.
        .args(["-f", "-b", "execve", "-qqq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject])
        .arg(lifeboat_tests::binary::path())
        .args(["restore", "--unit", UNIT, "--yes"])
        .args(words)
        .args(store)
        .env("PATH", ground.machines[0].search_path())
        .output()
        .expect("strace starts");
    match (ran.status.code(), ran.status.signal()) {
        (Some(0), _) => false,
        (_, Some(9)) => true,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&ran.stderr)),
    }
}

/// Whether the journal says that the restore, and not its undoing, has come to its end.
fn is_done(ground: &Ground) -> bool {
    let path = ground.data(0).with_extension("etcd.lifeboat-restore").join("journal.json");
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    let journal: Value = serde_json::from_str(&text).expect("a journal is whole whenever it is there");
    journal["stage"] == "done" && journal["undoing"] == false
}

#[test]
fn killed_at_any_step_of_an_exchange_or_its_undoing_one_world_is_whole_and_a_rerun_finishes() {
    let ground = Ground::new(Etcd::V3_6, 1, None);
    ground.start();
    let step = if std::env::var_os("LIFEBOAT_FULL").is_some() { 1 } else { 5 };
    let mut kills = 0;
    for calls in CALLS {
        for words in [&["--in-place"][..], &["--undo"]] {
            for nth in (1..).step_by(step) {
                if words == ["--undo"] {
                    ground.in_place(0, &[]).expect_code(0);
                }
                let killed = kill_at(&ground, calls, nth, words);
                kills += usize::from(killed);
                let db = ground.data(0).join("member/snap/db");
                assert!(db.is_file(), "killed at {calls} {nth} of {words:?}, and there is no data");
                // One that was done and not told so is no longer under way: the same again would be another restore.
                if killed && !(words == ["--in-place"] && is_done(&ground)) {
                    let again = ground.restore(0, words).run();
                    let was_done = again.stdout.contains("undone already");
                    assert!(
                        again.code == Some(0) || was_done,
                        "killed at {calls} {nth} of {words:?}:\n{}",
                        again.stderr
                    );
                }
                if words == ["--in-place"] {
                    ground.is_restored();
                    ground.restore(0, &["--undo"]).run().expect_code(0);
                }
                ground.is_old();
                if !killed {
                    break;
                }
            }
        }
    }
    assert!(kills > 5, "only {kills} runs were killed: nothing was swept");
}
