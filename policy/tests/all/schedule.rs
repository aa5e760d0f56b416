//! Schedules against a slow second opinion that walks the clock on the wall minute by minute.

use crate::world::{cases, share_of_cases, zones};
use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use lifeboat_policy::schedule::{Cron, Due, Fired, due, due_unfired};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

/// A field: its text, and its values found in another way than by parsing the text.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    values: BTreeSet<u32>,
    star: bool,
}

fn field(min: u32, max: u32) -> impl Strategy<Value = Field> {
    let all: BTreeSet<u32> = (min..=max).collect();
    let star = Field { text: "*".to_owned(), values: all, star: true };
    let stepped = (2..=max).prop_map(move |step| Field {
        text: format!("*/{step}"),
        values: (min..=max).filter(|v| (v - min).is_multiple_of(step)).collect(),
        star: true,
    });
    let item = (min..=max, min..=max, 1..=max, 0..3u8).prop_map(|(a, b, step, form)| {
        let (a, b) = (a.min(b), a.max(b));
        match form {
            0 => (a.to_string(), vec![a]),
            1 => (format!("{a}-{b}"), (a..=b).collect()),
            _ => (format!("{a}-{b}/{step}"), (a..=b).filter(|v| (v - a).is_multiple_of(step)).collect()),
        }
    });
    let list = prop::collection::vec(item, 1..3).prop_map(|items| Field {
        text: items.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(","),
        values: items.into_iter().flat_map(|(_, values)| values).collect(),
        star: false,
    });
    prop_oneof![3 => Just(star), 2 => stepped, 3 => list]
}

#[derive(Clone, Debug)]
pub(crate) struct Expression {
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

impl Expression {
    pub(crate) fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.day_of_month, &self.month, &self.day_of_week];
        fields.map(|field| field.text.as_str()).join(" ")
    }

    fn matches(&self, civil: NaiveDateTime) -> bool {
        let has = |field: &Field, value: u32| field.values.contains(&value);
        let day_of_month = has(&self.day_of_month, civil.day());
        let day_of_week = has(&self.day_of_week, civil.weekday().num_days_from_sunday());
        let day = match self.day_of_month.star || self.day_of_week.star {
            true => day_of_month && day_of_week,
            false => day_of_month || day_of_week,
        };
        day && has(&self.minute, civil.minute()) && has(&self.hour, civil.hour()) && has(&self.month, civil.month())
    }

    /// The slots from `from` up to `until`, by watching the clock on the wall from two days before.
    pub(crate) fn slots(&self, from: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> Vec<DateTime<Utc>> {
        let shown = |t: DateTime<Utc>| t.with_timezone(&zone).naive_local();
        let every_hour = self.hour.values.len() == 24;
        let minute = TimeDelta::minutes(1);
        let mut now = from - TimeDelta::days(2);
        let mut reached = shown(now);
        let mut slots = vec![];
        while now < until {
            now += minute;
            let wall = shown(now);
            let mut fires = every_hour && self.matches(wall);
            // Civil times seen for the first time, those included that the clock jumped over.
            while reached < wall {
                reached += minute;
                fires |= !every_hour && self.matches(reached);
            }
            if fires && now > from && now <= until {
                slots.push(now);
            }
        }
        slots
    }
}

prop_compose! {
    pub(crate) fn expressions()(
        minute in field(0, 59), hour in field(0, 23), day_of_month in field(1, 31), month in field(1, 12), day_of_week in field(0, 6),
        any_day in prop::bool::weighted(0.5), any_month in prop::bool::weighted(0.7),
    ) -> Expression {
        let star = |min: u32, max: u32| Field { text: "*".to_owned(), values: (min..=max).collect(), star: true };
        let mut made = Expression { minute, hour, day_of_month, month, day_of_week };
        if any_day {
            (made.day_of_month, made.day_of_week) = (star(1, 31), star(0, 6));
        }
        if any_month {
            made.month = star(1, 12);
        }
        made
    }
}

fn offset(t: DateTime<Utc>, zone: Tz) -> TimeDelta {
    t.with_timezone(&zone).naive_local() - t.naive_utc()
}

