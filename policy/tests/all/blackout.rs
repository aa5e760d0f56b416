//! Windows in which no run begins, against somebody who watches the clock on the wall minute by minute.

use crate::schedule::{Expression, before_a_change, expressions, forward};
use crate::world::{cases, zones};
use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use lifeboat_policy::freshness::{deadline, missed_slots};
use lifeboat_policy::schedule::{Blackout, Cron, Due, Fired, due, due_unfired};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Days, or all; minutes of the day at which it begins and ends.
#[derive(Clone, Debug)]
struct Window {
    days: Option<BTreeSet<usize>>,
    from: u32,
    to: u32,
}

impl Window {
    fn text(&self) -> String {
        let days: Vec<&str> = self.days.iter().flatten().map(|day| NAMES[*day]).collect();
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{} {}-{}", days.join(","), time(self.from), time(self.to))
    }

    fn shows(&self, wall: chrono::NaiveDateTime) -> bool {
        let minute = wall.hour() * 60 + wall.minute();
        let day = wall.weekday().num_days_from_sunday() as usize;
        let begins = |day: usize| self.days.as_ref().is_none_or(|days| days.contains(&day));
        match self.from < self.to {
            true => begins(day) && (self.from..self.to).contains(&minute),
            false => (begins(day) && minute >= self.from) || (begins((day + 6) % 7) && minute < self.to),
        }
    }
}

prop_compose! {
    fn window()(
        days in prop::option::of(prop::collection::btree_set(0usize..7, 1..4)),
        from in 0u32..1440, length in prop_oneof![3 => 1u32..300, 1 => 1u32..1440], on_hours in any::<bool>(),
        to_midnight in prop::bool::weighted(0.1),
    ) -> Window {
        let from = if on_hours { from / 60 * 60 } else { from };
        let to = if to_midnight { 1440 } else { (from + length) % 1440 };
        Window { days, from, to }
    }
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    prop::collection::vec(window(), 1..4)
}

fn parse(windows: &[Window], zone: Tz) -> Option<Blackout> {
    let texts: Vec<String> = windows.iter().map(Window::text).collect();
    Blackout::parse(&texts, zone).ok()
}

