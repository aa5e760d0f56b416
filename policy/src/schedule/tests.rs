use super::*;
use chrono_tz::{America, Australia, Europe, UTC};

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn cron(expr: &str, zone: Tz) -> Cron {
    Cron::parse(expr, zone).unwrap_or_else(|e| panic!("{expr}: {e}"))
}

/// The slots from `from` on, as the zone's clock shows them.
fn slots(expr: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
    let cron = cron(expr, zone);
    let forward: Vec<DateTime<Utc>> =
        std::iter::successors(cron.next_after(utc(from)), |t| cron.next_after(*t)).take(count).collect();
    let mut back: Vec<DateTime<Utc>> = std::iter::successors(forward.last().copied(), |t| {
        cron.latest_at_or_before(*t - chrono::TimeDelta::seconds(1))
    })
    .take(count)
    .collect();
    back.reverse();
    assert_eq!(forward, back, "{expr}: backwards must give the same");
    forward.iter().map(|t| t.with_timezone(&zone).format("%m-%dT%H:%M:%S%:z").to_string()).collect()
}

fn error(expr: &str) -> String {
    Cron::parse(expr, UTC).expect_err(expr).to_string()
}

#[test]
fn sunday_is_0_and_7_and_its_name() {
    for expr in ["0 2 * * 0", "0 2 * * 7", "0 2 * * sun", "0 2 * * SUN", "0 2 * * 7-7"] {
        assert_eq!(
            slots(expr, UTC, "2026-11-20T00:00:00Z", 2),
            ["11-22T02:00:00+00:00", "11-29T02:00:00+00:00"],
            "{expr}"
        );
    }
    let weekend = ["11-20T02:00:00+00:00", "11-21T02:00:00+00:00", "11-22T02:00:00+00:00", "11-27T02:00:00+00:00"];
    for expr in ["0 2 * * 5-7", "0 2 * * fri-sun", "0 2 * * 0,5,6"] {
        assert_eq!(slots(expr, UTC, "2026-11-20T00:00:00Z", 4), weekend, "{expr}");
    }
    assert_eq!(slots("0 2 * * 1-5", UTC, "2026-11-20T12:00:00Z", 1), ["11-23T02:00:00+00:00"], "1 is Monday");
}

#[test]
fn a_step_does_not_wrap_into_the_next_hour() {
    let expected = ["11-20T00:45:00+00:00", "11-20T01:00:00+00:00", "11-20T01:45:00+00:00", "11-20T02:00:00+00:00"];
    assert_eq!(slots("*/45 * * * *", UTC, "2026-11-20T00:00:00Z", 4), expected);
}

#[test]
fn a_day_of_month_and_a_day_of_week_mean_either() {
    let expected = ["11-02T02:00:00+00:00", "11-09T02:00:00+00:00", "11-13T02:00:00+00:00", "11-16T02:00:00+00:00"];
    assert_eq!(slots("0 2 13 * mon", UTC, "2026-11-01T00:00:00Z", 4), expected);
    let mondays_of_odd_days = ["11-09T02:00:00+00:00", "11-23T02:00:00+00:00", "12-07T02:00:00+00:00"];
    assert_eq!(slots("0 2 */2 * 1", UTC, "2026-11-03T00:00:00Z", 3), mondays_of_odd_days, "a star is unrestricted");
}

#[test]
fn a_leading_field_is_seconds_and_words_are_known() {
    assert_eq!(
        slots("*/20 * * * * *", UTC, "2026-11-20T00:00:00Z", 2),
        ["11-20T00:00:20+00:00", "11-20T00:00:40+00:00"]
    );
    assert_eq!(slots("@hourly", UTC, "2026-11-20T00:00:00Z", 1), ["11-20T01:00:00+00:00"]);
    assert_eq!(slots("@daily", UTC, "2026-11-20T00:00:00Z", 1), ["11-21T00:00:00+00:00"]);
    assert_eq!(slots("@weekly", UTC, "2026-11-20T00:00:00Z", 1), ["11-22T00:00:00+00:00"]);
    assert_eq!(slots("@monthly", UTC, "2026-11-20T00:00:00Z", 1), ["12-01T00:00:00+00:00"]);
    assert_eq!(slots("@yearly", UTC, "2026-11-20T00:00:00Z", 1), ["01-01T00:00:00+00:00"]);
}

