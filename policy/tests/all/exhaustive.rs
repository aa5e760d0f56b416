//! Every set of up to four backups over a small grid, under every small rule, against a slow and plain second opinion.

use crate::world::{failed, now, proven, unproven};
use chrono::TimeDelta;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Standing;
use lifeboat_policy::retention::{Action, Facts, Keep, Rules, plan};
use std::collections::BTreeSet;
use std::time::Duration;

/// Hours before now (a Sunday noon): the same hour's half, the same day, the day before, the week before.
const AGES_MINUTES: [i64; 4] = [0, 30, 26 * 60, 9 * 1440];

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
    let mut all = vec![];
    for (last, hourly, daily) in (0..12).map(|n| (n % 2 * 2, n / 2 % 2 * 2, n / 4)) {
        for (weekly, within, min_proven) in [(0, None, 0), (1, None, 2), (2, Some(27 * 3600), 0), (0, Some(1800), 1)] {
            let within = within.map(Duration::from_secs);
            let keep = Keep { last, hourly, daily, weekly, within, min_proven, ..Keep::default() };
            all.push(Rules {
                keep: Some(keep),
                time_zone: chrono_tz::UTC,
                grace: Duration::from_secs(3600),
                min_age: Duration::ZERO,
                max_deletions: 100,
            });
        }
    }
    all
}

/// Numbers that count up from hour to hour, day to day, Monday to Monday (UTC; 1970 began on a Thursday).
type Bucket = fn(&Facts) -> i64;

/// Whether a rule over buckets keeps `entry`: said in the words of the documentation, one entry at a time.
fn bucket_keeps(entry: &Facts, newest_first: &[Facts], count: u32, bucket: Bucket) -> bool {
    let rank = |e: &Facts| {
        if e.standing.is_proven() { 2 } else { u32::from(!e.standing.is_failed()) }
    };
    let same: Vec<&Facts> = newest_first.iter().filter(|e| bucket(e) == bucket(entry)).collect();
    let best_rank = same.iter().map(|e| rank(e)).max().unwrap();
    let best = same.iter().find(|e| rank(e) == best_rank).unwrap();
    let counted = |least: u32| {
        let place = newest_first.iter().filter(|e| rank(e) >= least).position(|e| bucket(e) == bucket(entry));
        place.is_some_and(|place| {
            let newer: BTreeSet<i64> =
                newest_first.iter().filter(|e| rank(e) >= least).take(place).map(bucket).collect();
            newer.len() < usize::try_from(count).unwrap()
        })
    };
    best.id == entry.id && (counted(2) || counted(1) || counted(0))
}

fn should_stay(entry: &Facts, newest_first: &[Facts], keep: &Keep) -> bool {
    let place = newest_first.iter().position(|e| e.id == entry.id).unwrap();
    let newer = &newest_first[..place];
    let newer_proven = newer.iter().filter(|e| e.standing.is_proven()).count();
    let newest = newest_first[0].captured_at;
    let is_proven = entry.standing.is_proven();
    let in_last = |counted: fn(&Facts) -> bool| {
        counted(entry) && newer.iter().filter(|e| counted(e)).count() < usize::try_from(keep.last).unwrap()
    };
    // Newer than all proofs: the newest proven itself, or one that may still be proven.
    let up_to_the_proof = newer_proven == 0 && !entry.standing.is_failed();
    place == 0
        || up_to_the_proof
        || (is_proven && newer_proven < usize::try_from(keep.min_proven).unwrap())
        || keep.within.is_some_and(|span| newest - entry.captured_at < TimeDelta::from_std(span).unwrap())
        || in_last(|_| true)
        || in_last(|e| !e.standing.is_failed())
        || in_last(|e| e.standing.is_proven())
        || bucket_keeps(entry, newest_first, keep.hourly, |e| e.captured_at.timestamp() / 3600)
        || bucket_keeps(entry, newest_first, keep.daily, |e| e.captured_at.timestamp() / 86_400)
        || bucket_keeps(entry, newest_first, keep.weekly, |e| (e.captured_at.timestamp() / 86_400 + 3) / 7)
}

#[test]
fn every_small_world_is_planned_as_the_documentation_says() {
    let (kinds, rules) = (kinds(), small_rules());
    let mut plans = 0;
    for chosen in (0..=4).flat_map(|count| multisets(count, kinds.len())) {
        let mut facts: Vec<Facts> = chosen.iter().enumerate().map(|(i, kind)| backup(i, kinds[*kind])).collect();
        facts.sort_by(|a, b| (b.revision, &b.id).cmp(&(a.revision, &a.id)));
        let any_proven = facts.iter().any(|e| e.standing.is_proven());
        for rules in &rules {
            let plan = plan(&facts, rules, now());
            assert_eq!(plan.frozen.is_none(), any_proven);
            for (entry, verdict) in facts.iter().zip(&plan.verdicts) {
                let stays = !any_proven || should_stay(entry, &facts, rules.keep.as_ref().unwrap());
                assert_eq!(verdict.id, entry.id);
                assert_eq!(
                    verdict.action == Action::Keep,
                    stays,
                    "{entry:#?}\nof {facts:#?}\nunder {rules:#?}: {plan:#?}"
                );
            }
            plans += 1;
        }
    }
    assert_eq!(plans, 1820 * 48, "all multisets of up to 4 of 12 kinds, under all rules");
}
