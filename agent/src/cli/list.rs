//! `lifeboat list`: backups, newest first.

use super::args::{Cli, ListArgs, StateFilter};
use super::open::{self, CLOCK, OneOfAll, Opened};
use super::output::{Output, count, grouped, size, time};
use super::{ack, entry, log};
use crate::catalog::Trusted;
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::summary::{self, Overview, Yardstick};
use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table, presets};
use lifeboat_policy::id::short_len;
use serde_json::{Value, json};

pub async fn list(cli: &Cli, args: &ListArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let now = CLOCK.now();
    if args.all_clusters {
        return all_clusters(cli, args, output, now).await;
    }
    let opened = open::open(cli, &args.store, false, output).await?;
    let overview = summary::overview(&opened.holdings, &opened.yardstick, now);
    let (backups, text) = backups(&opened, &overview, args, now);
    let findings: Vec<Value> = overview.whole.findings.iter().map(ack::finding).collect();
    let fields = json!({ "stores": opened.stores(), "backups": backups, "findings": findings });
    output.answer(now, Some(opened.cluster()), fields, &text);
    Ok(())
}

/// A line for each cluster; one that cannot be read is a line too, and the others do not suffer from it.
async fn all_clusters(cli: &Cli, args: &ListArgs, output: &Output, now: DateTime<Utc>) -> Result<()> {
    let (mut clusters, mut text, mut unread) = (Vec::new(), String::new(), 0);
    for OneOfAll { cluster, opened } in open::every(cli, &args.store, output).await? {
        let (document, line) = match &opened {
            Ok(opened) => line_of(opened, now),
            Err(error) => {
                unread += 1;
                let reason = json!({ "reason": error.reason.name(), "message": error.to_string() });
                let document = json!({ "cluster": cluster.as_str(), "error": reason });
                (document, format!("{cluster}: cannot be read: {error}\n"))
            }
        };
        clusters.push(document);
        text.push_str(&line);
    }
    if clusters.is_empty() {
        text.push_str("the store holds no cluster\n");
    }
    let all = clusters.len();
    output.answer(now, None, json!({ "clusters": clusters }), &text);
    match unread {
        0 => Ok(()),
        _ => Err(Error::new(Reason::Findings, format!("{unread} of {all} clusters cannot be read"))
            .hint("the line of each says why")),
    }
}

fn line_of(opened: &Opened, now: DateTime<Utc>) -> (Value, String) {
    let (catalog, summary) = (opened.catalog(), summary::overview(&opened.holdings, &opened.yardstick, now).whole);
    let proven = summary.restorable.as_ref();
    let age = |at: DateTime<Utc>| (now - at).num_seconds().max(0);
    let document = json!({
        "cluster": opened.cluster(),
        "backups": catalog.trusted.len(),
        "untrusted": catalog.untrusted.len(),
        "sealed_bytes": summary.sealed_bytes,
        "newest_at": summary.newest_captured_at.map(time),
        "proven": proven.map(|proven| json!({
            "id": proven.id, "captured_at": time(proven.captured_at), "age_seconds": age(proven.captured_at),
            "level": proven.level, "at": time(proven.proven_at), "took_seconds": proven.took_seconds,
            "restore_seconds": proven.restore_seconds,
        })),
        "findings": summary.findings.len(),
        "error": null,
    });
    let mut line = entry::sentence(catalog, &summary, now);
    if !catalog.untrusted.is_empty() {
        line.push_str(&format!("; {} backups do not count here: no trusted key signed them", catalog.untrusted.len()));
    }
    (document, format!("{line}\n"))
}

