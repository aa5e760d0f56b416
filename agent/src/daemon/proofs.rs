//! The loop of the role prove: carries out what `policy` says is due, the most urgent first.

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
use crate::scratch::Scratch;
use crate::setup;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Outcome, Rules, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A backup in one store, by the store's place in the config.
type Subject = (BackupId, usize);

/// A backup to be proven from one store, by its place in the config.
struct Due {
    entry: Trusted,
    at: usize,
    task: Task,
    previous: Option<Manifest>,
    witness: Witness,
    newest: bool,
}

/// What the loop remembers.
#[derive(Default)]
struct Memory {
    /// Backups whose proof ended inconclusive, and when they may be tried again: one that cannot be opened must not keep the
    /// prover from the others.
    later: BTreeMap<Subject, (DateTime<Utc>, Backoff)>,
    /// What this slot of the schedule has already dealt with.
    dealt_with: BTreeSet<Subject>,
}

impl Memory {
    fn may_try(&self, subject: &Subject, now: DateTime<Utc>) -> bool {
        !self.dealt_with.contains(subject) && self.later.get(subject).is_none_or(|(again, _)| *again <= now)
    }
}

/// How long the loop rests when nothing is due and no backup of this agent wakes it.
const REST: Duration = Duration::from_secs(5);

pub(super) async fn turn(shared: &Shared, binaries: &[EtcdBinary]) -> Result<()> {
    let signer = setup::signer(&shared.config, Role::Prove)?;
    let rules = setup::proof_rules(&shared.config, shared.yardstick.required)?;
    let mut memory = Memory::default();
    sweep(shared);
    loop {
        let scheduled = match &shared.config.schedule.prove {
            ProveWhen::Cron(cron) => Some(cron.next_after(shared.now()).unwrap_or(DateTime::<Utc>::MAX_UTC)),
            ProveWhen::AfterBackup => None,
        };
        while let Some(next) = scheduled.filter(|next| shared.now() < *next) {
            if !shared.sleep_until("prove", next).await {
                return Ok(());
            }
        }
        memory.dealt_with.clear();
        if !prove_all_due(shared, &signer, binaries, &rules, &mut memory).await {
            return Ok(());
        }
        shared.expect("prove", REST);
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(REST) => {}
            () = shared.stop.cancelled() => return Ok(()),
        }
    }
}

/// Ends and wipes at once what a killed proof left, an etcd with a backup's secrets in memory: the next proof may be far off.
fn sweep(shared: &Shared) {
    match Scratch::claim(&shared.config.proof.scratch_dir) {
        Ok(claimed) => drop(claimed),
        Err(error) if error.reason == Reason::Budget => {} // a proof that somebody runs by hand
        Err(error) => tracing::error!(%error, hint = error.hint, "the proof's scratch dir cannot be used"),
    }
}

/// Until nothing is due any more; what is due is asked anew after each proof. Whether the loop shall go on.
async fn prove_all_due(
    shared: &Shared,
    signer: &Signer,
    binaries: &[EtcdBinary],
    rules: &Rules,
    memory: &mut Memory,
) -> bool {
    loop {
        if !shared.outside_blackout("prove").await {
            return false;
        }
        // After the wait, which promised only itself: a long proof must not look like a loop that stands still.
        shared.expect("prove", shared.config.limits.prove);
        let Some(due) = next_to_prove(shared, signer, rules, memory).await else { return true };
        let (id, subject) = (due.entry.id(), (due.entry.id().clone(), due.at));
        if matches!(shared.config.schedule.prove, ProveWhen::Cron(_)) {
            memory.dealt_with.insert(subject.clone());
        }
        match prove_one(shared, signer, binaries, &due).await {
            Ok(()) => drop(memory.later.remove(&subject)),
            Err(error) => {
                tracing::error!(%id, %error, reason = error.reason.name(), hint = error.hint, "proof inconclusive");
                let (at, backoff) = memory.later.entry(subject).or_insert_with(|| (shared.now(), Backoff::new()));
                *at = shared.now() + backoff.next();
            }
        }
        if shared.stop.is_cancelled() {
            return false;
        }
    }
}

async fn next_to_prove(shared: &Shared, signer: &Signer, rules: &Rules, memory: &Memory) -> Option<Due> {
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
    let mut due = holdings.proofs_due(rules, now).into_iter();
    let (holder, task) = due.find(|(holder, task)| memory.may_try(&(task.id.clone(), holder.at), now))?;
    let catalog = holder.held.catalog.as_ref().ok()?;
    Some(Due {
        previous: catalog.previous(holder.entry).map(|previous| previous.manifest.clone()),
        witness: shared.witness(&holdings, holder.at, holder.entry),
        newest: catalog.newest().is_some_and(|newest| newest.id() == holder.entry.id()),
        entry: holder.entry.clone(),
        at: holder.at,
        task,
    })
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
        level: due.task.level,
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
            let (level, seconds) = (verdict.level, verdict.took_seconds);
            let what = if level < shared.yardstick.required { "backup read again" } else { "backup proven" };
            tracing::info!(id = %entry.id(), store = place.name(), %level, seconds, why = %due.task.why, "{what}")
        }
        Some(_) => {
            let level = verdict.learnt.failed_at.unwrap_or(verdict.level);
            tracing::error!(id = %entry.id(), store = place.name(), %level, found, "backup FAILED its proof")
        }
    }
    shared.refresh().await?;
    Ok(())
}