#[test]
fn a_skipped_time_runs_at_the_next_instant_that_exists() {
    let daily = ["03-28T02:30:00+01:00", "03-29T03:00:00+02:00", "03-30T02:30:00+02:00"];
    assert_eq!(slots("30 2 * * *", Europe::Berlin, "2026-03-27T12:00:00Z", 3), daily);
    let several = ["03-29T03:00:00+02:00", "03-29T03:30:00+02:00", "03-30T02:00:00+02:00"];
    assert_eq!(
        slots("0,30 2-3 * * *", Europe::Berlin, "2026-03-29T00:00:00Z", 3),
        several,
        "one run, not three at once"
    );
}

#[test]
fn a_repeated_time_runs_once_and_the_first_time() {
    let daily = ["10-24T02:30:00+02:00", "10-25T02:30:00+02:00", "10-26T02:30:00+01:00"];
    assert_eq!(slots("30 2 * * *", Europe::Berlin, "2026-10-23T12:00:00Z", 3), daily);
    let american = ["10-31T01:30:00-04:00", "11-01T01:30:00-04:00", "11-02T01:30:00-05:00"];
    assert_eq!(slots("30 1 * * *", America::New_York, "2026-10-30T12:00:00Z", 3), american);
}

#[test]
fn where_every_hour_counts_both_halves_of_a_repeated_hour_run() {
    let half_hours = [
        "10-25T02:00:00+02:00",
        "10-25T02:30:00+02:00",
        "10-25T02:00:00+01:00",
        "10-25T02:30:00+01:00",
        "10-25T03:00:00+01:00",
    ];
    assert_eq!(slots("*/30 * * * *", Europe::Berlin, "2026-10-24T23:30:00Z", 5), half_hours);
    assert_eq!(slots("*/30 0-23 * * *", Europe::Berlin, "2026-10-24T23:30:00Z", 5), half_hours);
    let spring = ["03-29T01:30:00+01:00", "03-29T03:00:00+02:00", "03-29T03:30:00+02:00"];
    assert_eq!(slots("*/30 * * * *", Europe::Berlin, "2026-03-29T00:00:00Z", 3), spring);
}

#[test]
fn half_hour_changes_and_a_lost_day_are_followed() {
    let lord_howe = ["04-05T01:30:00+11:00", "04-05T01:30:00+10:30", "04-05T02:00:00+10:30"];
    assert_eq!(slots("*/30 * * * *", Australia::Lord_Howe, "2026-04-04T14:00:00Z", 3), lord_howe);
    let lost_day = ["12-29T12:00:00-10:00", "12-31T00:00:00+14:00", "12-31T12:00:00+14:00"];
    assert_eq!(slots("0 12 * * *", chrono_tz::Pacific::Apia, "2011-12-29T12:00:00Z", 3), lost_day);
}

