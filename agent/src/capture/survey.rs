//! Who is in the cluster, and who of them answers.

use super::connect::{ANSWER_WITHIN, reach, silent};
use super::explain::explain;
use super::failover::all_failed;
use super::member::{Member, member_of, order};
use crate::config::{Etcd, Members};
use crate::error::{Error, Reason, Result};
use etcd_client::{Client, GetOptions};
use futures::future::{join_all, select_ok};
use std::collections::BTreeMap;

/// What asking everybody gave.
#[derive(Debug)]
pub struct Survey {
    /// In the order to try them, see `order`.
    pub members: Vec<Member>,
    /// Endpoint, or the member's name where it has none, and why it cannot be used.
    pub unreachable: Vec<(String, Error)>,
    /// The cluster's revision by a linearizable read. An error means no quorum: a backup is still worth taking.
    pub revision: Result<i64>,
    /// Every voting member by id, with its name, as far as anybody who answers knows.
    pub voters: BTreeMap<u64, String>,
}

/// Asks every endpoint, and with `members: discover` every other member they know, each once and all at a time.
///
/// Fails when nobody answers, with every endpoint and its cause, and when the endpoints are of two clusters and it is
/// not clear which one is meant.
pub async fn survey(etcd: &Etcd) -> Result<Survey> {
    let asked = join_all(etcd.endpoints.iter().map(|endpoint| ask(etcd, endpoint))).await;
    let mut found = Found::default();
    for (endpoint, answer) in etcd.endpoints.iter().zip(asked) {
        found.add(endpoint, answer);
    }
    if found.answers.is_empty() {
        return Err(all_failed("no etcd endpoint answers", found.unreachable));
    }
    found.keep_one_cluster()?;
    if etcd.members == Members::Discover {
        let missing = found.missing();
        let asked = join_all(missing.iter().map(|peer| ask_peer(etcd, peer))).await;
        for (peer, (endpoint, answer)) in missing.iter().zip(asked) {
            found.add(&endpoint, answer.and_then(|answer| found.expect(peer, &endpoint, answer)));
        }
    }
    let revision = current_revision(etcd, &found.answers).await;
    let voters = found.voters();
    let (members, unreachable) = found.into_members();
    Ok(Survey { members: order(members), unreachable, revision, voters })
}

/// One endpoint's answers.
struct Answer {
    client: Client,
    member: Member,
    /// The member list, where this member may tell it: a learner may not.
    peers: Option<Vec<Peer>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    id: u64,
    name: String,
    client_urls: Vec<String>,
    is_learner: bool,
}

impl Peer {
    fn called(&self) -> String {
        if self.name.is_empty() { format!("{:x}", self.id) } else { self.name.clone() }
    }
}

async fn ask(etcd: &Etcd, endpoint: &str) -> Result<Answer> {
    let (mut client, status) = reach(etcd, endpoint).await?;
    let member = member_of(endpoint, &status);
    let peers = match tokio::time::timeout(ANSWER_WITHIN, client.member_list()).await {
        Err(_) => return Err(silent(endpoint, "member list")),
        Ok(Err(_)) if member.is_learner => None,
        Ok(Err(error)) => return Err(explain(etcd, endpoint, "member list", error).await),
        Ok(Ok(list)) => Some(list.0.members.into_iter().map(peer_of).collect()),
    };
    Ok(Answer { client, member, peers })
}

fn peer_of(member: etcd_client::proto::PbMember) -> Peer {
    Peer { id: member.id, name: member.name, client_urls: member.client_ur_ls, is_learner: member.is_learner }
}

