//! When a plan is refused whole: proofs that stopped, findings, and backups that shrank.

use crate::world::*;
use chrono::TimeDelta;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{self, Action, Circumstances, Facts, Freeze, Plan, Rules, newest_proven};
use proptest::prelude::*;
use std::time::Duration;

fn under(facts: &[Facts], rules: &Rules, circumstances: &Circumstances) -> Plan {
    retention::plan(facts, rules, circumstances, now())
}

fn shrinking(rules: &Rules, percent: u8) -> Rules {
    Rules { freeze_if_shrunk: Some(percent), ..rules.clone() }
}

/// Whether `after` lost too much: written with fractions, to disagree with the crate if it can.
fn collapsed(before: &Facts, after: &Facts, percent: u8) -> bool {
    let share = f64::from(percent) / 100.0;
    let left = |has: u64, had: u64| if had == 0 { 1.0 } else { has as f64 / had as f64 };
    let keys = left(after.keys, before.keys);
    let thousands = before.keys >= after.keys + 1000 && keys < (1.0 + share) / 2.0 - 1e-12;
    keys < share - 1e-12 || thousands || left(after.db_bytes, before.db_bytes) < share - 1e-12
}

/// The lineage with the latest capture time, newest first.
fn newest_lineage(facts: &[Facts]) -> Vec<&Facts> {
    let latest = facts.iter().filter(|e| !is_future(e.captured_at)).max_by_key(|e| (e.captured_at, &e.lineage));
    latest.map(|latest| lineage(facts, &latest.lineage)).unwrap_or_default()
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn nothing_goes_once_the_newest_proof_is_late(facts in backups(), rules in rules(), seconds in -7200i64..7200) {
        let deadline = now() + TimeDelta::seconds(seconds);
        let circumstances = Circumstances { proof_deadline: Some(deadline), ..Circumstances::default() };
        let (free, timed) = (plan(&facts, &rules, now()), under(&facts, &rules, &circumstances));
        if free.frozen.is_some() || seconds >= 0 {
            prop_assert_eq!(timed, free);
        } else {
            prop_assert_eq!(&timed.frozen, &Some(Freeze::ProofLate { deadline }));
            prop_assert!(timed.verdicts.iter().all(|v| v.action == Action::Keep));
        }
    }

    #[test]
    fn any_finding_freezes(facts in backups(), rules in rules(), findings in prop::collection::vec("[a-z]{1,9}", 0..3)) {
        let circumstances = Circumstances { findings: findings.clone(), ..Circumstances::default() };
        let (free, found) = (plan(&facts, &rules, now()), under(&facts, &rules, &circumstances));
        if free.frozen.is_some() || findings.is_empty() {
            prop_assert_eq!(found, free);
        } else {
            prop_assert_eq!(&found.frozen, &Some(Freeze::Findings(findings.clone())));
            prop_assert!(found.frozen.unwrap().to_string().contains(&findings[0]));
            prop_assert!(found.verdicts.iter().all(|v| v.action == Action::Keep));
        }
    }

    #[test]
    fn a_backup_that_shrank_freezes_until_it_is_acknowledged(
        facts in backups(), rules in rules(), percent in 1u8..100, untold in any::<u64>(),
    ) {
        let facts = with_parents(facts, untold);
        let (free, guarded) = (plan(&facts, &rules, now()), shrinking(&rules, percent));
        let entries = newest_lineage(&facts);
        // The newest against the one before it; the others only where they name that one as their parent.
        let told = |(at, pair): &(usize, &[&Facts])| *at == 0 || pair[0].parents.contains(&pair[1].id);
        let shrunk: Vec<BackupId> = entries.windows(2).enumerate().filter(told)
            .filter(|(_, pair)| collapsed(pair[1], pair[0], percent)).map(|(_, pair)| pair[0].id.clone()).collect();
        let mut circumstances = Circumstances::default();
        for id in shrunk {
            let plan = under(&facts, &guarded, &circumstances);
            if free.frozen.is_none() {
                let Some(Freeze::Shrunk { id: named, .. }) = &plan.frozen else { panic!("{id} shrank: {:?}", plan.frozen) };
                prop_assert_eq!(named, &id, "the newest that nobody has acknowledged is told");
                prop_assert!(plan.verdicts.iter().all(|v| v.action == Action::Keep));
            }
            circumstances.acked.insert(id);
        }
        prop_assert_eq!(under(&facts, &guarded, &circumstances), free, "with all acknowledged the plan is as ever");
    }

    #[test]
    fn a_freeze_by_size_lasts_however_many_small_ones_follow(count in 1usize..30, keys in 0u64..49, lost in 1usize..20) {
        let backup = |n: usize, keys: u64| {
            let captured_at = now() - TimeDelta::hours(60 - i64::try_from(n).unwrap());
            Facts {
                id: BackupId::new(captured_at, 1), lineage: "a".to_owned(), revision: 1, captured_at, standing: proven(),
                hold: None, tombstone: None, sealed_bytes: 1, keys, db_bytes: 1, parents: vec![], late: false,
            }
        };
        let facts: Vec<Facts> = (0..lost + count).map(|n| backup(n, if n < lost { 100 } else { keys })).collect();
        let rules = Rules {
            keep: Some(Default::default()), time_zone: chrono_tz::UTC, grace: Duration::ZERO, min_age: Duration::ZERO,
            max_deletions: usize::MAX, freeze_if_shrunk: Some(50),
        };
        let facts = with_parents(facts, 0);
        let freeze = under(&facts, &rules, &Circumstances::default()).frozen;
        let shrunk = Freeze::Shrunk {
            id: facts[lost].id.clone(), before: facts[lost - 1].id.clone(), what: "keys", had: 100, has: keys,
        };
        prop_assert_eq!(freeze, Some(shrunk));
    }

    #[test]
    fn what_is_dated_in_the_future_neither_freezes_nor_thaws(facts in backups(), rules in rules(), percent in 1u8..100) {
        let facts = with_parents(facts, 0);
        let rules = shrinking(&rules, percent);
        let present: Vec<Facts> = facts.iter().filter(|e| !is_future(e.captured_at)).cloned().collect();
        prop_assert_eq!(plan(&facts, &rules, now()).frozen, plan(&present, &rules, now()).frozen);
        prop_assert_eq!(newest_proven(&facts, now()), newest_proven(&present, now()));
        let newest = newest_proven(&facts, now());
        let order = |e: &Facts| (e.revision, e.captured_at, e.id.clone());
        for newer in facts.iter().filter(|e| newest.is_some_and(|n| n.lineage == e.lineage && order(e) > order(n))) {
            prop_assert!(!newer.standing.is_proven() || is_future(newer.captured_at));
        }
        prop_assert_eq!(newest.is_some(), present.iter().any(|e| e.standing.is_proven()));
    }
}

