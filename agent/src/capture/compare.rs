//! Asks live members for HashKV, so that what was captured can be held against what they serve.
//!
//! Each question is a full read of the database on the member that is asked, so members are asked one at a time, the
//! leader last. Nothing here can fail a backup: what is not answered is an answer with its reason. A member answers for a
//! revision only until it is compacted, every five minutes under Kubernetes; so one is asked while the stream runs and
//! again when its revision is known.

use super::connect::reach;
use super::explain::explain;
use super::member::Member;
use super::survey::Survey;
use crate::clock::Stopwatch;
use crate::config::{Compare, Etcd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A follower may lag behind a revision that the cluster already has.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// One question and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub member_id: u64,
    pub name: String,
    /// The revision asked for.
    pub revision: i64,
    pub reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The hash, and how far the member was compacted: only hashes at equal revisions *and* compactions compare.
    Hash { hash: u32, compact_revision: i64 },
    /// Why there is none.
    None(String),
}

/// The members to ask, in order, and the answers so far: still there when the asking is given up.
#[derive(Clone, Debug)]
pub struct Comparison {
    etcd: Etcd,
    members: Vec<Member>,
    answers: Arc<Mutex<Vec<Asked>>>,
}

impl Comparison {
    /// Whom to ask about a backup of `source`. Learners do not answer HashKV; members that did not answer the survey
    /// are noted as silent at once.
    pub fn new(etcd: &Etcd, survey: &Survey, source: &Member) -> Self {
        let wanted = |member: &&Member| match etcd.compare {
            Compare::All => !member.is_learner,
            Compare::Source => member.member_id == source.member_id && !member.is_learner,
            Compare::Off => false,
        };
        let mut members: Vec<Member> = survey.members.iter().filter(wanted).cloned().collect();
        members.sort_by_key(|member| member.is_leader);
        let comparison = Comparison { etcd: etcd.clone(), members, answers: Arc::default() };
        if etcd.compare == Compare::All {
            for (id, name) in &survey.voters {
                if !survey.members.iter().any(|member| member.member_id == *id) {
                    comparison.note(*id, name, 0, Reply::None("it did not answer when the backup began".to_owned()));
                }
            }
        }
        comparison
    }

    /// Asks everybody for the hash at `revision`, one after the other, within `budget`. Each has a fair share of what is
    /// left, so that one that hangs does not silence the rest.
    pub async fn ask(&self, revision: i64, budget: Duration) {
        let watch = Stopwatch::start();
        for (done, member) in self.members.iter().enumerate() {
            let left = budget.saturating_sub(watch.elapsed());
            let to_come = u32::try_from(self.members.len() - done).unwrap_or(u32::MAX);
            let share = left / to_come;
            let reply = match tokio::time::timeout(share, question(&self.etcd, member, revision)).await {
                Ok(reply) => reply,
                Err(_) => Reply::None(format!("no answer within {:.1} s", share.as_secs_f64())),
            };
            self.note(member.member_id, &member.name, revision, reply);
        }
    }

    /// Whether nobody is to be asked at all.
    pub fn is_off(&self) -> bool {
        self.etcd.compare == Compare::Off
    }

    /// The answers so far.
    pub fn answers(&self) -> Vec<Asked> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, member_id: u64, name: &str, revision: i64, reply: Reply) {
        let asked = Asked { member_id, name: name.to_owned(), revision, reply };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }
}

/// Asks one member, again while it lags behind; the caller ends it.
async fn question(etcd: &Etcd, member: &Member, revision: i64) -> Reply {
    loop {
        let (mut client, status) = match reach(etcd, &member.endpoint).await {
            Ok(reached) => reached,
            Err(error) => return Reply::None(error.message),
        };
        let answers = super::member::ids(&status);
        if answers != (member.cluster_id, member.member_id) {
            return Reply::None(format!("another member answers at {}", member.endpoint));
        }
        match client.hash_kv(revision).await {
            Ok(answer) => return Reply::Hash { hash: answer.hash(), compact_revision: answer.compact_version() },
            Err(etcd_client::Error::GRpcStatus(status)) if status.message().contains("future revision") => {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            Err(etcd_client::Error::GRpcStatus(status)) if status.message().contains("has been compacted") => {
                return Reply::None(format!("revision {revision} was compacted before it could be asked"));
            }
            Err(error) => return Reply::None(explain(etcd, &member.endpoint, "HashKV", error).await.message),
        }
    }
}
