//! The retention plan for dates that one gives it, or for a year of half-hourly backups. Try it:
//!
//! ```text
//! cargo run -p retention-plan -- --within 48h --daily 14 --weekly 8 --monthly 12
//! cargo run -p retention-plan -- --daily 2 2026-11-20T10:00 2026-11-20T22:00 2026-11-21T10:00:unproven 2026-11-22:failed
//! ```
//!
//! Without dates a year is made up: backups every half hour, all proven but the newest two (the prover is not there yet) and
//! a day three weeks ago whose proofs failed. Then the plan that `lifeboat prune` would make is printed, newest first.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Standing};
use lifeboat_policy::retention::{Action, Circumstances, Facts, Keep, Plan, Reason, Rules, plan};
use lifeboat_policy::span;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: retention-plan [RULE]... [--min-proven N] [--min-age SPAN] [--budget MIB] [--zone ZONE] [DATE]...
       a RULE is --last N, --hourly N, and so on with daily, weekly, monthly, quarterly, yearly;
       or --within SPAN, --within-hourly SPAN, and so on; with none: --within 48h --daily 14 --weekly 8 --monthly 12
       a SPAN is like 90s, 15m, 48h, 2d, 8w
       a DATE is like 2026-11-20 or 2026-11-20T10:00 (UTC), with :unproven or :failed after it if it is not proven;
       each backup takes 312 MiB; now is the minute after the newest";

const BACKUPS: i64 = 365 * 48;

