//! What is refused, with the exit code, the reason, and words that a tired person can act on; and nothing is lost by it.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat_tests::binary::lifeboat;
use lifeboat_tests::real_etcd::{Etcd, RealEtcd};
use lifeboat_tests::tools;
use lifeboat_tests::world::{CLUSTER, World, refs};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_wrong_identity_opens_nothing_and_leaves_no_data_dir() {
    let world = World::backed_up();
    let stranger = world.path("stranger.key");
    tools::succeed(std::process::Command::new(tools::age_keygen()).arg("-o").arg(&stranger));
    let target = world.path("data");
    let restore = ["restore", "--data-dir", text(&target), "--yes", "--identity", text(&stranger)];
    world.refused(&restore, 9, "key_wrong").says(&["no key in", "stranger.key", "opens backup", "lifeboat show"]);
    assert!(!target.exists() && !world.path("data.partial").exists());

    let public = world.key("recovery.pub");
    let restore = ["restore", "--data-dir", text(&target), "--yes", "--identity", text(&public)];
    world
        .refused(&restore, 9, "key_wrong")
        .says(&["is not an age identity file", "a public key (age1...) cannot open anything"]);

    let keys = world.field("keys").replace(text(&world.key("prove.key")), text(&stranger));
    let config = world.write_config("stranger.yaml", &[("keys", &keys)]);
    world.refused_with(&config, &["prove"], 9, "key_wrong").says(&["stranger.key"]);
    let proof = &world.list()[0]["stores"][0]["proof"];
    assert_eq!(proof["outcome"], "inconclusive", "a prover's own trouble condemns nothing: {proof:#}");
}

#[test]
fn the_identity_may_come_from_standard_input() {
    let world = World::backed_up();
    let target = world.path("data");
    let recovery = std::fs::read(world.key("recovery.key")).unwrap();
    let arguments = ["restore", "--data-dir", text(&target), "--yes", "--identity", "-"];
    world.checked(world.lifeboat(&arguments).stdin(recovery).run()).expect_code(0);
    assert!(target.join("member/snap/db").is_file());
}

#[test]
fn a_wrong_password_and_an_etcd_that_is_not_there_are_told_apart_and_publish_nothing() {
    let etcd = RealEtcd::single(Etcd::V3_6);
    let mut world = World::around(Some(etcd), None);
    let (right, wrong) = ("canary-right-password", "canary-wrong-password");
    world.add_secret(right);
    world.add_secret(wrong);
    world.etcd().etcdctl(&["user", "add", &format!("root:{right}")]);
    world.etcd().etcdctl(&["user", "grant-role", "root", "root"]);
    world.etcd().etcdctl(&["auth", "enable"]);
    world.refused(&["backup"], 4, "etcd_denied").says(&["etcd.user"]);

    let file = world.path("password");
    let endpoint = world.etcd().endpoint();
    world.set(
        "etcd",
        format!("{{ endpoints: [\"{endpoint}\"], members: endpoints, user: root, password_file: {} }}", text(&file)),
    );
    std::fs::write(&file, wrong).unwrap();
    world.refused(&["backup"], 4, "etcd_denied").says(&["authentication failed", "etcd.password_file"]);
    assert_eq!(world.objects(), [""; 0]);
    std::fs::write(&file, right).unwrap();
    world.run(&["-vv", "backup"]).expect_code(0);
    let there = world.objects();
    assert_eq!(there.len(), 4, "{there:?}");

    world.etcd = None;
    let start = Instant::now();
    world.refused(&["backup"], 4, "etcd_unreachable").says(&[
        "cannot be reached",
        &endpoint,
        "check that the member runs",
    ]);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(world.objects(), there);
}

#[test]
fn an_empty_store_and_a_missing_folder_are_not_the_same() {
    let mut world = World::around(None, None);
    let target = world.path("data");
    let restore = ["restore", "--data-dir", text(&target), "--yes"];
    world.refused(&restore, 6, "no_backup").says(&["there is no backup at all"]);
    world.refused(&["show", "latest"], 6, "no_backup").says(&[CLUSTER, "lifeboat list"]);
    world.refused(&["show", "7f3a"], 6, "no_backup").says(&["7f3a"]);
    world.refused(&["prove"], 6, "no_backup");
    let flags = world.flags();
    world
        .refused_bare(&[restore.as_slice(), &refs(&flags)].concat(), 6, "no_backup")
        .says(&["holds no backups", "check the URL"]);
    let listed = world.run(&["list"]).expect_code(0).stdout;
    assert!(listed.starts_with(&format!("{CLUSTER}: NOT restorable, there is no backup\n")), "{listed}");

    let gone = format!("file://{}", world.path("not-mounted").display());
    world.set("stores", format!("[{{ url: \"{gone}\" }}]"));
    for command in [&["list"], &["backup"], &["status"], &["prune"]] {
        world
            .refused(command, 5, "store_bucket_missing")
            .says(&["not-mounted does not exist", "mount it or create it"]);
    }
    world.refused(&restore, 5, "store_bucket_missing");
    assert!(!world.path("not-mounted").exists(), "an unmounted volume must not become a folder on the root disk");
}

