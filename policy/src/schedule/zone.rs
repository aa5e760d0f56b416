//! Slots: civil times that match, found by the `cron` crate on a clock without a zone, laid onto a real zone's instants.
//!
//! The `cron` crate is never asked about a real zone: there it skips runs in spring and loses an hour in autumn.

use super::field::{Fields, Values};
use crate::moment;
use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use cron::Schedule;
use std::str::FromStr;

/// No zone ever puts its clock forward or back by more than this; a day is known (the date line moving), no more.
const CHANGE_AT_MOST: TimeDelta = TimeDelta::hours(26);

/// How far apart to look for changes of a zone's offset. No zone changes twice within it.
const PROBE: TimeDelta = TimeDelta::hours(12);

pub(super) const SECOND: TimeDelta = TimeDelta::seconds(1);

/// The civil times that match, whatever the zone.
#[derive(Clone)]
pub(super) struct Civil {
    /// One schedule, or two of which either counts.
    either: Vec<Schedule>,
    /// The hour field covers the whole day.
    all_hours: bool,
}

impl Civil {
    /// `None` if nothing ever matches.
    pub(super) fn new(fields: &Fields) -> Option<Civil> {
        let day_of_month = list(&fields.day_of_month, 0);
        // The crate counts days of the week from 1, Sunday.
        let day_of_week = list(&fields.day_of_week, 1);
        let days = match (fields.day_of_month.star, fields.day_of_week.star) {
            (false, false) => vec![(day_of_month, "*".to_owned()), ("*".to_owned(), day_of_week)],
            _ => vec![(day_of_month, day_of_week)],
        };
        let times = [&fields.second, &fields.minute, &fields.hour].map(|values| list(values, 0)).join(" ");
        let month = list(&fields.month, 0);
        let expressions = days.iter().map(|(dom, dow)| format!("{times} {dom} {month} {dow}"));
        let either: Vec<Schedule> = expressions.filter_map(|text| Schedule::from_str(&text).ok()).collect();
        let all_hours = fields.hour.set.len() == 24;
        let civil = Civil { either, all_hours };
        civil.next(DateTime::UNIX_EPOCH.naive_utc()).map(|_| civil)
    }

    /// The first matching civil time after `c`.
    fn next(&self, c: NaiveDateTime) -> Option<NaiveDateTime> {
        let firsts = self.either.iter().filter_map(|s| s.after(&c.and_utc()).next());
        firsts.min().map(|found| found.naive_utc())
    }

    /// The last matching civil time at or before `c`, which is a whole second.
    fn latest(&self, c: NaiveDateTime) -> Option<NaiveDateTime> {
        let lasts = self.either.iter().filter_map(|s| s.after(&(c + SECOND).and_utc()).next_back());
        lasts.max().map(|found| found.naive_utc())
    }

    pub(super) fn next_after(&self, t: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        if !self.all_hours {
            return self.next(reached(t, zone)).map(|c| first_at(c, zone));
        }
        // From one change of the offset to the next, instants and civil times run side by side.
        let mut from = t;
        let mut civil = self.next(moment::civil(t, zone))?;
        loop {
            let slot = (civil - shift(from, zone)).and_utc();
            match change_after(from, slot, zone) {
                None => return Some(slot),
                Some(change) => {
                    from = change;
                    civil = self.next(moment::civil(change, zone) - SECOND)?;
                }
            }
        }
    }

    pub(super) fn latest_at_or_before(&self, t: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        if !self.all_hours {
            return self.latest(reached(t, zone)).map(|c| first_at(c, zone));
        }
        let mut until = t;
        loop {
            let slot = (self.latest(moment::civil(until, zone))? - shift(until, zone)).and_utc();
            match change_before(until, slot, zone) {
                None => return Some(slot),
                Some(change) => until = change - SECOND,
            }
        }
    }
}

fn list(values: &Values, add: u32) -> String {
    let numbers: Vec<String> = values.set.iter().map(|value| (value + add).to_string()).collect();
    numbers.join(",")
}

fn shift(t: DateTime<Utc>, zone: Tz) -> TimeDelta {
    TimeDelta::seconds(moment::offset(t, zone))
}

/// The latest civil time that the clock has shown up to `t`: in the second half of a repeated hour, the end of the first.
fn reached(t: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    let shown = moment::civil(t, zone);
    match change_before(t, t - CHANGE_AT_MOST, zone) {
        Some(change) => shown.max(moment::civil(change - SECOND, zone)),
        None => shown,
    }
}

/// The first instant at which the clock shows `c` or, where `c` is skipped, has gone past it.
fn first_at(c: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&c) {
        LocalResult::Single(only) => only.to_utc(),
        LocalResult::Ambiguous(one, other) => one.to_utc().min(other.to_utc()),
        LocalResult::None => {
            let mut at = c.and_utc() - CHANGE_AT_MOST;
            let end = c.and_utc() + CHANGE_AT_MOST;
            while let Some(change) = change_after(at, end, zone) {
                at = change;
                if moment::civil(at, zone) >= c {
                    break;
                }
            }
            at
        }
    }
}

/// The first instant after `from`, up to and including `until`, at which the zone's offset is another than just before.
pub(super) fn change_after(from: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let offset = moment::offset(from, zone);
    let mut same = from;
    while same < until {
        let probe = until.min(same + PROBE);
        if moment::offset(probe, zone) != offset {
            return Some(first_other(same, probe, zone));
        }
        same = probe;
    }
    None
}

/// The last instant after `from`, up to and including `until`, at which the zone's offset is another than just before.
pub(super) fn change_before(until: DateTime<Utc>, from: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    let offset = moment::offset(until, zone);
    let mut same = until;
    while same > from {
        let probe = from.max(same - PROBE);
        if moment::offset(probe, zone) != offset {
            return Some(first_other(probe, same, zone));
        }
        same = probe;
    }
    None
}

/// The instant between two whole seconds of different offsets at which one becomes the other.
fn first_other(mut before: DateTime<Utc>, mut after: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    let offset = moment::offset(before, zone);
    while after - before > SECOND {
        let half = before + TimeDelta::seconds((after - before).num_seconds() / 2);
        if moment::offset(half, zone) == offset { before = half } else { after = half }
    }
    after
}
