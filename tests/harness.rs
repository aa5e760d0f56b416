//! The harness itself: each server comes up, does its one thing, and is gone afterwards.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::pki::{Pki, Validity};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::s3::{Moto, S3};
use lifeboat_tests::server::{Server, free_port, wait_until};
use lifeboat_tests::tools;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn an_etcd_of_each_line_starts_keeps_its_keys_over_a_restart_and_ends_with_its_value() {
    for version in Etcd::ALL {
        let mut etcd = RealEtcd::single(version);
        etcd.etcdctl(&["put", "greeting", "hello"]);
        let said = etcd.etcdctl(&["endpoint", "status", "--write-out", "json"]);
        assert!(said.contains(&format!("\"version\":\"{}.", version.line())), "{said}");
        etcd.stop();
        assert!(!etcd.try_etcdctl(&["--command-timeout=1s", "get", "greeting"]).status.success());
        etcd.restart();
        assert_eq!(etcd.etcdctl(&["get", "--print-value-only", "greeting"]), "hello\n");
        let pid = etcd.pid(0);
        drop(etcd);
        assert!(!runs(pid));
    }
}

#[test]
fn three_members_go_on_without_one_of_them() {
    let mut etcd = RealEtcd::start(Etcd::V3_6, Options { members: 3, ..Options::default() });
    assert_eq!(etcd.endpoints().len(), 3);
    etcd.etcdctl(&["put", "k", "1"]);
    etcd.stop_member(2);
    // It may have been the leader: the two left need an election first.
    let put = || etcd.try_etcdctl(&["put", "k", "2"]).status.success();
    wait_until(Duration::from_secs(60), put).expect("two of three members are a majority");
    etcd.restart();
    assert_eq!(etcd.etcdctl(&["get", "--print-value-only", "k"]), "2\n");
}

#[test]
fn an_etcd_with_mutual_tls_takes_its_own_client_and_refuses_an_expired_and_a_foreign_one() {
    let pki = Pki::new();
    let etcd = RealEtcd::start(Etcd::V3_6, Options { tls: Some(pki.tls()), ..Options::default() });
    etcd.etcdctl(&["put", "k", "v"]);
    let foreign = Pki::new();
    for pair in [pki.client("late", Validity::Expired), foreign.client("stranger", Validity::Now)] {
        let mut command = Command::new(Etcd::V3_6.etcdctl());
        command.env_clear().args(["--endpoints", &etcd.endpoint(), "--command-timeout", "2s", "get", "k", "--cacert"]);
        command.arg(pki.ca_file()).arg("--cert").arg(pair.cert_file).arg("--key").arg(pair.key_file);
        let output = command.output().expect("etcdctl starts");
        assert!(!output.status.success(), "{}", tools::said(&output));
    }
}

fn round_trip(bucket: &Bucket) {
    // The error says that another test did it first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new().with_bucket_name(&bucket.name);
    for (name, value) in bucket.options() {
        builder = builder.with_config(name.parse().expect("object_store knows its option"), value);
    }
    let store = builder.build().expect("the options are whole");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let path = ObjectPath::from("folder/object");
        store.put_opts(&path, "bytes".into(), PutMode::Create.into()).await.expect("the first create wins");
        let again = store.put_opts(&path, "others".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "{again:?}");
        let got = store.get(&path).await.expect("it is there").bytes().await.expect("it can be read");
        assert_eq!(&got[..], b"bytes");
    });
}

#[test]
fn seaweedfs_makes_a_bucket_and_keeps_an_object_once() {
    round_trip(&S3::shared().bucket());
}

#[test]
fn moto_makes_a_bucket_and_keeps_an_object_once() {
    round_trip(&Moto::start().bucket());
}

#[test]
fn the_stock_tools_run() {
    for (tool, flag) in [
        (tools::age(), "--version"),
        (tools::age_keygen(), "--version"),
        (tools::zstd(), "--version"),
        (tools::minisign(), "-v"),
        (tools::promtool(), "--version"),
    ] {
        let output = Command::new(&tool).arg(flag).output().expect("the tool starts");
        assert!(output.status.success(), "{}: {}", tool.display(), tools::said(&output));
    }
}

#[test]
fn a_server_is_gone_when_its_value_is_and_terminate_waits_for_its_end() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(Command::new("/bin/sleep").arg("600"), &dir.path().join("log"));
    let pid = server.pid();
    assert!(runs(pid));
    drop(server);
    assert!(!runs(pid));

    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let server = Server::start(Command::new("/bin/sh").args(["-c", script]), &dir.path().join("log"));
    wait_until(Duration::from_secs(10), || server.log().contains("ready")).expect("the shell starts");
    assert_eq!(server.terminate(Duration::from_secs(10)).code(), Some(7));
}

#[test]
fn no_port_is_given_out_twice() {
    let ports: std::collections::BTreeSet<u16> = (0..200).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 200);
}
