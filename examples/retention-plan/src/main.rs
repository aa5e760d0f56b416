//! What a set of keep rules does to a year of half-hourly backups. Try it:
//!
//! ```text
//! cargo run -p retention-plan -- --within 48h --daily 14 --weekly 8 --monthly 12
//! ```
//!
//! The year is made up: backups every half hour, all proven but the newest two (the prover is not there yet) and a day three
//! weeks ago whose proofs failed. Then the plan that `lifeboat prune` would make is printed, newest first.

use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Standing};
use lifeboat_policy::retention::{Action, Facts, Keep, Plan, Reason, Rules, plan};
use lifeboat_policy::span;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: retention-plan [--last N] [--hourly N] [--daily N] [--weekly N] [--monthly N] [--yearly N]
                      [--within SPAN] [--min-proven N] [--min-age SPAN] [--zone ZONE]
       a SPAN is like 90s, 15m, 48h, 2d, 8w; with no rule: --within 48h --daily 14 --weekly 8 --monthly 12";

const BACKUPS: i64 = 365 * 48;

fn main() -> ExitCode {
    match rules(std::env::args().skip(1)) {
        Ok(rules) => {
            print(&plan(&year(), &rules, now()));
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The made-up present, so that the output is the same on every day: 2026-11-23T03:07:00Z.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_403_220, 0).unwrap_or_default()
}

fn rules(mut args: impl Iterator<Item = String>) -> Result<Rules, String> {
    let mut keep = Keep::default();
    let mut rules = Rules {
        keep: None,
        time_zone: chrono_tz::UTC,
        grace: Duration::from_secs(24 * 3600),
        min_age: Duration::from_secs(72 * 3600),
        max_deletions: usize::MAX, // a year at once: the ceiling is for the daily run
    };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u32>().map_err(|_| format!("{flag} {value}: not a number"));
        let a_span = || span::parse(&value).map_err(|error| format!("{flag}: {error}"));
        match flag.as_str() {
            "--last" => keep.last = number()?,
            "--hourly" => keep.hourly = number()?,
            "--daily" => keep.daily = number()?,
            "--weekly" => keep.weekly = number()?,
            "--monthly" => keep.monthly = number()?,
            "--yearly" => keep.yearly = number()?,
            "--within" => keep.within = Some(a_span()?),
            "--min-proven" => keep.min_proven = number()?,
            "--min-age" => rules.min_age = a_span()?,
            "--zone" => rules.time_zone = value.parse().map_err(|_| format!("{flag} {value}: no such time zone"))?,
            _ => return Err(format!("{flag}: no such flag")),
        }
    }
    if keep == Keep::default() {
        keep = Keep { within: Some(Duration::from_secs(48 * 3600)), daily: 14, weekly: 8, monthly: 12, ..keep };
    }
    rules.keep = Some(keep);
    Ok(rules)
}

/// A backup at every half hour of the last year.
fn year() -> Vec<Facts> {
    let newest = now() - TimeDelta::minutes(7);
    let backup = |n: i64| {
        let captured_at = newest - TimeDelta::minutes(30 * n);
        let at = captured_at + TimeDelta::minutes(1);
        let standing = match n {
            0 | 1 => Standing::Unproven { because: Because::NotTried },
            1000..1048 => Standing::Failed { level: Level::Sound, at },
            _ => Standing::Proven { level: Level::Booted, at, took_seconds: 41.0 },
        };
        Facts {
            // Any numbers that look random will do: multiples of an odd constant never repeat.
            id: BackupId::new(captured_at, n.unsigned_abs().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            lineage: "made-up".to_owned(),
            revision: 48_000_000 - n * 5000,
            captured_at,
            standing,
            hold: None,
            tombstone: None,
            sealed_bytes: 312 << 20,
        }
    };
    (0..BACKUPS).map(backup).collect()
}

fn print(plan: &Plan) {
    if let Some(freeze) = plan.frozen {
        println!("FROZEN: {freeze}");
    }
    let kept: Vec<_> = plan.kept().collect();
    for verdict in &kept {
        let reasons: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
        println!("  {}  {}  {}", verdict.id.short(6), verdict.id.captured_at().format("%a %F %R"), reasons.join("; "));
    }
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for verdict in &kept {
        let distinct: BTreeSet<String> = verdict.reasons.iter().map(Reason::group).collect();
        distinct.into_iter().for_each(|group| *groups.entry(group).or_default() += 1);
    }
    let groups: Vec<String> = groups.iter().map(|(group, count)| format!("{group}: {count}")).collect();
    println!("keep {:<6} {}", kept.len(), groups.join("   "));
    let marked: Vec<_> = plan.verdicts.iter().filter(|v| matches!(v.action, Action::Mark { .. })).collect();
    println!("mark {:<6} no rule keeps them", marked.len());
}
