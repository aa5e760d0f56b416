//! Which hour, day, week, month or year a backup belongs to. Total functions: every instant has exactly one of each.

use super::{Keep, Reason};
use crate::moment;
use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

/// A rule that keeps one backup of each of the newest `n` buckets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    pub(super) const ALL: [Period; 5] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];

    /// How many buckets the rules keep of this period.
    pub(super) fn count(self, keep: &Keep) -> u32 {
        match self {
            Period::Hour => keep.hourly,
            Period::Day => keep.daily,
            Period::Week => keep.weekly,
            Period::Month => keep.monthly,
            Period::Year => keep.yearly,
        }
    }

    /// The bucket of an instant. An hour is the UTC instant at which the clock on the wall began it, so the hour that
    /// autumn repeats is two buckets; the others are days of the calendar.
    pub(super) fn bucket(self, at: DateTime<Utc>, zone: Tz) -> (i64, i64) {
        let civil = moment::civil(at, zone);
        let number = |n: u32| i64::from(n);
        match self {
            Period::Hour => {
                let into_hour = i64::from(civil.minute() * 60 + civil.second());
                (at.timestamp() - into_hour, 0)
            }
            Period::Day => (i64::from(civil.num_days_from_ce()), 0),
            Period::Week => (i64::from(civil.iso_week().year()), number(civil.iso_week().week())),
            Period::Month => (i64::from(civil.year()), number(civil.month())),
            Period::Year => (i64::from(civil.year()), 0),
        }
    }

    /// The reason that names the bucket of an instant.
    pub(super) fn reason(self, at: DateTime<Utc>, zone: Tz) -> Reason {
        let civil = moment::civil(at, zone);
        match self {
            Period::Hour => Reason::Hourly(civil.format("%Y-%m-%dT%H").to_string()),
            Period::Day => Reason::Daily(civil.format("%Y-%m-%d").to_string()),
            Period::Week => Reason::Weekly(civil.format("%G-W%V").to_string()),
            Period::Month => Reason::Monthly(civil.format("%Y-%m").to_string()),
            Period::Year => Reason::Yearly(civil.format("%Y").to_string()),
        }
    }
}

/// Whether `at` is less than `span` older than `newest`.
pub(super) fn within(at: DateTime<Utc>, newest: DateTime<Utc>, span: std::time::Duration) -> bool {
    let Ok(span) = TimeDelta::from_std(span) else {
        return true;
    };
    newest.signed_duration_since(at) < span
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn the_hour_that_autumn_repeats_is_two_buckets() {
        let berlin = chrono_tz::Europe::Berlin;
        let (first, second) = (utc("2026-10-25T00:10:00Z"), utc("2026-10-25T01:10:00Z"));
        assert_eq!(moment::civil(first, berlin), moment::civil(second, berlin) /* 02:10 twice */);
        assert_ne!(Period::Hour.bucket(first, berlin), Period::Hour.bucket(second, berlin));
        assert_eq!(Period::Day.bucket(first, berlin), Period::Day.bucket(second, berlin));
    }

    #[test]
    fn an_iso_week_is_not_split_at_new_year() {
        let zone = chrono_tz::UTC;
        let (old, new) = (utc("2026-12-31T12:00:00Z"), utc("2027-01-01T12:00:00Z"));
        assert_eq!(Period::Week.bucket(old, zone), Period::Week.bucket(new, zone));
        assert_eq!(Period::Week.reason(new, zone), Reason::Weekly("2026-W53".into()));
        assert_ne!(Period::Year.bucket(old, zone), Period::Year.bucket(new, zone));
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let at = utc("2026-11-20T23:30:00Z");
        assert_eq!(Period::Day.reason(at, chrono_tz::UTC), Reason::Daily("2026-11-20".into()));
        assert_eq!(Period::Day.reason(at, chrono_tz::Asia::Kolkata), Reason::Daily("2026-11-21".into()));
        assert_eq!(Period::Hour.reason(at, chrono_tz::Asia::Kolkata), Reason::Hourly("2026-11-21T05".into()));
    }

    #[test]
    fn an_hour_of_a_half_hour_zone_begins_at_half_past() {
        let zone = chrono_tz::Asia::Kolkata;
        let hour = |text| Period::Hour.bucket(utc(text), zone);
        assert_eq!(hour("2026-11-20T08:30:00Z"), hour("2026-11-20T09:29:59Z"));
        assert_ne!(hour("2026-11-20T08:29:59Z"), hour("2026-11-20T08:30:00Z"));
    }

    #[test]
    fn the_ends_of_time_have_buckets_too() {
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, Utc.timestamp_opt(0, 0).unwrap()] {
            for zone in [chrono_tz::Pacific::Kiritimati, chrono_tz::Pacific::Niue] {
                for period in Period::ALL {
                    assert_eq!(period.bucket(at, zone), period.bucket(at, zone));
                    assert!(!period.reason(at, zone).to_string().is_empty());
                }
            }
        }
    }
}
