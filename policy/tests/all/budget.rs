//! The byte budget: what it may take, in which order, and that it comes to rest.

use crate::world::*;
use chrono::TimeDelta;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Action, Facts, Keep, Reason, Rules, TombstoneFact};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn with_budget(rules: &Rules, budget: u64) -> Rules {
    let keep = Keep { budget: Some(budget), ..rules.keep.clone().unwrap() };
    Rules { keep: Some(keep), ..rules.clone() }
}

fn bytes<'a>(facts: &'a [Facts], ids: &BTreeSet<BackupId>) -> u64 {
    let distinct: std::collections::BTreeMap<&BackupId, &'a Facts> = facts.iter().map(|e| (&e.id, e)).collect();
    distinct.into_iter().filter(|(id, _)| ids.contains(id)).map(|(_, entry)| entry.sealed_bytes).sum()
}

/// What stays whatever the rules are: kept although none is there.
fn guarded(facts: &[Facts], rules: &Rules) -> BTreeSet<BackupId> {
    let min_proven = rules.keep.as_ref().unwrap().min_proven;
    let none = Rules { keep: Some(Keep { min_proven, ..Keep::default() }), ..rules.clone() };
    kept(&plan(facts, &none, now()))
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn a_budget_takes_from_the_rules_and_never_from_the_guarded(facts in backups(), rules in rules(), budget in 0u64..900) {
        let (free, tight) = (plan(&facts, &rules, now()), plan(&facts, &with_budget(&rules, budget), now()));
        if free.frozen.is_none() {
            let guarded = guarded(&facts, &rules);
            prop_assert!(kept(&tight).is_subset(&kept(&free)));
            prop_assert!(guarded.is_subset(&kept(&tight)));
            let over = tight.over_budget.map(|over| (over.guarded_bytes, over.budget));
            let least = bytes(&facts, &guarded);
            prop_assert_eq!(over, (least > budget).then_some((least, budget)), "a warning where nothing can be done");
            prop_assert!(bytes(&facts, &kept(&tight)) <= budget.max(least), "and else it is kept");
            for verdict in &tight.verdicts {
                let given_up = verdict.action != Action::Keep && is_kept(&free, &verdict.id);
                prop_assert_eq!(verdict.reasons.contains(&Reason::OverBudget), given_up);
            }
        }
    }

    #[test]
    fn a_bigger_budget_keeps_all_that_a_smaller_one_kept(facts in backups(), rules in rules(), budget in 0u64..900, more in 0u64..300) {
        let small = plan(&facts, &with_budget(&rules, budget), now());
        let big = plan(&facts, &with_budget(&rules, budget + more), now());
        prop_assert!(kept(&small).is_subset(&kept(&big)));
        let all = plan(&facts, &with_budget(&rules, u64::MAX), now());
        prop_assert_eq!(all, plan(&facts, &rules, now()), "one that suffices changes nothing");
    }

    #[test]
    fn the_failed_go_before_the_unproven_before_the_proven_and_the_old_before_the_new(
        facts in backups(), rules in rules(), budget in 0u64..900,
    ) {
        let tight = plan(&facts, &with_budget(&rules, budget), now());
        let guarded = guarded(&facts, &rules);
        let rank = |e: &Facts| if e.standing.is_proven() { 2 } else { u8::from(!e.standing.is_failed()) };
        for name in ["a", "b"] {
            let entries = lineage(&facts, name);
            let over = |e: &&&Facts| tight.verdict(&e.id).unwrap().reasons.contains(&Reason::OverBudget);
            for (at, gone) in entries.iter().enumerate().filter(|(_, e)| over(e)) {
                let worse = entries.iter().enumerate().filter(|(i, e)| rank(e) < rank(gone) || (rank(e) == rank(gone) && *i > at));
                for (_, worse) in worse {
                    prop_assert!(!is_kept(&tight, &worse.id) || guarded.contains(&worse.id), "{gone:?} went before {worse:?}");
                }
            }
        }
    }

    #[test]
    fn carried_out_wholly_or_in_part_nothing_new_goes(
        facts in backups(), rules in rules(), budget in 0u64..900, split in any::<u64>(), steps in 1usize..4,
    ) {
        let rules = with_budget(&rules, budget);
        let first = plan(&facts, &rules, now());
        let all = plan(&apply(&facts, &first), &rules, now());
        prop_assert!(dropped(&all).is_subset(&dropped(&first)) && kept(&first).is_subset(&kept(&all)));
        prop_assert_eq!(all.marked().count(), 0);
        // Cut off again and again, at other points each time.
        let mut left = facts;
        for step in 0..steps {
            let again = plan(&left, &rules, now());
            prop_assert!(dropped(&again).is_subset(&dropped(&first)));
            left = apply(&left, &half(&again, split.rotate_left(u32::try_from(step).unwrap() * 7)));
        }
        prop_assert!(dropped(&plan(&left, &rules, now())).is_subset(&dropped(&first)));
    }

    #[test]
    fn order_and_duplicates_do_not_matter_to_it(
        (facts, shuffled) in backups().prop_flat_map(|f| (Just(f.clone()), Just([f.clone(), f].concat()).prop_shuffle())),
        rules in rules(), budget in 0u64..900,
    ) {
        let rules = with_budget(&rules, budget);
        prop_assert_eq!(plan(&facts, &rules, now()), plan(&shuffled, &rules, now()));
    }

    #[test]
    fn what_waits_for_others_is_deleted_once_they_are_gone(facts in backups(), rules in rules(), budget in 0u64..900) {
        let rules = with_budget(&rules, budget);
        let first = plan(&facts, &rules, now());
        // Long after, with every grace over and nothing new: each round does all that is due.
        let mut left = apply(&facts, &first);
        for entry in left.iter_mut().filter(|e| dropped(&first).contains(&e.id)) {
            let tombstone = entry.tombstone.as_mut().unwrap();
            (tombstone.at, tombstone.deletable_from) = (now() - TimeDelta::days(9), now());
        }
        for _ in 0..=left.len() {
            left = apply(&left, &plan(&left, &rules, now()));
        }
        let last = plan(&left, &rules, now());
        prop_assert!(dropped(&last).is_empty(), "{last:?}");
    }
}

