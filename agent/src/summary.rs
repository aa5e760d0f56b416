//! The one sentence, and what stands behind it: computed from the catalog alone, so that every agent says the same.

use crate::catalog::manifest::{Equality, Manifest};
use crate::catalog::wish::{About, Ack};
use crate::catalog::{Catalog, Trusted, Wrong, history};
use crate::config::{Config, ProveWhen};
use crate::copy;
use crate::holdings::{Held, Holdings};
use crate::keys::Distrust;
use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::freshness;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{self, Level, Standing};
use lifeboat_policy::retention::{self, Circumstances, Freeze, Plan, Rules};
use lifeboat_policy::schedule::Cron;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the catalog is measured against.
#[derive(Clone, Debug)]
pub struct Yardstick {
    pub required: Level,
    /// Absent where no config is at hand: then nothing can be late.
    pub backup_cron: Option<Cron>,
    /// Where proofs have a schedule of their own instead of following each backup.
    pub proof_cron: Option<Cron>,
    pub backup_limit: Duration,
    pub proof_limit: Duration,
    pub alert_after_backup: Option<Duration>,
    pub alert_after_proof: Option<Duration>,
    /// How often every backup is read back; absent where no config is at hand.
    pub reread: Option<Duration>,
}

impl Yardstick {
    pub fn from_config(config: &Config, required: Level) -> Yardstick {
        Yardstick {
            required,
            backup_cron: config.schedule.backup.clone(),
            proof_cron: match &config.schedule.prove {
                ProveWhen::AfterBackup => None,
                ProveWhen::Cron(cron) => Some(cron.clone()),
            },
            backup_limit: config.limits.backup,
            proof_limit: config.limits.prove,
            alert_after_backup: config.alert_after.backup,
            alert_after_proof: config.alert_after.proof,
            reread: Some(config.proof.reread),
        }
    }

    /// Without a config: only what the objects themselves say.
    pub fn bare(required: Level) -> Yardstick {
        Yardstick {
            required,
            backup_cron: None,
            proof_cron: None,
            backup_limit: Duration::ZERO,
            proof_limit: Duration::ZERO,
            alert_after_backup: None,
            alert_after_proof: None,
            reread: None,
        }
    }
}

/// A proven backup, as the one sentence names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Restorable {
    pub id: BackupId,
    pub captured_at: DateTime<Utc>,
    pub level: Level,
    pub proven_at: DateTime<Utc>,
    pub took_seconds: f64,
    /// From the start of a restore to etcd's first answer, by the newest proof that booted one.
    pub restore_seconds: Option<f64>,
}

/// Something that a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of `FINDING_KINDS`: the label of `lifeboat_findings`.
    pub kind: &'static str,
    pub what: String,
    pub hint: &'static str,
    /// What an acknowledgement would name; absent where it passes by itself.
    pub about: Option<About>,
}

/// Every kind there is, so that its series exist before anything is found.
pub const FINDING_KINDS: [&str; 10] = [
    "proof_failed",
    "diverged",
    "alarm",
    "unsigned",
    "history_broken",
    "missing",
    "damaged",
    "late",
    "store_behind",
    SHRUNK,
];

/// Those that say that the store's history is not whole: what `lifeboat verify` is about.
pub const HISTORY: [&str; 5] = ["unsigned", "history_broken", "missing", "damaged", "late"];

/// The newest backup holds far less than the one before it: prune waits until a person has looked.
pub const SHRUNK: &str = "shrunk";

/// Every way in which prune can be frozen against the operator's wish. Having no `keep` is a wish.
pub const FREEZES: [&str; 6] = ["nothing_proven", "clock_ahead", "proof_late", "findings", "shrunk", "too_many"];

#[derive(Clone, Debug)]
pub struct Summary {
    pub restorable: Option<Restorable>,
    pub newest_captured_at: Option<DateTime<Utc>>,
    /// When the newest backup's proof ended.
    pub proof_last_success_at: Option<DateTime<Utc>>,
    pub backup_deadline: Option<DateTime<Utc>>,
    pub proof_deadline: Option<DateTime<Utc>>,
    pub missed_slots: u32,
    /// Backups that nobody has read back for longer than the config allows.
    pub proof_overdue: Option<usize>,
    /// By `proven`, `unproven`, `failed`, `untrusted`.
    pub counts: BTreeMap<&'static str, usize>,
    pub findings: Vec<Finding>,
    /// What the operator has seen and accepted, and by which acknowledgement.
    pub acknowledged: Vec<(Finding, Ack)>,
    pub sealed_bytes: u64,
    /// `None` where no rules are known.
    pub plan: Option<Plan>,
}

