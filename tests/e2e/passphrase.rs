//! A recovery identity under a passphrase: made, asked for, typed wrong, and opened by stock age and made by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_tests::binary::{self, lifeboat};
use lifeboat_tests::real_etcd::Etcd;
use lifeboat_tests::terminal::at_terminal;
use lifeboat_tests::tools;
use lifeboat_tests::world::{World, refs};

const PASSPHRASE: &str = "three blind mice";

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A world whose backup opens with a recovery key under a passphrase alone, and where that is.
fn world() -> (World, PathBuf) {
    let mut world = World::new(Etcd::V3_6);
    let (safe, file) = (world.path("safe"), world.path("passphrase"));
    fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
    let made = ["keygen", "--role", "recovery", "--out", text(&safe), "--passphrase-file", text(&file)];
    let operator = world.key("operator.sign.pub").display().to_string();
    lifeboat(&[&made[..], &["--cluster", "prod-eu-1", "--operator", &operator]].concat()).expect_code(0);
    let old = world.key("recovery.pub").display().to_string();
    let keys = world.field("keys").replace(&old, text(&safe.join("recovery.pub")));
    world.set("keys", keys);
    world.add_secret(PASSPHRASE);
    world.json(&["backup"]);
    (world, safe.join("recovery.key"))
}

/// The flags of an outage with this identity.
fn restore(world: &World, identity: &Path, target: &Path) -> Vec<String> {
    let mut flags = world.flags();
    let at = flags.iter().position(|flag| flag == "--identity").expect("the flags name an identity");
    flags[at + 1] = identity.display().to_string();
    let restore = ["restore", "latest", "--data-dir", text(target), "--allow", "unproven", "--yes"];
    restore.map(str::to_owned).into_iter().chain(flags).collect()
}

#[test]
fn a_locked_recovery_identity_opens_with_a_file_or_at_the_terminal_and_nothing_shows_it() {
    let (world, key) = world();
    let locked = fs::read_to_string(&key).unwrap();
    assert!(locked.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n") && !locked.contains("lifeboat"), "{locked}");

    let file = world.path("passphrase").display().to_string();
    let target = world.path("by-file");
    let flags = restore(&world, &key, &target);
    world.run_bare(&[refs(&flags), vec!["--passphrase-file", &file]].concat()).expect_code(0);
    assert!(target.join("member/snap/db").is_file());

    // A typing error is answered with the same question.
    let target = world.path("at-terminal");
    let flags = restore(&world, &key, &target);
    let question = format!("Passphrase of {}: ", key.display());
    let answers = [(question.as_str(), "three blond mice"), (question.as_str(), PASSPHRASE)];
    let (code, said) = at_terminal(&binary::path(), &refs(&flags), &answers);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the passphrase does not open"), "{said}");
    assert!(target.join("member/snap/db").is_file());
    world.shows_no_secret(&said);
}

#[test]
fn a_wrong_passphrase_and_nobody_to_ask_end_with_code_9_and_change_nothing() {
    let (world, key) = world();
    let target = world.path("data");
    let flags = restore(&world, &key, &target);
    let wrong = world.path("wrong");
    fs::write(&wrong, "three blind mice \n").unwrap();
    let with = |file: &Path| [refs(&flags), vec!["--passphrase-file", text(file)]].concat().join("\n");
    let refused = |arguments: String, code, reason| {
        let arguments: Vec<&str> = arguments.split('\n').collect();
        world.refused_bare(&arguments, code, reason)
    };
    refused(with(&wrong), 9, "key_wrong").says(&["does not open", text(&key), "begins or ends with a blank"]);
    fs::write(&wrong, "\nthree blind mice\n").unwrap();
    refused(with(&wrong), 2, "usage").says(&["the passphrase in", text(&wrong), "is empty"]);
    refused(with(&world.path("nowhere")), 3, "config").says(&["passphrase file", "does not exist"]);

    let mut setsid = Command::new("setsid");
    let ran = setsid.arg("--wait").arg(binary::path()).args(&flags).env_clear().output().expect("setsid starts");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(9), "{said}");
    assert!(said.contains("no terminal to ask for it at") && said.contains("--passphrase-file FILE"), "{said}");
    let asked: Vec<(&str, &str)> = vec![("Passphrase of", "wrong"); 3];
    let (code, said) = at_terminal(&binary::path(), &refs(&flags), &asked);
    assert_eq!(code, Some(9), "{said}");
    assert_eq!(said.matches("Passphrase of").count(), 3, "{said}");
    assert!(!target.exists());
}

#[test]
fn an_agent_is_given_no_identity_under_a_passphrase() {
    let (mut world, key) = world();
    let keys = world.field("keys").to_owned();
    let (before, after) = keys.split_once("identity_file: ").expect("the world proves");
    let after = after.find([',', ' ', '}']).map(|at| &after[at..]).unwrap_or_default();
    world.set("keys", format!("{before}identity_file: {}{after}", key.display()));
    world.refused(&["check-config"], 3, "config").says_all_but_a_hint(&[
        "under a passphrase",
        "nobody to ask",
        "keygen --role prove",
    ]);
    world.refused(&["prove"], 9, "key_wrong").says(&[text(&key), "under a passphrase", "keygen --role prove"]);
}

#[test]
fn only_the_recovery_identity_takes_a_passphrase_and_it_is_asked_for_twice() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("keys");
    let ran = lifeboat(&["keygen", "--role", "prove", "--out", text(&out), "--passphrase"]).expect_code(2);
    assert!(ran.stderr.contains("only the recovery identity can have a passphrase"), "{}", ran.stderr);
    let keygen = ["keygen", "--role", "recovery", "--out", text(&out), "--passphrase"];
    let asked = |again| [("New passphrase for the recovery identity: ", PASSPHRASE), ("The same once more: ", again)];
    let (code, said) = at_terminal(&binary::path(), &keygen, &asked("three blind rats"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the two passphrases differ; nothing was made") && !out.exists(), "{said}");
    let (code, said) = at_terminal(&binary::path(), &keygen, &asked(PASSPHRASE));
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(PASSPHRASE), "{said}");

    // Stock age opens it, with its comments inside.
    let key = out.join("recovery.key");
    let plain = dir.path().join("plain");
    let age = ["-d", "-o", text(&plain), text(&key)];
    let (code, said) = at_terminal(&tools::age(), &age, &[("Enter passphrase", PASSPHRASE)]);
    assert_eq!(code, Some(0), "{said}");
    let opened = fs::read_to_string(&plain).unwrap();
    assert!(opened.starts_with("# Lifeboat recovery key") && opened.contains("\nAGE-SECRET-KEY-1"));
}

#[test]
fn an_identity_that_stock_age_locked_opens_a_sealed_file() {
    let (world, _) = world();
    let locked = world.path("by-age.key");
    // The prover's own stands for any: `age -p` writes no armor unless it is asked to.
    let lock = ["-p", "-o", text(&locked), text(&world.key("prove.key"))].map(str::to_owned);
    let asked = [("Enter passphrase", PASSPHRASE), ("Confirm passphrase", PASSPHRASE)];
    let (code, said) = at_terminal(&tools::age(), &refs(&lock), &asked);
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(&locked).unwrap().starts_with(b"age-encryption.org/v1\n"));
    let id = world.list()[0]["id"].as_str().unwrap().to_owned();
    let sealed = world.object(&id, "db.zst.age");
    let file = world.path("passphrase");
    let inspect = ["inspect", text(&sealed), "--identity", text(&locked), "--passphrase-file", text(&file), "--json"];
    assert_eq!(world.run_bare(&inspect).expect_code(0).json()["sound"], true);
}
