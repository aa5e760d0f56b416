//! Random worlds for retention: backups whose times collide, whose order lies, and rules of every kind.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Standing};
use lifeboat_policy::retention::{Action, Facts, Keep, Plan, Rules, TombstoneFact};
use proptest::prelude::*;
use std::time::Duration;

/// So many cases; proptest's macro puts `PROPTEST_CASES`, where it is set, in the place of any number written here. A failure
/// is reported after a minute of making it smaller, if that has found no end by then.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    ProptestConfig { cases: usual, max_shrink_time: 60_000, ..ProptestConfig::default() }
}

/// For a property whose single case is dear: `PROPTEST_CASES` raises the number in the measure in which it is more than
/// proptest's own 256. Only a [`TestRunner`](proptest::test_runner::TestRunner) made by hand heeds it, see [`cases`].
pub(crate) fn share_of_cases(usual: u32) -> ProptestConfig {
    // The default has read the environment already.
    let wanted = ProptestConfig::default().cases;
    cases((usual.saturating_mul(wanted) / 256).max(1))
}

pub(crate) const HOUR: u64 = 3600;

/// 2026-10-25T12:00:00Z: the night before, clocks in Europe were put back.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_792_929_600, 0).unwrap()
}

pub(crate) fn is_future(at: DateTime<Utc>) -> bool {
    at > now() + TimeDelta::hours(1)
}

pub(crate) fn proven() -> Standing {
    Standing::Proven { level: Level::Booted, at: now(), took_seconds: 41.0 }
}

pub(crate) fn unproven() -> Standing {
    Standing::Unproven { because: Because::NotTried }
}

pub(crate) fn failed() -> Standing {
    Standing::Failed { level: Level::Sound, at: now() }
}

pub(crate) fn standings() -> impl Strategy<Value = Standing> {
    let diverged = Standing::Unproven { because: Because::Diverged };
    prop_oneof![4 => Just(proven()), 2 => Just(unproven()), 2 => Just(failed()), 1 => Just(diverged)]
}

/// Minutes before now: dense near now, thin far away, some ahead.
fn ages() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0i64..300).prop_map(|n| n * 20),
        3 => (0i64..400).prop_map(|n| n * 1440 + 7),
        1 => -90i64..0,
        1 => -600_000i64..-61,
    ]
}

prop_compose! {
    fn backup()(
        age in ages(),
        lie in prop_oneof![8 => Just(0i64), 1 => -5000i64..5000],
        lineage in prop_oneof![4 => Just("a"), 1 => Just("b")],
        standing in standings(),
        hold in prop_oneof![9 => Just(None), 1 => Just(Some("before 1.37".to_owned()))],
        tombstone in prop::option::weighted(0.3, (0i64..80, 0i64..60)),
        random in any::<u64>(),
    ) -> Facts {
        let captured_at = now() - TimeDelta::minutes(age);
        let hours_ago = |hours: i64| now() - TimeDelta::hours(hours);
        let tombstone = tombstone.map(|(ago, wait)| TombstoneFact {
            at: hours_ago(ago),
            deletable_from: hours_ago(ago - wait),
            asked: false,
        });
        Facts {
            id: BackupId::new(captured_at, random),
            lineage: lineage.to_owned(),
            revision: 1_000_000 - age + lie,
            captured_at,
            standing,
            hold,
            tombstone,
            sealed_bytes: 1,
        }
    }
}

pub(crate) fn backups() -> impl Strategy<Value = Vec<Facts>> {
    prop::collection::vec(backup(), 0..40)
}

prop_compose! {
    pub(crate) fn keeps()(
        last in 0u32..6, hourly in 0u32..8, daily in 0u32..8, weekly in 0u32..5, monthly in 0u32..4, yearly in 0u32..3,
        within in prop::option::of((0u64..200).prop_map(|hours| Duration::from_secs(hours * HOUR))),
        min_proven in 0u32..5,
        which in any::<[bool; 6]>(),
    ) -> Keep {
        let on = |i: usize, n: u32| if which[i] { n } else { 0 };
        Keep {
            last: on(0, last), hourly: on(1, hourly), daily: on(2, daily), weekly: on(3, weekly),
            monthly: on(4, monthly), yearly: on(5, yearly), within, min_proven,
        }
    }
}

pub(crate) fn zones() -> impl Strategy<Value = Tz> {
    prop::sample::select(vec![
        chrono_tz::UTC,
        chrono_tz::Europe::Berlin,
        chrono_tz::America::New_York,
        chrono_tz::Asia::Kolkata,
        chrono_tz::Asia::Kathmandu,
        chrono_tz::Australia::Lord_Howe,
        chrono_tz::America::St_Johns,
        chrono_tz::Pacific::Apia,
        chrono_tz::Pacific::Chatham,
        chrono_tz::Africa::Casablanca,
        chrono_tz::Antarctica::Troll,
    ])
}

prop_compose! {
    /// Rules without a ceiling: most properties are about what a plan says when it is not refused.
    pub(crate) fn rules()(
        keep in keeps(), time_zone in zones(), grace in 0u64..72, min_age in 0u64..100,
    ) -> Rules {
        Rules {
            keep: Some(keep),
            time_zone,
            grace: Duration::from_secs(grace * HOUR),
            min_age: Duration::from_secs(min_age * HOUR),
            max_deletions: usize::MAX,
        }
    }
}

pub(crate) fn is_kept(plan: &Plan, id: &BackupId) -> bool {
    plan.verdict(id).expect("every backup has a verdict").action == Action::Keep
}

/// One lineage's present backups, newest first: written differently from the crate's own, to disagree if it can.
pub(crate) fn lineage<'a>(facts: &'a [Facts], name: &str) -> Vec<&'a Facts> {
    let mut entries: Vec<&Facts> = facts.iter().filter(|e| e.lineage == name && !is_future(e.captured_at)).collect();
    entries.sort_by(|a, b| (b.revision, b.captured_at, &b.id).cmp(&(a.revision, a.captured_at, &a.id)));
    entries.dedup_by(|a, b| a.id == b.id);
    entries
}

/// What the store holds after the plan was carried out: tombstones written, deleted entries gone.
pub(crate) fn apply(facts: &[Facts], plan: &Plan) -> Vec<Facts> {
    let after = |entry: &Facts| {
        let mut entry = entry.clone();
        match plan.verdict(&entry.id)?.action {
            Action::Delete => return None,
            Action::Mark { deletable_from } => {
                entry.tombstone = Some(TombstoneFact { at: now(), deletable_from, asked: false })
            }
            Action::Keep | Action::Wait { .. } => {}
        }
        Some(entry)
    };
    facts.iter().filter_map(after).collect()
}
