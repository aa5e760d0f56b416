//! One backup as `list`, `show` and `backup` write it: the same fields everywhere.

use super::open::Opened;
use super::output::time;
use crate::capture::KeyCount;
use crate::catalog::manifest::{Equality, Manifest, Verdict};
use crate::catalog::{Catalog, Trusted, Untrusted};
use crate::error::Error;
use crate::holdings;
use crate::proof;
use crate::summary::{Overview, Summary, Yardstick};
use chrono::{DateTime, Utc};
use lifeboat_policy::hold::Held;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Outcome, Standing};
use lifeboat_policy::retention::{Action, Plan};
use lifeboat_policy::span::ago;
use serde_json::{Value, json};
use std::time::Duration;

/// A backup as one store has it, or has it not.
pub struct In<'a> {
    pub name: &'a str,
    pub place: Presence<'a>,
}

pub enum Presence<'a> {
    Listed {
        entry: &'a Trusted,
        plan: Option<&'a Plan>,
        grace: Duration,
        hold: Option<Held>,
    },
    Absent,
    /// A backup that was taken just now has not reached it.
    Behind(&'a Error),
    /// The store could not be read.
    Unknown,
}

impl<'a> In<'a> {
    /// Each store's account of a backup, in the order of the config.
    pub fn each(opened: &'a Opened, overview: &'a Overview, id: &BackupId) -> Vec<In<'a>> {
        let account = |(held, summary): (&'a holdings::Held, &'a Option<Summary>)| {
            let place = match &held.catalog {
                Err(_) => Presence::Unknown,
                Ok(catalog) => match catalog.find(id) {
                    None => Presence::Absent,
                    Some(entry) => Presence::Listed {
                        entry,
                        plan: summary.as_ref().and_then(|summary| summary.plan.as_ref()),
                        grace: held.rules.as_ref().map_or(Duration::ZERO, |rules| rules.grace),
                        hold: entry.held(catalog.read_at),
                    },
                },
            };
            In { name: &held.name, place }
        };
        opened.holdings.stores.iter().zip(&overview.stores).map(account).collect()
    }

    /// Of one store among `several` what else is that store's own stands with it.
    fn document(&self, several: bool) -> Value {
        let (entry, plan) = match &self.place {
            Presence::Listed { entry, plan, .. } => (entry, plan),
            Presence::Absent => return json!({ "name": self.name, "present": false, "proof": null }),
            Presence::Unknown => return json!({ "name": self.name, "present": null, "proof": null }),
            Presence::Behind(error) => {
                let why = json!({ "reason": error.reason.name(), "message": error.to_string() });
                return json!({ "name": self.name, "present": false, "proof": null, "error": why });
            }
        };
        // What could not tell takes nothing from what was learnt before.
        let tells = |verdict: &&Verdict| verdict.outcome != Outcome::Inconclusive;
        let proof = entry.verdicts.iter().rfind(tells).or(entry.verdicts.last()).map(|verdict| {
            json!({
                "level": verdict.level, "outcome": verdict.outcome, "at": time(verdict.at),
                "took_seconds": verdict.took_seconds, "failed_at": verdict.learnt.failed_at,
                "restore_seconds": verdict.learnt.restore_seconds,
            })
        });
        let mut fields = json!({ "name": self.name, "present": entry.present, "proof": proof });
        if several {
            fields["hold"] = self.hold();
            fields["tombstone"] = json!(self.tombstone());
            fields["retention"] = json!(plan.map(|plan| retention(plan, &entry.manifest)));
        }
        fields
    }

    fn hold(&self) -> Value {
        match &self.place {
            Presence::Listed { hold: held, .. } => hold(held.as_ref()),
            Presence::Absent | Presence::Behind(_) | Presence::Unknown => Value::Null,
        }
    }

    fn tombstone(&self) -> Option<Value> {
        let Presence::Listed { entry, grace, .. } = &self.place else { return None };
        let fact = entry.tombstone(*grace)?;
        Some(json!({ "at": time(fact.at), "deletable_from": time(fact.deletable_from) }))
    }
}

