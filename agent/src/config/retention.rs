//! `keep` and `prune`: what stays, and what stops a prune.

use super::Prune;
use super::cursor::{Cursor, Fields, shown};
use super::units;
use lifeboat_policy::retention::Keep;
use std::time::Duration;

pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);
pub(crate) const DEFAULT_MIN_AGE: Duration = Duration::from_secs(72 * 3600);
pub(crate) const DEFAULT_MIN_PROVEN: u32 = 2;
pub(crate) const DEFAULT_SHRUNK: u8 = 50;
const DEFAULT_PRUNE: Prune =
    Prune { grace: DEFAULT_GRACE, min_age: DEFAULT_MIN_AGE, max_deletions: 50, freeze_if_shrunk: Some(DEFAULT_SHRUNK) };

const KEEP: &[&str] = &[
    "last",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "yearly",
    "within",
    "within_hourly",
    "within_daily",
    "within_weekly",
    "within_monthly",
    "within_quarterly",
    "within_yearly",
    "min_proven",
    "budget",
];

/// Reads the rules, and sees whether there is any that keeps something.
struct Rules<'a> {
    fields: Fields<'a>,
    any: bool,
}

impl Rules<'_> {
    fn count(&mut self, name: &str) -> u32 {
        let Some(cursor) = self.fields.get(name) else { return 0 };
        let count = cursor.whole::<u32>();
        if count == Some(0) {
            cursor.warning("0 keeps nothing: this rule has no effect", "leave it out, or write how many to keep");
        }
        // What cannot be read has a finding of its own.
        self.any |= count != Some(0);
        count.unwrap_or(0)
    }

    fn span(&mut self, name: &str) -> Option<Duration> {
        let cursor = self.fields.get(name)?;
        self.any = true;
        cursor.positive_duration()
    }
}

pub(super) fn read_keep(cursor: &Cursor<'_>) -> Option<Keep> {
    let fields = cursor.fields(KEEP)?;
    let min_proven = fields.get("min_proven").and_then(|c| c.whole()).unwrap_or(DEFAULT_MIN_PROVEN);
    let budget = fields.get("budget").and_then(|c| read_budget(&c));
    let mut rules = Rules { fields, any: false };
    let keep = Keep {
        last: rules.count("last"),
        hourly: rules.count("hourly"),
        daily: rules.count("daily"),
        weekly: rules.count("weekly"),
        monthly: rules.count("monthly"),
        quarterly: rules.count("quarterly"),
        yearly: rules.count("yearly"),
        within: rules.span("within"),
        within_hourly: rules.span("within_hourly"),
        within_daily: rules.span("within_daily"),
        within_weekly: rules.span("within_weekly"),
        within_monthly: rules.span("within_monthly"),
        within_quarterly: rules.span("within_quarterly"),
        within_yearly: rules.span("within_yearly"),
        min_proven,
        budget,
    };
    if !rules.any {
        cursor.error(
            "no rule keeps anything: all but the newest proven backups would be deleted",
            "write a rule such as within: 48h or daily: 14, or leave `keep` out to delete nothing",
        );
    }
    Some(keep)
}

fn read_budget(cursor: &Cursor<'_>) -> Option<u64> {
    let budget = cursor.size()?;
    if budget == 0 {
        cursor.error("a budget of nothing leaves no room for any rule", "write how much the backups may take: 100GiB");
    }
    Some(budget)
}

pub(super) fn read_prune(cursor: Option<Cursor<'_>>) -> Prune {
    let fields = cursor.and_then(|c| c.fields(&["grace", "min_age", "max_deletions", "freeze_if_shrunk"]));
    let Some(fields) = fields else { return DEFAULT_PRUNE };
    let floor = |name: &str, default| fields.get(name).and_then(|c| c.duration()).unwrap_or(default);
    let max_deletions = fields.get("max_deletions").and_then(|c| {
        let count = c.whole::<usize>()?;
        if count == 0 {
            c.error("with 0 nothing is ever deleted", "write at least 1, or leave `keep` out to delete nothing");
        }
        Some(count)
    });
    Prune {
        grace: floor("grace", DEFAULT_PRUNE.grace),
        min_age: floor("min_age", DEFAULT_PRUNE.min_age),
        max_deletions: max_deletions.unwrap_or(DEFAULT_PRUNE.max_deletions),
        freeze_if_shrunk: match fields.get("freeze_if_shrunk") {
            Some(c) => read_share(&c),
            None => DEFAULT_PRUNE.freeze_if_shrunk,
        },
    }
}

/// `50%`, or `off`, which is `None`; so is what cannot be read, which is a finding.
fn read_share(cursor: &Cursor<'_>) -> Option<u8> {
    const FIX: &str = "write a share such as 50%, or off";
    let text = cursor.scalar("a share like 50%, or off")?;
    if text == "off" {
        return None;
    }
    let percent = units::parse_percent(text);
    if !percent.is_some_and(|percent| (1..=99).contains(&percent)) {
        cursor.error(format!("expected a share from 1% to 99%, or off, found `{}`", shown(text)), FIX);
        return None;
    }
    percent
}
