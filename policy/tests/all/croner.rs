//! Schedules against another implementation of crontabs, made by other hands: the `croner` crate.
//!
//! A thousand expressions, ten zones, instants of ten years. Where the two differ, a rule of [`Rule`] must say why, and its
//! condition must hold for that very difference; agent/docs/schedules.md tells the same to people.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::CronParser;
use lifeboat_policy::schedule::{Cron, CronError};
use std::collections::BTreeMap;

const EXPRESSIONS: usize = 1000;

const ZONES: [Tz; 10] = [
    chrono_tz::UTC,
    chrono_tz::Europe::Berlin,
    chrono_tz::America::New_York,
    chrono_tz::America::Sao_Paulo,
    chrono_tz::Asia::Kolkata,
    chrono_tz::Asia::Kathmandu,
    chrono_tz::Australia::Lord_Howe,
    chrono_tz::Pacific::Apia,
    chrono_tz::Africa::Casablanca,
    chrono_tz::America::St_Johns,
];

/// Ten years in which Apia lost a day, St. John's changed at one past midnight and Sao Paulo gave summer time up.
const FROM: &str = "2011-01-01T00:00:00Z";
const DAYS: u32 = 3652;

/// Instants for each expression and zone.
const PROBES: u32 = 8;

/// Why the two differ, in words of the docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// `*/2` in a day field leaves it unrestricted, as crontab(5) has it: both day fields must hold. There either counts.
    StarWithAStep,
    /// A time that is repeated runs once where the hours are restricted. There, twice, unless second, minute and hour are
    /// single numbers.
    RepeatedOnce,
    /// A time that is skipped runs at the next instant where the hours are restricted. There it is dropped, unless second,
    /// minute and hour are single numbers.
    SkippedIsServed,
    /// The same where a whole day is skipped: there it is dropped, whatever the fields are.
    SkippedOntoAnotherDay,
}

/// SplitMix64 from a fixed seed: the same thousand expressions on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    fn within(&mut self, min: u32, max: u32) -> u32 {
        min + self.below(max - min + 1)
    }
}

/// One field: often a star, else a step, a number, a range, a range with a step, a list; sometimes names.
fn field(numbers: &mut Numbers, (min, max): (u32, u32), names: &[&str], stars: u32) -> String {
    if numbers.below(100) < stars {
        return "*".to_owned();
    }
    // A step that does not fit into the field is refused here; there it means the first value alone.
    let longest_step = if max == 7 { 6 } else { max - min };
    if numbers.below(5) == 0 {
        return format!("*/{}", numbers.within(2, longest_step));
    }
    let count = [1, 1, 1, 2, 3][numbers.below(5) as usize];
    let name = |value: u32, named: bool| match names.get((value - min) as usize) {
        Some(name) if named => (*name).to_owned(),
        _ => value.to_string(),
    };
    let mut items = vec![];
    for _ in 0..count {
        let (a, b) = (numbers.within(min, max), numbers.within(min, max));
        let named = numbers.below(3) == 0;
        let (a, b) = (a.min(b), a.max(b));
        // From a name to the same name is that one day here; there `sun-sun` is the whole week.
        let named = named && a != b;
        items.push(match numbers.below(4) {
            0 | 1 => name(a, named),
            2 => format!("{}-{}", name(a, named), name(b, named)),
            _ => format!("{a}-{b}/{}", numbers.within(1, longest_step)),
        });
    }
    items.join(",")
}

fn expression(numbers: &mut Numbers) -> String {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    // The other one does not know @midnight.
    const WORDS: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];
    match numbers.below(50) {
        0 => return WORDS[numbers.below(6) as usize].to_owned(),
        // What most people write: at such a time each day.
        1..=12 => return format!("{} {} * * *", numbers.below(60), numbers.below(24)),
        _ => {}
    }
    let second = if numbers.below(8) == 0 { format!("{} ", field(numbers, (0, 59), &[], 10)) } else { String::new() };
    let minute = field(numbers, (0, 59), &[], 20);
    let hour = field(numbers, (0, 23), &[], 35);
    let day_of_month = field(numbers, (1, 31), &[], 60);
    let month = field(numbers, (1, 12), &MONTHS, 75);
    let day_of_week = field(numbers, (0, 7), &DAYS, 60);
    format!("{second}{minute} {hour} {day_of_month} {month} {day_of_week}")
}

