//! One stream, played by a fake member.

use super::{MINUTE, drain, etcd, first, limits, says, take};
use lifeboat::capture::open;
use lifeboat::config::Limits;
use lifeboat::error::{Error, Reason};
use lifeboat_tests::fake_etcd::{CHUNK, FakeEtcd, Play, Script, database};
use std::time::{Duration, Instant};
use tonic::Code;

/// Plays the script and returns how the capture failed, after checking that the member was let go at once.
async fn failure(play: Play) -> Error {
    let fake = FakeEtcd::start(Script::playing(play)).await;
    let etcd = etcd(&[&fake.endpoint]);
    let member = first(&etcd).await.unwrap();
    let error = take(&etcd, &member, &limits()).await.unwrap_err();
    let since = Instant::now();
    while fake.open_streams() > 0 {
        assert!(since.elapsed() < Duration::from_secs(2), "the call was not cancelled after: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    error
}

fn whole() -> usize {
    Script::default().stream().len()
}

#[tokio::test]
async fn a_whole_snapshot_arrives_byte_for_byte_whatever_its_size() {
    for size in [4096, 20_480, CHUNK, CHUNK + 4096, 5 * CHUNK] {
        let script = Script { db: database(size), ..Script::default() };
        let stream = script.stream();
        let fake = FakeEtcd::start(script).await;
        let etcd = etcd(&[&fake.endpoint]);
        let member = first(&etcd).await.unwrap();
        let mut capture = open(&etcd, &member, &limits(), MINUTE).await.unwrap();
        assert_eq!(capture.expected_bytes(), stream.len() as u64);
        assert_eq!(capture.storage_version(), "3.6.0");
        assert!(drain(&mut capture).await.unwrap() == stream, "the bytes of a database of {size} differ");
        assert_eq!(capture.received_bytes(), stream.len() as u64);
        assert!(capture.next().await.unwrap().is_none(), "the end was not the end");
    }
}

#[tokio::test]
async fn a_member_that_stalls_is_given_up_wherever_it_stalls() {
    for at in [0, 32, CHUNK, 3 * CHUNK, 5 * CHUNK] {
        let error = failure(Play::StallAt(at)).await;
        assert_eq!(error.reason, Reason::EtcdStalled, "at {at}: {error}");
        says(&error, &["for 300ms", "http://127.0.0.1:", "log"]);
        if at > 0 {
            says(&error, &[&format!("after {at} of {} bytes", whole())]);
        }
    }
}

#[tokio::test]
async fn empty_messages_are_not_progress() {
    for at in [0, CHUNK, 2 * CHUNK] {
        let fake = FakeEtcd::start(Script::playing(Play::EmptyAfter(at))).await;
        let etcd = etcd(&[&fake.endpoint]);
        let member = first(&etcd).await.unwrap();
        let patient = Limits { stall: MINUTE, ..limits() };
        let error = take(&etcd, &member, &patient).await.unwrap_err();
        assert_eq!(error.reason, Reason::EtcdStalled, "at {at}: {error}");
        says(&error, &["3 empty messages in a row", "unable to read its database"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let sent = fake.messages();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(fake.messages(), sent, "the member still spins after the capture gave up");
    }
}

#[tokio::test]
async fn two_empty_messages_in_a_row_are_tolerated_and_three_are_not() {
    let fake = FakeEtcd::start(Script::playing(Play::EmptyBetween(2))).await;
    let etcd = etcd(&[&fake.endpoint]);
    let member = first(&etcd).await.unwrap();
    assert!(take(&etcd, &member, &limits()).await.unwrap() == Script::default().stream(), "the bytes differ");
    assert_eq!(failure(Play::EmptyBetween(3)).await.reason, Reason::EtcdStalled);
}

#[tokio::test]
async fn a_broken_connection_is_told_with_the_bytes_that_came() {
    for at in [CHUNK, 2 * CHUNK + 100] {
        let error = failure(Play::CutAt(at)).await;
        assert_eq!(error.reason, Reason::EtcdUnreachable, "{error}");
        says(&error, &["broke after", &format!("{at} of {} bytes", whole())]);
    }
}

#[tokio::test]
async fn a_clean_end_too_early_is_no_snapshot_even_where_the_size_looks_like_one() {
    for at in [CHUNK + 512 + 32, 4 * CHUNK + 32, 5 * CHUNK] {
        let error = failure(Play::EndAt(at)).await;
        assert_eq!(error.reason, Reason::EtcdStalled, "{error}");
        says(&error, &["ended its snapshot early", &format!("{at} of {} bytes", whole())]);
    }
    let error = failure(Play::EndAt(0)).await;
    assert_eq!(error.reason, Reason::EtcdStalled, "{error}");
    says(&error, &["before the first byte"]);
}

#[tokio::test]
async fn more_bytes_than_announced_are_damage() {
    for more in [1, 32, 4096] {
        let error = failure(Play::Extra(more)).await;
        assert_eq!(error.reason, Reason::Damaged, "{error}");
        says(&error, &[&whole().to_string(), &(whole() + more).to_string()]);
    }
}

#[tokio::test]
async fn an_error_of_the_member_is_told_in_its_own_words() {
    for at in [0, 2 * CHUNK] {
        let error = failure(Play::FailAt(at, Code::Internal, "etcdserver: disk is gone")).await;
        assert_eq!(error.reason, Reason::EtcdUnhealthy, "{error}");
        says(&error, &["disk is gone", "http://127.0.0.1:"]);
    }
}

#[tokio::test]
async fn a_denied_snapshot_says_which_right_is_missing() {
    let error = failure(Play::FailAt(0, Code::PermissionDenied, "etcdserver: permission denied")).await;
    assert_eq!(error.reason, Reason::EtcdDenied, "{error}");
    says(&error, &["permission denied", "root role"]);
}

#[tokio::test]
async fn a_stream_that_drips_ends_at_the_stream_limit_or_at_the_deadline() {
    let fake = FakeEtcd::start(Script::playing(Play::Drip(Duration::from_millis(150)))).await;
    let etcd = etcd(&[&fake.endpoint]);
    let member = first(&etcd).await.unwrap();
    let short = Limits { stream: Duration::from_millis(400), ..limits() };
    for (limits, deadline) in [(short, MINUTE), (limits(), Duration::from_millis(400))] {
        let since = Instant::now();
        let mut capture = open(&etcd, &member, &limits, deadline).await.unwrap();
        let error = drain(&mut capture).await.unwrap_err();
        assert_eq!(error.reason, Reason::Budget, "{error}");
        says(&error, &["within 400ms", &format!("of {} bytes", whole()), "limits.stream"]);
        assert!(since.elapsed() < Duration::from_secs(2), "it took {:?}", since.elapsed());
        assert!(capture.next().await.is_err(), "a failed stream looked complete when asked again");
    }
    let error = open(&etcd, &member, &limits(), Duration::ZERO).await.map(|_| ()).unwrap_err();
    assert_eq!(error.reason, Reason::Budget, "a run without time left opened a stream: {error}");
}

#[tokio::test]
async fn dropping_a_capture_hangs_up_at_once() {
    let fake = FakeEtcd::start(Script::playing(Play::StallAt(CHUNK))).await;
    let etcd = etcd(&[&fake.endpoint]);
    let member = first(&etcd).await.unwrap();
    let capture = open(&etcd, &member, &limits(), MINUTE).await.unwrap();
    assert_eq!(fake.open_streams(), 1);
    drop(capture);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fake.open_streams(), 0, "the member still holds the stream open");
}

#[tokio::test]
async fn an_endpoint_that_became_another_member_or_cluster_is_not_captured() {
    let fake = FakeEtcd::start(Script::default()).await;
    let etcd = etcd(&[&fake.endpoint]);
    let member = first(&etcd).await.unwrap();
    for change in [|script: &mut Script| script.member_id = 9, |script: &mut Script| script.cluster_id = 9] {
        fake.change(change);
        let error = open(&etcd, &member, &limits(), MINUTE).await.map(|_| ()).unwrap_err();
        assert_eq!(error.reason, Reason::EtcdUnhealthy, "{error}");
        says(&error, &["now answers as member", &fake.endpoint, "etcd.endpoints"]);
        fake.change(|script| *script = Script::default());
    }
}