/// The slots from `from` up to `until`: what the expression names, each at the first minute at which no window holds.
fn watched(
    expression: &Expression,
    windows: &[Window],
    zone: Tz,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let begin = from - TimeDelta::days(8);
    let minutes = (until - begin).num_minutes();
    let holds = |minute: i64| {
        let wall = (begin + TimeDelta::minutes(minute)).with_timezone(&zone).naive_local();
        windows.iter().any(|window| window.shows(wall))
    };
    let mut open = vec![None; usize::try_from(minutes).unwrap() + 1];
    let mut next = None;
    for minute in (0..=minutes).rev() {
        next = if holds(minute) { next } else { Some(begin + TimeDelta::minutes(minute)) };
        open[usize::try_from(minute).unwrap()] = next;
    }
    let written = expression.slots(begin, until, zone);
    let served = written.iter().filter_map(|at| open[usize::try_from((*at - begin).num_minutes()).unwrap()]);
    served.filter(|slot| *slot > from).collect::<BTreeSet<_>>().into_iter().collect()
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn a_run_waits_for_the_minute_at_which_the_wall_shows_no_window(
        expression in expressions(), windows in windows(), zone in zones(), year in 1990i32..2038, nth in 0usize..4,
        probes in prop::array::uniform8(0i64..1_000_000),
    ) {
        let Ok(cron) = Cron::parse(&expression.text(), zone) else { return Ok(()) };
        let Some(blackout) = parse(&windows, zone) else { return Ok(()) };
        let cron = cron.with_blackout(blackout);
        let from = before_a_change(year, nth, zone);
        let until = from + TimeDelta::days(3);
        let slots = watched(&expression, &windows, zone, from, until);
        let told = || format!("{cron} without {} in {zone} from {from}", cron.blackout());
        prop_assert_eq!(forward(&cron, from, until), slots.clone(), "{}", told());
        for probe in probes {
            let at = from + TimeDelta::seconds(probe % (3 * 86_400));
            let next = slots.iter().find(|slot| **slot > at).copied();
            prop_assert_eq!(cron.next_after(at).filter(|t| *t <= until), next, "{} at {}", told(), at);
            if let Some(latest) = slots.iter().rev().find(|slot| **slot <= at) {
                prop_assert_eq!(cron.latest_at_or_before(at), Some(*latest), "{} at {}", told(), at);
            }
            let wall = at.with_timezone(&zone).naive_local();
            let held = cron.blackout().window_at(at);
            prop_assert_eq!(held.is_some(), windows.iter().any(|window| window.shows(wall)));
            if let Some(held) = held {
                prop_assert!(held.start <= at && at < held.end);
                prop_assert_eq!(cron.blackout().window_at(held.end), None);
                prop_assert_eq!(cron.blackout().window_at(held.start - TimeDelta::seconds(1)), None);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn no_slot_is_lost_to_a_window_nor_served_within_one_nor_twice(
        expression in expressions(), windows in windows(), zone in zones(), year in 2020i32..2030, nth in 0usize..2,
        steps in prop::collection::vec(prop_oneof![20 => 1i64..40, 1 => -200i64..0, 1 => 100i64..3000], 20..120),
    ) {
        let Ok(cron) = Cron::parse(&expression.text(), zone) else { return Ok(()) };
        let Some(blackout) = parse(&windows, zone) else { return Ok(()) };
        let cron = cron.with_blackout(blackout);
        let mut now = before_a_change(year, nth, zone);
        let (mut last, mut fired) = (None, Fired::default());
        for step in steps {
            now += TimeDelta::minutes(step);
            let held = cron.blackout().end_at(now);
            match due_unfired(&cron, &fired, now) {
                Due::Now { slot, .. } => {
                    prop_assert!(held.is_none() && slot <= now && !fired.contains(slot));
                    fired.record(slot);
                }
                Due::NotBefore(next) => {
                    prop_assert!(next > now && held.is_none_or(|end| next >= end) && cron.blackout().end_at(next).is_none());
                }
            }
            if let Due::Now { slot, .. } = due(&cron, last, now) {
                prop_assert!(held.is_none() && last.is_none_or(|last| last < slot));
                last = Some(slot);
            }
            // After each look outside of a window the latest slot is served, and that includes all that was deferred.
            if held.is_none() {
                prop_assert!(cron.latest_at_or_before(now).is_none_or(|slot| fired.contains(slot)));
            }
        }
    }

    #[test]
    fn whoever_serves_every_slot_within_its_limit_is_never_late_for_a_window(
        expression in expressions(), windows in windows(), zone in zones(), year in 2020i32..2030,
        limit in 60u64..20_000, fixed in prop::option::of(60u64..200_000),
    ) {
        let Ok(cron) = Cron::parse(&expression.text(), zone) else { return Ok(()) };
        let Some(blackout) = parse(&windows, zone) else { return Ok(()) };
        let plain = cron.clone();
        let cron = cron.with_blackout(blackout);
        let (limit, fixed) = (Duration::from_secs(limit), fixed.map(Duration::from_secs));
        let mut slot = before_a_change(year, 0, zone);
        for _ in 0..12 {
            let Some(next) = cron.next_after(slot) else { break };
            let late = deadline(Some(slot), &cron, limit, None).unwrap();
            prop_assert!(late >= next + limit, "{} without {}: {} {}", cron, cron.blackout(), late, next);
            prop_assert!(missed_slots(&cron, Some(slot), next + limit, limit) == 0);
            // Time that does not count puts a deadline off and never brings it nearer.
            let with = deadline(Some(slot), &cron, limit, fixed).unwrap();
            if fixed.is_some() {
                prop_assert!(with >= deadline(Some(slot), &plain, limit, fixed).unwrap());
            }
            prop_assert!(cron.blackout().window_at(with).is_none_or(|window| window.start == with));
            slot = next;
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_windows_panic(text in "\\PC{0,24}|[a-z,-]{0,8} ?[0-9:]{0,5}-[0-9:]{0,5}") {
        match Blackout::parse(&[&text], chrono_tz::UTC) {
            Ok(blackout) => prop_assert!(!blackout.is_empty() && blackout.texts() == [text.trim()]),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
