//! The loop of the role prove: the newest backup without a conclusive verdict, then the one before it.

use super::backoff::Backoff;
use super::shared::Shared;
use crate::catalog::Trusted;
use crate::clock::Stopwatch;
use crate::config::{ProveWhen, Role};
use crate::error::{Reason, Result};
use crate::keys::Signer;
use crate::proof::Proving;
use crate::proof::binary::EtcdBinary;
use crate::setup;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Outcome, Standing};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the loop rests when nothing is due and no backup of this agent wakes it.
const REST: Duration = Duration::from_secs(5);

pub(super) async fn turn(shared: &Shared, binaries: &[EtcdBinary]) -> Result<()> {
    let signer = setup::signer(&shared.config, Role::Prove)?;
    // Backups whose proof ended inconclusive, and when they may be tried again: one that cannot be opened must not
    // keep the prover from the others.
    let mut later: BTreeMap<BackupId, (DateTime<Utc>, Backoff)> = BTreeMap::new();
    loop {
        if let ProveWhen::Cron(cron) = &shared.config.schedule.prove {
            let next = cron.next_after(shared.now()).unwrap_or(DateTime::<Utc>::MAX_UTC);
            while shared.now() < next {
                if !shared.sleep_until("prove", next).await {
                    return Ok(());
                }
            }
        }
        // After the wait, which promised only itself: a long proof must not look like a loop that stands still.
        shared.expect("prove", shared.config.limits.prove);
        if let Some(entry) = next_to_prove(shared, &later).await {
            match prove_one(shared, &signer, binaries, &entry).await {
                Ok(()) => drop(later.remove(entry.id())),
                Err(error) => {
                    tracing::error!(id = %entry.id(), %error, reason = error.reason.name(), hint = error.hint, "proof inconclusive");
                    let (at, backoff) =
                        later.entry(entry.id().clone()).or_insert_with(|| (shared.now(), Backoff::new()));
                    *at = shared.now() + backoff.next();
                }
            }
            if shared.stop.is_cancelled() {
                return Ok(());
            }
            continue;
        }
        shared.expect("prove", REST);
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(REST) => {}
            () = shared.stop.cancelled() => return Ok(()),
        }
    }
}

/// The newest backup that has no conclusive verdict yet.
async fn next_to_prove(shared: &Shared, later: &BTreeMap<BackupId, (DateTime<Utc>, Backoff)>) -> Option<Trusted> {
    let catalog = match shared.refresh().await {
        Ok(catalog) => catalog,
        Err(error) => {
            tracing::error!(%error, reason = error.reason.name(), "the store cannot be read");
            return None;
        }
    };
    let now = shared.now();
    let may = |entry: &&Trusted| later.get(entry.id()).is_none_or(|(at, _)| *at <= now);
    let due = |entry: &&Trusted| {
        entry.tombstones.is_empty() && matches!(entry.standing(shared.yardstick.required), Standing::Unproven { .. })
    };
    catalog.trusted.iter().filter(due).find(may).cloned()
}

async fn prove_one(shared: &Shared, signer: &Signer, binaries: &[EtcdBinary], entry: &Trusted) -> Result<()> {
    let identities = || shared.access.identities();
    let proving = Proving {
        store: shared.access.store(),
        layout: shared.access.layout(),
        signer,
        clock: &*shared.clock,
        identities: &identities,
        level: shared.yardstick.required,
        scratch_dir: shared.config.proof.scratch_dir.clone(),
        scratch_max_bytes: shared.config.proof.scratch_max_bytes,
        binaries,
        limit: shared.config.limits.prove,
    };
    let watch = Stopwatch::start();
    let done = proving.prove(entry).await;
    let failed = match &done {
        Ok(verdict) => (verdict.outcome != Outcome::Passed).then_some(Reason::ProofFailed),
        Err(error) => Some(error.reason),
    };
    shared.count(Role::Prove, watch.elapsed(), failed);
    let verdict = done?;
    let found = verdict.steps.last().map_or("", |step| step.found.as_str());
    match failed {
        None => {
            tracing::info!(id = %entry.id(), level = %verdict.level, seconds = verdict.took_seconds, "backup proven")
        }
        Some(_) => tracing::error!(id = %entry.id(), level = %verdict.level, found, "backup FAILED its proof"),
    }
    shared.refresh().await?;
    Ok(())
}
