//! What rules come to once they have run for long: for `lifeboat check-config`, before anything is deleted by them.

use super::bucket::Period;
use super::{Circumstances, Facts, Keep, Rules, plan};
use crate::id::BackupId;
use crate::moment;
use crate::proof::{Level, Standing};
use crate::schedule::Cron;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::time::Duration;

/// More backups than this are not tried out.
const MOST: usize = 20_000;

/// How many judgements of one backup the search for idle rules may take in all, about.
const EFFORT: usize = 200_000;

/// What rules come to where every slot has its backup and every backup is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steady {
    /// How many backups they keep, those younger than `min_age` included.
    pub backups: usize,
    /// There are more: so many were tried.
    pub at_least: bool,
    /// The rules that keep no backup which the others do not keep.
    pub idle: Vec<&'static str>,
}

/// Takes a rule away; says whether it was there.
type Take = fn(&mut Keep) -> bool;

const RULES: [(&str, Take); 14] = [
    ("last", |keep| std::mem::take(&mut keep.last) > 0),
    ("hourly", |keep| std::mem::take(&mut keep.hourly) > 0),
    ("daily", |keep| std::mem::take(&mut keep.daily) > 0),
    ("weekly", |keep| std::mem::take(&mut keep.weekly) > 0),
    ("monthly", |keep| std::mem::take(&mut keep.monthly) > 0),
    ("quarterly", |keep| std::mem::take(&mut keep.quarterly) > 0),
    ("yearly", |keep| std::mem::take(&mut keep.yearly) > 0),
    ("within", |keep| keep.within.take().is_some()),
    ("within_hourly", |keep| keep.within_hourly.take().is_some()),
    ("within_daily", |keep| keep.within_daily.take().is_some()),
    ("within_weekly", |keep| keep.within_weekly.take().is_some()),
    ("within_monthly", |keep| keep.within_monthly.take().is_some()),
    ("within_quarterly", |keep| keep.within_quarterly.take().is_some()),
    ("within_yearly", |keep| keep.within_yearly.take().is_some()),
];

