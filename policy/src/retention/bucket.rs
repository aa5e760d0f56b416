//! Which hour, day, week, month, quarter or year a backup belongs to. Total functions: every instant has exactly one of each.

use super::{Keep, Reason};
use crate::moment;
use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use std::time::Duration;

/// A stretch of the calendar of which rules keep one backup each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Period {
    pub(super) const ALL: [Period; 6] =
        [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year];

    /// How many buckets the rules keep of this period.
    pub(super) fn count(self, keep: &Keep) -> u32 {
        match self {
            Period::Hour => keep.hourly,
            Period::Day => keep.daily,
            Period::Week => keep.weekly,
            Period::Month => keep.monthly,
            Period::Quarter => keep.quarterly,
            Period::Year => keep.yearly,
        }
    }

    /// How far back the rules keep every bucket of this period.
    pub(super) fn span(self, keep: &Keep) -> Option<Duration> {
        match self {
            Period::Hour => keep.within_hourly,
            Period::Day => keep.within_daily,
            Period::Week => keep.within_weekly,
            Period::Month => keep.within_monthly,
            Period::Quarter => keep.within_quarterly,
            Period::Year => keep.within_yearly,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Quarter => "quarterly",
            Period::Year => "yearly",
        }
    }

    /// The bucket of an instant. An hour is the UTC instant at which the clock on the wall began it, so the hour that
    /// autumn repeats is two buckets; the others are days of the calendar.
    pub(super) fn bucket(self, at: DateTime<Utc>, zone: Tz) -> (i64, i64) {
        let civil = moment::civil(at, zone);
        match self {
            Period::Hour => (at.timestamp() - i64::from(civil.minute() * 60 + civil.second()), 0),
            _ => self.on_calendar(civil),
        }
    }

    /// The bucket of a civil time. What is later on the calendar is in no earlier bucket.
    fn on_calendar(self, civil: NaiveDateTime) -> (i64, i64) {
        let number = |n: u32| i64::from(n);
        match self {
            Period::Hour => (i64::from(civil.num_days_from_ce()), number(civil.hour())),
            Period::Day => (i64::from(civil.num_days_from_ce()), 0),
            Period::Week => (i64::from(civil.iso_week().year()), number(civil.iso_week().week())),
            Period::Month => (i64::from(civil.year()), number(civil.month())),
            Period::Quarter => (i64::from(civil.year()), number(civil.quarter())),
            Period::Year => (i64::from(civil.year()), 0),
        }
    }

    /// Whether the bucket of an instant reaches into the time less than `span` before `newest`. It is the same for all of
    /// a bucket, and a longer span is never reached by less: so it is counted on the clock of the wall, which is not put back.
    pub(super) fn reaches(self, at: DateTime<Utc>, newest: DateTime<Utc>, span: Duration, zone: Tz) -> bool {
        match self {
            // The hour that autumn repeats is two buckets: instants tell them apart.
            Period::Hour => self.bucket(at, zone).0.saturating_add(3600) > moment::before(newest, span).timestamp(),
            _ => {
                let newest = moment::civil(newest, zone);
                let start = TimeDelta::from_std(span).ok().and_then(|span| newest.checked_sub_signed(span));
                start.is_none_or(|start| self.bucket(at, zone) >= self.on_calendar(start))
            }
        }
    }

    /// The bucket's name: what the clock and calendar on the wall show.
    fn text(self, at: DateTime<Utc>, zone: Tz) -> String {
        let civil = moment::civil(at, zone);
        let format = match self {
            Period::Hour => "%Y-%m-%dT%H",
            Period::Day => "%Y-%m-%d",
            Period::Week => "%G-W%V",
            Period::Month => "%Y-%m",
            Period::Quarter => return format!("{}-Q{}", civil.format("%Y"), civil.quarter()),
            Period::Year => "%Y",
        };
        civil.format(format).to_string()
    }

    /// Why the backup stays that stands for the bucket of an instant, by the rule with a number.
    pub(super) fn reason(self, at: DateTime<Utc>, zone: Tz) -> Reason {
        let text = self.text(at, zone);
        match self {
            Period::Hour => Reason::Hourly(text),
            Period::Day => Reason::Daily(text),
            Period::Week => Reason::Weekly(text),
            Period::Month => Reason::Monthly(text),
            Period::Quarter => Reason::Quarterly(text),
            Period::Year => Reason::Yearly(text),
        }
    }

    /// The same by the rule with a span.
    pub(super) fn reason_within(self, at: DateTime<Utc>, zone: Tz) -> Reason {
        Reason::WithinEach { period: self.name(), bucket: self.text(at, zone) }
    }
}

/// Whether `at` is less than `span` older than `newest`.
pub(super) fn within(at: DateTime<Utc>, newest: DateTime<Utc>, span: Duration) -> bool {
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
    fn a_quarter_is_three_months() {
        let quarter = |text| Period::Quarter.reason(utc(text), chrono_tz::UTC).to_string();
        assert_eq!(quarter("2026-01-01T00:00:00Z"), "quarterly 2026-Q1");
        assert_eq!(quarter("2026-03-31T23:59:59Z"), "quarterly 2026-Q1");
        assert_eq!(quarter("2026-04-01T00:00:00Z"), "quarterly 2026-Q2");
        assert_eq!(quarter("2026-12-31T23:59:59Z"), "quarterly 2026-Q4");
        let within = Period::Quarter.reason_within(utc("2026-07-01T00:00:00Z"), chrono_tz::UTC);
        assert_eq!(
            (within.to_string(), within.group()),
            ("within_quarterly 2026-Q3".into(), "within_quarterly".into())
        );
    }

    #[test]
    fn a_span_reaches_every_bucket_that_it_touches() {
        let newest = utc("2026-11-20T12:00:00Z");
        let reaches = |period: Period, at, hours: u64| {
            period.reaches(utc(at), newest, Duration::from_secs(hours * 3600), chrono_tz::UTC)
        };
        // 24 hours before noon is noon: all of that day is in, and nothing of the one before.
        assert!(reaches(Period::Day, "2026-11-19T00:00:00Z", 24) && !reaches(Period::Day, "2026-11-18T23:59:59Z", 24));
        assert!(
            reaches(Period::Hour, "2026-11-19T12:00:00Z", 24) && !reaches(Period::Hour, "2026-11-19T11:59:59Z", 24)
        );
        assert!(
            reaches(Period::Quarter, "2026-07-01T00:00:00Z", 24 * 60)
                && !reaches(Period::Year, "2025-12-31T23:59:59Z", 24)
        );
        assert!(Period::Year.reaches(DateTime::<Utc>::MIN_UTC, newest, Duration::MAX, chrono_tz::UTC));
        // Newer than the newest by the order of revisions, and dated later.
        assert!(reaches(Period::Month, "2026-12-24T12:00:00Z", 1));
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