fn pair(keys: (u64, u64), db_bytes: (u64, u64)) -> Option<Freeze> {
    let backup = |hours: i64, keys, db_bytes| {
        let captured_at = now() - TimeDelta::hours(hours);
        Facts {
            id: BackupId::new(captured_at, 1),
            lineage: "a".to_owned(),
            revision: 9 - hours,
            captured_at,
            standing: proven(),
            hold: None,
            tombstone: None,
            sealed_bytes: 1,
            keys,
            db_bytes,
            parents: vec![],
            late: false,
        }
    };
    let rules = Rules {
        keep: Some(Default::default()),
        time_zone: chrono_tz::UTC,
        grace: Duration::ZERO,
        min_age: Duration::ZERO,
        max_deletions: 9,
        freeze_if_shrunk: Some(50),
    };
    plan(&[backup(1, keys.0, db_bytes.0), backup(0, keys.1, db_bytes.1)], &rules, now()).frozen
}

#[test]
fn half_of_the_keys_or_of_the_bytes_is_enough_and_less_is_not() {
    let what = |freeze: Option<Freeze>| match freeze {
        Some(Freeze::Shrunk { what, .. }) => what,
        None => "nothing",
        Some(_) => "else",
    };
    assert_eq!(what(pair((100, 50), (100, 50))), "nothing");
    assert_eq!(what(pair((100, 49), (100, 100))), "keys");
    assert_eq!(what(pair((100, 100), (100, 49))), "bytes");
    assert_eq!(what(pair((0, 0), (0, 0))), "nothing");
    assert_eq!(what(pair((1, 1_000_000), (1, u64::MAX))), "nothing", "growth is no loss");
    assert_eq!(what(pair((u64::MAX, 0), (u64::MAX, 0))), "keys");
    // By the thousand a quarter is enough; of fewer it is not, nor is a thousand of very many.
    assert_eq!(what(pair((3900, 2900), (1, 1))), "keys");
    assert_eq!(what(pair((3900, 2901), (1, 1))), "nothing");
    assert_eq!(what(pair((40_000, 30_000), (1, 1))), "nothing");
    assert_eq!(what(pair((40_000, 29_999), (1, 1))), "keys");
    let said = pair((100, 49), (1, 1)).unwrap().to_string();
    for words in ["has 49 keys where", "had 100", "nobody has accepted that: lifeboat ack"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn every_freeze_has_one_of_the_names() {
    let (id, at) = (BackupId::new(now(), 1), now());
    let all = [
        Freeze::NoKeep,
        Freeze::NothingProven,
        Freeze::ClockAhead { newest: at, now: at },
        Freeze::ProofLate { deadline: at },
        Freeze::Findings(vec![]),
        Freeze::Shrunk { id: id.clone(), before: id, what: "keys", had: 1, has: 0 },
        Freeze::TooMany { planned: 1, max: 0 },
    ];
    assert_eq!(all.map(|freeze| freeze.as_str()), Freeze::NAMES);
}
