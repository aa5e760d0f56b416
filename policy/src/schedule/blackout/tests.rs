use super::*;
use crate::schedule::{Cron, Due, Effect, Fired, due, due_unfired};
use chrono_tz::{Europe, UTC};

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn blackout(windows: &[&str], zone: Tz) -> Blackout {
    Blackout::parse(windows, zone).unwrap_or_else(|e| panic!("{windows:?}: {e}"))
}

fn cron(expr: &str, windows: &[&str], zone: Tz) -> Cron {
    Cron::parse(expr, zone).unwrap().with_blackout(blackout(windows, zone))
}

fn slots(cron: &Cron, from: &str, count: usize) -> Vec<String> {
    let slots = std::iter::successors(cron.next_after(utc(from)), |t| cron.next_after(*t)).take(count);
    slots.map(|t| t.with_timezone(&cron.zone()).format("%d %H:%M %:z").to_string()).collect()
}

/// The window around an instant, as the zone's clock shows it.
fn window(windows: &[&str], zone: Tz, at: &str) -> Option<String> {
    let found = blackout(windows, zone).window_at(utc(at))?;
    let shown = |t: DateTime<Utc>| t.with_timezone(&zone).format("%a %d %H:%M:%S %:z").to_string();
    Some(format!("{} to {}", shown(found.start), shown(found.end)))
}

#[test]
fn what_falls_into_a_window_runs_once_at_its_end() {
    let half_hourly = cron("*/30 * * * *", &["22:00-04:00"], UTC);
    let expected = ["23 21:00 +00:00", "23 21:30 +00:00", "24 04:00 +00:00", "24 04:30 +00:00"];
    assert_eq!(slots(&half_hourly, "2026-11-23T20:59:00Z", 4), expected);
    let nightly = cron("0 2 * * *", &["22:00-04:00"], UTC);
    assert_eq!(slots(&nightly, "2026-11-23T12:00:00Z", 2), ["24 04:00 +00:00", "25 04:00 +00:00"]);
    let noon = cron("0 12 * * *", &["22:00-04:00"], UTC);
    assert_eq!(slots(&noon, "2026-11-23T20:00:00Z", 1), ["24 12:00 +00:00"], "what is not in it is not moved");
}

#[test]
fn a_window_begins_on_its_days_and_passes_midnight_and_the_end_of_the_week() {
    let saturday = "2026-11-28T23:00:00Z";
    let night = Some("Sat 28 22:00:00 +00:00 to Sun 29 04:00:00 +00:00".to_owned());
    assert_eq!(window(&["sat 22:00-04:00"], UTC, saturday), night);
    assert_eq!(window(&["SAT 22:00-04:00"], UTC, "2026-11-29T03:59:59Z"), night);
    assert_eq!(window(&["sat 22:00-04:00"], UTC, "2026-11-29T04:00:00Z"), None);
    let weekend = Some("Fri 27 18:00:00 +00:00 to Mon 30 06:00:00 +00:00".to_owned());
    for windows in [
        &["fri 18:00-00:00", "sat,sun 00:00-24:00", "mon 00:00-06:00"][..],
        &["fri-sun 18:00-06:00", "sat-sun 00:00-24:00"],
        &["sun-mon 00:00-06:00", "sat,sun 00:00-24:00", "fri 18:00-24:00"],
    ] {
        assert_eq!(window(windows, UTC, saturday), weekend, "{windows:?}: windows that touch are one");
    }
    assert_eq!(window(&["sat-mon 01:00-02:00"], UTC, "2026-11-30T01:30:00Z").as_deref().map(|w| &w[..3]), Some("Mon"));
    assert_eq!(window(&["sat-mon 01:00-02:00"], UTC, "2026-11-27T01:30:00Z"), None);
}