/// All stores of a cluster.
#[derive(Debug)]
pub struct Overview {
    /// Of everything that the stores hold together. Its plan is that of the only store; several have one each.
    pub whole: Summary,
    /// In the order of the config; `None` for one that could not be read.
    pub stores: Vec<Option<Summary>>,
    /// What is to be copied so that no store is behind.
    pub tasks: Vec<copy::Task>,
}

pub fn overview(holdings: &Holdings, yardstick: &Yardstick, now: DateTime<Utc>) -> Overview {
    let of_store = |held: &Held| {
        let catalog = held.catalog.as_ref().ok()?;
        Some(summarize(catalog, yardstick, held.rules.as_ref(), now))
    };
    let stores: Vec<Option<Summary>> = holdings.stores.iter().map(of_store).collect();
    if let ([Some(only)], true) = (stores.as_slice(), holdings.is_single()) {
        return Overview { whole: only.clone(), stores, tasks: Vec::new() };
    }
    let tasks = copy::plan(holdings, yardstick.required, now);
    let (mut findings, mut acknowledged): (Vec<Finding>, Vec<(Finding, Ack)>) = (Vec::new(), Vec::new());
    for (held, summary) in holdings.stores.iter().zip(&stores) {
        for finding in summary.iter().flat_map(|summary| &summary.findings) {
            let finding = finding.clone().in_store(&held.name);
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        for (finding, ack) in summary.iter().flat_map(|summary| &summary.acknowledged) {
            let finding = finding.clone().in_store(&held.name);
            if !acknowledged.iter().any(|(known, _)| *known == finding) {
                acknowledged.push((finding, ack.clone()));
            }
        }
    }
    findings.extend(behind(holdings, &tasks));
    let whole = Summary { findings, acknowledged, ..summarize(&holdings.merged, yardstick, None, now) };
    Overview { whole, stores, tasks }
}

/// Stores that lack what they should hold, or of which nothing can be said.
fn behind(holdings: &Holdings, tasks: &[copy::Task]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |what, hint| findings.push(Finding { kind: "store_behind", what, hint, about: None });
    for (at, held) in holdings.stores.iter().enumerate() {
        let missing: Vec<&copy::Task> = tasks.iter().filter(|task| task.to == at).collect();
        match (&held.catalog, missing.first()) {
            (Err(error), _) => add(
                format!("store {} cannot be read: {error}", held.name),
                "the other stores are used meanwhile; `lifeboat help exit-codes` and the runbooks name the reasons",
            ),
            (Ok(_), Some(newest)) => add(
                match missing.len() {
                    1 => format!("store {} lacks a backup, {}", held.name, newest.id),
                    count => format!("store {} lacks {count} backups, the newest {}", held.name, newest.id),
                },
                "the role backup copies them after its next backup; or at once: `lifeboat copy --from URL --to URL`",
            ),
            (Ok(_), None) => {}
        }
    }
    findings
}

impl Finding {
    /// That this backup, the newest, collapsed against the one before it; `what` says how.
    pub fn shrunk(entry: &Trusted, what: String) -> Finding {
        let hint =
            "look at what was deleted from etcd; if it was meant: `lifeboat ack FINDING --reason R`, and prune goes on";
        Finding { kind: SHRUNK, what, hint, about: Some(entry.finding(SHRUNK)) }
    }

    /// Whether it is about this backup or one of its objects.
    pub fn speaks_of(&self, id: &BackupId) -> bool {
        self.about.as_ref().is_some_and(|about| about.subject.contains(id.as_str()))
    }

    /// Names the store, where the finding is one store's own.
    fn in_store(self, name: &str) -> Finding {
        match self.kind {
            "proof_failed" | "missing" | "damaged" | "late" | "unsigned" | "history_broken" | SHRUNK => {
                Finding { what: format!("in store {name}: {}", self.what), ..self }
            }
            _ => self,
        }
    }
}

/// One catalog, measured. `rules` are those of its store.
pub fn summarize(catalog: &Catalog, yardstick: &Yardstick, rules: Option<&Rules>, now: DateTime<Utc>) -> Summary {
    let newest = catalog.newest();
    let plan = rules.map(|rules| plan(catalog, yardstick, rules, now));
    let found = [findings(catalog, yardstick.required), shrunk(catalog, plan.as_ref())].concat();
    let (findings, acknowledged) = judged(found, &catalog.acks);
    let restorable = catalog.newest_proven(yardstick.required).and_then(|entry| restorable(entry, yardstick.required));
    Summary {
        newest_captured_at: newest.map(|entry| entry.manifest.captured_at),
        proof_last_success_at: restorable.as_ref().map(|proven| proven.proven_at),
        backup_deadline: yardstick.backup_cron.as_ref().and_then(|cron| {
            freshness::deadline(newest.map(slot), cron, yardstick.backup_limit, yardstick.alert_after_backup)
        }),
        proof_deadline: proof_deadline(catalog.newest_proven(yardstick.required), yardstick),
        missed_slots: yardstick
            .backup_cron
            .as_ref()
            .map_or(0, |cron| freshness::missed_slots(cron, newest.map(slot), now, yardstick.backup_limit)),
        proof_overdue: yardstick.reread.map(|reread| {
            let facts: Vec<_> = catalog.trusted.iter().map(Trusted::proof_facts).collect();
            proof::overdue(&facts, yardstick.required, reread, now)
        }),
        counts: counts(catalog, yardstick.required),
        findings,
        acknowledged,
        sealed_bytes: catalog.trusted.iter().map(|entry| entry.manifest.sealed.bytes).sum(),
        plan,
        restorable,
    }
}

/// When a store that was never read will have missed a backup, had it held one from `since`.
pub fn deadline_since(yardstick: &Yardstick, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let cron = yardstick.backup_cron.as_ref()?;
    freshness::deadline(Some(since), cron, yardstick.backup_limit, yardstick.alert_after_backup)
}

/// The slot that a backup served, or else when it was captured.
fn slot(entry: &Trusted) -> DateTime<Utc> {
    entry.manifest.slot.unwrap_or(entry.manifest.captured_at)
}

/// Until when this newest proven backup is recent enough: as long as the config says, else two slots of the schedule by which
/// proofs come, and the limits.
fn proof_deadline(proven: Option<&Trusted>, yardstick: &Yardstick) -> Option<DateTime<Utc>> {
    // A fixed time needs no schedule: a host that only prunes may have none.
    if let Some(span) = yardstick.alert_after_proof {
        return slot(proven?).checked_add_signed(TimeDelta::from_std(span).ok()?);
    }
    let cron = yardstick.proof_cron.as_ref().or(yardstick.backup_cron.as_ref())?;
    let limit = yardstick.backup_limit + yardstick.proof_limit;
    freshness::deadline(proven.map(slot), cron, limit, None)
}

/// The retention plan for a catalog, as `prune` would carry it out. What a person acknowledged stands in its way no more.
pub fn plan(catalog: &Catalog, yardstick: &Yardstick, rules: &Rules, now: DateTime<Utc>) -> Plan {
    let facts = catalog.facts(yardstick.required, rules.grace, now);
    // Not the catalog's own newest: one dated in the future would make every proof recent.
    let proven = retention::newest_proven(&facts, now).and_then(|proven| catalog.find(&proven.id));
    let circumstances = Circumstances {
        proof_deadline: proof_deadline(proven, yardstick),
        acked: catalog.acked(SHRUNK),
        findings: history_findings(catalog, yardstick.required),
    };
    retention::plan(&facts, rules, &circumstances, now)
}

/// The backup that froze the plan because it shrank, and those that did before and were accepted.
fn shrunk(catalog: &Catalog, plan: Option<&Plan>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(Freeze::Shrunk { id, before, what, had, has }) = plan.and_then(|plan| plan.frozen.as_ref()) {
        let what = format!("backup {id} has {has} {what} where {before} had {had}");
        found.extend(catalog.find(id).map(|entry| Finding::shrunk(entry, what)));
    }
    for ack in catalog.acks.iter().filter(|ack| ack.finding.kind == SHRUNK) {
        let accepted = catalog.trusted.iter().find(|entry| entry.finding(SHRUNK) == ack.finding);
        found.extend(accepted.map(|entry| Finding::shrunk(entry, ack.what.clone())));
    }
    found
}

/// What nobody acknowledged of what contradicts the signed history: backups that are gone, or whose data is, or that failed
/// their proof. What nobody signed is no part of it, and could otherwise freeze prune at anybody's wish.
fn history_findings(catalog: &Catalog, required: Level) -> Vec<String> {
    let (open, _) = judged(findings(catalog, required), &catalog.acks);
    let contradicts =
        |finding: &Finding| matches!(finding.kind, "history_broken" | "missing" | "damaged" | "proof_failed");
    open.into_iter().filter(contradicts).map(|finding| finding.what).collect()
}

fn restorable(entry: &Trusted, required: Level) -> Option<Restorable> {
    match entry.standing(required) {
        Standing::Proven { level, at, took_seconds } => Some(Restorable {
            id: entry.id().clone(),
            captured_at: entry.manifest.captured_at,
            level,
            proven_at: at,
            took_seconds,
            restore_seconds: entry.verdicts.iter().rev().find_map(|verdict| verdict.learnt.restore_seconds),
        }),
        _ => None,
    }
}

/// The word for a standing, in JSON, on screens and in metrics.
pub fn state(standing: &Standing) -> &'static str {
    match standing {
        Standing::Proven { .. } => "proven",
        Standing::Failed { .. } => "failed",
        Standing::Unproven { .. } => "unproven",
    }
}

