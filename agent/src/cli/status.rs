//! `lifeboat status`: the one sentence, next runs, findings.

use super::args::{Cli, StatusArgs};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, count, moment, size, time};
use super::{ack, entry, log};
use crate::clock::Clock as _;
use crate::config::ProveWhen;
use crate::error::{Error, Reason, Result};
use crate::holdings::Held;
use crate::summary::{self, Overview, Summary};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

pub async fn status(cli: &Cli, args: &StatusArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let now = CLOCK.now();
    let overview = summary::overview(&opened.holdings, &opened.yardstick, now);
    let summary = &overview.whole;
    let next = next(&opened, now);
    let mut text = format!("{}\n", entry::sentence(opened.catalog(), summary, now));
    text.push_str(&counts(summary, &opened));
    if !opened.holdings.is_single() {
        text.push_str(&by_store(&overview, &opened, now));
    }
    for (name, at) in &next {
        if let Some(at) = at {
            text.push_str(&format!("next {name:7} {}\n", moment(*at)));
        }
    }
    for finding in &summary.findings {
        text.push_str(&format!("FINDING {}: {}\n  next: {}\n", finding.kind, finding.what, finding.hint));
    }
    if !summary.acknowledged.is_empty() {
        text.push_str(&format!("{} findings were acknowledged: lifeboat ack\n", summary.acknowledged.len()));
    }
    let fields = json!({
        "restorable_at": summary.restorable.as_ref().map(|proven| time(proven.captured_at)),
        "proven": summary.restorable.as_ref().map(|proven| json!({
            "id": proven.id, "level": proven.level, "at": time(proven.proven_at), "took_seconds": proven.took_seconds,
            "restore_seconds": proven.restore_seconds,
        })),
        "measured_restore_seconds": summary.restorable.as_ref().and_then(|proven| proven.restore_seconds),
        "missed_slots": summary.missed_slots,
        "counts": summary.counts,
        "stores": by_store_json(&overview, &opened),
        "next": next.iter().map(|(name, at)| ((*name).to_owned(), json!(at.map(time)))).collect::<serde_json::Map<_, _>>(),
        "findings": summary.findings.iter().map(ack::finding).collect::<Vec<Value>>(),
        "acknowledged": summary.acknowledged.len(),
    });
    output.answer(now, Some(opened.cluster()), fields, &text);
    judge(summary, args, now)
}

fn counts(summary: &Summary, opened: &Opened) -> String {
    let counted: Vec<String> = summary
        .counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let counted = if counted.is_empty() { "no backups".to_owned() } else { counted.join(", ") };
    format!("{counted}, {} in {}\n", size(summary.sealed_bytes), opened.access.urls())
}

/// A line for each store: how far back it would put the cluster.
fn by_store(overview: &Overview, opened: &Opened, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    for (held, summary) in opened.holdings.stores.iter().zip(&overview.stores) {
        let what = match (summary, &held.catalog) {
            (Some(summary), Ok(catalog)) => {
                let proven = match &summary.restorable {
                    Some(proven) => format!(
                        "newest proven {} UTC, {} ago",
                        proven.captured_at.format("%Y-%m-%d %H:%M:%S"),
                        entry::age(proven.captured_at, now)
                    ),
                    None => "nothing proven".to_owned(),
                };
                format!("{proven}; {}, {}", count(catalog.trusted.len(), "backup"), size(summary.sealed_bytes))
            }
            _ => "cannot be read".to_owned(),
        };
        text.push_str(&format!("store {:10} {what}\n", held.name));
    }
    text
}

fn by_store_json(overview: &Overview, opened: &Opened) -> Vec<Value> {
    let behind = |at: usize| overview.tasks.iter().filter(|task| task.to == at).count();
    let store = |(at, (held, summary)): (usize, (&Held, &Option<Summary>))| {
        let error = held.catalog.as_ref().err();
        let summary = summary.as_ref();
        json!({
            "name": held.name, "url": held.url,
            "error": error.map(|error| json!({ "reason": error.reason.name(), "message": error.to_string() })),
            "restorable_at": summary.and_then(|s| s.restorable.as_ref()).map(|proven| time(proven.captured_at)),
            "counts": summary.map(|s| &s.counts),
            "behind": summary.map(|_| behind(at)),
        })
    };
    opened.holdings.stores.iter().zip(&overview.stores).enumerate().map(store).collect()
}

/// When each role is due next, as far as its schedule says.
fn next(opened: &Opened, now: DateTime<Utc>) -> Vec<(&'static str, Option<DateTime<Utc>>)> {
    let Some(config) = &opened.config else {
        return Vec::new();
    };
    let prove = match &config.schedule.prove {
        ProveWhen::AfterBackup => config.schedule.backup.as_ref(),
        ProveWhen::Cron(cron) => Some(cron),
    };
    let at = |cron: Option<&lifeboat_policy::schedule::Cron>| cron.and_then(|cron| cron.next_after(now));
    vec![
        ("backup", at(config.schedule.backup.as_ref())),
        ("prove", at(prove)),
        ("prune", at(config.schedule.prune.as_ref())),
    ]
}

fn judge(summary: &Summary, args: &StatusArgs, now: DateTime<Utc>) -> Result<()> {
    let too_old = |max: std::time::Duration| match &summary.restorable {
        Some(proven) => (now - proven.captured_at).to_std().is_ok_and(|age| age > max),
        None => true,
    };
    if let Some(max) = args.max_age.filter(|max| too_old(*max)) {
        let span = lifeboat_policy::span::print(max);
        return Err(Error::new(Reason::Findings, format!("no proven backup is younger than {span}"))
            .hint("see the agent's log for the last backup or proof that failed"));
    }
    match summary.findings.len() {
        0 => Ok(()),
        1 => Err(Error::new(Reason::Findings, "1 finding needs a person")),
        number => Err(Error::new(Reason::Findings, format!("{number} findings need a person"))),
    }
}
