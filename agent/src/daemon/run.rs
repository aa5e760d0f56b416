//! `lifeboat run`: set up, say what will be done, turn the loops, drain.

use super::backup::backup;
use super::shared::Shared;
use super::signals::Shutdown;
use crate::catalog::{Catalog, Trusted};
use crate::clock::{Clock, Stopwatch};
use crate::config::{Config, Env, ProveWhen, Role};
use crate::error::{Error, Reason, Result};
use crate::proof::Proving;
use crate::proof::binary::EtcdBinary;
use crate::setup::{self, Access, BackupKit};
use crate::summary::{self, Yardstick};
use crate::{http, metrics, prune, scratch};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Standing;
use lifeboat_policy::schedule::{Cron, Due, Fired, due_unfired, jitter};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// After SIGTERM a run that is under way may still end by itself for this long: less than Kubernetes' 30 s.
const DRAIN: Duration = Duration::from_secs(25);
/// The catalog is read again at least this often, for the gauges.
const REFRESH: Duration = Duration::from_secs(60);
/// First and longest wait after a failed run; the next slot ends any wait.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// Runs every role of the config until a signal comes. SIGTERM drains and is a success; SIGINT is `Interrupted`.
pub async fn run(config: Config, env: &dyn Env, clock: Arc<dyn Clock>) -> Result<()> {
    let shutdown = Shutdown::listen()?;
    let (required, binaries) = setup::level(&config, env)?;
    let access = Access::from_config(&config, env)?;
    let yardstick = Yardstick::from_config(&config, required);
    let handle = metrics::install()?;
    let listener = http::bind(config.http.listen).await?;
    metrics::set_agent(config.cluster.as_str(), &config.roles);
    say_what_runs(&config, &access, &binaries);
    let shared = Shared::new(config, access, yardstick, clock, shutdown.token().clone());
    let mut loops = JoinSet::new();
    for role in shared.config.roles.clone() {
        let (shared, binaries) = (shared.clone(), binaries.clone());
        match role {
            Role::Backup => drop(loops.spawn(async move { backups(&shared).await })),
            Role::Prove => drop(loops.spawn(async move { proofs(&shared, &binaries).await })),
            Role::Prune => drop(loops.spawn(async move { prunes(&shared).await })),
            Role::Operator => {}
        }
    }
    let refreshing = shared.clone();
    loops.spawn(async move { refreshes(&refreshing).await });
    let upkeep = handle.clone();
    let kept = shared.clone();
    loops.spawn(async move {
        while kept.sleep("metrics", RETRY_FIRST).await {
            upkeep.run_upkeep();
        }
        Ok(())
    });
    let served = tokio::spawn(http::serve(listener, handle, shared.clone(), shared.stop.clone()));
    let ended = turn(&mut loops, &shutdown).await;
    shared.stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while loops.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("a run did not end within {} s and is given up; nothing of it is published", DRAIN.as_secs());
        loops.shutdown().await;
    }
    served.abort();
    tracing::info!("stopped");
    ended?;
    match shutdown.was_interrupted() {
        true => Err(Error::new(Reason::Interrupted, "stopped by SIGINT")),
        false => Ok(()),
    }
}

/// Waits for a signal. A loop that ends before one is a failure of the agent: half an agent must not look alive.
async fn turn(loops: &mut JoinSet<Result<()>>, shutdown: &Shutdown) -> Result<()> {
    tokio::select! {
        () = shutdown.token().cancelled() => {
            tracing::info!("draining");
            Ok(())
        }
        Some(ended) = loops.join_next() => match ended {
            Ok(result) => result.and_then(|()| Err(Error::new(Reason::Internal, "a loop ended by itself"))),
            Err(stopped) => Err(Error::new(Reason::Internal, "a loop broke").because(stopped)),
        },
    }
}