#[test]
fn an_error_names_the_field_and_shows_how_to_write_it() {
    for (expr, words) in [
        ("", "is empty"),
        ("* * * *", "has 4 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("60 * * * *", "minute `60` of the schedule: 60 is not within 0 to 59, like `*/30`"),
        ("* 24 * * *", "hour `24`"),
        ("* * 0 * *", "day of month `0`"),
        ("* * * 13 *", "month `13`"),
        ("* * * * 8", "day of week `8`"),
        ("* * * * funday", "neither a number from 0 to 7 nor a name"),
        ("61 * * * * *", "second `61`"),
        ("0 22-2 * * *", "runs backwards: write `22-23,0-2`"),
        ("5/15 * * * *", "write `5-59/15`"),
        ("*/0 * * * *", "a step of 0"),
        ("*/90 * * * *", "a step of 90 does not fit"),
        ("*/x * * * *", "`x` is not a step"),
        ("1,,2 * * * *", "a value is missing"),
        ("+5 * * * *", "`+5` is not a number"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("@every 1h", "*/30"),
        ("@reboot", "caught up after a start"),
        ("@sometimes", "@hourly, @daily"),
        ("0 0 L * *", "day of month `L`"),
    ] {
        assert!(error(expr).contains(words), "{expr}: {}", error(expr));
    }
}

#[test]
fn a_leap_day_comes_every_four_years() {
    let cron = cron("0 0 29 2 *", UTC);
    assert_eq!(cron.next_after(utc("2026-01-01T00:00:00Z")), Some(utc("2028-02-29T00:00:00Z")));
    assert_eq!(cron.latest_at_or_before(utc("2026-01-01T00:00:00Z")), Some(utc("2024-02-29T00:00:00Z")));
}

#[test]
fn the_ends_of_time_are_answered_not_panicked_at() {
    let cron = cron("*/30 * * * *", chrono_tz::Pacific::Kiritimati);
    assert_eq!(cron.next_after(DateTime::<Utc>::MAX_UTC), None);
    assert_eq!(cron.latest_at_or_before(DateTime::<Utc>::MIN_UTC), None);
    assert!(cron.next_after(DateTime::<Utc>::MIN_UTC).is_some());
    assert!(cron.latest_at_or_before(DateTime::<Utc>::MAX_UTC).is_some());
    for t in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        assert_eq!(cron.period_near(t), Duration::from_secs(1800));
        assert!(matches!(due(&cron, Some(t), t), Due::NotBefore(_)));
    }
}

#[test]
fn the_period_is_that_of_the_slots_around() {
    let cron = cron("0 2,8 * * *", UTC);
    assert_eq!(cron.period_near(utc("2026-11-20T03:00:00Z")), Duration::from_secs(6 * 3600));
    assert_eq!(cron.period_near(utc("2026-11-20T08:00:00Z")), Duration::from_secs(18 * 3600));
}

#[test]
fn a_schedule_is_its_text_and_its_zone() {
    let berlin = cron(" */30 * * * * ", Europe::Berlin);
    assert_eq!(berlin.to_string(), "*/30 * * * *");
    assert_eq!(berlin, cron("*/30 * * * *", Europe::Berlin));
    assert_ne!(berlin, cron("*/30 * * * *", UTC));
    assert_eq!(format!("{berlin:?}"), "Cron(\"*/30 * * * *\", Europe/Berlin)");
    assert_eq!(berlin.zone(), Europe::Berlin);
}

#[test]
fn of_several_missed_slots_the_latest_is_caught_up_once() {
    let cron = cron("*/30 * * * *", UTC);
    let now = utc("2026-11-20T12:10:00Z");
    let slot = utc("2026-11-20T12:00:00Z");
    assert_eq!(due(&cron, Some(utc("2026-11-20T10:00:00Z")), now), Due::Now { slot, missed: 3 });
    assert_eq!(due(&cron, Some(slot), now), Due::NotBefore(utc("2026-11-20T12:30:00Z")));
    assert_eq!(due(&cron, None, now), Due::Now { slot, missed: 0 });
    assert_eq!(
        due(&cron, Some(slot), utc("2026-11-20T12:30:00Z")),
        Due::Now { slot: utc("2026-11-20T12:30:00Z"), missed: 0 }
    );
}

#[test]
fn a_clock_put_back_repeats_no_slot() {
    let cron = cron("*/30 * * * *", UTC);
    let served = utc("2026-11-20T12:00:00Z");
    let an_hour_back = utc("2026-11-20T11:05:00Z");
    assert_eq!(due(&cron, Some(served), an_hour_back), Due::NotBefore(utc("2026-11-20T12:30:00Z")));
    let fired: Fired = [utc("2026-11-20T11:00:00Z"), utc("2026-11-20T11:30:00Z"), served].into_iter().collect();
    assert_eq!(due_unfired(&cron, &fired, an_hour_back), Due::NotBefore(utc("2026-11-20T12:30:00Z")));
}

#[test]
fn a_slot_served_years_ahead_by_mistake_silences_only_itself() {
    let cron = cron("*/30 * * * *", UTC);
    let fired: Fired = [utc("2026-11-20T11:00:00Z"), utc("2036-01-01T00:00:00Z")].into_iter().collect();
    let now = utc("2026-11-20T12:05:00Z");
    assert_eq!(due_unfired(&cron, &fired, now), Due::Now { slot: utc("2026-11-20T12:00:00Z"), missed: 1 });
}

#[test]
fn the_memory_of_served_slots_is_bounded() {
    let mut fired = Fired::default();
    let at = |n: usize| DateTime::from_timestamp(i64::try_from(n).unwrap() * 1800, 0).unwrap();
    (0..Fired::CAPACITY + 10).for_each(|n| fired.record(at(n)));
    assert!(!fired.contains(at(9)) && fired.contains(at(10)) && fired.contains(at(Fired::CAPACITY + 9)));
    assert_eq!(fired.last_before(at(11)), Some(at(10)));
}

#[test]
fn jitter_is_less_than_its_spread_and_differs_between_seeds() {
    let slot = utc("2026-11-20T12:00:00Z");
    let spread = Duration::from_secs(60);
    let all: std::collections::BTreeSet<Duration> = (0..100).map(|seed| jitter(slot, spread, seed)).collect();
    assert!(all.iter().all(|wait| *wait < spread));
    assert!(all.len() == 100 && all.last().unwrap().as_secs() > 50 && all.first().unwrap().as_secs() < 10);
    assert_eq!(jitter(slot, spread, 7), jitter(slot, spread, 7));
    assert_eq!(jitter(slot, Duration::ZERO, 7), Duration::ZERO);
}
