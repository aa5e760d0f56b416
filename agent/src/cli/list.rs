//! `lifeboat list`: backups, newest first.

use super::args::{Cli, ListArgs, StateFilter};
use super::open::{self, CLOCK, Opened};
use super::output::{Output, grouped, size};
use super::{entry, log};
use crate::catalog::Trusted;
use crate::clock::Clock as _;
use crate::error::Result;
use crate::summary::{self, Summary, Yardstick};
use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table, presets};
use lifeboat_policy::id::short_len;
use serde_json::{Value, json};

pub async fn list(cli: &Cli, args: &ListArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let now = CLOCK.now();
    if !args.all_clusters {
        let opened = open::open(cli, &args.store, false).await?;
        let (backups, text) = of_cluster(&opened, args, now);
        output.answer(now, Some(opened.catalog.cluster.as_str()), json!({ "backups": backups }), &text);
        return Ok(());
    }
    let (mut clusters, mut texts) = (Vec::new(), Vec::new());
    for opened in open::every(cli, &args.store).await? {
        let (backups, text) = of_cluster(&opened, args, now);
        clusters.push(json!({ "cluster": opened.catalog.cluster.as_str(), "backups": backups }));
        texts.push(text);
    }
    let text = if texts.is_empty() { "the store holds no cluster\n".to_owned() } else { texts.join("\n") };
    output.answer(now, None, json!({ "clusters": clusters }), &text);
    Ok(())
}

/// One cluster's backups, as JSON and as text.
fn of_cluster(opened: &Opened, args: &ListArgs, now: DateTime<Utc>) -> (Vec<Value>, String) {
    let summary = summary::summarize(&opened.catalog, &opened.yardstick, now);
    let catalog = &opened.catalog;
    let short = short_len(catalog.trusted.iter().map(Trusted::id));
    let limit = args.number.unwrap_or(usize::MAX);
    let shown: Vec<&Trusted> =
        catalog.trusted.iter().filter(|e| wanted(e, args, &opened.yardstick)).take(limit).collect();
    let store = opened.access.store().name();
    let mut backups: Vec<Value> =
        shown.iter().map(|e| entry::trusted(e, &opened.yardstick, summary.plan.as_ref(), store, short)).collect();
    let with_untrusted = args.state.is_none() || args.state == Some(StateFilter::Untrusted);
    if with_untrusted {
        let since = |at: DateTime<Utc>| args.since.is_none_or(|since| at >= since);
        backups.extend(catalog.untrusted.iter().filter(|e| since(e.id.captured_at())).map(entry::untrusted));
    }
    let mut text = format!("{}\n", entry::sentence(catalog, &summary, now));
    if !shown.is_empty() {
        text.push_str(&table(&shown, &opened.yardstick, &summary, short, now));
    }
    if with_untrusted {
        for untrusted in &catalog.untrusted {
            text.push_str(&format!("{}  does not count: {}\n", untrusted.id, untrusted.why));
        }
    }
    text.push_str(&format!("{} of {} backups, {}.", shown.len(), catalog.trusted.len(), size(summary.sealed_bytes)));
    if !summary.findings.is_empty() {
        text.push_str(&format!(" {} findings: lifeboat status", summary.findings.len()));
    }
    text.push('\n');
    (backups, text)
}

fn wanted(entry: &Trusted, args: &ListArgs, yardstick: &Yardstick) -> bool {
    let state = summary::state(&entry.standing(yardstick.required));
    let fits = match args.state {
        None => true,
        Some(StateFilter::Proven) => state == "proven",
        Some(StateFilter::Unproven) => state == "unproven",
        Some(StateFilter::Failed) => state == "failed",
        Some(StateFilter::Untrusted) => false,
    };
    fits && args.since.is_none_or(|since| entry.manifest.captured_at >= since)
}

fn table(shown: &[&Trusted], yardstick: &Yardstick, summary: &Summary, short: usize, now: DateTime<Utc>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "CAPTURED UTC", "AGE", "REVISION", "SIZE", "PROOF", "KEPT BECAUSE"]);
    for entry in shown {
        let manifest = &entry.manifest;
        let kept = summary.plan.as_ref().map(|plan| kept(plan, entry)).unwrap_or_default();
        table.add_row([
            manifest.id.short(short).to_owned(),
            manifest.captured_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            entry::age(manifest.captured_at, now),
            grouped(manifest.db.revision),
            size(manifest.sealed.bytes),
            entry::proof(entry, yardstick, now),
            kept,
        ]);
    }
    for column in [2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let trimmed = |line: String| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end());
    table.lines().map(trimmed).collect()
}

fn kept(plan: &lifeboat_policy::retention::Plan, entry: &Trusted) -> String {
    use lifeboat_policy::retention::Action;
    let reasons = entry::reasons(plan, &entry.manifest);
    match plan.verdict(entry.id()).map(|verdict| verdict.action) {
        Some(Action::Wait { deletable_from } | Action::Mark { deletable_from }) => {
            format!("marked: deletable from {}", deletable_from.format("%Y-%m-%d %H:%M:%S"))
        }
        _ => reasons.first().cloned().unwrap_or_default(),
    }
}
