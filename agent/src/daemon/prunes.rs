//! The loop of the role prune: a fresh plan at each slot, carried out.

use super::backoff::Backoff;
use super::shared::Shared;
use crate::catalog::Catalog;
use crate::clock::Stopwatch;
use crate::config::Role;
use crate::error::{Error, Reason, Result};
use crate::holdings::Held;
use crate::keys::Signer;
use crate::prune::Pruner;
use crate::setup;
use crate::store::{LEFTOVER_GRACE, sweep_leftovers};
use crate::summary;
use lifeboat_policy::schedule::{Due, Fired, due_unfired};

pub(super) async fn turn(shared: &Shared) -> Result<()> {
    let Some(cron) = shared.config.schedule.prune.clone() else {
        return Err(Error::new(Reason::Config, "the role prune has no schedule.prune"));
    };
    let signer = setup::signer(&shared.config, Role::Prune)?;
    // A prune after downtime is harmless and needs no memory: the plan is made anew from what is there.
    let mut fired = Fired::default();
    let mut backoff = Backoff::new();
    loop {
        shared.expect("prune", shared.config.limits.backup);
        match due_unfired(&cron, &fired, shared.now()) {
            Due::NotBefore(next) => {
                if !shared.sleep_until("prune", next).await {
                    return Ok(());
                }
            }
            Due::Now { slot, .. } => match prune_once(shared, &signer).await {
                Ok(()) => {
                    fired.record(slot);
                    backoff = Backoff::new();
                }
                Err(error) => {
                    tracing::error!(%error, reason = error.reason.name(), hint = error.hint, "prune failed");
                    if !shared.sleep("prune", backoff.next()).await {
                        return Ok(());
                    }
                }
            },
        }
    }
}

/// Every store by its own rules; one that cannot be read or pruned does not keep the others from it.
async fn prune_once(shared: &Shared, signer: &Signer) -> Result<()> {
    let watch = Stopwatch::start();
    let holdings = shared.refresh().await?;
    holdings.merged.may_sign(signer, shared.now())?;
    let mut failed = None;
    for (at, held, catalog) in holdings.readable() {
        if let Err(error) = prune_store(shared, signer, at, held, catalog).await {
            tracing::error!(store = held.name, %error, reason = error.reason.name(), hint = error.hint, "this store could not be pruned");
            failed = failed.or(Some(error));
        }
    }
    shared.count(Role::Prune, watch.elapsed(), failed.as_ref().map(|error| error.reason));
    shared.refresh().await?;
    failed.map_or(Ok(()), Err)
}

async fn prune_store(shared: &Shared, signer: &Signer, at: usize, held: &Held, catalog: &Catalog) -> Result<()> {
    let Some(rules) = &held.rules else { return Ok(()) };
    let now = shared.now();
    let plan = summary::plan(catalog, &shared.yardstick, rules, now);
    if let Some(freeze) = &plan.frozen {
        tracing::warn!(store = held.name, why = %freeze, "prune is frozen");
    }
    if let Some(over) = &plan.over_budget {
        tracing::warn!(
            store = held.name,
            guarded_bytes = over.guarded_bytes,
            budget_bytes = over.budget,
            "the backups that no rule may give up are more than keep.budget"
        );
    }
    let reader = shared.access.place(at)?.reader()?;
    let orphan_grace = setup::orphan_grace(&shared.config);
    let done = Pruner { reader: &reader, signer, rules, orphan_grace, now }.apply(catalog, &plan).await;
    // Whatever became of the plan: parts that nobody finishes belong to no backup.
    let swept = sweep_leftovers(reader.store(), reader.layout(), now, LEFTOVER_GRACE).await;
    let done = done?;
    swept?;
    if !done.is_empty() {
        tracing::info!(
            store = held.name,
            marked = done.marked.len(),
            deleted = done.deleted.len(),
            freed_bytes = done.freed_bytes,
            spared = done.spared.len(),
            locked = done.locked.len(),
            orphans_marked = done.orphans_marked.len(),
            orphans_deleted = done.orphans_deleted.len(),
            "pruned"
        );
    }
    Ok(())
}
