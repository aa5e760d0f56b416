//! Logs, on standard error: text for people, JSON for machines.

use super::args::{Cli, Format};
use crate::config::Log;
use crate::error::{Error, Reason, Result};
use tracing_subscriber::EnvFilter;

/// Begins to log. Without a config only warnings are of interest to the person at the terminal.
pub fn begin(cli: &Cli, config: Option<&Log>) -> Result<()> {
    let level = match (cli.verbose, config) {
        (0, Some(log)) => log.level.clone(),
        (0, None) => "warn".to_owned(),
        (1, _) => "info".to_owned(),
        (2, _) => "debug".to_owned(),
        _ => "trace".to_owned(),
    };
    // Libraries below speak only when something is wrong, unless everything was asked for.
    let filter = if cli.verbose > 2 { level } else { format!("warn,lifeboat={level}") };
    let filter = EnvFilter::try_new(&filter).map_err(|source| {
        Error::new(Reason::Config, format!("log.level {filter:?} is not a level"))
            .hint("use error, warn, info, debug or trace")
            .because(source)
    })?;
    let json = match cli.log {
        Some(format) => format == Format::Json,
        None => config.is_some_and(|log| log.json),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let begun = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    begun.map_err(|source| Error::new(Reason::Internal, "cannot begin to log").because(source))
}
