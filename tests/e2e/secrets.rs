//! No secret shows: not in answers, not in errors, not in logs at their loudest, not in the store.

use std::time::Duration;

use lifeboat_tests::real_etcd::{Etcd, RealEtcd};
use lifeboat_tests::server::wait_until;
use lifeboat_tests::world::{World, refs};

const PASSWORD: &str = "canary-etcd-password-5f1c";

fn world_with_a_password() -> World {
    let etcd = RealEtcd::single(Etcd::V3_5);
    etcd.etcdctl(&["user", "add", &format!("root:{PASSWORD}")]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["auth", "enable"]);
    let mut world = World::around(Some(etcd), None);
    world.add_secret(PASSWORD);
    let file = world.path("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let endpoint = world.etcd().endpoint();
    let field =
        format!("{{ endpoints: [\"{endpoint}\"], members: endpoints, user: root, password_file: {} }}", file.display());
    world.set("etcd", field);
    world.set("log", "{ level: trace }");
    world.set("schedule", "{ backup: \"*/2 * * * * *\", prune: \"*/2 * * * * *\", jitter: 0s }");
    world.set("proof", world.field("proof").replacen('{', "{ level: sound,", 1));
    world
}

#[test]
fn no_secret_shows_in_any_answer_error_log_or_object() {
    let world = world_with_a_password();
    let target = world.path("data").display().to_string();
    let bad = world.write_config("bad.yaml", &[("time_zone", "Nowhere/Else")]);
    // Every run goes through `World::checked`, which looks for each secret in both outputs.
    for arguments in [
        &["check-config"][..],
        &["backup"],
        &["prove"],
        &["list"],
        &["show", "latest"],
        &["status"],
        &["prune", "--apply"],
        &["restore", "--data-dir", &target, "--yes"],
        &["restore", "--data-dir", &target, "--yes"],
    ] {
        for more in [&["-vv"][..], &["--json", "-vv"], &["--log", "json", "-vv"]] {
            world.run(&[arguments, more].concat());
        }
        let code = if arguments[0] == "restore" { 7 } else { 3 }; // its target is looked at first, and is full by then
        world.run_with(&bad, arguments).expect_code(code);
    }
    assert!(world.path("data/member/snap/db").exists(), "the runs did their work");
    let flags = world.flags();
    world.run_bare(&[&["list", "-vv"], refs(&flags).as_slice()].concat()).expect_code(0);

    let mut agent = world.agent(&world.config(), "agent");
    let backups = |log: &str| log.matches("backup published").count() >= 2 && log.contains("backup proven");
    wait_until(Duration::from_secs(60), || backups(&agent.log()) || agent.ended().is_some());
    let log = agent.log();
    assert!(backups(&log), "{log}");
    assert_eq!(agent.terminate(Duration::from_secs(40)).code(), Some(0));
    world.shows_no_secret(&log);
    for name in world.objects() {
        let bytes = std::fs::read(world.folder().join(&name)).unwrap();
        world.shows_no_secret(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn what_keygen_prints_holds_no_secret_and_its_secret_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::around(None, None);
    let out = world.path("more").display().to_string();
    let printed = lifeboat_tests::binary::lifeboat(&["keygen", "--role", "all", "--out", &out]).expect_code(0);
    let mut secrets = 0;
    for entry in std::fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(printed.stdout.contains(&path.display().to_string()), "{} is not named", path.display());
        if path.extension().is_some_and(|extension| extension == "key") {
            secrets += 1;
            assert_eq!(mode, 0o600, "{}", path.display());
            let secret = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
            assert!(!printed.stdout.contains(secret) && !printed.stderr.contains(secret), "{}", path.display());
        }
    }
    assert_eq!(secrets, 6);
}
