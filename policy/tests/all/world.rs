//! Random worlds for retention: backups whose times collide, whose order lies, and rules of every kind.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Standing};
use lifeboat_policy::retention::{self, Action, Circumstances, Facts, Keep, Plan, Rules, TombstoneFact};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// So many cases, which keep a run short. `PROPTEST_CASES=100000 cargo test -p lifeboat-policy --release --test all` runs each
/// property that often, `tests/run --full` 4096 times: proptest's macro puts `PROPTEST_CASES`, where it is set, in the place
/// of any number written here. A failure is reported after a minute of making it smaller, if that has found no end by then.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    // Rejects grow with the cases; the usual bound ends a long sweep early.
    let max_global_rejects = 1 << 20;
    ProptestConfig { cases: usual, max_shrink_time: 60_000, max_global_rejects, ..ProptestConfig::default() }
}

/// Whether more cases were asked for than proptest's own number.
pub(crate) fn thorough() -> bool {
    // The default has read the environment already.
    ProptestConfig::default().cases > 256
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
    pub(crate) fn backup()(
        age in ages(),
        lie in prop_oneof![8 => Just(0i64), 1 => -5000i64..5000],
        lineage in prop_oneof![4 => Just("a"), 1 => Just("b")],
        standing in standings(),
        hold in prop_oneof![9 => Just(None), 1 => Just(Some("before 1.37".to_owned()))],
        tombstone in prop::option::weighted(0.3, (0i64..80, 0i64..60)),
        random in any::<u64>(),
        sealed_bytes in 0u64..50,
        (keys, db_bytes) in prop_oneof![3 => (Just(5000u64), Just(900u64)), 1 => (0u64..9000, 0u64..1500)],
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
            sealed_bytes,
            keys,
            db_bytes,
            parents: vec![],
            late: false,
        }
    }
}

/// Each backup's parents: the one before it in its lineage, but for some that nobody told.
pub(crate) fn with_parents(mut facts: Vec<Facts>, untold: u64) -> Vec<Facts> {
    for name in ["a", "b"] {
        let ids: Vec<BackupId> = lineage(&facts, name).iter().map(|e| e.id.clone()).collect();
        for (_, pair) in ids.windows(2).enumerate().filter(|(at, _)| untold >> (at % 64) & 1 == 0) {
            facts.iter_mut().filter(|e| e.id == pair[0]).for_each(|e| e.parents = vec![pair[1].clone()]);
        }
    }
    facts
}

pub(crate) fn backups() -> impl Strategy<Value = Vec<Facts>> {
    prop::collection::vec(backup(), 0..40)
}

/// A rule in about half of all cases.
fn count(below: u32) -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..below]
}

/// The same for a rule with a span.
fn span(hours: u64) -> impl Strategy<Value = Option<Duration>> {
    prop::option::weighted(0.4, (0..hours).prop_map(|hours| Duration::from_secs(hours * HOUR)))
}

prop_compose! {
    pub(crate) fn keeps()(
        (last, hourly, daily, weekly) in (count(6), count(8), count(8), count(5)),
        (monthly, quarterly, yearly) in (count(4), count(4), count(3)),
        (within, within_hourly, within_daily, within_weekly) in (span(200), span(200), span(900), span(3000)),
        (within_monthly, within_quarterly, within_yearly) in (span(6000), span(9000), span(9000)),
        min_proven in 0u32..5,
    ) -> Keep {
        Keep {
            last, hourly, daily, weekly, monthly, quarterly, yearly,
            within, within_hourly, within_daily, within_weekly, within_monthly, within_quarterly, within_yearly,
            min_proven,
            budget: None,
        }
    }
}

/// Forty and more, chosen for what their clocks have done: half hours, whole days, midnight.
pub(crate) fn zones() -> impl Strategy<Value = Tz> {
    prop::sample::select(vec![
        chrono_tz::UTC,
        chrono_tz::Europe::Berlin,
        chrono_tz::Europe::London,
        chrono_tz::Europe::Dublin,
        chrono_tz::Europe::Lisbon,
        chrono_tz::Europe::Moscow,
        chrono_tz::Europe::Istanbul,
        chrono_tz::Atlantic::Azores,
        chrono_tz::America::New_York,
        chrono_tz::America::St_Johns,
        chrono_tz::America::Sao_Paulo,
        chrono_tz::America::Caracas,
        chrono_tz::America::Havana,
        chrono_tz::America::Santiago,
        chrono_tz::America::Asuncion,
        chrono_tz::America::Los_Angeles,
        chrono_tz::America::Anchorage,
        chrono_tz::America::Metlakatla,
        chrono_tz::America::Scoresbysund,
        chrono_tz::Asia::Kolkata,
        chrono_tz::Asia::Kathmandu,
        chrono_tz::Asia::Tehran,
        chrono_tz::Asia::Gaza,
        chrono_tz::Asia::Beirut,
        chrono_tz::Asia::Amman,
        chrono_tz::Asia::Manila,
        chrono_tz::Asia::Tokyo,
        chrono_tz::Asia::Shanghai,
        chrono_tz::Asia::Pyongyang,
        chrono_tz::Australia::Lord_Howe,
        chrono_tz::Australia::Eucla,
        chrono_tz::Australia::Sydney,
        chrono_tz::Pacific::Apia,
        chrono_tz::Pacific::Chatham,
        chrono_tz::Pacific::Kiritimati,
        chrono_tz::Pacific::Kwajalein,
        chrono_tz::Pacific::Norfolk,
        chrono_tz::Pacific::Honolulu,
        chrono_tz::Africa::Casablanca,
        chrono_tz::Africa::Cairo,
        chrono_tz::Africa::Monrovia,
        chrono_tz::Antarctica::Troll,
    ])
}

prop_compose! {
    /// Rules without a ceiling, a budget or a freeze by size: most properties are about what a plan says when it is not refused.
    pub(crate) fn rules()(
        keep in keeps(), time_zone in zones(), grace in 0u64..72, min_age in 0u64..100,
    ) -> Rules {
        Rules {
            keep: Some(keep),
            time_zone,
            grace: Duration::from_secs(grace * HOUR),
            min_age: Duration::from_secs(min_age * HOUR),
            max_deletions: usize::MAX,
            freeze_if_shrunk: None,
        }
    }
}

/// The plan where nothing else is known.
pub(crate) fn plan(facts: &[Facts], rules: &Rules, now: DateTime<Utc>) -> Plan {
    retention::plan(facts, rules, &Circumstances::default(), now)
}

pub(crate) fn dropped(plan: &Plan) -> BTreeSet<BackupId> {
    plan.verdicts.iter().filter(|v| v.action != Action::Keep).map(|v| v.id.clone()).collect()
}

pub(crate) fn kept(plan: &Plan) -> BTreeSet<BackupId> {
    plan.kept().map(|v| v.id.clone()).collect()
}

/// A plan of which only some steps were carried out.
pub(crate) fn half(plan: &Plan, split: u64) -> Plan {
    let mut half = plan.clone();
    let left_out = half.verdicts.iter_mut().enumerate().filter(|(i, _)| split >> (i % 64) & 1 == 0);
    left_out.for_each(|(_, verdict)| verdict.action = Action::Keep);
    half
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