/// The instants at which a zone's offset changes in the ten years.
fn changes(zone: Tz, from: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let shown = |t: DateTime<Utc>| zone.offset_from_utc_datetime(&t.naive_utc());
    let minutes = |day: DateTime<Utc>| (1..=1440).map(move |n| day + TimeDelta::minutes(n));
    let days = (0..DAYS).map(|day| from + TimeDelta::days(i64::from(day)));
    let changing = days.filter(|day| shown(*day) != shown(*day + TimeDelta::days(1)));
    changing.flat_map(|day| minutes(day).find(|t| shown(*t) != shown(day))).collect()
}

/// One expression in one zone.
struct Pair<'a> {
    text: &'a str,
    zone: Tz,
    ours: Cron,
    theirs: &'a croner::Cron,
    /// The same where the day fields must both hold.
    theirs_and: &'a croner::Cron,
}

type Slot = Option<DateTime<Utc>>;

impl Pair<'_> {
    fn theirs(&self, cron: &croner::Cron, at: DateTime<Utc>) -> Slot {
        cron.find_next_occurrence(&at.with_timezone(&self.zone), false).ok().map(|found| found.to_utc())
    }

    /// Field by field from the minute on; words have none.
    fn fields(&self) -> Option<[&str; 5]> {
        let mut fields: Vec<&str> = self.text.split_whitespace().collect();
        if fields.len() == 6 {
            fields.remove(0);
        }
        fields.try_into().ok()
    }

    /// Whether a star with a step stands in a day field while the other one is restricted.
    fn steps_days(&self) -> bool {
        let Some([_, _, day_of_month, _, day_of_week]) = self.fields() else { return false };
        let stepped = |field: &str| field.starts_with("*/");
        (stepped(day_of_month) && day_of_week != "*") || (stepped(day_of_week) && day_of_month != "*")
    }

    /// Second, minute and hour are single numbers, as the other one sees it.
    fn is_fixed(&self) -> bool {
        self.theirs.determine_job_type() == croner::JobType::FixedTime
    }

    fn shown(&self, t: DateTime<Utc>) -> NaiveDateTime {
        t.with_timezone(&self.zone).naive_local()
    }

    /// Whether this instant is the second at which its civil time is shown.
    fn is_repeated(&self, t: DateTime<Utc>) -> bool {
        matches!(self.zone.from_local_datetime(&self.shown(t)), LocalResult::Ambiguous(_, second) if second.to_utc() == t)
    }

    /// Where the clock was put forward at this instant and skipped a time that the expression names, as the other one says
    /// on a clock that skips nothing: the last civil second before.
    fn skipped_at(&self, t: DateTime<Utc>) -> Option<NaiveDateTime> {
        let (before, now) = (self.shown(t - TimeDelta::seconds(1)), self.shown(t));
        let cron = if self.steps_days() { self.theirs_and } else { self.theirs };
        let named = cron.find_next_occurrence(&before.and_utc(), false).ok()?;
        (named.naive_utc() < now && now - before > TimeDelta::seconds(1)).then_some(before)
    }

    /// Nothing where they agree; the rule by which they differ, or what no rule explains.
    fn differ(&self, at: DateTime<Utc>) -> Option<Result<Rule, String>> {
        let (ours, theirs) = (self.ours.next_after(at), self.theirs(self.theirs, at));
        if ours == theirs {
            return None;
        }
        let both = self.theirs(self.theirs_and, at);
        if self.steps_days() && ours == both {
            return Some(Ok(Rule::StarWithAStep));
        }
        let theirs = if self.steps_days() { both } else { theirs };
        let restricted = self.fields().map_or(self.text != "@hourly", |[_, hour, ..]| hour != "*");
        let later = |one: Slot, other: Slot| other.is_some_and(|other| one.is_none_or(|one| one > other));
        let rule = match (ours, theirs) {
            (_, Some(found)) if restricted && !self.is_fixed() && later(ours, theirs) && self.is_repeated(found) => {
                Some(Rule::RepeatedOnce)
            }
            (Some(slot), _) if restricted && later(theirs, ours) => match self.skipped_at(slot) {
                Some(_) if !self.is_fixed() => Some(Rule::SkippedIsServed),
                Some(before) if before.date() != self.shown(slot).date() => Some(Rule::SkippedOntoAnotherDay),
                _ => None,
            },
            _ => None,
        };
        let (text, zone) = (self.text, self.zone);
        Some(rule.ok_or_else(|| format!("`{text}` in {zone} after {at}: here {ours:?}, there {theirs:?}")))
    }
}