#[test]
fn a_target_that_is_not_empty_stays_as_it_is() {
    let world = World::backed_up();
    let target = world.path("data");
    std::fs::create_dir(&target).unwrap();
    world.run(&["restore", "--data-dir", text(&target), "--dry-run"]).expect_code(0);
    std::fs::write(target.join("precious"), "the old cluster").unwrap();
    let restore = ["restore", "--data-dir", text(&target), "--yes"];
    world
        .refused(&restore, 7, "target_not_empty")
        .says(&["is not empty: nothing was changed", "move the old data dir aside"]);
    assert_eq!(std::fs::read_to_string(target.join("precious")).unwrap(), "the old cluster");

    let foreign = world.path("other.partial");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("precious"), "not ours").unwrap();
    let other = world.path("other");
    let restore = ["restore", "--data-dir", text(&other), "--yes"];
    world.refused(&restore, 7, "target_not_empty").says(&["other.partial exists and is not ours"]);
    assert_eq!(std::fs::read_to_string(foreign.join("precious")).unwrap(), "not ours");

    std::fs::remove_file(target.join("precious")).unwrap();
    world.run(&["restore", "--data-dir", text(&target), "--yes"]).expect_code(0);
    assert!(target.join("member/snap/db").is_file(), "an empty target is taken");
}

#[test]
fn without_a_terminal_and_without_yes_there_is_the_plan_and_code_7() {
    let world = World::backed_up();
    let target = world.path("data");
    let ran = world.run_without_terminal(&["restore", "--data-dir", text(&target)]).expect_code(7);
    for words in ["PLAN (nothing has been changed)", "no terminal to ask at: nothing was changed", "--yes"] {
        assert!(ran.stderr.contains(words), "{words} is missing in:\n{}", ran.stderr);
    }
    let plan = world.json(&["restore", "--data-dir", text(&target), "--dry-run"]);
    assert_eq!(plan["state"], "planned");
    assert!(plan["report"].is_null() && plan["plan"]["needed_bytes"].as_u64() > Some(0), "{plan:#}");
    assert!(!target.exists());
}

#[test]
fn at_a_terminal_the_clusters_name_is_a_yes_and_nothing_else_is() {
    let world = World::backed_up();
    let target = world.path("data");
    for (answer, code) in [("yes", 7), (CLUSTER, 0)] {
        let line = format!(
            "{} --config {} restore --data-dir {}",
            lifeboat_tests::binary::path().display(),
            world.config().display(),
            target.display()
        );
        let script = format!("printf '%s\\n' {answer} | script -qec '{line}' /dev/null");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        world.shows_no_secret(&said);
        assert_eq!(output.status.code(), Some(code), "after {answer}:\n{said}");
        assert!(said.contains("Type the cluster name to build"), "{said}");
        assert_eq!(target.exists(), code == 0);
    }
}

#[test]
fn a_bad_cron_line_and_unknown_fields_are_all_told_at_once_with_their_places() {
    let mut world = World::around(None, None);
    world.set("schedule", "{ backup: \"*/30 * * *\", jiter: 5s }");
    world.set("compres", "1");
    let line_of = |field: &str| {
        let text = std::fs::read_to_string(world.config()).unwrap();
        text.lines().position(|line| line.starts_with(field)).unwrap() + 1
    };
    let (schedule, compres) = (line_of("schedule"), line_of("compres"));
    for command in ["check-config", "list", "run"] {
        let error = world.refused(&[command], 3, "config");
        let cron = format!("config.yaml:{schedule}:21: ");
        let typo = format!("config.yaml:{schedule}:35: ");
        let unknown = format!("config.yaml:{compres}:1: ");
        error.says(&["the config has 3 errors", &cron, &typo, "did you mean `jitter`", &unknown, "compres", "fix: "]);
    }
}

#[test]
fn a_config_without_recipients_or_with_a_secret_in_their_place_is_refused() {
    let mut world = World::around(None, None);
    let keys = world.field("keys").to_owned();
    let (start, end) = (keys.find("recipients").unwrap(), keys.find("signing_keys").unwrap());
    let none = format!("{}{}", &keys[..start], &keys[end..]);
    world.set("keys", none);
    for command in [&["check-config"], &["backup"]] {
        world.refused(command, 3, "config").says(&["keys.recipients", "nobody could open the backups", "age1"]);
    }
    let identity = std::fs::read_to_string(world.key("recovery.key")).unwrap();
    let secret = identity.lines().last().unwrap();
    world.set("keys", format!("{}recipients: [{secret}], {}", &keys[..start], &keys[end..]));
    world
        .refused(&["check-config"], 3, "config")
        .says(&["this is an identity, the secret half", "this one was exposed"]);
    assert_eq!(world.objects(), [""; 0]);
}

