//! Who answers, played by fake members.

use super::{etcd, says};
use lifeboat::capture::survey;
use lifeboat::config::{Etcd, Members};
use lifeboat::error::Reason;
use lifeboat_tests::fake_etcd::{FakeEtcd, Script};
use lifeboat_tests::server::free_port;

fn member(id: u64) -> Script {
    Script { member_id: id, leader: 2, ..Script::default() }
}

/// Starts these members and tells each of all.
async fn cluster(scripts: Vec<Script>) -> Vec<FakeEtcd> {
    let mut fakes = Vec::new();
    let mut list = Vec::new();
    for script in scripts {
        let id = script.member_id;
        let fake = FakeEtcd::start(script).await;
        list.push((id, format!("m{id}"), vec![fake.endpoint.clone()]));
        fakes.push(fake);
    }
    for fake in &fakes {
        fake.change(|script| script.members = list.clone());
    }
    fakes
}

fn dead() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

#[tokio::test]
async fn the_other_members_are_found_through_one_endpoint_and_come_in_the_order_to_try() {
    let learner = Script { is_learner: true, ..member(1) };
    let fakes = cluster(vec![learner, member(2), member(4), member(3)]).await;
    let found = survey(&etcd(&[&fakes[1].endpoint])).await.unwrap();
    let names: Vec<&str> = found.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["m3", "m4", "m2", "m1"]);
    assert!(found.members[2].is_leader && found.members[3].is_learner, "{:?}", found.members);
    assert_eq!(found.revision.unwrap(), 42);
    assert!(found.unreachable.is_empty(), "{:?}", found.unreachable);
}

#[tokio::test]
async fn with_members_endpoints_nobody_else_is_asked() {
    let fakes = cluster(vec![member(1), member(2)]).await;
    let only = Etcd { members: Members::Endpoints, ..etcd(&[&fakes[0].endpoint]) };
    let found = survey(&only).await.unwrap();
    assert_eq!(found.members.len(), 1);
    assert_eq!(found.members[0].name, "m1");
}

#[tokio::test]
async fn two_endpoints_of_one_member_count_once() {
    let fakes = cluster(vec![member(1)]).await;
    let by_name = fakes[0].endpoint.replace("127.0.0.1", "localhost");
    let found = survey(&etcd(&[&fakes[0].endpoint, &by_name])).await.unwrap();
    assert_eq!(found.members.len(), 1);
    assert_eq!(found.members[0].endpoint, fakes[0].endpoint);
}

#[tokio::test]
async fn when_nobody_answers_every_endpoint_is_named_with_its_cause() {
    let (one, two) = (dead(), dead());
    let error = survey(&etcd(&[&one, &two])).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdUnreachable);
    says(&error, &[&one, &two, "Connection refused"]);
}

#[tokio::test]
async fn members_that_do_not_answer_are_reported_beside_those_that_do() {
    let fakes = cluster(vec![member(1)]).await;
    let gone = dead();
    fakes[0].change(|script| {
        script.members.push((5, "m5".to_owned(), vec![gone.clone()]));
        script.members.push((6, String::new(), Vec::new()));
    });
    let found = survey(&etcd(&[&fakes[0].endpoint])).await.unwrap();
    assert_eq!(found.members.len(), 1);
    let told: Vec<(&str, Reason)> = found.unreachable.iter().map(|(who, e)| (who.as_str(), e.reason)).collect();
    assert_eq!(told, [(gone.as_str(), Reason::EtcdUnreachable), ("6", Reason::EtcdUnreachable)]);
    says(&found.unreachable[1].1, &["published no client URL"]);
}

#[tokio::test]
async fn endpoints_of_two_clusters_are_refused_unless_one_has_the_majority() {
    let stranger = FakeEtcd::start(Script { cluster_id: 0xBAD, ..member(1) }).await;
    let fakes = cluster(vec![member(1), member(2)]).await;
    let error = survey(&etcd(&[&fakes[0].endpoint, &stranger.endpoint])).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdUnhealthy);
    says(&error, &["several clusters", &stranger.endpoint, "bad"]);
    let found = survey(&etcd(&[&stranger.endpoint, &fakes[0].endpoint, &fakes[1].endpoint])).await.unwrap();
    assert_eq!(found.members.len(), 2);
    assert_eq!(found.unreachable[0].0, stranger.endpoint);
    says(&found.unreachable[0].1, &["is of cluster bad"]);
}

#[tokio::test]
async fn a_published_url_that_leads_to_another_member_is_not_believed() {
    let fakes = cluster(vec![member(1), member(2)]).await;
    let lie = vec![(7, "m7".to_owned(), vec![fakes[1].endpoint.clone()])];
    fakes[0].change(|script| script.members = lie);
    let found = survey(&etcd(&[&fakes[0].endpoint])).await.unwrap();
    assert_eq!(found.members.len(), 1);
    says(&found.unreachable[0].1, &["published by member m7", "advertise-client-urls"]);
}

#[tokio::test]
async fn without_a_quorum_members_are_still_found_and_the_revision_says_why_it_is_missing() {
    let fakes = cluster(vec![Script { quorum: false, leader: 0, ..member(1) }]).await;
    let found = survey(&etcd(&[&fakes[0].endpoint])).await.unwrap();
    assert_eq!(found.members.len(), 1);
    assert!(!found.members[0].is_leader);
    let error = found.revision.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdUnhealthy);
    says(&error, &["no quorum"]);
}