#[test]
fn a_window_holds_while_the_clock_on_the_wall_shows_a_time_within() {
    let berlin = |windows: &[&str], at| window(windows, Europe::Berlin, at);
    let spring = Some("Sun 29 01:30:00 +01:00 to Sun 29 03:30:00 +02:00".to_owned());
    assert_eq!(berlin(&["01:30-03:30"], "2026-03-29T00:45:00Z"), spring, "an hour of it does not exist");
    assert_eq!(berlin(&["02:00-03:00"], "2026-03-29T01:00:00Z"), None, "none of it exists");
    let until_skipped = Some("Sun 29 01:30:00 +01:00 to Sun 29 03:00:00 +02:00".to_owned());
    assert_eq!(berlin(&["01:30-02:30"], "2026-03-29T00:45:00Z"), until_skipped, "it ends where its end is jumped over");
    let autumn = Some("Sun 25 02:00:00 +02:00 to Sun 25 03:00:00 +01:00".to_owned());
    assert_eq!(berlin(&["02:00-03:00"], "2026-10-25T00:30:00Z"), autumn, "the repeated hour, both halves");
    assert_eq!(berlin(&["02:00-03:00"], "2026-10-25T01:30:00Z"), autumn);
    let halves = ["2026-10-25T00:20:00Z", "2026-10-25T01:20:00Z"].map(|at| berlin(&["02:15-02:30"], at).unwrap());
    assert_eq!(halves[0], "Sun 25 02:15:00 +02:00 to Sun 25 02:30:00 +02:00");
    assert_eq!(halves[1], "Sun 25 02:15:00 +01:00 to Sun 25 02:30:00 +01:00");
    let once = cron("20 2 * * *", &["02:15-02:30"], Europe::Berlin);
    assert_eq!(slots(&once, "2026-10-24T12:00:00Z", 2), ["25 02:30 +02:00", "26 02:30 +01:00"]);
}

#[test]
fn nothing_is_due_within_a_window_and_what_was_missed_before_it_is_when_it_ends() {
    let half_hourly = cron("*/30 * * * *", &["22:00-04:00"], UTC);
    let (end, last) = (utc("2026-11-24T04:00:00Z"), utc("2026-11-23T21:30:00Z"));
    for served in [None, Some(utc("2026-11-23T21:00:00Z")), Some(last)] {
        let fired: Fired = served.into_iter().collect();
        for now in ["2026-11-23T22:00:00Z", "2026-11-24T03:59:59Z"] {
            assert_eq!(due(&half_hourly, served, utc(now)), Due::NotBefore(end));
            assert_eq!(due_unfired(&half_hourly, &fired, utc(now)), Due::NotBefore(end));
        }
        let missed = u32::from(served == Some(utc("2026-11-23T21:00:00Z")));
        assert_eq!(due_unfired(&half_hourly, &fired, end), Due::Now { slot: end, missed });
    }
    let daily = cron("0 21 * * *", &["22:00-04:00"], UTC);
    let at_its_end = Due::Now { slot: utc("2026-11-23T21:00:00Z"), missed: 0 };
    assert_eq!(due_unfired(&daily, &Fired::default(), utc("2026-11-24T02:00:00Z")), Due::NotBefore(end));
    assert_eq!(due_unfired(&daily, &Fired::default(), end), at_its_end, "the run that failed before the window");
}

#[test]
fn time_within_a_window_makes_nothing_late() {
    let night = blackout(&["22:00-04:00"], UTC);
    let after = |from, hours: u64| night.after(utc(from), Duration::from_secs(hours * 3600));
    assert_eq!(after("2026-11-23T12:00:00Z", 2), utc("2026-11-23T14:00:00Z"));
    assert_eq!(after("2026-11-23T21:00:00Z", 1), utc("2026-11-23T22:00:00Z"));
    assert_eq!(after("2026-11-23T21:00:00Z", 2), utc("2026-11-24T05:00:00Z"));
    assert_eq!(after("2026-11-23T23:00:00Z", 2), utc("2026-11-24T06:00:00Z"), "from within");
    assert_eq!(after("2026-11-23T21:00:00Z", 1 + 18 + 1), utc("2026-11-25T05:00:00Z"));
    // A minute a day, for a year and a half of days.
    let minute = blackout(&["00:01-24:00"], UTC);
    let later = minute.after(utc("2020-01-01T00:00:00Z"), Duration::from_secs(600 * 60 + 1));
    assert_eq!(later, utc("2021-08-23T00:00:01Z"));
    assert_eq!(night.after(utc("2026-11-23T21:00:00Z"), Duration::MAX), DateTime::<Utc>::MAX_UTC);
    assert_eq!(
        Blackout::none().after(utc("2026-11-23T23:00:00Z"), Duration::from_secs(60)),
        utc("2026-11-23T23:01:00Z")
    );
}

