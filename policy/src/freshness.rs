//! Whether the newest good backup is recent enough.

use crate::moment;
use crate::schedule::{Cron, count_while, two_slots_after};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// Whether the newest good backup (or proof) is recent enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Fresh {
        /// Until then, if nothing new comes.
        until: DateTime<Utc>,
    },
    /// The deadline has passed.
    Late {
        /// By how much.
        by: Duration,
    },
    /// There is none at all.
    Missing,
}

/// The instant by which a newer one must be there.
///
/// With `fixed` (an `alert_after` in the config), so long after `newest`. Without (`auto`), two slots of `cron` after the
/// slot that `newest` served, plus `limit`, the time that a run may take: one missed slot stays silent, two do not.
/// `None` if there is no newest one.
///
/// Time within the blackout of `cron` does not count in either: nothing may begin then, so nothing can be late.
#[must_use]
pub fn deadline(
    newest: Option<DateTime<Utc>>,
    cron: &Cron,
    limit: Duration,
    fixed: Option<Duration>,
) -> Option<DateTime<Utc>> {
    let newest = newest?;
    Some(match fixed {
        Some(span) => cron.blackout().after(newest, span),
        None => cron.blackout().after(two_slots_after(cron, newest), limit),
    })
}

/// What a [`deadline`] comes to at `now`. At the deadline itself it is still fresh.
#[must_use]
pub fn freshness(deadline: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Freshness {
    match deadline {
        None => Freshness::Missing,
        Some(until) if now <= until => Freshness::Fresh { until },
        Some(passed) => Freshness::Late { by: moment::between(passed, now) },
    }
}

/// How many slots in a row, up to the newest whose `limit` has passed at `now`, have no backup: those after `newest_slot`,
/// at most 10,000. With no backup at all there is no first slot to count from: 1 as soon as any slot's limit has passed.
#[must_use]
pub fn missed_slots(cron: &Cron, newest_slot: Option<DateTime<Utc>>, now: DateTime<Utc>, limit: Duration) -> u32 {
    match newest_slot {
        Some(slot) => count_while(cron, slot, |missed| cron.blackout().after(missed, limit) < now),
        None => u32::from(cron.latest_at_or_before(moment::before(now, limit)).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::UTC;

    const LIMIT: Duration = Duration::from_secs(600);

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn half_hourly() -> Cron {
        Cron::parse("*/30 * * * *", UTC).unwrap()
    }

    #[test]
    fn one_missed_slot_stays_silent_and_two_do_not() {
        let newest = Some(utc("2026-11-23T02:30:04Z"));
        let until = utc("2026-11-23T03:40:00Z");
        assert_eq!(deadline(newest, &half_hourly(), LIMIT, None), Some(until));
        assert_eq!(freshness(Some(until), until), Freshness::Fresh { until });
        let late = Freshness::Late { by: Duration::from_secs(60) };
        assert_eq!(freshness(Some(until), utc("2026-11-23T03:41:00Z")), late);
    }

    #[test]
    fn a_fixed_deadline_counts_from_the_backup() {
        let newest = Some(utc("2026-11-23T02:30:04Z"));
        let fixed = Some(Duration::from_secs(7200));
        assert_eq!(deadline(newest, &half_hourly(), LIMIT, fixed), Some(utc("2026-11-23T04:30:04Z")));
        let for_ever = deadline(newest, &half_hourly(), LIMIT, Some(Duration::MAX));
        assert_eq!(for_ever, Some(DateTime::<Utc>::MAX_UTC));
    }

    #[test]
    fn a_nightly_schedule_waits_two_nights() {
        let nightly = Cron::parse("0 2 * * 1-5", UTC).unwrap();
        let friday = Some(utc("2026-11-20T02:00:09Z"));
        assert_eq!(deadline(friday, &nightly, LIMIT, None), Some(utc("2026-11-24T02:10:00Z")));
    }

    #[test]
    fn without_a_backup_there_is_no_deadline() {
        assert_eq!(deadline(None, &half_hourly(), LIMIT, Some(LIMIT)), None);
        assert_eq!(freshness(None, utc("2026-11-23T02:30:00Z")), Freshness::Missing);
    }

    #[test]
    fn at_the_end_of_the_calendar_a_deadline_still_exists() {
        let last = utc("2100-12-30T00:00:00Z");
        assert_eq!(deadline(Some(last), &half_hourly(), LIMIT, None), Some(utc("2100-12-30T01:10:00Z")));
        assert!(deadline(Some(DateTime::<Utc>::MAX_UTC), &half_hourly(), LIMIT, None).is_some());
    }

    #[test]
    fn a_slot_is_missed_once_its_limit_has_passed() {
        let missed = |slot: Option<&str>, now| missed_slots(&half_hourly(), slot.map(utc), utc(now), LIMIT);
        let newest = Some("2026-11-23T02:30:00Z");
        assert_eq!(missed(newest, "2026-11-23T03:10:00Z"), 0);
        assert_eq!(missed(newest, "2026-11-23T03:10:01Z"), 1);
        assert_eq!(missed(newest, "2026-11-23T04:11:00Z"), 3);
        assert_eq!(missed(newest, "2026-11-23T01:00:00Z"), 0, "a clock put back misses nothing");
        assert_eq!(missed(None, "2026-11-23T01:00:00Z"), 1);
        assert_eq!(missed(newest, "2036-11-23T01:00:00Z"), 10_000);
    }
}