/// An instant a day and a half before a change of the zone's clock, if it has one in that year; else New Year.
pub(crate) fn before_a_change(year: i32, nth: usize, zone: Tz) -> DateTime<Utc> {
    let new_year = chrono::NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let days = (0..366).map(|day| new_year + TimeDelta::days(day));
    let changes: Vec<DateTime<Utc>> =
        days.filter(|day| offset(*day, zone) != offset(*day + TimeDelta::days(1), zone)).collect();
    changes.get(nth % changes.len().max(1)).copied().unwrap_or(new_year) - TimeDelta::hours(24)
}

pub(crate) fn forward(cron: &Cron, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    std::iter::successors(cron.next_after(from), |t| cron.next_after(*t)).take_while(|t| *t <= until).collect()
}

fn agrees(
    expression: &Expression,
    zone: Tz,
    from: DateTime<Utc>,
    days: i64,
    probes: &[i64],
) -> Result<(), TestCaseError> {
    let Ok(cron) = Cron::parse(&expression.text(), zone) else {
        return Err(TestCaseError::reject("never fires"));
    };
    let until = from + TimeDelta::days(days);
    let slots = expression.slots(from, until, zone);
    let found = forward(&cron, from, until);
    // The first that differs says enough: all slots of a year are a megabyte of dates on each side.
    if let Some(n) = (0..found.len().max(slots.len())).find(|n| found.get(*n) != slots.get(*n)) {
        prop_assert_eq!(found.get(n), slots.get(n), "slot {} of {} in {}", n, cron, zone);
    }
    for probe in probes {
        let at = from + TimeDelta::seconds(probe % (days * 86_400));
        if let Some(latest) = slots.iter().rev().find(|slot| **slot <= at) {
            prop_assert_eq!(cron.latest_at_or_before(at), Some(*latest), "{} in {} at {}", cron, zone, at);
        } else {
            prop_assert!(cron.latest_at_or_before(at).is_none_or(|slot| slot <= from));
        }
        prop_assert_eq!(cron.next_after(at).filter(|t| *t <= until), slots.iter().find(|slot| **slot > at).copied());
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn around_every_change_of_the_clock_it_runs_as_one_who_watches_the_wall_would(
        expression in expressions(), zone in zones(), year in 1990i32..2038, nth in 0usize..4,
        probes in prop::array::uniform8(0i64..1_000_000),
    ) {
        agrees(&expression, zone, before_a_change(year, nth, zone), 4, &probes)?;
    }

    #[test]
    fn no_slot_is_served_twice_and_none_is_left_out(
        expression in expressions(), zone in zones(), year in 2020i32..2030, nth in 0usize..2,
        steps in prop::collection::vec(prop_oneof![20 => 1i64..40, 1 => -200i64..0, 1 => 100i64..3000], 20..120),
    ) {
        let Ok(cron) = Cron::parse(&expression.text(), zone) else { return Ok(()) };
        let mut now = before_a_change(year, nth, zone);
        let start = now;
        let (mut last, mut fired, mut by_last, mut by_set) = (Some(start), Fired::default(), vec![], vec![]);
        for step in steps {
            now += TimeDelta::minutes(step);
            if let Due::Now { slot, .. } = due(&cron, last, now) {
                prop_assert!(slot <= now && Some(slot) > last);
                by_last.push(slot);
                last = Some(slot);
            }
            match due_unfired(&cron, &fired, now) {
                Due::Now { slot, .. } => {
                    prop_assert!(slot <= now);
                    by_set.push(slot);
                    fired.record(slot);
                }
                Due::NotBefore(next) => prop_assert!(next > now && !fired.contains(next)),
            }
            // After each look the latest slot is served: never zero.
            prop_assert!(cron.latest_at_or_before(now).is_none_or(|slot| fired.contains(slot)));
            prop_assert!(cron.latest_at_or_before(now).is_none_or(|slot| Some(slot) <= last));
        }
        for slots in [by_last, by_set] {
            let distinct: BTreeSet<&DateTime<Utc>> = slots.iter().collect();
            prop_assert_eq!(distinct.len(), slots.len(), "never twice");
        }
    }

    #[test]
    fn a_skipped_time_runs_once_when_the_clock_has_passed_it_and_a_repeated_one_the_first_time(
        zone in zones(), year in 1990i32..2038, nth in 0usize..4, part in 0.0f64..1.0,
    ) {
        let day = before_a_change(year, nth, zone);
        let minutes = (1..5760).map(|n| day + TimeDelta::minutes(n));
        let minute = TimeDelta::minutes(1);
        let Some(change) = minutes.into_iter().find(|t| offset(*t, zone) != offset(*t - minute, zone)) else { return Ok(()) };
        let moved = (offset(change, zone) - offset(change - minute, zone)).num_minutes();
        let into = TimeDelta::minutes((moved.abs() as f64 * part) as i64);
        let wall = |t: DateTime<Utc>| t.with_timezone(&zone).naive_local();
        let at = |expr: String| Cron::parse(&expr, zone).unwrap();
        let has = |cron: &Cron, t: DateTime<Utc>| cron.latest_at_or_before(t) == Some(t);
        if moved > 0 {
            let skipped = wall(change - minute) + minute + into;
            let daily = at(format!("{} {} * * *", skipped.minute(), skipped.hour()));
            prop_assert_eq!(daily.next_after(change - minute), Some(change));
            let again = wall(daily.next_after(change).unwrap());
            prop_assert_eq!((again.hour(), again.minute()), (skipped.hour(), skipped.minute()), "once");
            let hourly = at(format!("{} * * * *", skipped.minute()));
            prop_assert_eq!(has(&hourly, change), wall(change).minute() == skipped.minute(), "where every hour counts it is none");
        } else {
            let first = change - TimeDelta::minutes(-moved) + into;
            let second = change + into;
            prop_assert_eq!(wall(first), wall(second));
            let daily = at(format!("{} {} * * *", wall(first).minute(), wall(first).hour()));
            prop_assert!(has(&daily, first) && !has(&daily, second));
            let hourly = at(format!("{} * * * *", wall(first).minute()));
            prop_assert!(has(&hourly, first) && has(&hourly, second), "both halves");
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_schedules_panic(text in "\\PC{0,24}|([0-9*/,-]{1,5} ){4,6}[0-9a-z*/,-]{1,5}") {
        match Cron::parse(&text, chrono_tz::UTC) {
            Ok(cron) => prop_assert_eq!(cron.to_string(), text.trim()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// Most of a second goes by for a year, three where every minute is a slot: 4096 of them, which is what proptest's macro would
/// make of `PROPTEST_CASES=4096`, are most of an hour. Hence by hand, with a share: 48 then, half a minute.
#[test]
fn over_a_whole_year_it_agrees_too() {
    let years = (expressions(), zones(), 1990i32..2038, prop::array::uniform8(0i64..30_000_000));
    let config = ProptestConfig { source_file: Some(file!()), ..share_of_cases(3) };
    let outcome = TestRunner::new(config).run(&years, |(expression, zone, year, probes)| {
        agrees(&expression, zone, before_a_change(year, 0, zone), 370, &probes)
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Two days of minutes are looked at in each case; hence with a share, too.
#[test]
fn whoever_looks_every_minute_serves_every_slot_once_though_the_clock_is_put_back() {
    let jumps = prop::collection::btree_map(0i64..2880, 1i64..400, 0..6);
    let config = ProptestConfig { source_file: Some(file!()), ..share_of_cases(16) };
    let looks = (expressions(), zones(), 2020i32..2030, 0usize..2, jumps);
    let outcome = TestRunner::new(config).run(&looks, |(expression, zone, year, nth, mut jumps)| {
        let Ok(cron) = Cron::parse(&expression.text(), zone) else { return Ok(()) };
        let start = before_a_change(year, nth, zone);
        let (mut fired, mut served, mut minute) = (Fired::default(), vec![], 0);
        while minute <= 2880 {
            if let Due::Now { slot, .. } = due_unfired(&cron, &fired, start + TimeDelta::minutes(minute)) {
                served.push(slot);
                fired.record(slot);
            }
            minute = jumps.remove(&minute).map_or(minute + 1, |back| minute - back);
        }
        let distinct: BTreeSet<DateTime<Utc>> = served.iter().copied().collect();
        prop_assert_eq!(distinct.len(), served.len(), "never twice");
        let seen: Vec<_> = distinct.into_iter().filter(|slot| *slot > start).collect();
        prop_assert_eq!(seen, expression.slots(start, start + TimeDelta::days(2), zone), "and none left out");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
