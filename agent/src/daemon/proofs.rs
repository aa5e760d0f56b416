//! The loop of the role prove: the newest backup without a conclusive verdict, then the one before it.

use super::backoff::Backoff;
use super::shared::Shared;
use crate::catalog::Trusted;
use crate::catalog::manifest::Manifest;
use crate::clock::Stopwatch;
use crate::config::{ProveWhen, Role};
use crate::error::{Reason, Result};
use crate::holdings::Witness;
use crate::keys::Signer;
use crate::proof::Proving;
use crate::proof::binary::EtcdBinary;
use crate::setup;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Outcome, Standing};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// By backup and store.
type Later = BTreeMap<(BackupId, usize), (DateTime<Utc>, Backoff)>;

/// A backup to be proven from one store, by its place in the config.
struct Due {
    entry: Trusted,
    at: usize,
    previous: Option<Manifest>,
    witness: Witness,
    newest: bool,
}

/// How long the loop rests when nothing is due and no backup of this agent wakes it.
const REST: Duration = Duration::from_secs(5);

pub(super) async fn turn(shared: &Shared, binaries: &[EtcdBinary]) -> Result<()> {
    let signer = setup::signer(&shared.config, Role::Prove)?;
    // Backups whose proof ended inconclusive, and when they may be tried again: one that cannot be opened must not
    // keep the prover from the others.
    let mut later = Later::new();
    loop {
        if let ProveWhen::Cron(cron) = &shared.config.schedule.prove {
            let next = cron.next_after(shared.now()).unwrap_or(DateTime::<Utc>::MAX_UTC);
            while shared.now() < next {
                if !shared.sleep_until("prove", next).await {
                    return Ok(());
                }
            }
        }
        if !shared.outside_blackout("prove").await {
            return Ok(());
        }
        // After the wait, which promised only itself: a long proof must not look like a loop that stands still.
        shared.expect("prove", shared.config.limits.prove);
        if let Some(due) = next_to_prove(shared, &signer, &later).await {
            let (id, key) = (due.entry.id(), (due.entry.id().clone(), due.at));
            match prove_one(shared, &signer, binaries, &due).await {
                Ok(()) => drop(later.remove(&key)),
                Err(error) => {
                    tracing::error!(%id, %error, reason = error.reason.name(), hint = error.hint, "proof inconclusive");
                    let (at, backoff) = later.entry(key).or_insert_with(|| (shared.now(), Backoff::new()));
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

/// The newest backup that has no conclusive verdict yet, in whichever store that is. Each store is proven for itself: a
/// proof tells what that store gives back.
async fn next_to_prove(shared: &Shared, signer: &Signer, later: &Later) -> Option<Due> {
    let holdings = match shared.refresh().await {
        Ok(holdings) => holdings,
        Err(error) => {
            tracing::error!(%error, reason = error.reason.name(), "the store cannot be read");
            return None;
        }
    };
    let now = shared.now();
    // A verdict that counts for nothing would leave the same backup due for ever.
    if let Err(error) = holdings.merged.may_sign(signer, now) {
        tracing::error!(%error, reason = error.reason.name(), hint = error.hint, "nothing can be proven");
        return None;
    }
    let due = |at: usize, entry: &&Trusted| {
        entry.marks().next().is_none()
            && matches!(entry.standing(shared.yardstick.required), Standing::Unproven { .. })
            && later.get(&((*entry).id().clone(), at)).is_none_or(|(again, _)| *again <= now)
    };
    let newest = holdings.readable().filter_map(|(at, _, catalog)| {
        let entry = catalog.trusted.iter().find(|entry| due(at, entry))?;
        let previous = catalog.previous(entry).map(|previous| previous.manifest.clone());
        let witness = shared.witness(&holdings, at, entry);
        let newest = catalog.newest().is_some_and(|newest| newest.id() == entry.id());
        Some(Due { entry: entry.clone(), at, previous, witness, newest })
    });
    // Of equals the first store.
    newest.min_by_key(|due| (Reverse(due.entry.manifest.captured_at), due.at))
}

async fn prove_one(shared: &Shared, signer: &Signer, binaries: &[EtcdBinary], due: &Due) -> Result<()> {
    let (entry, place) = (&due.entry, shared.access.place(due.at)?);
    let store = place.store()?;
    let identities = || shared.access.identities();
    let proving = Proving {
        store: &store,
        layout: shared.access.layout(),
        signer,
        clock: &*shared.clock,
        identities: &identities,
        level: shared.yardstick.required,
        scratch_dir: shared.config.proof.scratch_dir.clone(),
        scratch_max_bytes: shared.config.proof.scratch_max_bytes,
        binaries,
        limit: shared.config.limits.prove,
        previous: due.previous.as_ref(),
        expect: &shared.config.proof.expect,
        witness: due.witness.clone(),
        rehearse: due.newest,
    };
    let watch = Stopwatch::start();
    let done = proving.prove(entry).await;
    let failed = match &done {
        Ok(verdict) => (verdict.outcome != Outcome::Passed).then_some(Reason::ProofFailed),
        Err(error) => Some(error.reason),
    };
    shared.count(Role::Prove, watch.elapsed(), failed);
    let verdict = done?;
    for warning in &verdict.learnt.warnings {
        tracing::warn!(id = %entry.id(), warning, "the proof warns");
    }
    if let Some(late) = &verdict.learnt.late {
        tracing::error!(id = %entry.id(), store = place.name(), looked_at = %late.looked_at, "this backup came long after its time");
    }
    let found = verdict.steps.last().map_or("", |step| step.found.as_str());
    match failed {
        None => {
            tracing::info!(id = %entry.id(), store = place.name(), level = %verdict.level, seconds = verdict.took_seconds, "backup proven")
        }
        Some(_) => {
            tracing::error!(id = %entry.id(), store = place.name(), level = %verdict.level, found, "backup FAILED its proof")
        }
    }
    shared.refresh().await?;
    Ok(())
}