/// A trusted entry as JSON. `short` is how many digits of the random part tell all entries apart. Of several stores the
/// first that lists it speaks in `hold`, `tombstone` and `retention`; each has its own below `stores`.
pub fn trusted(entry: &Trusted, stores: &[In<'_>], short: usize) -> Value {
    let manifest = &entry.manifest;
    let db = &manifest.db;
    let first = stores.iter().find(|store| matches!(store.place, Presence::Listed { .. }));
    let plan = first.and_then(|store| match &store.place {
        Presence::Listed { plan, .. } => *plan,
        Presence::Absent | Presence::Behind(_) | Presence::Unknown => None,
    });
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
        "encryption_at_rest": manifest.encryption_at_rest,
        "equality": manifest.equality.name(),
        "trust": "trusted",
        "late": late(entry),
        "stores": stores.iter().map(|store| store.document(stores.len() > 1)).collect::<Vec<_>>(),
        "hold": first.map_or(Value::Null, In::hold),
        "tombstone": first.and_then(In::tombstone),
        "retention": plan.map(|plan| retention(plan, manifest)),
    })
}

fn late(entry: &Trusted) -> Value {
    entry.late().map_or(Value::Null, |late| {
        let (looked_at, found_at) = (time(late.looked_at), time(late.found_at));
        json!({ "looked_at": looked_at, "found_at": found_at, "accepted": entry.late_accepted })
    })
}

/// A hold as JSON.
pub fn hold(held: Option<&Held>) -> Value {
    held.map_or(
        Value::Null,
        |held| json!({ "reason": held.reason, "until": held.until.map(time), "at": time(held.at) }),
    )
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
    if entry.is_late() {
        return format!("{}, but LATE", entry.standing(yardstick.required));
    }
    match entry.standing(yardstick.required) {
        Standing::Proven { level, at, .. } => format!("{level}, {} ago", age(at, now)),
        Standing::Failed { level, .. } => format!("FAILED at {level}"),
        Standing::Unproven { because: Because::TooShallow { level } } => format!("only {level}"),
        Standing::Unproven { because: Because::Inconclusive { at } } => format!("inconclusive, {} ago", age(at, now)),
        Standing::Unproven { because: Because::NotTried | Because::Diverged } => "not yet".to_owned(),
    }
}

pub fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    ago((now - at).to_std().unwrap_or(Duration::ZERO))
}

/// `prod-eu-1: restorable to 02:30:04 UTC (37 min ago), booted, restore took 41 s`.
pub fn sentence(catalog: &Catalog, summary: &crate::summary::Summary, now: DateTime<Utc>) -> String {
    match &summary.restorable {
        Some(proven) => format!(
            "{}: restorable to {} UTC ({} ago), {}, {} took {}",
            catalog.cluster,
            proven.captured_at.format("%Y-%m-%d %H:%M:%S"),
            age(proven.captured_at, now),
            proven.level,
            if proven.restore_seconds.is_some() { "restore" } else { "its proof" },
            seconds(proven.restore_seconds.unwrap_or(proven.took_seconds)),
        ),
        None if catalog.trusted.is_empty() => format!("{}: NOT restorable, there is no backup", catalog.cluster),
        None => format!("{}: NOT restorable, none of {} backups is proven", catalog.cluster, catalog.trusted.len()),
    }
}

/// `41 s`, `0.8 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// The lines of a proof: its steps, what it warns of, which keys it counted.
pub fn proof_lines(verdict: &Verdict, indent: &str) -> String {
    let mut text = String::new();
    for step in &verdict.steps {
        let failed =
            if verdict.learnt.failed_at.map(Level::as_str) == Some(step.name.as_str()) { "FAILED: " } else { "" };
        text.push_str(&format!("{indent}{:10} {:>7}  {failed}{}\n", step.name, seconds(step.took_seconds), step.found));
    }
    let learnt = &verdict.learnt;
    let mut line = |name: &str, found: &str| text.push_str(&format!("{indent}{name:10} {found}\n"));
    if let Some(measured) = learnt.restore_seconds {
        line("restore", &format!("{} from its start to etcd's first answer", seconds(measured)));
    }
    if let Some(keys) = learnt.encryption_at_rest.as_deref().filter(|keys| !keys.is_empty()) {
        line("secrets", &format!("need encryption key {}", proof::names(keys)));
    }
    for warning in &learnt.warnings {
        line("WARNING", warning);
    }
    text
}

/// Keys by the beginning of their path, several to a line.
pub fn key_counts(counts: &[KeyCount]) -> String {
    let told = |part: &[KeyCount]| {
        let part: Vec<String> = part.iter().map(|count| format!("{}: {}", count.prefix, count.keys)).collect();
        part.join(", ")
    };
    counts.chunks(4).map(|part| format!("             {}\n", told(part))).collect()
}

/// What the live members said, in words.
pub fn equality(manifest: &Manifest) -> String {
    match &manifest.equality {
        Equality::Equal { revision, members } => format!("equal, {members} at revision {revision}"),
        Equality::Differs { found } => format!("DIFFERS: {found}"),
        Equality::NotCompared { because } => format!("not compared: {because}"),
    }
}
