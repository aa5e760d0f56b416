//! What Lifeboat writes, other people's tools can read: on the worst day nobody needs Lifeboat.

use lifeboat_tests::fake_etcd::{FakeEtcd, Script};
use lifeboat_tests::real_etcd::{Etcd, RealEtcd, etcdutl};
use lifeboat_tests::stock::{self, is_signed, public};
use lifeboat_tests::world::keyspace;
use lifeboat_tests::world::{CLUSTER, World, flip};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn age_and_zstd_give_what_etcd_sent_and_etcdutl_restores_it() {
    for version in Etcd::ALL {
        let world = World::new(version);
        let (entry, saved) = backup_between_equal_snapshots(&world);
        let before = keyspace::records(world.etcd());
        let id = entry["id"].as_str().unwrap();
        let manifest = &world.json(&["show", id])["backup"]["manifest"];
        for identity in ["prove.key", "recovery.key"] {
            let opened = world.path(&format!("opened-by-{identity}.db"));
            stock::open(&world.key(identity), &world.object(id, "db.zst.age"), &opened);
            same_as_etcd_sent(&std::fs::read(&opened).unwrap(), &saved, manifest);
        }

        let opened = world.path("opened-by-recovery.key.db");
        let status = etcdutl(version, &["snapshot", "status", opened.to_str().unwrap(), "--write-out", "json"]);
        let status: Value = serde_json::from_str(&status).expect("etcdutl prints JSON");
        assert_eq!(status["revision"], entry["revision"]);
        let data = world.path("by-etcdutl");
        etcdutl(version, &["snapshot", "restore", opened.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
        let etcd = RealEtcd::on_data_dir(version, "default", &data);
        assert_eq!(keyspace::records(&etcd), before, "on etcd {}", version.line());
    }
}

/// A backup, and what etcd sends at that time. Every snapshot is a commit of its own, which shows in the two meta pages;
/// the rest is the same before and after, unless etcd committed something of its own: then it is taken again.
fn backup_between_equal_snapshots(world: &World) -> (Value, Vec<u8>) {
    for attempt in 0..20 {
        let before = save(world, &format!("before-{attempt}.db"));
        let entry = world.backup();
        if behind_metas(&before) == behind_metas(&save(world, &format!("after-{attempt}.db"))) {
            return (entry, before);
        }
    }
    panic!("etcd commits all the time, though nobody writes");
}

fn save(world: &World, name: &str) -> Vec<u8> {
    let path = world.path(name);
    world.etcd().etcdctl(&["snapshot", "save", path.to_str().unwrap()]);
    std::fs::read(path).unwrap()
}

/// All pages but the two metas, and without the trailer; pages have 4 KiB on the machines that this runs on.
fn behind_metas(snapshot: &[u8]) -> &[u8] {
    &snapshot[2 * 4096..snapshot.len() - 32]
}

/// Byte for byte, as far as two snapshots can be. The bytes are not shown: there are too many of them to read.
fn same_as_etcd_sent(opened: &[u8], saved: &[u8], manifest: &Value) {
    assert_eq!(manifest["db"]["page_bytes"], 4096);
    assert_eq!(manifest["plaintext"]["bytes"], opened.len());
    assert_eq!(manifest["plaintext"]["sha256"], hex(opened));
    let (db, trailer) = opened.split_at(opened.len() - 32);
    assert_eq!(trailer, Sha256::digest(db).as_slice(), "the digest that etcd itself made of what it sent");
    assert!(behind_metas(opened) == behind_metas(saved), "not what etcd sent");
}

#[test]
fn what_comes_out_is_to_the_bit_what_went_in() {
    let mut world = World::new(Etcd::V3_6);
    let sent = save(&world, "sent.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // A member that sends these very bytes, which no real one can be made to do twice.
    let script = Script { db: sent[..sent.len() - 32].to_vec(), ..Script::default() };
    let fake = runtime.block_on(FakeEtcd::start(script));
    world.set("etcd", format!("{{ endpoints: [{}], members: endpoints }}", fake.endpoint));
    let entry = world.backup();
    let id = entry["id"].as_str().unwrap();
    let opened = world.path("opened.db");
    stock::open(&world.key("recovery.key"), &world.object(id, "db.zst.age"), &opened);
    assert!(std::fs::read(&opened).unwrap() == sent, "not what the member sent");
}

#[test]
fn minisign_verifies_manifest_verdict_and_tombstone_and_sha256sum_the_rest() {
    let world = World::backed_up();
    let [newer, older] = world.list().try_into().expect("two backups");
    world.run(&["prove"]).expect_code(0);
    world.run(&["prune", "--apply"]).expect_code(0);
    let signed = [
        ("backups", "backup", &newer, "manifest.json"),
        ("proofs", "prove", &newer, ""),
        ("tombstones", "prune", &older, ""),
    ];
    for (folder, role, entry, name) in signed {
        let start = format!("{CLUSTER}/{folder}/{}/{name}", entry["id"].as_str().unwrap());
        let wanted = |found: &String| found.starts_with(&start) && found.ends_with(".json");
        let name = world.objects().into_iter().find(wanted).unwrap_or_else(|| panic!("there is no {start}"));
        let file = world.folder().join(&name);
        assert!(is_signed(&file, &public(world.key(&format!("{role}.sign.pub")))), "{name}");
        assert!(!is_signed(&file, &public(world.key("operator.sign.pub"))), "{name} by another key");
        let object: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).expect("signed objects are JSON");
        assert_eq!((object["path"].as_str(), object["cluster"].as_str()), (Some(name.as_str()), Some(CLUSTER)));
        assert_eq!(object["signer"], hex(public(world.key(&format!("{role}.sign.pub"))).as_bytes()));
        flip(&file, 20);
        assert!(!is_signed(&file, &public(world.key(&format!("{role}.sign.pub")))), "{name} after a flipped bit");
    }
    let id = older["id"].as_str().unwrap();
    let manifest: Value = serde_json::from_slice(&std::fs::read(world.object(id, "manifest.json")).unwrap()).unwrap();
    for (object, field) in [("db.zst.age", "sealed"), ("db.zst.age.sums", "sums")] {
        let sum = stock::sha256sum(&world.object(id, object));
        assert_eq!(Some(sum.as_str()), manifest[field]["sha256"].as_str(), "{object}");
    }
    let sums = std::fs::read_to_string(world.object(id, "db.zst.age.sums")).unwrap();
    let sealed = std::fs::read(world.object(id, "db.zst.age")).unwrap();
    let expected: Vec<String> = sealed.chunks(4 << 20).map(hex).collect();
    assert_eq!(sums.lines().collect::<Vec<_>>(), expected);
}
