//! What the loops share: the catalog as it was last read, and whether every loop still turns.

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::error::Result;
use crate::http::Health;
use crate::metrics;
use crate::setup::Access;
use crate::summary::{self, Yardstick};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    catalog: Option<Arc<Catalog>>,
    last_error: Option<String>,
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
        let state = Mutex::default();
        Arc::new(Shared { config, access, yardstick, clock, stop, changed: Notify::new(), state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Reads the catalog anew and sets the gauges.
    pub async fn refresh(&self) -> Result<Arc<Catalog>> {
        match self.access.catalog(&*self.clock).await {
            Ok(catalog) => {
                let catalog = Arc::new(catalog);
                let summary = summary::summarize(&catalog, &self.yardstick, self.now());
                metrics::set_catalog(&catalog, &summary, self.access.store().name());
                let mut state = self.lock();
                state.catalog = Some(catalog.clone());
                state.last_error = None;
                Ok(catalog)
            }
            Err(error) => {
                self.lock().last_error = Some(error.to_string());
                Err(error)
            }
        }
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

    fn ready(&self) -> Result<(), String> {
        let state = self.lock();
        match (&state.catalog, &state.last_error) {
            (Some(_), None) => Ok(()),
            (_, Some(error)) => Err(format!("the store cannot be read: {error}")),
            (None, None) => Err("the store has not been read yet".to_owned()),
        }
    }
}
