//! Windows of the week in which no run begins: read from texts like `mon-fri 08:00-18:00`, laid onto a zone's instants.
//!
//! A window holds whenever the clock on the wall shows a time within it. So a window inside an hour that is repeated holds
//! twice, and one inside an hour that is skipped does not hold at all.

use super::field::DAYS;
use super::zone::{SECOND, change_after, change_before};
use super::{earliest, latest, whole_second};
use crate::moment;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// 1970-01-04T00:00:00, the first Sunday, in civil seconds.
const A_SUNDAY: i64 = 3 * DAY;

/// No more windows are gone through to find a deadline: thirteen years of nights.
const WINDOWS_AT_MOST: u32 = 5_000;

/// When no run begins. Without windows it is empty, and changes nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Blackout {
    texts: Vec<String>,
    zone: Tz,
    /// The seconds of the civil week, from Sunday on, at which a window begins (`true`) or ends.
    edges: BTreeMap<i64, bool>,
}

/// Why a text is no blackout. `Display` says what is wrong and how to write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlackoutError {
    /// One window cannot be read.
    #[error("`{text}` is no window: {problem}, like `22:00-04:00` or `sat,sun 00:00-24:00`")]
    Window {
        /// Which one, from 0 on.
        at: usize,
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Every window is right and they leave nothing.
    #[error("the windows cover the whole week: nothing would ever run")]
    Always,
}

/// A stretch of time in which no run begins: from `start` on, up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first instant within.
    pub start: DateTime<Utc>,
    /// The first instant after it.
    pub end: DateTime<Utc>,
}

impl Blackout {
    /// Reads windows of the form `[DAYS ]HH:MM-HH:MM`. `DAYS` are names and ranges of days on which the window begins, like
    /// `fri`, `mon-fri` or `sat,sun`; without them it begins on every day. A window that ends at or before its start
    /// passes midnight; `24:00` ends a day.
    ///
    /// # Errors
    /// [`BlackoutError`] names the window and says how to write it. Windows that leave no minute of the week are an error too.
    pub fn parse<T: AsRef<str>>(windows: &[T], zone: Tz) -> Result<Blackout, BlackoutError> {
        let texts: Vec<String> = windows.iter().map(|text| text.as_ref().trim().to_owned()).collect();
        let mut spans = vec![];
        for (at, text) in texts.iter().enumerate() {
            let window = spans_of(text);
            spans.extend(window.map_err(|problem| BlackoutError::Window { at, text: text.clone(), problem })?);
        }
        let edges = edges(spans);
        if edges.is_empty() && !texts.is_empty() {
            return Err(BlackoutError::Always);
        }
        Ok(Blackout { texts, zone, edges })
    }

    /// One without windows.
    #[must_use]
    pub fn none() -> Blackout {
        Blackout { texts: vec![], zone: Tz::UTC, edges: BTreeMap::new() }
    }

    /// Whether it has no windows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// The windows as written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The window around `t`, if no run begins at `t`. Windows that touch are one.
    #[must_use]
    pub fn window_at(&self, t: DateTime<Utc>) -> Option<Window> {
        let t = whole_second(t);
        self.holds(t).then(|| Window { start: self.edge_before(t), end: self.edge_after(t) })
    }

    /// When runs may begin again, if none begins at `t`.
    #[must_use]
    pub fn end_at(&self, t: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let t = whole_second(t);
        self.holds(t).then(|| self.edge_after(t))
    }

    /// When the next window begins after `t`; within a window, the one after it.
    #[must_use]
    pub fn next_start(&self, t: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let t = self.end_at(t).unwrap_or(whole_second(t));
        (!self.is_empty() && in_calendar(t)).then(|| self.edge_after(t))
    }

    /// The instant at which `span` has gone by since `t`, if only the time outside of windows counts.
    #[must_use]
    pub fn after(&self, t: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
        let (mut at, mut left) = (self.end_at(t).unwrap_or(t), span);
        for _ in 0..WINDOWS_AT_MOST {
            let Some(start) = self.next_start(at) else { break };
            let open = moment::between(at, start);
            if left <= open {
                break;
            }
            left = left.saturating_sub(open);
            at = self.end_at(start).unwrap_or(start);
        }
        moment::after(at, left)
    }

    fn holds(&self, t: DateTime<Utc>) -> bool {
        !self.is_empty() && in_calendar(t) && self.holds_at(self.of_week(t))
    }

    fn of_week(&self, t: DateTime<Utc>) -> i64 {
        (moment::civil(t, self.zone).and_utc().timestamp() - A_SUNDAY).rem_euclid(WEEK)
    }

    /// Whether a window holds at this second of the week: as the last edge at or before it says, which may lie in the
    /// week before.
    fn holds_at(&self, second: i64) -> bool {
        let last = self.edges.range(..=second).next_back().or(self.edges.iter().next_back());
        last.is_some_and(|(_, begins)| *begins)
    }

    /// Seconds from this one to the next edge; a week if there is none.
    fn to_next(&self, second: i64) -> i64 {
        let first = self.edges.keys().next().map(|edge| edge + WEEK);
        self.edges.range(second + 1..).next().map(|(edge, _)| *edge).or(first).map_or(WEEK, |edge| edge - second)
    }

