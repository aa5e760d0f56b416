//! When the next run is due: crontab expressions with the meaning that crontab(5) gives them, in a time zone.
//!
//! Built on the `cron` crate, whose differences are hidden: five fields, `0` and `7` are Sunday, a day of month and a day of
//! week that are both restricted mean *either*, and clocks that are put forward or back lose no run and double none:
//! - where the hour field covers all 24 hours, a run follows the clock on the wall: both halves of a repeated hour run, and
//!   times that are skipped do not exist;
//! - elsewhere a civil time that is repeated runs once, the first time, and one that is skipped runs at the next instant
//!   that exists.
//!
//! A run that would begin within a [`Blackout`] begins at its end instead, one for all that fell into the same window.
//!
//! A *slot* is the UTC instant of a run before jitter.

mod blackout;
mod due;
mod field;
mod zone;

pub use blackout::{Blackout, BlackoutError, Window};
pub use due::{Due, Fired, due, due_unfired, jitter};
pub(crate) use due::{count_while, mix, two_slots_after};

use crate::moment;
use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use std::fmt;
use std::time::Duration;
use zone::{Civil, SECOND};

/// A schedule: a crontab expression in a time zone, and when its runs have to wait. It fires at least once between 1970 and
/// 2100.
#[derive(Clone)]
pub struct Cron {
    text: String,
    zone: Tz,
    civil: Civil,
    blackout: Blackout,
}

/// How many windows and gaps between them are looked at to tell what a blackout does: two years of nights.
const LOOKED_AT: u32 = 1500;

/// What a blackout does to a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No time of the expression falls into it.
    Nothing,
    /// Some do, some do not.
    DefersSome,
    /// All do: every run begins at the end of a window.
    DefersAll,
}

/// Why a text is not a schedule. `Display` names the field, what is wrong and how to write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Nothing there.
    #[error("the schedule is empty: write five fields, like \"*/30 * * * *\", or @hourly")]
    Empty,
    /// Not five (or six) fields.
    #[error(
        "the schedule `{text}` has {found} fields, not five (minute hour day-of-month month day-of-week) \
         or six (second before them): like \"*/30 * * * *\""
    )]
    Fields {
        /// The whole text.
        text: String,
        /// How many fields it has.
        found: usize,
    },
    /// A word with an `@` that means nothing here.
    #[error("`{text}` is not a schedule: the words are @hourly, @daily, @weekly, @monthly and @yearly; {hint}")]
    Word {
        /// The whole text.
        text: String,
        /// What to write instead.
        hint: &'static str,
    },
    /// A field that is wrong.
    #[error("{field} `{value}` of the schedule: {problem}, like `{example}`")]
    Field {
        /// The field's name, like `day of month`.
        field: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// A value that is right.
        example: &'static str,
    },
    /// Right in form, but no such day ever comes.
    #[error("the schedule `{0}` never fires: there is no such day, as with \"0 0 30 2 *\"")]
    Never(String),
}

impl Cron {
    /// Reads a crontab expression: five fields (minute, hour, day of month, month, day of week), or six with the second
    /// before them, or one of `@hourly @daily @midnight @weekly @monthly @yearly @annually`. Fields know `*`, numbers,
    /// names (`jan`, `mon`), ranges `a-b`, steps `*/n` and `a-b/n`, and lists of these.
    ///
    /// # Errors
    /// [`CronError`] names the field and says how to write it. A schedule that never fires is an error too.
    pub fn parse(expr: &str, tz: Tz) -> Result<Cron, CronError> {
        let text = expr.trim();
        let civil = Civil::new(&field::Fields::parse(text)?).ok_or_else(|| CronError::Never(text.to_owned()))?;
        Ok(Cron { text: text.to_owned(), zone: tz, civil, blackout: Blackout::none() })
    }

    /// The same schedule, where no run begins within these windows.
    #[must_use]
    pub fn with_blackout(self, blackout: Blackout) -> Cron {
        Cron { blackout, ..self }
    }

    /// When no run begins.
    #[must_use]
    pub fn blackout(&self) -> &Blackout {
        &self.blackout
    }

