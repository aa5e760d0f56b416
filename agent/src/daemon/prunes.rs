//! The loop of the role prune: a fresh plan at each slot, carried out.

use super::backoff::Backoff;
use super::shared::Shared;
use crate::clock::Stopwatch;
use crate::config::Role;
use crate::error::{Error, Reason, Result};
use crate::keys::Signer;
use crate::setup;
use crate::store::{LEFTOVER_GRACE, sweep_leftovers};
use crate::{prune, summary};
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

async fn prune_once(shared: &Shared, signer: &Signer) -> Result<()> {
    let watch = Stopwatch::start();
    let catalog = shared.refresh().await?;
    let now = shared.now();
    let plan = summary::plan(&catalog, shared.yardstick.required, &setup::rules(&shared.config), now);
    if let Some(freeze) = &plan.frozen {
        tracing::warn!(why = %freeze, "prune is frozen");
    }
    let done = prune::apply(shared.access.store(), shared.access.layout(), signer, &catalog, &plan, now).await;
    let swept = sweep_leftovers(shared.access.store(), shared.access.layout(), now, LEFTOVER_GRACE).await;
    let done = done.and_then(|done| swept.map(|_| done));
    shared.count(Role::Prune, watch.elapsed(), done.as_ref().err().map(|error| error.reason));
    let done = done?;
    if !done.marked.is_empty() || !done.deleted.is_empty() {
        tracing::info!(
            marked = done.marked.len(),
            deleted = done.deleted.len(),
            freed_bytes = done.freed_bytes,
            "pruned"
        );
        shared.refresh().await?;
    }
    Ok(())
}