fn say_what_runs(config: &Config, access: &Access, binaries: &[EtcdBinary]) {
    let roles: Vec<&str> = config.roles.iter().map(|role| role.name()).collect();
    let etcds: Vec<&str> = binaries.iter().map(|binary| binary.version.as_str()).collect();
    tracing::info!(
        cluster = %config.cluster, store = access.store().url(), roles = roles.join(","), proof_level = %access.required,
        proof_etcd = etcds.join(","), http = %config.http.listen, version = env!("CARGO_PKG_VERSION"), "lifeboat runs"
    );
}

/// Reads the catalog regularly, so that gauges stay true while nothing happens here.
async fn refreshes(shared: &Shared) -> Result<()> {
    let period = shared.config.schedule.backup.as_ref().map_or(REFRESH, |cron| cron.period_near(shared.now()));
    loop {
        if let Err(error) = shared.refresh().await {
            tracing::error!(%error, reason = error.reason.name(), "the store cannot be read");
        }
        if let Ok(free) = scratch::free_bytes(&shared.config.proof.scratch_dir) {
            ::metrics::gauge!("lifeboat_scratch_free_bytes").set(free as f64);
        }
        if !shared.sleep("catalog", (period / 2).clamp(Duration::from_secs(1), REFRESH)).await {
            return Ok(());
        }
    }
}

/// Doubles from first to longest, and begins anew after a success.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Backoff(RETRY_FIRST)
    }

    fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(RETRY_LONGEST);
        now
    }
}

async fn backups(shared: &Shared) -> Result<()> {
    let Some(cron) = shared.config.schedule.backup.clone() else {
        return Err(Error::new(Reason::Config, "the role backup has no schedule.backup"));
    };
    let seed = scratch::random_u64()?;
    let mut backoff = Backoff::new();
    loop {
        shared.expect("backup", shared.config.limits.backup);
        let wait = match backup_if_due(shared, &cron, seed).await {
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
                let to_next = cron.next_after(shared.now()).map(|next| (next - shared.now()).to_std().unwrap_or_default());
                backoff.next().min(to_next.unwrap_or(RETRY_LONGEST))
            }
        };
        if !shared.sleep("backup", wait).await {
            return Ok(());
        }
    }
}

/// Takes the backup that is due, or says when the next one is.
async fn backup_if_due(shared: &Shared, cron: &Cron, seed: u64) -> Result<Option<chrono::DateTime<chrono::Utc>>> {
    let due = |catalog: &Catalog| {
        let fired: Fired = catalog.trusted.iter().filter_map(|entry| entry.manifest.slot).collect();
        due_unfired(cron, &fired, shared.now())
    };
    let slot = match due(&*shared.refresh().await?) {
        Due::NotBefore(next) => return Ok(Some(next)),
        Due::Now { slot, missed } => {
            if missed > 0 {
                tracing::warn!(missed, "slots were missed; the newest is caught up");
            }
            slot
        }
    };
    // Never more than a tenth of the period, so that a short schedule is not swallowed by its own jitter.
    let spread = shared.config.schedule.jitter.min(cron.period_near(slot) / 10);
    if !shared.sleep("backup", jitter(slot, spread, seed)).await {
        return Ok(Some(slot));
    }
    // Read anew after the wait: another agent may have served the slot meanwhile.
    let before = shared.refresh().await?;
    match due(&before) {
        Due::Now { slot: again, .. } if again == slot => {}
        Due::Now { .. } => return Ok(None),
        Due::NotBefore(next) => return Ok(Some(next)),
    }
    let watch = Stopwatch::start();
    let kit = BackupKit::from_config(&shared.config, &*shared.clock)?;
    let done = backup(&shared.access, &kit, &*shared.clock, Some(slot), &before, &|_, _| {}).await;
    shared.count(Role::Backup, watch.elapsed(), done.as_ref().err().map(|error| error.reason));
    let published = done?;
    let manifest = &published.entry.manifest;
    if let Some(why) = &published.new_lineage {
        tracing::warn!(id = %manifest.id, why, "a new history begins with this backup");
    }
    tracing::info!(id = %manifest.id, revision = manifest.db.revision, keys = manifest.db.keys, member = manifest.etcd.member_name,
        sealed_bytes = manifest.sealed.bytes, seconds = watch.seconds(), "backup published");
    shared.refresh().await?;
    shared.changed.notify_one();
    Ok(None)
}