fn counts(catalog: &Catalog, required: Level) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<_, _> = ["proven", "unproven", "failed"].into_iter().map(|state| (state, 0)).collect();
    for entry in &catalog.trusted {
        *counts.entry(state(&entry.standing(required))).or_default() += 1;
    }
    counts.insert("untrusted", catalog.untrusted.len());
    counts
}

/// Findings apart from those that were acknowledged. The latest acknowledgement speaks.
fn judged(all: Vec<Finding>, acks: &[Ack]) -> (Vec<Finding>, Vec<(Finding, Ack)>) {
    let (mut open, mut acknowledged) = (Vec::new(), Vec::new());
    for finding in all {
        match acks.iter().rfind(|ack| finding.about.as_ref() == Some(&ack.finding)) {
            Some(ack) => acknowledged.push((finding, ack.clone())),
            None => open.push(finding),
        }
    }
    (open, acknowledged)
}

fn findings(catalog: &Catalog, required: Level) -> Vec<Finding> {
    let mut findings: Vec<Finding> = catalog.trusted.iter().flat_map(|entry| of_entry(entry, required)).collect();
    let mut add = |kind, about: About, what, hint| findings.push(Finding { kind, what, hint, about: Some(about) });
    // An alarm that a later backup no longer saw is over.
    for (newest, alarm) in
        catalog.newest().iter().flat_map(|entry| entry.manifest.etcd.alarms.iter().map(move |a| (entry, a)))
    {
        let about = About::new("alarm", format!("{} {alarm}", newest.finding("alarm").subject));
        add("alarm", about, format!("etcd raised {alarm} when the newest backup was taken"), alarm_hint(alarm));
    }
    for untrusted in &catalog.untrusted {
        let nature = history::nature(&untrusted.why);
        let what = format!("backup {} does not count, {nature}: {}", untrusted.id, untrusted.why);
        let about = About::new("unsigned", format!("{}/backups/{}/manifest.json", catalog.cluster, untrusted.id));
        add("unsigned", about, what, trust_hint(&untrusted.why));
    }
    for stray in &catalog.strays {
        let what = format!("{} does not count, {}: {}", stray.path, history::nature(&stray.why), stray.why);
        add("unsigned", About::new("unsigned", stray.path.clone()), what, trust_hint(&stray.why));
    }
    for found in catalog.contradictions() {
        add("history_broken", About::new("history_broken", found.subject()), found.to_string(), found.hint());
    }
    if let Some(n) = catalog.lost_list {
        let what = format!("trust list {n} is gone: a key that it revoked may count again");
        let about = About::new("history_broken", format!("{}/trust/{n}.json", catalog.cluster));
        add("history_broken", about, what, "find out who deleted it, and write the next one: `lifeboat keyring trust`");
    }
    findings
}