    /// The zone in which the fields are read.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first slot after `t`, if there is one before the year 2101.
    #[must_use]
    pub fn next_after(&self, t: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.blackout.window_at(t) {
            Some(window) if self.latest_written(t).is_some_and(|at| at >= window.start) => Some(window.end),
            _ => self.next_written(t).map(|at| self.deferred(at)),
        }
    }

    /// The last slot at or before `t`, if there is one after 1970.
    #[must_use]
    pub fn latest_at_or_before(&self, t: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // What fell into the window around `t` is served at its end, which is still to come.
        let until = self.blackout.window_at(t).map_or(t, |window| window.start - SECOND);
        self.latest_written(until).map(|at| self.deferred(at))
    }

    fn deferred(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.blackout.end_at(at).unwrap_or(at)
    }

    /// The first time after `t` that the expression names.
    fn next_written(&self, t: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if t >= latest() {
            return None;
        }
        self.civil.next_after(whole_second(t.max(earliest())), self.zone)
    }

    /// The last time at or before `t` that the expression names.
    fn latest_written(&self, t: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if t < earliest() {
            return None;
        }
        self.civil.latest_at_or_before(whole_second(t.min(latest())), self.zone)
    }

    /// How far the runs of `slot` may be spread: as wanted, but at most over a tenth of the time between slots, so that a
    /// short schedule is not swallowed by its own jitter, and not into the next window of the blackout.
    #[must_use]
    pub fn spread(&self, slot: DateTime<Utc>, wanted: Duration) -> Duration {
        let open = self.blackout.next_start(slot).map_or(Duration::MAX, |start| moment::between(slot, start));
        wanted.min(self.period_near(slot) / 10).min(open)
    }

    /// What the blackout does to this schedule, as far as the first two years of windows show: from 2024 on, a leap year.
    #[must_use]
    pub fn effect_of_blackout(&self) -> Effect {
        let (mut inside, mut outside) = (false, false);
        let mut at = Utc.timestamp_opt(1_704_067_200, 0).single().unwrap_or_default();
        for _ in 0..LOOKED_AT {
            let Some(slot) = self.next_written(at) else { break };
            let (seen, next) = match self.blackout.end_at(slot) {
                Some(end) => (&mut inside, Some(end)),
                None => (&mut outside, self.blackout.next_start(slot)),
            };
            *seen = true;
            match next {
                Some(next) if !(inside && outside) => at = next - SECOND,
                _ => break,
            }
        }
        match (inside, outside) {
            (false, _) => Effect::Nothing,
            (true, true) => Effect::DefersSome,
            (true, false) => Effect::DefersAll,
        }
    }

    /// The time between the two slots around `t`: from the last one at or before it to the next one. At the ends of the
    /// calendar, between the two slots that are nearest; zero only if the schedule has a single slot.
    #[must_use]
    pub fn period_near(&self, t: DateTime<Utc>) -> Duration {
        let (before, after) = (self.latest_at_or_before(t), self.next_after(t));
        let pair = match (before, after) {
            (Some(before), Some(after)) => Some((before, after)),
            (None, Some(first)) => self.next_after(first).map(|second| (first, second)),
            (Some(last), None) => self.latest_at_or_before(last - SECOND).map(|other| (other, last)),
            (None, None) => None,
        };
        pair.map_or(Duration::ZERO, |(before, after)| moment::between(before, after))
    }
}

/// The `cron` crate knows the years 1970 to 2100; two days inside of them every zone's civil time is within, too.
fn earliest() -> DateTime<Utc> {
    Utc.timestamp_opt(2 * 86_400, 0).single().unwrap_or_default()
}

/// 2100-12-30T00:00:00Z.
fn latest() -> DateTime<Utc> {
    Utc.timestamp_opt(4_133_894_400, 0).single().unwrap_or_default()
}

fn whole_second(t: DateTime<Utc>) -> DateTime<Utc> {
    Utc.timestamp_opt(t.timestamp(), 0).single().unwrap_or(t)
}

/// The text as written.
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?}, {})", self.text, self.zone)
    }
}

/// Equal if written the same, in the same zone, with the same blackout.
impl PartialEq for Cron {
    fn eq(&self, other: &Cron) -> bool {
        self.text == other.text && self.zone == other.zone && self.blackout == other.blackout
    }
}

impl Eq for Cron {}

#[cfg(test)]
mod tests;