/// Tries a discovered member's client URLs one after the other; the endpoint returned is the one that answered, or the
/// last that did not.
async fn ask_peer(etcd: &Etcd, peer: &Peer) -> (String, Result<Answer>) {
    let nowhere = Error::new(Reason::EtcdUnreachable, format!("member {} has published no client URL", peer.called()))
        .hint("a member that was added but never started looks like this: start it or remove it");
    let mut last = (peer.called(), Err(nowhere));
    for url in &peer.client_urls {
        let answer = match downgrades(etcd, url) {
            true => Err(Error::new(Reason::EtcdTls, format!("member {} publishes {url}, not https", peer.called()))
                .hint("it is not asked in the clear: correct its --advertise-client-urls, or set members: endpoints")),
            false => ask(etcd, url).await,
        };
        let done = answer.is_ok();
        last = (url.clone(), answer);
        if done {
            break;
        }
    }
    last
}

/// Whoever answers the member list must not be able to lure a password or a backup onto a plain connection.
fn downgrades(etcd: &Etcd, url: &str) -> bool {
    etcd.endpoints.iter().all(|endpoint| endpoint.starts_with("https://")) && !url.starts_with("https://")
}

#[derive(Default)]
struct Found {
    answers: Vec<Answer>,
    unreachable: Vec<(String, Error)>,
}

impl Found {
    /// The first endpoint of a member stands for it.
    fn add(&mut self, endpoint: &str, answer: Result<Answer>) {
        match answer {
            Ok(answer) if self.answers.iter().any(|known| same(&known.member, &answer.member)) => {}
            Ok(answer) => self.answers.push(answer),
            Err(error) => self.unreachable.push((endpoint.to_owned(), error)),
        }
    }

    /// Drops endpoints of another cluster than most are of: an address that was given away must not stop the backups.
    fn keep_one_cluster(&mut self) -> Result<()> {
        let Some(cluster) = majority(self.answers.iter().map(|answer| answer.member.cluster_id)) else {
            let told: Vec<String> =
                self.answers.iter().map(|a| format!("{} is of {:x}", a.member.endpoint, a.member.cluster_id)).collect();
            return Err(Error::new(
                Reason::EtcdUnhealthy,
                format!("the endpoints are of several clusters: {}", told.join(", ")),
            )
            .hint("leave only one cluster's endpoints in etcd.endpoints"));
        };
        let (kept, strangers): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.answers).into_iter().partition(|answer| answer.member.cluster_id == cluster);
        self.answers = kept;
        self.unreachable.extend(strangers.into_iter().map(|answer| stranger(&answer.member, cluster)));
        Ok(())
    }

    /// Members that somebody knows and nobody was.
    fn missing(&self) -> Vec<Peer> {
        let known = |id: &u64| self.answers.iter().any(|answer| answer.member.member_id == *id);
        let told = self.answers.iter().filter_map(|answer| answer.peers.as_ref()).flatten();
        let by_id: BTreeMap<u64, Peer> = told.map(|peer| (peer.id, peer.clone())).collect();
        by_id.into_values().filter(|peer| !known(&peer.id)).collect()
    }

    /// A discovered URL must lead to the member that published it.
    fn expect(&self, peer: &Peer, endpoint: &str, answer: Answer) -> Result<Answer> {
        let cluster_id = self.answers.first().map_or(answer.member.cluster_id, |known| known.member.cluster_id);
        if answer.member.cluster_id != cluster_id {
            return Err(stranger(&answer.member, cluster_id).1);
        }
        if answer.member.member_id != peer.id {
            let message = format!(
                "{endpoint} is published by member {}, but member {} answers there",
                peer.called(),
                answer.member.name
            );
            return Err(Error::new(Reason::EtcdUnhealthy, message).on("status", endpoint).hint(
                "every member needs --advertise-client-urls of its own; or list etcd.endpoints, members: endpoints",
            ));
        }
        Ok(answer)
    }

    /// Who votes: as the member lists say, else whoever answered and is no learner.
    fn voters(&self) -> BTreeMap<u64, String> {
        let told = self.answers.iter().filter_map(|answer| answer.peers.as_ref()).flatten();
        let told: BTreeMap<u64, String> = told.filter(|peer| !peer.is_learner).map(|p| (p.id, p.called())).collect();
        if !told.is_empty() {
            return told;
        }
        let voting = self.answers.iter().map(|answer| &answer.member).filter(|member| !member.is_learner);
        voting.map(|member| (member.member_id, member.name.clone())).collect()
    }

    fn into_members(self) -> (Vec<Member>, Vec<(String, Error)>) {
        let told = self.answers.iter().filter_map(|answer| answer.peers.as_ref()).flatten();
        let names: BTreeMap<u64, String> = told.map(|peer| (peer.id, peer.called())).collect();
        let named = |answer: Answer| match names.get(&answer.member.member_id) {
            Some(name) => Member { name: name.clone(), ..answer.member },
            None => answer.member,
        };
        (self.answers.into_iter().map(named).collect(), self.unreachable)
    }
}

