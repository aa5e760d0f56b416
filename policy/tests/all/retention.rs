//! The invariants of retention, for random backups under random rules.

use crate::world::*;
use chrono::TimeDelta;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Action, Facts, Freeze, Keep, Plan, Reason, Rules, plan};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn dropped(plan: &Plan) -> BTreeSet<BackupId> {
    plan.verdicts.iter().filter(|v| v.action != Action::Keep).map(|v| v.id.clone()).collect()
}

fn kept(plan: &Plan) -> BTreeSet<BackupId> {
    plan.kept().map(|v| v.id.clone()).collect()
}

fn loosened(rules: &Rules, more: &Keep, min_age: Duration) -> Rules {
    let keep = rules.keep.as_ref().unwrap();
    let keep = Keep {
        last: keep.last + more.last,
        hourly: keep.hourly + more.hourly,
        daily: keep.daily + more.daily,
        weekly: keep.weekly + more.weekly,
        monthly: keep.monthly + more.monthly,
        yearly: keep.yearly + more.yearly,
        within: keep.within.max(more.within),
        min_proven: keep.min_proven + more.min_proven,
    };
    Rules { keep: Some(keep), min_age: rules.min_age + min_age, ..rules.clone() }
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn the_newest_and_the_newest_proven_stay(facts in backups(), rules in rules()) {
        let plan = plan(&facts, &rules, now());
        for name in ["a", "b"] {
            let entries = lineage(&facts, name);
            let proven: Vec<_> = entries.iter().filter(|e| e.standing.is_proven()).collect();
            for stays in entries.first().into_iter().chain(proven.first().copied()) {
                prop_assert!(is_kept(&plan, &stays.id), "{stays:?}");
            }
            let floor = usize::try_from(rules.keep.as_ref().unwrap().min_proven).unwrap();
            prop_assert!(proven.iter().take(floor).all(|e| is_kept(&plan, &e.id)));
            if proven.is_empty() {
                prop_assert!(entries.iter().all(|e| is_kept(&plan, &e.id)), "nothing of a lineage without a proof goes");
            }
        }
    }

    #[test]
    fn while_nothing_is_proven_or_no_keep_is_configured_nothing_goes(mut facts in backups(), rules in rules()) {
        let no_keep = plan(&facts, &Rules { keep: None, ..rules.clone() }, now());
        prop_assert_eq!(no_keep.frozen, Some(Freeze::NoKeep));
        facts.iter_mut().filter(|e| e.standing.is_proven() && !is_future(e.captured_at)).for_each(|e| e.standing = unproven());
        let unproven = plan(&facts, &rules, now());
        prop_assert_eq!(unproven.frozen, Some(Freeze::NothingProven));
        for plan in [no_keep, unproven] {
            let freeze = plan.frozen.unwrap();
            prop_assert!(plan.verdicts.iter().all(|v| v.action == Action::Keep && v.reasons == [Reason::Frozen(freeze)]));
        }
    }

    #[test]
    fn the_young_the_held_and_the_possibly_proven_stay(facts in backups(), rules in rules()) {
        let plan = plan(&facts, &rules, now());
        for entry in &facts {
            let age = now() - entry.captured_at;
            let young = age < TimeDelta::from_std(rules.min_age).unwrap();
            let entries = lineage(&facts, &entry.lineage);
            let newer_than_proof = entries.iter().take_while(|e| !e.standing.is_proven()).any(|e| e.id == entry.id);
            if young || entry.hold.is_some() || is_future(entry.captured_at) {
                prop_assert!(is_kept(&plan, &entry.id), "{entry:?}");
            }
            if newer_than_proof && entry.standing.may_be_proven() {
                prop_assert!(is_kept(&plan, &entry.id), "{entry:?}");
            }
        }
    }

    #[test]
    fn a_plan_over_its_ceiling_is_refused_whole(facts in backups(), rules in rules(), max in 0usize..10) {
        let free = plan(&facts, &rules, now());
        let planned = free.marked().count() + free.deleted().count();
        let bounded = plan(&facts, &Rules { max_deletions: max, ..rules }, now());
        if planned > max {
            prop_assert_eq!(bounded.frozen, Some(Freeze::TooMany { planned, max }));
            prop_assert!(dropped(&bounded).is_empty());
        } else {
            prop_assert_eq!(bounded, free);
        }
    }

    #[test]
    fn every_backup_has_exactly_one_verdict_and_a_reason(facts in backups(), rules in rules()) {
        let plan = plan(&facts, &rules, now());
        let ids: BTreeSet<BackupId> = facts.iter().map(|e| e.id.clone()).collect();
        prop_assert_eq!(plan.verdicts.len(), ids.len());
        prop_assert_eq!(plan.verdicts.iter().map(|v| v.id.clone()).collect::<BTreeSet<_>>(), ids);
        for verdict in &plan.verdicts {
            let says_why_it_goes = verdict.reasons.iter().any(|r| matches!(r, Reason::NoRule | Reason::GraceOver));
            prop_assert_eq!(verdict.action != Action::Keep, says_why_it_goes);
            prop_assert!(!verdict.reasons.is_empty() && verdict.reasons.iter().all(|r| !r.to_string().is_empty()));
        }
        let by_id: BTreeMap<_, _> = facts.iter().map(|e| (e.id.clone(), e)).collect();
        for pair in plan.verdicts.windows(2) {
            let (newer, older) = (by_id[&pair[0].id], by_id[&pair[1].id]);
            if newer.lineage == older.lineage {
                prop_assert!((newer.revision, newer.captured_at) >= (older.revision, older.captured_at));
            }
        }
    }

    #[test]
    fn order_and_duplicates_do_not_matter(
        (facts, shuffled) in backups().prop_flat_map(|f| (Just(f.clone()), Just([f.clone(), f].concat()).prop_shuffle())),
        rules in rules(),
    ) {
        prop_assert_eq!(plan(&facts, &rules, now()), plan(&shuffled, &rules, now()));
    }

    #[test]
    fn carried_out_and_planned_again_nothing_new_goes(facts in backups(), rules in rules()) {
        let first = plan(&facts, &rules, now());
        let second = plan(&apply(&facts, &first), &rules, now());
        prop_assert!(dropped(&second).is_subset(&dropped(&first)));
        prop_assert_eq!(second.marked().count(), 0);
        prop_assert!(kept(&first).is_subset(&kept(&second)));
    }

    #[test]
    fn a_looser_rule_keeps_all_that_the_tighter_one_kept(
        facts in backups(), rules in rules(), more in keeps(), hours in 0u64..50,
    ) {
        let tight = plan(&facts, &rules, now());
        let loose = plan(&facts, &loosened(&rules, &more, Duration::from_secs(hours * HOUR)), now());
        if tight.frozen.is_none() {
            prop_assert!(kept(&tight).is_subset(&kept(&loose)));
        }
    }

    #[test]
    fn entries_dated_in_the_future_change_no_verdict_on_others(facts in backups(), rules in rules()) {
        let present: Vec<Facts> = facts.iter().filter(|e| !is_future(e.captured_at)).cloned().collect();
        let (with, without) = (plan(&facts, &rules, now()), plan(&present, &rules, now()));
        prop_assert_eq!(with.frozen, without.frozen);
        for verdict in &without.verdicts {
            prop_assert_eq!(with.verdict(&verdict.id), Some(verdict));
        }
    }

    #[test]
    fn lineages_are_pruned_apart(facts in backups(), rules in rules()) {
        let of_a: Vec<Facts> = facts.iter().filter(|e| e.lineage == "a").cloned().collect();
        let (both, alone) = (plan(&facts, &rules, now()), plan(&of_a, &rules, now()));
        if both.frozen.is_none() && alone.frozen.is_none() {
            for verdict in &alone.verdicts {
                prop_assert_eq!(both.verdict(&verdict.id), Some(verdict));
            }
        }
    }

    #[test]
    fn nothing_is_deleted_before_its_tombstone_and_the_grace(facts in backups(), rules in rules()) {
        let plan = plan(&facts, &rules, now());
        let grace = TimeDelta::from_std(rules.grace).unwrap();
        for entry in &facts {
            let due = entry.tombstone.map(|t| t.deletable_from.max(t.at + grace));
            match (plan.verdict(&entry.id).unwrap().action, due) {
                (Action::Keep, _) => {}
                (Action::Mark { deletable_from }, None) => prop_assert_eq!(deletable_from, now() + grace),
                (Action::Wait { deletable_from }, Some(due)) => prop_assert!(deletable_from == due && now() < due),
                (Action::Delete, Some(due)) => prop_assert!(due <= now()),
                (action, due) => prop_assert!(false, "{:?} with a tombstone due {:?}", action, due),
            }
        }
    }

    #[test]
    fn a_marked_backup_that_a_rule_keeps_says_so(facts in backups(), rules in rules()) {
        let plan = plan(&facts, &rules, now());
        if plan.frozen.is_none() {
            for entry in &facts {
                let verdict = plan.verdict(&entry.id).unwrap();
                let again = verdict.action == Action::Keep && entry.tombstone.is_some();
                prop_assert_eq!(verdict.reasons.contains(&Reason::KeptAgain), again);
            }
        }
    }

    #[test]
    fn failed_and_unproven_backups_displace_no_proven_one(facts in backups(), rules in rules()) {
        // Without the others, but for each lineage's newest, from which `within` counts.
        let newest: BTreeSet<BackupId> =
            ["a", "b"].iter().filter_map(|name| lineage(&facts, name).first().map(|e| e.id.clone())).collect();
        let alone: Vec<Facts> =
            facts.iter().filter(|e| e.standing.is_proven() || newest.contains(&e.id)).cloned().collect();
        let (with, without) = (plan(&facts, &rules, now()), plan(&alone, &rules, now()));
        for entry in alone.iter().filter(|e| e.standing.is_proven()) {
            prop_assert!(is_kept(&with, &entry.id) || !is_kept(&without, &entry.id), "{entry:?}");
        }
    }

    #[test]
    fn two_pruners_in_turn_delete_no_more_than_one_would(facts in backups(), rules in rules(), split in any::<u64>()) {
        // The first is stopped half-way, at a point of its own choosing; the second sees what is left and plans afresh.
        let first = plan(&facts, &rules, now());
        let done = first.verdicts.iter().enumerate().filter(|(i, _)| split >> (i % 64) & 1 == 1).map(|(_, v)| v.clone());
        let mut half = first.clone();
        let done: BTreeSet<BackupId> = done.map(|v| v.id).collect();
        half.verdicts.iter_mut().filter(|v| !done.contains(&v.id)).for_each(|v| v.action = Action::Keep);
        let second = plan(&apply(&facts, &half), &rules, now());
        prop_assert!(dropped(&second).is_subset(&dropped(&first)));
    }

    #[test]
    fn rules_keep_no_more_than_they_say_where_all_is_proven(mut facts in backups(), daily in 1u32..8, zone in zones()) {
        facts.iter_mut().for_each(|e| {
            e.standing = proven();
            e.hold = None;
            e.lineage = "a".to_owned();
        });
        let keep = Keep { daily, min_proven: 0, ..Keep::default() };
        let rules = Rules {
            keep: Some(keep), time_zone: zone, grace: Duration::ZERO, min_age: Duration::ZERO, max_deletions: usize::MAX,
        };
        let plan = plan(&facts, &rules, now());
        if plan.frozen.is_none() {
            let reasons = plan.kept().flat_map(|v| &v.reasons);
            let days: Vec<String> = reasons.filter(|r| r.group() == "daily").map(Reason::to_string).collect();
            let distinct: BTreeSet<&String> = days.iter().collect();
            prop_assert_eq!(days.len(), distinct.len(), "one backup a day");
            let entries = lineage(&facts, "a");
            let all_days: BTreeSet<_> = entries.iter().map(|e| e.captured_at.with_timezone(&zone).date_naive()).collect();
            prop_assert_eq!(days.len(), all_days.len().min(usize::try_from(daily).unwrap()));
        }
    }
}
