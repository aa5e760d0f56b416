//! Where backups come from: every line of etcd, alone and as a cluster of three, with mutual TLS, users and root
//! authentication. Each backup is proven by a booted etcd, and restored by Lifeboat and without it.

use std::path::Path;

use lifeboat_tests::pki::{Pki, TlsFiles};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::stock;
use lifeboat_tests::world::World;
use serde_json::Value;

const ROOT: &str = "root:a-password-of-root";
const KEYS: usize = 12;

/// A secured cluster with keys in it, and a world that backs it up.
fn secured(version: Etcd, members: usize, tls: &TlsFiles) -> World {
    let mut etcd = RealEtcd::start(version, Options { members, tls: Some(tls.clone()), ..Options::default() });
    for number in 0..KEYS {
        etcd.etcdctl(&["put", &format!("/registry/pods/default/p{number}"), &format!("pod {number} ").repeat(200)]);
    }
    etcd.etcdctl(&["put", "/registry/pods/default/p0", "written once more"]);
    etcd.etcdctl(&["del", "/registry/pods/default/p1"]);
    let (_, password) = ROOT.split_once(':').unwrap();
    etcd.etcdctl(&["user", "add", ROOT]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["role", "add", "reader"]);
    etcd.etcdctl(&["role", "grant-permission", "reader", "--prefix=true", "read", "/registry/"]);
    etcd.etcdctl(&["user", "add", "guest:guests-password"]);
    etcd.etcdctl(&["user", "grant-role", "guest", "reader"]);
    etcd.etcdctl(&["auth", "enable"]);
    etcd.log_in(Some(ROOT));
    let endpoints: Vec<String> = etcd.endpoints().iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
    let mut world = World::around(Some(etcd), None);
    let file = world.path("password");
    std::fs::write(&file, password).unwrap();
    world.add_secret(password);
    let [ca, cert, key] =
        [&tls.ca_file, &tls.client_cert_file, &tls.client_key_file].map(|path| path.display().to_string());
    let tls = format!("{{ ca_file: {ca}, cert_file: {cert}, key_file: {key} }}");
    let user = format!("user: root, password_file: {}", file.display());
    world.set("etcd", format!("{{ endpoints: [{}], tls: {tls}, {user} }}", endpoints.join(", ")));
    world
}

/// Everything that lives, as etcdctl prints it.
fn records(etcd: &RealEtcd) -> Value {
    let all = etcd.etcdctl(&["get", "", "--prefix", "--write-out", "json"]);
    let kvs = serde_json::from_str::<Value>(&all).expect("JSON")["kvs"].take();
    assert_eq!(kvs.as_array().map(Vec::len), Some(KEYS - 1), "{kvs:#}");
    kvs
}

/// What an etcd on this data dir serves, and that it lets in whom the old one let in, and nobody else.
#[track_caller]
fn serves(version: Etcd, name: &str, data_dir: &Path, before: &Value) {
    let mut etcd = RealEtcd::on_secured_data_dir(version, name, data_dir, Some(ROOT));
    etcd.log_in(None);
    let refused = etcd.try_etcdctl(&["get", "", "--prefix"]);
    assert!(!refused.status.success(), "users and roles came back");
    etcd.log_in(Some("guest:guests-password"));
    assert!(!etcd.try_etcdctl(&["put", "/registry/x", "y"]).status.success(), "a guest may only read");
    etcd.log_in(Some(ROOT));
    assert_eq!(records(&etcd), *before);
    etcd.etcdctl(&["put", "/later", "than the restore"]);
}

fn line(version: Etcd) {
    let pki = Pki::new();
    let tls = pki.tls();
    for members in [1, 3] {
        let mut world = secured(version, members, &tls);
        let before = records(world.etcd());
        let answer = world.json(&["backup", "--wait-proven", "2m"]);
        let (entry, proof) = (&answer["backup"], &answer["backup"]["stores"][0]["proof"]);
        assert_eq!((&proof["outcome"], &proof["level"]), (&"passed".into(), &"booted".into()), "{answer:#}");
        let shown = &world.json(&["show", "latest"])["backup"]["manifest"];
        let equality = &shown["equality"];
        assert_eq!((&equality["outcome"], &equality["members"]), (&"equal".into(), &members.into()), "{equality:#}");
        world.etcd = None; // the disaster

        let id = entry["id"].as_str().unwrap();
        let by_hand = world.path("by-hand");
        stock::restore(&world, id, version, &by_hand);
        serves(version, "default", &by_hand, &before);
        let ours = world.path("ours");
        let alone = ["--name", "cp-1", "--initial-cluster", "cp-1=http://127.0.0.1:2380"];
        let restore = [&["restore", "--data-dir", ours.to_str().unwrap(), "--no-bump", "--yes"][..], &alone].concat();
        world.run(&restore).expect_code(0);
        serves(version, "cp-1", &ours, &before);
    }
}

#[test]
fn a_secured_etcd_3_4_alone_and_as_three_is_backed_up_proven_and_restored() {
    line(Etcd::V3_4);
}

#[test]
fn a_secured_etcd_3_5_alone_and_as_three_is_backed_up_proven_and_restored() {
    line(Etcd::V3_5);
}

#[test]
fn a_secured_etcd_3_6_alone_and_as_three_is_backed_up_proven_and_restored() {
    line(Etcd::V3_6);
}

#[test]
fn a_secured_etcd_3_7_alone_and_as_three_is_backed_up_proven_and_restored() {
    line(Etcd::V3_7);
}
