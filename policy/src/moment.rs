//! How instants are written, and arithmetic on them that cannot overflow: at the ends of chrono's range it stays there
//! instead of panicking.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use std::time::Duration;

/// An instant as people write it: RFC 3339, or a date, which is its first moment in UTC.
///
/// # Errors
/// With what was written, and how it should be.
pub fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    match text.parse::<NaiveDate>() {
        Ok(date) => Ok(date.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => Err(format!("{text:?} is no time: give one like 2026-11-23T02:30:00Z or a date like 2026-11-23")),
    }
}

/// How far an entry's time may lie ahead of ours before we call it dated in the future.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// `at + span`, at most the last instant there is.
pub(crate) fn after(at: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(span).ok().and_then(|delta| at.checked_add_signed(delta)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `at - span`, at least the first instant there is.
pub(crate) fn before(at: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(span).ok().and_then(|delta| at.checked_sub_signed(delta)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// The time from `earlier` to `later`; zero if they are the other way round.
pub(crate) fn between(earlier: DateTime<Utc>, later: DateTime<Utc>) -> Duration {
    later.signed_duration_since(earlier).to_std().unwrap_or(Duration::ZERO)
}

/// Whether `at` is further ahead of `now` than clocks may differ.
pub(crate) fn is_future(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at > after(now, CLOCK_TOLERANCE)
}

/// Seconds that the zone is ahead of UTC at this instant.
pub(crate) fn offset(at: DateTime<Utc>, zone: Tz) -> i64 {
    i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
}

/// What the clock on the wall shows at this instant. Total: at the ends of chrono's range it falls back to UTC.
pub(crate) fn civil(at: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    let naive = at.naive_utc();
    naive.checked_add_signed(TimeDelta::seconds(offset(at, zone))).unwrap_or(naive)
}