fn utc(at: DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%d %H:%M UTC")
}

/// What one backup says against itself, and what its verdicts do.
fn of_entry(entry: &Trusted, required: Level) -> Vec<Finding> {
    let (id, mut findings) = (entry.id(), Vec::new());
    let mut add = |kind, what, hint| findings.push(Finding { kind, what, hint, about: Some(entry.finding(kind)) });
    if let Standing::Failed { level, at } = entry.standing(required) {
        let what = format!("backup {id} failed its proof at {level}, {}", at.format("%Y-%m-%d %H:%M"));
        add("proof_failed", what, "see `lifeboat show` for the step that failed; the backups before it are untouched");
    }
    if let Some(late) = entry.late() {
        let what = format!(
            "backup {id} came late: it claims {}, was not in this store at {} and was found there at {}",
            utc(entry.manifest.captured_at),
            utc(late.looked_at),
            utc(late.found_at)
        );
        add(
            "late",
            what,
            "find out who put it there; if it was you (`lifeboat copy`), accept it: until then it is no default choice",
        );
    }
    if let Some(what) = diverged(&entry.manifest) {
        add(
            "diverged",
            format!("backup {id}: {what}"),
            "one member's data is not the others': `etcdctl endpoint hashkv --cluster` shows whose; replace that member",
        );
    }
    findings.extend(amiss(entry));
    findings
}

