//! The harness itself: each server comes up, does its one thing, and is gone afterwards.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::pki::{Pki, Validity};
use lifeboat_tests::proxy::{Cut, Direction, Mode, Proxy, Weather};
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

/// A server that sends every byte back.
fn echo() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut back = connection.try_clone().expect("a socket can be cloned");
                std::io::copy(&mut &connection, &mut back)
            });
        }
    });
    address.to_string()
}

/// Sends so many bytes and returns how many came back before the connection ended, or a second passed without any.
fn sent_back(endpoint: &str, bytes: usize) -> std::io::Result<usize> {
    let mut connection = TcpStream::connect(endpoint.trim_start_matches("http://"))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut to_server = connection.try_clone()?;
    let sender = std::thread::spawn(move || to_server.write_all(&vec![7; bytes]));
    let (mut piece, mut came) = (vec![0; 64 << 10], 0);
    while came < bytes {
        match connection.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => came += count,
        }
    }
    drop(connection);
    let _ = sender.join(); // what it could not send shows in what came back
    Ok(came)
}

#[test]
fn the_network_between_can_be_slow_narrow_cut_refused_and_black() {
    let proxy = Proxy::before(&echo());
    let endpoint = proxy.endpoint();
    assert_eq!(sent_back(&endpoint, 1 << 20).unwrap(), 1 << 20);

    let timed = |weather, bytes| {
        proxy.set(weather);
        let begin = Instant::now();
        assert_eq!(sent_back(&endpoint, bytes).unwrap(), bytes);
        begin.elapsed()
    };
    let latency = Duration::from_millis(150);
    let took = timed(Weather { latency, ..Weather::default() }, 1 << 20);
    // Both ways once, however many bytes: it is latency, not a delay for each piece.
    assert!(took >= latency * 2 && took < latency * 8, "{took:?}");
    let took = timed(Weather { bytes_per_second: Some(1 << 20), ..Weather::default() }, 512 << 10);
    assert!(took >= Duration::from_millis(450), "{took:?}");

    for direction in [Direction::ToServer, Direction::ToClient] {
        let cut = Some(Cut { direction, after: 100_000, times: 2 });
        proxy.set(Weather { cut, ..Weather::default() });
        let before = proxy.cut();
        for _ in 0..2 {
            assert!(sent_back(&endpoint, 1 << 20).unwrap() <= 100_000);
        }
        assert_eq!(sent_back(&endpoint, 1 << 20).unwrap(), 1 << 20, "two were cut, the third is whole");
        assert_eq!(proxy.cut() - before, 2);
    }
    proxy.set(Weather { mode: Mode::BlackHole, ..Weather::default() });
    assert_eq!(sent_back(&endpoint, 1000).unwrap(), 0);
    proxy.set(Weather { mode: Mode::Refuse, ..Weather::default() });
    let refused = || sent_back(&endpoint, 1000).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
    wait_until(Duration::from_secs(5), refused).expect("the listener goes");
    proxy.set(Weather::default());
    wait_until(Duration::from_secs(5), || sent_back(&endpoint, 1000).is_ok_and(|came| came == 1000))
        .expect("it comes back");
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
