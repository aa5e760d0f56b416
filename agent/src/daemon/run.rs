//! `lifeboat run`: set up, say what will be done, turn the loops, drain.

use super::shared::Shared;
use super::signals::Shutdown;
use super::{backups, proofs, prunes};
use crate::clock::Clock;
use crate::config::{Config, Env, Role};
use crate::error::{Error, Reason, Result};
use crate::proof::binary::EtcdBinary;
use crate::setup::{self, Access};
use crate::summary::Yardstick;
use crate::{doctor, http, metrics, scratch};
use lifeboat_policy::proof::Level;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// After SIGTERM a run that is under way may still end by itself for this long: less than Kubernetes' 30 s.
const DRAIN: Duration = Duration::from_secs(25);
/// The catalog is read again at least this often, for the gauges.
const REFRESH: Duration = Duration::from_secs(60);
/// How often histograms are folded; without it they grow until somebody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

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
    let looking = look_around(config.clone(), (required, binaries.clone()), clock.clone());
    let shared = Shared::new(config, access, yardstick, clock, shutdown.token().clone());
    let mut loops = JoinSet::new();
    for role in shared.config.roles.clone() {
        let (shared, binaries) = (shared.clone(), binaries.clone());
        match role {
            Role::Backup => drop(loops.spawn(async move { backups::turn(&shared).await })),
            Role::Prove => drop(loops.spawn(async move { proofs::turn(&shared, &binaries).await })),
            Role::Prune => drop(loops.spawn(async move { prunes::turn(&shared).await })),
            Role::Operator => {}
        }
    }
    let refreshing = shared.clone();
    loops.spawn(async move { refreshes(&refreshing).await });
    let upkeep = handle.clone();
    let kept = shared.clone();
    loops.spawn(async move {
        while kept.sleep("metrics", UPKEEP).await {
            upkeep.run_upkeep();
        }
        Ok(())
    });
    loops.spawn(http::serve(listener, handle, shared.clone(), shared.stop.clone()));
    let ended = turn(&mut loops, &shutdown).await;
    shared.stop.cancel();
    looking.abort();
    drain(&mut loops).await;
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
        // First: a loop that the same signal has just ended is no failure.
        biased;
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

/// Lets what is under way end by itself, for a while.
async fn drain(loops: &mut JoinSet<Result<()>>) {
    let ended = async {
        while let Some(ended) = loops.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a loop failed while draining"),
                Err(error) => tracing::error!(%error, "a loop broke while draining"),
            }
        }
    };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!("a run did not end within {} s and is given up; nothing of it is published", DRAIN.as_secs());
        loops.shutdown().await;
    }
}

fn say_what_runs(config: &Config, access: &Access, binaries: &[EtcdBinary]) {
    let roles: Vec<&str> = config.roles.iter().map(|role| role.name()).collect();
    let etcds: Vec<&str> = binaries.iter().map(|binary| binary.version.as_str()).collect();
    tracing::info!(
        cluster = %config.cluster, store = access.urls(), roles = roles.join(","), proof_level = %access.required,
        proof_etcd = etcds.join(","), http = %config.http.listen, version = env!("CARGO_PKG_VERSION"), "lifeboat runs"
    );
}

/// Tells in the log what `lifeboat doctor` would find, as far as that needs nothing to be written. The loops do not wait
/// for it, and whatever it finds, they turn.
fn look_around(config: Config, level: (Level, Vec<EtcdBinary>), clock: Arc<dyn Clock>) -> AbortHandle {
    let looking = async move {
        let depth = doctor::Depth::Glance;
        let asked = doctor::Asked { config: &config, warnings: None, level: Ok(level), clock: &*clock, depth };
        doctor::log(&doctor::examine(&asked).await);
    };
    tokio::spawn(looking).abort_handle()
}

/// Reads the catalog regularly, so that gauges stay true while nothing happens here.
async fn refreshes(shared: &Shared) -> Result<()> {
    let period = shared.config.schedule.backup.as_ref().map_or(REFRESH, |cron| cron.period_near(shared.now()));
    loop {
        if let Err(error) = shared.refresh().await {
            tracing::error!(%error, reason = error.reason.name(), "the store cannot be read");
        }
        match scratch::free_bytes(&shared.config.proof.scratch_dir) {
            Ok(free) => ::metrics::gauge!("lifeboat_scratch_free_bytes").set(free as f64),
            Err(error) => tracing::warn!(%error, "the scratch dir's free space is not known"),
        }
        if !shared.sleep("catalog", (period / 2).clamp(Duration::from_secs(1), REFRESH)).await {
            return Ok(());
        }
    }
}