fn main() -> ExitCode {
    match asked(std::env::args().skip(1)) {
        Ok((rules, facts)) => {
            let newest = facts.iter().map(|backup| backup.captured_at).max().unwrap_or_default();
            print(&plan(&facts, &rules, &Circumstances::default(), newest + TimeDelta::minutes(7)));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn asked(mut args: impl Iterator<Item = String>) -> Result<(Rules, Vec<Facts>), String> {
    let mut keep = Keep::default();
    let mut facts = Vec::new();
    let mut rules = Rules {
        keep: None,
        time_zone: chrono_tz::UTC,
        grace: Duration::from_secs(24 * 3600),
        min_age: Duration::from_secs(72 * 3600),
        max_deletions: usize::MAX, // a year at once: the ceiling is for the daily run
        freeze_if_shrunk: None,
    };
    while let Some(flag) = args.next() {
        if !flag.starts_with("--") {
            facts.push(dated(&flag, facts.len())?);
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u32>().map_err(|_| format!("{flag} {value}: not a number"));
        let a_span = || span::parse(&value).map_err(|error| format!("{flag}: {error}"));
        match flag.as_str() {
            "--last" => keep.last = number()?,
            "--hourly" => keep.hourly = number()?,
            "--daily" => keep.daily = number()?,
            "--weekly" => keep.weekly = number()?,
            "--monthly" => keep.monthly = number()?,
            "--quarterly" => keep.quarterly = number()?,
            "--yearly" => keep.yearly = number()?,
            "--within" => keep.within = Some(a_span()?),
            "--within-hourly" => keep.within_hourly = Some(a_span()?),
            "--within-daily" => keep.within_daily = Some(a_span()?),
            "--within-weekly" => keep.within_weekly = Some(a_span()?),
            "--within-monthly" => keep.within_monthly = Some(a_span()?),
            "--within-quarterly" => keep.within_quarterly = Some(a_span()?),
            "--within-yearly" => keep.within_yearly = Some(a_span()?),
            "--min-proven" => keep.min_proven = number()?,
            "--budget" => keep.budget = Some(u64::from(number()?) << 20),
            "--min-age" => rules.min_age = a_span()?,
            "--zone" => rules.time_zone = value.parse().map_err(|_| format!("{flag} {value}: no such time zone"))?,
            _ => return Err(format!("{flag}: no such flag")),
        }
    }
    let (min_proven, budget) = (keep.min_proven, keep.budget);
    if keep == (Keep { min_proven, budget, ..Keep::default() }) {
        keep = Keep { within: Some(Duration::from_secs(48 * 3600)), daily: 14, weekly: 8, monthly: 12, ..keep };
    }
    rules.keep = Some(keep);
    Ok((rules, if facts.is_empty() { year() } else { facts }))
}

/// The backup of a date, like `2026-11-20T10:00:unproven`.
fn dated(text: &str, number: usize) -> Result<Facts, String> {
    let (date, standing): (&str, fn(DateTime<Utc>) -> Standing) = match text.rsplit_once(':') {
        Some((date, "unproven")) => (date, |_| UNPROVEN),
        Some((date, "failed")) => (date, failed),
        _ => (text, proven),
    };
    let at = NaiveDateTime::parse_from_str(date, "%Y-%m-%dT%H:%M")
        .or_else(|_| NaiveDate::parse_from_str(date, "%Y-%m-%d").map(|day| day.and_time(chrono::NaiveTime::MIN)))
        .map_err(|_| format!("{text}: no date like 2026-11-20 or 2026-11-20T10:00"))?
        .and_utc();
    Ok(backup(at, u64::try_from(number).unwrap_or(u64::MAX), standing(at + TimeDelta::minutes(1))))
}

const UNPROVEN: Standing = Standing::Unproven { because: Because::NotTried };

fn proven(at: DateTime<Utc>) -> Standing {
    Standing::Proven { level: Level::Booted, at, took_seconds: 41.0 }
}

fn failed(at: DateTime<Utc>) -> Standing {
    Standing::Failed { level: Level::Sound, at }
}

fn backup(captured_at: DateTime<Utc>, number: u64, standing: Standing) -> Facts {
    Facts {
        // Any numbers that look random will do: multiples of an odd constant never repeat.
        id: BackupId::new(captured_at, number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        lineage: "made-up".to_owned(),
        revision: captured_at.timestamp(),
        captured_at,
        standing,
        hold: None,
        tombstone: None,
        sealed_bytes: 312 << 20,
        keys: 8000,
        db_bytes: 900 << 20,
        parents: Vec::new(),
        late: false,
    }
}

/// A backup at every half hour of a year that is always the same: the newest is of 2026-11-23T03:00:00Z.
fn year() -> Vec<Facts> {
    let newest = DateTime::from_timestamp(1_795_402_800, 0).unwrap_or_default();
    let backup = |n: i64| {
        let at = newest - TimeDelta::minutes(30 * n);
        let verdict_at = at + TimeDelta::minutes(1);
        let standing = match n {
            0 | 1 => UNPROVEN,
            1000..1048 => failed(verdict_at),
            _ => proven(verdict_at),
        };
        backup(at, n.unsigned_abs(), standing)
    };
    (0..BACKUPS).map(backup).collect()
}

fn print(plan: &Plan) {
    if let Some(freeze) = &plan.frozen {
        println!("FROZEN: {freeze}");
    }
    if let Some(over) = &plan.over_budget {
        let mib = |bytes: u64| bytes >> 20;
        println!(
            "WARNING: {} MiB stay whatever the rules say; the budget is {} MiB",
            mib(over.guarded_bytes),
            mib(over.budget)
        );
    }
    let kept: Vec<_> = plan.kept().collect();
    for verdict in &kept {
        let reasons: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
        println!("  {}  {}  {}", verdict.id.short(6), verdict.id.captured_at().format("%a %F %R"), reasons.join("; "));
    }
    let groups = |action: fn(&Action) -> bool| {
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for verdict in plan.verdicts.iter().filter(|verdict| action(&verdict.action)) {
            let distinct: BTreeSet<String> = verdict.reasons.iter().map(Reason::group).collect();
            distinct.into_iter().for_each(|group| *groups.entry(group).or_default() += 1);
        }
        let groups: Vec<String> = groups.iter().map(|(group, count)| format!("{group}: {count}")).collect();
        groups.join("   ")
    };
    println!("keep {:<6} {}", kept.len(), groups(|action| *action == Action::Keep));
    println!("mark {:<6} {}", plan.marked().count(), groups(|action| matches!(action, Action::Mark { .. })));
}
