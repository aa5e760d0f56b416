//! Buckets are total functions: over 400 years and many zones, each backup stands for exactly the civil hour, day, week,
//! month and year that a calendar gives it.

use crate::world::{cases, plan, proven, zones};
use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Facts, Keep, Rules};
use proptest::prelude::*;
use std::time::Duration;

fn fact(at: DateTime<Utc>, revision: i64) -> Facts {
    Facts {
        id: BackupId::new(at, revision.unsigned_abs()),
        lineage: "a".to_owned(),
        revision,
        captured_at: at,
        standing: proven(),
        hold: None,
        tombstone: None,
        sealed_bytes: 1,
        keys: 1,
        db_bytes: 1,
        parents: vec![],
        late: false,
    }
}

/// Whether the rule sees the two instants, the later of which is `b`, as one bucket: then it keeps `b` and not `a`.
fn one_bucket(a: DateTime<Utc>, b: DateTime<Utc>, zone: chrono_tz::Tz, rule: impl Fn(&mut Keep)) -> bool {
    let mut keep = Keep { min_proven: 0, ..Keep::default() };
    rule(&mut keep);
    let rules = Rules {
        keep: Some(keep),
        time_zone: zone,
        grace: Duration::ZERO,
        min_age: Duration::ZERO,
        max_deletions: 2,
        freeze_if_shrunk: None,
    };
    let plan = plan(&[fact(a, 1), fact(b, 2)], &rules, b);
    assert!(plan.frozen.is_none());
    plan.kept().count() == 1
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn two_backups_share_a_bucket_if_and_only_if_the_calendar_says_so(
        seconds in -2_208_988_800i64..10_413_792_000,
        apart in prop_oneof![0i64..7300, 0i64..200_000, 0i64..1_300_000, 0i64..40_000_000],
        zone in zones(),
    ) {
        let a = DateTime::from_timestamp(seconds, 0).unwrap();
        let b = a + TimeDelta::seconds(apart);
        let (civil_a, civil_b) = (a.with_timezone(&zone), b.with_timezone(&zone));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.daily = 5), civil_a.date_naive() == civil_b.date_naive());
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.weekly = 5), civil_a.iso_week() == civil_b.iso_week());
        let month = |t: DateTime<chrono_tz::Tz>| (t.year(), t.month());
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.monthly = 5), month(civil_a) == month(civil_b));
        let quarter = |t: DateTime<chrono_tz::Tz>| (t.year(), t.month0() / 3);
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.quarterly = 5), quarter(civil_a) == quarter(civil_b));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.yearly = 5), civil_a.year() == civil_b.year());
        // The same hour on the wall, and the same one of the two that autumn makes of it.
        let hour = |t: DateTime<chrono_tz::Tz>| t.to_utc() - TimeDelta::seconds(i64::from(t.minute() * 60 + t.second()));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.hourly = 5), hour(civil_a) == hour(civil_b));
        // Rules with a span have the same buckets.
        let long = Some(Duration::from_secs(500 * 86_400));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.within_hourly = long), one_bucket(a, b, zone, |k| k.hourly = 5));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.within_daily = long), one_bucket(a, b, zone, |k| k.daily = 5));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.within_weekly = long), one_bucket(a, b, zone, |k| k.weekly = 5));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.within_monthly = long), one_bucket(a, b, zone, |k| k.monthly = 5));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.within_quarterly = long), one_bucket(a, b, zone, |k| k.quarterly = 5));
        prop_assert_eq!(one_bucket(a, b, zone, |k| k.within_yearly = long), one_bucket(a, b, zone, |k| k.yearly = 5));
    }
}
