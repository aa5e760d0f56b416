//! The invariants of retention, for random backups under random rules.

use crate::world::*;
use chrono::{Datelike, TimeDelta, Timelike};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Action, Facts, Freeze, Keep, Reason, Rules};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn loosened(rules: &Rules, more: &Keep, min_age: Duration) -> Rules {
    let keep = rules.keep.as_ref().unwrap();
    let keep = Keep {
        last: keep.last + more.last,
        hourly: keep.hourly + more.hourly,
        daily: keep.daily + more.daily,
        weekly: keep.weekly + more.weekly,
        monthly: keep.monthly + more.monthly,
        quarterly: keep.quarterly + more.quarterly,
        yearly: keep.yearly + more.yearly,
        within: keep.within.max(more.within),
        within_hourly: keep.within_hourly.max(more.within_hourly),
        within_daily: keep.within_daily.max(more.within_daily),
        within_weekly: keep.within_weekly.max(more.within_weekly),
        within_monthly: keep.within_monthly.max(more.within_monthly),
        within_quarterly: keep.within_quarterly.max(more.within_quarterly),
        within_yearly: keep.within_yearly.max(more.within_yearly),
        min_proven: keep.min_proven + more.min_proven,
        budget: None,
    };
    Rules { keep: Some(keep), min_age: rules.min_age + min_age, ..rules.clone() }
}

fn hour(entry: &Facts, zone: chrono_tz::Tz) -> i64 {
    let civil = entry.captured_at.with_timezone(&zone);
    entry.captured_at.timestamp() - i64::from(civil.minute() * 60 + civil.second())
}

/// Whether they share any bucket but perhaps that of the hour, which lies within that of the day.
fn shares_a_bucket(a: &Facts, b: &Facts, zone: chrono_tz::Tz) -> bool {
    let (a, b) = (a.captured_at.with_timezone(&zone), b.captured_at.with_timezone(&zone));
    a.year() == b.year() || a.iso_week() == b.iso_week()
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
        prop_assert_eq!(&no_keep.frozen, &Some(Freeze::NoKeep));
        facts.iter_mut().filter(|e| e.standing.is_proven() && !is_future(e.captured_at)).for_each(|e| e.standing = unproven());
        let unproven = plan(&facts, &rules, now());
        prop_assert_eq!(&unproven.frozen, &Some(Freeze::NothingProven));
        for plan in [no_keep, unproven] {
            let freeze = plan.frozen.unwrap();
            prop_assert!(plan.verdicts.iter().all(|v| v.action == Action::Keep && v.reasons == [Reason::Frozen(freeze.clone())]));
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
            prop_assert_eq!(&bounded.frozen, &Some(Freeze::TooMany { planned, max }));
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
        prop_assert_eq!(&with.frozen, &without.frozen);
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
    fn a_newer_backup_of_the_same_hour_takes_nobody_elses_place(facts in backups(), mut rules in rules(), minutes in 0i64..60) {
        // Rules that count from the newest backup, or count backups, are about exactly that: they are left out.
        let keep = rules.keep.as_mut().unwrap();
        *keep = Keep {
            hourly: keep.hourly, daily: keep.daily, weekly: keep.weekly, monthly: keep.monthly, quarterly: keep.quarterly,
            yearly: keep.yearly, min_proven: 0, ..Keep::default()
        };
        let before = plan(&facts, &rules, now());
        let newest = lineage(&facts, "a").first().map(|newest| (*newest).clone());
        if let (Some(newest), None) = (newest, &before.frozen) {
            let captured_at = newest.captured_at + TimeDelta::minutes(minutes);
            let id = BackupId::new(captured_at, u64::MAX);
            let newer = Facts { id, captured_at, revision: newest.revision + 1, hold: None, tombstone: None, ..newest.clone() };
            let zone = rules.time_zone;
            if hour(&newer, zone) == hour(&newest, zone) {
                let after = plan(&[facts.clone(), vec![newer]].concat(), &rules, now());
                for entry in lineage(&facts, "a").iter().filter(|e| !shares_a_bucket(e, &newest, zone)) {
                    prop_assert!(!is_kept(&before, &entry.id) || is_kept(&after, &entry.id), "{entry:?}");
                }
            }
        }
    }

    #[test]
    fn a_rule_with_a_span_keeps_one_of_each_day_that_it_touches_where_all_is_proven(
        mut facts in backups(), hours in 1u64..3000, zone in zones(),
    ) {
        facts.iter_mut().for_each(|e| {
            (e.standing, e.hold, e.lineage) = (proven(), None, "a".to_owned());
        });
        let span = Duration::from_secs(hours * HOUR);
        let keep = Keep { within_daily: Some(span), min_proven: 0, ..Keep::default() };
        let rules = Rules {
            keep: Some(keep), time_zone: zone, grace: Duration::ZERO, min_age: Duration::ZERO, max_deletions: usize::MAX,
            freeze_if_shrunk: None,
        };
        let plan = plan(&facts, &rules, now());
        if plan.frozen.is_none() {
            let day = |e: &&&Facts| e.captured_at.with_timezone(&zone).date_naive();
            let entries = lineage(&facts, "a");
            for entry in &entries {
                // Its day's newest, in the order of revisions.
                let best = entries.iter().find(|other| day(other) == day(&entry)).unwrap();
                let start = entries[0].captured_at.with_timezone(&zone).naive_local() - TimeDelta::from_std(span).unwrap();
                let rule_keeps = best.id == entry.id && day(&entry) >= start.date();
                prop_assert_eq!(is_kept(&plan, &entry.id), rule_keeps || entry.id == entries[0].id || entry.captured_at > now());
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
    fn what_no_rule_keeps_no_rule_keeps_again_once_others_are_gone(facts in backups(), rules in rules(), split in any::<u64>()) {
        let first = plan(&facts, &rules, now());
        let left = apply(&facts, &half(&first, split));
        let second = plan(&left, &rules, now());
        for entry in &left {
            prop_assert_eq!(is_kept(&first, &entry.id), is_kept(&second, &entry.id), "{:?}", entry);
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
        let second = plan(&apply(&facts, &half(&first, split)), &rules, now());
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
            freeze_if_shrunk: None,
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
