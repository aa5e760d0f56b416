//! `lifeboat doctor`: may this host do what its config asks of it? Rights, clocks, keys, certificates, space and
//! versions are tried, not believed.
//!
//! Code that asks brings facts, code that judges turns facts into checks and is pure; each area has both in one file.

mod canary;
mod certificate;
mod etcd;
mod host;
mod keys;
mod proof;
mod store;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::error::{Error, Reason, Result};
use crate::proof::binary::EtcdBinary;
use chrono::{DateTime, Utc};
use futures::future::{join_all, join3};
use lifeboat_policy::proof::Level;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one question to a store or to etcd may take: a dead endpoint must not hang the answer on all others.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Ok,
    Skip,
    Warn,
    Fail,
}

impl Status {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Skip => "skip",
            Status::Warn => "warn",
            Status::Fail => "fail",
        }
    }
}

/// One thing that was looked at: what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `etcd`, `store`, `keys`, `scratch`, `proof`, `prune`, `config`, `http`.
    pub area: &'static str,
    pub status: Status,
    pub found: String,
    pub hint: Option<String>,
}

impl Check {
    fn ok(area: &'static str, found: impl Into<String>) -> Check {
        Check { area, status: Status::Ok, found: found.into(), hint: None }
    }

    fn skip(area: &'static str, found: impl Into<String>) -> Check {
        Check { area, status: Status::Skip, found: found.into(), hint: None }
    }

    fn warn(area: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Check {
        Check { area, status: Status::Warn, found: found.into(), hint: Some(hint.into()) }
    }

    fn fail(area: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Check {
        Check { area, status: Status::Fail, found: found.into(), hint: Some(hint.into()) }
    }

    /// What an error says, with its own next step.
    fn of_error(area: &'static str, status: Status, error: &Error) -> Check {
        Check { area, status, found: error.to_string(), hint: error.hint.clone() }
    }
}

/// How far the looking goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything is tried, with an object of our own in each store and a snapshot stream that is hung up on.
    Tried,
    /// Nothing is written to a store, and etcd is asked no more than a backup asks it anyway: for each start of the agent.
    Glance,
}

/// What is examined.
pub struct Asked<'a> {
    pub config: &'a Config,
    /// How many warnings reading the config gave; `None` where they have been told already.
    pub warnings: Option<usize>,
    /// The level that proofs reach, and the etcd servers found for it.
    pub level: Result<(Level, Vec<EtcdBinary>)>,
    pub clock: &'a dyn Clock,
    pub depth: Depth,
}

impl Asked<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn runs(&self, role: Role) -> bool {
        self.config.roles.contains(&role)
    }

    fn tries(&self) -> bool {
        self.depth == Depth::Tried
    }
}

/// Looks at everything; stores and etcd at the same time. Nothing here fails: what fails is a check.
pub async fn examine(asked: &Asked<'_>) -> Vec<Check> {
    let stores = join_all(asked.config.stores.iter().map(|store| store::look(asked, store)));
    let counting = async { if asked.tries() { keys::counting(asked).await } else { Vec::new() } };
    let (cluster, stores, counting) = join3(etcd::look(asked), stores, counting).await;
    let mut checks = cluster.checks;
    checks.extend(stores.into_iter().flatten());
    checks.extend(keys::look(asked.config, asked.now()));
    checks.extend(counting);
    checks.push(host::scratch(asked, cluster.db_bytes));
    checks.push(proof::look(asked, cluster.line));
    checks.push(host::prune(asked));
    checks.extend(host::config(asked));
    if asked.tries() {
        checks.push(host::listen(asked.config.http.listen).await);
    }
    checks
}

/// How many failed, how many warn.
pub fn counts(checks: &[Check]) -> (usize, usize) {
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    (count(Status::Fail), count(Status::Warn))
}

/// `1 failed, 1 warning`, or `all good`.
pub fn outcome(checks: &[Check]) -> String {
    let (failed, warnings) = counts(checks);
    let plural = if warnings == 1 { "" } else { "s" };
    match (failed, warnings) {
        (0, 0) => "all good".to_owned(),
        (failed, 0) => format!("{failed} failed"),
        (0, warnings) => format!("{warnings} warning{plural}"),
        (failed, warnings) => format!("{failed} failed, {warnings} warning{plural}"),
    }
}

/// The same as log lines, for the start of the agent.
pub fn log(checks: &[Check]) {
    for check in checks {
        let hint = check.hint.as_deref().unwrap_or_default();
        match check.status {
            Status::Ok | Status::Skip => {
                tracing::info!(area = check.area, check = check.status.name(), "{}", check.found)
            }
            Status::Warn => tracing::warn!(area = check.area, hint, "{}", check.found),
            Status::Fail => tracing::error!(area = check.area, hint, "{}", check.found),
        }
    }
    tracing::info!("looked around: {}; `lifeboat doctor` tries more", outcome(checks));
}

/// Waits for an answer, but not for ever; `what` is who should have answered.
async fn within<T>(what: &str, reason: Reason, answer: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("{what} gave no answer within {} s", PATIENCE.as_secs());
            Err(Error::new(reason, text).hint("check the network and the firewalls between this machine and it"))
        }
    }
}

/// `backup`, `backup and prove`, `backup, prove and prune`.
fn words<T: AsRef<str>>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [all @ .., last] => {
            let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", all.join(", "), last.as_ref())
        }
    }
}

/// `role backup`, `roles backup and prove`.
fn role_words(roles: &BTreeSet<Role>) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    match names.len() {
        1 => format!("role {}", words(&names)),
        _ => format!("roles {}", words(&names)),
    }
}