/// Plays the rules through over the slots of `cron` up to `now`. The budget is left out: nobody knows sizes beforehand.
/// `None` without `keep`, or without a slot.
///
/// A rule is idle only if it is on each of a number of days over a year: what `weekly: 3` adds to `daily: 14` depends on the
/// day of the week.
#[must_use]
pub fn steady(rules: &Rules, cron: &Cron, now: DateTime<Utc>) -> Option<Steady> {
    let keep = Keep { budget: None, ..rules.keep.clone()? };
    let rules = Rules { max_deletions: usize::MAX, freeze_if_shrunk: None, ..rules.clone() };
    let series = series(&keep, &rules, cron, now)?;
    let backups = kept(&series, &keep, &rules).len();
    let mut idle: Vec<(&'static str, Keep)> = RULES
        .into_iter()
        .filter_map(|(name, take)| {
            let mut without = keep.clone();
            take(&mut without).then_some((name, without))
        })
        .collect();
    let days = (0..7).chain([45, 92, 137, 183, 229, 275, 320]);
    let tries = (EFFORT / (series.len() * (1 + idle.len()))).max(1);
    for day in days.take(tries) {
        let Some(series) = self::series(&keep, &rules, cron, now + TimeDelta::days(day)) else { continue };
        let all = kept(&series, &keep, &rules);
        idle.retain(|(_, without)| kept(&series, without, &rules) == all);
    }
    let idle = idle.into_iter().map(|(name, _)| name).collect();
    Some(Steady { backups, at_least: series.len() >= MOST, idle })
}

fn kept(series: &[Facts], keep: &Keep, rules: &Rules) -> BTreeSet<BackupId> {
    let now = series.first().map_or(DateTime::<Utc>::MIN_UTC, |newest| newest.captured_at);
    let rules = Rules { keep: Some(keep.clone()), ..rules.clone() };
    plan(series, &rules, &Circumstances::default(), now).kept().map(|verdict| verdict.id.clone()).collect()
}

/// Every backup of the past that a rule could keep, newest first: all while every one counts, then the last of each hour,
/// then the last of each day, since that is also the last of its week, month, quarter and year.
fn series(keep: &Keep, rules: &Rules, cron: &Cron, now: DateTime<Utc>) -> Option<Vec<Facts>> {
    let newest = cron.latest_at_or_before(now)?;
    let mut seen: [BTreeSet<(i64, i64)>; 6] = Default::default();
    let (mut series, mut next) = (vec![], Some(newest));
    while let Some(at) = next
        && series.len() < MOST
    {
        series.push(proven(at, series.len()));
        for (period, seen) in Period::ALL.into_iter().zip(&mut seen) {
            seen.insert(period.bucket(at, rules.time_zone));
        }
        let age = moment::between(at, newest);
        let reaches = |span: Option<Duration>| span.is_some_and(|span| age < span);
        let wants = |(period, seen): (Period, &BTreeSet<_>)| {
            reaches(period.span(keep)) || u32::try_from(seen.len()).is_ok_and(|seen| seen <= period.count(keep))
        };
        let mut wanted = Period::ALL.into_iter().zip(&seen).map(wants);
        let each = reaches(keep.within) || reaches(Some(rules.min_age)) || fewer(series.len(), keep.last);
        let before = match (each, wanted.next(), wanted.any(|wants| wants)) {
            (true, ..) => at - TimeDelta::seconds(1),
            (false, Some(true), _) => begin(at, rules.time_zone, Period::Hour) - TimeDelta::seconds(1),
            (false, _, true) => begin(at, rules.time_zone, Period::Day) - TimeDelta::seconds(1),
            (false, _, false) => break,
        };
        next = cron.latest_at_or_before(before);
    }
    Some(series)
}

fn fewer(len: usize, count: u32) -> bool {
    u32::try_from(len).is_ok_and(|len| len < count)
}

/// When the hour or the day of an instant began, by the clock on the wall. On the day of a clock change this may be an hour
/// off: the last backup of the day before is then another one, and no count changes.
fn begin(at: DateTime<Utc>, zone: Tz, period: Period) -> DateTime<Utc> {
    let civil = moment::civil(at, zone);
    let seconds = match period {
        Period::Hour => civil.minute() * 60 + civil.second(),
        _ => civil.num_seconds_from_midnight(),
    };
    at - TimeDelta::seconds(i64::from(seconds))
}

fn proven(at: DateTime<Utc>, number: usize) -> Facts {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    Facts {
        id: BackupId::new(at, number),
        lineage: String::new(),
        revision: at.timestamp(),
        captured_at: at,
        standing: Standing::Proven { level: Level::Booted, at, took_seconds: 0.0 },
        hold: None,
        tombstone: None,
        sealed_bytes: 0,
        keys: 0,
        db_bytes: 0,
        parents: vec![],
        late: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn comes_to(cron: &str, keep: Keep, min_age_hours: u64) -> Steady {
        let rules = Rules {
            keep: Some(keep),
            time_zone: chrono_tz::UTC,
            grace: Duration::from_secs(24 * 3600),
            min_age: Duration::from_secs(min_age_hours * 3600),
            max_deletions: 50,
            freeze_if_shrunk: Some(50),
        };
        steady(&rules, &Cron::parse(cron, chrono_tz::UTC).unwrap(), utc("2026-11-23T12:10:00Z")).unwrap()
    }

    const DAY: u64 = 86_400;

    fn days(days: u64) -> Option<Duration> {
        Some(Duration::from_secs(days * DAY))
    }

    #[test]
    fn the_readmes_rules_come_to_what_one_counts_by_hand() {
        // A Monday noon. Half-hourly over 48 h: 96, of 21, 22 and 23 November. Days: 11 more. Weeks: of 8 the newest 3 end on
        // the 23rd, 22nd and 15th, kept already: 5 more. Months: November, then 11 more, one of which (31 October) is no
        // week's end.
        let keep = Keep { within: days(2), daily: 14, weekly: 8, monthly: 12, ..Keep::default() };
        let steady = comes_to("*/30 * * * *", keep.clone(), 0);
        assert_eq!(steady, Steady { backups: 96 + 11 + 5 + 11, at_least: false, idle: vec![] });
        // Younger than 72 h are 144, on 20 to 23 November; 10 more days.
        assert_eq!(comes_to("*/30 * * * *", keep, 72).backups, 144 + 10 + 5 + 11);
    }

    #[test]
    fn a_rule_that_others_cover_is_named() {
        let idle = |keep| comes_to("*/30 * * * *", keep, 0).idle;
        assert_eq!(idle(Keep { within: days(2), hourly: 24, ..Keep::default() }), ["hourly"]);
        assert_eq!(idle(Keep { daily: 14, weekly: 1, yearly: 1, ..Keep::default() }), ["weekly", "yearly"]);
        // On a Monday the second week ends yesterday; on a Sunday six days later it matters.
        assert_eq!(idle(Keep { daily: 5, weekly: 2, ..Keep::default() }), Vec::<&str>::new());
        assert_eq!(idle(Keep { within_daily: days(30), daily: 7, quarterly: 8, ..Keep::default() }), ["daily"]);
        assert_eq!(
            idle(Keep { within: days(10), within_hourly: days(1), last: 5, ..Keep::default() }),
            ["last", "within_hourly"]
        );
        assert_eq!(comes_to("0 4 * * *", Keep { hourly: 24, daily: 7, ..Keep::default() }, 0).idle, ["daily"]);
    }

    #[test]
    fn each_rule_alone_keeps_as_many_as_it_says() {
        let count = |keep: Keep| comes_to("*/30 * * * *", Keep { min_proven: 0, ..keep }, 0).backups;
        assert_eq!(count(Keep { last: 77, ..Keep::default() }), 77);
        assert_eq!(count(Keep { hourly: 50, ..Keep::default() }), 50);
        assert_eq!(count(Keep { daily: 400, ..Keep::default() }), 400);
        assert_eq!(count(Keep { weekly: 60, ..Keep::default() }), 60);
        assert_eq!(count(Keep { monthly: 30, ..Keep::default() }), 30);
        assert_eq!(count(Keep { quarterly: 9, ..Keep::default() }), 9);
        assert_eq!(count(Keep { yearly: 12, ..Keep::default() }), 12);
        assert_eq!(count(Keep { within_hourly: days(2), ..Keep::default() }), 49, "from noon to noon");
        assert_eq!(count(Keep { within_daily: days(100), ..Keep::default() }), 101);
    }

    #[test]
    fn what_is_too_much_to_try_is_a_lower_bound() {
        let steady = comes_to("* * * * *", Keep { within: days(365), ..Keep::default() }, 0);
        assert_eq!((steady.backups, steady.at_least), (MOST, true));
    }
}
