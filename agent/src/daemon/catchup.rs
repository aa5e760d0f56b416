//! Catching up: a store that missed backups gets them from another one, between two backups of this agent.

use super::backoff::Backoff;
use super::shared::Shared;
use crate::clock::Stopwatch;
use crate::copy::{self, Task};
use crate::error::{Error, Reason, Result};
use crate::holdings::Holdings;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use std::collections::BTreeMap;

/// What this agent remembers of its catching up.
#[derive(Default)]
pub(super) struct CatchUp {
    /// The last backup that this agent published. Of all agents the one that took the newest backup catches up: the others
    /// would only copy the same bytes to the same names.
    last: Option<BackupId>,
    /// Copies that failed, and when each may be tried again: one that cannot be made must not keep others from theirs.
    later: BTreeMap<(BackupId, usize), (DateTime<Utc>, Backoff)>,
}

impl CatchUp {
    pub fn published(&mut self, id: BackupId) {
        self.last = Some(id);
    }

    /// Makes the one copy that is most wanted, if this agent is to make any. `false`: there is none to make now.
    pub async fn step(&mut self, shared: &Shared, holdings: &Holdings) -> bool {
        let newest = holdings.merged.trusted.iter().map(|entry| entry.id()).max();
        if holdings.is_single() || newest.is_none() || newest != self.last.as_ref() {
            return false;
        }
        let now = shared.now();
        let may = |task: &Task| self.later.get(&(task.id.clone(), task.to)).is_none_or(|(at, _)| *at <= now);
        let Some(task) = copy::plan(holdings, shared.yardstick.required, now).into_iter().find(may) else {
            return false;
        };
        shared.expect("backup", shared.config.limits.backup);
        let key = (task.id.clone(), task.to);
        match carry_out(shared, holdings, &task).await {
            Ok(()) => {
                self.later.remove(&key);
                shared.changed.notify_one();
                true
            }
            Err(error) => {
                let name = holdings.stores.get(task.to).map_or("", |held| held.name.as_str());
                tracing::error!(id = %task.id, store = name, %error, reason = error.reason.name(), hint = error.hint,
                    "a store could not be caught up");
                let (at, backoff) = self.later.entry(key).or_insert_with(|| (now, Backoff::new()));
                *at = shared.now() + backoff.next();
                false
            }
        }
    }
}

async fn carry_out(shared: &Shared, holdings: &Holdings, task: &Task) -> Result<()> {
    let (from, to) = (shared.access.place(task.from)?, shared.access.place(task.to)?);
    let entry = holdings
        .holders(&task.id)
        .find(|holder| holder.at == task.from)
        .ok_or_else(|| Error::new(Reason::Internal, format!("{} is not in {}", task.id, from.name())))?
        .entry;
    let watch = Stopwatch::start();
    let (reader, target) = (from.reader()?, to.store()?);
    let limit = shared.config.limits.backup;
    let copied = tokio::select! {
        copied = tokio::time::timeout(limit, copy::backup(&reader, &target, entry, &|_| {})) => copied,
        () = shared.stop.cancelled() => return Err(Error::new(Reason::Interrupted, "the agent stops; it is resumed later")),
    };
    copied.map_err(|_| {
        Error::new(Reason::Budget, format!("the copy took longer than {} s and was given up", limit.as_secs()))
            .hint("it goes on where it stood; raise limits.backup if the stores are known to be that slow")
    })??;
    tracing::info!(id = %task.id, from = from.name(), to = to.name(), sealed_bytes = entry.manifest.sealed.bytes,
        seconds = watch.seconds(), "a store was caught up");
    Ok(())
}
