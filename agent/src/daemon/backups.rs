//! The loop of the role backup: one backup a slot, one catch-up, patience after a failure.

use super::backoff::{Backoff, LONGEST};
use super::backup::backup;
use super::catchup::CatchUp;
use super::duty::Turns;
use super::shared::Shared;
use crate::clock::Stopwatch;
use crate::config::Role;
use crate::error::{Error, Reason, Result};
use crate::holdings::Holdings;
use crate::metrics;
use crate::scratch;
use crate::setup::BackupKit;
use chrono::{DateTime, Utc};
use lifeboat_policy::schedule::{Cron, Due, Fired, due_unfired};
use std::time::Duration;

pub(super) async fn turn(shared: &Shared) -> Result<()> {
    let Some(cron) = shared.config.schedule.backup.clone() else {
        return Err(Error::new(Reason::Config, "the role backup has no schedule.backup"));
    };
    let mut turns = Turns::new(scratch::random_u64()?);
    let mut backoff = Backoff::new();
    let mut catch_up = CatchUp::default();
    loop {
        shared.expect("backup", shared.config.limits.backup);
        let wait = match backup_if_due(shared, &cron, &mut turns, &mut catch_up).await {
            Ok(Some(until)) => {
                backoff = Backoff::new();
                if !shared.sleep_until("backup", until).await {
                    return Ok(());
                }
                continue;
            }
            Ok(None) => Duration::ZERO,
            Err(error) => {
                tracing::error!(%error, reason = error.reason.name(), hint = error.hint, "backup failed");
                let to_next =
                    cron.next_after(shared.now()).map(|next| (next - shared.now()).to_std().unwrap_or_default());
                backoff.next().min(to_next.unwrap_or(LONGEST))
            }
        };
        if !shared.sleep("backup", wait).await {
            return Ok(());
        }
    }
}

/// Takes the backup that is due, or says when the next one is.
async fn backup_if_due(
    shared: &Shared,
    cron: &Cron,
    turns: &mut Turns,
    catch_up: &mut CatchUp,
) -> Result<Option<DateTime<Utc>>> {
    let due = |holdings: &Holdings| {
        let fired: Fired = holdings.served(shared.access.write_quorum);
        due_unfired(cron, &fired, shared.now())
    };
    let holdings = shared.refresh().await?;
    let slot = match due(&holdings) {
        Due::NotBefore(next) => {
            // One copy, then the slot is looked at again: a backup goes before any catching up.
            let rests = shared.config.schedule.blackout.end_at(shared.now()).is_some();
            return Ok((rests || !catch_up.step(shared, &holdings).await).then_some(next));
        }
        Due::Now { slot, missed } => {
            if missed > 0 {
                tracing::warn!(missed, "slots were missed; the newest is caught up");
            }
            slot
        }
    };
    let wait = turns.wait(shared, cron, slot).await;
    if !shared.sleep("backup", wait).await {
        return Ok(Some(slot));
    }
    // Read anew after the wait: another agent may have served the slot meanwhile, or a blackout may have begun.
    let before = shared.refresh().await?;
    match due(&before) {
        Due::Now { slot: again, .. } if again == slot => {}
        Due::Now { .. } => return Ok(None),
        Due::NotBefore(next) => return Ok(Some(next)),
    }
    // The wait above promised only itself: a long backup must not look like a loop that stands still.
    shared.expect("backup", shared.config.limits.backup);
    let watch = Stopwatch::start();
    let kit = BackupKit::from_config(&shared.config, &*shared.clock)?;
    let done = backup(&shared.access, &kit, &*shared.clock, Some(slot), &before, &|_, _| {}).await;
    shared.count(Role::Backup, watch.elapsed(), done.as_ref().err().map(|error| error.reason));
    let published = done?;
    let manifest = &published.entry.manifest;
    if let Some(why) = &published.new_lineage {
        tracing::warn!(id = %manifest.id, why, "a new history begins with this backup");
    }
    for behind in &published.behind {
        let reason = behind.error.reason;
        metrics::count_left_out(shared.config.cluster.as_str(), &behind.store, reason);
        tracing::error!(id = %manifest.id, store = behind.store, error = %behind.error, reason = reason.name(),
            hint = behind.error.hint, "this store has not got the backup and is caught up later");
    }
    tracing::info!(id = %manifest.id, revision = manifest.db.revision, keys = manifest.db.keys, member = manifest.etcd.member_name,
        sealed_bytes = manifest.sealed.bytes, stores = published.stores.join(","), seconds = watch.seconds(), "backup published");
    catch_up.published(manifest.id.clone());
    shared.refresh().await?;
    shared.changed.notify_one();
    Ok(None)
}
