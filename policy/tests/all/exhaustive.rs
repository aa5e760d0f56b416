//! Every set of up to six backups over a small grid, under every small rule, against a slow and plain second opinion. Without
//! optimisation that is minutes, so there only up to four, unless more cases than usual are asked for.

use crate::world::{failed, now, plan, proven, thorough, unproven};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Standing;
use lifeboat_policy::retention::{Action, Facts, Keep, Rules};
use std::collections::BTreeSet;
use std::time::Duration;

/// Minutes before now (a Sunday noon): now, half an hour ago, the day before, another week, month and quarter.
const AGES_MINUTES: [i64; 4] = [0, 30, 26 * 60, 25 * 1440];

fn kinds() -> Vec<(i64, Standing)> {
    let standings = [proven(), unproven(), failed()];
    AGES_MINUTES.iter().flat_map(|age| standings.iter().map(move |s| (*age, *s))).collect()
}

fn backup(index: usize, (age, standing): (i64, Standing)) -> Facts {
    let captured_at = now() - TimeDelta::minutes(age);
    let index = u64::try_from(index).unwrap();
    Facts {
        id: BackupId::new(captured_at, index),
        lineage: "a".to_owned(),
        revision: 1_000_000 - age,
        captured_at,
        standing,
        hold: None,
        tombstone: None,
        sealed_bytes: 1,
        keys: 1,
        db_bytes: 1,
        parents: vec![],
        late: false,
    }
}

/// All non-decreasing choices of `count` kinds: every multiset once.
fn multisets(count: usize, kinds: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![vec![]],
        _ => multisets(count - 1, kinds)
            .into_iter()
            .flat_map(|rest| {
                let from = rest.last().copied().unwrap_or(0);
                (from..kinds).map(move |next| [rest.clone(), vec![next]].concat())
            })
            .collect(),
    }
}

fn small_rules() -> Vec<Rules> {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    let half_hour = Some(Duration::from_secs(1800));
    let mut all = vec![];
    for (last, hourly, daily) in (0..12).map(|n| (n % 2 * 2, n / 2 % 2 * 2, n / 4)) {
        for (weekly, within, min_proven) in [(0, None, 0), (1, None, 2), (2, hours(27), 0), (0, half_hour, 1)] {
            let plain = Keep { last, hourly, daily, weekly, within, min_proven, ..Keep::default() };
            let spans = Keep { quarterly: 2, within_hourly: half_hour, within_daily: hours(27), ..plain.clone() };
            let tight = Keep { monthly: 1, within_weekly: hours(700), budget: Some(3), ..plain.clone() };
            all.extend([plain, spans, tight].map(|keep| Rules {
                keep: Some(keep),
                time_zone: chrono_tz::UTC,
                grace: Duration::from_secs(3600),
                min_age: Duration::ZERO,
                max_deletions: 100,
                freeze_if_shrunk: None,
            }));
        }
    }
    all
}

/// Numbers that count up from hour to hour, day to day, Monday to Monday (UTC; 1970 began on a Thursday).
type Bucket = fn(DateTime<Utc>) -> i64;

fn rank(entry: &Facts) -> u32 {
    if entry.standing.is_proven() { 2 } else { u32::from(!entry.standing.is_failed()) }
}

/// Whether `entry` stands for its bucket.
fn is_best(entry: &Facts, newest_first: &[Facts], bucket: Bucket) -> bool {
    let same: Vec<&Facts> =
        newest_first.iter().filter(|e| bucket(e.captured_at) == bucket(entry.captured_at)).collect();
    let best_rank = same.iter().map(|e| rank(e)).max().unwrap();
    same.iter().find(|e| rank(e) == best_rank).unwrap().id == entry.id
}

/// Whether a rule over buckets keeps `entry`: said in the words of the documentation, one entry at a time.
fn bucket_keeps(entry: &Facts, newest_first: &[Facts], count: u32, bucket: Bucket) -> bool {
    let counted = |least: u32| {
        let place = newest_first
            .iter()
            .filter(|e| rank(e) >= least)
            .position(|e| bucket(e.captured_at) == bucket(entry.captured_at));
        place.is_some_and(|place| {
            let newer: BTreeSet<i64> =
                newest_first.iter().filter(|e| rank(e) >= least).take(place).map(|e| bucket(e.captured_at)).collect();
            newer.len() < usize::try_from(count).unwrap()
        })
    };
    count > 0 && is_best(entry, newest_first, bucket) && (counted(2) || counted(1) || counted(0))
}