#[test]
fn check_config_names_every_file_that_is_missing_or_wrong() {
    let mut world = World::around(None, None);
    let good = world.run(&["check-config", "--next", "2"]).expect_code(0).stdout;
    for words in ["good, with 3 warnings", "min_proven", "Next runs of backup", "03:00:00", "Effective config:"] {
        assert!(good.contains(words), "{words} is missing in:\n{good}");
    }
    let next = world.json(&["check-config", "--next", "3"]);
    assert_eq!(next["next"]["backup"].as_array().map(Vec::len), Some(3), "{next:#}");
    assert_eq!(next["effective"]["cluster"], CLUSTER);
    assert_eq!(
        next["retention"],
        serde_json::json!([
            { "store": "main", "backups": 1, "at_least": false, "without_effect": ["last"] },
        ])
    );
    let rules = world.write_config("rules.yaml", &[("keep", "{ within: 10d, daily: 9 }")]);
    let comes_to = world.run_with(&rules, &["check-config"]).expect_code(0).stdout;
    for words in ["store main: about 10 backups", "store main: keep.daily has no effect: what it keeps stays anyway"] {
        assert!(comes_to.contains(words), "{words} is missing in:\n{comes_to}");
    }
    assert_eq!(next["findings"].as_array().map(Vec::len), Some(3));
    let schedule = world.field("schedule").to_owned();
    world.set("schedule", schedule.replacen('{', "{ blackout: [\"02:00-04:30\"],", 1));
    let next = world.json(&["check-config", "--next", "3"]);
    let times = next["next"]["backup"].as_array().unwrap();
    assert!(times.iter().all(|time| time.as_str().unwrap().ends_with("T04:30:00Z")), "{next:#}");
    assert!(next["findings"].to_string().contains("every time of schedule.backup falls into it"), "{next:#}");
    world.set("schedule", schedule);

    std::fs::remove_file(world.key("backup.sign.key")).unwrap();
    std::fs::write(world.key("recovery.pub"), "age1nonsense\n").unwrap();
    world.refused(&["check-config"], 3, "config").says_all_but_a_hint(&[
        "2 errors",
        "backup.sign.key does not exist",
        "recovery.pub",
    ]);
    world.set("stores", "[{ url: \"ftp://host/path\" }]");
    world.refused(&["check-config"], 3, "config").says(&["unknown scheme `ftp`", "s3://bucket/prefix"]);
    let nowhere = world.path("nowhere.yaml");
    world.refused_with(&nowhere, &["check-config"], 3, "config").says(&["there is no config", "nowhere.yaml"]);
}

#[test]
fn a_port_in_use_stops_the_agent_with_a_word_on_it() {
    let mut world = World::around(None, None);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    world.set("http", format!("{{ listen: \"{listen}\" }}"));
    let ran = world.run(&["run"]).expect_code(13);
    for words in [listen.as_str(), "something else uses that port", "LIFEBOAT_HTTP_LISTEN"] {
        assert!(ran.stderr.contains(words), "{words} is missing in:\n{}", ran.stderr);
    }
}

#[test]
fn keygen_never_overwrites() {
    let world = World::around(None, None);
    let keys = world.path("keys");
    let read = || ["recovery.key", "backup.sign.key"].map(|name| std::fs::read_to_string(world.key(name)).unwrap());
    let before = read();
    for role in ["all", "recovery", "backup"] {
        let arguments = ["keygen", "--role", role, "--out", text(&keys)];
        world.refused_bare(&arguments, 7, "target_not_empty").says(&["is never overwritten", "--out DIR"]);
    }
    assert_eq!(read(), before);
    let elsewhere = world.path("operator");
    let made = lifeboat(&["keygen", "--role", "operator", "--out", text(&elsewhere)]).expect_code(0).stdout;
    assert!(made.contains("operator.sign.key") && made.contains("keys.trusted_keys.operator: ["), "{made}");
    let names: Vec<_> = std::fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn usage_errors_end_with_2_and_name_what_is_wrong() {
    let world = World::backed_up();
    for (arguments, words) in [
        (&["restor"][..], "restore"),
        (&["list", "--since", "yesterday"], "is no time"),
        (&["prune", "--apply", "--dry-run"], "cannot be used with"),
        (&["prove", "--level", "deep"], "stored"),
    ] {
        let ran = world.run(arguments).expect_code(2);
        assert!(ran.stderr.contains(words), "{words} is missing in:\n{}", ran.stderr);
    }
    let ran = world.run(&["show", "2026"]).expect_code(2);
    for entry in world.list() {
        assert!(ran.stderr.contains(entry["id"].as_str().unwrap()), "the matches are listed:\n{}", ran.stderr);
    }
    std::fs::create_dir_all(world.folder().join("staging/backups")).unwrap();
    std::fs::write(world.folder().join("staging/backups/x"), "").unwrap();
    let mut flags = world.store_flags();
    flags.extend(["--trust".to_owned(), format!("backup={}", world.key("backup.sign.pub").display())]);
    let two = world.refused_bare(&[&["list"], refs(&flags).as_slice()].concat(), 2, "usage");
    two.says(&[CLUSTER, "staging", "--cluster"]);
    flags.extend(["--cluster".to_owned(), CLUSTER.to_owned()]);
    world.run_bare(&[&["list"], refs(&flags).as_slice()].concat()).expect_code(0);
}
