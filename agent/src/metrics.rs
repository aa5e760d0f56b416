//! What Prometheus sees. Gauges from the catalog are the truth and the same on every agent; counters explain.

use crate::capture::Survey;
use crate::catalog::Catalog;
use crate::config::{ClusterName, Role};
use crate::error::{Error, Reason, Result};
use crate::holdings::Holdings;
use crate::summary::{FINDING_KINDS, Overview, Summary};
use chrono::{DateTime, Utc};
use lifeboat_policy::retention::Action;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::collections::BTreeSet;
use std::time::Duration;

/// From a tenth of a second to half an hour: a stage of a small cluster, and the whole of a huge one.
const BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0];

/// Begins to record. Called once, before the first loop.
pub fn install() -> Result<PrometheusHandle> {
    let failed = |source| Error::new(Reason::Internal, "cannot start recording metrics").because(source);
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("duration_seconds".to_owned()), &BUCKETS)
        .map_err(failed)?;
    let handle = builder.install_recorder().map_err(failed)?;
    describe();
    Ok(handle)
}

fn describe() {
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
    }
    for (name, help) in COUNTERS {
        describe_counter!(*name, *help);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, Unit::Seconds, *help);
    }
}

const GAUGES: &[(&str, &str)] = &[
    ("lifeboat_backup_last_success_timestamp_seconds", "Capture time of the newest trusted backup."),
    ("lifeboat_backup_deadline_timestamp_seconds", "When the next backup is late."),
    ("lifeboat_backup_missed_slots", "Slots since the newest backup whose limit has passed."),
    ("lifeboat_restorable_timestamp_seconds", "Capture time of the newest proven backup."),
    ("lifeboat_proof_last_success_timestamp_seconds", "When the newest proven backup was proven."),
    ("lifeboat_proof_deadline_timestamp_seconds", "When the next proof is late."),
    ("lifeboat_restore_measured_seconds", "How long the proof of the newest proven backup took."),
    ("lifeboat_backups", "Backups in the store by state."),
    ("lifeboat_backup_size_bytes", "Size of the newest backup: the database, and sealed."),
    ("lifeboat_backup_revision", "Revision of the newest backup."),
    ("lifeboat_backup_keys", "Keys alive in the newest backup."),
    ("lifeboat_findings", "What a person has to look at, by kind."),
    ("lifeboat_prune_frozen", "1 while prune does nothing, by reason."),
    ("lifeboat_proof_overdue_backups", "Backups that nobody has read back for longer than proof.reread."),
    ("lifeboat_prune_overdue_backups", "Backups whose deletion is due and has not happened."),
    ("lifeboat_store_behind_backups", "Backups that this store should hold and that another one has."),
    ("lifeboat_agent_role", "1 for each role that runs here."),
    ("lifeboat_build_info", "1, with the version."),
    ("lifeboat_catalog_read_timestamp_seconds", "When this agent last read the catalog."),
    ("lifeboat_etcd_alarm", "1 while etcd raises this alarm, as of the last backup that was begun."),
    ("lifeboat_scratch_free_bytes", "Free space where proofs are made."),
];

const COUNTERS: &[(&str, &str)] = &[
    ("lifeboat_backup_attempts_total", "Backups begun."),
    ("lifeboat_backup_failures_total", "Backups that failed, by reason."),
    ("lifeboat_backup_left_out_total", "Backups that went on without a store, by reason."),
    ("lifeboat_proof_attempts_total", "Proofs begun."),
    ("lifeboat_proof_failures_total", "Proofs that failed or ended inconclusive, by reason."),
    ("lifeboat_prune_attempts_total", "Prunes begun."),
    ("lifeboat_prune_failures_total", "Prunes that failed, by reason."),
    ("lifeboat_store_requests_total", "Requests to the store, by operation."),
    ("lifeboat_store_request_failures_total", "Requests to the store that failed, by operation and reason."),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("lifeboat_backup_duration_seconds", "How long backups take, by stage."),
    ("lifeboat_proof_duration_seconds", "How long proofs take, by step."),
];

/// The series of this agent itself, and counters at zero so that a first failure is a rise.
pub fn set_agent(cluster: &str, roles: &BTreeSet<Role>) {
    gauge!("lifeboat_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    for role in roles {
        gauge!("lifeboat_agent_role", "etcd_cluster" => cluster.to_owned(), "role" => role.name()).set(1);
        if let Some(kind) = kind(*role) {
            counter!(format!("lifeboat_{kind}_attempts_total"), "etcd_cluster" => cluster.to_owned()).increment(0);
        }
    }
}

/// The word for a role's work in metric names.
fn kind(role: Role) -> Option<&'static str> {
    match role {
        Role::Backup => Some("backup"),
        Role::Prove => Some("proof"),
        Role::Prune => Some("prune"),
        Role::Operator => None,
    }
}

/// One run of a role's work ended: well, or for a reason.
pub fn count_run(cluster: &str, role: Role, took: Duration, failed: Option<Reason>) {
    let Some(kind) = kind(role) else { return };
    let cluster = cluster.to_owned();
    counter!(format!("lifeboat_{kind}_attempts_total"), "etcd_cluster" => cluster.clone()).increment(1);
    match failed {
        Some(reason) => {
            counter!(format!("lifeboat_{kind}_failures_total"), "etcd_cluster" => cluster, "reason" => reason.name())
                .increment(1);
        }
        None if role == Role::Prune => {}
        None => {
            let label = if role == Role::Backup { "stage" } else { "step" };
            histogram!(format!("lifeboat_{kind}_duration_seconds"), "etcd_cluster" => cluster, label => "whole")
                .record(took.as_secs_f64());
        }
    }
}

