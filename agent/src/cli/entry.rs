//! One backup as `list`, `show` and `backup` write it: the same fields everywhere.

use super::output::time;
use crate::catalog::manifest::{Equality, Manifest};
use crate::catalog::{Catalog, Trusted, Untrusted};
use crate::summary::Yardstick;
use chrono::{DateTime, Utc};
use lifeboat_policy::proof::{Outcome, Standing};
use lifeboat_policy::retention::{Action, Plan};
use lifeboat_policy::span::ago;
use serde_json::{Value, json};
use std::time::Duration;

/// A trusted entry as JSON. `short` is how many digits of the random part tell all entries apart.
pub fn trusted(entry: &Trusted, yardstick: &Yardstick, plan: Option<&Plan>, store: &str, short: usize) -> Value {
    let manifest = &entry.manifest;
    let db = &manifest.db;
    let proof = entry.verdicts.last().map(|verdict| {
        json!({ "level": verdict.level, "outcome": verdict.outcome, "at": time(verdict.at), "took_seconds": verdict.took_seconds })
    });
    let tombstone = entry.facts(yardstick.required, grace(yardstick)).tombstone;
    json!({
        "id": manifest.id,
        "short_id": manifest.id.short(short),
        "captured_at": time(manifest.captured_at),
        "slot": manifest.slot.map(time),
        "lineage": manifest.lineage,
        "revision": db.revision,
        "compact_revision": db.compact_revision,
        "keys": db.keys,
        "db_bytes": db.bytes,
        "sealed_bytes": manifest.sealed.bytes,
        "etcd_version": manifest.etcd.version,
        "member_id": manifest.etcd.member_id,
        "hash_kv": db.hash_kv,
        "equality": manifest.equality.name(),
        "trust": "trusted",
        "stores": [{ "name": store, "present": entry.present, "proof": proof }],
        "hold": null,
        "tombstone": tombstone.map(|fact| json!({ "at": time(fact.at), "deletable_from": time(fact.deletable_from) })),
        "retention": plan.map(|plan| retention(plan, manifest)),
    })
}

fn grace(yardstick: &Yardstick) -> Duration {
    yardstick.rules.as_ref().map_or(Duration::ZERO, |rules| rules.grace)
}

fn retention(plan: &Plan, manifest: &Manifest) -> Value {
    let verdict = plan.verdict(&manifest.id);
    let keep = verdict.is_none_or(|verdict| verdict.action == Action::Keep);
    json!({ "keep": keep, "reasons": reasons(plan, manifest) })
}

/// Why retention keeps or drops a backup, in its own words.
pub fn reasons(plan: &Plan, manifest: &Manifest) -> Vec<String> {
    plan.verdict(&manifest.id).map(|v| v.reasons.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// An entry that does not count, as JSON.
pub fn untrusted(entry: &Untrusted) -> Value {
    json!({
        "id": entry.id,
        "short_id": entry.id.random_part(),
        "captured_at": time(entry.id.captured_at()),
        "trust": entry.why.to_string(),
    })
}

/// The column PROOF: `booted, 36m ago`, `FAILED at sound`, `not yet`.
pub fn proof(entry: &Trusted, yardstick: &Yardstick, now: DateTime<Utc>) -> String {
    match entry.standing(yardstick.required) {
        Standing::Proven { level, at, .. } => format!("{level}, {} ago", age(at, now)),
        Standing::Failed { level, .. } => format!("FAILED at {level}"),
        Standing::Unproven { .. } => match entry.verdicts.last() {
            Some(verdict) if verdict.outcome == Outcome::Passed => format!("only {}", verdict.level),
            _ => "not yet".to_owned(),
        },
    }
}

pub fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    ago((now - at).to_std().unwrap_or(Duration::ZERO))
}

/// `prod-eu-1: restorable to 02:30:04 UTC (37 min ago), booted, restore took 41 s`.
pub fn sentence(catalog: &Catalog, summary: &crate::summary::Summary, now: DateTime<Utc>) -> String {
    match &summary.restorable {
        Some(proven) => format!(
            "{}: restorable to {} UTC ({} ago), {}, restore took {}",
            catalog.cluster,
            proven.captured_at.format("%Y-%m-%d %H:%M:%S"),
            age(proven.captured_at, now),
            proven.level,
            seconds(proven.took_seconds),
        ),
        None if catalog.trusted.is_empty() => format!("{}: NOT restorable, there is no backup", catalog.cluster),
        None => format!("{}: NOT restorable, none of {} backups is proven", catalog.cluster, catalog.trusted.len()),
    }
}

/// `41 s`, `0.8 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// What the live members said, in words.
pub fn equality(manifest: &Manifest) -> String {
    match &manifest.equality {
        Equality::Equal { revision, members } => format!("equal, {members} at revision {revision}"),
        Equality::Differs { found } => format!("DIFFERS: {found}"),
        Equality::NotCompared { because } => format!("not compared: {because}"),
    }
}