/// Instants to ask after: half of them shortly before a change of the clock, where there is one.
fn instants(numbers: &mut Numbers, from: DateTime<Utc>, changes: &[DateTime<Utc>]) -> Vec<DateTime<Utc>> {
    let somewhere = |numbers: &mut Numbers| from + TimeDelta::seconds(i64::from(numbers.below(DAYS * 86_400)));
    let pick = |n: u32, numbers: &mut Numbers| match changes.len() {
        0 => somewhere(numbers),
        _ if n.is_multiple_of(2) => somewhere(numbers),
        count => {
            let change = changes[numbers.below(u32::try_from(count).unwrap()) as usize];
            change - TimeDelta::minutes(i64::from(numbers.below(180)))
        }
    };
    (0..PROBES).map(|n| pick(n, numbers)).collect()
}

#[test]
fn a_thousand_schedules_run_as_another_crontab_runs_them_but_for_the_rules_that_are_told() {
    let from = DateTime::parse_from_rfc3339(FROM).unwrap().to_utc();
    let mut numbers = Numbers(0x11fe_b0a7);
    let changes: Vec<Vec<DateTime<Utc>>> = ZONES.iter().map(|zone| changes(*zone, from)).collect();
    let and = CronParser::builder().dom_and_dow(true).build();
    let mut by_rule: BTreeMap<Rule, u32> = BTreeMap::new();
    let (mut compared, mut never) = (0u32, 0u32);
    for _ in 0..EXPRESSIONS {
        let text = expression(&mut numbers);
        let read = |read: Result<croner::Cron, _>| read.unwrap_or_else(|e| panic!("{text}: {e}"));
        let (theirs, theirs_and) = (read(text.parse()), read(and.parse(&text)));
        for (zone, changes) in ZONES.iter().zip(&changes) {
            let asked = instants(&mut numbers, from, changes);
            let ours = match Cron::parse(&text, *zone) {
                Ok(ours) => ours,
                Err(error) => {
                    let found = theirs_and.find_next_occurrence(&from, false);
                    assert!(matches!(error, CronError::Never(_)) && found.is_err(), "{error}; there: {found:?}");
                    never += 1;
                    continue;
                }
            };
            let pair = Pair { text: &text, zone: *zone, ours, theirs: &theirs, theirs_and: &theirs_and };
            for first in asked {
                let next = |at: &DateTime<Utc>| pair.ours.next_after(*at);
                for at in std::iter::successors(Some(first), next).take(3) {
                    compared += 1;
                    if let Some(differ) = pair.differ(at) {
                        *by_rule.entry(differ.unwrap_or_else(|unexplained| panic!("{unexplained}"))).or_default() += 1;
                    }
                }
            }
        }
    }
    println!("{compared} compared, {never} that never fire, differ by rule: {by_rule:?}");
    assert!(compared > 200_000 && never < 500, "{compared} compared, {never} never fire");
    assert_eq!(by_rule.len(), 4, "a rule that explains nothing is none: {by_rule:?}");
    let differ: u32 = by_rule.values().sum();
    assert!(differ * 20 < compared, "most are the same: {by_rule:?}");
}