    /// Seconds back to the last edge at or before this one.
    fn to_last(&self, second: i64) -> i64 {
        let last = self.edges.keys().next_back().map(|edge| edge - WEEK);
        self.edges.range(..=second).next_back().map(|(edge, _)| *edge).or(last).map_or(WEEK, |edge| second - edge)
    }

    /// The first instant after `t` at which a window begins, if none holds at `t`, or ends.
    fn edge_after(&self, t: DateTime<Utc>) -> DateTime<Utc> {
        let holds = self.holds(t);
        let mut from = t;
        // From one change of the offset to the next, instants and civil times run side by side.
        loop {
            let edge = from + TimeDelta::seconds(self.to_next(self.of_week(from)));
            match change_after(from, edge, self.zone) {
                None => return edge,
                Some(change) if self.holds_at(self.of_week(change)) != holds => return change,
                Some(change) => from = change,
            }
        }
    }

    /// The first instant of the stretch around `t` that is all within a window, or all without.
    fn edge_before(&self, t: DateTime<Utc>) -> DateTime<Utc> {
        let holds = self.holds(t);
        let mut until = t;
        loop {
            let edge = until - TimeDelta::seconds(self.to_last(self.of_week(until)));
            // The change at the edge itself counts: just before it the clock may have shown a time of this stretch, too.
            match change_before(until, edge - SECOND, self.zone) {
                None => return edge,
                Some(change) if self.holds_at(self.of_week(change - SECOND)) != holds => return change,
                Some(change) => until = change - SECOND,
            }
        }
    }
}

fn in_calendar(t: DateTime<Utc>) -> bool {
    (earliest()..latest()).contains(&t)
}

/// The windows of one text, in seconds from Sunday on; the end may lie in the next week.
fn spans_of(text: &str) -> Result<Vec<(i64, i64)>, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let (days, times) = match parts.as_slice() {
        [times] => ((0..7).collect(), *times),
        [days, times] => (days_of(days)?, *times),
        _ => return Err("a window is days, if not every day, and two times".to_owned()),
    };
    let (from, to) = times.split_once('-').ok_or("there is no `-` between two times")?;
    let (from, to) = (time_of_day(from)?, time_of_day(to)?);
    if from == DAY {
        return Err("24:00 only ends a window: begin it at 00:00 of the next day".to_owned());
    }
    let length = match to - from {
        0 => return Err("it begins and ends at the same time; a whole day is 00:00-24:00".to_owned()),
        length if length < 0 => length + DAY,
        length => length,
    };
    Ok(days.into_iter().map(|day| (day * DAY + from, day * DAY + from + length)).collect())
}

/// Days from Sunday, 0, on. A range may pass the end of the week.
fn days_of(text: &str) -> Result<Vec<i64>, String> {
    let day = |name: &str| {
        let found = DAYS.iter().zip(0i64..).find(|(day, _)| name.eq_ignore_ascii_case(day)).map(|(_, number)| number);
        found.ok_or_else(|| format!("`{name}` is no day of the week: they are {}", DAYS.join(" ")))
    };
    let mut days = vec![];
    for item in text.split(',') {
        let (first, last) = match item.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(item)?, day(item)?),
        };
        days.extend((0..=(last - first).rem_euclid(7)).map(|more| (first + more) % 7));
    }
    Ok(days)
}

/// `HH:MM` up to `24:00`, in seconds.
fn time_of_day(text: &str) -> Result<i64, String> {
    let number = |digits: &str| match digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<i64>().ok(),
        false => None,
    };
    let read = text.split_once(':').and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)));
    match read {
        Some((hours, minutes)) if (hours < 24 && minutes < 60) || (hours, minutes) == (24, 0) => {
            Ok((hours * 60 + minutes) * MINUTE)
        }
        _ => Err(format!("`{text}` is no time of day, 00:00 to 24:00")),
    }
}

/// The edges of the union of these spans on the circle of the week; none if they cover all of it, or nothing.
fn edges(spans: Vec<(i64, i64)>) -> BTreeMap<i64, bool> {
    let halves = |(from, to): (i64, i64)| match to > WEEK {
        true => vec![(from, WEEK), (0, to - WEEK)],
        false => vec![(from, to)],
    };
    let mut spans: Vec<(i64, i64)> = spans.into_iter().flat_map(halves).collect();
    spans.sort_unstable();
    let mut edges = BTreeMap::new();
    let mut covered = -1;
    for (from, to) in spans {
        if from > covered {
            edges.insert(from, true);
        } else if to > covered {
            edges.remove(&covered);
        }
        if to > covered {
            edges.insert(to, false);
            covered = to;
        }
    }
    // The end of the week is its beginning.
    if let Some(end) = edges.remove(&WEEK)
        && edges.remove(&0).is_none()
    {
        edges.insert(0, end);
    }
    edges
}

/// The windows as written.
impl fmt::Display for Blackout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.texts.join(", "))
    }
}

impl fmt::Debug for Blackout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blackout({:?}, {})", self.texts, self.zone)
    }
}

#[cfg(test)]
mod tests;
