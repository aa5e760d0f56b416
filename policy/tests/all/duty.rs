//! Who serves a slot: one of those who agree, in turn, and nobody else's turn moves when one is gone.

use crate::world::cases;
use chrono::{DateTime, Utc};
use lifeboat_policy::duty::{Me, Member, Rank, rank};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn slot(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn follower(id: u64) -> Member {
    Member { id, is_leader: false, is_learner: false }
}

/// Members with different ids, of which the first leads; the last may be learners.
fn clusters() -> impl Strategy<Value = Vec<Member>> {
    (prop::collection::btree_set(any::<u64>(), 1..8), 0usize..3).prop_map(|(ids, learners)| {
        let voters = ids.len().saturating_sub(learners).max(1);
        let member = |(n, id)| Member { id, is_leader: n == 0, is_learner: n >= voters };
        ids.into_iter().enumerate().map(member).collect()
    })
}

fn place(cluster: u64, at: i64, members: &[Member], id: u64) -> Rank {
    rank(cluster, slot(at), members, Me::Beside(id))
}

fn first(cluster: u64, at: i64, members: &[Member]) -> u64 {
    members.iter().find(|member| place(cluster, at, members, member.id).place == 0).expect("somebody is first").id
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn among_those_who_agree_every_place_is_taken_once_followers_first(
        cluster in any::<u64>(), members in clusters(), at in 0i64..4_000_000_000, shift in 0usize..8, host in "[a-z0-9.-]{0,20}",
    ) {
        let places: BTreeMap<u32, Member> =
            members.iter().map(|member| (place(cluster, at, &members, member.id).place, *member)).collect();
        prop_assert!(places.keys().copied().eq(0..u32::try_from(members.len()).unwrap()));
        let kinds: Vec<u8> = places.values().map(|m| if m.is_learner { 2 } else { u8::from(m.is_leader) }).collect();
        prop_assert!(kinds.is_sorted(), "followers, the leader, learners: {:?}", kinds);
        // Whatever order they were found in.
        let mut turned = members.clone();
        turned.rotate_left(shift % members.len());
        for member in &members {
            prop_assert_eq!(place(cluster, at, &turned, member.id), place(cluster, at, &members, member.id));
        }
        let elsewhere = rank(cluster, slot(at), &members, Me::Elsewhere(&host));
        prop_assert_eq!(elsewhere.place, elsewhere.last);
        prop_assert_eq!(elsewhere.place, u32::try_from(members.len()).unwrap());
    }

    #[test]
    fn losing_a_member_moves_only_its_own_slots(
        cluster in any::<u64>(), ids in prop::collection::btree_set(any::<u64>(), 2..8), lost in 0usize..8, from in 0i64..4_000_000_000,
    ) {
        let members: Vec<Member> = ids.iter().copied().map(follower).collect();
        let lost = members[lost % members.len()].id;
        let left: Vec<Member> = members.iter().copied().filter(|member| member.id != lost).collect();
        for at in (0..40).map(|n| from + n * 1800) {
            let before = first(cluster, at, &members);
            if before == lost {
                let second = members.iter().find(|member| place(cluster, at, &members, member.id).place == 1).unwrap();
                prop_assert_eq!(first(cluster, at, &left), second.id);
            } else {
                prop_assert_eq!(first(cluster, at, &left), before);
            }
        }
    }

    #[test]
    fn a_later_place_waits_longer_and_nobody_longer_than_half_the_period(
        cluster in any::<u64>(), members in clusters(), at in 0i64..4_000_000_000, step in 0u64..10_000, period in 1u64..1_000_000,
        hosts in prop::array::uniform2("[a-z]{1,8}"),
    ) {
        let (step, period) = (Duration::from_secs(step), Duration::from_secs(period));
        let mut waits: Vec<(u32, Duration)> = members.iter().map(|member| {
            let rank = place(cluster, at, &members, member.id);
            (rank.place, rank.delay(step, period))
        }).collect();
        waits.sort_unstable();
        prop_assert_eq!(waits[0].1, Duration::ZERO);
        let apart: BTreeSet<Duration> = waits.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        prop_assert!(apart.len() <= 1 && apart.iter().all(|wait| *wait <= step && (step.is_zero() || !wait.is_zero())));
        for host in &hosts {
            let wait = rank(cluster, slot(at), &members, Me::Elsewhere(host)).delay(step, period);
            prop_assert!(wait >= waits[waits.len() - 1].1 && wait <= period / 2);
        }
    }
}

#[test]
fn the_wait_is_a_step_for_each_place_unless_half_the_period_is_too_short_for_that() {
    let members: Vec<Member> = (1..=3).map(follower).collect();
    let waits = |step: u64, period: u64| -> BTreeSet<u64> {
        let wait = |member: &Member| {
            place(9, 0, &members, member.id).delay(Duration::from_secs(step), Duration::from_secs(period))
        };
        members.iter().map(|member| wait(member).as_secs()).collect()
    };
    assert_eq!(waits(120, 1800), BTreeSet::from([0, 120, 240]));
    assert_eq!(waits(120, 240), BTreeSet::from([0, 30, 60]));
}

#[test]
fn over_many_slots_every_follower_has_its_share_and_hosts_are_spread() {
    let mut members: Vec<Member> = (1..=5).map(|n| follower(n * 0x1111)).collect();
    members[4].is_leader = true;
    let mut turns: BTreeMap<u64, u32> = BTreeMap::new();
    for n in 0..20_000i64 {
        *turns.entry(first(0xc1, 1_790_000_000 + n * 1800, &members)).or_default() += 1;
    }
    assert_eq!(turns.len(), 4, "the leader is never first: {turns:?}");
    assert!(turns.values().all(|count| count.abs_diff(5000) < 150), "within three per cent: {turns:?}");
    let parts: BTreeSet<u32> =
        (0..100).map(|n| rank(0xc1, slot(1800), &members, Me::Elsewhere(&format!("backup-{n}"))).part).collect();
    assert!(parts.len() > 95 && parts.first() < Some(&8192) && parts.last() > Some(&57344), "{parts:?}");
    // Who is first for one cluster is not for another: ten clusters on the same hosts share the work.
    let firsts: BTreeSet<u64> = (0..20).map(|cluster| first(cluster, 1_790_000_000, &members)).collect();
    assert!(firsts.len() > 1);
    // A member that is not healthy has no place of its own.
    let unknown = rank(0xc1, slot(1800), &members, Me::Beside(77));
    assert_eq!((unknown.place, unknown.last), (5, 5));
}
