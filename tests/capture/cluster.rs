//! A real cluster of three: the order, fail-over, a frozen member, a lost quorum, alarms.

use super::{MINUTE, etcd, limits, says, take};
use lifeboat::capture::{Member, connect, first_good, open, survey};
use lifeboat::config::{Etcd, Limits};
use lifeboat::error::{Reason, Result};
use lifeboat_tests::real_etcd::{self, Options, RealEtcd};
use sha2::{Digest, Sha256};
use std::process::Command;
use std::time::{Duration, Instant};

fn three(version: real_etcd::Etcd) -> RealEtcd {
    RealEtcd::start(version, Options { members: 3, ..Options::default() })
}

fn signal(server: &RealEtcd, number: usize, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &server.pid(number).to_string()]).status();
    assert!(status.unwrap().success(), "kill -{name} failed");
}

fn number_of(server: &RealEtcd, endpoint: &str) -> usize {
    server.endpoints().iter().position(|known| known == endpoint).unwrap()
}

async fn whole(etcd: &Etcd, member: Member) -> Result<Vec<u8>> {
    take(etcd, &member, &Limits { stall: Duration::from_secs(3), ..limits() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_come_first_and_the_next_member_serves_when_one_dies() {
    for version in real_etcd::Etcd::ALL {
        let mut server = three(version);
        let etcd = etcd(&[&server.endpoint()]);
        let found = survey(&etcd).await.unwrap();
        let leads: Vec<bool> = found.members.iter().map(|member| member.is_leader).collect();
        assert_eq!(leads, [false, false, true], "etcd {}: {:?}", version.line(), found.members);
        assert!(found.members.iter().all(|member| member.version.starts_with(version.line())), "{:?}", found.members);
        assert_eq!(found.revision.unwrap(), found.members[0].revision);

        let victim = &found.members[0];
        server.stop_member(number_of(&server, &victim.endpoint));
        let members = &found.members;
        let (chosen, stream) = first_good(members, |member| whole(&etcd, member)).await.unwrap();
        assert_eq!(chosen, found.members[1]);
        let (db, trailer) = stream.split_at(stream.len() - 32);
        assert_eq!(Sha256::digest(db).as_slice(), trailer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_over_members_can_run_on_any_thread() {
    let server = RealEtcd::single(real_etcd::Etcd::V3_6);
    let etcd = etcd(&[&server.endpoint()]);
    let run = tokio::spawn(async move {
        let found = survey(&etcd).await?;
        first_good(&found.members, |member| whole(&etcd, member)).await
    });
    assert!(run.await.unwrap().unwrap().1.len() > 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_member_is_reported_in_time_and_the_others_serve() {
    let server = three(real_etcd::Etcd::V3_6);
    let etcd = etcd(&[&server.endpoint()]);
    let before = survey(&etcd).await.unwrap();
    let frozen = before.members[0].clone();
    let number = number_of(&server, &frozen.endpoint);
    signal(&server, number, "STOP");
    let asked = if number == 0 { server.endpoints().remove(1) } else { server.endpoint() };
    let since = Instant::now();
    let found = survey(&super::etcd(&[&asked])).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(20), "it took {:?}", since.elapsed());
    assert_eq!(found.members.len(), 2, "{:?}", found.members);
    assert_eq!(found.unreachable[0].0, frozen.endpoint);
    says(&found.unreachable[0].1, &["did not answer within 5s", "frozen"]);
    let (chosen, _) = first_good(&before.members, |member| whole(&etcd, member)).await.unwrap();
    assert_ne!(chosen.endpoint, frozen.endpoint);
    signal(&server, number, "CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_freezes_in_the_middle_of_its_stream_is_given_up() {
    let server = RealEtcd::single(real_etcd::Etcd::V3_6);
    let etcd = etcd(&[&server.endpoint()]);
    let mut client = connect(&etcd, &server.endpoint()).await.unwrap();
    // More than the 2 MiB that a stream's window lets pass before anybody reads.
    for number in 0..8 {
        client.put(format!("big-{number}"), vec![b'x'; 1 << 20], None).await.unwrap();
    }
    let member = survey(&etcd).await.unwrap().members.remove(0);
    let limits = Limits { stall: Duration::from_secs(1), ..limits() };
    let mut capture = open(&etcd, &member, &limits, MINUTE).await.unwrap();
    signal(&server, 0, "STOP");
    let error = loop {
        match capture.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the whole snapshot was under way already: the test needs a larger database"),
            Err(error) => break error,
        }
    };
    signal(&server, 0, "CONT");
    assert_eq!(error.reason, Reason::EtcdStalled, "{error}");
    says(&error, &["no new bytes for 1s", &member.endpoint]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_the_last_member_still_gives_its_snapshot() {
    let mut server = three(real_etcd::Etcd::V3_6);
    server.stop_member(1);
    server.stop_member(2);
    let etcd = etcd(&[&server.endpoint()]);
    let found = survey(&etcd).await.unwrap();
    assert_eq!(found.members.len(), 1, "{:?}", found.members);
    assert_eq!(found.unreachable.len(), 2, "{:?}", found.unreachable);
    assert_eq!(found.revision.unwrap_err().reason, Reason::EtcdUnhealthy);
    assert!(whole(&etcd, found.members[0].clone()).await.unwrap().len() > 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_shows_on_its_member_and_a_snapshot_is_still_taken() {
    for version in real_etcd::Etcd::ALL {
        let flags = vec!["--quota-backend-bytes=200000".to_owned()];
        let server = RealEtcd::start(version, Options { flags, ..Options::default() });
        for number in 0..40 {
            if !server.try_etcdctl(&["put", &format!("key-{number}"), &"x".repeat(20_000)]).status.success() {
                break;
            }
        }
        let etcd = etcd(&[&server.endpoint()]);
        let found = survey(&etcd).await.unwrap();
        assert_eq!(found.members[0].alarms, ["NOSPACE"], "etcd {}", version.line());
        assert!(whole(&etcd, found.members[0].clone()).await.unwrap().len() > 32);
    }
}