/// Where a clock lied, what is older by the calendar may be newer by its revision. Deleting `given_up` at once would let
/// `lied` stand for a third day, and that would push `kept` over the budget, which nothing had given up before.
#[test]
fn what_is_over_budget_goes_after_the_marked_one_that_would_take_its_place() {
    let backup = |days: i64, revision: i64, sealed_bytes: u64, tombstone: Option<i64>| {
        let captured_at = now() - TimeDelta::days(days);
        let hours_ago = |hours: i64| now() - TimeDelta::hours(hours);
        Facts {
            id: BackupId::new(captured_at, 1),
            lineage: "a".to_owned(),
            revision,
            captured_at,
            standing: proven(),
            hold: None,
            tombstone: tombstone.map(|hours| TombstoneFact {
                asked: false,
                at: hours_ago(hours),
                deletable_from: hours_ago(hours - 24),
            }),
            sealed_bytes,
            keys: 1,
            db_bytes: 1,
            parents: vec![],
            late: false,
        }
    };
    let (newest, kept, given_up, lied) =
        (backup(0, 100, 1, None), backup(1, 90, 2, None), backup(2, 80, 2, Some(30)), backup(9, 95, 2, Some(3)));
    let rules = Rules {
        keep: Some(Keep { daily: 3, min_proven: 0, budget: Some(3), ..Keep::default() }),
        time_zone: chrono_tz::UTC,
        grace: Duration::from_secs(24 * HOUR),
        min_age: Duration::ZERO,
        max_deletions: 9,
        freeze_if_shrunk: None,
    };
    let with_lied = plan(&[newest.clone(), kept.clone(), given_up.clone(), lied.clone()], &rules, now());
    assert!(is_kept(&with_lied, &kept.id) && !is_kept(&with_lied, &lied.id));
    let waits = with_lied.verdict(&given_up.id).unwrap();
    assert_eq!(waits.reasons, [Reason::OverBudget, Reason::AfterOthers]);
    assert!(matches!(waits.action, Action::Wait { .. }));
    let without_given_up = plan(&[newest.clone(), kept.clone(), lied], &rules, now());
    assert!(!is_kept(&without_given_up, &kept.id), "this is what must not happen");
    let without_lied = plan(&[newest, kept, given_up.clone()], &rules, now());
    assert_eq!(without_lied.verdict(&given_up.id).unwrap().action, Action::Delete);
}