fn is_guarded(place: usize, newest_first: &[Facts], keep: &Keep) -> bool {
    let entry = &newest_first[place];
    let newer_proven = newest_first[..place].iter().filter(|e| e.standing.is_proven()).count();
    // Newer than all proofs: the newest proven itself, or one that may still be proven.
    let up_to_the_proof = newer_proven == 0 && !entry.standing.is_failed();
    let floor = entry.standing.is_proven() && newer_proven < usize::try_from(keep.min_proven).unwrap();
    place == 0 || up_to_the_proof || floor
}

fn a_rule_keeps(place: usize, newest_first: &[Facts], keep: &Keep) -> bool {
    let (entry, newer) = (&newest_first[place], &newest_first[..place]);
    let in_last = |counted: fn(&Facts) -> bool| {
        counted(entry) && newer.iter().filter(|e| counted(e)).count() < usize::try_from(keep.last).unwrap()
    };
    let newest = newest_first[0].captured_at;
    let ago = |span: Duration| newest - TimeDelta::from_std(span).unwrap();
    // October is the tenth month and the first of its quarter; the grid reaches back into September.
    let periods: [(u32, Option<Duration>, Bucket); 5] = [
        (keep.hourly, keep.within_hourly, |at| at.timestamp() / 3600),
        (keep.daily, keep.within_daily, |at| at.timestamp() / 86_400),
        (keep.weekly, keep.within_weekly, |at| (at.timestamp() / 86_400 + 3) / 7),
        (keep.monthly, None, |at| i64::from(at.month())),
        (keep.quarterly, None, |at| i64::from(at.month() > 9)),
    ];
    let by_period = |(count, span, bucket): &(u32, Option<Duration>, Bucket)| {
        bucket_keeps(entry, newest_first, *count, *bucket)
            || (span.is_some_and(|span| bucket(ago(span)) <= bucket(entry.captured_at))
                && is_best(entry, newest_first, *bucket))
    };
    keep.within.is_some_and(|span| ago(span) < entry.captured_at)
        || in_last(|_| true)
        || in_last(|e| !e.standing.is_failed())
        || in_last(|e| e.standing.is_proven())
        || periods.iter().any(by_period)
}

/// For each entry, whether it stays.
fn should_stay(newest_first: &[Facts], keep: &Keep) -> Vec<bool> {
    let places = 0..newest_first.len();
    let mut stays: Vec<bool> = places.clone().map(|place| is_guarded(place, newest_first, keep)).collect();
    let mut by_rule: Vec<usize> =
        places.filter(|place| !stays[*place] && a_rule_keeps(*place, newest_first, keep)).collect();
    // Each is one byte. The worst goes first, of equals the oldest, which is the last.
    by_rule.sort_by_key(|place| (std::cmp::Reverse(rank(&newest_first[*place])), *place));
    let guarded = stays.iter().filter(|stays| **stays).count();
    let room = keep.budget.map_or(usize::MAX, |budget| usize::try_from(budget).unwrap().saturating_sub(guarded));
    by_rule.into_iter().take(room).for_each(|place| stays[place] = true);
    stays
}

fn compare(chosen: &[usize], kinds: &[(i64, Standing)], rules: &[Rules]) {
    let mut facts: Vec<Facts> = chosen.iter().enumerate().map(|(i, kind)| backup(i, kinds[*kind])).collect();
    facts.sort_by(|a, b| (b.revision, &b.id).cmp(&(a.revision, &a.id)));
    let any_proven = facts.iter().any(|e| e.standing.is_proven());
    for rules in rules {
        let plan = plan(&facts, rules, now());
        assert_eq!(plan.frozen.is_none(), any_proven);
        assert!(plan.verdicts.iter().map(|verdict| &verdict.id).eq(facts.iter().map(|entry| &entry.id)));
        let stays: Vec<bool> = plan.verdicts.iter().map(|verdict| verdict.action == Action::Keep).collect();
        let should = match any_proven {
            true => should_stay(&facts, rules.keep.as_ref().unwrap()),
            false => vec![true; facts.len()],
        };
        assert_eq!(stays, should, "{facts:#?}\nunder {rules:#?}: {plan:#?}");
    }
}

#[test]
fn every_small_world_is_planned_as_the_documentation_says() {
    let all = !cfg!(debug_assertions) || thorough();
    let (most, worlds) = if all { (6, 18_564) } else { (4, 1820) };
    let (kinds, rules) = (kinds(), small_rules());
    let chosen: Vec<_> = (0..=most).flat_map(|count| multisets(count, kinds.len())).collect();
    assert_eq!((chosen.len(), rules.len()), (worlds, 144), "all multisets of 12 kinds, under all rules");
    std::thread::scope(|scope| {
        for part in chosen.chunks(worlds.div_ceil(4)) {
            scope.spawn(|| part.iter().for_each(|chosen| compare(chosen, &kinds, &rules)));
        }
    });
}