/// One cluster's backups, as JSON and as text.
fn backups(opened: &Opened, overview: &Overview, args: &ListArgs, now: DateTime<Utc>) -> (Vec<Value>, String) {
    let (catalog, summary) = (opened.catalog(), &overview.whole);
    let short = short_len(catalog.trusted.iter().map(Trusted::id));
    let limit = args.number.unwrap_or(usize::MAX);
    let shown: Vec<&Trusted> =
        catalog.trusted.iter().filter(|e| wanted(e, args, &opened.yardstick)).take(limit).collect();
    let mut backups: Vec<Value> =
        shown.iter().map(|e| entry::trusted(e, &entry::In::each(opened, overview, e.id()), short)).collect();
    let with_untrusted = args.state.is_none() || args.state == Some(StateFilter::Untrusted);
    if with_untrusted {
        let since = |at: DateTime<Utc>| args.since.is_none_or(|since| at >= since);
        backups.extend(catalog.untrusted.iter().filter(|e| since(e.id.captured_at())).map(entry::untrusted));
    }
    let mut text = format!("{}\n", entry::sentence(catalog, summary, now));
    if !shown.is_empty() {
        text.push_str(&table(&shown, opened, overview, short, now));
    }
    if with_untrusted {
        for untrusted in &catalog.untrusted {
            text.push_str(&format!("{}  does not count: {}\n", untrusted.id, untrusted.why));
        }
    }
    text.push_str(&format!("{} of {} backups, {}.", shown.len(), catalog.trusted.len(), size(summary.sealed_bytes)));
    if !summary.findings.is_empty() {
        text.push_str(&format!(" {}: lifeboat ack", count(summary.findings.len(), "finding")));
    }
    text.push('\n');
    for finding in &summary.findings {
        text.push_str(&format!("FINDING {}: {}\n", finding.kind, finding.what));
    }
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

fn table(shown: &[&Trusted], opened: &Opened, overview: &Overview, short: usize, now: DateTime<Utc>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let several = !opened.holdings.is_single();
    let mut header = vec!["ID", "CAPTURED UTC", "AGE", "REVISION", "SIZE", "PROOF"];
    header.extend(several.then_some("STORES"));
    header.push("KEPT BECAUSE");
    table.set_header(header);
    for entry in shown {
        let manifest = &entry.manifest;
        let mut row = vec![
            manifest.id.short(short).to_owned(),
            manifest.captured_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            entry::age(manifest.captured_at, now),
            grouped(manifest.db.revision),
            size(manifest.sealed.bytes),
            entry::proof(entry, &opened.yardstick, now),
        ];
        row.extend(several.then(|| held_by(opened, entry)));
        row.push(kept(opened, overview, entry));
        table.add_row(row);
    }
    for column in [2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let trimmed = |line: String| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end());
    table.lines().map(trimmed).collect()
}

/// The stores that have a backup's data; with a `*` where it was proven.
fn held_by(opened: &Opened, entry: &Trusted) -> String {
    let mut names: Vec<String> = Vec::new();
    for holder in opened.holdings.holders(entry.id()) {
        let proven = holder.entry.standing(opened.yardstick.required).is_proven();
        names.push(match (holder.entry.present, proven) {
            (false, _) => format!("{} (MISSING)", holder.held.name),
            (true, true) => format!("{}*", holder.held.name),
            (true, false) => holder.held.name.clone(),
        });
    }
    names.join(" ")
}

/// Of the first store that has it.
fn kept(opened: &Opened, overview: &Overview, entry: &Trusted) -> String {
    use lifeboat_policy::retention::Action;
    let first = opened.holdings.holders(entry.id()).next();
    let summary = first.and_then(|holder| overview.stores.get(holder.at)?.as_ref());
    let Some(plan) = summary.and_then(|summary| summary.plan.as_ref()) else { return String::new() };
    let reasons = entry::reasons(plan, &entry.manifest);
    match plan.verdict(entry.id()).map(|verdict| verdict.action) {
        Some(Action::Wait { deletable_from } | Action::Mark { deletable_from }) => {
            format!("marked: deletable from {}", deletable_from.format("%Y-%m-%d %H:%M:%S"))
        }
        _ => match entry.held(opened.catalog().read_at) {
            Some(held) => format!("hold: {}", held.words()),
            None => reasons.first().cloned().unwrap_or_default(),
        },
    }
}
