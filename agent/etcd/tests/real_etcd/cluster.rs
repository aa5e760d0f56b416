//! Clusters made of one snapshot, and what survives a restore besides keys.

// Tests wait by the clock.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etcdfile::{MemberSpec, Report};
use serde_json::json;

use super::etcd::{Server, Start, VERSIONS, free_url, tool};
use super::{BUMP, batch, check, fill, member, new_cluster, own_hash, put, restore};

fn launch_all(version: &'static str, dirs: &[PathBuf], members: &[MemberSpec]) -> Vec<Server> {
    let start = |(data_dir, member): (&PathBuf, &MemberSpec)| {
        let peer = &member.peer_urls[0];
        Server::launch(&Start { version, name: &member.name, data_dir, peer, joins: None })
    };
    let mut servers: Vec<Server> = dirs.iter().zip(members).map(start).collect();
    servers.iter_mut().for_each(Server::wait_healthy);
    servers
}

/// Waits until a member has applied a revision, and gives its HashKV there.
fn hash_at(server: &Server, revision: i64) -> (u64, i64) {
    let start = Instant::now();
    while server.revision() < revision && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    server.hash_kv(revision)
}

/// Adds a member to a running cluster and starts it with an empty data dir.
fn join(version: &'static str, servers: &[Server], members: &[MemberSpec], dir: &Path) -> Server {
    let peer = free_url();
    servers[0].ctl(&["member", "add", "r4", "--peer-urls", &peer]);
    let known = members.iter().map(|member| format!("{}={}", member.name, member.peer_urls[0]));
    let cluster: Vec<String> = known.chain([format!("r4={peer}")]).collect();
    let joins = Some(cluster.join(","));
    let mut server = Server::launch(&Start { version, name: "r4", data_dir: &dir.join("r4"), peer: &peer, joins });
    server.wait_healthy();
    server
}

#[test]
fn three_members_form_a_quorum_and_a_fourth_gets_the_data() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let source = new_cluster(version, dir.path());
        fill(&source);
        let snapshot = dir.path().join("snapshot.db");
        source.save(&snapshot);
        drop(source);
        let members: Vec<MemberSpec> = ["r1", "r2", "r3"].map(|name| member(name, &free_url())).to_vec();
        let dirs: Vec<PathBuf> = members.iter().map(|member| dir.path().join(&member.name)).collect();
        let restored = |(to, me): (&PathBuf, &MemberSpec)| restore(&snapshot, to, &me.name, &members, Some(BUMP));
        let reports: Vec<Report> = dirs.iter().zip(&members).map(restored).collect();
        let mut servers = launch_all(version, &dirs, &members);
        for (server, report) in servers.iter().zip(&reports) {
            assert_eq!(server.hash_kv(0), own_hash(report));
            assert_eq!(report.hash_kv, reports[0].hash_kv);
        }
        batch(&servers[1], "n", 0, 200, "new-");
        servers.push(join(version, &servers, &members, dir.path()));
        let revision = servers[3].txn(&[put("from", b"the fourth", 0)]);
        let hashes: Vec<(u64, i64)> = servers.iter().map(|server| hash_at(server, revision)).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        assert_eq!(servers[3].revision_and_keys().1, reports[0].keys + 201);

        // Three of four are a quorum; if the first one led, they elect another.
        drop(servers.remove(0));
        servers[0].wait_healthy();
        servers[0].txn(&[put("without", b"the first", 0)]);
    }
}

/// What a watch from a revision on says before it ends.
fn watch_ends_with(server: &Server, revision: i64) -> String {
    let mut child = Command::new(tool(server.version, "etcdctl"))
        .args(["watch", "--prefix", "a/", "--rev", &revision.to_string(), "--endpoints", &server.client])
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let out = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn a_watch_on_the_lost_future_is_cancelled_as_compacted_after_a_bump() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let source = new_cluster(version, dir.path());
        fill(&source);
        let snapshot = dir.path().join("snapshot.db");
        source.save(&snapshot);
        batch(&source, "a", 0, 500, "lost-");
        let lost = source.revision();
        drop(source);
        let (peer, to) = (free_url(), dir.path().join("restored"));
        let after = restore(&snapshot, &to, "r1", &[member("r1", &peer)], Some(BUMP));
        let server = Server::start(version, "r1", &to, &peer);
        for revision in [lost, after.revision - 1] {
            let said = watch_ends_with(&server, revision);
            assert!(said.contains("required revision has been compacted"), "{version}: {said}");
        }
    }
}

/// Users with passwords, a lease, and an alarm that must not survive.
fn fill_besides_keys(server: &Server) {
    fill(server);
    for (path, body) in [
        ("auth/role/add", json!({ "name": "root" })),
        ("auth/role/add", json!({ "name": "some" })),
        (
            "auth/role/grant",
            json!({ "name": "some", "perm": { "permType": "READWRITE", "key": "Yi8=", "range_end": "YjA=" } }),
        ),
        ("auth/user/add", json!({ "name": "root", "password": "of-root" })),
        ("auth/user/add", json!({ "name": "alice", "password": "of-alice" })),
        ("auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("auth/user/grant", json!({ "user": "alice", "role": "some" })),
        ("maintenance/alarm", json!({ "action": "ACTIVATE", "alarm": "NOSPACE", "memberID": "1" })),
        ("auth/enable", json!({})),
    ] {
        server.post(path, &body);
    }
}

#[test]
fn users_and_leases_survive_a_restore_and_alarms_do_not() {
    let (root, alice) = ("root:of-root", "alice:of-alice");
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let source = new_cluster(version, dir.path());
        fill_besides_keys(&source);
        assert!(source.ctl_error(&["put", "b/1", "v", "--user", root]).contains("space exceeded"));
        let snapshot = dir.path().join("snapshot.db");
        source.ctl(&["snapshot", "save", snapshot.to_str().unwrap(), "--user", root]);
        drop(source);
        let report = check(&snapshot);
        assert_eq!((report.auth_enabled, report.alarms, report.leases), (true, 1, 1));

        let (peer, to) = (free_url(), dir.path().join("restored"));
        restore(&snapshot, &to, "r1", &[member("r1", &peer)], None);
        let server = Server::start(version, "r1", &to, &peer);
        assert_eq!(server.ctl(&["alarm", "list", "--user", root]), "");
        assert_eq!(server.ctl(&["put", "b/1", "v", "--user", alice]), "OK\n");
        assert_eq!(server.ctl(&["get", "b/1", "--print-value-only", "--user", alice]), "v\n");
        for args in
            [&["get", "b/1"][..], &["get", "a/00001", "--user", alice], &["get", "b/1", "--user", "alice:wrong"]]
        {
            let said = server.ctl_error(args);
            assert!(
                ["user name is empty", "permission denied", "authentication failed"]
                    .iter()
                    .any(|why| said.contains(why))
            );
        }
        let lease = server.ctl(&["lease", "timetolive", "1267", "--keys", "--user", root]);
        assert!(lease.contains("granted with TTL(3600s)") && lease.contains("leased/1"), "{lease}");
    }
}
