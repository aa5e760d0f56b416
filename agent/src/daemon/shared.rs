//! What the loops share: the catalog as it was last read, and whether every loop still turns.

use crate::catalog::Trusted;
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::error::Result;
use crate::holdings::{Holdings, Memory, Witness};
use crate::http::Health;
use crate::metrics;
use crate::setup::Access;
use crate::summary::{self, Yardstick};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A loop that has not moved for this long beyond its own limit is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) struct Shared {
    pub config: Config,
    pub access: Access,
    pub yardstick: Yardstick,
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    /// Rung when the catalog changed, so that a proof follows a backup at once.
    pub changed: Notify,
    started_at: DateTime<Utc>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many stores were readable at the last reading; `None` before the first.
    readable: Option<usize>,
    last_error: Option<String>,
    /// Stores that could be read at some time, and those that could not the last time, by their place in the config.
    ever_read: BTreeSet<usize>,
    unreadable: BTreeSet<usize>,
    /// What was in the stores when this process looked.
    memory: Memory,
    /// By loop: until when it is expected to move again.
    expected: BTreeMap<&'static str, DateTime<Utc>>,
}

impl Shared {
    pub fn new(
        config: Config,
        access: Access,
        yardstick: Yardstick,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Arc<Shared> {
        let (state, started_at) = (Mutex::default(), clock.now());
        Arc::new(Shared { config, access, yardstick, clock, stop, changed: Notify::new(), started_at, state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, or one that a later one repeats: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Reads every store anew and sets the gauges. Fails only where no store can be read.
    pub async fn refresh(&self) -> Result<Arc<Holdings>> {
        match self.access.holdings(&*self.clock).await {
            Ok(holdings) => {
                self.lock().memory.note(&holdings);
                let overview = summary::overview(&holdings, &self.yardstick, self.now());
                metrics::set_holdings(&holdings, &overview);
                self.note_readable(&holdings);
                Ok(Arc::new(holdings))
            }
            Err(error) => {
                let mut state = self.lock();
                state.readable = Some(0);
                state.last_error = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// What this process can testify about a backup in the store at this place.
    pub fn witness(&self, holdings: &Holdings, at: usize, entry: &Trusted) -> Witness {
        self.lock().memory.witness(holdings, at, entry)
    }

    /// Tells a store that stopped answering, or came back, once; and sees to it that one that was never read is missed.
    fn note_readable(&self, holdings: &Holdings) {
        let mut state = self.lock();
        state.ever_read.extend(holdings.readable().map(|(at, ..)| at));
        for (at, held, error) in holdings.unreadable() {
            if !state.unreadable.contains(&at) {
                tracing::error!(store = held.name, %error, reason = error.reason.name(), hint = error.hint,
                    "this store cannot be read; the others are used");
            }
            if !state.ever_read.contains(&at)
                && let Some(deadline) = summary::deadline_since(&self.yardstick, self.started_at)
            {
                metrics::set_backup_deadline(self.config.cluster.as_str(), &held.name, deadline);
            }
        }
        for (at, held, _) in holdings.readable().filter(|(at, ..)| state.unreadable.contains(at)) {
            tracing::info!(store = held.name, at, "this store can be read again");
        }
        state.unreadable = holdings.unreadable().map(|(at, ..)| at).collect();
        state.readable = Some(holdings.readable().count());
        state.last_error = holdings.unreadable().next().map(|(_, held, error)| format!("{}: {error}", held.name));
    }

    /// A loop says that it will move again within `span`.
    pub fn expect(&self, name: &'static str, span: Duration) {
        let until = self.now() + span + PATIENCE;
        self.lock().expected.insert(name, until);
    }

    /// Sleeps, or returns `false` at once when the agent is to stop.
    pub async fn sleep(&self, name: &'static str, span: Duration) -> bool {
        self.expect(name, span);
        tokio::select! {
            () = tokio::time::sleep(span) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Sleeps until the wall clock says `until`, in steps, so that a clock that is set is noticed.
    pub async fn sleep_until(&self, name: &'static str, until: DateTime<Utc>) -> bool {
        const STEP: Duration = Duration::from_secs(30);
        let left = (until - self.now()).to_std().unwrap_or(Duration::ZERO);
        self.sleep(name, left.min(STEP)).await
    }

    /// Waits for as long as a blackout holds; `false` at once when the agent is to stop.
    pub async fn outside_blackout(&self, name: &'static str) -> bool {
        while let Some(end) = self.config.schedule.blackout.end_at(self.now()) {
            if !self.sleep_until(name, end).await {
                return false;
            }
        }
        true
    }

    pub fn count(&self, role: Role, took: Duration, failed: Option<crate::error::Reason>) {
        metrics::count_run(self.config.cluster.as_str(), role, took, failed);
    }
}

impl Health for Shared {
    fn alive(&self) -> Result<(), String> {
        let now = self.now();
        let state = self.lock();
        match state.expected.iter().find(|(_, until)| **until < now) {
            Some((name, until)) => Err(format!("the {name} loop was expected to move by {until}")),
            None => Ok(()),
        }
    }

    /// Ready is an agent that could do its work now: a backup counts once `write_quorum` stores have it, so that many
    /// must have answered the last reading.
    fn ready(&self) -> Result<(), String> {
        let state = self.lock();
        let (stores, quorum) = (self.access.places().len(), self.access.write_quorum);
        let error = state.last_error.as_deref().unwrap_or("no reason was given");
        match state.readable {
            None => Err("the store has not been read yet".to_owned()),
            Some(readable) if readable >= quorum => Ok(()),
            Some(_) if stores == 1 => Err(format!("the store cannot be read: {error}")),
            Some(readable) => {
                Err(format!("{readable} of {stores} stores can be read, a backup must stand in {quorum}: {error}"))
            }
        }
    }
}
