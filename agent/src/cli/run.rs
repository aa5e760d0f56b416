//! `lifeboat run`: the agent.

use super::args::Cli;
use super::{log, open};
use crate::clock::SystemClock;
use crate::config::{self, Config, ProcessEnv};
use crate::daemon;
use crate::error::Result;
use std::sync::Arc;

pub async fn run(cli: &Cli) -> Result<()> {
    let config = match config::find(cli.config.as_deref(), &ProcessEnv)? {
        Some(path) => {
            let (config, warnings) = Config::load(&path)?;
            log::begin(cli, Some(&config.log))?;
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            config
        }
        None => open::config(cli)?,
    };
    daemon::run(config, &ProcessEnv, Arc::new(SystemClock)).await
}