/// Every alarm that etcd has, so that its series exist before it is raised.
const ALARMS: [&str; 2] = ["NOSPACE", "CORRUPT"];

/// The alarms that any member told when a backup began.
pub fn set_alarms(cluster: &ClusterName, survey: &Survey) {
    for alarm in ALARMS {
        let raised = survey.members.iter().any(|member| member.alarms.iter().any(|raised| raised == alarm));
        gauge!("lifeboat_etcd_alarm", "etcd_cluster" => cluster.to_string(), "alarm" => alarm).set(if raised {
            1
        } else {
            0
        });
    }
}

/// Sets every gauge that the stores give. What is not known stays absent, never 0; what could not be read this time stays
/// as it was, and its age shows.
pub fn set_holdings(holdings: &Holdings, overview: &Overview) {
    for ((at, held), summary) in holdings.stores.iter().enumerate().zip(&overview.stores) {
        if let (Ok(catalog), Some(summary)) = (&held.catalog, summary) {
            set_store(catalog, summary, &held.name);
            let behind = overview.tasks.iter().filter(|task| task.to == at).count();
            let cluster = catalog.cluster.to_string();
            gauge!("lifeboat_store_behind_backups", "etcd_cluster" => cluster, "store" => held.name.clone())
                .set(number(behind));
        }
    }
    let (whole, cluster) = (&overview.whole, || holdings.merged.cluster.to_string());
    gauge!("lifeboat_backup_missed_slots", "etcd_cluster" => cluster()).set(f64::from(whole.missed_slots));
    for kind in FINDING_KINDS {
        let count = whole.findings.iter().filter(|finding| finding.kind == kind).count();
        gauge!("lifeboat_findings", "etcd_cluster" => cluster(), "kind" => kind).set(number(count));
    }
    if let Some(measured) = whole.restorable.as_ref().and_then(|proven| proven.restore_seconds) {
        gauge!("lifeboat_restore_measured_seconds", "etcd_cluster" => cluster()).set(measured);
    }
    if let Some(newest) = holdings.merged.newest() {
        let db = &newest.manifest.db;
        for (kind, bytes) in [("db", db.bytes), ("sealed", newest.manifest.sealed.bytes)] {
            gauge!("lifeboat_backup_size_bytes", "etcd_cluster" => cluster(), "kind" => kind).set(bytes as f64);
        }
        gauge!("lifeboat_backup_revision", "etcd_cluster" => cluster()).set(db.revision as f64);
        gauge!("lifeboat_backup_keys", "etcd_cluster" => cluster()).set(db.keys as f64);
    }
    // Frozen in one store is frozen: the label has no room for which.
    let frozen = |reason| {
        let plans = overview.stores.iter().flatten().filter_map(|summary| summary.plan.as_ref());
        plans.filter_map(|plan| plan.frozen.as_ref()).any(|freeze| freeze.as_str() == reason)
    };
    if overview.stores.iter().flatten().any(|summary| summary.plan.is_some()) {
        for reason in crate::summary::FREEZES {
            let on = if frozen(reason) { 1 } else { 0 };
            gauge!("lifeboat_prune_frozen", "etcd_cluster" => cluster(), "reason" => reason).set(on);
        }
    }
}

fn set_store(catalog: &Catalog, summary: &Summary, store: &str) {
    let cluster = || catalog.cluster.to_string();
    let store = || store.to_owned();
    let time = |name: &'static str, at: Option<DateTime<Utc>>| {
        if let Some(at) = at {
            gauge!(name, "etcd_cluster" => cluster(), "store" => store()).set(seconds(at));
        }
    };
    time("lifeboat_backup_last_success_timestamp_seconds", summary.newest_captured_at);
    time(BACKUP_DEADLINE, summary.backup_deadline);
    time("lifeboat_restorable_timestamp_seconds", summary.restorable.as_ref().map(|proven| proven.captured_at));
    time("lifeboat_proof_last_success_timestamp_seconds", summary.proof_last_success_at);
    time("lifeboat_proof_deadline_timestamp_seconds", summary.proof_deadline);
    gauge!("lifeboat_catalog_read_timestamp_seconds", "etcd_cluster" => cluster(), "store" => store())
        .set(seconds(catalog.read_at));
    for (state, count) in &summary.counts {
        gauge!("lifeboat_backups", "etcd_cluster" => cluster(), "store" => store(), "state" => *state)
            .set(number(*count));
    }
    if let Some(overdue) = summary.proof_overdue {
        gauge!("lifeboat_proof_overdue_backups", "etcd_cluster" => cluster(), "store" => store()).set(number(overdue));
    }
    if let Some(plan) = &summary.plan {
        let overdue = plan.verdicts.iter().filter(|verdict| verdict.action == Action::Delete).count();
        gauge!("lifeboat_prune_overdue_backups", "etcd_cluster" => cluster(), "store" => store()).set(number(overdue));
    }
}

const BACKUP_DEADLINE: &str = "lifeboat_backup_deadline_timestamp_seconds";

/// A store that this agent has never been able to read, or that holds nothing where others do: by when it should have had
/// a backup. Without it, nobody would miss what such a store lacks.
pub fn set_backup_deadline(cluster: &str, store: &str, at: DateTime<Utc>) {
    gauge!(BACKUP_DEADLINE, "etcd_cluster" => cluster.to_owned(), "store" => store.to_owned()).set(seconds(at));
}

/// A store was left out of a backup that went on without it.
pub fn count_left_out(cluster: &str, store: &str, reason: Reason) {
    counter!("lifeboat_backup_left_out_total", "etcd_cluster" => cluster.to_owned(), "store" => store.to_owned(),
        "reason" => reason.name())
    .increment(1);
}

fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

fn number(count: usize) -> f64 {
    count as f64
}