fn same(a: &Member, b: &Member) -> bool {
    (a.cluster_id, a.member_id) == (b.cluster_id, b.member_id)
}

fn stranger(member: &Member, cluster: u64) -> (String, Error) {
    let message = format!("{} is of cluster {:x}, the others are of {cluster:x}", member.endpoint, member.cluster_id);
    let error = Error::new(Reason::EtcdUnhealthy, message)
        .on("status", &member.endpoint)
        .hint("remove this endpoint from etcd.endpoints, or correct it");
    (member.endpoint.clone(), error)
}

/// The value that comes up more often than any other.
fn majority(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let mut winners = counts.into_iter().filter(|(_, count)| *count == most).map(|(value, _)| value);
    winners.next().filter(|_| winners.next().is_none())
}

/// A linearizable read through every voting member at a time; the first answer counts.
async fn current_revision(etcd: &Etcd, answers: &[Answer]) -> Result<i64> {
    let voters: Vec<_> = answers.iter().filter(|answer| !answer.member.is_learner).collect();
    if voters.is_empty() {
        return Err(Error::new(
            Reason::EtcdUnhealthy,
            "only learners answer, and they cannot tell the cluster's revision",
        ));
    }
    let reads = voters.into_iter().map(|answer| {
        Box::pin(async move {
            let mut client = answer.client.clone();
            let endpoint = answer.member.endpoint.as_str();
            let read = client.get("lifeboat", Some(GetOptions::new().with_count_only()));
            match tokio::time::timeout(ANSWER_WITHIN, read).await {
                Ok(Ok(response)) => Ok(response.header().map_or(0, |header| header.revision())),
                Ok(Err(error)) => Err(explain(etcd, endpoint, "linearizable read", error).await),
                Err(_) => Err(Error::new(
                    Reason::EtcdUnhealthy,
                    format!(
                        "etcd at {endpoint} did not answer a linearizable read within {ANSWER_WITHIN:?}: no quorum"
                    ),
                )
                .on("linearizable read", endpoint)
                .hint("most members must run for the cluster to have a leader")),
            }
        })
    });
    select_ok(reads).await.map(|(revision, _)| revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Compare;

    #[test]
    fn a_cluster_wins_only_with_more_endpoints_than_any_other() {
        assert_eq!(majority([7, 8, 7].into_iter()), Some(7));
        assert_eq!(majority([7, 8].into_iter()), None);
        assert_eq!(majority([9].into_iter()), Some(9));
    }

    #[test]
    fn a_published_http_url_is_refused_only_where_the_endpoints_are_https() {
        let etcd = |endpoint: &str| Etcd {
            endpoints: vec![endpoint.to_owned()],
            members: Members::Discover,
            tls: None,
            user: None,
            password_file: None,
            compare: Compare::All,
        };
        assert!(downgrades(&etcd("https://a:2379"), "http://b:2379"));
        assert!(!downgrades(&etcd("https://a:2379"), "https://b:2379"));
        assert!(!downgrades(&etcd("http://a:2379"), "http://b:2379"));
    }
}
