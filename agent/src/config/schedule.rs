//! `schedule`: when runs begin, when none does, and how agents take turns.

use super::cursor::{Cursor, Reading};
use super::{Config, ProveWhen, Schedule, tree};
use chrono_tz::Tz;
use lifeboat_policy::schedule::{Blackout, BlackoutError, Cron, Effect};
use std::time::Duration;

const FIELDS: &[&str] = &["backup", "prove", "prune", "jitter", "blackout", "take_over"];
const DEFAULT_JITTER: Duration = Duration::from_secs(60);
/// Longer than most backups take, so that a slow one is seldom taken twice.
const DEFAULT_TAKE_OVER: Duration = Duration::from_secs(120);

pub(super) fn read(cursor: Option<Cursor<'_>>, zone: Tz) -> Schedule {
    let mut schedule = Schedule {
        backup: None,
        prove: ProveWhen::AfterBackup,
        prune: None,
        jitter: DEFAULT_JITTER,
        blackout: Blackout::none(),
        take_over: DEFAULT_TAKE_OVER,
    };
    let Some(fields) = cursor.and_then(|c| c.fields(FIELDS)) else {
        return schedule;
    };
    if let Some(blackout) = fields.get("blackout").and_then(|c| read_blackout(&c, zone)) {
        schedule.blackout = blackout;
    }
    let cron = |c: &Cursor<'_>| Some(read_cron(c, zone)?.with_blackout(schedule.blackout.clone()));
    schedule.backup = fields.get("backup").and_then(|c| cron(&c));
    schedule.prune = fields.get("prune").and_then(|c| cron(&c));
    if let Some(c) = fields.get("prove")
        && !matches!(&c.node.kind, tree::Kind::Scalar { text, .. } if text == "after-backup")
        && let Some(cron) = cron(&c)
    {
        schedule.prove = ProveWhen::Cron(cron);
    }
    if let Some(jitter) = fields.get("jitter").and_then(|c| c.duration()) {
        schedule.jitter = jitter;
    }
    if let Some(take_over) = fields.get("take_over").and_then(|c| c.duration()) {
        schedule.take_over = take_over;
    }
    schedule
}

fn read_cron(cursor: &Cursor<'_>, zone: Tz) -> Option<Cron> {
    let text = cursor.text("a cron line like \"*/30 * * * *\"")?;
    match Cron::parse(text, zone) {
        Ok(cron) => Some(cron),
        Err(error) => {
            cursor.error(
                error.to_string(),
                "write minute, hour, day, month, weekday, with seconds before them if needed: \"*/30 * * * *\"",
            );
            None
        }
    }
}

fn read_blackout(cursor: &Cursor<'_>, zone: Tz) -> Option<Blackout> {
    let items = cursor.items("a list of windows", "write a list: blackout: [\"22:00-04:00\", \"sat,sun 00:00-24:00\"]");
    let mut windows = Vec::new();
    for item in &items {
        windows.push(item.text("a window like \"22:00-04:00\"")?);
    }
    match Blackout::parse(&windows, zone) {
        Ok(blackout) => Some(blackout),
        Err(error) => {
            let at = match &error {
                BlackoutError::Window { at, .. } => items.get(*at).unwrap_or(cursor),
                BlackoutError::Always => cursor,
            };
            at.error(error.to_string(), "write days, if not every day, and two times: \"mon-fri 08:00-18:00\"");
            None
        }
    }
}

/// A schedule that a blackout moves as a whole is seldom what was meant.
pub(super) fn check(config: &Config, reading: &Reading<'_>) {
    let schedule = &config.schedule;
    let prove = match &schedule.prove {
        ProveWhen::Cron(cron) => Some(cron),
        ProveWhen::AfterBackup => None,
    };
    let all = [("backup", schedule.backup.as_ref()), ("prove", prove), ("prune", schedule.prune.as_ref())];
    for (name, cron) in all {
        if cron.is_some_and(|cron| cron.effect_of_blackout() == Effect::DefersAll) {
            reading.warning(
                &["schedule", "blackout"],
                format!("every time of schedule.{name} falls into it: {name} runs only when a window ends"),
                format!("move schedule.{name} out of the windows, or the windows, unless this is meant"),
            );
        }
    }
}