/// Of a backup's objects those that are gone, and those of another size.
fn amiss(entry: &Trusted) -> Vec<Finding> {
    let id = entry.id();
    let (mut missing, mut damaged) = (Vec::new(), Vec::new());
    for amiss in &entry.amiss {
        let what = amiss.what;
        match amiss.wrong {
            Wrong::Missing => missing.push(what.to_owned()),
            Wrong::Bytes { found, signed } => damaged.push(format!("{what} of {found} bytes instead of {signed}")),
            Wrong::Differs => damaged.push(format!("other {what}, of the same size")),
        }
    }
    if missing.is_empty() && damaged.is_empty() && !entry.present {
        missing.push("data".to_owned());
    }
    let mut findings = Vec::new();
    let mut add = |kind, what, hint| findings.push(Finding { kind, what, hint, about: Some(entry.finding(kind)) });
    if !missing.is_empty() {
        let what = format!("the {} of backup {id} is missing from the store", missing.join(" and "));
        add("missing", what, "it cannot be restored; find out who deleted it");
    }
    if !damaged.is_empty() {
        let what = format!("backup {id} is not what its signed manifest says: {}", damaged.join("; "));
        add(
            "damaged",
            what,
            "it was cut or written over, and cannot be restored; find out who may write in this store",
        );
    }
    findings
}

/// What the members said against a backup or each other.
fn diverged(manifest: &Manifest) -> Option<String> {
    let found = match &manifest.equality {
        Equality::Differs { found } => Some(found.as_str()),
        _ => None,
    };
    match (found, manifest.unprovable.as_deref()) {
        (None, None) => None,
        (Some(found), None) => Some(found.to_owned()),
        (None, Some(why)) => Some(format!("it cannot be proven: {why}")),
        (Some(found), Some(why)) => Some(format!("it cannot be proven: {why}; {found}")),
    }
}

fn alarm_hint(alarm: &str) -> &'static str {
    match alarm {
        "NOSPACE" => {
            "its quota is used up and it refuses writes: compact, `etcdctl defrag`, then `etcdctl alarm disarm`"
        }
        _ => "etcd found its members' data different: compare them before any is restarted",
    }
}

fn trust_hint(why: &Distrust) -> &'static str {
    match why {
        Distrust::NoKey(_) | Distrust::WrongKey(_) => {
            "find out who wrote it. Only if you know the signer's key to be yours, add it under keys.trusted_keys: a name in an \
             object proves nothing"
        }
        Distrust::Revoked { .. } => {
            "if you know it to be good, vouch for it: `lifeboat keyring trust --vouch BACKUP`; else somebody used that key"
        }
        Distrust::OutsideValidity { .. } => "rotate the key: its validity stands in the config or the trust list",
        Distrust::FromTheFuture(_) => "set the clock of whoever wrote it; it counts for nothing until then",
        Distrust::NotAllowed(_) => {
            "only the operator's key may release, accept or ask for a deletion; find out who tried"
        }
        _ => "nobody should write here but lifeboat; find out who did",
    }
}

#[cfg(test)]
mod tests;
