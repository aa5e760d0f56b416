//! What a member says of itself, and in which order members are asked for a snapshot.

use etcd_client::StatusResponse;
use std::collections::BTreeSet;
use std::fmt;

/// A member this far behind the newest revision gives a backup that misses too much.
const LAGS_BEHIND: i64 = 100_000;

/// A member that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub endpoint: String,
    pub member_id: u64,
    pub cluster_id: u64,
    /// Its name, or its id in hex where nobody told the name.
    pub name: String,
    /// The server's version, `3.6.14`.
    pub version: String,
    pub is_leader: bool,
    pub is_learner: bool,
    pub db_bytes: u64,
    /// The newest revision this member has applied itself.
    pub revision: i64,
    pub raft_term: u64,
    /// `NOSPACE`, `CORRUPT`: its own alarms, and those that name nobody.
    pub alarms: Vec<String>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.endpoint)
    }
}

impl Member {
    /// etcd itself found that its data differs from the others'.
    pub fn is_corrupt(&self) -> bool {
        self.alarms.iter().any(|alarm| alarm == "CORRUPT")
    }
}

/// Followers first, then the leader, then learners; members that lag after those, and members with a CORRUPT alarm
/// last of all. The order does not depend on the order of the input.
pub fn order(mut members: Vec<Member>) -> Vec<Member> {
    let newest = members.iter().map(|member| member.revision).max().unwrap_or(0);
    let lags = |member: &Member| newest.saturating_sub(member.revision) > LAGS_BEHIND;
    members.sort_by(|a, b| {
        let rank = |m: &Member| (m.is_corrupt(), lags(m), m.is_learner, m.is_leader, m.member_id);
        rank(a).cmp(&rank(b)).then_with(|| a.endpoint.cmp(&b.endpoint))
    });
    members
}

/// Cluster id and member id of who answered; both are 0 when the answer lacks its header.
pub(super) fn ids(status: &StatusResponse) -> (u64, u64) {
    status.0.header.as_ref().map_or((0, 0), |header| (header.cluster_id, header.member_id))
}

pub(super) fn member_of(endpoint: &str, status: &StatusResponse) -> Member {
    let (cluster_id, member_id) = ids(status);
    let status = &status.0;
    Member {
        endpoint: endpoint.to_owned(),
        member_id,
        cluster_id,
        name: format!("{member_id:x}"),
        version: status.version.clone(),
        is_leader: status.leader == member_id,
        is_learner: status.is_learner,
        db_bytes: u64::try_from(status.db_size).unwrap_or(0),
        revision: status.header.as_ref().map_or(0, |header| header.revision),
        raft_term: status.raft_term,
        alarms: alarms_of(member_id, &status.errors),
    }
}

/// Reads the alarms out of `Status.errors`, where etcd prints them in protobuf's text form: `memberID:123 alarm:NOSPACE`.
/// An alarm without a member (etcd could not tell whose fault it is) counts for everybody.
fn alarms_of(member_id: u64, errors: &[String]) -> Vec<String> {
    let alarm = |text: &String| {
        let field = |name: &str| text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
        let kind = field("alarm")?;
        let whose: u64 = field("memberID").map_or(Some(0), |id| id.parse().ok())?;
        (whose == member_id || whose == 0).then(|| kind.to_owned())
    };
    let unique: BTreeSet<String> = errors.iter().filter_map(alarm).collect();
    unique.into_iter().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::capture) fn member(id: u64) -> Member {
        Member {
            endpoint: format!("http://10.0.0.{id}:2379"),
            member_id: id,
            cluster_id: 7,
            name: format!("m{id}"),
            version: "3.6.14".to_owned(),
            is_leader: false,
            is_learner: false,
            db_bytes: 20_480,
            revision: 1_000_000,
            raft_term: 2,
            alarms: Vec::new(),
        }
    }

    fn ids_of(members: Vec<Member>) -> Vec<u64> {
        members.iter().map(|member| member.member_id).collect()
    }

    #[test]
    fn followers_come_first_then_the_leader_then_learners() {
        let learner = Member { is_learner: true, ..member(1) };
        let leader = Member { is_leader: true, ..member(2) };
        assert_eq!(ids_of(order(vec![learner, leader, member(4), member(3)])), [3, 4, 2, 1]);
    }

    #[test]
    fn a_member_that_lags_comes_after_the_leader_and_a_corrupt_one_last() {
        let lagging = Member { revision: 1_000_000 - LAGS_BEHIND - 1, ..member(1) };
        let corrupt = Member { alarms: vec!["CORRUPT".to_owned()], ..member(2) };
        let leader = Member { is_leader: true, ..member(3) };
        let just_behind = Member { revision: 1_000_000 - LAGS_BEHIND, ..member(4) };
        assert_eq!(ids_of(order(vec![corrupt, lagging, leader, just_behind])), [4, 3, 1, 2]);
    }

    #[test]
    fn the_order_does_not_depend_on_the_order_of_the_input() {
        let all = [member(5), Member { is_leader: true, ..member(6) }, member(7)];
        for shift in 0..all.len() {
            let mut turned = all.to_vec();
            turned.rotate_left(shift);
            assert_eq!(ids_of(order(turned)), [5, 7, 6]);
        }
    }

    #[test]
    fn alarms_are_read_from_the_status_errors() {
        let errors = [
            "memberID:11 alarm:NOSPACE ".to_owned(),
            "memberID:12  alarm:CORRUPT".to_owned(),
            "alarm:CORRUPT".to_owned(),
            "etcdserver: no leader".to_owned(),
        ];
        assert_eq!(alarms_of(11, &errors), ["CORRUPT", "NOSPACE"]);
        assert_eq!(alarms_of(13, &errors), ["CORRUPT"]);
        assert!(alarms_of(11, &errors[1..2]).is_empty());
    }
}