#[test]
fn jitter_leads_into_no_window() {
    let hourly = cron("0 * * * *", &["22:00-04:00"], UTC);
    let spread = |at, wanted: u64| hourly.spread(utc(at), Duration::from_secs(wanted)).as_secs();
    assert_eq!((spread("2026-11-23T12:00:00Z", 60), spread("2026-11-23T12:00:00Z", 6000)), (60, 360));
    let close = cron("58 * * * *", &["22:00-04:00"], UTC);
    assert_eq!(close.spread(utc("2026-11-23T21:58:00Z"), Duration::from_secs(300)), Duration::from_secs(120));
}

#[test]
fn whether_it_does_anything_is_told() {
    let effect = |expr: &str, windows: &[&str]| cron(expr, windows, UTC).effect_of_blackout();
    assert_eq!(effect("0 2 * * *", &[]), Effect::Nothing);
    assert_eq!(effect("0 12 * * *", &["22:00-04:00"]), Effect::Nothing);
    assert_eq!(effect("0 4 * * *", &["22:00-04:00"]), Effect::Nothing, "the end is outside");
    assert_eq!(effect("0 2 * * *", &["22:00-04:00"]), Effect::DefersAll);
    assert_eq!(effect("0 2,12 * * *", &["22:00-04:00"]), Effect::DefersSome);
    assert_eq!(effect("0 2 * * *", &["sat 00:00-24:00"]), Effect::DefersSome);
    assert_eq!(effect("0 2 * * sat", &["sat 00:00-24:00"]), Effect::DefersAll);
    assert_eq!(effect("0 2 29 2 *", &["01:00-03:00"]), Effect::DefersAll);
    assert_eq!(effect("*/2 * * * * *", &["01:00-03:00"]), Effect::DefersSome);
}

#[test]
fn an_error_names_the_window_and_shows_how_to_write_it() {
    let error = |windows: &[&str]| Blackout::parse(windows, UTC).unwrap_err().to_string();
    for (text, said) in [
        ("", "a window is days, if not every day, and two times"),
        ("mon 22:00 04:00", "a window is days"),
        ("22:00", "there is no `-`"),
        ("22-4", "`22` is no time of day"),
        ("2:00-04:00", "`2:00` is no time of day, 00:00 to 24:00"),
        ("22:60-04:00", "`22:60` is no time of day"),
        ("22:00-24:01", "`24:01` is no time of day"),
        ("24:00-04:00", "24:00 only ends a window"),
        ("04:00-04:00", "a whole day is 00:00-24:00"),
        ("saturday 00:00-24:00", "`saturday` is no day of the week: they are sun mon"),
        ("mon- 00:00-24:00", "`` is no day of the week"),
        ("mon-wed-fri 00:00-24:00", "`wed-fri` is no day"),
    ] {
        let told = error(&["23:00-23:30", text]);
        assert!(told.starts_with(&format!("`{text}` is no window: ")) && told.contains(said), "{told}");
        assert!(told.ends_with("like `22:00-04:00` or `sat,sun 00:00-24:00`"), "{told}");
    }
    for all in [
        &["00:00-24:00"][..],
        &["00:00-12:00", "12:00-00:00"],
        &["sun-sat 00:00-24:00"],
        &["sat-fri 06:00-07:00", "07:00-06:00"],
    ] {
        assert_eq!(error(all), "the windows cover the whole week: nothing would ever run", "{all:?}");
    }
}

#[test]
fn a_blackout_is_its_texts_and_its_zone_and_ends_with_the_calendar() {
    let night = blackout(&[" 22:00-04:00 ", "sat 00:00-24:00"], Europe::Berlin);
    assert_eq!(night.texts(), ["22:00-04:00", "sat 00:00-24:00"]);
    assert_eq!(night.to_string(), "22:00-04:00, sat 00:00-24:00");
    assert_eq!(format!("{night:?}"), "Blackout([\"22:00-04:00\", \"sat 00:00-24:00\"], Europe/Berlin)");
    assert_ne!(cron("0 2 * * *", &["22:00-04:00"], UTC), cron("0 2 * * *", &[], UTC));
    assert!(Blackout::none().is_empty() && !night.is_empty());
    for t in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        assert_eq!((night.window_at(t), night.next_start(t)), (None, None));
        assert!(cron("0 2 * * *", &["22:00-04:00"], UTC).period_near(t).as_secs() > 0);
    }
    assert_eq!(Blackout::none().next_start(utc("2026-11-23T12:00:00Z")), None);
}