async fn proofs(shared: &Shared, binaries: &[EtcdBinary]) -> Result<()> {
    let signer = setup::signer(&shared.config, Role::Prove)?;
    // Backups whose proof ended inconclusive, and when they may be tried again: one that cannot be opened must not
    // keep the prover from the others.
    let mut later: BTreeMap<BackupId, (chrono::DateTime<chrono::Utc>, Backoff)> = BTreeMap::new();
    loop {
        shared.expect("prove", shared.config.limits.prove);
        if let ProveWhen::Cron(cron) = &shared.config.schedule.prove {
            let next = cron.next_after(shared.now()).unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
            while shared.now() < next {
                if !shared.sleep_until("prove", next).await {
                    return Ok(());
                }
            }
        }
        if let Some(entry) = next_to_prove(shared, &later).await {
            match prove_one(shared, &signer, binaries, &entry).await {
                Ok(()) => drop(later.remove(entry.id())),
                Err(error) => {
                    tracing::error!(id = %entry.id(), %error, reason = error.reason.name(), hint = error.hint, "proof inconclusive");
                    let (at, backoff) = later.entry(entry.id().clone()).or_insert_with(|| (shared.now(), Backoff::new()));
                    *at = shared.now() + backoff.next();
                }
            }
            if shared.stop.is_cancelled() {
                return Ok(());
            }
            continue;
        }
        shared.expect("prove", REFRESH);
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(REFRESH.min(RETRY_FIRST)) => {}
            () = shared.stop.cancelled() => return Ok(()),
        }
    }
}

/// The newest backup that has no conclusive verdict yet.
async fn next_to_prove(
    shared: &Shared,
    later: &BTreeMap<BackupId, (chrono::DateTime<chrono::Utc>, Backoff)>,
) -> Option<Trusted> {
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

async fn prove_one(
    shared: &Shared,
    signer: &crate::keys::Signer,
    binaries: &[EtcdBinary],
    entry: &Trusted,
) -> Result<()> {
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
        Ok(verdict) => (verdict.outcome != lifeboat_policy::proof::Outcome::Passed).then_some(Reason::ProofFailed),
        Err(error) => Some(error.reason),
    };
    shared.count(Role::Prove, watch.elapsed(), failed);
    let verdict = done?;
    let found = verdict.steps.last().map_or("", |step| step.found.as_str());
    match failed {
        None => tracing::info!(id = %entry.id(), level = %verdict.level, seconds = verdict.took_seconds, "backup proven"),
        Some(_) => tracing::error!(id = %entry.id(), level = %verdict.level, found, "backup FAILED its proof"),
    }
    shared.refresh().await?;
    Ok(())
}

async fn prunes(shared: &Shared) -> Result<()> {
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

async fn prune_once(shared: &Shared, signer: &crate::keys::Signer) -> Result<()> {
    let watch = Stopwatch::start();
    let catalog = shared.refresh().await?;
    let now = shared.now();
    let plan = summary::plan(&catalog, shared.yardstick.required, &setup::rules(&shared.config), now);
    if let Some(freeze) = &plan.frozen {
        tracing::warn!(why = %freeze, "prune is frozen");
    }
    let done = prune::apply(shared.access.store(), shared.access.layout(), signer, &catalog, &plan, now).await;
    shared.count(Role::Prune, watch.elapsed(), done.as_ref().err().map(|error| error.reason));
    let done = done?;
    if !done.marked.is_empty() || !done.deleted.is_empty() {
        tracing::info!(marked = done.marked.len(), deleted = done.deleted.len(), freed_bytes = done.freed_bytes, "pruned");
        shared.refresh().await?;
    }
    Ok(())
}
